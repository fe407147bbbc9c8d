//! Who is listed, who is told, and when.

use std::time::Duration;

use actors::testkit::{TestKit, TestProbe};
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, Handled, Listing, Mailbox, Props, Registration,
    Registrations, ReplyTo, ServiceKey,
};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn key() -> ServiceKey<Order> {
    ServiceKey::new("scripted")
}

fn scripted(kit: &TestKit, name: &str) -> ActorRef<Order> {
    kit.spawn(name, Scripted::new(name, &Diary::default()))
}

fn subscribed(kit: &TestKit, key: &ServiceKey<Order>) -> TestProbe<Listing<Order>> {
    let probe = kit.probe();
    kit.system().receptionist().subscribe(key, &probe.actor_ref());
    probe
}

/// The names in each listing that has come.
fn read(listings: &mut TestProbe<Listing<Order>>) -> Vec<String> {
    listings.drain().iter().map(names).collect()
}

fn names(listing: &Listing<Order>) -> String {
    listing.instances().iter().map(|actor| actor.path().name()).collect::<Vec<_>>().join(" ")
}

fn found(kit: &TestKit, key: &ServiceKey<Order>) -> String {
    names(&kit.block_on(kit.system().receptionist().find(key, SECOND)).unwrap())
}

#[test]
fn a_listing_comes_at_once_and_then_exactly_on_each_change() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let mut listings = subscribed(&kit, &key());
    assert_eq!(read(&mut listings), [""]);

    let (first, second) = (scripted(&kit, "first"), scripted(&kit, "second"));
    receptionist.register(&key(), &second);
    receptionist.register(&key(), &first);
    assert_eq!(read(&mut listings), ["second", "first second"]);

    receptionist.register(&key(), &first);
    receptionist.register(&ServiceKey::new("something else"), &first);
    receptionist.deregister(&ServiceKey::new("never registered"), &first);
    assert_eq!(read(&mut listings), [""; 0], "nothing changed");

    receptionist.deregister(&key(), &first);
    receptionist.deregister(&key(), &first);
    assert_eq!(read(&mut listings), ["second"]);

    receptionist.unsubscribe(&key(), &listings.actor_ref());
    receptionist.register(&key(), &first);
    assert_eq!(read(&mut listings), [""; 0], "unsubscribed");
    assert_eq!(found(&kit, &key()), "first second");
}

#[test]
fn who_stops_disappears_from_every_list_it_is_on() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let other = ServiceKey::new("other");
    let (goes, stays) = (scripted(&kit, "goes"), scripted(&kit, "stays"));
    for key in [key(), other.clone()] {
        receptionist.register(&key, &goes);
        receptionist.register(&key, &stays);
    }
    let mut listings = [subscribed(&kit, &key()), subscribed(&kit, &other)];
    listings.iter_mut().for_each(|listings| assert_eq!(read(listings), ["goes stays"]));
    goes.tell(Order::Stop);
    listings.iter_mut().for_each(|listings| assert_eq!(read(listings), ["stays"]));

    receptionist.register(&key(), &goes);
    assert_eq!(read(&mut listings[0]), [""; 0], "it has stopped before it could be listed");
    let again = scripted(&kit, "goes");
    receptionist.register(&key(), &again);
    assert_eq!(read(&mut listings[0]), ["stays goes"], "another incarnation, and the younger");
}

#[test]
fn an_actor_that_is_still_listed_elsewhere_or_subscribed_is_still_watched() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let other = ServiceKey::new("other");
    let actor = scripted(&kit, "actor");
    receptionist.register(&key(), &actor);
    receptionist.register(&other, &actor);
    receptionist.subscribe(&key(), &actor.map(|_| Order::note("listing")));
    receptionist.deregister(&key(), &actor);
    receptionist.unsubscribe(&key(), &actor.map(|_| Order::note("listing")));
    actor.tell(Order::Stop);
    kit.settle();
    assert_eq!(found(&kit, &other), "");
}

#[test]
fn a_key_is_a_name_and_a_type() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let actor = scripted(&kit, "actor");
    receptionist.register(&key(), &actor);
    let by_text = ServiceKey::<String>::new(key().name());
    let listing = kit.block_on(receptionist.find(&by_text, SECOND)).unwrap();
    assert_eq!(listing.instances(), []);
    receptionist.register(&by_text, &actor.map(Order::Note));
    let listing = kit.block_on(receptionist.find(&by_text, SECOND)).unwrap();
    assert_eq!((listing.instances().len(), found(&kit, &key()).as_str()), (1, "actor"));
}

/// Takes a listing a second.
struct Slow(Vec<usize>);

enum SlowMessage {
    Listing(Listing<Order>),
    Seen(ReplyTo<Vec<usize>>),
}

