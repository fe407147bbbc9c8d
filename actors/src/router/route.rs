//! [`Router`]: the part of a router that senders share. They route in their own turn, so there is no hop on the way.
//!
//! Until the routees are first known, messages wait in a stash; from the moment on in which it is empty, senders look at
//! the table alone. A sender's own messages thus never overtake each other on the way to one routee.
//!
//! Invariant: the phase only ever goes from waiting to open to closed, and leaves waiting under the stash's lock.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::logic::{Picker, RoutingLogic};
use super::ring::Ring;
use crate::actor_ref::{ActorRef, TryTellError};
use crate::block_queue::Refusal;
use crate::cell_ref::ControlRef;
use crate::discard;
use crate::envelope::Question;
use crate::event_stream::DeadLetterReason;
use crate::system::ActorSystem;

/// What a router and those who send through it share.
pub(crate) struct Router<M> {
    pub(super) routes: ArcSwap<Routes<M>>,
    picker: Picker<M>,
    broadcast: Option<Broadcast<M>>,
    /// Messages that came before the routees were known.
    stash: Mutex<VecDeque<(M, Option<Question>)>>,
    stash_capacity: usize,
    /// Told of every new table.
    pub(super) changed: Notify,
    /// The router's actor; set before anybody has a reference.
    control: OnceLock<ControlRef>,
}

/// Which messages all routees get.
pub(super) struct Broadcast<M> {
    applies: Box<dyn Fn(&M) -> bool + Send + Sync>,
    copy: fn(&M) -> M,
}

impl<M: Clone> Broadcast<M> {
    pub(super) fn when(applies: impl Fn(&M) -> bool + Send + Sync + 'static) -> Self {
        Self { applies: Box::new(applies), copy: M::clone }
    }
}

/// Who takes messages now. Replaced as a whole.
pub(super) struct Routes<M> {
    pub(super) phase: Phase,
    pub(super) routees: Vec<ActorRef<M>>,
    ring: Ring,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The routees are not known yet.
    Waiting,
    Open,
    Closed,
}

impl<M> Routes<M> {
    fn without_routees(phase: Phase) -> Arc<Self> {
        Arc::new(Self { phase, routees: Vec::new(), ring: Ring::default() })
    }
}

impl<M: Send + 'static> Routes<M> {
    /// Whether nobody takes messages.
    pub(super) fn is_deserted(&self) -> bool {
        self.routees.iter().all(ActorRef::is_stopped)
    }
}

