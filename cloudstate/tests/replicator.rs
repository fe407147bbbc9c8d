//! The replicator: what its users see of values, subscriptions, deletions, and of other nodes that answer or do not.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Clock, Tick};
use cloudstate::crdt::{Crdt, GCounter, Kind, ReplicaId};
use cloudstate::replicator::{
    ApplyError, Change, Counts, DeleteError, GetError, Members, Notice, Peers, Read, ReadConsistency, Replicator,
    UpdateError, WriteConsistency,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

const A: ReplicaId = ReplicaId(1);
const B: ReplicaId = ReplicaId(2);
const C: ReplicaId = ReplicaId(3);
/// Has passed already: whoever waits for anything gets an error.
const NOW: Tick = Tick::START;

fn alone() -> Replicator {
    Replicator::alone(A, Clock::tokio(), 1_000)
}

/// The delta of counting on.
fn counted(replicator: &Replicator, current: Option<&Crdt>, amount: u64) -> Crdt {
    let mut counter = current.map_or_else(GCounter::default, |value| value.as_g_counter().unwrap().clone());
    counter.increment(replicator.replica(), amount).unwrap().into()
}

async fn count(
    replicator: &Replicator,
    key: &str,
    amount: u64,
    consistency: WriteConsistency,
    deadline: Tick,
) -> Result<u128, UpdateError<Infallible>> {
    let modify = |current: Option<&Crdt>| Ok(counted(replicator, current, amount));
    replicator.update(key, consistency, deadline, modify).await.map(|value| number(&value))
}

async fn count_here(replicator: &Replicator, key: &str, amount: u64) -> u128 {
    count(replicator, key, amount, WriteConsistency::Local, NOW).await.unwrap()
}

async fn read(replicator: &Replicator, key: &str) -> Result<Option<u128>, GetError> {
    let value = replicator.get(key, ReadConsistency::Local, NOW).await?;
    Ok(value.map(|value| number(&value)))
}

fn number(value: &Crdt) -> u128 {
    value.as_g_counter().unwrap().value()
}

/// What the next notice says, if there is one now.
fn notice(subscription: &mut cloudstate::replicator::Subscription) -> Option<u128> {
    match subscription.next().now_or_never()? {
        Notice::Changed(value) => Some(number(&value)),
        Notice::Deleted => panic!("the key was deleted"),
    }
}

#[tokio::test]
async fn the_only_member_is_everybody() {
    let replicator = alone();
    assert_eq!(**replicator.members().borrow(), BTreeSet::from([A]));
    for consistency in [WriteConsistency::Local, WriteConsistency::Majority, WriteConsistency::All] {
        count(&replicator, "likes", 1, consistency, NOW).await.unwrap();
    }
    for consistency in [ReadConsistency::Local, ReadConsistency::Majority, ReadConsistency::All] {
        let value = replicator.get("likes", consistency, NOW).await.unwrap().expect("it was updated");
        assert_eq!(number(&value), 3);
        assert_eq!(replicator.get("dislikes", consistency, NOW).await, Ok(None));
    }
    for (key, consistency) in [("likes", WriteConsistency::Majority), ("dislikes", WriteConsistency::All)] {
        assert_eq!(replicator.delete(key, consistency, NOW).await, Ok(()));
    }
}

#[tokio::test]
async fn deltas_merge_into_what_other_replicas_sent() {
    let replicator = alone();
    let mut remote = GCounter::default();
    replicator.apply_remote("likes", &remote.increment(B, 10).unwrap().into()).unwrap();
    assert_eq!(count_here(&replicator, "likes", 1).await, 11);
    replicator.apply_remote("likes", &remote.increment(B, 5).unwrap().into()).unwrap();
    assert_eq!(read(&replicator, "likes").await, Ok(Some(16)));
}

#[tokio::test]
async fn a_failed_update_changes_nothing() {
    let replicator = alone();
    let mut subscription = replicator.subscribe("likes");
    let failed = replicator.update("likes", WriteConsistency::All, NOW, |current| match current {
        None => Err("out of order"),
        Some(_) => unreachable!("nothing is there"),
    });
    assert_eq!(failed.await, Err(UpdateError::Modify("out of order")));
    assert_eq!(read(&replicator, "likes").await, Ok(None));
    assert_eq!(replicator.counts(), Counts::default());

    count_here(&replicator, "likes", 2).await;
    assert_eq!(notice(&mut subscription), Some(2));
    let failed = replicator.update("likes", WriteConsistency::All, NOW, |_| Err("out of order"));
    assert_eq!(failed.await, Err(UpdateError::Modify("out of order")));
    let set = replicator.update("likes", WriteConsistency::All, NOW, |_| Ok::<_, Infallible>(Crdt::new(Kind::OrSet)));
    assert!(matches!(set.await, Err(UpdateError::Kind(mismatch)) if mismatch.expected == Kind::GCounter));
    assert!(matches!(replicator.apply_remote("likes", &Crdt::new(Kind::Flag)), Err(ApplyError::Kind(_))));
    assert_eq!(read(&replicator, "likes").await, Ok(Some(2)));
    assert_eq!(notice(&mut subscription), None);
}

#[tokio::test]
async fn who_is_slow_gets_the_latest_value_and_only_that() {
    let replicator = alone();
    let mut early = replicator.subscribe("likes");
    assert_eq!(notice(&mut early), None, "nothing is there");
    for _ in 0..100 {
        count_here(&replicator, "likes", 1).await;
    }
    let mut late = replicator.subscribe("likes");
    for subscription in [&mut early, &mut late] {
        assert_eq!(notice(subscription), Some(100));
        assert_eq!(notice(subscription), None);
    }
    // A change that is none wakes nobody.
    count_here(&replicator, "likes", 0).await;
    let value = replicator.get("likes", ReadConsistency::Local, NOW).await.unwrap().unwrap();
    replicator.apply_remote("likes", &value).unwrap();
    assert_eq!(notice(&mut early), None);
    count_here(&replicator, "likes", 1).await;
    assert_eq!(notice(&mut early), Some(101));
}

#[tokio::test]
async fn a_subscription_wakes_when_something_happens() {
    let replicator = alone();
    let mut subscription = replicator.subscribe("likes");
    let waiting = tokio::spawn(async move { (subscription.next().await, subscription.next().await) });
    tokio::task::yield_now().await;
    let counting = replicator.clone();
    let value = tokio::spawn(async move { count_here(&counting, "likes", 1).await }).await.unwrap();
    assert_eq!(value, 1);
    tokio::task::yield_now().await;
    replicator.delete_remote("likes").unwrap();
    let (first, second) = waiting.await.unwrap();
    assert!(matches!(first, Notice::Changed(value) if number(&value) == 1));
    assert_eq!(second, Notice::Deleted);
}

/// CloudState protocol, known defect 44.
#[tokio::test]
async fn a_deleted_key_is_known_as_such_to_everybody_and_for_good() {
    let replicator = alone();
    count_here(&replicator, "likes", 1).await;
    let mut subscription = replicator.subscribe("likes");
    assert_eq!(notice(&mut subscription), Some(1));
    replicator.delete("likes", WriteConsistency::Local, NOW).await.unwrap();
    replicator.delete_remote("never there").unwrap();

    assert_eq!(subscription.next().now_or_never(), Some(Notice::Deleted));
    assert_eq!(subscription.next().now_or_never(), None, "that was the last notice");
    assert_eq!(replicator.subscribe("likes").next().now_or_never(), Some(Notice::Deleted));
    for key in ["likes", "never there"] {
        for consistency in [ReadConsistency::Local, ReadConsistency::Majority] {
            assert_eq!(replicator.get(key, consistency, NOW).await, Err(GetError::Deleted));
        }
        assert_eq!(count(&replicator, key, 1, WriteConsistency::Local, NOW).await, Err(UpdateError::Deleted));
        assert_eq!(replicator.apply_remote(key, &Crdt::new(Kind::GCounter)), Err(ApplyError::Deleted));
        assert_eq!(replicator.delete(key, WriteConsistency::All, NOW).await, Ok(()), "again is no error");
    }
    assert_eq!(replicator.counts(), Counts { keys: 0, deleted: 2 });
}

#[tokio::test]
async fn there_is_room_for_so_many_keys() {
    let replicator = Replicator::alone(A, Clock::tokio(), 2);
    count_here(&replicator, "one", 1).await;
    replicator.delete_remote("two").unwrap();
    assert_eq!(replicator.counts(), Counts { keys: 1, deleted: 1 });

    let full = count(&replicator, "three", 1, WriteConsistency::Local, NOW).await.unwrap_err();
    assert_eq!(
        full.to_string(),
        "this node already holds 2 replicated keys, deleted ones included; use fewer ids or allow more keys"
    );
    assert!(matches!(replicator.apply_remote("three", &Crdt::new(Kind::Flag)), Err(ApplyError::TooManyKeys(_))));
    let deleted = replicator.delete("three", WriteConsistency::Local, NOW).await;
    assert!(matches!(deleted, Err(DeleteError::TooManyKeys(_))));
    assert_eq!(read(&replicator, "three").await, Ok(None));

    // What is there can be changed and deleted as before.
    assert_eq!(count_here(&replicator, "one", 1).await, 2);
    replicator.delete("one", WriteConsistency::Local, NOW).await.unwrap();
    assert_eq!(replicator.counts(), Counts { keys: 0, deleted: 2 });
}

/// A key that nobody uses any more is taken away, just when somebody is about to write to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_not_lost_among_those_who_come_and_go() {
    const KEYS: usize = 10_000;
    let replicator = Replicator::alone(A, Clock::tokio(), KEYS);
    let next = Arc::new(AtomicUsize::new(0));
    let passer_by = {
        let (replicator, next) = (replicator.clone(), next.clone());
        tokio::task::spawn_blocking(move || {
            let mut key = 0;
            while key < KEYS {
                key = next.load(Ordering::Relaxed);
                drop(replicator.subscribe(&key.to_string()));
            }
        })
    };
    for key in 0..KEYS {
        next.store(key, Ordering::Relaxed);
        count_here(&replicator, &key.to_string(), 1).await;
    }
    next.store(KEYS, Ordering::Relaxed);
    passer_by.await.unwrap();
    for key in 0..KEYS {
        assert_eq!(read(&replicator, &key.to_string()).await, Ok(Some(1)), "key {key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_key_exclude_each_other() {
    let replicator = alone();
    let counting = || {
        let replicator = replicator.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                count_here(&replicator, "likes", 1).await;
            }
        })
    };
    for task in [counting(), counting()] {
        task.await.unwrap();
    }
    assert_eq!(read(&replicator, "likes").await, Ok(Some(1_000)));
}

