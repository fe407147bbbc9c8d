//! [`GroupRouter`]: a router whose routees are those registered under a key.

use std::fmt;
use std::sync::Arc;

use super::logic::RoutingLogic;
use super::route::{Broadcast, Owned, Phase, Router};
use crate::actor::{Actor, Behavior, Handled};
use crate::actor_ref::ActorRef;
use crate::context::ActorContext;
use crate::mailbox::Mailbox;
use crate::path::ActorPath;
use crate::receptionist::{Listing, ServiceKey};
use crate::system::ActorSystem;

/// A router to whoever is registered under a key: those it routes to belong to others, and come and go as they like.
///
/// ```
/// use actors::{Actor, ActorContext, ActorSystem, Behavior, BoxError, GroupRouter, Handled, ReplyTo, RoutingLogic};
/// use actors::{ServiceKey, key_hash};
/// use std::collections::HashMap;
/// use std::time::Duration;
///
/// #[derive(Default)]
/// struct Visits(HashMap<String, u32>);
///
/// struct Visit {
///     guest: String,
///     so_far: ReplyTo<u32>,
/// }
///
/// impl Actor for Visits {
///     type Message = Visit;
///
///     async fn receive(&mut self, _ctx: &mut ActorContext<Visit>, visit: Visit) -> Handled {
///         let visits = self.0.entry(visit.guest).or_default();
///         *visits += 1;
///         visit.so_far.tell(*visits);
///         Ok(Behavior::Same)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let system = ActorSystem::new("hotel");
/// let key = ServiceKey::new("visits");
/// for name in ["ground floor", "first floor"] {
///     system.receptionist().register(&key, &system.spawn(name, Visits::default()));
/// }
/// // All visits of one guest go to the same place.
/// let by_guest = RoutingLogic::consistent_hashing(|visit: &Visit| key_hash(&visit.guest));
/// let visits = system.spawn_group("visits", GroupRouter::new(&key).logic(by_guest));
///
/// let visit = |so_far| Visit { guest: "anna".to_owned(), so_far };
/// assert_eq!(visits.ask(visit, Duration::from_secs(1)).await?, 1);
/// assert_eq!(visits.ask(visit, Duration::from_secs(1)).await?, 2);
/// # system.terminate().await;
/// # Ok(())
/// # }
/// ```
///
/// Sending is as with a [pool](crate::PoolRouter): in the sender's turn, straight into the routee's mailbox, by the same
/// four verbs. Until the receptionist has first said who is there, messages wait. From then on a group that is empty has
/// room for none: what is told to it becomes a dead letter of its own
/// [reason](crate::DeadLetterReason::NoRoutees), [`try_tell`](ActorRef::try_tell) and [`ask`](ActorRef::ask) fail with
/// `Full`, and [`send`](ActorRef::send) waits until somebody comes.
///
/// Those that can be reached get the messages; if there are none, those that cannot. Default logic:
/// [random](RoutingLogic::random).
///
/// A router may be registered too, and serve another group; two groups must not lead to each other, for a message would
/// go round between them.
#[must_use = "a router does nothing until it is spawned"]
pub struct GroupRouter<M> {
    key: ServiceKey<M>,
    logic: RoutingLogic<M>,
    broadcast: Option<Broadcast<M>>,
    stash_capacity: usize,
    prefer_local: bool,
}