impl<M: Send + 'static> Router<M> {
    pub(super) fn new(
        logic: RoutingLogic<M>,
        broadcast: Option<Broadcast<M>>,
        stash_capacity: usize,
        system: &ActorSystem,
    ) -> Arc<Self> {
        Arc::new(Self {
            routes: ArcSwap::new(Routes::without_routees(Phase::Waiting)),
            picker: Picker::new(logic, system.random().to_bits()),
            broadcast,
            stash: Mutex::default(),
            stash_capacity,
            changed: Notify::new(),
            control: OnceLock::new(),
        })
    }

    /// Says which actor this is the router of.
    pub(super) fn belongs_to(&self, control: ControlRef) {
        self.control.get_or_init(|| control);
    }

    pub(super) fn control_arc(&self) -> &ControlRef {
        self.control.get().expect("a router's reference is made after its actor")
    }

    /// The routees are known for the first time: routes what has waited.
    pub(super) fn open(&self, routees: Vec<ActorRef<M>>) {
        let routes = self.table(routees);
        loop {
            let waiting = {
                let mut stash = self.stash.lock();
                if stash.is_empty() {
                    self.routes.store(routes);
                    break;
                }
                mem::take(&mut *stash)
            };
            // Outside the lock: routing runs the user's code, which may well tell this very router something.
            for (message, question) in waiting {
                discard::caught(|| {
                    if let Err(refused) = self.route(&routes, message, question) {
                        self.undelivered(refusal_reason(&routes), refused.into_message());
                    }
                });
            }
        }
        self.changed.notify_waiters();
    }

    /// The routees are others from now on. The table in use before may still be in the hands of senders.
    pub(super) fn replace(&self, routees: Vec<ActorRef<M>>) -> Arc<Routes<M>> {
        let before = self.routes.swap(self.table(routees));
        self.changed.notify_waiters();
        before
    }

    /// Takes nothing more. The table in use before may still be in the hands of senders.
    pub(super) fn close(&self) -> Arc<Routes<M>> {
        let (before, waiting) = {
            let mut stash = self.stash.lock();
            (self.routes.swap(Routes::without_routees(Phase::Closed)), mem::take(&mut *stash))
        };
        self.changed.notify_waiters();
        for (message, _) in waiting {
            discard::caught(|| self.undelivered(DeadLetterReason::StashDropped, message));
        }
        before
    }

    fn table(&self, routees: Vec<ActorRef<M>>) -> Arc<Routes<M>> {
        let ring = self.picker.ring(&routees);
        Arc::new(Routes { phase: Phase::Open, routees, ring })
    }

    /// Sends `message` to a routee, or to all it is for.
    pub(crate) fn try_tell(&self, message: M, question: Option<Question>) -> Result<(), TryTellError<M>> {
        let routes = self.routes.load();
        match routes.phase {
            Phase::Open => self.route(&routes, message, question),
            Phase::Waiting => self.stash(message, question),
            Phase::Closed => Err(TryTellError::Stopped(message)),
        }
    }

    fn stash(&self, message: M, question: Option<Question>) -> Result<(), TryTellError<M>> {
        let mut stash = self.stash.lock();
        if self.routes.load().phase != Phase::Waiting {
            drop(stash);
            return self.try_tell(message, question);
        }
        if stash.len() >= self.stash_capacity {
            return Err(TryTellError::Full(message));
        }
        stash.push_back((message, question));
        Ok(())
    }

    fn route(&self, routes: &Routes<M>, message: M, question: Option<Question>) -> Result<(), TryTellError<M>> {
        if let Some(copy) = self.copy_for(&message) {
            return self.tell_each(routes, message, copy, question);
        }
        let key = self.picker.key(&message);
        let mut message = message;
        for place in self.places(routes, key) {
            match routes.routees[place].try_tell_linked(message, question.clone()) {
                Ok(()) => {
                    note_routee(&question, &routes.routees[place]);
                    return Ok(());
                }
                Err(TryTellError::Full(back)) if key.is_some() => return Err(TryTellError::Full(back)),
                Err(TryTellError::Full(back) | TryTellError::Stopped(back)) => message = back,
            }
        }
        Err(TryTellError::Full(message))
    }

    /// As [`route`](Self::route), for a message that is not made yet and need not be looked at, or was.
    pub(super) fn offer(
        &self,
        routes: &Routes<M>,
        make: &mut dyn FnMut() -> M,
        question: Option<Question>,
    ) -> Result<(), Refusal> {
        for place in self.places(routes, None) {
            if routes.routees[place].try_tell_with(make, question.clone()).is_ok() {
                note_routee(&question, &routes.routees[place]);
                return Ok(());
            }
        }
        Err(Refusal::Full)
    }

    fn tell_each(
        &self,
        routes: &Routes<M>,
        message: M,
        copy: fn(&M) -> M,
        question: Option<Question>,
    ) -> Result<(), TryTellError<M>> {
        let mut missed = Vec::new();
        let mut taken = false;
        for routee in &routes.routees {
            match routee.try_tell_linked(copy(&message), question.clone()) {
                Ok(()) => taken = true,
                Err(TryTellError::Full(copy)) => missed.push((routee, copy)),
                Err(TryTellError::Stopped(_)) => {}
            }
        }
        if !taken {
            return Err(TryTellError::Full(message));
        }
        for (routee, copy) in missed {
            routee.undelivered(DeadLetterReason::MailboxFull, copy);
        }
        Ok(())
    }

    /// How to copy `message`, if all are to have it.
    pub(super) fn copy_for(&self, message: &M) -> Option<fn(&M) -> M> {
        let chosen = || self.broadcast.as_ref().filter(|broadcast| (broadcast.applies)(message));
        self.picker.copy().or_else(|| chosen().map(|broadcast| broadcast.copy))
    }

    pub(super) fn key(&self, message: &M) -> Option<u64> {
        self.picker.key(message)
    }

    pub(super) fn looks_at_message(&self) -> bool {
        self.broadcast.is_some() || self.picker.looks_at_message()
    }

    /// The places of routees in the order in which a message is offered to them.
    pub(super) fn places<'a>(
        &self,
        routes: &'a Routes<M>,
        key: Option<u64>,
    ) -> impl Iterator<Item = usize> + use<'a, M> {
        let many = routes.routees.len();
        let first = if key.is_none() && many > 0 { self.picker.first(&routes.routees) } else { 0 };
        let any = if key.is_none() { first..first + many } else { 0..0 };
        let tied = key.map(|key| routes.ring.places(key));
        any.map(move |place| if place < many { place } else { place - many }).chain(tied.into_iter().flatten())
    }

    /// Whether a message would be refused, as far as can be said without it.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let routes = self.routes.load();
        match routes.phase {
            Phase::Open => routes.is_deserted().then_some(Refusal::Full),
            Phase::Waiting => (self.stash.lock().len() >= self.stash_capacity).then_some(Refusal::Full),
            Phase::Closed => Some(Refusal::Stopped),
        }
    }

    /// Why a message was refused for want of room.
    pub(crate) fn full_reason(&self) -> DeadLetterReason {
        refusal_reason(&self.routes.load())
    }

    /// How many messages wait for all routees together.
    pub(crate) fn queued(&self) -> usize {
        let routes = self.routes.load();
        let stashed = self.stash.lock().len();
        routes.routees.iter().map(ActorRef::queued).sum::<usize>() + stashed
    }

    pub(super) fn undelivered(&self, reason: DeadLetterReason, message: M) {
        self.control_arc().head().dead_letter::<M>(reason);
        discard::because(reason.ask_error(), message);
    }
}

/// Whoever awaits the answer waits for this one, and so sees an ask that goes in a circle.
fn note_routee<M: Send + 'static>(question: &Option<Question>, routee: &ActorRef<M>) {
    if let Some(Question::Link(link)) = question {
        link.went_to(routee.control().head().key());
    }
}

fn refusal_reason<M: Send + 'static>(routes: &Routes<M>) -> DeadLetterReason {
    let nobody = routes.phase == Phase::Open && routes.is_deserted();
    if nobody { DeadLetterReason::NoRoutees } else { DeadLetterReason::MailboxFull }
}

/// Held by the router's actor: whichever way that ends, the router closes.
pub(super) struct Owned<M: Send + 'static>(pub(super) Arc<Router<M>>);

impl<M: Send + 'static> Drop for Owned<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}
