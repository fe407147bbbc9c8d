//! [`Receptionist`]: actors find each other by what they do.

mod actor;
mod key;
mod listing;
mod registration;
mod registry;
mod subscription;

use std::fmt;
use std::time::Duration;

pub(crate) use self::actor::{ReceptionistActor, ReceptionistMessage, props};
pub use self::key::ServiceKey;
pub use self::listing::Listing;
pub use self::registration::{Registration, Registrations};

use self::key::KeyId;
use self::subscription::{ListingTo, OwnTo, Topic};
use crate::actor_ref::ActorRef;
use crate::ask::Ask;

/// Registers actors under what they do and finds them by it. Got from
/// [`ActorSystem::receptionist`](crate::ActorSystem::receptionist); cheap to clone.
///
/// An actor registers under a [`ServiceKey`], a name together with the type of message understood there. Whoever needs
/// the service asks once with [`find`](Receptionist::find), or subscribes and gets a [`Listing`] at once and another
/// each time the set changes. Whoever stops, disappears from the listings.
///
/// ```
/// use actors::{Actor, ActorContext, ActorSystem, Behavior, BoxError, Handled, ReplyTo, ServiceKey};
/// use std::time::Duration;
///
/// struct Printer;
///
/// struct Print {
///     text: String,
///     printed: ReplyTo<usize>,
/// }
///
/// impl Actor for Printer {
///     type Message = Print;
///
///     async fn started(&mut self, ctx: &mut ActorContext<Print>) -> Handled {
///         ctx.system().receptionist().register(&printers(), ctx.this());
///         Ok(Behavior::Same)
///     }
///
///     async fn receive(&mut self, _ctx: &mut ActorContext<Print>, message: Print) -> Handled {
///         message.printed.tell(message.text.len());
///         Ok(Behavior::Same)
///     }
/// }
///
/// fn printers() -> ServiceKey<Print> {
///     ServiceKey::new("printers")
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # const SECOND: Duration = Duration::from_secs(1);
/// let system = ActorSystem::new("office");
/// let printer = system.spawn("printer", Printer);
/// let print = |printed| Print { text: "hello".to_owned(), printed };
/// assert_eq!(printer.ask(print, SECOND).await?, 5); // it has started, so it is registered
///
/// let listing = system.receptionist().find(&printers(), SECOND).await?;
/// assert_eq!(listing.instances(), [printer]);
/// # system.terminate().await;
/// # Ok(())
/// # }
/// ```
///
/// # Promises
///
/// - What one task does with the receptionist takes effect in that order: a `find` sees the `register` before it.
/// - A subscriber gets the listing as it is, then one for each change and none without one. Should its mailbox be full,
///   it gets the newest listing once there is room: it may miss a state in between, never the last.
/// - Registering twice is registering once. One actor may be registered under several keys.
/// - A stopped actor disappears by itself; until the receptionist has heard of the end it may still be listed.
/// - The receptionist is for services: thousands of entries that change seldom. It is no directory of entities.
///
/// It starts when first used and lives under `/system`, so it ends after the actors it serves and keeps no system from
/// ending. All about it belongs to one [`ActorSystem`](crate::ActorSystem); two systems in a process share nothing.
///
/// # Several nodes
///
/// What is registered is kept by owner. Each node is the only writer of its own part, a [`Registrations`] with a version
/// that grows with every change, so parts never conflict: of two versions of one owner the higher is right, and with a
/// node that is removed its part goes as a whole. An owner is a system's [uid](crate::ActorSystem::uid), which no later
/// run of the same node has. Whoever connects nodes tells others what
/// [`subscribe_own`](Receptionist::subscribe_own) brings, and [`install`](Receptionist::install)s what they tell.
///
/// # Calls
///
/// All of them may be made inside and outside of actors, and return at once. After its system has ended nothing is
/// registered any more and a [`find`](Receptionist::find) fails with [`AskError::Stopped`](crate::AskError::Stopped).
#[derive(Clone)]
pub struct Receptionist {
    pub(crate) actor: ActorRef<ReceptionistMessage>,
}

impl Receptionist {
    /// Lists `actor` under `key` until it stops or is deregistered.
    pub fn register<M: Send + 'static>(&self, key: &ServiceKey<M>, actor: &ActorRef<M>) {
        self.actor.tell(ReceptionistMessage::Register(Registration::new(key, actor)));
    }

    /// Takes `actor` off the list under `key`. Does nothing when it is not on it.
    pub fn deregister<M: Send + 'static>(&self, key: &ServiceKey<M>, actor: &ActorRef<M>) {
        self.actor.tell(ReceptionistMessage::Deregister { key: KeyId::of(key), path: actor.path().clone() });
    }

    /// Who is registered under `key` now; inside an actor best brought back with
    /// [`pipe_to_self`](crate::ActorContext::pipe_to_self).
    ///
    /// # Errors
    /// As [`ActorRef::ask`].
    pub fn find<M: Send + 'static>(&self, key: &ServiceKey<M>, within: Duration) -> Ask<Listing<M>> {
        let key = key.clone();
        let question = |reply_to| ReceptionistMessage::find(key, reply_to);
        self.actor.ask(question, within)
    }

    /// Tells `subscriber` who is registered under `key`, now and after each change, until it stops or unsubscribes.
    /// Subscribing an actor again under the same key takes the place of the first time, and brings a listing again.
    pub fn subscribe<M: Send + 'static>(&self, key: &ServiceKey<M>, subscriber: &ActorRef<Listing<M>>) {
        let subscriber = Box::new(ListingTo::new(key.clone(), subscriber.clone()));
        self.actor.tell(ReceptionistMessage::Subscribe { topic: Topic::Key(KeyId::of(key)), subscriber });
    }

    /// Ends a subscription. What is in the subscriber's mailbox already still arrives.
    pub fn unsubscribe<M: Send + 'static>(&self, key: &ServiceKey<M>, subscriber: &ActorRef<Listing<M>>) {
        let (topic, path) = (Topic::Key(KeyId::of(key)), subscriber.path().clone());
        self.actor.tell(ReceptionistMessage::Unsubscribe { topic, path });
    }

    /// Tells `subscriber` all that this system's actors have registered, now and after each change: what other nodes
    /// are to [`install`](Receptionist::install).
    pub fn subscribe_own(&self, subscriber: &ActorRef<Registrations>) {
        let subscriber = Box::new(OwnTo(subscriber.clone()));
        self.actor.tell(ReceptionistMessage::Subscribe { topic: Topic::Own, subscriber });
    }

    /// Lists what another node has registered, in place of what it had registered before. Nothing happens when a version
    /// as high is known, when the owner was removed, or when the owner is this system.
    ///
    /// The owner watches its own registrants; ends of others are not looked for here.
    pub fn install(&self, registrations: Registrations) {
        self.actor.tell(ReceptionistMessage::Install(registrations));
    }

    /// Forgets all that the node `owner` has registered, for good: what arrives from it later is ignored.
    pub fn remove_owner(&self, owner: u64) {
        self.actor.tell(ReceptionistMessage::RemoveOwner(owner));
    }

    /// Says whether the node `owner` can be reached, which decides between [`Listing::instances`] and
    /// [`Listing::all_instances`] alone. An owner is taken for reachable until said otherwise.
    pub fn set_reachable(&self, owner: u64, reachable: bool) {
        self.actor.tell(ReceptionistMessage::SetReachable { owner, reachable });
    }
}

impl fmt::Debug for Receptionist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receptionist").field(self.actor.path()).finish()
    }
}
