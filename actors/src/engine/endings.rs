//! How lives end: failure, restart, stop.
//!
//! Restart, in this order: timers and tied tasks end, `PreRestart`, children stop and are awaited, the delay passes, the
//! factory runs. Messages wait in the mailbox meanwhile, signals too.
//! Stop: the mailbox closes (its parent has shut it before, so that nobody sends in vain), what was not handled becomes dead letters, children stop and are awaited, `PostStop`, the
//! state is dropped, the parent learns (which frees the name), then the watchers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tracing::{error, warn};

use super::Engine;
use crate::actor::{Actor, Signal, ignores_last_signals};
use crate::ask::AskError;
use crate::clock::Tick;
use crate::context::ActorContext;
use crate::discard;
use crate::envelope::{Envelope, Internal};
use crate::event_stream::{ActorKilled, ActorRestarted, DeadLetterReason, StopForced};
use crate::failed_message::Fate;
use crate::foyer::Foyer;
use crate::orders::{Cut, Obedient};
use crate::panic_text::panic_text;
use crate::supervision::Failure;

/// The signals that end a life.
#[derive(Clone, Copy)]
enum Last {
    PreRestart,
    PostStop,
}

impl Last {
    fn signal(self) -> Signal {
        match self {
            Self::PreRestart => Signal::PreRestart,
            Self::PostStop => Signal::PostStop,
        }
    }
}

impl<A: Actor> Engine<A> {
    /// Ends a life and waits for the next to begin; `Break` when the actor is to stop instead.
    pub(super) async fn restart(&mut self, failure: Failure, delay: Duration, keep_children: bool) -> ControlFlow<()> {
        self.ctx.end_life();
        if failure.is_panic() {
            drop_state(self.state.take(), AskError::NoReply);
        } else {
            self.last_signal(Last::PreRestart).await;
        }
        self.note_restart(failure, delay);

        let mut waiting = VecDeque::new();
        let mut stop = ControlFlow::Continue(());
        if !keep_children {
            self.ctx.forget_children_watches();
            self.children_ended(|other| match other {
                Internal::Stop => stop = ControlFlow::Break(()), // the children are awaited all the same
                other => waiting.push_back(other),
            })
            .await;
        }
        drop_state(self.state.take(), AskError::NoReply);
        self.ctx.end_life(); // `PreRestart` may have started something
        if stop.is_continue() && !delay.is_zero() {
            stop = self.delay_passed(&mut waiting, delay).await;
        }
        // Whoever is to stop anyway need not live again first.
        while let Some(internal) = self.owner.next_internal(self.ctx.cell()) {
            match internal {
                Internal::Stop => stop = ControlFlow::Break(()),
                other => waiting.push_back(other),
            }
        }
        self.owner.put_back(self.ctx.cell(), waiting);
        stop
    }

    /// Stops the children and waits until each has ended; once this actor's own time is over, kills those that have not.
    /// Whether it came to that. What else comes meanwhile goes to `keep`.
    async fn children_ended(&mut self, mut keep: impl FnMut(Internal<A::Message>)) -> bool {
        let mut over = false;
        self.ctx.stop_children();
        while self.ctx.has_children() {
            let (ctx, owner) = (&mut self.ctx, &mut self.owner);
            let internal = poll_fn(|cx| {
                if !over && time_is_over(ctx, cx) {
                    return Poll::Ready(None);
                }
                owner.poll_internal(ctx.cell()).map(Some)
            });
            match internal.await {
                None => {
                    over = true;
                    self.note_late();
                    self.ctx.kill_children();
                }
                Some(Internal::ChildEnded(place)) => {
                    self.ctx.child_ended(place);
                    self.ctx.stop_next_child();
                }
                Some(Internal::Inspect(probe)) => self.inspected(*probe),
                Some(other) => keep(other),
            }
        }
        over
    }

    /// Waits, between two lives, until `delay` has passed or the actor is to stop; one that is drained, until its time is over.
    async fn delay_passed(&mut self, waiting: &mut VecDeque<Internal<A::Message>>, delay: Duration) -> ControlFlow<()> {
        let deadline = self.ctx.clock().now() + delay;
        let mut drained: Option<Tick> = None;
        loop {
            let next = drained.map_or(deadline, |until| until.min(deadline));
            let (ctx, owner) = (&mut self.ctx, &mut self.owner);
            let internal = poll_fn(|cx| match owner.poll_internal(ctx.cell()) {
                Poll::Ready(internal) => Poll::Ready(Some(internal)),
                Poll::Pending => ctx.poll_sleep(next, cx).map(|()| None),
            });
            match internal.await {
                None if next < deadline => return ControlFlow::Break(()),
                None => return ControlFlow::Continue(()),
                Some(Internal::Drain { until }) => {
                    drained = Some(drained.map_or(until, |before| before.min(until)));
                    waiting.push_back(Internal::Drain { until });
                }
                Some(Internal::Stop) => return ControlFlow::Break(()),
                Some(Internal::ChildEnded(place)) => self.ctx.child_ended(place),
                Some(Internal::Inspect(probe)) => self.inspected(*probe),
                Some(other) => waiting.push_back(other),
            }
        }
    }