/// Three replicators in one place, of which some do not answer.
struct Office {
    members: watch::Sender<Members>,
    replicators: Mutex<BTreeMap<ReplicaId, Replicator>>,
    silent: Mutex<BTreeSet<ReplicaId>>,
    /// Those who are known to be gone: it is no use waiting for them.
    gone: Mutex<BTreeSet<ReplicaId>>,
}

/// One replicator's way to the others.
struct Door(Weak<Office>);

impl Office {
    fn open(clock: &Clock) -> (Arc<Office>, [Replicator; 3]) {
        let office = Arc::new(Office {
            members: watch::Sender::new(Arc::new(BTreeSet::from([A, B, C]))),
            replicators: Mutex::default(),
            silent: Mutex::default(),
            gone: Mutex::default(),
        });
        let replicators = [A, B, C].map(|replica| {
            let door = Arc::new(Door(Arc::downgrade(&office)));
            Replicator::new(replica, clock.clone(), door, 10)
        });
        office.replicators.lock().extend([A, B, C].into_iter().zip(replicators.clone()));
        (office, replicators)
    }

    fn ask<T: Send + 'static>(
        &self,
        whom: ReplicaId,
        answer: impl FnOnce(&Replicator) -> T,
    ) -> BoxFuture<'static, Option<T>> {
        if self.gone.lock().contains(&whom) {
            return std::future::ready(None).boxed();
        }
        if self.silent.lock().contains(&whom) {
            return std::future::pending().boxed();
        }
        let replicator = self.replicators.lock()[&whom].clone();
        std::future::ready(Some(answer(&replicator))).boxed()
    }
}