impl<M: Send + 'static> GroupRouter<M> {
    /// A router to the actors under `key`.
    pub fn new(key: &ServiceKey<M>) -> Self {
        let (key, logic) = (key.clone(), RoutingLogic::random());
        Self { key, logic, broadcast: None, stash_capacity: Mailbox::DEFAULT_CAPACITY, prefer_local: false }
    }

    /// Who gets the next message.
    pub fn logic(mut self, logic: RoutingLogic<M>) -> Self {
        self.logic = logic;
        self
    }

    /// Messages for which `applies` is true go to all routees, as with [`RoutingLogic::broadcast`]. It runs in the
    /// sender's turn.
    pub fn broadcast_when(mut self, applies: impl Fn(&M) -> bool + Send + Sync + 'static) -> Self
    where
        M: Clone,
    {
        self.broadcast = Some(Broadcast::when(applies));
        self
    }

    /// How many messages wait at most until the receptionist first says who is there. Default: as many as in a
    /// [mailbox](Mailbox::DEFAULT_CAPACITY).
    pub fn stash_capacity(mut self, messages: usize) -> Self {
        self.stash_capacity = messages;
        self
    }

    /// Messages leave this system only while none of its own actors is registered. Broadcast is to the same ones.
    pub fn prefer_local(mut self) -> Self {
        self.prefer_local = true;
        self
    }

    fn spawn(self, system: &ActorSystem, spawn: impl FnOnce(Group<M>) -> ActorRef<Listing<M>>) -> ActorRef<M> {
        let router = Router::new(self.logic, self.broadcast, self.stash_capacity, system);
        let group = spawn(Group { router: Owned(router.clone()), key: self.key, prefer_local: self.prefer_local });
        router.belongs_to(group.control_arc());
        ActorRef::of_router(router)
    }
}

impl<M: Send + 'static> fmt::Debug for GroupRouter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupRouter").field("key", &self.key).field("logic", &self.logic).finish_non_exhaustive()
    }
}

impl ActorSystem {
    /// Spawns a group router at the top, as [`spawn`](ActorSystem::spawn) does an actor.
    ///
    /// # Panics
    /// As [`spawn`](ActorSystem::spawn).
    pub fn spawn_group<M: Send + 'static>(&self, name: impl AsRef<str>, group: GroupRouter<M>) -> ActorRef<M> {
        group.spawn(self, |group| self.spawn(name, group))
    }
}

impl<N: Send + 'static> ActorContext<N> {
    /// Spawns a group router as a child, as [`spawn`](ActorContext::spawn) does an actor.
    ///
    /// # Panics
    /// As [`spawn`](ActorContext::spawn).
    pub fn spawn_group<M: Send + 'static>(&mut self, name: impl AsRef<str>, group: GroupRouter<M>) -> ActorRef<M> {
        let system = self.system().clone();
        group.spawn(&system, |group| self.spawn(name, group))
    }
}

/// The router's actor: hears who is there. Messages do not pass through it.
struct Group<M: Send + 'static> {
    router: Owned<M>,
    key: ServiceKey<M>,
    prefer_local: bool,
}

impl<M: Send + 'static> Actor for Group<M> {
    type Message = Listing<M>;

    async fn started(&mut self, ctx: &mut ActorContext<Listing<M>>) -> Handled {
        self.router.0.belongs_to(ctx.this().control_arc());
        ctx.system().receptionist().subscribe(&self.key, ctx.this());
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Listing<M>>, listing: Listing<M>) -> Handled {
        let routees = self.routees(&listing, ctx.path());
        let router: &Arc<Router<M>> = &self.router.0;
        if router.routes.load().phase == Phase::Waiting {
            router.open(routees);
        } else {
            drop(router.replace(routees));
        }
        Ok(Behavior::Same)
    }
}

impl<M: Send + 'static> Group<M> {
    fn routees(&self, listing: &Listing<M>, this: &ActorPath) -> Vec<ActorRef<M>> {
        // A router may be registered like any actor, but must not lead to itself.
        let others = |listed: &[ActorRef<M>]| -> Vec<ActorRef<M>> {
            listed.iter().filter(|routee| routee.path() != this).cloned().collect()
        };
        let mut routees = others(listing.instances());
        if routees.is_empty() {
            routees = others(listing.all_instances());
        }
        let is_local = |routee: &ActorRef<M>| routee.path().system_uid() == this.system_uid();
        if self.prefer_local && routees.iter().any(is_local) {
            routees.retain(is_local);
        }
        routees
    }
}
