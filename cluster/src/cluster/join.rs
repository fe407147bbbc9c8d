//! Gets a node into a cluster.

use super::{
    Cluster, Inner, JoinError, SettingDifference,
    shutdown::{self, WhileJoining, give_up},
};
use crate::{
    config::{ClusterConfig, DiscoveryConfig},
    departure::Departure,
    discovery::Bootstrap,
    downing::Downing,
    lease::{Lease, LeaseOwner, LeaseSettings, ResolverLease, StoredLease},
    member::{Address, Member, MemberStatus, UniqueAddress},
    membership::{
        daemon::{
            Daemon, Equipment,
            inbox::Wish,
            shared::{Shared, Stage},
        },
        node::{Command, Difference},
    },
    refs::Refs,
    remote::{
        door::{Channel, Receiver, Remote},
        remoting::{ControlThread, Receivers, Remoting, RemotingSettings},
        tcp::Tcp,
        tls::Tls,
    },
    rng::Rng,
    seams::Seams,
    uptime::Uptime,
};
use actors::ActorSystem;
use rand::Rng as _;
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::oneshot;
use tracing::{debug, warn};

/// How often it is looked through whom to join, before and after that is known.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What a node stands on: a machine's sockets and threads, or those of a simulation.
pub(crate) struct Ground {
    pub(crate) seams: Seams,
    pub(crate) uptime: Uptime,
    /// Where others reach it.
    pub(crate) address: Address,
    /// Whether the address may lead to somebody else, so that it is looked first who answers there.
    pub(crate) looks_first: bool,
    /// Which of several lives at the address this is: a later one has more.
    pub(crate) start: u64,
    pub(crate) control: Option<ControlThread>,
    /// Takes what comes over [`Channel::Probe`], for the life that is given.
    pub(crate) probe: Option<ProbeOf>,
}

/// Makes what takes a simulation's frames for this life.
pub(crate) type ProbeOf = Box<dyn FnOnce(&UniqueAddress) -> Arc<dyn Receiver> + Send>;

impl Ground {
    pub(super) fn of_machine(system: &ActorSystem, config: &ClusterConfig) -> Result<Self, JoinError> {
        config.validate()?;
        let clock = system.clock().clone();
        let control = ControlThread::start()?;
        let tcp = {
            let _entered = control.handle().enter();
            Tcp::bind(config.bind, config.protection(), clock.clone())?
        };
        let bound = || Address::new(tcp.address().ip().to_string(), tcp.address().port());
        let address = config.advertised.clone().map_or_else(bound, Ok)?;
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let seams = Seams {
            clock: clock.clone(),
            transport: Arc::new(tcp),
            control: control.spawner(),
            ordinary: Arc::new(system.runtime().clone()),
            rng: Arc::new(Rng::from_seed(seed)),
        };
        let start = clock.wall_ms();
        Ok(Self {
            seams,
            uptime: Uptime::of_machine(clock),
            address,
            // What is bound nobody else has.
            looks_first: config.advertised.is_some(),
            start,
            control: Some(control),
            probe: None,
        })
    }
}

