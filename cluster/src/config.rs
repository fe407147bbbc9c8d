//! [`ClusterConfig`]: what a node is, how it is reached, and whom it trusts.

use crate::{
    discovery::Discovery,
    downing::Downing,
    lease::{Lease, LeaseStore},
    member::Address,
    membership::{
        codec::{NAME_MAX, ROLES_MAX, SETTING_MAX, SETTINGS_MAX},
        node::{NodeSettings, SharedSettings},
        swim::{self, KeyRing},
        table::MinMembers,
    },
    refs,
    remote::{
        tcp::Protection,
        tls::{InvalidTls, TlsMaterial, TlsNames},
        transport::DATAGRAM_MAX,
        wire::{Registry, RegistryBuilder, RegistryError, WireMessage},
    },
    tools::Tools,
};
use ring::digest::{SHA256, digest};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU8, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// What a node is, how it is reached, and whom it trusts. Begin with [`local`](Self::local) and change what differs.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The name of the cluster, 1 to 128 bytes: nodes of others are refused. Default `local`.
    pub name: String,
    /// What this node binds, TCP and UDP. With port 0 a free one.
    pub bind: SocketAddr,
    /// Where others reach it. Default: what is bound. Needed when that is all addresses of the machine, such as `0.0.0.0`.
    /// If another process answers there this node does not start; one that cannot reach itself there waits two seconds.
    pub advertised: Option<Address>,
    /// Through whom this node joins; at most 64. Only the first in the list begins a cluster when nobody answers, so
    /// all nodes should have the same list, and each is in it as it is [advertised](Self::advertised): `localhost` is
    /// not `127.0.0.1`. Once it has heard of a cluster it begins none until all others in the list say that they have
    /// none any more: those that are gone have to be started again, or it has. None, and no `discovery`: this node
    /// begins a cluster of its own, on loopback alone.
    pub seeds: Vec<Address>,
    /// Finds through whom to join, instead of `seeds`.
    pub discovery: Option<DiscoveryConfig>,
    /// What this node is there for: at most 64, of 1 to 128 bytes each.
    pub roles: BTreeSet<String>,
    /// Where it stands. Default `default`.
    pub data_center: String,
    /// The version of the program, for rolling upgrades. Default `0.0.0`.
    pub app_version: String,
    /// Who goes on when members cannot reach each other. The same on all nodes. Default: the majority.
    pub downing: Downing,
    /// For [`Downing::LeaseMajority`], which needs one: of the same name on all nodes, and nobody else's for at least 30 seconds
    /// after it was last renewed.
    pub lease: Option<Arc<dyn Lease>>,
    /// For [`Downing::StoreMajority`], which needs one: the same on all nodes. They keep the lease `downing/` with the cluster's
    /// `name` there, by the default [`LeaseSettings`](crate::LeaseSettings); so clusters that share a store have different names.
    pub lease_store: Option<Arc<dyn LeaseStore>>,
    /// A network that is never quiet stops all, instead of leaving it to chance what each decides. Default `true`.
    pub down_all_when_unstable: bool,
    /// How many members there must be before the first becomes up. Default 1. If one that has joined is lost before that, all
    /// stop, whatever `downing` says, and are to be started again. The same on all nodes.
    pub min_members: usize,
    /// As `min_members`, of those with a role.
    pub min_members_by_role: BTreeMap<String, usize>,
    /// Without agreement for so long, newcomers may work for now. Default 7 s; zero: never.
    pub weakly_up_after: Duration,
    /// Further settings that must be the same on all nodes, by name: a node with others is refused, and told which differ.
    pub shared_settings: BTreeMap<String, String>,
    /// Further settings of that kind that nobody is to see; see [`shared_secret`](Self::shared_secret).
    pub shared_secrets: SharedSecrets,
    /// The secrets that members share: they seal datagrams and are proved in handshakes. What users send is not encrypted by
    /// them.
    pub key_ring: Option<KeyRing>,
    /// Mutual TLS for connections. Datagrams do not go over connections: beyond loopback `key_ring` is needed as well.
    pub tls: Option<TlsConfig>,
    /// Written out, a node without keys may be reached from other machines. Whoever reaches its port can end the cluster.
    pub insecure: bool,
    /// How fast who is gone is noticed. `probe_period` and `suspicion` are the same on all nodes: one with others is refused.
    pub detector: DetectorConfig,
    /// How long joining may take until this node is up. Default: as long as it does.
    pub join_within: Option<Duration>,
    /// Actors that get large messages, by path, such as `/user/images` with all below it: those messages go over a connection
    /// of their own, where they may be eight times as large.
    pub large_messages: BTreeSet<String>,
    /// The types of messages that travel; see [`message`](Self::message).
    pub messages: MessageTypes,
}

