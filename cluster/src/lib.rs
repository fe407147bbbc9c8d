//! Cluster membership, remoting and the tools on top of them.
//!
//! So far the decisions are here, as values and pure functions without any network: what a member is and may become
//! ([`Member`], [`MemberStatus`]), and who goes on when members cannot reach each other ([`Downing`]). Nodes that meet over
//! SWIM, messages in order over TCP, singletons, the receptionist and topics come on top of them.
//!
//! This crate depends on `actors` and on the internal wire in `proto`, and knows nothing of entities or journals: what it
//! must remember it keeps through its own `Lease` trait.

mod cluster;
mod config;
mod delivery;
mod departure;
mod discovery;
mod downing;
mod epoch;
mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod lease;
pub mod management;
mod member;
mod membership;
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
pub use config::{ClusterConfig, ConfigError, DetectorConfig, DiscoveryConfig, MessageTypes, TlsConfig};
pub use departure::Departure;
pub use discovery::{Discovery, DnsDiscovery, FileDiscovery};
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
