//! Groups: they follow the receptionist. Broadcast too, whose routees are probes here.

use actors::testkit::{TestKit, TestProbe};
use actors::{
    ActorRef, ActorSystem, AskError, DeadLetter, DeadLetterReason, GroupRouter, Mailbox, Props, Registration,
    Registrations, RoutingLogic, ServiceKey, TryTellError, key_hash,
};

use super::{Log, SECOND, Work, Worker, dead_letters, workers};

fn key() -> ServiceKey<u64> {
    ServiceKey::new("numbers")
}

fn member(kit: &TestKit) -> TestProbe<u64> {
    let probe = kit.probe();
    kit.system().receptionist().register(&key(), &probe.actor_ref());
    probe
}

fn turns(kit: &TestKit) -> ActorRef<u64> {
    kit.system().spawn_group("group", GroupRouter::new(&key()).logic(RoutingLogic::round_robin()))
}

fn tell_all(group: &ActorRef<u64>, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| group.tell(number));
}

#[test]
fn a_group_follows_the_receptionist() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let mut first = member(&kit);
    let group = turns(&kit);
    tell_all(&group, 0..2); // wait for the first listing
    assert_eq!(first.drain(), [0, 1]);
    let mut second = member(&kit);
    kit.settle();
    tell_all(&group, 2..6);
    assert_eq!((first.drain(), second.drain()), (vec![2, 4], vec![3, 5]));
    receptionist.deregister(&key(), &first.actor_ref());
    kit.settle();
    tell_all(&group, 6..8);
    assert_eq!((first.drain(), second.drain()), (vec![], vec![6, 7]));
    assert_eq!(dead_letters(&kit), 0);
}

#[test]
fn a_group_is_random_unless_told_otherwise() {
    let kit = TestKit::new();
    let mut members = [member(&kit), member(&kit)];
    let group = kit.system().spawn_group("group", GroupRouter::new(&key()));
    tell_all(&group, 0..1_000);
    let shares = members.each_mut().map(|member| member.drain());
    assert!(shares.iter().all(|share| (430..570).contains(&share.len())));
    assert!(shares.iter().all(|share| share.is_sorted()), "each gets its own in order");
    assert!(shares[0].windows(2).any(|pair| pair[1] - pair[0] > 2), "drawn, not in turns");
}

#[test]
fn what_an_empty_group_is_told_is_dropped_with_the_reason() {
    let kit = TestKit::new();
    let mut letters = kit.probe::<DeadLetter>();
    kit.system().event_stream().subscribe(&letters.actor_ref());
    let group = turns(&kit);
    group.tell(1); // waits for the listing, which is empty
    kit.settle();
    group.tell(2);
    let read: Vec<_> = letters.drain().into_iter().map(|letter| (letter.recipient, letter.reason)).collect();
    assert_eq!(
        read,
        [(group.path().clone(), DeadLetterReason::NoRoutees), (group.path().clone(), DeadLetterReason::NoRoutees)]
    );
    assert_eq!(group.try_tell(3), Err(TryTellError::Full(3)));
    assert!(!group.is_stopped());

    let working = ServiceKey::<Work>::new("working");
    let asked = kit.system().spawn_group("asked", GroupRouter::new(&working));
    assert_eq!(kit.block_on(asked.ask(Work::Who, SECOND)), Err(AskError::Full), "waited, and there was nobody");
    assert_eq!(kit.block_on(asked.ask(Work::Who, SECOND)), Err(AskError::Full), "there is nobody");
}

#[test]
fn a_send_to_an_empty_group_waits_until_somebody_comes() {
    let kit = TestKit::new();
    let group = turns(&kit);
    kit.settle();
    let (sending, mapped) = (group.clone(), group.map(|number: u32| u64::from(number)));
    let sends =
        kit.system().runtime().spawn(async move { mapped.send(1).await.is_ok() && sending.send(2).await.is_ok() });
    kit.advance(SECOND);
    assert!(!sends.is_finished());
    let mut member = member(&kit);
    assert!(kit.block_on(sends).unwrap());
    assert_eq!((member.drain(), dead_letters(&kit)), (vec![1, 2], 0));
}

