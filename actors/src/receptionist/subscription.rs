//! [`Subscriptions`]: who is told what. A subscriber whose mailbox is full is told the newest state once there is room.

use std::any::Any;
use std::collections::BTreeMap;

use super::actor::Known;
use super::key::{KeyId, ServiceKey};
use super::listing::Listing;
use super::registration::{Registrant, Registrations};
use crate::actor_ref::{ActorRef, TryTellError};
use crate::discard;
use crate::path::ActorPath;

/// What there is to be told of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Key(KeyId),
    Own,
}

/// A subscriber whose messages are of some type.
pub(crate) trait Subscriber: Send {
    fn actor(&self) -> &dyn Registrant;
    /// What it is told when things are as `known`. The same for every subscriber of a topic, and cheap to share.
    fn make(&self, known: &Known) -> Box<dyn Any>;
    /// `false` when there is no room.
    fn tell(&self, state: &dyn Any) -> bool;
}

#[derive(Default)]
pub(super) struct Subscriptions {
    by_topic: BTreeMap<Topic, BTreeMap<ActorPath, Subscription>>,
    /// Somebody may not have been told the newest state.
    any_behind: bool,
}

struct Subscription {
    subscriber: Box<dyn Subscriber>,
    /// It has not been told the newest state for want of room.
    behind: bool,
}

impl Subscriptions {
    /// Adds a subscriber and tells it how things are.
    pub(super) fn add(&mut self, topic: Topic, subscriber: Box<dyn Subscriber>, known: &Known) {
        let path = subscriber.actor().path().clone();
        let mut subscription = Subscription { subscriber, behind: true };
        self.any_behind |= tell_all([&mut subscription], known);
        self.by_topic.entry(topic).or_default().insert(path, subscription);
    }

    /// Removes a subscription and returns who it was.
    pub(super) fn remove(&mut self, topic: &Topic, path: &ActorPath) -> Option<Box<dyn Subscriber>> {
        let of_topic = self.by_topic.get_mut(topic)?;
        let subscription = of_topic.remove(path)?;
        if of_topic.is_empty() {
            self.by_topic.remove(topic);
        }
        Some(subscription.subscriber)
    }

    /// A subscriber has ended.
    pub(super) fn ended(&mut self, path: &ActorPath) {
        self.by_topic.retain(|_, of_topic| {
            of_topic.remove(path);
            !of_topic.is_empty()
        });
    }

    pub(super) fn has(&self, path: &ActorPath) -> bool {
        self.by_topic.values().any(|of_topic| of_topic.contains_key(path))
    }

    /// Something changed.
    pub(super) fn changed(&mut self, topic: &Topic, known: &Known) {
        let of_topic = self.by_topic.get_mut(topic).map(BTreeMap::values_mut);
        self.any_behind |= tell_all(of_topic.into_iter().flatten(), known);
    }

    /// Tells those who had no room.
    pub(super) fn retry(&mut self, known: &Known) {
        self.any_behind = false;
        for of_topic in self.by_topic.values_mut() {
            self.any_behind |= tell_all(of_topic.values_mut().filter(|subscription| subscription.behind), known);
        }
    }

    /// Whether somebody may not have been told the newest state.
    pub(super) fn any_behind(&self) -> bool {
        self.any_behind
    }
}

/// Tells subscribers of one topic, and returns whether any had no room. What they are told is made once.
fn tell_all<'a>(subscriptions: impl IntoIterator<Item = &'a mut Subscription>, known: &Known) -> bool {
    let mut state: Option<Box<dyn Any>> = None;
    let mut any_behind = false;
    for subscription in subscriptions {
        let state = state.get_or_insert_with(|| subscription.subscriber.make(known));
        subscription.tell(&**state);
        any_behind |= subscription.behind;
    }
    any_behind
}

impl Subscription {
    fn tell(&mut self, state: &dyn Any) {
        // A mapped reference runs the subscriber's code here: a panic in it is not the receptionist's.
        discard::caught(|| self.behind = !self.subscriber.tell(state));
    }
}

/// Tells about one key.
pub(super) struct ListingTo<M> {
    key: ServiceKey<M>,
    to: ActorRef<Listing<M>>,
}

impl<M> ListingTo<M> {
    pub(super) fn new(key: ServiceKey<M>, to: ActorRef<Listing<M>>) -> Self {
        Self { key, to }
    }
}

impl<M: Send + 'static> Subscriber for ListingTo<M> {
    fn actor(&self) -> &dyn Registrant {
        &self.to
    }

    fn make(&self, known: &Known) -> Box<dyn Any> {
        Box::new(known.listing(&self.key))
    }

    fn tell(&self, state: &dyn Any) -> bool {
        tell(&self.to, state.downcast_ref())
    }
}

/// Tells about all that this node has registered.
pub(super) struct OwnTo(pub(super) ActorRef<Registrations>);

impl Subscriber for OwnTo {
    fn actor(&self) -> &dyn Registrant {
        &self.0
    }

    fn make(&self, known: &Known) -> Box<dyn Any> {
        Box::new(known.own())
    }

    fn tell(&self, state: &dyn Any) -> bool {
        tell(&self.0, state.downcast_ref())
    }
}

fn tell<S: Clone + Send + 'static>(to: &ActorRef<S>, state: Option<&S>) -> bool {
    state.is_none_or(|state| !matches!(to.try_tell(state.clone()), Err(TryTellError::Full(_))))
}
