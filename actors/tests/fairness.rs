//! How long others wait for an actor that always has something to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorSystem, Behavior, Clock, Handled, ReplyTo};
use tokio::runtime::Builder;

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

/// Answers after a while of work.
struct Works(Duration);

impl Actor for Works {
    type Message = ReplyTo<()>;

    async fn receive(&mut self, _ctx: &mut ActorContext<ReplyTo<()>>, reply_to: ReplyTo<()>) -> Handled {
        let clock = Clock::tokio();
        let until = clock.now() + self.0;
        while clock.now() < until {
            std::hint::spin_loop();
        }
        reply_to.tell(());
        Ok(Behavior::Same)
    }
}

/// Whoever is asked by a task may be run by it: what that takes is time of the task's.
#[test]
fn a_task_that_asks_in_a_loop_lets_other_tasks_run_though_each_answer_takes_long() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let longest = runtime.block_on(async {
        let system = ActorSystem::new("sharing");
        let works = system.spawn_anonymous(Works(Duration::from_micros(100)));
        let (asked, longest) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let other = {
            let (asked, longest) = (asked.clone(), longest.clone());
            tokio::spawn(async move {
                let mut last = 0;
                loop {
                    let now = asked.load(Ordering::Relaxed);
                    longest.fetch_max(now - last, Ordering::Relaxed);
                    last = now;
                    tokio::task::yield_now().await;
                }
            })
        };
        for _ in 0..500 {
            works.ask(|reply_to| reply_to, Duration::from_secs(60)).await.unwrap();
            asked.fetch_add(1, Ordering::Relaxed);
        }
        other.abort();
        system.terminate().await;
        longest.load(Ordering::Relaxed)
    });
    assert!((1..=16).contains(&longest), "{longest} answers in a row");
}

/// Tells itself one message after the other, and has tasks that block their thread until it has come further, one at a time.
struct Blocked {
    left: u64,
    turns: Arc<AtomicU64>,
    blocks: Arc<AtomicBool>,
}

impl Actor for Blocked {
    type Message = ();

    async fn receive(&mut self, ctx: &mut ActorContext<()>, (): ()) -> Handled {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        if !self.blocks.load(Ordering::Relaxed) {
            if self.left == 0 {
                return Ok(Behavior::Stopped);
            }
            self.left -= 1;
            self.blocks.store(true, Ordering::Relaxed);
            let (turns, blocks) = (self.turns.clone(), self.blocks.clone());
            tokio::spawn(async move {
                while turns.load(Ordering::Relaxed) < turn + 5_000 {
                    std::hint::spin_loop();
                }
                blocks.store(false, Ordering::Relaxed);
            });
        }
        ctx.this().tell(());
        Ok(Behavior::Same)
    }
}

/// Tokio wakes a carrier that is put off when its thread has nothing else to do; so while a task blocks that thread somebody
/// else has to.
#[test]
fn a_task_that_blocks_its_thread_until_an_actor_has_come_further_does_not_wait_for_good() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let system = ActorSystem::new("test");
        let blocked = system.spawn("blocked", Blocked { left: 100, turns: Arc::default(), blocks: Arc::default() });
        blocked.tell(());
        blocked.terminated().await;
        system.terminate().await;
    });
}
