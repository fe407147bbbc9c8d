//! Who is next.

use std::collections::BTreeMap;

use actors::testkit::TestKit;
use actors::{PoolRef, RoutingLogic, key_hash};

use super::{Log, SECOND, Work, dead_letters, workers};

#[test]
fn round_robin_takes_turns() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(3, &log));
    (0..7).for_each(|job| pool.tell(Work::Job(job)));
    kit.settle();
    assert_eq!(log.text(), "1[0, 3, 6] 2[1, 4] 3[2, 5]");
}

#[test]
fn random_is_even_and_the_same_for_the_same_seed() {
    const JOBS: u64 = 4_000;
    let run = || {
        let (kit, log) = (TestKit::new(), Log::default());
        let pool = kit.system().spawn_pool("pool", workers(4, &log).logic(RoutingLogic::random()));
        let other = kit.system().spawn_pool("other", workers(4, &Log::default()).logic(RoutingLogic::random()));
        (0..JOBS).for_each(|job| pool.tell(Work::Job(job)));
        other.tell(Work::Job(0));
        kit.settle();
        log.by_worker()
    };
    let jobs = run();
    let shares: Vec<usize> = jobs.values().map(Vec::len).collect();
    assert_eq!(shares.len(), 4);
    assert!(shares.iter().all(|share| (900..1_100).contains(share)), "{shares:?}");
    assert!(jobs["1"].windows(2).any(|pair| pair[1] - pair[0] != 4), "these are turns, not draws");
    assert_eq!(run(), jobs);
}

#[test]
fn two_routers_of_one_system_draw_differently() {
    let kit = TestKit::new();
    let logs = [Log::default(), Log::default()];
    for (name, log) in ["one", "two"].iter().zip(&logs) {
        let pool = kit.system().spawn_pool(name, workers(4, log).logic(RoutingLogic::random()));
        (0..64).for_each(|job| pool.tell(Work::Job(job)));
    }
    kit.settle();
    assert_ne!(logs[0].by_worker(), logs[1].by_worker());
}

#[test]
fn the_smallest_mailbox_avoids_who_is_behind() {
    const JOBS: u64 = 1_000;
    let handled_meanwhile = |logic| {
        let (kit, log) = (TestKit::new(), Log::default());
        let pool = kit.system().spawn_pool("pool", workers(4, &log).logic(logic));
        pool.tell(Work::Hold(SECOND * 3600));
        for job in 0..JOBS {
            pool.tell(Work::Job(job));
            kit.settle();
        }
        log.read().len()
    };
    assert!(handled_meanwhile(RoutingLogic::smallest_mailbox()) >= 998);
    assert!(handled_meanwhile(RoutingLogic::random()) < 800);
}

fn by_hundreds() -> RoutingLogic<Work> {
    RoutingLogic::consistent_hashing(|work| match work {
        Work::Job(job) => key_hash(&(job / 100)),
        _ => 0,
    })
}

#[test]
fn what_has_one_key_goes_to_one_routee_in_order() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(5, &log).logic(by_hundreds()));
    for job in 0..5 {
        (0..40).for_each(|key| pool.tell(Work::Job(key * 100 + job)));
        kit.settle();
    }
    let mut worker_of: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    for (worker, job) in log.read() {
        let (known, jobs) = worker_of.entry(job / 100).or_insert((worker.clone(), 0));
        assert_eq!((&*known, *jobs), (&worker, job % 100));
        *jobs += 1;
    }
    assert!(worker_of.values().all(|(_, jobs)| *jobs == 5));
    assert_eq!(worker_of.len(), 40);
}

const KEYS: u64 = 2_000;

/// Which worker has each key.
fn owners(kit: &TestKit, pool: &PoolRef<Work>, log: &Log) -> Vec<String> {
    (0..KEYS).for_each(|key| pool.tell(Work::Job(key * 100)));
    kit.settle();
    let mut owners = log.read();
    owners.sort_by_key(|(_, job)| *job);
    assert_eq!(owners.len() as u64, KEYS);
    owners.into_iter().map(|(worker, _)| worker).collect()
}

#[test]
fn a_routee_that_comes_or_goes_moves_its_share_of_the_keys_and_no_more() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(8, &log).logic(by_hundreds()));
    let eight = owners(&kit, &pool, &log);
    let mut shares: BTreeMap<&String, u64> = BTreeMap::new();
    eight.iter().for_each(|owner| *shares.entry(owner).or_default() += 1);
    assert_eq!(shares.len(), 8);
    assert!(shares.values().all(|share| (KEYS / 16..KEYS / 4).contains(share)), "{shares:?}");

    pool.resize(9);
    kit.settle();
    let nine = owners(&kit, &pool, &log);
    let moved: Vec<&String> = eight.iter().zip(&nine).filter(|(old, new)| old != new).map(|(_, new)| new).collect();
    assert!((KEYS / 18..KEYS / 5).contains(&(moved.len() as u64)), "{} of {KEYS} keys moved", moved.len());
    assert!(moved.iter().all(|new| *new == "9"), "keys moved between those who stayed");

    pool.resize(8);
    kit.settle();
    assert_eq!(owners(&kit, &pool, &log), eight);
}

#[test]
fn the_keys_of_a_routee_that_stopped_go_to_others_and_come_back_with_its_name() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(4, &log).logic(by_hundreds()));
    let before = owners(&kit, &pool, &log);
    let stopped = kit.block_on(pool.ask(Work::Who, SECOND)).unwrap();
    pool.tell(Work::Stop);
    kit.settle();
    let without = owners(&kit, &pool, &log);
    assert!(without.iter().zip(&before).all(|(new, old)| new == old || *old == stopped));
    assert!(!without.contains(&stopped));
    pool.resize(4);
    kit.settle();
    assert_eq!(owners(&kit, &pool, &log), before);
    assert_eq!(dead_letters(&kit), 0);
}

#[test]
#[should_panic(expected = "only consistent hashing has them, this logic is RoundRobin")]
fn virtual_nodes_are_of_consistent_hashing_alone() {
    let _ = RoutingLogic::<Work>::round_robin().virtual_nodes(10);
}
