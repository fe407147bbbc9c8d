//! [`ask_hedged`]: one answer, of whichever target is quick enough.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use super::{NotEnoughAnswers, Running, Until};
use crate::actor_ref::ActorRef;
use crate::ask::{AskError, ReplyTo};
use crate::clock::{Sleep, Tick};

/// Asks the first of `targets`, and the next one whenever `delay` has passed without an answer or a try has failed: the
/// first answer wins, the other asks are given up. `within` is the time for all tries together.
///
/// The first question is sent by this call, the later ones while the future is polled, each made by `make`. The question
/// may thus be handled by more than one target: it should change nothing, or the same whoever handles it. Awaited inside
/// a handler it holds up that actor; [`ActorContext::ask_hedged`](crate::ActorContext::ask_hedged) does not.
///
/// # Cancel safety
/// Cancel safe: dropping the future gives up the answer; questions that were sent stay sent, no further one is.
///
/// # Errors
/// [`NotEnoughAnswers`] once every target has failed, or the time is over, or there is no target.
pub fn ask_hedged<'a, N, R, F>(
    targets: impl IntoIterator<Item = &'a ActorRef<N>>,
    make: F,
    delay: Duration,
    within: Duration,
) -> AskHedged<N, R, F>
where
    N: Send + 'static,
    R: Send + 'static,
    F: FnMut(ReplyTo<R>) -> N,
{
    let targets: Vec<ActorRef<N>> = targets.into_iter().cloned().collect();
    let tries = targets.first().map(|first| {
        let until = Until::of(first, within);
        let next_at = until.began + delay;
        Tries { until, delay, next_at, sleep: None }
    });
    let mut hedged =
        AskHedged { tries, left: targets.into_iter(), number: 0, make, running: Running::none(), errors: Vec::new() };
    hedged.ask_next();
    hedged
}

/// The wait for the first answer of several actors that are asked one after the other; made by [`ask_hedged`].
#[must_use = "the answer is lost unless this is awaited"]
pub struct AskHedged<N, R, F> {
    /// `None` when there was no target to begin with.
    tries: Option<Tries>,
    left: vec::IntoIter<ActorRef<N>>,
    /// The number of the next target.
    number: usize,
    make: F,
    running: Running<R>,
    errors: Vec<(usize, AskError)>,
}

/// When to ask whom.
struct Tries {
    until: Until,
    delay: Duration,
    /// When the next target is asked if no answer comes.
    next_at: Tick,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Tries {
    /// Whether it is time for the next try.
    fn poll_next_is_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { until, delay, next_at, sleep } = self;
        let sleep = sleep.get_or_insert_with(|| Box::pin(until.clock.sleep_until(*next_at)));
        std::task::ready!(sleep.as_mut().poll(cx));
        *next_at = *next_at + *delay;
        sleep.as_mut().reset(*next_at);
        Poll::Ready(())
    }

    /// The next target was asked before its time: the delay counts from now.
    fn begin_delay(&mut self) {
        self.next_at = self.until.clock.now() + self.delay;
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(self.next_at);
        }
    }
}

/// Answers and targets are moved, never pinned.
impl<N, R, F> Unpin for AskHedged<N, R, F> {}

impl<N, R, F> AskHedged<N, R, F>
where
    N: Send + 'static,
    R: Send + 'static,
    F: FnMut(ReplyTo<R>) -> N,
{
    /// Asks the next target, if there is one.
    fn ask_next(&mut self) -> bool {
        let (Some(tries), Some(target)) = (&self.tries, self.left.next()) else { return false };
        self.running.ask(self.number, &target, &mut self.make, &tries.until);
        self.number += 1;
        true
    }

    /// A try has failed: the next one takes its place, unless the time is over for all of them.
    fn failed(&mut self, number: usize, error: AskError) {
        self.errors.push((number, error));
        if error == AskError::Timeout {
            self.left = Vec::new().into_iter();
        } else if self.ask_next()
            && let Some(tries) = &mut self.tries
        {
            tries.begin_delay();
        }
    }
}

impl<N, R, F> Future for AskHedged<N, R, F>
where
    N: Send + 'static,
    R: Send + 'static,
    F: FnMut(ReplyTo<R>) -> N,
{
    type Output = Result<R, NotEnoughAnswers<R>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match this.running.poll_next(cx) {
                Poll::Ready(Some((_, Ok(answer)))) => {
                    this.running.give_up();
                    this.left = Vec::new().into_iter();
                    return Poll::Ready(Ok(answer));
                }
                Poll::Ready(Some((number, Err(error)))) => {
                    this.failed(number, error);
                    continue;
                }
                Poll::Ready(None) => {
                    let errors = mem::take(&mut this.errors);
                    return Poll::Ready(Err(NotEnoughAnswers::new(1, Vec::new(), errors)));
                }
                Poll::Pending => {}
            }
            let Some(tries) = this.tries.as_mut().filter(|_| this.left.len() > 0) else { return Poll::Pending };
            std::task::ready!(tries.poll_next_is_due(cx));
            this.ask_next();
        }
    }
}

impl<N, R, F> fmt::Debug for AskHedged<N, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskHedged").field("asked", &self.number).field("left", &self.left.len()).finish_non_exhaustive()
    }
}
