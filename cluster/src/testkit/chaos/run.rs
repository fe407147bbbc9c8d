//! [`run`]: carries out a plan.

use super::{
    checks::Seen,
    courier::Courier,
    fault::Fault,
    guard,
    ledger::Ledger,
    listener::{self, News},
    only::Knock,
    plan::{Plan, Planned},
    services::Services,
    talker::{self, Talk},
};
use crate::{
    cluster::Cluster,
    member::UniqueAddress,
    rng::Rng,
    testkit::{NetFaults, SimCluster, SimNode, draw::Draw, process::said},
};
use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long a cluster may take to agree once all trouble is over.
pub const PEACE: Duration = Duration::from_secs(150);

/// How long a cluster may take to form, without any trouble.
const FORMS_WITHIN: Duration = Duration::from_secs(60);

/// For how long it must stay as it is once all agree.
const STAYS: Duration = Duration::from_secs(5);

/// How long a run lasts at least.
const LASTS: Duration = Duration::from_secs(60);

/// How long those that are gone may be held for members by those that host.
const BURIED_WITHIN: Duration = Duration::from_secs(60);

/// Of a thousand runs so many have topics, services and a lease; and so many let nobody in before there are some.
const SERVICES: u32 = 500;
const MIN_MEMBERS: u32 = 250;

/// How often what must hold is looked at.
const STEP: Duration = Duration::from_millis(100);

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which promise: M1 for instance.
    pub promise: &'static str,
    /// What was seen.
    pub what: String,
}

impl Failure {
    pub(super) fn new(promise: &'static str, what: impl Into<String>) -> Self {
        Self { promise, what: what.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

/// How a run is carried out.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Keep the text of the trace.
    pub traced: bool,
    /// Stop then, counted from the start of the cluster.
    pub until: Option<Duration>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first promise that was broken.
    pub failure: Option<Failure>,
    /// See [`SimCluster::trace_hash`].
    pub hash: u64,
    /// How much time passed in it.
    pub simulated: Duration,
    /// How long it took until all agreed, after all was healed.
    pub agreed_after: Option<Duration>,
    /// Whether any of those that were members when trouble began still was at its end.
    pub survived: bool,
    /// See [`SimCluster::trace`].
    pub trace: String,
}

/// Carries out `plan`. The same plan, the same outcome.
pub fn run(plan: &Plan, options: &RunOptions) -> Outcome {
    let mut run = Run::new(plan, options);
    let ends = catch_unwind(AssertUnwindSafe(|| run.go()));
    let failure = match ends {
        Ok(Ok(()) | Err(Stop::Until)) => None,
        Ok(Err(Stop::Failed(failure))) => Some(failure),
        Err(panic) => Some(Failure::new("no panic", said(&*panic))),
    };
    let at = run.cluster.elapsed();
    let failure = failure.map(|failure| Failure { what: format!("{} (at {at:?})", failure.what), ..failure });
    Outcome {
        failure,
        hash: run.cluster.trace_hash(),
        simulated: at,
        agreed_after: run.agreed_after,
        survived: run.survived,
        trace: run.cluster.trace(),
    }
}

/// What a cluster does besides, drawn from the seed as well.
#[derive(Clone, Copy)]
struct Works {
    /// Whether there are topics, services and a lease.
    services: bool,
    min_members: usize,
}

impl Works {
    fn of(plan: &Plan) -> Self {
        let mut draw = Draw::fork(&Rng::seeded(plan.seed), "works");
        let services = draw.per_mille(SERVICES);
        let has_least = draw.per_mille(MIN_MEMBERS);
        let least = draw.between(2, 7) as usize;
        Self { services, min_members: if has_least { least.min(plan.nodes) } else { 1 } }
    }
}

enum Stop {
    Failed(Failure),
    Until,
}

pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    until: Option<Duration>,
    /// By node.
    pub(super) seen: Vec<Seen>,
    pub(super) cluster: SimCluster,
    pub(super) ledger: Ledger,
    works: Works,
    /// When it is asked next how much was dropped.
    pub(super) strikes_at: Duration,
    pub(super) in_trouble: bool,
    agreed_after: Option<Duration>,
    survived: bool,
    /// Who has cut off whom by quarantine, of those that are there.
    quarantined: Vec<(u64, u64)>,
    /// When there last was a member.
    somebody_was_there: Duration,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, options: &RunOptions) -> Self {
        let ledger = Ledger::default();
        let follows = ledger.clone();
        let mut builder = plan.builder();
        if options.traced {
            builder = builder.traced();
        }
        let works = Works::of(plan);
        let couriers = ledger.clone();
        let leases: Arc<OnceLock<guard::Store>> = Arc::default();
        let store = leases.clone();
        let joined = move |node: &SimNode| {
            follows.follow(node);
            talker::start(&follows, node);
            if let (Some(cluster), Some(store), true) = (node.cluster(), store.get(), works.services) {
                listener::start(&follows, &cluster);
                guard::start(&follows, node, &cluster, store);
            }
        };
        builder = builder.probe(move |me| Arc::new(Courier::new(&couriers, me)));
        let builder = builder.config(move |_, config| {
            let mut config = config.message::<Talk>().message::<Knock>().message::<News>();
            config.min_members = works.min_members;
            config
        });
        let cluster = builder.on_join(joined).start();
        leases.get_or_init(|| guard::Store::of(&cluster));
        let seen = (0..plan.nodes).map(|_| Seen::default()).collect();
        Self {
            plan,
            until: options.until,
            seen,
            cluster,
            ledger,
            works,
            strikes_at: Duration::ZERO,
            in_trouble: false,
            agreed_after: None,
            survived: false,
            quarantined: Vec::new(),
            somebody_was_there: Duration::ZERO,
        }
    }

