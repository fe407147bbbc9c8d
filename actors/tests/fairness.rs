//! How long others wait for an actor that always has something to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, Behavior, Handled};

/// Turns an actor may take before it lets others run, by default.
const SHARE: u64 = 128;

/// Tells itself so many messages, one after the other.
struct Flood {
    left: u64,
    turns: Arc<AtomicU64>,
}

impl Actor for Flood {
    type Message = ();

    async fn receive(&mut self, ctx: &mut ActorContext<()>, (): ()) -> Handled {
        self.turns.fetch_add(1, Ordering::Relaxed);
        if self.left > 0 {
            self.left -= 1;
            ctx.this().tell(());
        }
        Ok(Behavior::Same)
    }
}

/// Notes how many turns the flood had taken when this one's came.
struct Waits {
    turns: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
}

impl Actor for Waits {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        self.seen.fetch_max(self.turns.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(Behavior::Same)
    }
}

#[test]
fn an_actor_that_floods_itself_lets_a_thousand_others_run_after_its_share() {
    let kit = TestKit::new();
    let (turns, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let flood = kit.spawn("flood", Flood { left: 100_000, turns: turns.clone() });
    let others: Vec<_> =
        (0..1_000).map(|_| kit.system().spawn_anonymous(Waits { turns: turns.clone(), seen: seen.clone() })).collect();
    kit.settle();

    flood.tell(());
    others.iter().for_each(|other| other.tell(()));
    kit.settle();

    assert_eq!(turns.load(Ordering::Relaxed), 100_001);
    let waited = seen.load(Ordering::Relaxed);
    assert!((1..=SHARE).contains(&waited), "the last of the others came after {waited} turns of the flood");
}

#[test]
fn two_that_flood_each_other_share_with_the_rest() {
    let kit = TestKit::new();
    let (turns, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let floods: Vec<_> =
        (0..2).map(|_| kit.system().spawn_anonymous(Flood { left: 50_000, turns: turns.clone() })).collect();
    let other = kit.system().spawn_anonymous(Waits { turns: turns.clone(), seen: seen.clone() });
    kit.settle();

    floods.iter().for_each(|flood| flood.tell(()));
    other.tell(());
    kit.settle();

    let waited = seen.load(Ordering::Relaxed);
    assert!((1..=2 * SHARE).contains(&waited), "the other came after {waited} turns of the floods");
}
