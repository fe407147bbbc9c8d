//! [`ask_all`]: every target has to answer.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{NotEnoughAnswers, Running, Until};
use crate::actor_ref::ActorRef;
use crate::ask::{AskError, ReplyTo};

/// Asks all `targets`, `within` in total: their answers in the order of the targets.
///
/// The questions are sent by this call, in that order, each made by `make`. The same target may occur twice; no target at
/// all is answered by an empty list. Awaited inside a handler it holds up that actor;
/// [`ActorContext::ask_all`](crate::ActorContext::ask_all) does not.
///
/// # Cancel safety
/// Cancel safe: dropping the future gives up the answers; the questions stay sent.
///
/// # Errors
/// [`NotEnoughAnswers`] when one or more have no answer. It comes once the outcome of every target is known, the
/// answers that did come are in it.
pub fn ask_all<'a, N, R>(
    targets: impl IntoIterator<Item = &'a ActorRef<N>>,
    mut make: impl FnMut(ReplyTo<R>) -> N,
    within: Duration,
) -> AskAll<R>
where
    N: Send + 'static,
    R: Send + 'static,
{
    let running = Running::none();
    let mut until = None;
    for (number, target) in targets.into_iter().enumerate() {
        let until = until.get_or_insert_with(|| Until::of(target, within));
        running.ask(number, target, &mut make, until);
    }
    let outcomes = (0..running.len()).map(|_| None).collect();
    AskAll { running, outcomes }
}

/// The wait for the answers of several actors; made by [`ask_all`].
#[must_use = "the answers are lost unless this is awaited"]
pub struct AskAll<R> {
    running: Running<R>,
    outcomes: Vec<Option<Result<R, AskError>>>, // by target
}

/// Answers are moved, never pinned.
impl<R> Unpin for AskAll<R> {}

impl<R: Send + 'static> Future for AskAll<R> {
    type Output = Result<Vec<R>, NotEnoughAnswers<R>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.running.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some((number, outcome))) => self.outcomes[number] = Some(outcome),
                Poll::Ready(None) => return Poll::Ready(in_order(mem::take(&mut self.outcomes))),
            }
        }
    }
}

fn in_order<R>(outcomes: Vec<Option<Result<R, AskError>>>) -> Result<Vec<R>, NotEnoughAnswers<R>> {
    let wanted = outcomes.len();
    let (mut answers, mut errors) = (Vec::with_capacity(wanted), Vec::new());
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Some(Ok(answer)) => answers.push((number, answer)),
            Some(Err(error)) => errors.push((number, error)),
            None => errors.push((number, AskError::NoReply)),
        }
    }
    if errors.is_empty() {
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    } else {
        Err(NotEnoughAnswers::new(wanted, answers, errors))
    }
}

impl<R> fmt::Debug for AskAll<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskAll").field("targets", &self.outcomes.len()).finish_non_exhaustive()
    }
}
