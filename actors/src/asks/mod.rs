//! Asks of several actors at once: [`ask_all`], [`ask_first`], [`ask_hedged`]; and answers that may say no:
//! [`StatusError`].
//!
//! Each of the three sends its questions, has one deadline for all of them and comes back once: as soon as the outcome is
//! certain, at that deadline at the latest. From outside they are futures. Inside an actor
//! [`ActorContext::ask_all`](crate::ActorContext::ask_all) and its siblings bring the outcome back as one message, so that
//! the mailbox is not held up.
//!
//! ```
//! use actors::{ActorSystem, Behavior, BoxError, FnActor, ReplyTo, ask_all, ask_first, ask_hedged};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! const WITHIN: Duration = Duration::from_secs(1);
//! let system = ActorSystem::new("guide");
//! let scale = |name, factor| {
//!     let scale = FnActor::new(factor, |factor, _ctx, (number, reply_to): (u64, ReplyTo<u64>)| {
//!         reply_to.tell(number * *factor);
//!         Ok(Behavior::Same)
//!     });
//!     system.spawn(name, scale)
//! };
//! let scales = [scale("once", 1), scale("twice", 2), scale("thrice", 3)];
//!
//! // All of them, in the order of the targets.
//! assert_eq!(ask_all(&scales, |reply_to| (7, reply_to), WITHIN).await?, [7, 14, 21]);
//!
//! // A majority: two answers, each with the target it came from, in the order in which they came.
//! let majority = ask_first(2, &scales, |reply_to| (7, reply_to), WITHIN).await?;
//! assert_eq!(majority.len(), 2);
//!
//! // The first target; the second too if there is no answer after 50 milliseconds, or as soon as the first has failed.
//! let fifty = Duration::from_millis(50);
//! assert_eq!(ask_hedged(&scales[..2], |reply_to| (7, reply_to), fifty, WITHIN).await?, 7);
//! # Ok(())
//! # }
//! ```

mod all;
mod first;
mod hedged;
mod inside;
mod status;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use pin_project_lite::pin_project;

pub use self::all::{AskAll, ask_all};
pub use self::first::{AskFirst, ask_first};
pub use self::hedged::{AskHedged, ask_hedged};
pub use self::status::{AskWithStatus, AskWithStatusError, StatusError};

use crate::actor_ref::ActorRef;
use crate::ask::{Ask, AskError, ReplyTo, asked_at};
use crate::ask_chain::inherited;
use crate::clock::{Clock, Tick};

/// Fewer actors answered than were needed; made by [`ask_all`], [`ask_first`] and [`ask_hedged`].
///
/// A target that is in neither list was not asked, or was given up as soon as the outcome was certain.
#[derive(Clone, PartialEq, Eq)]
pub struct NotEnoughAnswers<R> {
    /// How many answers were needed.
    pub wanted: usize,
    /// The answers that came, each with the number of its target; in the order of the targets.
    pub answers: Vec<(usize, R)>,
    /// Why the others have no answer, each with the number of its target; in the order of the targets.
    pub errors: Vec<(usize, AskError)>,
}

impl<R> NotEnoughAnswers<R> {
    fn new(wanted: usize, mut answers: Vec<(usize, R)>, mut errors: Vec<(usize, AskError)>) -> Self {
        answers.sort_by_key(|(target, _)| *target);
        errors.sort_by_key(|(target, _)| *target);
        Self { wanted, answers, errors }
    }
}

impl<R> fmt::Display for NotEnoughAnswers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the {} answers needed came", self.answers.len(), self.wanted)?;
        let mut before = "; ";
        for (target, error) in &self.errors {
            write!(f, "{before}target {target}: {error}")?;
            before = ", ";
        }
        Ok(())
    }
}

impl<R> fmt::Debug for NotEnoughAnswers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotEnoughAnswers")
            .field("wanted", &self.wanted)
            .field("answers", &self.answers.len())
            .field("errors", &self.errors)
            .finish()
    }
}

impl<R> std::error::Error for NotEnoughAnswers<R> {}

/// Asks that run side by side. Dropping it gives all of them up.
struct Running<R>(FuturesUnordered<Numbered<R>>);

impl<R: Send + 'static> Running<R> {
    fn none() -> Self {
        Self(FuturesUnordered::new())
    }

    /// Sends a question; its outcome comes out of [`poll_next`](Running::poll_next) with the number of its target.
    fn ask<N: Send + 'static>(
        &self,
        number: usize,
        target: &ActorRef<N>,
        make: impl FnOnce(ReplyTo<R>) -> N,
        until: &Until,
    ) {
        let ask = target.ask_until(make, until.deadline);
        self.0.push(Numbered { number, ask });
    }

    /// The next ask that is over; `None` when none is left.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Result<R, AskError>)>> {
        futures_util::Stream::poll_next(Pin::new(&mut self.0), cx)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// Nobody waits for the answers still out.
    fn give_up(&mut self) {
        self.0 = FuturesUnordered::new();
    }
}

/// The one deadline of several asks.
struct Until {
    clock: Clock,
    began: Tick,
    deadline: Tick,
}

impl Until {
    /// `within` from now, by the clock of `target`'s system.
    fn of<N: Send + 'static>(target: &ActorRef<N>, within: Duration) -> Self {
        let clock = target.system().clock().clone();
        let began = clock.now();
        asked_at(began, &clock);
        // Tries made later are made beside the handler this is called in.
        let deadline = inherited(&clock, began + within);
        Self { clock, began, deadline }
    }
}

pin_project! {
    struct Numbered<R> {
        number: usize,
        #[pin]
        ask: Ask<R>,
    }
}

impl<R: Send + 'static> Future for Numbered<R> {
    type Output = (usize, Result<R, AskError>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.ask.poll(cx).map(|outcome| (*this.number, outcome))
    }
}