impl Peers for Door {
    fn members(&self) -> watch::Receiver<Members> {
        self.0.upgrade().expect("the office is open").members.subscribe()
    }

    fn spread(&self, _key: &str, _change: &Change) {}

    fn write(&self, to: ReplicaId, key: &str, change: &Change) -> BoxFuture<'static, Option<()>> {
        self.0.upgrade().expect("the office is open").ask(to, |replicator| match change {
            Change::Merge(value) => drop(replicator.apply_remote(key, value)),
            Change::Delete => replicator.delete_remote(key).unwrap(),
        })
    }

    fn read(&self, from: ReplicaId, key: &str) -> BoxFuture<'static, Option<Read>> {
        self.0.upgrade().expect("the office is open").ask(from, |replicator| {
            match replicator.get(key, ReadConsistency::Local, NOW).now_or_never().expect("local reads do not wait") {
                Ok(Some(value)) => Read::Value(value),
                Ok(None) => Read::Absent,
                Err(_) => Read::Deleted,
            }
        })
    }
}

#[test]
fn a_write_waits_for_as_many_as_it_asks_for_and_stands_if_they_do_not_come() {
    let kit = TestKit::new();
    let clock = kit.clock().clone();
    let (office, [a, b, c]) = Office::open(&clock);
    kit.block_on(async {
        let in_five = || clock.now() + Duration::from_secs(5);
        count(&a, "likes", 1, WriteConsistency::All, in_five()).await.unwrap();
        assert_eq!(read(&b, "likes").await, Ok(Some(1)));
        assert_eq!(read(&c, "likes").await, Ok(Some(1)));
        assert_eq!(clock.now(), Tick::START, "all have answered at once");

        office.silent.lock().insert(C);
        count(&a, "likes", 1, WriteConsistency::Majority, in_five()).await.unwrap();
        assert_eq!(clock.now(), Tick::START, "two of three are a majority");
        let missed = count(&a, "likes", 1, WriteConsistency::All, in_five()).await;
        let Err(UpdateError::NotReached(local)) = missed else { panic!("{missed:?}") };
        assert_eq!(number(&local), 3);
        assert_eq!(clock.now(), Tick::START + Duration::from_secs(5), "it was waited for the third");
        assert_eq!((read(&a, "likes").await, read(&b, "likes").await), (Ok(Some(3)), Ok(Some(3))));

        office.gone.lock().extend([B, C]);
        let before = clock.now();
        let missed = count(&a, "likes", 1, WriteConsistency::Majority, in_five()).await;
        assert!(matches!(missed, Err(UpdateError::NotReached(_))));
        assert_eq!(a.delete("likes", WriteConsistency::Majority, in_five()).await, Err(DeleteError::NotReached));
        assert_eq!(clock.now(), before, "there is nobody left to wait for");
        assert_eq!(read(&a, "likes").await, Err(GetError::Deleted));

        // Whoever is up counts: without the two, one is everybody.
        office.members.send_replace(Arc::new(BTreeSet::from([A])));
        count(&a, "dislikes", 1, WriteConsistency::All, in_five()).await.unwrap();
    });
}

#[test]
fn a_read_brings_in_what_others_know() {
    let kit = TestKit::new();
    let clock = kit.clock().clone();
    let (office, [a, b, c]) = Office::open(&clock);
    kit.block_on(async {
        let in_three = || clock.now() + Duration::from_secs(3);
        count_here(&a, "likes", 1).await;
        count_here(&b, "likes", 10).await;
        count_here(&c, "likes", 100).await;
        let all = a.get("likes", ReadConsistency::All, in_three()).await.unwrap().unwrap();
        assert_eq!(number(&all), 111);

        office.silent.lock().extend([B, C]);
        let missed = a.get("likes", ReadConsistency::Majority, in_three()).await;
        assert_eq!(missed, Err(GetError::NotReached(Some(all))), "with what is known here");
        assert_eq!(a.get("dislikes", ReadConsistency::Majority, in_three()).await, Err(GetError::NotReached(None)));

        office.silent.lock().clear();
        b.delete("likes", WriteConsistency::Local, NOW).await.unwrap();
        assert_eq!(a.get("likes", ReadConsistency::All, in_three()).await, Err(GetError::Deleted));
    });
}
