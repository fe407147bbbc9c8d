//! [`ActorContext`]: what an actor can do besides handling messages.

mod adapter;
pub(crate) mod ask;
mod blocking;
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

pub use self::blocking::BlockingFull;
pub use self::children::SpawnError;

use self::ask::{PendingAnswer, PendingAsks};
use self::blocking::Blocking;
use self::children::Children;
use self::tasks::TiedTasks;
use self::watching::{Watch, Watching};
use crate::actor_ref::ActorRef;
use crate::cell::Head;
use crate::cell_ref::CellRef;
use crate::clock::{Clock, Sleep, Tick};
use crate::discard;
use crate::envelope::Place;
use crate::failed_message::{FailedPolicy, Kept};
use crate::orders::Ending;
use crate::path::ActorPath;
use crate::stash::{StashBuffer, Stashed};
use crate::system::ActorSystem;
use crate::testkit::{Effect, Recorder};
use crate::timers::{TimerTable, Timers};

/// It is stopping and takes no more children.
const CLOSED: u32 = 1 << 31;

/// What an actor can do besides handling messages. It belongs to the actor's turn and cannot leave it.
#[repr(C)]
pub struct ActorContext<M> {
    /// Made when first needed, as those below: most actors need none of them. Comes first since each turn looks at it.
    extras: Option<Box<Extras<M>>>,
    this: ActorRef<M>,
    /// Which life this is. What an earlier life started is not delivered to a later one.
    pub(crate) life: u32,
    /// How often it began another life; and [`CLOSED`].
    restarts: u32,
    children: Option<Box<Children>>,
    watching: Option<Box<Watching<M>>>,
}

/// What an actor is to do besides the messages of its mailbox.
struct Extras<M> {
    /// Brought back from a stash, or failed on and to be handled again: served before the mailbox, by the next life too if
    /// this one fails.
    unstashed: VecDeque<Stashed<M>>,
    timers: TimerTable<M>,
    asks: PendingAsks<M>,
    receive_timeout: Option<ReceiveTimeout<M>>,
    tasks: TiedTasks,
    blocking: Option<Blocking>,
    /// For an actor that does something about messages it failed on.
    pub(crate) kept: Option<Kept<M>>,
    /// Takes no more messages, and stops when it has none, or then.
    pub(crate) draining: Option<Tick>,
    /// Each message handled is a span.
    traced: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    slept_until: Option<Tick>,
    /// Hears of the rarer verbs, in tests of this actor alone.
    recorder: Option<Arc<Recorder>>,
}

impl<M> Default for Extras<M> {
    fn default() -> Self {
        Self {
            unstashed: VecDeque::new(),
            timers: TimerTable::new(),
            asks: PendingAsks::default(),
            receive_timeout: None,
            tasks: TiedTasks::default(),
            blocking: None,
            kept: None,
            draining: None,
            traced: false,
            sleep: None,
            slept_until: None,
            recorder: None,
        }
    }
}

struct ReceiveTimeout<M> {
    after: Duration,
    /// `None` until the actor next has nothing to do: under load nobody looks at the clock for this.
    deadline: Option<Tick>,
    make: Box<dyn FnMut() -> M + Send>,
}

