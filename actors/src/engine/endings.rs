//! How lives end: failure, restart, stop.
//!
//! Restart, in this order: timers and tied tasks end, `PreRestart`, children stop and are awaited, the delay passes, the
//! factory runs. Messages wait in the mailbox meanwhile, signals too.
//! Stop: the mailbox closes, children stop and are awaited, `PostStop`, the state is dropped, what was not handled
//! becomes dead letters, the parent learns (which frees the name), then the watchers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::{error, warn};

use super::{Engine, unless_forced};
use crate::actor::{Actor, Signal};
use crate::ask::AskError;
use crate::cell::{Control, Ended, Internal};
use crate::discard;
use crate::event_stream::{ActorRestarted, DeadLetterReason, StopForced};
use crate::panic_text::panic_text;
use crate::supervision::Failure;

impl<A: Actor> Engine<A> {
    /// Ends a life and waits for the next to begin; `Break` when the actor is to stop instead.
    pub(super) async fn restart(
        &mut self,
        state: Option<A>,
        failure: Failure,
        delay: Duration,
        keep_children: bool,
    ) -> ControlFlow<()> {
        self.ctx.end_life();
        self.clear_cause();
        let mut state = state;
        if failure.is_panic() {
            drop_state(state.take());
        } else if let Some(actor) = &mut state {
            self.last_signal(actor, Signal::PreRestart).await;
        }
        self.note_restart(failure, delay);

        let mut waiting = VecDeque::new();
        if !keep_children {
            self.ctx.forget_children_watches();
            self.ctx.children.stop_all();
        }
        let stop = self.wait_without_life(&mut waiting, !keep_children, None).await;
        drop_state(state);
        let stop = match stop {
            ControlFlow::Break(()) => stop,
            ControlFlow::Continue(()) if delay.is_zero() => stop,
            ControlFlow::Continue(()) => self.wait_without_life(&mut waiting, false, Some(delay)).await,
        };
        self.ctx.receiver.put_back(waiting);
        stop
    }

    /// Waits for the children to end, or for a delay to pass. Of what comes meanwhile only a wish to stop and the ends
    /// of children are looked at; the rest is kept, in order, in `waiting`.
    async fn wait_without_life(
        &mut self,
        waiting: &mut VecDeque<Internal<A::Message>>,
        for_children: bool,
        delay: Option<Duration>,
    ) -> ControlFlow<()> {
        let deadline = delay.map(|delay| self.ctx.clock().now() + delay);
        let mut stop = ControlFlow::Continue(());
        loop {
            if for_children && self.ctx.children.is_empty() {
                return stop;
            }
            let ctx = &mut self.ctx;
            let internal = poll_fn(|cx| {
                if let Poll::Ready(internal) = ctx.receiver.poll_internal(ctx.cell.queue(), cx) {
                    return Poll::Ready(Some(internal));
                }
                match deadline {
                    Some(deadline) => ctx.poll_sleep(deadline, cx).map(|()| None),
                    None => Poll::Pending,
                }
            })
            .await;
            match internal {
                None => return stop,
                Some(Internal::Stop) if for_children => stop = ControlFlow::Break(()), // they are awaited anyway
                Some(Internal::Stop) => return ControlFlow::Break(()),
                Some(Internal::ChildEnded(ended)) => {
                    self.ctx.children.remove(&ended.path);
                    if self.ctx.watching.contains(&ended.path) {
                        waiting.push_back(Internal::ChildEnded(ended));
                    }
                }
                Some(other) => waiting.push_back(other),
            }
        }
    }

    /// The end of the actor.
    pub(super) async fn finish(mut self, mut state: Option<A>, failure: Option<Failure>) {
        self.ctx.receiver.close(self.ctx.cell.queue());
        self.ctx.end_life();
        self.clear_cause();
        self.ctx.children.close();
        self.ctx.children.stop_all();
        self.wait_for_children().await;
        if let Some(actor) = &mut state {
            let cell = self.ctx.cell.clone();
            if unless_forced(&cell, self.last_signal(actor, Signal::PostStop)).await.is_none() {
                self.note_forced();
            }
        }
        self.ctx.end_life(); // `PostStop` may have started something
        drop_state(state);

        let path = self.ctx.path().clone();
        self.ctx.watching.clear(&path);
        self.drop_undelivered();
        let failure = failure.map(|failure| Arc::from(failure.error));
        self.parent.child_ended(Ended { path, failure });
        self.ctx.cell.head().end();
    }

    async fn wait_for_children(&mut self) {
        while !self.ctx.children.is_empty() {
            let ctx = &mut self.ctx;
            let internal = poll_fn(|cx| ctx.receiver.poll_internal(ctx.cell.queue(), cx)).await;
            if let Internal::ChildEnded(ended) = internal {
                self.ctx.children.remove(&ended.path);
            }
        }
    }

    fn drop_undelivered(&mut self) {
        let unstashed = std::mem::take(&mut self.ctx.unstashed);
        let (messages, internal) = self.ctx.receiver.end(self.ctx.cell.queue());
        let head = self.ctx.cell.head();
        for _ in 0..unstashed.len() + messages.len() {
            head.dead_letter::<A::Message>(DeadLetterReason::StoppedBefore);
        }
        drop_caught(|| discard::because(AskError::Stopped, (unstashed, messages, internal)));
    }

    /// Delivers a signal whose result does not matter any more.
    async fn last_signal(&mut self, actor: &mut A, signal: Signal) {
        let name = if matches!(signal, Signal::PreRestart) { "PreRestart" } else { "PostStop" };
        match AssertUnwindSafe(actor.on_signal(&mut self.ctx, signal)).catch_unwind().await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => error!(error, signal = name, "handler of a last signal failed"),
            Err(panic) => error!(panic = panic_text(&*panic), signal = name, "handler of a last signal panicked"),
        }
    }

    fn clear_cause(&mut self) {
        self.turn.set_cause(None);
        self.has_cause = false;
    }

    pub(super) fn note_resume(&self, failure: &Failure) {
        metrics::counter!("actors_failures_total", "decision" => "resume").increment(1);
        warn!(error = &*failure.error, "actor failed and resumes");
    }

    pub(super) fn note_failure(&self, failure: &Failure) {
        metrics::counter!("actors_failures_total", "decision" => "stop").increment(1);
        error!(error = &*failure.error, starting = failure.starting, "actor failed and stops");
    }

    pub(super) fn note_forced(&self) {
        let head = self.ctx.cell.head();
        let after = head.force().map_or(Duration::ZERO, |force| force.after);
        warn!(?after, "actor did not stop in time: its handler was dropped");
        head.system().event_stream().publish(StopForced { actor: head.path().clone(), after });
    }

    fn note_restart(&self, failure: Failure, delay: Duration) {
        metrics::counter!("actors_failures_total", "decision" => "restart").increment(1);
        warn!(error = &*failure.error, starting = failure.starting, ?delay, "actor failed and restarts");
        let actor = self.ctx.path().clone();
        let cause = Arc::from(failure.error);
        self.system().event_stream().publish(ActorRestarted { actor, cause, delay });
    }
}

/// Drops what an actor was; asks it kept a `ReplyTo` of learn that it has stopped.
pub(super) fn drop_state<A>(state: Option<A>) {
    drop_caught(|| discard::because(AskError::Stopped, state));
}

/// A destructor that panics must not take the supervision tree with it.
fn drop_caught(drop: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(drop)) {
        error!(panic = panic_text(&*panic), "panicked while being dropped");
    }
}
