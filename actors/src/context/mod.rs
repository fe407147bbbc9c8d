//! [`ActorContext`]: what an actor can do besides handling messages.

mod adapter;
pub(crate) mod ask;
pub(crate) mod children;
mod tasks;
mod watching;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub use self::children::SpawnError;

use self::ask::PendingAsks;
use self::children::Children;
use self::tasks::TiedTasks;
use self::watching::Watching;
use crate::actor_ref::ActorRef;
use crate::cell::{Cell, Internal};
use crate::clock::{Clock, Sleep, Tick};
use crate::discard;
use crate::path::ActorPath;
use crate::queue::Receiver;
use crate::stash::StashBuffer;
use crate::system::ActorSystem;
use crate::testkit::{Effect, Recorder};
use crate::timers::{TimerTable, Timers};

/// What an actor can do besides handling messages. It belongs to the actor's turn and cannot leave it.
pub struct ActorContext<M> {
    pub(crate) cell: Arc<Cell<M>>,
    this: ActorRef<M>,
    clock: Clock,
    pub(crate) receiver: Receiver<M, Internal<M>>,
    /// Brought back from a stash: served before the mailbox, by the next life too if this one fails.
    pub(crate) unstashed: VecDeque<M>,
    pub(crate) children: Children,
    pub(crate) watching: Watching<M>,
    pub(crate) timers: TimerTable<M>,
    pub(crate) asks: PendingAsks<M>,
    pub(crate) receive_timeout: Option<ReceiveTimeout<M>>,
    pub(crate) tasks: TiedTasks,
    /// Which life this is. What an earlier life started is not delivered to a later one.
    pub(crate) life: u64,
    pub(crate) sleep: Option<Pin<Box<Sleep>>>,
    pub(crate) slept_until: Option<Tick>,
    /// Hears of the rarer verbs, in tests of this actor alone.
    pub(crate) recorder: Option<Arc<Recorder>>,
}

pub(crate) struct ReceiveTimeout<M> {
    after: Duration,
    /// `None` until the actor next has nothing to do: under load nobody looks at the clock for this.
    pub(crate) deadline: Option<Tick>,
    make: Box<dyn FnMut() -> M + Send>,
}

impl<M: Send + 'static> ActorContext<M> {
    pub(crate) fn new(cell: Arc<Cell<M>>, clock: Clock) -> Self {
        Self {
            this: ActorRef::local(cell.clone()),
            cell,
            clock,
            receiver: Receiver::new(),
            unstashed: VecDeque::new(),
            children: Children::default(),
            watching: Watching::default(),
            timers: TimerTable::new(),
            asks: PendingAsks::default(),
            receive_timeout: None,
            tasks: TiedTasks::default(),
            life: 0,
            sleep: None,
            slept_until: None,
            recorder: None,
        }
    }

    /// This actor's own reference.
    pub fn this(&self) -> &ActorRef<M> {
        &self.this
    }

    /// This actor's path.
    pub fn path(&self) -> &ActorPath {
        self.this.path()
    }

    /// The system this actor lives in.
    pub fn system(&self) -> &ActorSystem {
        use crate::cell::Control;
        self.cell.head().system()
    }

    /// The system's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// This actor's timers.
    pub fn timers(&mut self) -> Timers<'_, M> {
        Timers::new(&mut self.timers, &self.clock, self.recorder.as_deref())
    }

    /// Tells the test of this actor, if it is under one.
    fn record(&self, effect: impl FnOnce() -> Effect) {
        if let Some(recorder) = &self.recorder {
            recorder.note(effect());
        }
    }

    /// Brings all stashed messages back, in order. They are handled before anything newer in the mailbox, one by one,
    /// by whatever the actor is by then; if it fails in between, the next life handles the rest.
    ///
    /// Messages stashed from now on wait for the next call.
    pub fn unstash_all(&mut self, stash: &mut StashBuffer<M>) {
        self.record(|| Effect::Unstashed { count: stash.len() });
        self.unstashed.append(&mut stash.take());
    }

    /// Delivers what `make` returns whenever no message came for `after`, again and again. Signals, timers and this
    /// message itself do not count as messages. Ends with this life.
    pub fn set_receive_timeout(&mut self, after: Duration, make: impl FnMut() -> M + Send + 'static) {
        self.record(|| Effect::ReceiveTimeoutSet { after });
        self.receive_timeout = Some(ReceiveTimeout { after, deadline: None, make: Box::new(make) });
    }

    /// Ends [`set_receive_timeout`](ActorContext::set_receive_timeout).
    pub fn cancel_receive_timeout(&mut self) {
        self.record(|| Effect::ReceiveTimeoutCancelled);
        self.receive_timeout = None;
    }

    /// Ends everything that belongs to one life. Runs outside the life: destructors that panic are caught.
    pub(crate) fn end_life(&mut self) {
        self.timers.clear_caught();
        self.asks.clear_caught();
        let receive_timeout = self.receive_timeout.take();
        discard::caught(|| drop(receive_timeout));
        self.tasks.abort_all();
        self.life += 1;
    }

    /// A restart stops the children: their ends are no news to the next life.
    pub(crate) fn forget_children_watches(&mut self) {
        for child in self.children.paths() {
            self.watching.forget(child, self.this.path());
        }
    }

    pub(crate) fn poll_sleep(&mut self, deadline: Tick, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if self.slept_until != Some(deadline) {
                    sleep.as_mut().reset(deadline);
                }
                sleep
            }
            none => none.insert(Box::pin(self.clock.sleep_until(deadline))),
        };
        self.slept_until = Some(deadline);
        sleep.as_mut().poll(cx)
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        self.next_deadline().is_some()
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        let idle = self.receive_timeout.as_ref().and_then(|timeout| timeout.deadline);
        [self.timers.next_deadline(), self.asks.next_deadline(), idle].into_iter().flatten().min()
    }

    /// The next message that time brings.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<M> {
        if let Some(message) = self.asks.pop_due(now) {
            return Some(message);
        }
        if let Some(message) = self.timers.pop_due(now) {
            return Some(message);
        }
        let timeout = self.receive_timeout.as_mut()?;
        if timeout.deadline? > now {
            return None;
        }
        timeout.deadline = None;
        Some((timeout.make)())
    }

    /// A message was handled: the receive timeout starts again.
    pub(crate) fn message_came(&mut self) {
        if let Some(timeout) = &mut self.receive_timeout {
            timeout.deadline = None;
        }
    }

    /// There is nothing to do: the receive timeout runs from now.
    pub(crate) fn going_idle(&mut self) {
        if let Some(timeout) = &mut self.receive_timeout
            && timeout.deadline.is_none()
        {
            timeout.deadline = Some(self.clock.now() + timeout.after);
        }
    }
}

impl<M: Send + 'static> fmt::Debug for ActorContext<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorContext").field("path", self.path()).finish_non_exhaustive()
    }
}
