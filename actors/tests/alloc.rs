//! What the verbs allocate: counted, not measured.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, PoolRouter, Props, ReplyTo, RoutingLogic};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and passes on")]
// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        hold(layout.size() as i64);
        // SAFETY: the caller's promises are those the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn hold(bytes: i64) {
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during `work`. The test kit runs everything on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// By how many bytes more this thread holds after `work`.
pub(crate) fn bytes_kept(work: impl FnOnce()) -> i64 {
    let before = HELD.get();
    work();
    HELD.get() - before
}

struct Adder {
    sum: u64,
    other: Option<ActorRef<AdderMessage>>,
}

enum AdderMessage {
    Add(u64),
    Sum(ReplyTo<u64>),
    AskOther(u32),
    Answer(u32, u64),
}

const WITHIN: Duration = Duration::from_secs(1);

impl Actor for Adder {
    type Message = AdderMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<AdderMessage>, message: AdderMessage) -> Handled {
        match message {
            AdderMessage::Add(number) => self.sum += number,
            AdderMessage::Sum(reply_to) => reply_to.tell(self.sum),
            AdderMessage::AskOther(left) => {
                let other = self.other.as_ref().unwrap();
                ctx.ask(other, AdderMessage::Sum, WITHIN, move |sum| AdderMessage::Answer(left, sum.unwrap()));
            }
            AdderMessage::Answer(0, sum) => self.sum = sum,
            AdderMessage::Answer(left, _) => {
                let other = self.other.as_ref().unwrap();
                ctx.ask(other, AdderMessage::Sum, WITHIN, move |sum| AdderMessage::Answer(left - 1, sum.unwrap()));
            }
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn a_tell_allocates_nothing() {
    let kit = TestKit::new();
    let adder = kit.spawn("adder", Adder { sum: 0, other: None });
    let round = || {
        for number in 0..10_000 {
            adder.tell(AdderMessage::Add(number));
        }
        kit.settle();
    };
    round();
    let counted = allocations(round);
    assert!(counted <= 170, "{counted} allocations for 10,000 messages: a block for 64, nothing else");
}

#[test]
fn an_ask_takes_the_slot_of_the_one_before() {
    let kit = TestKit::new();
    let adder = kit.spawn("adder", Adder { sum: 0, other: None });
    let round = || {
        kit.block_on(async {
            for _ in 0..1_000 {
                adder.ask(AdderMessage::Sum, WITHIN).await.unwrap();
            }
        });
    };
    round();
    let counted = allocations(round);
    assert!(counted <= 20, "{counted} allocations for 1,000 asks");
}

/// The deadline goes along as it does with any other question.
#[test]
fn an_ask_through_a_mapped_reference_takes_the_slot_of_the_one_before() {
    let kit = TestKit::new();
    let sums = kit.spawn("adder", Adder { sum: 0, other: None }).map(AdderMessage::Sum);
    let round = || {
        kit.block_on(async {
            for _ in 0..1_000 {
                sums.ask(|reply_to| reply_to, WITHIN).await.unwrap();
            }
        });
    };
    round();
    let counted = allocations(round);
    assert!(counted <= 20, "{counted} allocations for 1,000 asks");
}

#[test]
fn an_ask_from_inside_allocates_its_slot_and_little_else() {
    let kit = TestKit::new();
    let other = kit.spawn("other", Adder { sum: 0, other: None });
    let adder = kit.spawn("adder", Adder { sum: 0, other: Some(other) });
    let round = || {
        adder.tell(AdderMessage::AskOther(999));
        kit.settle();
    };
    round();
    let counted = allocations(round);
    assert!(counted <= 2_100, "{counted} allocations for 1,000 asks");
}

#[test]
fn a_tell_through_a_router_allocates_nothing() {
    let logics = [
        RoutingLogic::round_robin(),
        RoutingLogic::random(),
        RoutingLogic::smallest_mailbox(),
        RoutingLogic::consistent_hashing(|message| if let AdderMessage::Add(number) = message { *number } else { 0 }),
    ];
    for logic in logics {
        let text = format!("{logic:?}");
        let kit = TestKit::new();
        let adders = PoolRouter::new(4, || Props::new(|| Adder { sum: 0, other: None })).logic(logic);
        let adders = kit.system().spawn_pool("adders", adders);
        kit.settle();
        let round = || {
            for number in 0..10_000 {
                adders.tell(AdderMessage::Add(number));
            }
            kit.settle();
        };
        round();
        let counted = allocations(round);
        assert!(counted <= 4 * 40, "{text}: {counted} allocations for 10,000 messages to four");
    }
}

#[test]
fn a_spawn_makes_one_allocation() {
    let kit = TestKit::new();
    let nursery = kit.spawn("nursery", Nursery { children: Vec::with_capacity(2_000) });
    let round = || {
        nursery.tell(NurseryMessage::Raise(1_000));
        kit.settle();
    };
    round();
    nursery.tell(NurseryMessage::Forget);
    kit.settle();
    let counted = allocations(round);
    assert!(counted <= 1_040, "{counted} allocations for 1,000 actors: one for each, and a table");
}

/// Has children.
struct Nursery {
    children: Vec<ActorRef<AdderMessage>>,
}

enum NurseryMessage {
    Raise(u32),
    Forget,
    Tick,
    Ticks(u32),
}

impl Actor for Nursery {
    type Message = NurseryMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<NurseryMessage>, message: NurseryMessage) -> Handled {
        match message {
            NurseryMessage::Raise(count) => {
                for _ in 0..count {
                    let child = ctx.spawn_anonymous(Adder { sum: 0, other: None });
                    self.children.push(child);
                }
            }
            NurseryMessage::Forget => self.children.clear(),
            NurseryMessage::Tick => {}
            NurseryMessage::Ticks(0) => ctx.timers().cancel("next"),
            NurseryMessage::Ticks(left) => {
                ctx.timers().start_single("next", Duration::from_millis(1), NurseryMessage::Ticks(left - 1));
                ctx.timers().start_single("other", WITHIN, NurseryMessage::Tick);
            }
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn a_timer_makes_one_allocation_at_most() {
    let kit = TestKit::new();
    let nursery = kit.spawn("nursery", Nursery { children: Vec::new() });
    let round = |count| {
        nursery.tell(NurseryMessage::Ticks(count));
        kit.advance(Duration::from_millis(count.into()));
    };
    round(100);
    let few = allocations(|| round(100));
    let many = allocations(|| round(1_100));
    let counted = many - few;
    assert!(counted <= 2_000, "{counted} allocations for 2,000 timers that were started, replaced and delivered");
}