impl fmt::Debug for dyn Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

impl fmt::Debug for dyn LeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseStore")
    }
}

/// Mutual TLS between nodes.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// What this node shows and whom it trusts.
    pub material: TlsMaterial,
    /// To whom certificates are made out.
    pub names: TlsNames,
}

/// How through whom to join is found.
#[derive(Clone)]
pub struct DiscoveryConfig {
    /// Who knows.
    pub source: Arc<dyn Discovery>,
    /// So many must be found before anything is done, and so many must have answered, this node among them, before it
    /// begins a cluster: those that are only on a list are no reason to. Default 2: with fewer, a node that is alone would
    /// begin a cluster beside the one that is there. One that has a cluster already is joined through whoever answers.
    pub contacts_min: usize,
    /// For how long they must have been the same. Default 5 s.
    pub stable_for: Duration,
    /// Whether the one with the lowest address begins a cluster when nobody has one. To be turned off once there is one.
    /// Default `true`.
    pub may_begin: bool,
}

impl DiscoveryConfig {
    /// By `source`, with the defaults.
    pub fn new(source: impl Discovery) -> Self {
        let stable_for = Duration::from_secs(5);
        Self { source: Arc::new(source), contacts_min: 2, stable_for, may_begin: true }
    }
}

impl fmt::Debug for DiscoveryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryConfig")
            .field("contacts_min", &self.contacts_min)
            .field("stable_for", &self.stable_for)
            .field("may_begin", &self.may_begin)
            .finish_non_exhaustive()
    }
}

/// How fast who is gone is noticed. With the defaults one of a few nodes that crashed is unreachable for all others after
/// some five seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectorConfig {
    /// How often a member is probed. Default 500 ms; more than twice `round_trip`.
    pub probe_period: Duration,
    /// How long to wait for an answer before others are asked to try. Default 200 ms, at least 1 ms.
    pub round_trip: Duration,
    /// How long a suspect has to contradict. Default 3 s; at least twice `probe_period`.
    pub suspicion: Duration,
    /// How many others are asked to try. Default 3.
    pub helpers: NonZeroUsize,
    /// How often each news is passed on. Default 10. While a node sees 50 members or more, itself among them, half as often
    /// again: 15.
    pub transmissions: NonZeroU8,
    /// How often news is passed on. Default 200 ms; 10 ms to `probe_period`.
    pub gossip_period: Duration,
    /// To how many it is passed on each time. Default 3.
    pub gossip_peers: NonZeroUsize,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        let swim::Settings {
            probe_period,
            round_trip,
            suspicion,
            helpers,
            transmissions,
            gossip_period,
            gossip_peers,
            ..
        } = swim::Settings::new("");
        Self { probe_period, round_trip, suspicion, helpers, transmissions, gossip_period, gossip_peers }
    }
}

/// Secrets that must be the same on all nodes, by name: what is kept of them are hashes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SharedSecrets(BTreeMap<String, u128>);

/// Names alone.
impl fmt::Debug for SharedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The types of messages that travel between nodes.
#[derive(Clone, Debug, Default)]
pub struct MessageTypes(RegistryBuilder);

