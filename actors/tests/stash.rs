//! Messages held back.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, AskError, Behavior, BoxError, DeadLetterReason, Handled, Props, ReplyTo,
    StashBuffer, SupervisorStrategy,
};

/// Holds numbers back until it is opened.
struct Gate {
    open: bool,
    stash: StashBuffer<GateMessage>,
    told: ActorRef<u32>,
}

enum GateMessage {
    Number(u32),
    Ask(ReplyTo<u32>),
    Open,
    FailOnce,
}
use GateMessage::{Ask, FailOnce, Number, Open};

impl Actor for Gate {
    type Message = GateMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<GateMessage>, message: GateMessage) -> Handled {
        match message {
            Open => {
                self.open = true;
                ctx.unstash_all(&mut self.stash);
            }
            early if !self.open => self.stash.stash(early)?,
            Number(number) => self.told.tell(number),
            Ask(reply_to) => reply_to.tell(1),
            FailOnce => return Err(BoxError::from("told to")),
        }
        Ok(Behavior::Same)
    }
}

fn gate(kit: &TestKit, told: ActorRef<u32>, open_later: bool, capacity: usize) -> ActorRef<GateMessage> {
    let mut open = false;
    let props = Props::new(move || {
        let gate = Gate { open, stash: StashBuffer::with_capacity(capacity), told: told.clone() };
        open = open_later;
        gate
    });
    kit.spawn("gate", props.supervise(SupervisorStrategy::restart()))
}

#[test]
fn stashed_messages_come_in_order_and_before_newer_ones() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let gate = gate(&kit, probe.actor_ref(), false, 10);
    for number in 1..=3 {
        gate.tell(Number(number));
    }
    gate.tell(Open);
    gate.tell(Number(4));
    assert_eq!(probe.drain(), [1, 2, 3, 4]);
}

#[test]
fn a_hundred_thousand_stashed_messages_need_no_stack() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let gate = gate(&kit, probe.actor_ref(), false, 100_000);
    for batch in 0..10 {
        for number in 0..10_000 {
            gate.tell(Number(batch * 10_000 + number));
        }
        kit.settle();
    }
    gate.tell(Open);
    assert_eq!(probe.drain(), (0..100_000).collect::<Vec<_>>());
}

#[test]
fn a_failure_in_between_leaves_the_rest_to_the_next_life() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let gate = gate(&kit, probe.actor_ref(), true, 10);
    gate.tell(Number(1));
    gate.tell(FailOnce);
    gate.tell(Number(2));
    gate.tell(Open);
    gate.tell(Number(3));
    assert_eq!(probe.drain(), [1, 2, 3]);
}

/// Holds even numbers back twice.
struct Twice {
    stash: StashBuffer<u32>,
    rounds: u32,
    told: ActorRef<u32>,
}

impl Actor for Twice {
    type Message = u32;

    async fn receive(&mut self, ctx: &mut ActorContext<u32>, number: u32) -> Handled {
        match number {
            0 => {
                self.rounds += 1;
                ctx.unstash_all(&mut self.stash);
            }
            even if even % 2 == 0 && self.rounds < 2 => self.stash.stash(even)?,
            number => self.told.tell(number),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn what_is_stashed_while_unstashing_waits_for_the_next_call() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let told = probe.actor_ref();
    let twice = kit.spawn("twice", Twice { stash: StashBuffer::with_capacity(9), rounds: 0, told });
    for number in [2, 4, 0, 5, 0, 6] {
        twice.tell(number);
    }
    assert_eq!(probe.drain(), [5, 2, 4, 6]);
}

#[test]
fn a_full_stash_is_a_failure_that_says_so_and_the_asker_learns_at_once() {
    let kit = TestKit::new();
    let probe = kit.probe();
    let gate = gate(&kit, probe.actor_ref(), false, 1);
    let within = Duration::from_secs(5);
    let (held, refused) = (gate.ask(Ask, within), gate.ask(Ask, within));
    let before = kit.clock().now();
    assert_eq!(kit.block_on(refused), Err(AskError::NoReply));
    assert_eq!(kit.block_on(held), Err(AskError::NoReply), "it went with the life that held it");
    assert_eq!(kit.clock().now(), before);
    let events = kit.system().event_stream();
    assert_eq!(events.dead_letters(DeadLetterReason::StashFull), 1);
    assert_eq!(events.dead_letters(DeadLetterReason::StashDropped), 1);
    assert_eq!(
        StashBuffer::<u32>::with_capacity(0).stash(1).unwrap_err().to_string(),
        "stash is full (0 messages); raise its capacity or answer early messages with an error"
    );
}
