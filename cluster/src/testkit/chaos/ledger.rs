//! [`Ledger`]: what all nodes said, and what of it must not be.

use super::{balance::Balance, run::Failure, services::Services};
use crate::{
    cluster::Cluster,
    event::ClusterEvent,
    lease::HostingDeadline,
    member::{Member, MemberStatus, UniqueAddress},
    testkit::{SimCluster, SimNode},
};
use actors::{Actor, ActorContext, Behavior, Clock, Handled, Tick};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Written by all nodes of a run. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Inner>>);

/// How long one that was given up by an operator may take to hear of that, unless it is cut off.
const HEARS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Inner {
    /// By observer and subject: how far it was.
    known: BTreeMap<(u64, u64), MemberStatus>,
    freed: Vec<Freed>,
    /// Lives whose work others may have taken over, and who: whoever removed it, and whoever was in one cluster with one of
    /// these and not with that life.
    heirs: BTreeMap<u64, BTreeSet<u64>>,
    /// Who watches which life.
    watches: BTreeSet<(u64, u64)>,
    /// By observer: whom it cannot reach; of one that leaves or is given up, whom it could not until then.
    unreachable: BTreeMap<u64, BTreeSet<u64>>,
    /// Those that an operator gave up while they ran, and that still do.
    given_up: BTreeMap<u64, Duration>,
    /// The time, as it was when that was last told.
    now: Duration,
    /// Those that wanted to leave: their own word counted no more.
    leaving: BTreeSet<u64>,
    /// By sender, receiver, and whether it is to come once: the last that was sent, and the last that came.
    sent: BTreeMap<Way, u64>,
    came: BTreeMap<Way, u64>,
    balance: Balance,
    services: Services,
    /// Instances of the singleton that are there, by term.
    instances: BTreeMap<u64, Hosted>,
    last_term: u64,
    /// Those that were members when that one began, and still are there, and how many there were: most of those took note of
    /// its term, so as long as half of all are there one of them did, and no term is lower.
    witnesses: BTreeSet<u64>,
    witnesses_were: usize,
    /// Terms, and who reached their instances.
    reached_by: BTreeSet<(u64, u64)>,
    failure: Option<Failure>,
}

/// From which life to which; `true`: what is to come once, `false`: what may get lost.
type Way = (u64, u64, bool);

/// An instance of the singleton: where, its term and until when it may serve.
#[derive(Clone)]
pub(super) struct Hosted {
    pub(super) life: UniqueAddress,
    pub(super) term: u64,
    pub(super) deadline: HostingDeadline,
    /// Who was a full member when it was made.
    pub(super) witnesses: BTreeSet<u64>,
}

impl Hosted {
    fn is_valid(&self) -> bool {
        self.deadline.check().is_ok()
    }
}

/// From then on others do the work of a life.
struct Freed {
    observer: UniqueAddress,
    clock: Clock,
    at: Tick,
    subject: UniqueAddress,
}

impl Ledger {
    /// Has the node write down what it notices.
    pub(super) fn follow(&self, node: &SimNode) {
        if let Some(cluster) = node.cluster() {
            let scribe = Scribe { ledger: self.clone(), node: node.clone(), observer: cluster.me().clone() };
            let _ = cluster.subscribe(&node.system().spawn("scribe", scribe));
        }
    }

    /// A promise is broken.
    pub(super) fn fail(&self, promise: &'static str, what: impl Into<String>) {
        self.0.lock().failure.get_or_insert_with(|| Failure::new(promise, what));
    }

    /// The first life watches an actor of the second.
    pub(super) fn watches(&self, watcher: u64, life: u64) {
        self.0.lock().watches.insert((watcher, life));
    }

    /// The first life was told that what it watched of the second is over.
    pub(super) fn told_over(&self, watcher: u64, life: u64) {
        self.0.lock().watches.remove(&(watcher, life));
    }

    /// One of these lives that has not been told of the end of what it watches in another life, which is none of these.
    pub(super) fn watches_in_vain(&self, lives: &BTreeSet<u64>) -> Option<(u64, u64)> {
        let inner = self.0.lock();
        inner.watches.iter().find(|(watcher, life)| lives.contains(watcher) && !lives.contains(life)).copied()
    }

    /// Whether that life could not reach that other, when it last was a member.
    pub(super) fn could_not_reach(&self, observer: u64, life: u64) -> bool {
        self.0.lock().unreachable.get(&observer).is_some_and(|lives| lives.contains(&life))
    }

