//! [`SimCluster`]: a cluster of nodes on one thread, in virtual time.

mod builder;
mod life;
#[cfg(test)]
mod tests;
mod troubles;

pub use builder::SimClusterBuilder;
pub use life::SimNode;

use self::life::{Joined, Life, Machine};
use super::{draw::Draw, net::SimNet, process::Process, trace::Trace};
use crate::{
    cluster::{self, Cluster, Ground, ProbeOf},
    config::ClusterConfig,
    member::{Address, MemberStatus},
    rng::Rng,
    seams::Seams,
    uptime::Uptime,
};
use actors::{ActorSystem, Clock, Drift, Tick};
use parking_lot::Mutex;
use rand::Rng as _;
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::runtime::{Builder, Runtime};

/// What wall clocks say at first, about: 2000-01-01 00:00:00 UTC.
const WALL_MS: u64 = 946_684_800_000;

/// What the clock of a node may show at first, and how far its wall clock is off.
const UP_SINCE_MS: u64 = 30 * 86_400_000;
const WALL_OFF_MS: u64 = 86_400_000;

/// Whole nodes of a cluster, each with its actors, its clock and its place in a simulated network.
///
/// Everything runs on the thread of the test and nothing runs between two calls: time passes in
/// [`run_for`](Self::run_for), [`run_until`](Self::run_until) and [`block_on`](Self::block_on), and jumps from one thing due
/// to the next. All chance comes from one seed: a run can be [repeated](Self::trace_hash).
///
/// A node is a machine with an address and a clock; at most one process runs on it. A process that ended by itself, because
/// it left or was given up, is gone as one that was [killed](Self::kill). One that joined in vain says why
/// ([`SimNode::refusal`]) and stays until it is [started anew](Self::restart).
///
/// The first three nodes are the seeds of all. After [`split`](Self::split) one side goes on by default some fifteen seconds
/// later, and the nodes of the other end; [`heal_all`](Self::heal_all) brings none back, [`recover`](Self::recover) does.
///
/// An actor that panics is supervised, as ever: what is to fail a test is collected, and asserted outside of actors. While
/// a test counts instances of a singleton it asks [`Cluster::hosting`] too: one that may not serve any more is not gone yet.
///
/// What a node keeps on a disk is not simulated here: give the nodes a store in memory that fails on command, as that of
/// `persistence::testkit`.
///
/// ```
/// use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Props, ReplyTo};
/// use cluster::{ClusterSingleton, WireMessage, testkit::SimCluster};
/// use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greet(ReplyTo<u64>);
/// # impl WireMessage for Greet { const NAME: &'static str = "example.Greet"; }
///
/// /// Counts those it has greeted, for as long as it lives.
/// struct Greeter(u64);
///
/// impl Actor for Greeter {
///     type Message = Greet;
///
///     async fn receive(&mut self, _: &mut ActorContext<Greet>, Greet(reply_to): Greet) -> Handled {
///         self.0 += 1;
///         reply_to.tell(self.0);
///         Ok(Behavior::Same)
///     }
/// }
///
/// let greeters: Arc<Mutex<BTreeMap<usize, ActorRef<Greet>>>> = Arc::default();
/// let known = greeters.clone();
/// let mut sim = SimCluster::builder()
///     .nodes(3)
///     .seed(7)
///     .config(|_, config| config.message::<Greet>())
///     .on_join(move |node| {
///         let cluster = node.cluster().expect("it has joined");
///         let greeter = ClusterSingleton::init(&cluster, "greeter", Props::new(|| Greeter(0)));
///         known.lock().unwrap().insert(node.number(), greeter);
///     })
///     .start();
/// assert!(sim.run_until(Duration::from_secs(60), SimCluster::is_whole), "they do not meet");
///
/// let greet = |sim: &SimCluster, node: usize| {
///     let greeter = greeters.lock().unwrap()[&node].clone();
///     sim.block_on(greeter.ask(Greet, Duration::from_secs(60)))
/// };
/// assert_eq!(greet(&sim, 1), Ok(1));
/// assert_eq!(greet(&sim, 2), Ok(2));
/// sim.power_off(0); // the oldest, which hosts it
/// sim.run_for(Duration::from_secs(30)); // it is given up, and another begins
/// assert_eq!(greet(&sim, 1), Ok(1), "the other knows of nobody");
/// ```
pub struct SimCluster {
    machines: Vec<Machine>, // before the runtime, whose timers they hold
    seeds: Vec<Address>,
    settings: SimClusterBuilder,
    rng: Rng,
    net: SimNet,
    trace: Trace,
    clock: Clock,
    runtime: Runtime,
}

