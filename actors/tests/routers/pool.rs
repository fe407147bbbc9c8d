//! Pools: full ones, those that shrink and grow, and what becomes of their routees.

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, AskError, Behavior, DeadLetterReason, Handled, Mailbox, PoolRef, PoolRouter, Props,
    RoutingLogic, Signal, SupervisorStrategy, TryTellError,
};

use super::{Log, SECOND, Work, Worker, dead_letters, workers, workers_with};

#[test]
fn what_is_told_before_the_start_comes_first() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(2, &log));
    assert_eq!(pool.size(), 0);
    (0..4).for_each(|job| pool.tell(Work::Job(job)));
    assert_eq!(pool.queued(), 4);
    kit.settle();
    (4..8).for_each(|job| pool.tell(Work::Job(job)));
    kit.settle();
    assert_eq!(log.text(), "1[0, 2, 4, 6] 2[1, 3, 5, 7]");
    assert_eq!((pool.size(), pool.queued()), (2, 0));
}

#[test]
fn an_ask_is_answered_by_a_routee() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(2, &log));
    let ask = || kit.block_on(pool.ask(Work::Who, SECOND));
    assert_eq!([ask(), ask(), ask()], ["1", "2", "1"].map(|name| Ok(name.to_owned())));
    let mapped = pool.map(Work::Who);
    assert_eq!(kit.block_on(mapped.ask(|reply_to| reply_to, SECOND)), Ok("2".to_owned()));
    pool.tell(Work::Hold(SECOND * 2));
    assert_eq!(ask(), Ok("2".to_owned()), "the other one is free");
    assert_eq!(ask(), Err(AskError::Timeout));
}

/// Full but for one routee, then full.
fn held(kit: &TestKit, log: &Log, logic: RoutingLogic<Work>) -> PoolRef<Work> {
    let pool = workers_with(2, log, Mailbox::bounded(1), SupervisorStrategy::stop());
    let pool = kit.system().spawn_pool("pool", pool.logic(logic));
    for _ in 0..2 {
        pool.tell(Work::Hold(SECOND * 60));
        kit.settle();
    }
    pool
}

#[test]
fn a_pool_is_full_when_every_routee_is() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = held(&kit, &log, RoutingLogic::round_robin());
    let mapped = pool.map(Work::Job);
    assert!(pool.try_tell(Work::Job(1)).is_ok());
    assert!(mapped.try_tell(2).is_ok());
    assert!(matches!(pool.try_tell(Work::Job(3)), Err(TryTellError::Full(Work::Job(3)))));
    assert_eq!(mapped.try_tell(4), Err(TryTellError::Full(4)));
    assert_eq!(pool.queued(), 2);
    assert_eq!(kit.block_on(pool.ask(Work::Who, SECOND)), Err(AskError::Full));
    assert_eq!(dead_letters(&kit), 0);
    pool.tell(Work::Job(5));
    let events = kit.system().event_stream();
    assert_eq!((events.dead_letters(DeadLetterReason::MailboxFull), events.dead_letters_total()), (1, 1));
}

#[test]
fn a_message_passes_over_who_is_full() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers_with(2, &log, Mailbox::bounded(1), SupervisorStrategy::stop()));
    pool.tell(Work::Hold(SECOND * 60)); // to 1
    for job in 0..9 {
        pool.tell(Work::Job(job));
        kit.settle();
    }
    assert_eq!((log.read().len(), pool.queued(), dead_letters(&kit)), (8, 1, 0));
}

#[test]
fn a_send_waits_for_room_and_a_larger_pool_has_it() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = held(&kit, &log, RoutingLogic::round_robin());
    (0..2).for_each(|job| pool.tell(Work::Job(job)));
    let (sender, mapped) = (pool.clone(), pool.map(Work::Job));
    let resizer = pool.clone();
    let start = kit.clock().now();
    kit.block_on(async {
        let sends = async { (sender.send(Work::Job(2)).await, mapped.send(3).await) };
        let resize = async {
            resizer.actor_ref(); // as any other reference, but for what comes next
            kit.clock().sleep(SECOND).await;
            resizer.resize(3);
        };
        let ((first, second), ()) = futures_util::future::join(sends, resize).await;
        assert!(first.is_ok() && second.is_ok());
    });
    assert_eq!(kit.clock().now() - start, SECOND, "long before anybody else had room");
    kit.settle();
    assert_eq!(log.text(), "3[2, 3]");
}