    fn go(&mut self) -> Result<(), Stop> {
        self.wait(FORMS_WITHIN, "M2", "the cluster does not form", SimCluster::is_whole)?;
        let first: BTreeSet<UniqueAddress> = self.cluster.running().filter_map(SimNode::id).collect();
        self.trouble()?;
        self.survived = self.cluster.running().filter_map(SimNode::id).any(|id| first.contains(&id));
        self.peace()
    }

    fn trouble(&mut self) -> Result<(), Stop> {
        let began = self.cluster.elapsed();
        self.in_trouble = true;
        self.cluster.set_faults(self.plan.net.clone());
        for planned in &self.plan.faults {
            let at = Duration::from_millis(planned.at_ms);
            if at >= self.plan.chaos {
                break;
            }
            self.pass_until(began + at)?;
            self.make(planned);
        }
        self.pass_until(began + self.plan.chaos)?;
        self.in_trouble = false;
        Ok(())
    }

    fn make(&mut self, planned: &Planned) {
        let lives = self.lives();
        self.quarantined.retain(|(by, of)| lives.contains(by) && lives.contains(of));
        let cluster = &mut self.cluster;
        let id = |cluster: &SimCluster, node| cluster.node(node).and_then(SimNode::id);
        cluster.note(0, &planned.fault.to_string());
        match planned.fault {
            Fault::Kill { .. } => {
                self.ledger.strike(cluster);
                planned.fault.make(cluster);
                self.ended();
            }
            Fault::Pause(node, ms) => {
                planned.fault.make(cluster);
                let until = &mut self.seen[node].stood_still;
                *until = (*until).max(Some(cluster.elapsed() + Duration::from_millis(ms)));
            }
            Fault::Down(by, node) => {
                let life = id(cluster, by);
                let is_by =
                    |(one, other): &(u64, u64)| life.as_ref().is_some_and(|by| by.uid == *one || by.uid == *other);
                let has_quarantined = self.quarantined.iter().any(is_by);
                // Who gives up one that is only cut off has two clusters, and so has who cannot tell it and lets in others in
                // its place: that is no fault of theirs.
                let is_cut = (0..self.plan.nodes).any(|other| cluster.is_cut(by, other) || cluster.is_cut(other, by));
                // Those that stand still are beyond a cut too, and may be the greater side when they go on.
                let (awake, asleep): (Vec<_>, Vec<_>) = (0..self.plan.nodes)
                    .filter(|number| cluster.node(*number).is_some())
                    .partition(|number| cluster.is_active(*number));
                let is_asleep = asleep.contains(&node) && asleep.len() >= awake.len();
                let is_told = !is_cut && !is_asleep && !cluster.is_stalled(by, node);
                if is_told && !has_quarantined && life.is_some() {
                    // It is told so, unless the network fails just then.
                    let now = cluster.elapsed();
                    id(cluster, node).iter().for_each(|life| self.ledger.given_up(life.uid, now));
                    planned.fault.make(cluster);
                }
            }
            Fault::Quarantine(by, node) => {
                self.quarantined.extend(id(cluster, by).zip(id(cluster, node)).map(|(by, of)| (by.uid, of.uid)));
                // Who is cut off is counted anew.
                self.ledger.strike(cluster);
                planned.fault.make(cluster);
                self.ledger.strike(cluster);
            }
            _ => planned.fault.make(cluster),
        }
    }

    /// A process was ended.
    fn ended(&self) {
        self.ledger.go_on(&self.lives());
    }