    /// Whether that life wanted to leave, and so said nothing any more of whom it could not reach.
    pub(super) fn was_leaving(&self, life: u64) -> bool {
        self.0.lock().leaving.contains(&life)
    }

    /// The first life has sent that number to the second, which is to get it if `once`.
    pub(super) fn owes(&self, from: u64, to: u64, once: bool, number: u64) {
        self.0.lock().sent.insert((from, to, once), number);
    }

    /// It has got it.
    pub(super) fn arrived(&self, from: u64, to: u64, once: bool, number: u64) {
        self.0.lock().came.insert((from, to, once), number);
    }

    /// Topics, services and the lease.
    pub(super) fn services<R>(&self, with: impl FnOnce(&mut Services) -> R) -> R {
        with(&mut self.0.lock().services)
    }

    /// It is asked how much was lost: as much as is missing?
    pub(super) fn strike(&self, cluster: &SimCluster) {
        let unexplained = self.balance(|balance| balance.strike(cluster));
        unexplained.into_iter().for_each(|what| self.fail("A3", what));
    }

    /// What is lost between lives.
    pub(super) fn balance<R>(&self, with: impl FnOnce(&mut Balance) -> R) -> R {
        with(&mut self.0.lock().balance)
    }

    /// What these lives are to get from each other, by now: or something later, where it may get lost.
    pub(super) fn owed(&self, lives: &BTreeSet<u64>) -> BTreeMap<Way, u64> {
        let inner = self.0.lock();
        let among = |(from, to, _): &Way| lives.contains(from) && lives.contains(to);
        inner.sent.iter().filter(|(way, _)| among(way)).map(|(way, number)| (*way, *number)).collect()
    }

    /// Something of `owed` that has not come.
    pub(super) fn lacks(&self, owed: &BTreeMap<Way, u64>) -> Option<Failure> {
        let inner = self.0.lock();
        let came = |way: &Way| inner.came.get(way).copied().unwrap_or(0);
        let lacks = owed.iter().find(|(way, number)| came(way) < **number);
        lacks.map(|(way, number)| {
            let (promise, which) = if way.2 { ("A2", "system message") } else { ("A3", "frame") };
            let what = format!("{which} {number} of {:016x} to {:016x} never came, but {}", way.0, way.1, came(way));
            Failure::new(promise, what)
        })
    }

    /// An instance of the singleton is there from now on.
    pub(super) fn begins(&self, hosted: &Hosted) {
        let inner = &mut *self.0.lock();
        let (life, term) = (&hosted.life, hosted.term);
        let is_misled = inner.is_misled(life.uid);
        if term <= inner.last_term && !is_misled {
            let what = format!("an instance starts at {life} in term {term}, after {}", inner.last_term);
            inner.failure.get_or_insert(Failure::new("S1", what));
        }
        let mut elsewhere = inner.instances.values().filter(|other| other.life != *life);
        if let Some(other) = elsewhere.find(|other| other.is_valid() && !is_misled && !inner.is_misled(other.life.uid))
        {
            let what = format!("an instance starts at {life}, and one is at {} and may serve", other.life);
            inner.failure.get_or_insert(Failure::new("S2", what));
        }
        if !is_misled {
            // Whoever was left behind cannot know the terms of those that go on without it.
            inner.last_term = term;
            inner.witnesses.clone_from(&hosted.witnesses);
            inner.witnesses_were = hosted.witnesses.len();
        }
        inner.instances.insert(term, hosted.clone());
    }

    /// It is no more.
    pub(super) fn ends(&self, hosted: &Hosted) {
        self.0.lock().instances.retain(|_, other| other.life != hosted.life || other.term != hosted.term);
    }

    /// A life has reached it.
    pub(super) fn is_reached(&self, hosted: &Hosted, by: u64) {
        let inner = &mut *self.0.lock();
        if inner.instances.get(&hosted.term).is_some_and(|there| there.life == hosted.life) {
            inner.reached_by.insert((hosted.term, by));
        }
    }

    /// An operator gives that life up, which runs.
    pub(super) fn given_up(&self, life: u64, now: Duration) {
        self.0.lock().given_up.insert(life, now);
    }

    /// It is so late.
    pub(super) fn time_is(&self, now: Duration) {
        self.0.lock().now = now;
    }

