//! The receptionist's actor: carries out what [`Registry`] decides and watches those it lists or tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::key::{KeyId, ServiceKey};
use super::listing::Listing;
use super::registration::{Registration, Registrations};
use super::registry::{Entries, Registry};
use super::subscription::{Subscriber, Subscriptions, Topic};
use crate::actor::{Actor, Behavior, Handled};
use crate::ask::ReplyTo;
use crate::context::ActorContext;
use crate::path::ActorPath;
use crate::props::Props;
use crate::system::ActorSystem;

/// How long a subscriber without room waits for the newest state at most, once it has room.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const RETRY: &str = "retry";

pub(crate) enum ReceptionistMessage {
    Register(Registration),
    Deregister {
        key: KeyId,
        path: ActorPath,
    },
    /// Answers from what is known.
    Find(Box<dyn FnOnce(&Known) + Send>),
    Subscribe {
        topic: Topic,
        subscriber: Box<dyn Subscriber>,
    },
    Unsubscribe {
        topic: Topic,
        path: ActorPath,
    },
    Install(Registrations),
    RemoveOwner(u64),
    SetReachable {
        owner: u64,
        reachable: bool,
    },
    /// A registrant or subscriber has.
    Ended(ActorPath),
    Retry,
}

impl ReceptionistMessage {
    pub(super) fn find<M: Send + 'static>(key: ServiceKey<M>, reply_to: ReplyTo<Listing<M>>) -> Self {
        Self::Find(Box::new(move |known| reply_to.tell(known.listing(&key))))
    }
}

/// What the receptionist knows.
pub(crate) struct Known {
    own: u64,
    registry: Registry<KeyId, ActorPath, Registration>,
}

impl Known {
    pub(super) fn listing<M: Send + 'static>(&self, key: &ServiceKey<M>) -> Listing<M> {
        let typed = |registrations: Vec<Registration>| {
            registrations.iter().filter_map(|registration| registration.actor_ref().cloned()).collect()
        };
        let (reachable, all) = self.registry.list(&KeyId::of(key));
        Listing::new(key.clone(), typed(reachable), typed(all))
    }

    pub(super) fn own(&self) -> Registrations {
        let (version, entries) = self.registry.own_values();
        Registrations { owner: self.own, version, entries }
    }
}

/// How to make the receptionist of `system`.
pub(crate) fn props(system: &ActorSystem) -> Props<ReceptionistActor> {
    let system = system.clone();
    Props::setup(move |ctx| ReceptionistActor {
        known: Known { own: system.uid(), registry: Registry::new(system.uid()) },
        subscriptions: Subscriptions::default(),
        _listed: Listed { system: system.clone(), path: ctx.path().clone() },
    })
}

pub(crate) struct ReceptionistActor {
    known: Known,
    subscriptions: Subscriptions,
    _listed: Listed,
}

/// The system holds its receptionist, which holds the system: whichever way the actor ends, that circle ends with it.
struct Listed {
    system: ActorSystem,
    path: ActorPath,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.system.forget_receptionist(&self.path);
    }
}

impl Actor for ReceptionistActor {
    type Message = ReceptionistMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, message: Self::Message) -> Handled {
        match message {
            ReceptionistMessage::Register(registration) => self.register(ctx, registration),
            ReceptionistMessage::Deregister { key, path } => {
                if let Some(registration) = self.known.registry.deregister(&key, &path) {
                    self.own_changed([key]);
                    self.unwatch_unused(ctx, &path, |ctx| registration.actor.unwatch(ctx));
                }
            }
            ReceptionistMessage::Find(answer) => answer(&self.known),
            ReceptionistMessage::Subscribe { topic, subscriber } => {
                if !subscriber.actor().is_stopped() {
                    subscriber.actor().watch(ctx);
                    self.subscriptions.add(topic, subscriber, &self.known);
                }
            }
            ReceptionistMessage::Unsubscribe { topic, path } => {
                if let Some(subscriber) = self.subscriptions.remove(&topic, &path) {
                    self.unwatch_unused(ctx, &path, |ctx| subscriber.actor().unwatch(ctx));
                }
            }
            ReceptionistMessage::Install(Registrations { owner, version, entries }) => {
                let changed = self.known.registry.install(owner, version, by_key(entries));
                self.changed(changed);
            }
            ReceptionistMessage::RemoveOwner(owner) => {
                let changed = self.known.registry.remove_owner(owner);
                self.changed(changed);
            }
            ReceptionistMessage::SetReachable { owner, reachable } => {
                let changed = self.known.registry.set_reachable(owner, reachable);
                self.changed(changed);
            }
            ReceptionistMessage::Ended(path) => {
                self.subscriptions.ended(&path);
                let changed = self.known.registry.ended(&path);
                self.own_changed(changed);
            }
            ReceptionistMessage::Retry => self.subscriptions.retry(&self.known),
        }
        if self.subscriptions.any_behind() && !ctx.timers().is_active(RETRY) {
            ctx.timers().start_single(RETRY, RETRY_AFTER, ReceptionistMessage::Retry);
        }
        Ok(Behavior::Same)
    }
}

impl ReceptionistActor {
    fn register(&mut self, ctx: &mut ActorContext<ReceptionistMessage>, registration: Registration) {
        let (key, actor) = (registration.key.clone(), registration.actor.clone());
        if !actor.is_stopped() && self.known.registry.register(&key, actor.path(), registration) {
            actor.watch(ctx);
            self.own_changed([key]);
        }
    }

    fn own_changed(&mut self, keys: impl IntoIterator<Item = KeyId>) {
        if self.changed(keys) {
            self.subscriptions.changed(&Topic::Own, &self.known);
        }
    }

    /// Whether there was any.
    fn changed(&mut self, keys: impl IntoIterator<Item = KeyId>) -> bool {
        let keys: BTreeSet<Topic> = keys.into_iter().map(Topic::Key).collect();
        keys.iter().for_each(|topic| self.subscriptions.changed(topic, &self.known));
        !keys.is_empty()
    }

    fn unwatch_unused(
        &mut self,
        ctx: &mut ActorContext<ReceptionistMessage>,
        path: &ActorPath,
        unwatch: impl FnOnce(&mut ActorContext<ReceptionistMessage>),
    ) {
        if !self.known.registry.has_own(path) && !self.subscriptions.has(path) {
            unwatch(ctx);
        }
    }
}

fn by_key(registrations: Vec<Registration>) -> Entries<KeyId, ActorPath, Registration> {
    let mut entries: Entries<_, _, _> = BTreeMap::new();
    for registration in registrations {
        let of_key = entries.entry(registration.key.clone()).or_default();
        of_key.insert(registration.path().clone(), registration);
    }
    entries
}