impl<M: Send + 'static> ActorContext<M> {
    pub(crate) fn new(this: ActorRef<M>) -> Self {
        Self { this, life: 0, restarts: 0, extras: None, children: None, watching: None }
    }

    pub(crate) fn cell(&self) -> &CellRef<M> {
        self.this.cell().expect("an actor's own reference is a local one")
    }

    pub(crate) fn head(&self) -> &Head {
        self.cell().head()
    }

    fn extras(&mut self) -> &mut Extras<M> {
        self.extras.get_or_insert_default()
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
        self.head().system()
    }

    /// The system's clock.
    pub fn clock(&self) -> &Clock {
        self.system().clock()
    }

    /// This actor's timers.
    pub fn timers(&mut self) -> Timers<'_, M> {
        let clock = self.this.cell().expect("an actor's own reference is a local one").head().system().clock();
        let extras = self.extras.get_or_insert_default();
        Timers::new(&mut extras.timers, clock, extras.recorder.as_deref())
    }

    /// Tells the test of this actor, if it is under one.
    fn record(&self, effect: impl FnOnce() -> Effect) {
        if let Some(recorder) = self.recorder() {
            recorder.note(effect());
        }
    }

    fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.extras.as_ref()?.recorder.as_ref()
    }

    /// From now on it tells the test of this actor.
    pub(crate) fn tell_of_itself(&mut self, recorder: Arc<Recorder>) {
        self.extras().recorder = Some(recorder);
    }

    /// Brings all stashed messages back, in order. They are handled before anything newer in the mailbox, one by one,
    /// by whatever the actor is by then; if it fails in between, the next life handles the rest.
    ///
    /// Messages stashed from now on wait for the next call.
    pub fn unstash_all(&mut self, stash: &mut StashBuffer<M>) {
        self.record(|| Effect::Unstashed { count: stash.len() });
        self.extras().unstashed.append(&mut stash.take());
    }

    /// Delivers what `make` returns whenever no message came for `after`, again and again. Signals, timers and this
    /// message itself do not count as messages. Ends with this life.
    pub fn set_receive_timeout(&mut self, after: Duration, make: impl FnMut() -> M + Send + 'static) {
        self.record(|| Effect::ReceiveTimeoutSet { after });
        self.extras().receive_timeout = Some(ReceiveTimeout { after, deadline: None, make: Box::new(make) });
    }

    /// Ends [`set_receive_timeout`](ActorContext::set_receive_timeout).
    pub fn cancel_receive_timeout(&mut self) {
        self.record(|| Effect::ReceiveTimeoutCancelled);
        if let Some(extras) = &mut self.extras {
            extras.receive_timeout = None;
        }
    }

    /// Ends everything that belongs to one life. Runs outside the life: destructors that panic are caught.
    pub(crate) fn end_life(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.timers.clear_caught();
            extras.asks.clear_caught();
            let receive_timeout = extras.receive_timeout.take();
            discard::caught(|| drop(receive_timeout));
            extras.tasks.abort_all();
        }
        self.life += 1;
    }

    /// Whether there may be anything to do besides the messages of the mailbox.
    #[inline]
    pub(crate) fn has_extras(&self) -> bool {
        self.extras.is_some()
    }

    /// Does from now on what `policy` says about messages it fails on.
    pub(crate) fn keep_failed(&mut self, policy: FailedPolicy<M>) {
        self.extras().kept = Some(Kept::new(policy));
    }

    /// Makes a span of each message from now on.
    pub(crate) fn trace(&mut self) {
        self.extras().traced = true;
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.traced)
    }

    pub(crate) fn kept(&mut self) -> Option<&mut Kept<M>> {
        self.extras.as_mut()?.kept.as_mut()
    }

    /// `message` is handled before all others.
    pub(crate) fn put_first(&mut self, message: M) {
        self.extras().unstashed.push_front(Stashed::alone(message));
    }

    /// Stops when the mailbox is empty, at `until` at the latest.
    pub(crate) fn drain_until(&mut self, until: Tick) {
        let draining = &mut self.extras().draining;
        *draining = Some(draining.map_or(until, |before| before.min(until)));
    }

    pub(crate) fn draining(&self) -> Option<Tick> {
        self.extras.as_ref()?.draining
    }

    pub(crate) fn pop_unstashed(&mut self) -> Option<Stashed<M>> {
        self.extras.as_mut()?.unstashed.pop_front()
    }

    pub(crate) fn take_unstashed(&mut self) -> VecDeque<Stashed<M>> {
        self.extras.as_mut().map(|extras| std::mem::take(&mut extras.unstashed)).unwrap_or_default()
    }

    /// The message for an answer that came, if this life asked.
    pub(crate) fn answered(&mut self, answer: &dyn PendingAnswer<M>) -> Option<M> {
        let life = self.life;
        self.extras().asks.answered(answer, life)
    }

    pub(crate) fn child_ended(&mut self, place: Place) {
        if let Some(children) = &mut self.children {
            children.remove(place);
        }
    }

    pub(crate) fn has_children(&self) -> bool {
        self.children.as_ref().is_some_and(|children| !children.is_empty())
    }

    /// Tells the child named `name` to stop. Whether there is one.
    pub(crate) fn stop_child(&self, name: &str) -> bool {
        let child = self.children.as_ref().and_then(|children| children.get(name));
        child.map(|child| child.stop()).is_some()
    }

    /// Tells the children to stop: all of them, or the one whose turn it is.
    pub(crate) fn stop_children(&self) {
        match &self.children {
            Some(children) if children.in_reverse => children.end_last(Ending::Stop),
            Some(children) => children.end_all(Ending::Stop),
            None => {}
        }
    }

    /// Tells the next child to stop, if they stop one after the other.
    pub(crate) fn stop_next_child(&self) {
        if let Some(children) = &self.children
            && children.in_reverse
        {
            children.end_last(Ending::Stop);
        }
    }

    pub(crate) fn kill_children(&self) {
        if let Some(children) = &self.children {
            children.end_all(Ending::Kill);
        }
    }

    /// How often it began another life.
    pub(crate) fn restarts(&self) -> u32 {
        self.restarts & !CLOSED
    }

    /// Begins another life.
    pub(crate) fn note_restart(&mut self) {
        if self.restarts() + 1 < CLOSED {
            self.restarts += 1;
        }
    }

    fn is_closed(&self) -> bool {
        self.restarts & CLOSED != 0
    }

    /// No more children from now on. Whether there are any.
    pub(crate) fn close_children(&mut self) -> bool {
        self.restarts |= CLOSED;
        self.has_children()
    }

    /// A restart stops the children: their ends are no news to the next life.
    pub(crate) fn forget_children_watches(&mut self) {
        if let (Some(children), Some(watching)) = (&self.children, &mut self.watching) {
            for child in children.iter() {
                watching.forget(child.head().path(), self.this.control().head());
            }
        }
    }

    pub(crate) fn take_watch(&mut self, path: &ActorPath) -> Option<Watch<M>> {
        self.watching.as_mut()?.take(path)
    }

    /// Gives up all watches.
    pub(crate) fn forget_watches(&mut self) {
        if let Some(watching) = &mut self.watching {
            watching.clear(self.this.control().head());
        }
    }

    pub(crate) fn poll_sleep(&mut self, deadline: Tick, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock().clone();
        let extras = self.extras();
        let sleep = match &mut extras.sleep {
            Some(sleep) => {
                if extras.slept_until != Some(deadline) {
                    sleep.as_mut().reset(deadline);
                }
                sleep
            }
            none => none.insert(Box::pin(clock.sleep_until(deadline))),
        };
        extras.slept_until = Some(deadline);
        sleep.as_mut().poll(cx)
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        self.next_deadline().is_some()
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        let extras = self.extras.as_ref()?;
        let idle = extras.receive_timeout.as_ref().and_then(|timeout| timeout.deadline);
        [extras.timers.next_deadline(), extras.asks.next_deadline(), idle].into_iter().flatten().min()
    }

    /// The next message that time brings.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<M> {
        let extras = self.extras.as_mut()?;
        if let Some(message) = extras.asks.pop_due(now) {
            return Some(message);
        }
        if let Some(message) = extras.timers.pop_due(now) {
            return Some(message);
        }
        let timeout = extras.receive_timeout.as_mut()?;
        if timeout.deadline? > now {
            return None;
        }
        timeout.deadline = None;
        Some((timeout.make)())
    }

    /// A message was handled: the receive timeout starts again.
    #[inline]
    pub(crate) fn message_came(&mut self) {
        if let Some(extras) = &mut self.extras
            && let Some(timeout) = &mut extras.receive_timeout
        {
            timeout.deadline = None;
        }
    }

    /// There is nothing to do: the receive timeout runs from now.
    pub(crate) fn going_idle(&mut self) {
        if let Some(extras) = &mut self.extras
            && let Some(timeout) = &mut extras.receive_timeout
            && timeout.deadline.is_none()
        {
            timeout.deadline = Some(self.this.system().clock().now() + timeout.after);
        }
    }
}

impl<M: Send + 'static> fmt::Debug for ActorContext<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorContext").field("path", self.path()).finish_non_exhaustive()
    }
}