#[test]
fn a_send_given_up_was_not_sent() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = held(&kit, &log, RoutingLogic::round_robin());
    (0..2).for_each(|job| pool.tell(Work::Job(job)));
    assert!(kit.block_on(kit.clock().timeout(SECOND, pool.send(Work::Job(2)))).is_err());
    kit.advance(SECOND * 120);
    assert_eq!(log.text(), "1[0] 2[1]");
}

#[test]
fn a_pool_that_shrinks_loses_nothing() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(3, &log));
    for job in 0..9 {
        pool.tell(Work::Hold(SECOND));
        pool.tell(Work::Job(job));
    }
    kit.settle();
    pool.resize(1);
    kit.settle();
    assert_eq!(pool.size(), 1);
    (9..12).for_each(|job| pool.tell(Work::Job(job)));
    kit.advance(SECOND * 60);
    let mut jobs = log.by_worker();
    assert!(jobs["1"].ends_with(&[9, 10, 11]), "{jobs:?}");
    let mut handled: Vec<u64> = std::mem::take(&mut jobs).into_values().flatten().collect();
    handled.sort_unstable();
    assert_eq!((handled, dead_letters(&kit)), ((0..12).collect(), 0));

    pool.resize(2);
    kit.settle();
    (0..2).for_each(|job| pool.tell(Work::Job(job)));
    kit.settle();
    assert_eq!(log.by_worker().into_keys().collect::<Vec<_>>(), ["1", "2"], "the names are free: they have stopped");
}

#[test]
fn a_routee_that_stopped_is_removed_and_the_last_one_takes_the_router_along() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(2, &log));
    let mut probe = kit.probe::<()>();
    kit.settle();
    pool.tell(Work::Stop); // to 1
    kit.settle();
    assert_eq!(pool.size(), 1);
    (0..3).for_each(|job| pool.tell(Work::Job(job)));
    kit.settle();
    assert_eq!((log.text().as_str(), pool.is_stopped()), ("2[0, 1, 2]", false));
    pool.tell(Work::Stop);
    pool.tell(Work::Job(3)); // still accepted
    probe.expect_terminated(&pool);
    assert!(pool.is_stopped());
    assert!(matches!(pool.try_tell(Work::Job(4)), Err(TryTellError::Stopped(Work::Job(4)))));
    assert_eq!(pool.map(Work::Job).try_tell(4), Err(TryTellError::Stopped(4)));
    assert!(kit.block_on(pool.send(Work::Job(4))).is_err());
    assert_eq!(kit.block_on(pool.map(Work::Job).send(4)).unwrap_err().0, 4);
    assert_eq!(kit.block_on(pool.ask(Work::Who, SECOND)), Err(AskError::Stopped));
    pool.tell(Work::Job(5));
    let events = kit.system().event_stream();
    let counted =
        [DeadLetterReason::StoppedBefore, DeadLetterReason::Stopped].map(|reason| events.dead_letters(reason));
    assert_eq!((counted, events.dead_letters_total()), ([1, 1], 2));
    pool.resize(3); // too late
    kit.settle();
    assert_eq!(pool.size(), 0);
}

#[test]
fn who_waits_for_room_in_a_pool_that_ends_learns_it() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = workers_with(1, &log, Mailbox::bounded(1), SupervisorStrategy::stop());
    let pool = kit.system().spawn_pool("pool", pool);
    pool.tell(Work::Hold(SECOND));
    kit.settle();
    pool.tell(Work::Job(0));
    let (sending, mapped) = (pool.clone(), pool.map(Work::Job));
    let sends = kit.system().runtime().spawn(async move {
        let (sent, mapped) = futures_util::future::join(sending.send(Work::Job(7)), mapped.send(8)).await;
        matches!(sent.unwrap_err().0, Work::Job(7)) && mapped.unwrap_err().0 == 8
    });
    kit.block_on(kit.system().terminate());
    assert!(kit.block_on(sends).unwrap());
}

#[test]
fn a_routee_lives_by_its_own_strategy() {
    for (strategy, left) in [(SupervisorStrategy::stop(), 1), (SupervisorStrategy::restart(), 2)] {
        let (kit, log) = (TestKit::new(), Log::default());
        let pool = kit.system().spawn_pool("pool", workers_with(2, &log, Mailbox::default(), strategy));
        pool.tell(Work::Fail); // to 1
        kit.settle();
        (0..4).for_each(|job| pool.tell(Work::Job(job)));
        kit.settle();
        assert_eq!((pool.size(), log.by_worker().len()), (left, left));
    }
}

