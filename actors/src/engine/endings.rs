//! How lives end: failure, restart, stop.
//!
//! Restart, in this order: timers and tied tasks end, `PreRestart`, children stop and are awaited, the delay passes, the
//! factory runs. Messages wait in the mailbox meanwhile, signals too.
//! Stop: the mailbox closes, what was not handled becomes dead letters, children stop and are awaited, `PostStop`, the
//! state is dropped, the parent learns (which frees the name), then the watchers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tracing::{error, warn};

use super::{Engine, unless_forced};
use crate::actor::{Actor, Signal};
use crate::ask::AskError;
use crate::cell::Control;
use crate::discard;
use crate::envelope::{Envelope, Internal};
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
        let mut state = state;
        if failure.is_panic() {
            drop_state(state.take(), AskError::NoReply);
        } else if let Some(actor) = &mut state {
            self.last_signal(actor, Signal::PreRestart).await;
        }
        self.note_restart(failure, delay);

        let mut waiting = VecDeque::new();
        let mut stop = ControlFlow::Continue(());
        if !keep_children {
            self.ctx.forget_children_watches();
            self.ctx.stop_children();
            stop = self.children_ended(&mut waiting).await;
        }
        drop_state(state, AskError::NoReply);
        self.ctx.end_life(); // `PreRestart` may have started something
        if stop.is_continue() && !delay.is_zero() {
            stop = self.delay_passed(&mut waiting, delay).await;
        }
        // Whoever is to stop anyway need not live again first.
        while let Some(internal) = self.owner.next_internal() {
            match internal {
                Internal::Stop => stop = ControlFlow::Break(()),
                other => waiting.push_back(other),
            }
        }
        self.owner.put_back(waiting);
        stop
    }

    /// Waits, between two lives, until all children have ended. What comes meanwhile is kept, in order, in `waiting`.
    async fn children_ended(&mut self, waiting: &mut VecDeque<Internal<A::Message>>) -> ControlFlow<()> {
        let mut stop = ControlFlow::Continue(());
        while self.ctx.has_children() {
            match self.next_internal().await {
                Internal::ChildEnded(place) => self.ctx.child_ended(place),
                Internal::Stop => stop = ControlFlow::Break(()), // the children are awaited all the same
                other => waiting.push_back(other),
            }
        }
        stop
    }

    /// Waits, between two lives, until `delay` has passed or the actor is to stop.
    async fn delay_passed(&mut self, waiting: &mut VecDeque<Internal<A::Message>>, delay: Duration) -> ControlFlow<()> {
        let deadline = self.ctx.clock().now() + delay;
        loop {
            let (ctx, owner) = (&mut self.ctx, &mut self.owner);
            let internal = poll_fn(|cx| match owner.poll_internal() {
                Poll::Ready(internal) => Poll::Ready(Some(internal)),
                Poll::Pending => ctx.poll_sleep(deadline, cx).map(|()| None),
            });
            match internal.await {
                None => return ControlFlow::Continue(()),
                Some(Internal::Stop) => return ControlFlow::Break(()),
                Some(Internal::ChildEnded(place)) => self.ctx.child_ended(place),
                Some(other) => waiting.push_back(other),
            }
        }
    }

    async fn next_internal(&mut self) -> Internal<A::Message> {
        poll_fn(|_| self.owner.poll_internal()).await
    }

    /// The end of the actor.
    pub(super) async fn finish(&mut self, mut state: Option<A>, failure: Option<Failure>) {
        // First, because a child may wait for an answer from here, and is itself waited for below.
        let messages = self.owner.close();
        self.drop_unhandled(messages);
        self.ctx.end_life();
        if self.ctx.close_children() {
            Box::pin(self.last_children()).await;
        }
        if let Some(actor) = &mut state {
            self.last_signal(actor, Signal::PostStop).await;
        }
        self.ctx.end_life(); // `PostStop` may have started something
        drop_state(state, AskError::Stopped);

        self.ctx.forget_watches();
        let (messages, internal) = self.owner.end();
        self.drop_unhandled(messages);
        discard::each_caught_because(AskError::Stopped, internal);
        let failure = failure.map(|failure| Arc::from(failure.error));
        let head = self.head();
        head.parent().clone().child_ended(head.place());
        head.end(failure);
    }

    /// Stops the children and waits until each has ended.
    async fn last_children(&mut self) {
        self.ctx.stop_children();
        while self.ctx.has_children() {
            match self.next_internal().await {
                Internal::ChildEnded(place) => self.ctx.child_ended(place),
                other => discard::caught(|| drop(other)),
            }
        }
    }

    /// Makes dead letters of `messages` and of what was brought back from a stash.
    fn drop_unhandled(&mut self, messages: VecDeque<Envelope<A::Message>>) {
        let unstashed = self.ctx.take_unstashed();
        let head = self.head();
        let accepted = messages.iter().filter(|envelope| !matches!(envelope, Envelope::Ended(_))).count();
        for _ in 0..unstashed.len() + accepted {
            head.dead_letter::<A::Message>(DeadLetterReason::StoppedBefore);
        }
        discard::each_caught_because(AskError::Stopped, unstashed);
        discard::each_caught_because(AskError::Stopped, messages);
    }

    /// Delivers a signal whose result does not matter any more.
    async fn last_signal(&mut self, actor: &mut A, signal: Signal) {
        let name = if matches!(signal, Signal::PreRestart) { "PreRestart" } else { "PostStop" };
        let handled = if self.head().force().is_some() {
            let cell = self.owner.cell().clone();
            let ctx = &mut self.ctx;
            // Called inside: what comes before the handler's future may panic too.
            let handler = AssertUnwindSafe(async { actor.on_signal(ctx, signal).await }).catch_unwind();
            Box::pin(unless_forced(Control::head(&*cell), handler)).await
        } else {
            let ctx = &mut self.ctx;
            Some(AssertUnwindSafe(async { actor.on_signal(ctx, signal).await }).catch_unwind().await)
        };
        match handled {
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => error!(error, signal = name, "handler of a last signal failed"),
            Some(Err(panic)) => error!(panic = panic_text(&*panic), signal = name, "handler of a last signal panicked"),
            None => self.note_forced(),
        }
    }

    pub(super) fn clear_cause(&mut self) {
        if self.has_cause {
            self.head().set_cause(None);
            self.has_cause = false;
        }
        self.next_turn();
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
        let head = self.head();
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

/// Drops what an actor was; asks it kept a `ReplyTo` of end with `reason`.
pub(super) fn drop_state<A>(state: Option<A>, reason: AskError) {
    discard::caught(|| discard::because(reason, state));
}
