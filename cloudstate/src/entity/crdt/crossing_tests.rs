//! Messages that cross: whatever clients, the function and other nodes do while messages are on their way, every command
//! is answered once and the function ends up with what is replicated, for values whose changes do not commute too.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::crdt_state_action::Action as StateAction;
use proto::cloudstate::crdt::crdt_stream_in::Message as In;
use proto::cloudstate::crdt::crdt_stream_out::Message as Out;
use proto::cloudstate::crdt::{
    CrdtDelta, CrdtReply, CrdtStateAction, CrdtStreamCancelledResponse, CrdtStreamedMessage, LwwRegisterDelta,
    OrSetDelta, PnCounterDelta,
};

use super::state::{Ended, Written};
use super::state_tests::{HERE, SECOND, World};
use super::{Value, Voters};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Set,
    Register,
}

#[derive(Clone, Debug)]
enum Step {
    Command,
    Streamed,
    ClientLeaves(usize),
    Elsewhere(u8),
    /// The function takes a message.
    Takes,
    Replies {
        which: usize,
        change: Option<u8>,
        streamed: bool,
    },
    AnswersCancel {
        which: usize,
        change: Option<u8>,
    },
    EndsStream(usize),
    /// What the function said arrives.
    Arrives,
    Slow(bool),
    Confirm,
    Activated,
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let change = || prop::option::of(any::<u8>());
    prop_oneof![
        3 => Just(Step::Command),
        3 => Just(Step::Streamed),
        2 => any::<usize>().prop_map(Step::ClientLeaves),
        4 => any::<u8>().prop_map(Step::Elsewhere),
        8 => Just(Step::Takes),
        5 => (any::<usize>(), change(), any::<bool>())
            .prop_map(|(which, change, streamed)| Step::Replies { which, change, streamed }),
        3 => (any::<usize>(), change()).prop_map(|(which, change)| Step::AnswersCancel { which, change }),
        1 => any::<usize>().prop_map(Step::EndsStream),
        8 => Just(Step::Arrives),
        1 => any::<bool>().prop_map(Step::Slow),
        3 => Just(Step::Confirm),
        4 => Just(Step::Activated),
        3 => prop_oneof![Just(3), Just(11), Just(30)].prop_map(Step::Wait),
    ]
}

/// A function that does what the protocol says.
#[derive(Default)]
struct Function {
    held: Option<Value>,
    /// Commands without a reply, and whether they are streamed.
    owed: Vec<(i64, bool)>,
    streams: Vec<i64>,
    cancels: Vec<i64>,
    said: VecDeque<Out>,
}

struct Story {
    world: World,
    function: Function,
    kind: Kind,
    asked: usize,
    answered: usize,
    activating: bool,
    /// Commands given to the function so far, and which of them are streamed.
    given: i64,
    streamed: Vec<i64>,
}

fn voters() -> Voters {
    Voters { own: HERE, members: Arc::new(BTreeSet::from([HERE])) }
}

impl Story {
    fn delta(&self, seed: u8) -> CrdtDelta {
        let element = |seed: u8| Any { type_url: String::new(), value: vec![seed % 4].into() };
        let delta = match self.kind {
            Kind::Counter => Delta::Pncounter(PnCounterDelta { change: i64::from(seed) - 100 }),
            Kind::Set => Delta::Orset(OrSetDelta {
                cleared: seed.is_multiple_of(16),
                removed: vec![element(seed / 4)],
                added: if seed.is_multiple_of(2) { vec![element(seed / 8)] } else { Vec::new() },
            }),
            Kind::Register => {
                Delta::Lwwregister(LwwRegisterDelta { value: Some(element(seed)), ..LwwRegisterDelta::default() })
            }
        };
        CrdtDelta { delta: Some(delta) }
    }

    fn changes(&mut self, seed: Option<u8>) -> Option<CrdtStateAction> {
        let delta = self.delta(seed?);
        self.function.held = Some(Value::after(self.function.held.as_ref(), &delta, &voters()).expect("fits"));
        Some(CrdtStateAction { write_consistency: 0, action: Some(StateAction::Update(delta)) })
    }

    fn takes(&mut self) -> bool {
        let Some(message) = self.world.sent.pop_front() else { return false };
        match message {
            Some(In::Init(init)) => {
                let held = init.delta.map(|delta| Value::after(None, &delta, &voters()).expect("fits"));
                self.function = Function { held, ..Function::default() };
            }
            Some(In::Delta(delta)) => {
                let held = Value::after(self.function.held.as_ref(), &delta, &voters());
                self.function.held = Some(held.expect("fits"));
            }
            Some(In::Command(command)) => self.function.owed.push((command.id, command.streamed)),
            Some(In::StreamCancelled(cancelled)) => {
                assert!(!self.function.cancels.contains(&cancelled.id), "cancelled once");
                // A call that the function has ended is over.
                if self.function.owed.iter().any(|(id, _)| *id == cancelled.id)
                    || self.function.streams.contains(&cancelled.id)
                {
                    self.function.cancels.push(cancelled.id);
                }
                self.function.streams.retain(|id| *id != cancelled.id);
            }
            Some(In::Delete(_)) => unreachable!("nothing is deleted"),
            None => {
                while self.arrives() {}
                self.function = Function::default();
                self.world.ended(Ended::Completed);
            }
        }
        true
    }