#[test]
fn until_the_first_listing_a_group_has_the_room_of_its_stash() {
    let kit = TestKit::new();
    let mut member = member(&kit);
    let group = GroupRouter::new(&key()).stash_capacity(2);
    let group = kit.system().spawn_group("group", group);
    let mapped = group.map(|number: u32| u64::from(number));
    assert_eq!((group.try_tell(0), mapped.try_tell(1)), (Ok(()), Ok(())));
    assert_eq!((group.try_tell(2), mapped.try_tell(3)), (Err(TryTellError::Full(2)), Err(TryTellError::Full(3))));
    assert!(kit.block_on(group.send(4)).is_ok());
    assert_eq!(member.drain(), [0, 1, 4]);
}

#[test]
fn a_group_that_stops_before_the_first_listing_drops_what_waits() {
    let kit = TestKit::new();
    let group = turns(&kit);
    let answer = {
        let working = ServiceKey::<Work>::new("working");
        kit.system().spawn_group("asked", GroupRouter::new(&working)).ask(Work::Who, SECOND)
    };
    tell_all(&group, 0..2);
    kit.block_on(kit.system().terminate());
    let events = kit.system().event_stream();
    assert_eq!(kit.block_on(answer), Err(AskError::Stopped));
    assert_eq!((events.dead_letters(DeadLetterReason::StashDropped), events.dead_letters_total()), (3, 3));
    assert_eq!(group.try_tell(5), Err(TryTellError::Stopped(5)));
}

#[test]
fn a_broadcast_reaches_everybody_and_misses_who_is_full() {
    let (kit, log) = (TestKit::new(), Log::default());
    let mut members = [member(&kit), member(&kit)];
    let full = kit.spawn("full", Props::new(move || Worker(log.clone())).mailbox(Mailbox::bounded(1)));
    full.tell(Work::Hold(SECOND));
    kit.settle();
    kit.system().receptionist().register(&key(), &full.map(Work::Job));
    let group = GroupRouter::new(&key()).logic(RoutingLogic::broadcast());
    let group = kit.system().spawn_group("group", group);
    tell_all(&group, 0..3);
    kit.settle();
    assert_eq!(members.each_mut().map(|member| member.drain()), [[0, 1, 2], [0, 1, 2]]);
    let events = kit.system().event_stream();
    assert_eq!((events.dead_letters(DeadLetterReason::MailboxFull), events.dead_letters_total()), (2, 2));

    assert!(kit.block_on(group.send(3)).is_ok(), "waited until the full one had room");
    assert_eq!(members.each_mut().map(|member| member.drain()), [[3], [3]]);
    assert_eq!(events.dead_letters_total(), 2);
}

#[test]
fn a_broadcast_nobody_has_room_for_comes_back() {
    let (kit, log) = (TestKit::new(), Log::default());
    let full = kit.spawn("full", Props::new(move || Worker(log.clone())).mailbox(Mailbox::bounded(1)));
    full.tell(Work::Hold(SECOND));
    kit.settle();
    full.tell(Work::Job(0));
    kit.system().receptionist().register(&key(), &full.map(Work::Job));
    let group = kit.system().spawn_group("group", GroupRouter::new(&key()).logic(RoutingLogic::broadcast()));
    kit.settle();
    assert_eq!(group.try_tell(1), Err(TryTellError::Full(1)));
    assert_eq!(dead_letters(&kit), 0);
}

#[test]
fn a_predicate_chooses_what_everybody_gets() {
    let kit = TestKit::new();
    let mut members = [member(&kit), member(&kit)];
    let group = GroupRouter::new(&key()).logic(RoutingLogic::round_robin()).broadcast_when(|number| number % 10 == 0);
    let group = kit.system().spawn_group("group", group);
    kit.settle();
    tell_all(&group, 10..14);
    group.map(|number: u32| u64::from(number)).tell(20);
    assert_eq!(members.each_mut().map(|member| member.drain()), [vec![10, 11, 13, 20], vec![10, 12, 20]]);
}

