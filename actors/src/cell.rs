//! What an actor shows to the outside: its path, its mailbox, and who wants to hear of its end.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tracing::warn;

use crate::actor_ref::{Stopped, TryTellError};
use crate::ask_chain::Link;
use crate::context::ask::PendingAnswer;
use crate::discard;
use crate::event_stream::DeadLetterReason;
use crate::path::ActorPath;
use crate::queue::{Envelope, Permit, Queue, Refusal, Room};
use crate::system::ActorSystem;

/// What the runtime itself sends to an actor: its own lane, never refused.
pub(crate) enum Internal<M> {
    /// The parent wants this actor to stop.
    Stop,
    /// Frees the child's name. The signal, if it is watched, comes as [`Envelope::Ended`].
    ChildEnded(ActorPath),
    Answer(Arc<dyn PendingAnswer<M>>),
    /// Outcome of a tied task of the given life.
    Piped {
        life: u64,
        make: Box<dyn FnOnce() -> M + Send>,
    },
    TaskPanicked {
        life: u64,
        message: String,
    },
}

/// An actor has stopped for good.
pub(crate) struct Ended {
    pub(crate) path: ActorPath,
    /// For its parent only.
    pub(crate) failure: Option<Cause>,
}

/// Who owns an actor.
pub(crate) trait Parent: Send + Sync {
    fn child_ended(&self, path: ActorPath);
}

/// An actor, whatever its messages are.
pub(crate) trait Control: Send + Sync {
    fn head(&self) -> &Head;
    fn stop(&self);
    fn is_closed(&self) -> bool;
    /// How many messages wait.
    fn queued(&self) -> usize;
    /// Somebody this actor watches has ended.
    fn notice_end(&self, ended: Ended);
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// The part of a [`Cell`] that does not depend on the message type.
pub(crate) struct Head {
    path: ActorPath,
    system: ActorSystem,
    watchers: Mutex<Watchers>,
    warned_full: AtomicBool,
    force: Option<Force>,
}

enum Watchers {
    Alive(BTreeMap<ActorPath, Arc<dyn Control>>),
    Ended(Option<Cause>),
}

/// What an actor failed with for good.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// For actors with a stop timeout: how the wish to stop reaches a handler that is suspended.
pub(crate) struct Force {
    pub(crate) after: Duration,
    pub(crate) requested: AtomicBool,
    pub(crate) waker: AtomicWaker,
}

impl Head {
    pub(crate) fn new(path: ActorPath, system: ActorSystem, stop_timeout: Option<Duration>) -> Self {
        let force =
            stop_timeout.map(|after| Force { after, requested: AtomicBool::new(false), waker: AtomicWaker::new() });
        let watchers = Mutex::new(Watchers::Alive(BTreeMap::new()));
        Self { path, system, watchers, warned_full: AtomicBool::new(false), force }
    }

    pub(crate) fn path(&self) -> &ActorPath {
        &self.path
    }

    pub(crate) fn system(&self) -> &ActorSystem {
        &self.system
    }

    pub(crate) fn force(&self) -> Option<&Force> {
        self.force.as_ref()
    }

    pub(crate) fn dead_letter<M>(&self, reason: DeadLetterReason) {
        self.system.event_stream().dead_letter(&self.path, type_name::<M>(), reason);
    }

    /// Warns once per actor: a full mailbox means that somebody sends without bound.
    pub(crate) fn warn_full(&self) {
        if !self.warned_full.swap(true, Ordering::Relaxed) {
            warn!(path = %self.path, "mailbox is full; messages told to it become dead letters");
        }
    }

    /// When the actor has ended already nobody will call back: what it would have said is returned.
    pub(crate) fn add_watcher(&self, path: ActorPath, watcher: Arc<dyn Control>) -> Option<Ended> {
        let failure = match &mut *self.watchers.lock() {
            Watchers::Alive(watchers) => {
                watchers.insert(path, watcher);
                return None;
            }
            Watchers::Ended(failure) => failure.clone(),
        };
        Some(self.ended(&path, failure.as_ref()))
    }

