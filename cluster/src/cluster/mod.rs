//! [`Cluster`]: this node as a member.

mod error;
mod join;
mod shutdown;

#[cfg(test)]
mod secret_tests;
#[cfg(test)]
pub(crate) mod tests;

pub use error::{ClusterError, JoinError, SettingDifference};

pub(crate) use join::{Ground, ProbeOf, join};

use crate::{
    config::ClusterConfig,
    departure::Departure,
    event::{ClusterEvent, ClusterState},
    lease::HostingDeadline,
    member::{Address, Member, MemberStatus, UniqueAddress},
    membership::{
        daemon::{
            inbox::{Busy, Wish},
            shared::{Shared, Stage},
        },
        node::Command,
        swim::KeyRing,
    },
    refs::Refs,
    remote::{
        remoting::{ControlThread, Remoting},
        tls::{InvalidTls, Tls, TlsMaterial},
    },
    seams::Seams,
    tools::Tools,
};
use actors::{ActorRef, ActorSystem, ShutdownReason};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// This node as a member of its cluster. Cheap to clone; all clones are the same node.
///
/// A node that joined stays a member until it leaves, is given up or its process ends: dropping this changes nothing. When
/// it is no member any more its actor system [shuts down](actors::CoordinatedShutdown): in good order if it left, without
/// handing anything over if it was given up.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

pub(crate) struct Inner {
    system: ActorSystem,
    shared: Arc<Shared>,
    remoting: Arc<Remoting>,
    refs: Refs,
    seams: Seams,
    tls: Option<Arc<Tls>>,
    /// From when it is up.
    tools: OnceLock<Tools>,
    /// Runs membership and the control lane, for as long as anybody knows the node.
    _control: Option<ControlThread>,
}

impl Cluster {
    /// Joins a cluster, or begins one where the configuration says so. Comes back when this node is up.
    ///
    /// From then on the system's [`CoordinatedShutdown`](actors::CoordinatedShutdown) takes the node out of the cluster
    /// before actors stop.
    ///
    /// # Errors
    /// [`JoinError`] says why this node is no member. Nothing is left behind, and it may be tried again. It ends as well
    /// when the system begins to shut down, by a signal for instance.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, this node does not join; if it was let in already, it says that it is gone.
    pub async fn join(system: &ActorSystem, config: ClusterConfig) -> Result<Self, JoinError> {
        let ground = Ground::of_machine(system, &config)?;
        join::join(system, config, ground).await
    }

    /// This life of this node.
    pub fn me(&self) -> &UniqueAddress {
        &self.0.shared.myself.node
    }

    /// This node as a member; none once it is no member any more.
    pub fn member(&self) -> Option<Member> {
        self.state().member(self.me()).cloned()
    }

    /// The cluster as this node sees it now.
    pub fn state(&self) -> Arc<ClusterState> {
        self.0.shared.state()
    }

    /// Has `subscriber` told what happens from now on: first [`ClusterEvent::Current`], then each event without a gap.
    /// A subscriber whose mailbox is full gets another `Current` later, in place of what it missed. It stays subscribed
    /// until it stops.
    ///
    /// # Errors
    /// The node has stopped, or has too much to do: nothing was subscribed.
    pub fn subscribe(&self, subscriber: &ActorRef<ClusterEvent>) -> Result<(), ClusterError> {
        self.wish(Wish::Subscribe(subscriber.clone()))
    }

    /// Leaves, and shuts the actor system down: shards are handed over, then singletons, then this node is removed. Comes
    /// back when it is no member any more; the system goes on to [terminate](ActorSystem::terminated).
    ///
    /// # Errors
    /// Not within this time: the shutdown goes on. Or it was no member any more for another reason than this.
    ///
    /// # Cancel safety
    /// Cancel safe: leaving goes on.
    pub async fn leave(&self, within: Duration) -> Result<(), ClusterError> {
        self.0.system.coordinated_shutdown().start_for(ShutdownReason::ClusterLeft);
        match self.0.system.clock().timeout(within, self.terminated()).await {
            Ok(Departure::Left) => Ok(()),
            Ok(other) => Err(ClusterError::Stopped(other)),
            Err(_) => Err(ClusterError::NotWithin(within)),
        }
    }

    /// Asks the member at `address`, this one or another, to leave. Comes back at once: events tell how it goes on.
    ///
    /// # Errors
    /// Nobody is there, as far as this node knows, or this node has stopped.
    pub fn leave_member(&self, address: &Address) -> Result<(), ClusterError> {
        self.command_about(address, Command::Leave(address.clone()))
    }

    /// Gives up the member at `address`, whatever it does: it hands nothing over, and never is a member again. For one that
    /// is known to be gone, or that must not go on.
    ///
    /// It is taken at its word: one that goes on all the same, beyond a cut or after it stood still, may serve what one node
    /// alone is to serve as long as this side does; and if those that were beyond the cut with it are the greater side there
    /// are two clusters then, of which one has to be started again. Where too few have answered this node of late it counts
    /// for the others until all that are left have agreed for as long as an answer is good for (nine seconds with up to five
    /// members, 55 with more than a hundred), as they may have given up this node before.
    ///
    /// # Errors
    /// As [`leave_member`](Self::leave_member).
    pub fn down(&self, address: &Address) -> Result<(), ClusterError> {
        self.command_about(address, Command::Down(address.clone()))
    }

