//! Actors that were just made: the last one runs first, and yet nobody waits for good.

use super::*;

pub(super) fn begin(scheduler: &Scheduler, counter: &Arc<Counter>) {
    assert!(counter.told(), "it was not told before");
    scheduler.begin(hint(counter));
}

/// A node that begins ten more, down to the leaves; `waiting` counts those that have not run, and their peak.
struct Tree {
    scheduler: Scheduler,
    waiting: AtomicUsize,
    peak: AtomicUsize,
    leaves: AtomicUsize,
}

impl Tree {
    fn grow(self: &Arc<Self>, levels: u32) {
        let waiting = self.waiting.fetch_add(1, SeqCst) + 1;
        self.peak.fetch_max(waiting, SeqCst);
        let tree = self.clone();
        let node = Counter::new(1, move |_, _| {
            tree.waiting.fetch_sub(1, SeqCst);
            match levels {
                0 => _ = tree.leaves.fetch_add(1, SeqCst),
                _ => (0..10).for_each(|_| tree.grow(levels - 1)),
            }
        });
        begin(&self.scheduler, &node);
    }
}

#[test]
fn a_tree_grows_branch_by_branch() {
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let (waiting, peak, leaves) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let tree = Arc::new(Tree { scheduler: scheduler.clone(), waiting, peak, leaves });
    let root = {
        let tree = tree.clone();
        Counter::new(2, move |_, _| tree.grow(4))
    };
    tell(&scheduler, &root);
    runtime.block_on(async {
        while tree.leaves.load(SeqCst) < 10_000 {
            tokio::task::yield_now().await;
        }
    });
    // A few from each level, and what slices add that begin with the one that waits for longest; level by level it is 10,000.
    let peak = tree.peak.load(SeqCst);
    assert!(peak < 9_000, "{peak} of 10,000 leaves waited at once");
}

/// Always has something to do: runs `work` and goes on, as long as that says so.
fn restless(work: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Counter> {
    Arc::new_cyclic(|this: &Weak<Counter>| {
        let this = this.clone();
        let more = move |_: &Hint, _| {
            if work() {
                this.upgrade().expect("it runs").told();
            }
        };
        Counter {
            uid: 2_000,
            state: AtomicU8::new(IDLE),
            told: AtomicU64::new(0),
            done: AtomicU64::new(0),
            work: Box::new(more),
        }
    })
}

async fn until_idle(counter: &Counter) {
    while counter.state.load(SeqCst) != IDLE || counter.done() == 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn those_just_made_and_those_woken_take_turns() {
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let (left, young) = counting_down(1_000);
    let woken = restless(move || left.load(SeqCst) > 0);
    let begins = {
        let (scheduler, woken) = (scheduler.clone(), woken.clone());
        Counter::new(2_001, move |_, _| {
            tell(&scheduler, &woken);
            young.iter().for_each(|young| begin(&scheduler, young));
        })
    };
    tell(&scheduler, &begins);
    runtime.block_on(until_idle(&woken));
    // After each of its runs come 128 of them, and those that slices begin with.
    let runs = woken.done();
    assert!((3..20).contains(&runs), "it ran {runs} times before 1,000 that were just made");
}

#[test]
fn one_that_makes_others_without_end_lets_them_run_before_it_goes_on() {
    const EACH: usize = 128;
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let (waiting, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let rounds = AtomicUsize::new(0);
    let makes = {
        let (scheduler, peak) = (scheduler.clone(), peak.clone());
        restless(move || {
            for _ in 0..EACH {
                peak.fetch_max(waiting.fetch_add(1, SeqCst) + 1, SeqCst);
                let waiting = waiting.clone();
                begin(&scheduler, &Counter::new(1, move |_, _| _ = waiting.fetch_sub(1, SeqCst)));
            }
            rounds.fetch_add(1, SeqCst) < 100
        })
    };
    tell(&scheduler, &makes);
    runtime.block_on(until_idle(&makes));
    let peak = peak.load(SeqCst);
    assert!(peak <= 2 * EACH, "{peak} waited at once");
}

/// Each makes the next one, until nobody wants that any more.
fn chain(scheduler: &Scheduler, go_on: &Arc<dyn Fn() -> bool + Send + Sync>) {
    if go_on() {
        let next = {
            let (scheduler, go_on) = (scheduler.clone(), go_on.clone());
            Counter::new(5, move |_, _| chain(&scheduler, &go_on))
        };
        begin(scheduler, &next);
    }
}

#[test]
fn a_chain_of_them_holds_up_neither_the_oldest_nor_those_that_were_woken() {
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let oldest = Counter::new(1, |_, _| {});
    let links = Arc::new(AtomicUsize::new(0));
    // How long the chain was when it ran.
    let woken_at = Arc::new(AtomicUsize::new(0));
    let woken = {
        let (links, woken_at) = (links.clone(), woken_at.clone());
        Counter::new(2, move |_, _| woken_at.store(links.load(SeqCst), SeqCst))
    };
    let begins = {
        let (scheduler, oldest, woken) = (scheduler.clone(), oldest.clone(), woken.clone());
        let go_on: Arc<dyn Fn() -> bool + Send + Sync> = {
            let (oldest, woken) = (oldest.clone(), woken.clone());
            Arc::new(move || links.fetch_add(1, SeqCst) < 10 || oldest.done() == 0 || woken.done() == 0)
        };
        Counter::new(3, move |_, _| {
            begin(&scheduler, &oldest);
            chain(&scheduler, &go_on);
            // To the back of the deque: the next one takes its place in the slot.
            tell(&scheduler, &woken);
            tell(&scheduler, &Counter::new(4, |_, _| {}));
        })
    };
    tell(&scheduler, &begins);
    runtime.block_on(async {
        for _ in 0..2_000 {
            if oldest.done() == 1 && woken.done() == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never so: {} and {}", oldest.done(), woken.done());
    });
    let woken_at = woken_at.load(SeqCst);
    assert!(woken_at <= 200, "{woken_at} links of the chain came before one that was woken");
}

#[test]
fn those_left_when_the_scheduler_stops_are_let_go_of() {
    let runtime = threads(1);
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let young: Vec<_> = (2..=11).map(|uid| Counter::new(uid, |_, _| {})).collect();
    let late = Counter::new(12, |_, _| {});
    let begins = {
        let (scheduler, young, late) = (scheduler.clone(), young.clone(), late.clone());
        Counter::new(1, move |_, _| {
            young.iter().for_each(|young| begin(&scheduler, young));
            scheduler.stop();
            begin(&scheduler, &late);
        })
    };
    tell(&scheduler, &begins);
    until(|| begins.done() == 1);
    drop(begins);
    until(|| young.iter().chain([&late]).all(|young| Arc::strong_count(young) == 1));
    assert!(young.iter().all(|young| young.done() == 0));
}

#[test]
fn one_beside_an_actor_that_is_told_next_is_taken_by_others() {
    let runtime = threads(2);
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    until(|| scheduler.0.0.sleepers().asleep() == 0b11);
    let young = Counter::new(2, |_, _| {});
    let waits = {
        let young = young.clone();
        Counter::new(3, move |_, _| tokio::task::block_in_place(|| until(|| young.done() == 1)))
    };
    let both = {
        let (scheduler, waits) = (scheduler.clone(), waits.clone());
        Counter::new(1, move |_, _| {
            begin(&scheduler, &young);
            tell(&scheduler, &waits);
        })
    };
    tell(&scheduler, &both);
    until(|| waits.done() == 1);
}
