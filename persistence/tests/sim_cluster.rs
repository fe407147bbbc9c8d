//! An event-sourced singleton on a simulated cluster, while its nodes lose power and each other, and the store answers late,
//! not at all, or without saying what it did.

use actors::{ActorRef, ReplyTo};
use cluster::{ClusterSingleton, WireMessage, testkit::SimCluster};
use futures_util::future::join_all;
use parking_lot::Mutex;
use persistence::{
    AppendError, Effect, EventSourced, EventSourcedBehavior, InMemoryJournal, Journal, JournalError, PersistenceId,
    ReplayLimit, testkit::FaultyJournal,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const NODES: usize = 3;
const SEEDS: u64 = 10;
const STEPS: u64 = 12;
const SECOND: Duration = Duration::from_secs(1);

/// Writes down the numbers it is given.
struct Notary;

#[derive(Serialize, Deserialize)]
enum NotaryCommand {
    Note(u64, ReplyTo<u64>),
    Count(ReplyTo<u64>),
}

impl WireMessage for NotaryCommand {
    const NAME: &'static str = "notary.Command";
}

#[derive(Clone)]
struct Noted(u64);

impl EventSourced for Notary {
    type Command = NotaryCommand;
    type Event = Noted;
    type State = u64;

    fn persistence_id(&self) -> PersistenceId {
        id()
    }

    fn handle_command(&self, count: &u64, command: NotaryCommand) -> Effect<Self> {
        match command {
            NotaryCommand::Note(number, reply_to) => {
                Effect::persist(Noted(number)).then_reply(reply_to, |count| *count)
            }
            NotaryCommand::Count(reply_to) => Effect::reply(reply_to, *count),
        }
    }

    fn handle_event(count: &mut u64, _: &Noted) {
        *count += 1;
    }
}

fn id() -> PersistenceId {
    PersistenceId::of("notary", "the-one")
}

/// By node: the way to the notary.
type Ways = Arc<Mutex<BTreeMap<usize, ActorRef<NotaryCommand>>>>;

struct Story {
    sim: SimCluster,
    kept: InMemoryJournal<Noted>,
    journal: FaultyJournal<Noted>,
    ways: Ways,
    rng: SmallRng,
    asked: u64,
    acknowledged: BTreeSet<u64>,
}

impl Story {
    fn begin(seed: u64) -> Self {
        let (kept, ways) = (InMemoryJournal::default(), Ways::default());
        let journal = FaultyJournal::new(kept.clone());
        let (stored, known) = (journal.clone(), ways.clone());
        let joined = move |node: &cluster::testkit::SimNode| {
            let Some(cluster) = node.cluster() else { return };
            let notary = EventSourcedBehavior::new(Notary, stored.clone()).restart_with_backoff(SECOND / 5, SECOND);
            known.lock().insert(node.number(), ClusterSingleton::init(&cluster, "notary", notary));
        };
        let sim = SimCluster::builder().nodes(NODES).seed(seed).config(|_, config| config.message::<NotaryCommand>());
        let sim = sim.on_join(joined).start();
        let rng = SmallRng::seed_from_u64(seed);
        Self { sim, kept, journal, ways, rng, asked: 0, acknowledged: BTreeSet::new() }
    }

    /// The store is down until the next step, or answers one request wrongly or not to the point.
    fn trouble_the_store(&mut self) {
        match self.rng.random_range(0..6) {
            0 => self.journal.hold(),
            1 => self.journal.unknown_next(true),
            2 => self.journal.unknown_next(false),
            3 => self.journal.fail_next(AppendError::Unavailable { reason: "as told".to_owned() }),
            4 => self.journal.fail_next_read(JournalError::Unavailable { reason: "as told".to_owned() }),
            _ => {}
        }
    }

    /// One node is killed, loses power, stands still, or is cut off from all others.
    fn trouble_a_node(&mut self) {
        let node = self.rng.random_range(0..NODES);
        match self.rng.random_range(0..8) {
            0 => self.sim.kill(node),
            1 => self.sim.power_off(node),
            2 => self.sim.pause(node, Duration::from_secs(15)),
            3 => self.sim.isolate(node),
            _ => return,
        }
        self.ask_all();
        let length = Duration::from_secs(self.rng.random_range(1..40));
        self.sim.run_for(length);
        // What a host that is gone had asked of the store gets there now: late.
        self.journal.release();
        self.ask_all();
        self.sim.heal_all();
        self.start_all();
    }

    /// Starts all that are down, or could not join: their programs have ended.
    fn start_all(&mut self) {
        for node in 0..NODES {
            if self.sim.node(node).is_none_or(|life| life.refusal().is_some()) {
                self.sim.restart(node);
            }
        }
    }

    /// Every node that runs has another number noted.
    fn ask_all(&mut self) {
        let there: Vec<usize> = self.sim.running().map(cluster::testkit::SimNode::number).collect();
        let ways = self.ways.lock().clone();
        let asks = there.iter().filter_map(|node| ways.get(node)).zip(self.asked..).map(|(notary, number)| {
            let answer = notary.ask(|reply_to| NotaryCommand::Note(number, reply_to), SECOND * 4);
            async move { answer.await.ok().map(|_| number) }
        });
        let asks: Vec<_> = asks.collect();
        self.asked += asks.len() as u64;
        let noted = self.sim.block_on(join_all(asks));
        self.acknowledged.extend(noted.into_iter().flatten());
    }

    /// All is well again: the numbers in the journal, in order.
    fn end(mut self, seed: u64) -> Vec<u64> {
        self.journal.release();
        self.sim.heal_all();
        // One that stops by itself meanwhile, as it was given up, starts again.
        let whole = (0..10).any(|_| {
            self.start_all();
            self.sim.run_until(SECOND * 30, SimCluster::is_whole)
        });
        let states = self.sim.running().filter_map(|node| node.cluster().map(|cluster| cluster.state()));
        let states = format!("{:?}", states.collect::<Vec<_>>());
        assert!(whole, "seed {seed}: the nodes do not agree: {states}");
        self.sim.run_for(SECOND * 30);
        let notary = self.ways.lock()[&0].clone();
        let count = self.sim.block_on(notary.ask(NotaryCommand::Count, SECOND * 60));
        let stored = self.sim.block_on(self.kept.replay(id(), 1, u64::MAX, ReplayLimit::default()));
        let stored: Vec<u64> = stored.expect("it can be read").into_iter().map(|stored| stored.event.0).collect();
        assert_eq!(count, Ok(stored.len() as u64), "the instance knows what is stored");
        for number in &self.acknowledged {
            assert!(stored.contains(number), "{number} was acknowledged, and is not stored");
        }
        stored
    }
}

/// One writes at a time, whoever hosts it: what is acknowledged is stored, and nothing twice.
#[test]
fn what_a_singleton_acknowledged_is_stored_once_whatever_fails() {
    for seed in 0..SEEDS {
        let mut story = Story::begin(seed);
        assert!(story.sim.run_until(SECOND * 60, SimCluster::is_whole), "they do not meet");
        for _ in 0..STEPS {
            story.trouble_the_store();
            story.ask_all();
            story.trouble_a_node();
            story.journal.release();
        }
        let acknowledged = story.acknowledged.len();
        let stored = story.end(seed);
        let once: BTreeSet<u64> = stored.iter().copied().collect();
        assert_eq!(once.len(), stored.len(), "seed {seed}: a number is stored twice");
        assert!(acknowledged > STEPS as usize, "seed {seed}: only {acknowledged} were acknowledged");
    }
}