#[test]
fn a_router_goes_wherever_an_actor_does() {
    let (kit, log) = (TestKit::new(), Log::default());
    let pool = kit.system().spawn_pool("pool", workers(2, &log));
    kit.system().receptionist().register(&key(), &pool.map(Work::Job));
    let group = turns(&kit);
    kit.system().receptionist().register(&key(), &group); // under its own key: leads nowhere
    kit.system().event_stream().subscribe(&group);
    kit.settle();
    (0..4_u64).for_each(|number| kit.system().event_stream().publish(number));
    kit.settle();
    assert_eq!(log.text(), "1[0, 2] 2[1, 3]");
    assert_eq!(group, group.map(|number: u64| number));
}

#[test]
fn who_cannot_be_reached_gets_messages_only_if_nobody_can() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let (mut here, mut there) = (member(&kit), kit.probe());
    let entries = vec![Registration::new(&key(), &there.actor_ref())];
    receptionist.install(Registrations { owner: 7, version: 1, entries });
    receptionist.set_reachable(7, false);
    let group = turns(&kit);
    tell_all(&group, 0..2);
    assert_eq!((here.drain(), there.drain()), (vec![0, 1], vec![]));
    receptionist.deregister(&key(), &here.actor_ref());
    kit.settle();
    tell_all(&group, 2..4);
    assert_eq!((here.drain(), there.drain()), (vec![], vec![2, 3]));
}

#[test]
fn a_key_waits_for_its_own_routee() {
    let (kit, log) = (TestKit::new(), Log::default());
    let key = ServiceKey::<Work>::new("working");
    for name in ["a", "b", "c"] {
        let log = log.clone();
        let worker = kit.spawn(name, Props::new(move || Worker(log.clone())).mailbox(Mailbox::bounded(1)));
        kit.system().receptionist().register(&key, &worker);
    }
    let by_name = RoutingLogic::consistent_hashing(|_: &Work| key_hash("all the same"));
    let group = kit.system().spawn_group("group", GroupRouter::new(&key).logic(by_name));
    let owner = kit.block_on(group.ask(Work::Who, SECOND)).unwrap();
    group.tell(Work::Hold(SECOND));
    kit.settle();
    group.tell(Work::Job(0));
    assert!(matches!(group.try_tell(Work::Job(1)), Err(TryTellError::Full(Work::Job(1)))));
    assert_eq!(dead_letters(&kit), 0);
    assert!(group.map(Work::Job).try_tell(2).is_ok());
    assert_eq!(dead_letters(&kit), 1, "it had to be made to be looked at");
    assert!(kit.block_on(group.send(Work::Job(3))).is_ok());
    assert!(kit.block_on(group.map(Work::Job).send(4)).is_ok());
    kit.settle();
    assert_eq!(log.text(), format!("{owner}[0, 3, 4]"));
}

#[test]
fn messages_stay_in_the_system_while_somebody_there_takes_them() {
    let kit = TestKit::new();
    let peer = ActorSystem::builder("peer").seed(1).runtime(kit.system().runtime().clone()).clock(kit.clock().clone());
    let (peer, log) = (peer.start(), Log::default());
    let noted = log.clone();
    let there = peer.spawn("there", Props::new(move || Worker(noted.clone()))).map(Work::Job);
    let receptionist = kit.system().receptionist();
    receptionist.install(Registrations {
        owner: peer.uid(),
        version: 1,
        entries: vec![Registration::new(&key(), &there)],
    });
    let mut here = member(&kit);
    let group = kit.system().spawn_group("group", GroupRouter::new(&key()).prefer_local());
    tell_all(&group, 0..10);
    assert_eq!(here.drain(), (0..10).collect::<Vec<u64>>());
    receptionist.deregister(&key(), &here.actor_ref());
    kit.settle();
    tell_all(&group, 10..12);
    kit.settle();
    assert_eq!((here.drain(), log.text().as_str()), (vec![], "there[10, 11]"));
}
