//! Answers that may say no: [`StatusError`] is what an actor refuses with.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::actor_ref::ActorRef;
use crate::ask::{Ask, AskError, ReplyTo};
use crate::context::ActorContext;

/// Why an actor refused what it was asked: a text for people, and a number for programs if there is one.
///
/// It says what both sides agreed on and nothing of the refusing side's insides, so it can travel anywhere.
///
/// ```
/// use actors::{ActorSystem, AskWithStatusError, Behavior, BoxError, FnActor, ReplyTo, StatusError};
/// use std::time::Duration;
///
/// type Withdraw = (u64, ReplyTo<Result<u64, StatusError>>);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let system = ActorSystem::new("guide");
/// let wallet = FnActor::new(100, |cents: &mut u64, _ctx, (wanted, reply_to): Withdraw| {
///     match cents.checked_sub(wanted) {
///         Some(left) => {
///             *cents = left;
///             reply_to.succeed(left);
///         }
///         None => reply_to.refuse(StatusError::new("not enough money").with_code(402)),
///     }
///     Ok(Behavior::Same)
/// });
/// let wallet = system.spawn("wallet", wallet);
/// let withdraw = |cents| wallet.ask_with_status(move |reply_to| (cents, reply_to), Duration::from_secs(1));
///
/// assert_eq!(withdraw(30).await, Ok(70));
/// match withdraw(71).await {
///     Err(AskWithStatusError::Refused(status)) => assert_eq!(status.code(), Some(402)),
///     other => panic!("there are only 70 left, got {other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusError {
    text: Cow<'static, str>,
    code: Option<i32>,
}

impl StatusError {
    /// A refusal that says `text`, without a number.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), code: None }
    }

    /// With a number, of whatever numbering the two sides agree on.
    #[must_use]
    pub fn with_code(mut self, code: i32) -> Self {
        self.code = Some(code);
        self
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its number, if it has one.
    pub fn code(&self) -> Option<i32> {
        self.code
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{} (code {code})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for StatusError {}

impl<T: Send + 'static> ReplyTo<Result<T, StatusError>> {
    /// Gives the answer, as [`tell`](ReplyTo::tell) does.
    pub fn succeed(self, answer: T) {
        self.tell(Ok(answer));
    }

    /// Refuses: the asker gets `error`, with [`ask_with_status`](ActorRef::ask_with_status) as
    /// [`AskWithStatusError::Refused`].
    pub fn refuse(self, error: StatusError) {
        self.tell(Err(error));
    }
}

/// Why an ask for an answer that may say no has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskWithStatusError {
    /// No answer came.
    #[error(transparent)]
    NoAnswer(#[from] AskError),
    /// The actor refused.
    #[error(transparent)]
    Refused(#[from] StatusError),
}

impl<M: Send + 'static> ActorRef<M> {
    /// As [`ask`](ActorRef::ask), for a question whose answer may be a refusal: both kinds of failure are one error.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future gives up the answer; the question stays sent.
    ///
    /// # Errors
    /// [`AskWithStatusError::Refused`] with what the actor refused with; [`AskWithStatusError::NoAnswer`] as soon as it
    /// is certain that no answer comes.
    pub fn ask_with_status<T: Send + 'static>(
        &self,
        make: impl FnOnce(ReplyTo<Result<T, StatusError>>) -> M,
        within: Duration,
    ) -> AskWithStatus<T> {
        AskWithStatus { ask: self.ask(make, within) }
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// As [`ask`](ActorContext::ask), for a question whose answer may be a refusal: both kinds of failure are one error.
    pub fn ask_with_status<N, T>(
        &mut self,
        target: &ActorRef<N>,
        make: impl FnOnce(ReplyTo<Result<T, StatusError>>) -> N,
        within: Duration,
        map: impl FnOnce(Result<T, AskWithStatusError>) -> M + Send + 'static,
    ) where
        N: Send + 'static,
        T: Send + 'static,
    {
        self.ask(target, make, within, |outcome| map(with_status(outcome)));
    }
}

fn with_status<T>(outcome: Result<Result<T, StatusError>, AskError>) -> Result<T, AskWithStatusError> {
    Ok(outcome??)
}

pin_project! {
    /// The wait for one answer that may be a refusal; made by [`ActorRef::ask_with_status`].
    ///
    /// Cancel safe: dropping it gives up the answer, nothing else.
    #[must_use = "the answer is lost unless this is awaited"]
    pub struct AskWithStatus<T> {
        #[pin]
        ask: Ask<Result<T, StatusError>>,
    }
}

impl<T: Send + 'static> Future for AskWithStatus<T> {
    type Output = Result<T, AskWithStatusError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().ask.poll(cx).map(with_status)
    }
}

impl<T> fmt::Debug for AskWithStatus<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AskWithStatus")
    }
}