    /// The end of the actor.
    pub(super) async fn finish(&mut self, failure: Option<Box<Failure>>) {
        // First, because a child may wait for an answer from here, and is itself waited for below.
        let messages = self.owner.close(self.ctx.cell());
        self.drop_unhandled(messages);
        self.ctx.end_life();
        if self.ctx.close_children() {
            let over = Box::pin(self.children_ended(|other| discard::caught(|| drop(other)))).await;
            if over {
                drop_state(self.state.take(), AskError::Stopped);
            }
        }
        self.last_signal(Last::PostStop).await;
        self.note_killed();
        self.ctx.end_life(); // `PostStop` may have started something
        drop_state(self.state.take(), AskError::Stopped);

        self.ctx.forget_watches();
        let (messages, internal) = self.owner.end(self.ctx.cell());
        self.drop_unhandled(messages);
        if !internal.is_empty() {
            discard::each_caught_because(AskError::Stopped, internal);
        }
        let failure = failure.map(|failure| Arc::from(failure.error));
        let head = self.head();
        head.parent().child_ended(head.place());
        head.end(failure);
    }

    /// Makes dead letters of `messages` and of what was brought back from a stash.
    fn drop_unhandled(&mut self, messages: VecDeque<Envelope<A::Message>>) {
        let unstashed = self.ctx.take_unstashed();
        let messages = match self.ctx.cell().foyer().map(Foyer::close) {
            None => messages,
            Some(held) => messages.into_iter().filter(|came| !matches!(came, Envelope::Held)).chain(held).collect(),
        };
        if messages.is_empty() && unstashed.is_empty() {
            return;
        }
        let head = self.head();
        let counts = |envelope: &&Envelope<_>| {
            !matches!(envelope, Envelope::Ended(_) | Envelope::Streamed(_) | Envelope::Inspect(_))
        };
        let accepted = messages.iter().filter(counts).count();
        for _ in 0..unstashed.len() + accepted {
            head.dead_letter::<A::Message>(DeadLetterReason::StoppedBefore);
        }
        discard::each_caught_because(AskError::Stopped, unstashed);
        discard::each_caught_because(AskError::Stopped, messages);
    }

    /// Delivers a signal whose result does not matter any more.
    async fn last_signal(&mut self, last: Last) {
        if ignores_last_signals::<A>() {
            return;
        }
        let Some(actor) = &mut self.state else { return };
        let cell = self.ctx.cell().clone();
        let ctx = &mut self.ctx;
        // Called inside: what comes before the handler's future may panic too.
        let handled =
            Obedient::new(cell, AssertUnwindSafe(async { actor.on_signal(ctx, last.signal()).await }).catch_unwind())
                .await;
        let signal = last.signal();
        match handled {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) => error!(error, ?signal, "handler of a last signal failed"),
            Ok(Err(panic)) => error!(panic = panic_text(&*panic), ?signal, "handler of a last signal panicked"),
            Err(cut) => self.note_cut(cut),
        }
    }

    pub(super) fn clear_cause(&mut self) {
        self.settle_up();
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

    /// A handler was dropped. Of a kill it is said at the end.
    pub(super) fn note_cut(&mut self, cut: Cut) {
        if let Cut::Late(after) = cut {
            self.note_forced(after);
        }
    }

    /// Children that have not ended are killed.
    fn note_late(&mut self) {
        if !self.head().is_killed()
            && let Some(limit) = self.head().limit_of_whole()
        {
            self.note_forced(limit.after);
        }
    }

    fn note_forced(&mut self, after: Duration) {
        if std::mem::replace(&mut self.forced, true) {
            return;
        }
        let head = self.head();
        warn!(?after, "actor did not stop in time: what it did was dropped");
        head.system().event_stream().publish(StopForced { actor: head.path().clone(), after });
    }

    fn note_killed(&self) {
        let head = self.head();
        if head.is_killed() {
            warn!("actor was killed: what it did was dropped");
            head.system().event_stream().publish(ActorKilled { actor: head.path().clone() });
        }
    }

    /// A handler failed: something may be left to do with its message.
    pub(super) fn message_failed(&mut self, failure: &Failure, goes_on: bool) {
        let Some((message, attempts, fate)) = self.ctx.kept().and_then(|kept| kept.failed(goes_on)) else { return };
        let head = self.head();
        match fate {
            Fate::Redeliver => self.ctx.put_first(message),
            Fate::Drop => {
                head.dead_letter::<A::Message>(DeadLetterReason::Failed);
                discard::caught(|| drop(message));
            }
            Fate::Park => {
                let cause = failure.error.to_string();
                if !head.system().parking_lot().park(message, self.ctx.cell(), cause, attempts) {
                    head.dead_letter::<A::Message>(DeadLetterReason::ParkingLotFull);
                }
            }
        }
    }

    fn note_restart(&mut self, failure: Failure, delay: Duration) {
        self.ctx.note_restart();
        metrics::counter!("actors_failures_total", "decision" => "restart").increment(1);
        warn!(error = &*failure.error, starting = failure.starting, ?delay, "actor failed and restarts");
        let actor = self.ctx.path().clone();
        let cause = Arc::from(failure.error);
        self.system().event_stream().publish(ActorRestarted { actor, cause, delay });
    }
}

/// Whether the children are to be killed.
fn time_is_over<M: Send + 'static>(ctx: &mut ActorContext<M>, cx: &mut Context<'_>) -> bool {
    let head = ctx.cell().head();
    if !head.is_ordered() {
        return false;
    }
    if head.is_killed() {
        return true;
    }
    let limit = head.limit_of_whole();
    limit.is_some_and(|limit| ctx.poll_sleep(limit.at, cx).is_ready())
}

/// Drops what an actor was; asks it kept a `ReplyTo` of end with `reason`.
pub(super) fn drop_state<A>(state: Option<A>, reason: AskError) {
    discard::caught(|| discard::because(reason, state));
}