    /// Tells all members that the whole cluster is about to stop: nothing is moved from here on.
    ///
    /// # Errors
    /// This node has stopped.
    pub fn prepare_for_shutdown(&self) -> Result<(), ClusterError> {
        self.wish(Wish::Command(Command::PrepareForShutdown))
    }

    /// On which life of which node `actor` is: this one, or the one that its reference came from. That of a singleton, of a
    /// router or of whatever else routes messages is on this node, wherever it sends them.
    pub fn node_of<M: Send + 'static>(&self, actor: &ActorRef<M>) -> UniqueAddress {
        Refs::node_of(actor).unwrap_or_else(|| self.me().clone())
    }

    /// Until when this node may serve what one node alone is to serve.
    pub fn hosting(&self) -> HostingDeadline {
        self.0.shared.hosting.clone()
    }

    /// Waits until this node is no member any more, and says why. Cancel safe.
    pub async fn terminated(&self) -> Departure {
        let mut stage = self.0.shared.stage();
        loop {
            if let Stage::Stopped(reason) = &*stage.borrow_and_update() {
                return Departure::of(*reason);
            }
            // The sender lives in `self`.
            let _ = stage.changed().await;
        }
    }

    /// How much was dropped so far, by reason: datagrams, messages between nodes, messages of actors, events.
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let mut all = self.0.shared.counts.all();
        all.extend(self.0.refs.dropped().map(|(reason, count)| (reason.to_owned(), count)));
        all
    }

    /// How many news of who is alive, and who is not, wait to be passed on to others. 0 while nothing happens; if it only
    /// grows, nodes come and go faster than that can be told.
    pub fn news_waiting(&self) -> usize {
        self.0.shared.counts.news_waiting()
    }

    /// Goes on with other certificates: connections made from now on use them.
    ///
    /// # Errors
    /// They are none; those that were there stay. Or this node has no TLS: it needs to begin with it.
    pub fn reload_tls(&self, material: &TlsMaterial) -> Result<(), InvalidTls> {
        match &self.0.tls {
            Some(tls) => tls.reload(material),
            None => Err(InvalidTls::Off),
        }
    }

    /// Goes on with other keys, for datagrams and for handshakes. To change a key without a gap, go through all nodes three
    /// times: add the new key at the end, then put it first, then drop the old one.
    ///
    /// # Errors
    /// This node has stopped, or has no keys: it needs to begin with them.
    pub fn rotate_keys(&self, keys: &KeyRing) -> Result<(), ClusterError> {
        self.wish(Wish::Rotate(keys.clone()))?;
        self.0.remoting.rotate(keys.clone());
        Ok(())
    }

    /// The actor system that joined.
    pub fn system(&self) -> &ActorSystem {
        &self.0.system
    }

    /// Why this node is no member any more, once it is none.
    pub(crate) fn departure(&self) -> Option<Departure> {
        match &*self.0.shared.stage().borrow() {
            Stage::Stopped(reason) => Some(Departure::of(*reason)),
            _ => None,
        }
    }

    /// How often others said that this node is gone, and it had to contradict.
    pub(crate) fn contradicted(&self) -> u64 {
        self.0.shared.counts.contradicted()
    }

    /// What this node's messages to others go through.
    pub(crate) fn remoting(&self) -> &Remoting {
        &self.0.remoting
    }

    /// References to actors of other nodes.
    pub(crate) fn refs(&self) -> &Refs {
        &self.0.refs
    }

    /// What singletons and topics are made with.
    pub(crate) fn tools(&self) -> &Tools {
        let Inner { system, refs, shared, seams, tools, .. } = &*self.0;
        tools.get_or_init(|| Tools::start(system, refs, Arc::<Shared>::clone(shared), &seams.rng))
    }

    fn status(&self) -> Option<MemberStatus> {
        match &*self.0.shared.stage().borrow() {
            Stage::Member(status) => Some(*status),
            _ => None,
        }
    }

    fn command_about(&self, address: &Address, command: Command) -> Result<(), ClusterError> {
        if self.state().at(address).next().is_none() {
            return Err(ClusterError::NotAMember(address.clone()));
        }
        self.wish(Wish::Command(command))
    }

    fn wish(&self, wish: Wish) -> Result<(), ClusterError> {
        if let Stage::Stopped(reason) = &*self.0.shared.stage().borrow() {
            return Err(ClusterError::Stopped(Departure::of(*reason)));
        }
        self.0.shared.inbox.wish(wish).map_err(|Busy| ClusterError::Busy)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("me", self.me()).field("status", &self.status()).finish_non_exhaustive()
    }
}