/// Owns a pool, asks it, and watches it.
struct Manager {
    pool: PoolRef<Work>,
    heard: ActorRef<String>,
}

enum ManagerMessage {
    Ask,
    Dismiss,
    Answer(Result<String, AskError>),
}

impl Actor for Manager {
    type Message = ManagerMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<ManagerMessage>, message: ManagerMessage) -> Handled {
        match message {
            ManagerMessage::Ask => ctx.ask(&self.pool, Work::Who, SECOND, ManagerMessage::Answer),
            ManagerMessage::Dismiss => ctx.stop(&self.pool),
            ManagerMessage::Answer(answer) => self.heard.tell(format!("{answer:?}")),
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<ManagerMessage>, signal: Signal) -> Handled {
        if let Signal::Terminated(path) = signal {
            self.heard.tell(format!("{path} has stopped"));
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn a_pool_is_a_child_like_any_other() {
    let (kit, log) = (TestKit::new(), Log::default());
    let mut probe = kit.probe();
    let heard = probe.actor_ref();
    let manager = Props::setup(move |ctx| {
        let pool = ctx.spawn_pool("pool", workers(2, &log));
        ctx.watch(&*pool);
        Manager { pool, heard: heard.clone() }
    });
    let manager = kit.spawn("manager", manager);
    manager.tell(ManagerMessage::Ask);
    manager.tell(ManagerMessage::Ask);
    assert_eq!(probe.drain(), [r#"Ok("1")"#, r#"Ok("2")"#]);
    manager.tell(ManagerMessage::Dismiss);
    assert_eq!(probe.drain(), ["/user/manager/pool has stopped"]);
}

#[test]
fn a_pool_under_an_actor_that_is_stopping_never_lives() {
    let kit = TestKit::new();
    kit.block_on(kit.system().terminate());
    let pool = kit.system().spawn_pool("pool", workers(2, &Log::default()));
    assert!(matches!(pool.try_tell(Work::Job(1)), Err(TryTellError::Stopped(Work::Job(1)))));
    assert!(pool.is_stopped());
}

#[test]
#[should_panic(expected = "a pool needs at least one routee")]
fn a_pool_of_nobody_is_refused() {
    drop(PoolRouter::<Worker>::new(0, || unreachable!()));
}

#[test]
fn a_pool_that_is_drained_handles_what_waits_with_its_routees() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(2, &log));
    let mut watcher = kit.probe::<()>();
    (0..2).for_each(|_| pool.tell(Work::Hold(SECOND)));
    (0..6).for_each(|job| pool.tell(Work::Job(job)));
    pool.drain(SECOND * 60);
    kit.settle();
    assert!(matches!(pool.try_tell(Work::Job(6)), Err(TryTellError::Stopped(Work::Job(6)))));
    assert_eq!(kit.block_on(pool.ask(Work::Who, SECOND)), Err(AskError::Stopped));
    pool.resize(5); // too late
    assert_eq!(log.text(), "", "they are busy");

    watcher.expect_terminated_within(pool.actor_ref(), SECOND * 2);
    assert_eq!(log.text(), "1[0, 2, 4] 2[1, 3, 5]");
    assert_eq!(dead_letters(&kit), 0);
}

#[test]
fn a_pool_drains_no_longer_than_it_may() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(2, &log));
    let mut watcher = kit.probe::<()>();
    (0..2).for_each(|_| pool.tell(Work::Hold(SECOND * 10)));
    (0..6).for_each(|job| pool.tell(Work::Job(job)));
    pool.drain(SECOND);
    pool.drain(SECOND * 60); // the first counts
    watcher.expect_terminated_within(pool.actor_ref(), SECOND * 11);
    assert_eq!(log.text(), "", "what is in hand is finished, no more");
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::StoppedBefore), 6);
}

#[test]
fn routees_that_fail_while_they_drain_go_on() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = workers_with(2, &log, Mailbox::default(), SupervisorStrategy::restart());
    let pool = kit.system().spawn_pool("pool", pool);
    let mut watcher = kit.probe::<()>();
    (0..2).for_each(|_| pool.tell(Work::Fail));
    (0..4).for_each(|job| pool.tell(Work::Job(job)));
    pool.drain(SECOND * 60);
    watcher.expect_terminated_within(pool.actor_ref(), SECOND);
    assert_eq!(log.text(), "1[0, 2] 2[1, 3]");
}