    fn ended(&self, watcher: &ActorPath, failure: Option<&Cause>) -> Ended {
        let failure = failure.filter(|_| self.path.is_child_of(watcher)).cloned();
        Ended { path: self.path.clone(), failure }
    }

    pub(crate) fn remove_watcher(&self, path: &ActorPath) {
        let removed = match &mut *self.watchers.lock() {
            Watchers::Alive(watchers) => watchers.remove(path),
            Watchers::Ended(_) => None,
        };
        drop(removed); // outside the lock: it may be the last hold on the watcher's cell
    }

    /// From now on whoever watches learns at once that it has ended.
    pub(crate) fn end(&self, failure: Option<Cause>) {
        let before = mem::replace(&mut *self.watchers.lock(), Watchers::Ended(failure.clone()));
        if let Watchers::Alive(watchers) = before {
            for (path, watcher) in watchers {
                watcher.notice_end(self.ended(&path, failure.as_ref()));
            }
        }
    }
}

/// An actor as its references see it.
pub(crate) struct Cell<M> {
    head: Head,
    queue: Queue<M, Internal<M>>,
}

impl<M: Send + 'static> Cell<M> {
    pub(crate) fn new(head: Head, capacity: usize) -> Self {
        Self { head, queue: Queue::new(capacity) }
    }

    pub(crate) fn queue(&self) -> &Queue<M, Internal<M>> {
        &self.queue
    }

    pub(crate) fn try_tell(&self, message: M, link: Option<Arc<Link>>) -> Result<(), TryTellError<M>> {
        match self.queue.push(Envelope::new(message, link), Room::Ordinary) {
            Ok(()) => Ok(()),
            Err((refusal, Envelope::Message(message) | Envelope::Asked(message, _))) => Err(match refusal {
                Refusal::Full => TryTellError::Full(message),
                Refusal::Stopped => TryTellError::Stopped(message),
            }),
            Err((_, Envelope::Adapted(_) | Envelope::Ended(_))) => unreachable!("the envelope made above is returned"),
        }
    }

    pub(crate) async fn send(&self, message: M) -> Result<(), Stopped<M>> {
        let message = match self.try_tell(message, None) {
            Ok(()) => return Ok(()),
            Err(TryTellError::Stopped(message)) => return Err(Stopped(message)),
            Err(TryTellError::Full(message)) => message,
        };
        match self.queue.reserve().await {
            Ok(permit) => match permit.push(Envelope::Message(message)) {
                Ok(()) => Ok(()),
                Err(Envelope::Message(message)) => Err(Stopped(message)),
                Err(_) => unreachable!("the envelope made above is returned"),
            },
            Err(()) => Err(Stopped(message)),
        }
    }

    /// Delivers into room set aside before; should the actor have closed in between, to dead letters.
    pub(crate) fn deliver(&self, permit: Permit<'_, M, Internal<M>>, envelope: Envelope<M>) {
        if let Err(envelope) = permit.push(envelope) {
            self.head.dead_letter::<M>(DeadLetterReason::Stopped);
            discard::because(crate::ask::AskError::Stopped, envelope);
        }
    }
}

impl<M: Send + 'static> Control for Cell<M> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn stop(&self) {
        self.queue.push_internal(Internal::Stop);
        if let Some(force) = &self.head.force {
            force.requested.store(true, Ordering::Release);
            force.waker.wake();
        }
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    fn queued(&self) -> usize {
        self.queue.len()
    }

    fn notice_end(&self, ended: Ended) {
        self.queue.push_ended(ended);
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<M: Send + 'static> Parent for Cell<M> {
    fn child_ended(&self, path: ActorPath) {
        self.queue.push_internal(Internal::ChildEnded(path));
    }
}
