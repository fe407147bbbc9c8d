//! Several nodes, each a process with an actor system, that know who belongs to them, talk as if they were one, and stay one
//! when the network does not.
//!
//! A [`Cluster`] makes an actor system a member. From then on references to its actors may be in messages to actors of other
//! nodes, and `tell`, `send`, `ask` and `watch` work there as here. On top of that: one instance of an actor in the whole
//! cluster ([`ClusterSingleton`]), topics ([`Topic`]), the receptionist, group routers and reliable delivery of `actors` across
//! nodes, and [leases](Lease) with fencing tokens.
//!
//! # A first program
//!
//! Two nodes in one process. Elsewhere each is a process of its own, and no line is different but the addresses.
//!
//! ```
//! use actors::{Actor, ActorContext, ActorSystem, Behavior, BoxError, Handled, Props, ReplyTo};
//! use cluster::{Cluster, ClusterConfig, ClusterSingleton, WireMessage};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize)]
//! enum GateMessage {
//!     Enter(ReplyTo<u64>),
//! }
//!
//! /// What travels has a name that is the same in every version of the program.
//! impl WireMessage for GateMessage {
//!     const NAME: &'static str = "guide.Gate";
//! }
//!
//! /// Counts who enters. There is one in the cluster.
//! struct Gate(u64);
//!
//! impl Actor for Gate {
//!     type Message = GateMessage;
//!
//!     async fn receive(&mut self, _ctx: &mut ActorContext<GateMessage>, message: GateMessage) -> Handled {
//!         let GateMessage::Enter(reply_to) = message;
//!         self.0 += 1;
//!         reply_to.tell(self.0);
//!         Ok(Behavior::Same)
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), BoxError> {
//! let one = ActorSystem::new("one");
//! let first = Cluster::join(&one, ClusterConfig::local(0).message::<GateMessage>()).await?; // begins a cluster
//!
//! let two = ActorSystem::new("two");
//! let config = ClusterConfig { seeds: vec![first.me().address.clone()], ..ClusterConfig::local(0) };
//! let second = Cluster::join(&two, config.message::<GateMessage>()).await?; // both are up
//!
//! ClusterSingleton::init(&first, "gate", Props::new(|| Gate(0)));
//! let gate = ClusterSingleton::init(&second, "gate", Props::new(|| Gate(0)));
//! let number = gate.ask(GateMessage::Enter, Duration::from_secs(10)).await?; // it is on the first
//! assert_eq!(number, 1);
//!
//! second.leave(Duration::from_secs(30)).await?;
//! first.leave(Duration::from_secs(30)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/three_nodes.rs` is the same with three processes to kill. A program that is to be stopped by ctrl-c or SIGTERM
//! says `system.coordinated_shutdown().run_on_signals()?` before it joins: then its node leaves in good order, also while it is
//! still joining. That may take 40 s where there are singletons ([`worst_case`](actors::CoordinatedShutdown::worst_case)),
//! which is more than the 30 s that Kubernetes waits unless told to.
//!
//! Why a node waits, or a message does not pass, is told by `tracing`: install a subscriber.
//!
//! # What is promised
//!
//! - **Members**: all nodes that can reach each other come to one list. A [status](MemberStatus) only goes forward, and a life
//!   that was removed never comes back: a node that starts again at the same address is another member.
//! - **Who goes on**: when members cannot reach each other, of two sides that saw the same members at most one goes on, by the
//!   [`Downing`] that all have; the nodes of the other stop. A node that reaches too few
//!   and has no answer of them stops after two stable periods though nobody confirms it; one that stood still until all it knew
//!   were gone stops at once. A [`Departure`] says why.
//! - **Messages** of one sender to one receiver arrive in order and at most once. `ask` fails as soon as it is certain that no
//!   answer comes, never later than its limit; asks that go in a circle end with `Cycle`, whichever nodes they go by. Who watches
//!   is told `Terminated` once: when the actor ended, when its node was removed, or when nothing passes to that life of its
//!   node any more, because another answers at its address for instance.
//! - **Singletons**: one instance is served at a time. On a node that is cut off it handles no message any more before another
//!   is started, and is killed if that lasts five seconds: see [`Cluster::hosting`]. Tasks that it began may run until then:
//!   fence what they write. One that moves because its node leaves, or another is to host, handles all that was sent to it
//!   before; what is told meanwhile waits for the next, in order.
//!
//! # What is not
//!
//! - That a message arrives. Connections break, and what was on its way is lost: use [`actors::delivery`], or ask again.
//! - That a circle of asks is seen that goes over more than 16 nodes, over one of an earlier release, or through a router or a
//!   forwarding actor on a node that nobody in the circle is of: it ends with its limit.
//! - That a cut that is not clean, or two views that are far apart, are decided as well as a clean one. And a process that is
//!   suspended in the middle of a write wakes up and goes on with it: give writes a [`FencingToken`], and let the resource
//!   refuse older ones.
//! - That two nodes without `key_ring` or `tls` are who they say. So they are on loopback, or somebody wrote `insecure`.
//! - Any state. What must outlive its node is in a journal; see the crate `persistence`.
//!
//! # Settings that matter in production
//!
//! | [`ClusterConfig`] | what to do |
//! |---|---|
//! | [`bind`](ClusterConfig::bind), [`advertised`](ClusterConfig::advertised) | what this node binds, TCP and UDP; behind `0.0.0.0`, where others reach it |
//! | [`key_ring`](ClusterConfig::key_ring) | needed beyond loopback: 32 random bytes that all nodes have. [`Cluster::rotate_keys`] changes them without a gap |
//! | [`tls`](ClusterConfig::tls) | encrypts connections; beside the key ring, not in its place |
//! | [`seeds`](ClusterConfig::seeds) or [`discovery`](ClusterConfig::discovery) | the same list on all nodes, for the first of it may begin a cluster; or [`StaticDiscovery`], [`DnsDiscovery`], [`FileDiscovery`] |
//! | [`downing`](ClusterConfig::downing) | the majority, unless there are two nodes and a witness that is always there ([`KeepReferee`](Downing::KeepReferee)), or more than half may fail at once ([`StoreMajority`](Downing::StoreMajority), [`LeaseMajority`](Downing::LeaseMajority)) |
//! | [`min_members`](ClusterConfig::min_members) | how many there must be before anybody is up |
//! | [`join_within`](ClusterConfig::join_within) | to be told by [`JoinError`] why a node does not come up, instead of waiting |
//!
//! Until when a node may serve what one node alone is to serve is [`Cluster::hosting`]: with up to five members that is nine
//! seconds after it last asked so many who answered that they would go on with it (of five: two others). After a longer pause
//! of the process nothing is served until enough have answered again; five seconds past the deadline singletons are killed.
//!
//! `cloudstate cluster` shows and changes members by hand, over `management::http` (feature `management`), which wants a token
//! beyond loopback.
//!
//! # Where things are
//!
//! | module | what it is |
//! |---|---|
//! | `cluster`, `config`, `discovery` | joining, leaving, settings |
//! | `membership` | who is a member: SWIM finds out who is there, `node` is the state machine of one member, `daemon` runs both |
//! | `downing` | who goes on, as a pure function |
//! | `remote` | connections, handshakes, TLS, messages in order, system messages until they are acknowledged |
//! | `refs` | references to actors inside messages, stand-ins for actors elsewhere, `watch` and `ask` across nodes |
//! | `singleton`, `pub_sub`, `receptionist`, `lease`, `epoch` | the tools on top |
//! | [`management`] | looking in, and changing who is there |
//! | [`testkit`] | whole clusters in one thread, in virtual time, with faults drawn from a seed |
//!
//! This crate depends on `actors` and on the internal wire in `proto`, and knows nothing of entities or journals: what it
//! must remember it keeps through its own [`LeaseStore`].

mod cluster;
mod config;
mod delivery;
mod departure;
mod discovery;
mod downing;
mod epoch;
mod event;
#[cfg(all(test, feature = "management"))]
mod from_akka;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod lease;
pub mod management;
mod member;
mod membership;
mod number_map;
mod pub_sub;
mod receptionist;
mod refs;
mod remote;
mod rng;
mod seams;
mod singleton;
pub mod testkit;
mod tools;
mod uptime;

pub use cluster::{Cluster, ClusterError, JoinError, SettingDifference};
pub use config::{ClusterConfig, ConfigError, DetectorConfig, DiscoveryConfig, MessageTypes, SharedSecrets, TlsConfig};
pub use departure::Departure;
pub use discovery::{Contacts, Discovery, DnsDiscovery, FileDiscovery, Resolver, StaticDiscovery};
pub use downing::Downing;
pub use event::{ClusterEvent, ClusterState};
pub use lease::{
    AcquireError, Fenced, FencingToken, HostingDeadline, InMemoryLeaseStore, InvalidLeaseSettings, Lease, LeaseFuture,
    LeaseLost, LeaseOwner, LeaseRecord, LeaseSettings, LeaseStore, LeaseStoreError, OnLost, Stored, StoredLease,
    Swapped, Version, force_release,
};
pub use management::{ClusterManagement, ClusterManagementMessage, ClusterReport, MemberReport};
pub use member::{Address, InvalidAddress, Member, MemberStatus, UniqueAddress};
pub use membership::swim::seal::{InvalidKeyRing, KeyRing};
pub use pub_sub::{Topic, TopicError};
pub use remote::{
    pack::{PackError, Packer, Unpacker},
    tls::{InvalidTls, TlsMaterial, TlsNames},
    wire::WireMessage,
};
pub use singleton::{ClusterSingleton, HostChoice, Singleton, SingletonError};