    fn peace(&mut self) -> Result<(), Stop> {
        let began = self.cluster.elapsed();
        self.cluster.set_faults(NetFaults::NONE);
        self.cluster.heal_all();
        (0..self.plan.nodes).for_each(|node| self.cluster.resume(node));
        self.bury()?;
        self.ledger.services(Services::peace);
        loop {
            self.start_all();
            let mut lacks = self.lacks();
            if lacks.is_none() {
                let agreed = self.cluster.elapsed();
                let owed = self.ledger.owed(&self.lives());
                self.seen.iter_mut().for_each(|seen| seen.was_quiet = false);
                self.pass_until((agreed + STAYS).max(LASTS))?;
                let lost = || self.ledger.lacks(&owed);
                let busy = || {
                    let busy = self.seen.iter().position(|seen| !seen.was_quiet)?;
                    Some(Failure::new("A6", format!("something waits to be sent by n{busy} all the time")))
                };
                lacks = self.lacks().or_else(lost).or_else(busy);
                self.ledger.strike(&self.cluster);
                if let Some(failure) = self.ledger.failure() {
                    return Err(Stop::Failed(failure));
                }
                if lacks.is_none() {
                    self.agreed_after = Some(agreed - began);
                    return Ok(());
                }
            }
            if let Some(lacks) = lacks.filter(|_| self.cluster.elapsed() > began + PEACE) {
                return Err(Stop::Failed(lacks));
            }
            self.pass_until(self.cluster.elapsed() + STEP)?;
        }
    }

    /// Before anybody starts them again, those that are gone are given up by those that are left, if any of them may.
    fn bury(&mut self) -> Result<(), Stop> {
        let end = self.cluster.elapsed() + BURIED_WITHIN;
        let first = self.lives();
        loop {
            let lives = self.lives();
            let hosts = |cluster: &Cluster| cluster.hosting().check().is_ok();
            let stale = self.cluster.running().filter_map(SimNode::cluster).filter(hosts).find_map(|cluster| {
                let state = cluster.state();
                let gone =
                    state.members.iter().find(|member| !lives.contains(&member.node.uid) && member.status.is_full());
                gone.map(|gone| format!("{} holds {} for a member, which is gone", cluster.me(), gone.node))
            });
            match stale {
                Some(what) if self.cluster.elapsed() > end && lives == first => {
                    return Err(Stop::Failed(Failure::new("M2", what)));
                }
                Some(_) if self.cluster.elapsed() <= end => self.pass_until(self.cluster.elapsed() + STEP)?,
                _ => return Ok(()),
            }
        }
    }

    fn start_all(&mut self) {
        if self.cluster.start_all(&mut self.somebody_was_there, |cluster| self.ledger.strike(cluster)) {
            self.ended();
        }
    }

    fn agree(&self) -> bool {
        self.cluster.is_whole()
            && self
                .cluster
                .running()
                .all(|node| node.cluster().is_some_and(|cluster| cluster.hosting().check().is_ok()))
    }

    /// What is not yet as it is to be in peace.
    fn lacks(&self) -> Option<Failure> {
        if !self.agree() {
            return Some(Failure::new("M2", format!("no agreement: {}", self.views())));
        }
        let lives = self.lives();
        if let Some((one, two)) = self.ledger.watches_in_vain(&lives) {
            let what = format!("the life {one:016x} was never told of the end of {two:016x}");
            return Some(Failure::new("A4", what));
        }
        if let Some(what) = self.ledger.not_reached(&lives) {
            return Some(Failure::new("S5", what));
        }
        let lack = || self.ledger.services(|services| services.lack(&lives));
        self.works.services.then(lack).flatten().map(|(promise, what)| Failure::new(promise, what))
    }

    pub(super) fn lives(&self) -> BTreeSet<u64> {
        self.cluster.running().filter_map(SimNode::id).map(|id| id.uid).collect()
    }

    fn views(&self) -> String {
        let view = |number: usize| match self.cluster.node(number) {
            None => format!("n{number} does not run"),
            Some(node) => match (node.cluster(), node.refusal()) {
                (Some(cluster), _) => {
                    let state = cluster.state();
                    let members = state.members.iter().map(|member| format!("{} {:?}", member.node, member.status));
                    let members: Vec<String> = members.collect();
                    let cut = state.unreachable.len();
                    let hosts = cluster.hosting().check().is_ok();
                    format!("n{number} sees {} ({cut} unreachable, hosts: {hosts})", members.join(", "))
                }
                (None, Some(why)) => format!("n{number} could not join: {why}"),
                (None, None) => format!("n{number} joins"),
            },
        };
        (0..self.plan.nodes).map(view).collect::<Vec<_>>().join("; ")
    }

    // ---- time, and what must hold in it

    fn wait(
        &mut self,
        within: Duration,
        promise: &'static str,
        what: &str,
        holds: impl Fn(&SimCluster) -> bool,
    ) -> Result<(), Stop> {
        let end = self.cluster.elapsed() + within;
        while !holds(&self.cluster) {
            if self.cluster.elapsed() >= end {
                return Err(Stop::Failed(Failure::new(promise, format!("{what}: {}", self.views()))));
            }
            self.pass_until(self.cluster.elapsed() + STEP)?;
        }
        Ok(())
    }

    fn pass_until(&mut self, at: Duration) -> Result<(), Stop> {
        while self.cluster.elapsed() < at {
            let left = at - self.cluster.elapsed();
            self.cluster.run_for(left.min(STEP));
            self.check().map_err(Stop::Failed)?;
            if self.until.is_some_and(|until| self.cluster.elapsed() >= until) {
                return Err(Stop::Until);
            }
        }
        Ok(())
    }
}