    /// Only these lives go on.
    pub(super) fn go_on(&self, lives: &BTreeSet<u64>) {
        let inner = &mut *self.0.lock();
        inner.given_up.retain(|life, _| lives.contains(life));
        inner.instances.retain(|_, hosted| lives.contains(&hosted.life.uid));
        let known = &inner.known;
        let is_given_up =
            |life: &u64| known.iter().any(|((_, subject), status)| subject == life && *status >= MemberStatus::Down);
        inner.witnesses.retain(|life| lives.contains(life) && !is_given_up(life));
        if inner.witnesses.len() * 2 < inner.witnesses_were || inner.witnesses.is_empty() {
            // It may be that nobody is left who knows of it, and wall clocks differ.
            inner.last_term = 0;
        }
    }

    /// Two instances that may serve at this moment.
    pub(super) fn two_instances(&self) -> Option<String> {
        let inner = self.0.lock();
        let counts = |hosted: &&Hosted| hosted.is_valid() && !inner.is_misled(hosted.life.uid);
        let mut valid = inner.instances.values().filter(counts);
        let (one, two) = (valid.next()?, valid.next()?);
        Some(format!("instances at {} and {} may serve", one.life, two.life))
    }

    /// What is wrong, if not each of these lives reaches the one instance.
    pub(super) fn not_reached(&self, lives: &BTreeSet<u64>) -> Option<String> {
        let inner = self.0.lock();
        let there: Vec<&Hosted> = inner.instances.values().filter(|hosted| hosted.is_valid()).collect();
        match there[..] {
            [hosted] if lives.contains(&hosted.life.uid) => {
                let cannot = lives.iter().find(|life| !inner.reached_by.contains(&(hosted.term, **life)))?;
                Some(format!("{cannot:016x} does not reach the instance at {}", hosted.life))
            }
            _ => Some(format!("there are {} instances", there.len())),
        }
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.lock().failure.clone()
    }

    /// One of these that serves, and one that serves in its place. Heirs that are gone, and left nobody to go on in their
    /// stead, serve in nobody's place.
    pub(super) fn serve_twice<'a>(&self, there: &'a [Cluster]) -> Option<(&'a Cluster, &'a Cluster)> {
        let inner = &mut *self.0.lock();
        inner.given_up.retain(|life, _| there.iter().any(|cluster| cluster.me().uid == *life));
        let misled = there.iter().map(|cluster| cluster.me().uid).filter(|life| inner.is_misled(*life));
        let misled: BTreeSet<u64> = misled.collect();
        let heirs = &mut inner.heirs;
        inner.freed.retain(|freed| {
            let has_come = freed.clock.now() >= freed.at;
            if has_come && there.iter().any(|cluster| *cluster.me() == freed.observer) {
                heirs.entry(freed.subject.uid).or_default().insert(freed.observer.uid);
            }
            !has_come
        });
        heirs.iter_mut().find_map(|(subject, heirs)| {
            for cluster in there.iter().filter(|cluster| cluster.me().uid != *subject) {
                let state = cluster.state();
                let mut lives = state.members.iter().map(|member| member.node.uid);
                if lives.clone().any(|life| heirs.contains(&life)) && lives.all(|life| life != *subject) {
                    heirs.insert(cluster.me().uid);
                }
            }
            let serves = |cluster: &&Cluster| cluster.hosting().check().is_ok() && !misled.contains(&cluster.me().uid);
            let first = there.iter().find(|cluster| cluster.me().uid == *subject).filter(serves)?;
            let second = there.iter().filter(|cluster| heirs.contains(&cluster.me().uid)).find(serves)?;
            Some((first, second))
        })
    }
}

impl Inner {
    /// Whether that life goes on without one that runs on, by the word of an operator: he told it, or one that is or was with
    /// it, that somebody is gone who is not, and who has not heard of it for long.
    fn is_misled(&self, life: u64) -> bool {
        self.given_up.iter().any(|(gone, at)| {
            let unheard = !self.holds_for_gone(*gone, *gone) && self.now > *at + HEARS_WITHIN;
            unheard && *gone != life && self.goes_without(life, *gone)
        })
    }

    fn holds_for_gone(&self, observer: u64, gone: u64) -> bool {
        self.known.get(&(observer, gone)).is_some_and(|status| *status >= MemberStatus::Down)
    }