impl SimCluster {
    /// To say what it is to be.
    pub fn builder() -> SimClusterBuilder {
        SimClusterBuilder::new()
    }

    fn new(settings: SimClusterBuilder) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a single-threaded runtime needs nothing that could be missing");
        let clock = Clock::paused(runtime.handle(), WALL_MS);
        let rng = Rng::seeded(settings.seed);
        let trace = Trace::new(settings.traced);
        let net = SimNet::new(clock.clone(), Draw::fork(&rng, "net"), trace.clone());
        net.set_faults(settings.faults.clone());
        let mut draw = Draw::fork(&rng, "clocks");
        let machines = (0..settings.nodes).map(|number| {
            let address = Address::new(format!("n{number}"), 2551).expect("a good address");
            net.add(address.clone());
            let clock = drawn_clock(&mut draw, settings.drift_ppm, &runtime, &clock);
            Machine { address, clock, lives: 0, life: None }
        });
        let machines: Vec<Machine> = machines.collect();
        let seeds = machines.iter().take(3).map(|machine| machine.address.clone()).collect();
        Self { machines, seeds, settings, rng, net, trace, clock, runtime }
    }

    /// How many nodes there are, running or not.
    pub fn nodes(&self) -> usize {
        self.machines.len()
    }

    /// The life that runs there, if any.
    pub fn node(&self, node: usize) -> Option<&SimNode> {
        self.machines[node].life.as_ref().map(|life| &life.node)
    }

    /// All lives that run, in order of their numbers.
    pub fn running(&self) -> impl Iterator<Item = &SimNode> {
        self.machines.iter().filter_map(|machine| machine.life.as_ref().map(|life| &life.node))
    }

    /// The actors of the node.
    ///
    /// # Panics
    /// When it does not run.
    pub fn system(&self, node: usize) -> &ActorSystem {
        self.node(node).unwrap_or_else(|| panic!("n{node} does not run")).system()
    }

    /// The membership of the node.
    ///
    /// # Panics
    /// When it does not run or has not joined.
    pub fn cluster(&self, node: usize) -> Cluster {
        self.node(node).and_then(SimNode::cluster).unwrap_or_else(|| panic!("n{node} has not joined"))
    }

    /// Where the node is reached.
    pub fn address(&self, node: usize) -> &Address {
        &self.machines[node].address
    }

    /// The clock of the world, which is that of no node if they drift.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What its nodes talk over.
    pub(in crate::testkit) fn net(&self) -> &SimNet {
        &self.net
    }

    /// How much time has passed since the cluster was made.
    pub fn elapsed(&self) -> Duration {
        self.clock.now() - Tick::START
    }

    /// A number that stands for all that happened so far: what was sent when, by whom, to whom. Two runs with the same seed
    /// and the same calls have the same.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// All that happened so far, a line each: milliseconds, node, what, to which node, and a number for its content.
    /// Empty unless the builder was told to [keep it](SimClusterBuilder::traced).
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    /// Writes a line into the trace.
    pub fn note(&self, node: usize, what: &str) {
        self.trace.tell(self.elapsed().as_millis() as u64, node, what);
    }

    // ---- time

    /// Runs `future`, which belongs to no node, to its end. Nodes that end meanwhile are seen to be gone after the next
    /// [`run_for`](Self::run_for).
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Lets so much time pass.
    ///
    /// # Panics
    /// When a task of a node has panicked.
    pub fn run_for(&mut self, time: Duration) {
        self.runtime.block_on(self.clock.sleep(time));
        self.reap();
    }

    /// Lets time pass until `condition` holds, which is looked at ten times a second, for `within` at most. Returns whether
    /// it holds.
    ///
    /// # Panics
    /// When a task of a node has panicked.
    pub fn run_until(&mut self, within: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let end = self.clock.now() + within;
        while !condition(self) {
            let left = end - self.clock.now();
            if left.is_zero() {
                return false;
            }
            self.run_for(left.min(builder::STEP));
        }
        true
    }

    /// Whether all nodes run, and each sees all of them up and reachable.
    pub fn is_whole(&self) -> bool {
        let ids: Option<Vec<_>> = self.machines.iter().map(|machine| machine.life.as_ref()?.node.id()).collect();
        let Some(mut ids) = ids else { return false };
        ids.sort();
        self.running().all(|node| {
            node.cluster().is_some_and(|cluster| {
                let state = cluster.state();
                state.unreachable.is_empty()
                    && state.members.iter().all(|member| member.status == MemberStatus::Up)
                    && state.members.iter().map(|member| &member.node).eq(&ids)
            })
        })
    }

    /// Takes away processes that have ended by themselves.
    fn reap(&mut self) {
        for number in 0..self.machines.len() {
            let machine = &mut self.machines[number];
            if let Some(life) = &machine.life {
                if let Some(panic) = life.process.panic() {
                    panic!("a task of n{number} panicked: {panic}");
                }
                if *life.ended.lock() {
                    self.net.stop(number, true);
                    self.machines[number].life = None;
                    self.note(number, "has ended");
                }
            }
        }
    }

    // ---- lives

    /// Starts a process there, which joins the others: another life, with the same address. Does nothing if one runs.
    pub fn start(&mut self, node: usize) {
        let seeds = self.seeds.clone();
        self.start_with(node, seeds);
    }

    /// As [`start`](Self::start), with the addresses of those at whose doors it knocks.
    pub fn start_with(&mut self, node: usize, seeds: Vec<Address>) {
        if self.machines[node].life.is_some() {
            return;
        }
        let machine = &mut self.machines[node];
        machine.lives += 1;
        let rng = self.rng.fork(&format!("n{node} life {}", machine.lives));
        let process = Process::new(self.runtime.handle().clone(), Draw::fork(&rng, "process"), self.settings.deferrals);
        let seed = rng.fork("system").next_u64();
        let system = ActorSystem::builder("sim")
            .runtime(self.runtime.handle().clone())
            .clock(machine.clock.clone())
            .seed(seed)
            .seeded_order(seed)
            .gate(Arc::new(process.clone()))
            .start();
        let transport = self.net.start(node);
        let seams = Seams {
            clock: machine.clock.clone(),
            transport,
            control: Arc::new(process.clone()),
            ordinary: Arc::new(process.clone()),
            rng: Arc::new(rng),
        };
        let life = SimNode {
            number: node,
            life: machine.lives,
            system: system.clone(),
            joined: Arc::default(),
            trace: self.trace.clone(),
            world: self.clock.clone(),
        };
        let config = ClusterConfig { name: "sim".to_owned(), seeds, ..ClusterConfig::local(2551) };
        (self.settings.begun)(&life);
        let config = (self.settings.config)(node, config);
        let (joins, joined) = (life.clone(), self.settings.joined.clone());
        let ground = Ground {
            uptime: Uptime::of(seams.clock.clone()),
            address: machine.address.clone(),
            looks_first: false,
            start: seams.clock.wall_ms(),
            control: None,
            seams,
            probe: self.settings.probe.clone().map(|make| -> ProbeOf { Box::new(move |me| make(me)) }),
        };
        crate::seams::Spawner::spawn(
            &process,
            Box::pin(async move {
                match cluster::join(&joins.system, config, ground).await {
                    Ok(cluster) => {
                        *joins.joined.lock() = Joined::Yes(cluster);
                        joined(&joins);
                    }
                    Err(error) => *joins.joined.lock() = Joined::Failed(error.to_string()),
                }
            }),
        );
        let ended = Arc::new(Mutex::new(false));
        let tells = ended.clone();
        let waits = self.runtime.spawn(async move {
            system.terminated().await;
            *tells.lock() = true;
        });
        machine.life = Some(Life { process, node: life, ended, waits_for_end: waits.abort_handle() });
        self.note(node, "starts");
    }
}

/// The clock of a machine that has been up for a while, if it drifts at all; with a wall clock that is off.
fn drawn_clock(draw: &mut Draw, drift_ppm: u32, runtime: &Runtime, world: &Clock) -> Clock {
    if drift_ppm == 0 {
        return Clock::paused(runtime.handle(), world.wall_ms());
    }
    let most = i64::from(drift_ppm);
    let ppm = draw.below(2 * drift_ppm as u64 + 1) as i64 - most;
    let drift = Drift { start: Duration::from_millis(draw.below(UP_SINCE_MS)), ppm: ppm as i32 };
    let wall_ms = world.wall_ms() + draw.below(2 * WALL_OFF_MS) - WALL_OFF_MS;
    Clock::drifting(runtime.handle(), wall_ms, drift)
}

impl Drop for SimCluster {
    fn drop(&mut self) {
        // Nothing that destructors send reaches anybody.
        for node in 0..self.machines.len() {
            self.net.stop(node, false);
        }
        let _entered = self.runtime.enter();
        self.machines.clear();
    }
}

impl fmt::Debug for SimCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCluster")
            .field("seed", &self.settings.seed)
            .field("elapsed", &self.elapsed())
            .field("running", &self.running().map(SimNode::number).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
