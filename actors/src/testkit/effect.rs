//! [`Effect`]: what a handler did besides sending messages. [`Recorder`]: how an actor's context tells.

use std::any::{Any, type_name};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::inbox::{Inbox, Tray};
use crate::actor::Actor;
use crate::mailbox::Mailbox;
use crate::orders::Ending;
use crate::path::{ActorPath, encode_name};
use crate::props::Props;
use crate::timers::MissedTicks;

/// What a handler did through its context. Messages it sent are read where they arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Spawned a child under a name it chose.
    Spawned {
        /// The name, as it was given.
        name: String,
        /// The child's type.
        actor_type: &'static str,
    },
    /// Spawned a child that needs no name.
    SpawnedAnonymous {
        /// The name it got.
        name: String,
        /// The child's type.
        actor_type: &'static str,
    },
    /// Told a child to stop.
    Stopped {
        /// The child.
        child: ActorPath,
    },
    /// Told a child to stop, and to be killed when it has not in time.
    StoppedWithin {
        /// The child.
        child: ActorPath,
        /// The time it has.
        limit: Duration,
    },
    /// Told a child to handle what waits for it and then stop.
    Drained {
        /// The child.
        child: ActorPath,
        /// The time it has.
        within: Duration,
    },
    /// Killed a child.
    Killed {
        /// The child.
        child: ActorPath,
    },
    /// Began to watch, or changed how it watches.
    Watched {
        /// Whom.
        target: ActorPath,
        /// Whether a message of its own comes in place of the signal.
        with_message: bool,
    },
    /// Gave up a watch.
    Unwatched {
        /// Whom.
        target: ActorPath,
    },
    /// Started a timer, or replaced the one of that key.
    TimerScheduled {
        /// The timer's key.
        key: Cow<'static, str>,
        /// Time until the first message.
        delay: Duration,
        /// What comes after the first.
        kind: TimerKind,
    },
    /// Cancelled a timer, whether there was one of that key or not.
    TimerCancelled {
        /// The timer's key.
        key: String,
    },
    /// Cancelled all timers.
    AllTimersCancelled,
    /// Set the receive timeout.
    ReceiveTimeoutSet {
        /// How long no message may come.
        after: Duration,
    },
    /// Cancelled the receive timeout, whether there was one or not.
    ReceiveTimeoutCancelled,
    /// Made a message adapter.
    MessageAdapter {
        /// The type of the messages it takes.
        message_type: &'static str,
    },
    /// Asked without waiting; the answer comes as a message.
    AskSent {
        /// Whom it asked.
        target: ActorPath,
        /// How long it waits for an answer.
        within: Duration,
    },
    /// Started a task beside itself whose output comes as a message.
    PipedToSelf {
        /// The type of the output.
        output_type: &'static str,
    },
    /// Started a task beside itself.
    TaskSpawned,
    /// Brought back what it had stashed.
    Unstashed {
        /// How many messages.
        count: usize,
    },
}

impl Effect {
    /// That `child` is brought to its end.
    pub(crate) fn of(how: &Ending, child: ActorPath) -> Self {
        match *how {
            Ending::Stop => Self::Stopped { child },
            Ending::StopWithin(limit) => Self::StoppedWithin { child, limit },
            Ending::Drain(within) => Self::Drained { child, within },
            Ending::Kill => Self::Killed { child },
        }
    }
}

/// How a timer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimerKind {
    /// One message.
    Single,
    /// Again and again, as long after each delivery.
    FixedDelay,
    /// Again and again, at multiples of the interval.
    FixedRate {
        /// What becomes of ticks that could not be delivered in time.
        missed: MissedTicks,
    },
}

/// Hears of the verbs an actor uses, and puts an inbox where it spawns a child. Present in the context of an actor under
/// a [`BehaviorTestKit`](super::BehaviorTestKit) alone.
#[derive(Default)]
pub(crate) struct Recorder {
    effects: Mutex<Vec<Effect>>,
    /// What children were told, by the name as it is in the path.
    children: Mutex<BTreeMap<String, Box<dyn Any + Send>>>,
    muted: AtomicBool,
}

impl Recorder {
    pub(crate) fn note(&self, effect: Effect) {
        if !self.muted.load(Ordering::Relaxed) {
            self.effects.lock().push(effect);
        }
    }

    /// Does what the actor has no part in.
    pub(super) fn unheard(&self, work: impl FnOnce()) {
        self.muted.store(true, Ordering::Relaxed);
        work();
        self.muted.store(false, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> Vec<Effect> {
        std::mem::take(&mut *self.effects.lock())
    }

    pub(super) fn take_first(&self) -> Option<Effect> {
        let mut effects = self.effects.lock();
        (!effects.is_empty()).then(|| effects.remove(0))
    }

    pub(super) fn seen(&self) -> Vec<Effect> {
        self.effects.lock().clone()
    }

    /// What the child of that name was told, if its messages are of type `N`.
    pub(super) fn tray<N: Send + 'static>(&self, name: &str) -> Option<Tray<N>> {
        self.children.lock().get(&*encode_name(name))?.downcast_ref::<Tray<N>>().cloned()
    }

    /// What is spawned in place of the child described by `props`; those are dropped.
    pub(crate) fn stand_in<A: Actor>(&self, name: &str, _props: Props<A>) -> Props<Inbox<A::Message>> {
        let tray = Tray::<A::Message>::new();
        self.children.lock().insert(encode_name(name).into_owned(), Box::new(tray.clone()));
        Props::new(move || Inbox(tray.clone())).mailbox(Mailbox::unbounded())
    }

    pub(crate) fn spawned<A: Actor>(&self, name: &str, anonymous: bool) {
        let (name, actor_type) = (name.to_owned(), type_name::<A>());
        self.note(match anonymous {
            true => Effect::SpawnedAnonymous { name, actor_type },
            false => Effect::Spawned { name, actor_type },
        });
    }
}