    /// Whether that life holds that other for gone, or never heard of it, since one let it in that goes without it.
    fn goes_without(&self, life: u64, gone: u64) -> bool {
        let (mut seen, mut ahead) = (BTreeSet::from([life]), vec![life]);
        while let Some(life) = ahead.pop() {
            match self.known.get(&(life, gone)) {
                Some(status) if *status >= MemberStatus::Down => return true,
                Some(_) => {}
                None => {
                    let with_it = self.known.range((life, u64::MIN)..=(life, u64::MAX));
                    let was_full = with_it.filter(|(_, status)| **status >= MemberStatus::Up);
                    ahead.extend(was_full.map(|((_, other), _)| *other).filter(|other| seen.insert(*other)));
                }
            }
        }
        false
    }

    /// Whether that life knows that its own word does not count any more: nobody is unreachable for it then, whomever it
    /// reaches.
    fn counts_no_more(&self, life: &UniqueAddress) -> bool {
        self.known.get(&(life.uid, life.uid)).is_some_and(|status| *status >= MemberStatus::Leaving)
    }

    fn saw(&mut self, observer: &UniqueAddress, member: &Member, status: MemberStatus) {
        let known = self.known.insert((observer.uid, member.node.uid), status);
        if let Some(known) = known.filter(|known| *known > status || *known == MemberStatus::Removed) {
            let what = format!("{} was {known:?} and is {status:?} now, at {observer}", member.node);
            self.failure.get_or_insert(Failure::new("M1", what));
        }
    }
}

/// An event, in a line of the trace.
fn in_short(event: &ClusterEvent) -> String {
    let of = |word: &str, member: &Member| format!("{word} {}", member.node);
    match event {
        ClusterEvent::Current(state) => {
            let members = state.members.iter().map(|member| format!("{} {:?}", member.node, member.status));
            format!("current {}", members.collect::<Vec<_>>().join(", "))
        }
        ClusterEvent::Joined(member) => of("joined", member),
        ClusterEvent::WeaklyUp(member) => of("weakly up", member),
        ClusterEvent::Up(member) => of("up", member),
        ClusterEvent::PreparingForShutdown(member) => of("preparing for shutdown", member),
        ClusterEvent::ReadyForShutdown(member) => of("ready for shutdown", member),
        ClusterEvent::Left(member) => of("left", member),
        ClusterEvent::Exited(member) => of("exited", member),
        ClusterEvent::Downed(member) => of("downed", member),
        ClusterEvent::Removed { member, previous, free_at } => {
            format!("removed {}, {previous:?} before, free at {:?}", member.node, free_at.since_start())
        }
        ClusterEvent::Unreachable(member) => of("unreachable", member),
        ClusterEvent::Reachable(member) => of("reachable", member),
        ClusterEvent::LeaderChanged(leader) => {
            format!("leader {}", leader.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string))
        }
        ClusterEvent::RoleLeaderChanged { role, leader } => {
            format!("leader of {role} {}", leader.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string))
        }
    }
}

/// Writes down what one node notices.
struct Scribe {
    ledger: Ledger,
    node: SimNode,
    observer: UniqueAddress,
}

impl Actor for Scribe {
    type Message = ClusterEvent;

    async fn receive(&mut self, ctx: &mut ActorContext<ClusterEvent>, event: ClusterEvent) -> Handled {
        self.node.note(&in_short(&event));
        let inner = &mut *self.ledger.0.lock();
        match event {
            ClusterEvent::Current(state) => {
                state.members.iter().for_each(|member| inner.saw(&self.observer, member, member.status));
            }
            ClusterEvent::Removed { member, free_at, .. } => {
                inner.saw(&self.observer, &member, MemberStatus::Removed);
                let (observer, clock) = (self.observer.clone(), ctx.clock().clone());
                inner.freed.push(Freed { observer, clock, at: free_at, subject: member.node });
            }
            ClusterEvent::Joined(member)
            | ClusterEvent::WeaklyUp(member)
            | ClusterEvent::Up(member)
            | ClusterEvent::PreparingForShutdown(member)
            | ClusterEvent::ReadyForShutdown(member)
            | ClusterEvent::Exited(member)
            | ClusterEvent::Downed(member) => inner.saw(&self.observer, &member, member.status),
            ClusterEvent::Left(member) => {
                inner.saw(&self.observer, &member, member.status);
                if member.node == self.observer {
                    inner.leaving.insert(self.observer.uid);
                }
            }
            ClusterEvent::Unreachable(member) => {
                inner.unreachable.entry(self.observer.uid).or_default().insert(member.node.uid);
            }
            ClusterEvent::Reachable(member) if !inner.counts_no_more(&self.observer) => {
                inner.unreachable.entry(self.observer.uid).or_default().remove(&member.node.uid);
            }
            _ => {}
        }
        Ok(Behavior::Same)
    }
}