/// As [`Cluster::join`], on any ground.
pub(crate) async fn join(system: &ActorSystem, config: ClusterConfig, ground: Ground) -> Result<Cluster, JoinError> {
    config.validate()?;
    let Ground { seams, uptime, address, looks_first, start, control, probe } = ground;
    let uid = seams.rng.fork("life").next_u64().max(1);
    let myself = Member {
        node: UniqueAddress { address: address.clone(), uid },
        status: MemberStatus::Joining,
        up_number: None,
        roles: config.roles.iter().map(|role| role.as_str().into()).collect(),
        data_center: config.data_center.as_str().into(),
        app_version: config.app_version.as_str().into(),
    };
    let registry = config.registry()?;
    let tls = match &config.tls {
        Some(tls) => Some(Tls::new(&tls.material, tls.names.clone(), seams.clock.clone())),
        None => None,
    };
    let tls = tls.transpose().map_err(crate::config::ConfigError::Tls)?.map(Arc::new);
    let shared = Shared::new(myself.clone(), uptime.clone());
    let settings = RemotingSettings {
        cluster: config.name.as_str().into(),
        keys: config.key_ring.clone(),
        tls: tls.clone(),
        ..RemotingSettings::default()
    };
    let refs = Refs::new(system, myself.node.clone(), registry.clone(), seams.clone(), config.refs());
    let lease = resolver_lease(&config, &myself.node, &uptime, &seams);
    let receiver: Arc<dyn Receiver> = shared.inbox.clone();
    let mut receivers = Receivers::from([(Channel::Membership, receiver), (Channel::Actors, refs.receiver())]);
    receivers.extend(probe.map(|probe| (Channel::Probe, probe(&myself.node))));
    let remoting = Remoting::start(myself.node, settings, registry.clone(), seams.clone(), receivers);
    let remote: Arc<dyn Remote> = remoting.clone();
    refs.connect(&remote);
    // Before anybody hears of this life: they would take it for what became of the other.
    if looks_first && let Some(said) = remoting.other_at_own_address().await {
        remoting.stop(Duration::ZERO).await;
        return Err(JoinError::AddressTaken { me: shared.myself.node.clone(), said });
    }
    let equipment = Equipment {
        seams: seams.clone(),
        uptime,
        shared: Arc::clone(&shared),
        remote,
        start,
        swim: config.swim(),
        node: config.node(),
        lease,
        removed: {
            let refs = refs.clone();
            Some(Box::new(move |life| refs.life_ended(life)))
        },
    };
    if let Err(error) = Daemon::start(equipment) {
        remoting.stop(Duration::ZERO).await;
        return Err(crate::config::ConfigError::Detector(error.to_string()).into());
    }
    let inner =
        Inner { system: system.clone(), shared, remoting, refs, seams, tls, tools: OnceLock::new(), _control: control };
    Joining::up(Cluster(Arc::new(inner)), &config).await
}

/// What decides who goes on, where that is a lease.
fn resolver_lease(config: &ClusterConfig, me: &UniqueAddress, uptime: &Uptime, seams: &Seams) -> Option<ResolverLease> {
    let lease: Arc<dyn Lease> = match &config.downing {
        Downing::LeaseMajority { .. } => config.lease.clone()?,
        Downing::StoreMajority { .. } => {
            let (name, store) = (format!("downing/{}", config.name), config.lease_store.clone()?);
            let (owner, settings) = (LeaseOwner::of(me), LeaseSettings::default());
            Arc::new(StoredLease::new(name, store, owner, settings, uptime.clone(), &*seams.ordinary))
        }
        _ => return None,
    };
    Some(ResolverLease::new(lease))
}

/// A node that is not up yet. Dropped, it is gone again.
struct Joining {
    cluster: Cluster,
    /// None once it is decided.
    shuts_down: Option<WhileJoining>,
}

impl Joining {
    async fn up(cluster: Cluster, config: &ClusterConfig) -> Result<Cluster, JoinError> {
        let Ok((shuts_down, begun)) = WhileJoining::new(&cluster) else {
            give_up(cluster).await;
            return Err(JoinError::ShuttingDown);
        };
        let mut this = Self { cluster: cluster.clone(), shuts_down: Some(shuts_down) };
        let outcome = up_in_time(&cluster, begun, config).await;
        let is_over = this.shuts_down.take().is_some_and(WhileJoining::end);
        let added = outcome.and_then(|()| match is_over.then(|| shutdown::add_tasks(&cluster)) {
            Some(Ok(())) => Ok(()),
            _ => Err(JoinError::ShuttingDown),
        });
        if let Err(error) = added {
            give_up(cluster).await;
            return Err(error);
        }
        shutdown::watch(&cluster);
        cluster.tools();
        Ok(cluster)
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        if let Some(shuts_down) = self.shuts_down.take() {
            let cluster = self.cluster.clone();
            let ordinary = Arc::clone(&cluster.0.seams.ordinary);
            ordinary.spawn(Box::pin(async move {
                give_up(cluster).await;
                drop(shuts_down);
            }));
        }
    }
}