/// What is wrong with a configuration: each names the field, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A text is empty or too long.
    #[error("`{field}` has {len} bytes, and must have 1 to {max}")]
    Length {
        /// Which.
        field: &'static str,
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// A list is too long.
    #[error("`{field}` has {len} entries, and may have {max}")]
    TooMany {
        /// Which.
        field: &'static str,
        /// How many there are.
        len: usize,
        /// How many there may be.
        max: usize,
    },
    /// Others would not know where to connect.
    #[error(
        "`bind` is {0}, which is no address that others could connect to: set `advertised` to the HOST:PORT they use"
    )]
    NotAdvertised(SocketAddr),
    /// Nobody to join through.
    #[error(
        "`seeds` is empty and there is no `discovery`: a node that others can reach must know through whom to join; the \
         first node of a cluster lists itself first"
    )]
    NoSeeds,
    /// Two ways to find others.
    #[error("both `seeds` and `discovery` are set: clear `seeds`")]
    SeedsAndDiscovery,
    /// Anybody could do anything.
    #[error(
        "`bind` is {0}, which other machines can reach, and nothing keeps strangers out: set `key_ring`, or write \
         `insecure = true`"
    )]
    Unprotected(SocketAddr),
    /// Connections are safe and datagrams are not.
    #[error(
        "`bind` is {0} and `tls` protects connections, but anybody could forge the datagrams by which members are given \
         up: set `key_ring` as well, or write `insecure = true`"
    )]
    DatagramsUnprotected(SocketAddr),
    /// That strategy cannot decide without one.
    #[error("`downing` is `LeaseMajority`, which needs a `lease`")]
    NoLease,
    /// Nor can that one.
    #[error("`downing` is `StoreMajority`, which needs a `lease_store` that all nodes reach")]
    NoLeaseStore,
    /// Nobody would ever be up.
    #[error("`min_members` is 0, and must be at least 1")]
    NoMembers,
    /// The detector's times do not go together.
    #[error("`detector`: {0}")]
    Detector(String),
    /// The certificates are none.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
    /// The types of messages do not go together.
    #[error("`messages`: {0}")]
    Messages(String),
}

impl ClusterConfig {
    /// A node on this machine alone, at `port` of 127.0.0.1 (0: a free one), that begins a cluster of its own. Further ones
    /// join it by `seeds`.
    pub fn local(port: u16) -> Self {
        Self {
            name: "local".to_owned(),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            advertised: None,
            seeds: Vec::new(),
            discovery: None,
            roles: BTreeSet::new(),
            data_center: "default".to_owned(),
            app_version: "0.0.0".to_owned(),
            downing: Downing::default(),
            lease: None,
            lease_store: None,
            down_all_when_unstable: true,
            min_members: 1,
            min_members_by_role: BTreeMap::new(),
            weakly_up_after: Duration::from_secs(7),
            shared_settings: BTreeMap::new(),
            shared_secrets: SharedSecrets::default(),
            key_ring: None,
            tls: None,
            insecure: false,
            detector: DetectorConfig::default(),
            join_within: None,
            large_messages: BTreeSet::new(),
            messages: MessageTypes::default(),
        }
    }