    fn replies(&mut self, which: usize, change: Option<u8>, streamed: bool) {
        if self.function.owed.is_empty() {
            return;
        }
        let (id, may_stream) = self.function.owed.remove(which % self.function.owed.len());
        let streamed = streamed && may_stream;
        let state_action = self.changes(change);
        let cancelled = self.function.cancels.contains(&id);
        if streamed && !cancelled {
            self.function.streams.push(id);
        } else if !streamed {
            self.function.cancels.retain(|cancel| *cancel != id);
        }
        let reply = CrdtReply { command_id: id, streamed, state_action, ..CrdtReply::default() };
        self.function.said.push_back(Out::Reply(reply));
    }

    fn answers_cancel(&mut self, which: usize, change: Option<u8>) {
        // One whose command has no reply yet is answered after it.
        let owed = |id: &i64| self.function.owed.iter().any(|(owed, _)| owed == id);
        let free: Vec<i64> = self.function.cancels.iter().copied().filter(|id| !owed(id)).collect();
        if free.is_empty() {
            return;
        }
        let id = free[which % free.len()];
        self.function.cancels.retain(|cancel| *cancel != id);
        let state_action = self.changes(change);
        let response = CrdtStreamCancelledResponse { command_id: id, state_action, ..Default::default() };
        self.function.said.push_back(Out::StreamCancelledResponse(response));
    }

    fn ends_stream(&mut self, which: usize) {
        if self.function.streams.is_empty() {
            return;
        }
        let id = self.function.streams.remove(which % self.function.streams.len());
        let message = CrdtStreamedMessage { command_id: id, end_stream: true, ..CrdtStreamedMessage::default() };
        self.function.said.push_back(Out::StreamedMessage(message));
    }

    fn arrives(&mut self) -> bool {
        let Some(message) = self.function.said.pop_front() else { return false };
        self.world.message(message);
        true
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Command => {
                self.asked += 1;
                self.world.command();
            }
            Step::Streamed => {
                self.asked += 1;
                self.world.streamed();
            }
            Step::ClientLeaves(which) => {
                if !self.streamed.is_empty() {
                    let id = self.streamed.remove(which % self.streamed.len());
                    self.world.gone(id);
                }
            }
            Step::Elsewhere(seed) => {
                let delta = self.delta(seed);
                self.world.elsewhere(&delta);
            }
            Step::Takes => drop(self.takes()),
            Step::Replies { which, change, streamed } => self.replies(which, change, streamed),
            Step::AnswersCancel { which, change } => self.answers_cancel(which, change),
            Step::EndsStream(which) => self.ends_stream(which),
            Step::Arrives => drop(self.arrives()),
            Step::Slow(slow) => self.world.slow = slow,
            Step::Confirm => {
                if !self.world.writes.is_empty() {
                    self.world.confirm(Written::Done);
                }
            }
            Step::Activated => {
                if std::mem::take(&mut self.activating) {
                    self.world.activated();
                }
            }
            Step::Wait(tenths) => self.world.wait(u32::from(tenths) * Duration::from_millis(100)),
        }
        for word in self.world.told() {
            match word.split_once(' ').map_or(word.as_str(), |(first, _)| first) {
                "answer" | "fail:" | "route" => self.answered += 1,
                "activate" => self.activating = true,
                "command" => self.given += 1,
                "streamed" => {
                    self.given += 1;
                    self.streamed.push(self.given);
                }
                // What was under way on the old stream is lost with it.
                "reset" => self.function = Function::default(),
                _ => {}
            }
        }
    }

    /// Lets everybody finish what he has begun.
    fn finish(&mut self) {
        self.step(Step::Slow(false));
        for _ in 0..40 {
            for step in [
                Step::Activated,
                Step::Takes,
                Step::Replies { which: 0, change: None, streamed: false },
                Step::AnswersCancel { which: 0, change: None },
                Step::Arrives,
                Step::Confirm,
            ] {
                self.step(step);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_function_ends_up_with_what_is_replicated(
        kind in prop_oneof![Just(Kind::Counter), Just(Kind::Set), Just(Kind::Register)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (world, function) = (World::new(), Function::default());
        let (given, streamed) = (0, Vec::new());
        let mut story =
            Story { world, function, kind, asked: 0, answered: 0, activating: false, given, streamed };
        for step in steps {
            story.step(step);
        }
        story.finish();
        // Cancellations that the function has not answered hold nothing back for longer than this.
        story.step(Step::Command);
        story.finish();
        story.world.wait(2 * SECOND);
        story.finish();
        prop_assert_eq!(story.answered, story.asked, "every command is answered once");
        let replicated = story.world.value.as_ref().map(|value| Value::of(value, &voters()));
        prop_assert_eq!(&story.function.held, &replicated);
    }
}
