//! [`ask_first`]: a quorum of targets has to answer.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{NotEnoughAnswers, Running, Until};
use crate::actor_ref::ActorRef;
use crate::ask::{AskError, ReplyTo};

/// Asks all `targets` and waits for the first `wanted` answers, `within` in total: each with the number of its target,
/// in the order in which they came. The other asks are given up then.
///
/// The questions are sent by this call, in the order of the targets, each made by `make`. Nothing is sent when no answer
/// is wanted, or more than there are targets. Awaited inside a handler it holds up that actor;
/// [`ActorContext::ask_first`](crate::ActorContext::ask_first) does not.
///
/// # Cancel safety
/// Cancel safe: dropping the future gives up the answers; the questions stay sent.
///
/// # Errors
/// [`NotEnoughAnswers`] as soon as too few targets are left that may still answer; those are given up.
pub fn ask_first<'a, N, R>(
    wanted: usize,
    targets: impl IntoIterator<Item = &'a ActorRef<N>>,
    mut make: impl FnMut(ReplyTo<R>) -> N,
    within: Duration,
) -> AskFirst<R>
where
    N: Send + 'static,
    R: Send + 'static,
{
    let running = Running::none();
    let targets: Vec<&ActorRef<N>> = targets.into_iter().collect();
    if wanted > 0
        && wanted <= targets.len()
        && let Some(first) = targets.first()
    {
        let until = Until::of(*first, within);
        for (number, target) in targets.into_iter().enumerate() {
            running.ask(number, target, &mut make, &until);
        }
    }
    AskFirst { wanted, running, answers: Vec::new(), errors: Vec::new() }
}

/// The wait for the first answers of several actors; made by [`ask_first`].
#[must_use = "the answers are lost unless this is awaited"]
pub struct AskFirst<R> {
    wanted: usize,
    running: Running<R>,
    answers: Vec<(usize, R)>,
    errors: Vec<(usize, AskError)>,
}

/// Answers are moved, never pinned.
impl<R> Unpin for AskFirst<R> {}

impl<R: Send + 'static> Future for AskFirst<R> {
    type Output = Result<Vec<(usize, R)>, NotEnoughAnswers<R>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if self.answers.len() >= self.wanted {
                self.running.give_up();
                return Poll::Ready(Ok(mem::take(&mut self.answers)));
            }
            if self.answers.len() + self.running.len() < self.wanted {
                self.running.give_up();
                let (answers, errors) = (mem::take(&mut self.answers), mem::take(&mut self.errors));
                return Poll::Ready(Err(NotEnoughAnswers::new(self.wanted, answers, errors)));
            }
            match self.running.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some((number, Ok(answer)))) => self.answers.push((number, answer)),
                Poll::Ready(Some((number, Err(error)))) => self.errors.push((number, error)),
                Poll::Ready(None) => {} // none is left: decided above
            }
        }
    }
}

impl<R> fmt::Debug for AskFirst<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskFirst").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
