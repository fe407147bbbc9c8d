//! Runs drawn from a seed: the same seed, the same run; other seeds, other orders, and the bugs that hide in them.

use std::collections::BTreeSet;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled};

use crate::behavior_kit::{assert_says, panic_of};
use crate::script::Diary;

/// Passes tokens on to the others, in turn, until they are used up.
struct Runner {
    name: &'static str,
    diary: Diary,
    others: Vec<ActorRef<Baton>>,
    next: usize,
}

enum Baton {
    Meet(Vec<ActorRef<Baton>>),
    Carry(u32),
}

impl Actor for Runner {
    type Message = Baton;

    async fn receive(&mut self, _ctx: &mut ActorContext<Baton>, baton: Baton) -> Handled {
        match baton {
            Baton::Meet(others) => self.others = others,
            Baton::Carry(left) => {
                self.diary.note(format!("{}{left}", self.name));
                if left > 0 {
                    self.next = (self.next + 1) % self.others.len();
                    self.others[self.next].tell(Baton::Carry(left - 1));
                }
            }
        }
        Ok(Behavior::Same)
    }
}

/// Five runners and five batons; who carried which when.
fn race(kit: &TestKit) -> Vec<String> {
    let diary = Diary::default();
    let runners: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| kit.spawn(name, Runner { name, diary: diary.clone(), others: Vec::new(), next: 0 }))
        .into();
    runners.iter().for_each(|runner| runner.tell(Baton::Meet(runners.clone())));
    runners.iter().for_each(|runner| runner.tell(Baton::Carry(6)));
    kit.settle();
    diary.read()
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut traces = BTreeSet::new();
    for seed in 0..8 {
        let trace = race(&TestKit::seeded(seed));
        assert_eq!(trace.len(), 5 * 7);
        assert_eq!(trace, race(&TestKit::seeded(seed)), "seed {seed}");
        traces.insert(trace);
    }
    assert!(traces.len() >= 6, "eight seeds, {} orders", traces.len());
    assert_eq!(race(&TestKit::new()), race(&TestKit::new()), "a kit without a seed has an order of its own");
}

#[derive(Clone, Debug, PartialEq)]
enum Page {
    Written(u32),
    Dropped,
}

/// Passes on what it hears.
struct Relay(ActorRef<Page>);

impl Actor for Relay {
    type Message = Page;

    async fn receive(&mut self, _ctx: &mut ActorContext<Page>, page: Page) -> Handled {
        self.0.tell(page);
        Ok(Behavior::Same)
    }
}

/// A page is written by way of one relay and dropped by way of two, so "of course" it is gone in the end.
fn write_and_drop(kit: &TestKit) {
    let mut cache = kit.probe();
    let short = kit.spawn("short", Relay(cache.actor_ref()));
    let middle = kit.spawn("middle", Relay(cache.actor_ref()));
    let long = kit.spawn("long", Relay(middle));
    short.tell(Page::Written(1));
    long.tell(Page::Dropped);
    assert_eq!(cache.drain(), [Page::Written(1), Page::Dropped], "in this order, surely");
}

#[test]
fn a_bug_of_order_is_found_by_some_seed_and_named() {
    write_and_drop(&TestKit::new()); // the usual order hides it
    let text = panic_of(|| TestKit::for_each_seed(0..50, write_and_drop));
    assert_says(&text, &["with seed ", "in this order, surely", "repeats it"]);
    let seed = text.split("TestKit::seeded(").nth(1).unwrap().split(')').next().unwrap().parse().unwrap();
    for _ in 0..3 {
        assert_says(&panic_of(|| write_and_drop(&TestKit::seeded(seed))), &["in this order, surely"]);
    }
}