    /// `secret` must be the same on all nodes, by `name`. Others get 128 bits of its hash, SHA-256 over both, and a node that
    /// has another one is refused without being shown either. Whoever hears the hash can try out secrets that are easily
    /// guessed: a long random one is safe. Takes the place of a setting of that name.
    #[must_use]
    pub fn shared_secret(mut self, name: impl Into<String>, secret: &str) -> Self {
        let name = name.into();
        let text = [name.as_bytes(), b"\0", secret.as_bytes()].concat();
        let hash = digest(&SHA256, &text).as_ref().iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte));
        self.shared_secrets.0.insert(name, hash);
        self
    }

    /// `M` may travel between nodes.
    #[must_use]
    pub fn message<M: WireMessage>(mut self) -> Self {
        self.messages.0 = self.messages.0.message::<M>();
        self
    }

    /// `T` may travel between nodes, by itself and delivered reliably by the controllers of [`actors::delivery`].
    #[must_use]
    pub fn delivery<T: WireMessage + Sync>(mut self) -> Self {
        self.messages.0 = self.messages.0.delivery::<T>();
        self
    }

    /// Checks all that can be checked before anything is done; not what [`tls`](Self::tls) holds, which joining does.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let length = |field, text: &str, max| match text.len() {
            len if (1..=max).contains(&len) => Ok(()),
            len => Err(ConfigError::Length { field, len, max }),
        };
        let few = |field, len, max| if len > max { Err(ConfigError::TooMany { field, len, max }) } else { Ok(()) };
        length("name", &self.name, NAME_MAX)?;
        length("data_center", &self.data_center, NAME_MAX)?;
        length("app_version", &self.app_version, NAME_MAX)?;
        few("roles", self.roles.len(), ROLES_MAX)?;
        self.roles.iter().try_for_each(|role| length("roles", role, NAME_MAX))?;
        few("seeds", self.seeds.len(), swim::SEEDS_MAX)?;
        few("shared_settings", self.shared_settings.len(), SETTINGS_MAX / 2)?;
        few("shared_secrets", self.shared_secrets.0.len(), SETTINGS_MAX / 4)?;
        self.shared_secrets.0.keys().try_for_each(|name| length("shared_secrets", name, SETTING_MAX / 2))?;
        for (key, value) in &self.shared_settings {
            length("shared_settings", key, SETTING_MAX / 2)?;
            few("shared_settings", value.len(), SETTING_MAX)?;
        }
        if self.advertised.is_none() && self.bind.ip().is_unspecified() {
            return Err(ConfigError::NotAdvertised(self.bind));
        }
        if self.discovery.is_some() && !self.seeds.is_empty() {
            return Err(ConfigError::SeedsAndDiscovery);
        }
        if self.discovery.is_none() && self.seeds.is_empty() && !is_loopback(self.bind.ip()) {
            return Err(ConfigError::NoSeeds);
        }
        self.check_protection()?;
        if matches!(self.downing, Downing::LeaseMajority { .. }) && self.lease.is_none() {
            return Err(ConfigError::NoLease);
        }
        self.lease.as_ref().map_or(Ok(()), |lease| length("lease", lease.name(), SETTING_MAX))?;
        if matches!(self.downing, Downing::StoreMajority { .. }) && self.lease_store.is_none() {
            return Err(ConfigError::NoLeaseStore);
        }
        if self.min_members == 0 {
            return Err(ConfigError::NoMembers);
        }
        self.swim().validate().map_err(|error| ConfigError::Detector(error.to_string()))?;
        self.registry()?;
        Ok(())
    }

    /// What others can reach must keep strangers out, from connections and from datagrams.
    fn check_protection(&self) -> Result<(), ConfigError> {
        if is_loopback(self.bind.ip()) || self.insecure || self.key_ring.is_some() {
            return Ok(());
        }
        Err(match self.tls {
            None => ConfigError::Unprotected(self.bind),
            Some(_) => ConfigError::DatagramsUnprotected(self.bind),
        })
    }

    pub(crate) fn protection(&self) -> Protection {
        match (&self.key_ring, self.insecure) {
            (Some(_), _) => Protection::Credentials,
            (None, true) => Protection::WrittenOff,
            (None, false) => Protection::None,
        }
    }

    pub(crate) fn registry(&self) -> Result<Registry, ConfigError> {
        let builder = Tools::messages(self.messages.0.clone());
        builder.build().map_err(|error: RegistryError| ConfigError::Messages(error.to_string()))
    }

    pub(crate) fn refs(&self) -> refs::Settings {
        refs::Settings { large: self.large_messages.iter().map(|path| path.as_str().into()).collect() }
    }

    pub(crate) fn swim(&self) -> swim::Settings {
        let detector = self.detector.clone();
        swim::Settings {
            keys: self.key_ring.clone(),
            seeds: self.seeds.clone(),
            probe_period: detector.probe_period,
            round_trip: detector.round_trip,
            suspicion: detector.suspicion,
            helpers: detector.helpers,
            transmissions: detector.transmissions,
            gossip_period: detector.gossip_period,
            gossip_peers: detector.gossip_peers,
            ..swim::Settings::new(self.name.as_str())
        }
    }

    pub(crate) fn node(&self) -> NodeSettings {
        let by_role = self.min_members_by_role.iter().map(|(role, least)| (role.as_str().into(), *least)).collect();
        NodeSettings {
            downing: self.downing.clone(),
            min_members: MinMembers { total: self.min_members, by_role },
            weakly_up_after: self.weakly_up_after,
            down_all_when_unstable: self.down_all_when_unstable,
            contacts_min: self.discovery.as_ref().map_or(1, |discovery| discovery.contacts_min),
            shared: self.shared(),
        }
    }

    /// What must be the same on all nodes.
    fn shared(&self) -> SharedSettings {
        let own = SharedSettings::default()
            .with("cluster.datagram_max", &DATAGRAM_MAX.to_string())
            .with("cluster.down_all_when_unstable", &self.down_all_when_unstable.to_string())
            .with("cluster.downing", &format!("{:?}", self.downing))
            .with("cluster.detector.probe_period", &format!("{:?}", self.detector.probe_period))
            .with("cluster.detector.suspicion", &format!("{:?}", self.detector.suspicion));
        let own = match (&self.downing, &self.lease) {
            (Downing::LeaseMajority { .. }, Some(lease)) => own.with("cluster.lease", lease.name()),
            _ => own,
        };
        let plain = self.shared_settings.iter().fold(own, |settings, (key, value)| settings.with(key, value));
        self.shared_secrets.0.iter().fold(plain, |settings, (key, hash)| settings.with_secret(key, *hash))
    }
}

pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(ip.is_loopback(), |ip| ip.is_loopback()),
        IpAddr::V4(ip) => ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ClusterConfig)) -> String {
        let mut config = ClusterConfig::local(2551);
        config.validate().unwrap();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    fn open() -> SocketAddr {
        "10.0.0.7:2551".parse().unwrap()
    }

    #[test]
    fn what_is_wrong_is_told_by_its_field() {
        let seeds = || vec!["n:1".parse().unwrap()];
        assert!(refused(|config| config.name.clear()).contains("`name`"));
        assert!(refused(|config| config.roles = ["x".repeat(129)].into()).contains("`roles`"));
        assert!(refused(|config| config.roles = (0..65).map(|n| n.to_string()).collect()).contains("65 entries"));
        assert!(refused(|config| config.bind = "0.0.0.0:1".parse().unwrap()).contains("`advertised`"));
        assert!(refused(|config| config.bind = open()).contains("`seeds`"));
        assert!(refused(|config| config.min_members = 0).contains("`min_members`"));
        assert!(refused(|config| config.downing = Downing::LeaseMajority { role: None }).contains("`lease`"));
        let store = refused(|config| config.downing = Downing::StoreMajority { role: None });
        assert!(store.contains("`lease_store`"), "{store}");
        assert!(refused(|config| config.detector.suspicion = Duration::ZERO).contains("suspicion"));
        let both = refused(|config| {
            config.seeds = seeds();
            config.discovery = Some(DiscoveryConfig::new(crate::FileDiscovery::new("seeds")));
        });
        assert!(both.contains("`discovery`"));
        assert!(refused(|config| config.seeds = vec!["n:1".parse().unwrap(); 65]).contains("`seeds`"));
        let unnamed = ClusterConfig::local(2551).shared_secret("", "x").validate().unwrap_err().to_string();
        assert!(unnamed.contains("`shared_secrets`"), "{unnamed}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_decides_is_the_same_on_all_nodes() {
        let system = actors::ActorSystem::new("one");
        let store = Arc::new(crate::InMemoryLeaseStore::new(system.clock().clone()));
        let by_lease = |name| {
            let lease = crate::StoredLease::start(&system, name, store.clone(), crate::LeaseSettings::default());
            let (downing, lease) = (Downing::LeaseMajority { role: None }, Some(Arc::new(lease.unwrap()) as _));
            ClusterConfig { downing, lease, ..ClusterConfig::local(1) }
        };
        let by_store = |role: &str| {
            let downing = Downing::StoreMajority { role: Some(role.into()) };
            ClusterConfig { downing, lease_store: Some(store.clone()), ..ClusterConfig::local(1) }
        };
        let differing = |one: ClusterConfig, two: ClusterConfig| -> Vec<String> {
            assert_eq!((one.validate(), two.validate()), (Ok(()), Ok(())));
            one.shared().differences(&two.shared()).iter().map(|differs| differs.key.to_string()).collect()
        };
        assert_eq!(differing(by_lease("a"), by_lease("a")), [""; 0]);
        assert_eq!(differing(by_lease("a"), by_lease("b")), ["cluster.lease"]);
        assert_eq!(differing(by_store("a"), by_store("a")), [""; 0]);
        assert_eq!(differing(by_store("a"), by_store("b")), ["cluster.downing"]);
        assert_eq!(differing(by_lease("a"), by_store("a")), ["cluster.downing", "cluster.lease"]);
    }

    #[test]
    fn what_others_can_reach_keeps_strangers_out_or_says_that_it_does_not() {
        let open = |config: &mut ClusterConfig| {
            config.bind = open();
            config.seeds = vec!["10.0.0.7:2551".parse().unwrap()];
        };
        let told = refused(open);
        assert!(told.contains("`key_ring`") && told.contains("insecure = true"), "{told}");
        let material = TlsMaterial { certificates: vec![], key: vec![], authorities: vec![] };
        let told = refused(|config| {
            open(config);
            config.tls = Some(TlsConfig { material, names: TlsNames::Host });
        });
        assert!(told.contains("datagrams"), "{told}");
        let mut config = ClusterConfig::local(1);
        open(&mut config);
        let with_keys = ClusterConfig { key_ring: Some(KeyRing::new(&[[1; 32]]).unwrap()), ..config.clone() };
        assert_eq!((with_keys.validate(), with_keys.protection()), (Ok(()), Protection::Credentials));
        let insecure = ClusterConfig { insecure: true, ..config };
        assert_eq!((insecure.validate(), insecure.protection()), (Ok(()), Protection::WrittenOff));
    }
}