impl Actor for Slow {
    type Message = SlowMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<SlowMessage>, message: SlowMessage) -> Handled {
        match message {
            SlowMessage::Listing(listing) => {
                self.0.push(listing.instances().len());
                ctx.clock().sleep(SECOND).await;
            }
            SlowMessage::Seen(reply_to) => reply_to.tell(self.0.clone()),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn a_subscriber_without_room_gets_the_newest_listing_later() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let slow = kit.spawn("slow", Props::new(|| Slow(Vec::new())).mailbox(Mailbox::bounded(1)));
    receptionist.subscribe(&key(), &slow.map(SlowMessage::Listing));
    kit.settle();
    for number in 1..=9 {
        receptionist.register(&key(), &scripted(&kit, &format!("number {number}")));
        kit.settle();
    }
    kit.advance(SECOND * 10);
    let seen = kit.block_on(slow.ask(SlowMessage::Seen, SECOND)).unwrap();
    assert_eq!(seen, [0, 1, 9], "one in hand, one in its mailbox, then the newest");
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

#[test]
fn a_subscriber_that_panics_while_it_is_told_harms_nobody_else() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    let actor = scripted(&kit, "actor");
    receptionist.subscribe(&key(), &actor.map(|_| panic!("cannot read")));
    let mut listings = subscribed(&kit, &key());
    receptionist.register(&key(), &actor);
    assert_eq!(read(&mut listings), ["", "actor"]);
}

#[test]
fn two_systems_in_one_process_know_nothing_of_each_other() {
    let (one, two) = (TestKit::new(), TestKit::new());
    one.system().receptionist().register(&key(), &scripted(&one, "actor"));
    assert_eq!((found(&one, &key()).as_str(), found(&two, &key()).as_str()), ("actor", ""));
}

#[test]
fn it_keeps_no_system_from_ending_and_nothing_works_after_that() {
    let kit = TestKit::new();
    let receptionist = kit.system().receptionist();
    receptionist.register(&key(), &scripted(&kit, "actor"));
    let _listings = subscribed(&kit, &key());
    kit.block_on(kit.system().terminate());
    for receptionist in [receptionist, kit.system().receptionist()] {
        receptionist.register(&key(), &scripted(&kit, "late"));
        let found = kit.block_on(receptionist.find(&key(), SECOND));
        assert_eq!(found.unwrap_err(), AskError::Stopped);
    }
}

#[test]
fn a_system_that_has_ended_keeps_no_subscriber_of_listings() {
    let kept = std::sync::Arc::new(());
    let is_kept = std::sync::Arc::downgrade(&kept);
    {
        let kit = TestKit::new();
        let actor = scripted(&kit, "actor");
        let reader = actor.map(move |_: Listing<Order>| {
            let _kept = &kept;
            Order::note("listing")
        });
        kit.system().receptionist().subscribe(&key(), &reader);
        kit.settle();
        kit.block_on(kit.system().terminate());
    }
    assert_eq!(is_kept.strong_count(), 0);
}

#[test]
fn a_system_that_never_asks_for_it_has_none() {
    let kit = TestKit::new();
    let before = scripted(&kit, "before").path().uid();
    assert_eq!(scripted(&kit, "after").path().uid(), before + 1);
    kit.system().receptionist();
    kit.system().receptionist();
    assert_eq!(scripted(&kit, "with it").path().uid(), before + 3, "one actor, not two");
}

fn alone(seed: u64, kit: &TestKit) -> ActorSystem {
    ActorSystem::builder("peer").seed(seed).runtime(kit.system().runtime().clone()).clock(kit.clock().clone()).start()
}

#[test]
fn what_another_node_registers_is_listed_here_until_that_node_is_removed() {
    let kit = TestKit::new();
    let peer = alone(1, &kit);
    let mut theirs = kit.probe();
    peer.receptionist().subscribe_own(&theirs.actor_ref());
    let (here, there) = (scripted(&kit, "here"), peer.spawn("there", Scripted::new("there", &Diary::default())));
    let receptionist = kit.system().receptionist();
    receptionist.register(&key(), &here);
    peer.receptionist().register(&key(), &there);
    let told: Vec<Registrations> = theirs.drain();
    assert_eq!(told.iter().map(|own| (own.version, own.entries.len())).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
    assert!(told.iter().all(|own| own.owner == peer.uid()));
    let [empty, full] = <[Registrations; 2]>::try_from(told).unwrap();
    assert_eq!(full.entries, [Registration::new(&key(), &there)]);
    assert_eq!(full.entries[0].actor_ref::<Order>(), Some(&there));
    assert_eq!(full.entries[0].actor_ref::<String>(), None);

    let mut listings = subscribed(&kit, &key());
    assert_eq!(read(&mut listings), ["here"]);
    receptionist.install(full.clone());
    receptionist.install(empty); // late: an older version
    let listing = listings.drain();
    assert_eq!(listing.iter().map(|listing| listing.instances().len()).collect::<Vec<_>>(), [2]);

    receptionist.set_reachable(peer.uid(), false);
    let listing = listings.drain().pop().unwrap();
    assert_eq!((names(&listing).as_str(), listing.all_instances().len()), ("here", 2));

    receptionist.remove_owner(peer.uid());
    receptionist.install(Registrations { version: full.version + 1, ..full });
    let listing = listings.drain();
    assert_eq!(listing.iter().map(|listing| listing.all_instances().len()).collect::<Vec<_>>(), [1]);
}