async fn up_in_time(
    cluster: &Cluster,
    shuts_down: oneshot::Receiver<()>,
    config: &ClusterConfig,
) -> Result<(), JoinError> {
    let mut asked = Vec::new();
    let up = async {
        tokio::select! {
            biased;
            outcome = until_up(cluster, config, &mut asked) => outcome,
            _ = shuts_down => Err(JoinError::ShuttingDown),
        }
    };
    let Some(within) = config.join_within else { return up.await };
    if let Ok(outcome) = cluster.0.seams.clock.timeout(within, up).await {
        return outcome;
    }
    let why = |address: &Address| Some((address.clone(), cluster.0.remoting.last_failure(address)?));
    let failed = asked.iter().filter_map(why).collect();
    Err(JoinError::TimedOut { me: cluster.me().address.clone(), within, failed, asked })
}

/// Waits until it is up, and looks through whom to join meanwhile.
async fn until_up(cluster: &Cluster, config: &ClusterConfig, asked: &mut Vec<Address>) -> Result<(), JoinError> {
    let mut stage = cluster.0.shared.stage();
    let up = async {
        loop {
            match &*stage.borrow_and_update() {
                Stage::Member(status) if *status >= MemberStatus::Up => return Ok(()),
                Stage::Refused { by, differing } => {
                    let differing = differing.iter().map(difference).collect();
                    return Err(JoinError::Refused { by: by.clone(), differing });
                }
                Stage::Stopped(reason) => return Err(JoinError::Stopped(Departure::of(*reason))),
                Stage::Joining | Stage::Member(_) => {}
            }
            // The sender lives in the cluster.
            let _ = stage.changed().await;
        }
    };
    let look = async {
        match &config.discovery {
            Some(discovery) => discover(cluster, discovery, asked).await,
            None => {
                let own = || vec![cluster.me().address.clone()];
                let seeds = if config.seeds.is_empty() { own() } else { config.seeds.clone() };
                asked.clone_from(&seeds);
                join_through(cluster, seeds);
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        biased;
        outcome = up => outcome,
        () = look => Err(JoinError::ShuttingDown),
    }
}

/// Looks again and again, for ever.
async fn discover(cluster: &Cluster, discovery: &DiscoveryConfig, asked: &mut Vec<Address>) {
    let clock = &cluster.0.seams.clock;
    let DiscoveryConfig { source, contacts_min, stable_for, may_begin } = discovery;
    let me = cluster.me().address.clone();
    let mut bootstrap = Bootstrap::new(me, *contacts_min, *stable_for, *may_begin);
    loop {
        match clock.timeout(LOOK_WITHIN, source.contacts()).await {
            Ok(Ok(contacts)) => {
                debug!(?contacts, "found through whom to join");
                if let Some(seeds) = bootstrap.found(contacts, clock.now())
                    && seeds != *asked
                {
                    asked.clone_from(&seeds);
                    join_through(cluster, seeds);
                }
            }
            Ok(Err(error)) => warn!(%error, "it is not known through whom to join"),
            Err(elapsed) => warn!(%elapsed, "it is not known through whom to join"),
        }
        clock.sleep(if asked.is_empty() { LOOK_EVERY } else { LOOK_AGAIN_EVERY }).await;
    }
}

fn join_through(cluster: &Cluster, seeds: Vec<Address>) {
    if cluster.0.shared.inbox.wish(Wish::Command(Command::Join { seeds })).is_err() {
        warn!("the cluster's daemon has too much to do before it has begun");
    }
}

fn difference(difference: &Difference) -> SettingDifference {
    SettingDifference {
        key: difference.key.to_string(),
        of_cluster: difference.of_cluster.to_string(),
        of_joiner: difference.of_joiner.to_string(),
    }
}
