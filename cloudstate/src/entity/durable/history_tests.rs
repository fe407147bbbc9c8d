//! Random histories of one entity: commands, with keys and without, sent once and again, refusals, restarts, passivations, a function that crashes and
//! a store that fails, in any order, against a model (reliability: acknowledged is kept, refused is not
//! there, order holds).
//!
//! The state machine is the real one; function, store and region around it are played. Every choice is
//! drawn from a list of numbers, so that a failing history shrinks and can be run again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actors::{ReplyTo, Tick};
use bytes::Bytes;
use persistence::{Answered, CommandId, CommandWindow};
use proptest::prelude::*;
use proto::Any;
use proto::cloudstate::{ClientAction, Failure, Reply, client_action};

use super::protocol::{Change, Protocol};
use super::state::{ActivationError, Effect, Limits, State, WriteError};
use super::state_tests::{method, now};
use crate::call::CallError;
use crate::entity::event_sourced::EventSourced;
use crate::entity::value::{ValueChange, ValueEntity};
use crate::entity::{Answer, EntityCommand};
use crate::router::Caller;

/// A kind of entity whose state is a list of the commands that changed it.
trait Kind: Protocol + std::fmt::Debug {
    /// A reply that stores that the last command in `state` came after the others, when `changes`; with a snapshot, if
    /// this kind has any.
    fn reply(id: i64, action: ClientAction, state: &[u32], changes: bool, snapshot: bool) -> Self::Out;
    /// The function gives the stream up.
    fn failure() -> Self::Out;
    /// Not a message.
    fn empty() -> Self::Out;
    /// What the stored list is after a change.
    fn apply(stored: &[u32], change: &Self::Change) -> Vec<u32>;
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    /// Acknowledged, with the state that the function saw.
    Acknowledged(Vec<u32>),
    /// Certainly without effect.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A write under way.
struct UnderWay<C> {
    ticket: u64,
    change: C,
    after: u64,
    answered: Option<Answered>,
    window: Vec<Answered>,
}

/// The function's side of an open stream.
struct Function {
    state: Vec<u32>,
    /// The command it works on: id and number.
    works_on: Option<(i64, u32)>,
}

struct World<K: Kind> {
    entity: State<K>,
    now: Tick,
    /// What is durable, and the entity's position in the store.
    stored: Vec<u32>,
    position: u64,
    /// Commands with a key, and the position after what they stored.
    answered: Vec<(u64, Answered)>,
    snapshot: Option<(u64, Vec<Answered>)>,
    writes: VecDeque<UnderWay<K::Change>>,
    function: Option<Function>,
    /// An activation is under way.
    opening: bool,
    /// We have half-closed and the function has not ended its side.
    closing: bool,
    /// Asked to be passivated; commands are held while a stop is under way.
    held: Option<VecDeque<Box<EntityCommand>>>,
    stopped: bool,
    /// The commands that were sent, by number: the last one with its key, the times it was sent.
    sent: Vec<(bool, Vec<u32>)>,
    calls: u32,
    /// By call.
    outcomes: BTreeMap<u32, Outcome>,
    callers: Vec<actors::Ask<Answer>>,
    lives: u32,
}

fn number(command: &EntityCommand) -> u32 {
    u32::from_be_bytes(command.payload[..].try_into().expect("four bytes"))
}

/// Which call it is: the tests' commands carry that in their type.
fn call_of(command: &EntityCommand) -> u32 {
    command.type_url.parse().expect("a number")
}

fn listed(state: &[u32]) -> Bytes {
    state.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>().into()
}

fn list(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|number| u32::from_be_bytes(number.try_into().expect("four bytes"))).collect()
}

fn replied(state: &[u32]) -> ClientAction {
    let payload = Any { type_url: "state".to_owned(), value: listed(state) };
    let reply = Reply { payload: Some(payload), metadata: None };
    ClientAction { action: Some(client_action::Action::Reply(reply)) }
}

fn failed(restart: bool) -> ClientAction {
    let failure = Failure { command_id: 0, description: "refused".to_owned(), restart };
    ClientAction { action: Some(client_action::Action::Failure(failure)) }
}

impl<K: Kind> World<K> {
    fn new(unsettled_max: usize) -> Self {
        Self {
            entity: State::new(Arc::from("ada"), limits(unsettled_max)),
            now: now(),
            stored: Vec::new(),
            position: 0,
            answered: Vec::new(),
            snapshot: None,
            writes: VecDeque::new(),
            function: None,
            opening: false,
            closing: false,
            held: None,
            stopped: false,
            sent: Vec::new(),
            calls: 0,
            outcomes: BTreeMap::new(),
            callers: Vec::new(),
            lives: 0,
        }
    }

    /// One step, of a kind and with details that `choice` says.
    fn step(&mut self, choice: u16) {
        self.now = self.now + Duration::from_millis(1);
        let (kind, detail) = (choice % 16, choice / 16);
        match kind {
            0..=3 => self.call(detail),
            4..=9 => self.function_answers(detail),
            10..=12 => self.write_ends(detail),
            13 => self.activation_ends(detail),
            14 => self.stream_closes(),
            _ => match detail % 4 {
                0 => self.idles(),
                1 => self.function_dies(),
                2 => self.times_out(),
                _ => self.now = self.now + Duration::from_millis(200),
            },
        }
    }

    fn call(&mut self, detail: u16) {
        self.calls += 1;
        let keyed: Vec<_> = (0..self.sent.len()).filter(|&at| self.sent[at].0).collect();
        // A third is sent again, as clients do that have no answer, or have one and are in doubt.
        let at = match detail % 3 {
            0 if !keyed.is_empty() => keyed[usize::from(detail / 3) % keyed.len()],
            kind => {
                self.sent.push((kind != 1, Vec::new()));
                self.sent.len() - 1
            }
        };
        self.sent[at].1.push(self.calls);
        let number = at as u32 + 1;
        let command_id = self.sent[at].0.then(|| CommandId::of(&format!("key {number}"), &[&number.to_be_bytes()]));
        let (reply_to, caller) = ReplyTo::channel();
        // Some callers have little patience, and some have gone already.
        let deadline = detail.is_multiple_of(8).then(|| self.now + Duration::from_millis(20));
        if detail % 32 == 1 {
            drop(caller);
            self.outcomes.insert(self.calls, Outcome::Unknown);
        } else {
            self.callers.push(caller);
        }
        let command = Box::new(EntityCommand {
            method: method(),
            type_url: self.calls.to_string().into(),
            payload: Bytes::copy_from_slice(&number.to_be_bytes()),
            command_id,
            deadline,
            received_at: self.now,
            caller: Caller::client(),
            reply_to,
            replies: None,
        });
        self.deliver(command);
    }

    /// As a region does.
    fn deliver(&mut self, command: Box<EntityCommand>) {
        if let Some(held) = &mut self.held {
            held.push_back(command);
            return;
        }
        if self.stopped {
            self.stopped = false;
            self.lives += 1;
            self.entity = State::new(Arc::from("ada"), limits(4));
        }
        let effects = self.entity.command(command, self.now);
        self.perform(effects);
    }

    fn function_answers(&mut self, detail: u16) {
        let Some(function) = &mut self.function else { return };
        let Some((id, number)) = function.works_on.take() else { return };
        let mut next = function.state.clone();
        next.push(number);
        let message = match detail % 16 {
            0 => K::reply(id, failed(false), &function.state, false, false),
            1 => K::reply(id, failed(true), &next, true, false),
            2 => K::reply(id + 7, replied(&function.state), &next, true, false),
            3 => K::failure(),
            4 => K::empty(),
            5..=7 => K::reply(id, replied(&function.state), &function.state, false, false),
            kind => {
                function.state = next.clone();
                K::reply(id, replied(&next), &next, true, kind == 9)
            }
        };
        let effects = self.entity.received(message, self.now);
        self.perform(effects);
    }

    fn write_ends(&mut self, detail: u16) {
        let Some(UnderWay { ticket, change, after, answered, window }) = self.writes.pop_front() else { return };
        let result = if after != self.position {
            Err(WriteError::NotOwner("conflict".to_owned()))
        } else {
            let store = |world: &mut Self| {
                world.stored = K::apply(&world.stored, &change);
                world.position += change.steps();
                let at = world.position;
                if K::WINDOW_IN_WRITES {
                    world.answered = window.into_iter().map(|answered| (at, answered)).collect();
                } else {
                    world.answered.extend(answered.map(|answered| (at, answered)));
                }
            };
            match detail % 12 {
                0 => Err(WriteError::NotStored("disk full".to_owned())),
                1 => Err(WriteError::Unknown("lost, not stored".to_owned())),
                2 => {
                    store(self);
                    Err(WriteError::Unknown("lost, stored".to_owned()))
                }
                _ => {
                    store(self);
                    Ok(())
                }
            }
        };
        let effects = self.entity.written(ticket, result, self.now);
        self.perform(effects);
    }

    fn activation_ends(&mut self, detail: u16) {
        if !self.opening {
            return;
        }
        self.opening = false;
        let effects = match detail % 8 {
            0 => self.entity.activation_failed(&ActivationError::Unreachable("gone".to_owned())),
            1 => self.entity.activation_failed(&ActivationError::Recovery("damaged".to_owned())),
            2 => self.entity.activation_failed(&ActivationError::Ended),
            _ => {
                self.function = Some(Function { state: self.stored.clone(), works_on: None });
                let mut window = CommandWindow::new(K::WINDOW);
                let (from, before) = self.snapshot.clone().unwrap_or_default();
                window.extend(before);
                let after = self.answered.iter().filter(|(at, _)| *at > from);
                window.extend(after.map(|(_, answered)| answered.clone()));
                self.entity.recovered(self.position, window, self.now)
            }
        };
        self.perform(effects);
    }

    fn stream_closes(&mut self) {
        if self.closing {
            self.closing = false;
            self.function = None;
            let effects = self.entity.closed(self.now);
            self.perform(effects);
        }
    }

    fn function_dies(&mut self) {
        if self.function.take().is_some() && !self.closing {
            let effects = self.entity.ended();
            self.perform(effects);
        }
    }

    fn times_out(&mut self) {
        if self.entity.in_progress().is_some() {
            let effects = self.entity.timed_out(Duration::from_secs(1));
            self.perform(effects);
        }
    }

    fn idles(&mut self) {
        let effects = self.entity.idle_timeout();
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect<K::Change>>) {
        for effect in effects {
            match effect {
                Effect::Activate => {
                    assert!(self.writes.is_empty(), "recovery overtakes a write");
                    assert!(!self.opening && !self.closing, "two streams at once");
                    self.function = None;
                    self.opening = true;
                }
                Effect::Send { id } => {
                    let number = number(self.entity.in_progress().expect("a command"));
                    if let Some(function) = &mut self.function {
                        assert!(!function.state.contains(&number), "the function gets command {number} again");
                        assert_eq!(function.works_on.replace((id, number)), None, "two commands at once");
                    }
                }
                Effect::Write { ticket, change, after, answered, window } => {
                    self.writes.push_back(UnderWay { ticket, change, after, answered, window });
                }
                Effect::Answer { command, answer } => self.answered(&command, answer),
                Effect::Route { command, action, .. } => {
                    let answer = match action {
                        Some(client_action::Action::Reply(reply)) => Ok(crate::router::to_reply(reply)),
                        Some(client_action::Action::Failure(failure)) => Err(CallError::Failure(failure.description)),
                        _ => Ok(None),
                    };
                    self.answered(&command, answer);
                }
                Effect::HalfClose => {
                    assert!(!self.closing, "closed twice");
                    self.opening = false;
                    self.closing = true;
                }
                Effect::RequestPassivation => {
                    if self.held.is_none() && !self.stopped {
                        self.held = Some(VecDeque::new());
                        let effects = self.entity.stop(self.now);
                        self.perform(effects);
                    }
                }
                Effect::Stop => {
                    assert!(self.writes.is_empty(), "stopped with a write under way");
                    self.stopped = true;
                    for command in self.held.take().into_iter().flatten() {
                        self.deliver(command);
                    }
                }
                Effect::SaveSnapshot { position, window, .. } => self.snapshot = Some((position, window)),
                Effect::Repeated | Effect::Report(_) => {}
            }
        }
    }

    fn answered(&mut self, command: &EntityCommand, answer: Answer) {
        let call = call_of(command);
        let outcome = match answer {
            Ok(reply) => {
                let seen = list(&reply.expect("a payload").payload);
                assert_eq!(self.stored.get(..seen.len()), Some(&seen[..]), "a reply shows what is not durable");
                Outcome::Acknowledged(seen)
            }
            Err(error) if error.message().contains("unknown whether") => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        if command.reply_to.is_closed() {
            return;
        }
        let earlier = self.outcomes.insert(call, outcome);
        assert!(earlier.is_none(), "call {call} is answered twice: {earlier:?}");
    }

    /// Everything works from here on: what is under way comes to its end.
    fn heal(&mut self) {
        for _ in 0..10_000 {
            self.now = self.now + Duration::from_millis(1);
            self.write_ends(11);
            self.activation_ends(7);
            self.stream_closes();
            if self.function.is_none() && self.entity.in_progress().is_some() {
                let effects = self.entity.ended();
                self.perform(effects);
            }
            self.function_answers(15);
            let busy = self.opening || self.closing || !self.writes.is_empty();
            if !busy && self.held.is_none() && (self.stopped || self.entity.is_idle()) {
                return;
            }
        }
        panic!("the entity is stuck: {:?}", self.entity);
    }

    fn check(&self) {
        let open: Vec<_> = (1..=self.calls).filter(|call| !self.outcomes.contains_key(call)).collect();
        assert_eq!(open, Vec::<u32>::new(), "never answered");
        let mut sorted = self.stored.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), self.stored.len(), "a command counts twice: {:?}", self.stored);
        let calls = |number: u32| &self.sent[number as usize - 1].1;
        let once: Vec<_> = self.stored.iter().copied().filter(|&number| calls(number).len() == 1).collect();
        assert!(once.is_sorted(), "not in the order in which they were sent: {once:?}");
        for number in 1..=self.sent.len() as u32 {
            let outcomes: Vec<_> = calls(number).iter().map(|call| &self.outcomes[call]).collect();
            let changed =
                |outcome: &&&Outcome| matches!(outcome, Outcome::Acknowledged(seen) if seen.contains(&number));
            let mut acknowledged = outcomes.iter().filter(changed);
            let stored = self.stored.contains(&number);
            if let Some(first) = acknowledged.next() {
                assert!(stored, "{number} is lost");
                assert!(acknowledged.all(|other| other == first), "{number} has several answers: {outcomes:?}");
            } else if !outcomes.contains(&&Outcome::Unknown) {
                assert!(!stored, "{number} is there, {outcomes:?}");
            }
        }
    }
}

fn limits(unsettled_max: usize) -> Limits {
    Limits { waiting_max: 8, unsettled_max, stored_size_max: 1 << 20 }
}

fn run<K: Kind>(unsettled_max: usize, choices: &[u16]) {
    let mut world = World::<K>::new(unsettled_max);
    choices.iter().for_each(|choice| world.step(*choice));
    world.heal();
    world.check();
}

impl Kind for EventSourced {
    fn reply(id: i64, action: ClientAction, state: &[u32], changes: bool, snapshot: bool) -> Self::Out {
        use proto::cloudstate::eventsourced::{EventSourcedReply, event_sourced_stream_out::Message};
        let event = |number: &u32| Any { type_url: "event".to_owned(), value: listed(&[*number]) };
        let events = state.last().filter(|_| changes).map(event).into_iter().collect();
        let snapshot = snapshot.then(|| Any { type_url: "state".to_owned(), value: listed(state) });
        let client_action = Some(action);
        let reply =
            EventSourcedReply { command_id: id, client_action, events, snapshot, ..EventSourcedReply::default() };
        Self::Out { message: Some(Message::Reply(reply)) }
    }

    fn failure() -> Self::Out {
        use proto::cloudstate::eventsourced::event_sourced_stream_out::Message;
        Self::Out { message: Some(Message::Failure(Failure::default())) }
    }

    fn empty() -> Self::Out {
        Self::Out { message: None }
    }

    fn apply(stored: &[u32], change: &Self::Change) -> Vec<u32> {
        stored.iter().copied().chain(change.events().flat_map(|event| list(&event.value))).collect()
    }
}

impl Kind for ValueEntity {
    fn reply(id: i64, action: ClientAction, state: &[u32], changes: bool, _snapshot: bool) -> Self::Out {
        use proto::cloudstate::valueentity::value_entity_action::Action;
        use proto::cloudstate::valueentity::value_entity_stream_out::Message;
        use proto::cloudstate::valueentity::{ValueEntityAction, ValueEntityReply, ValueEntityUpdate};
        let value = Any { type_url: "state".to_owned(), value: listed(state) };
        // The state action counts whatever the client action says, so a function that refuses sends none.
        let refused = matches!(action.action, Some(client_action::Action::Failure(_)));
        let update = Action::Update(ValueEntityUpdate { value: Some(value) });
        let state_action = (changes && !refused).then_some(ValueEntityAction { action: Some(update) });
        let reply =
            ValueEntityReply { command_id: id, client_action: Some(action), state_action, ..Default::default() };
        Self::Out { message: Some(Message::Reply(reply)) }
    }

    fn failure() -> Self::Out {
        use proto::cloudstate::valueentity::value_entity_stream_out::Message;
        Self::Out { message: Some(Message::Failure(Failure::default())) }
    }

    fn empty() -> Self::Out {
        Self::Out { message: None }
    }

    fn apply(_stored: &[u32], change: &Self::Change) -> Vec<u32> {
        match change {
            ValueChange::Update(value) => list(&value.value),
            ValueChange::Delete => Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_event_sourced_entity_keeps_what_it_has_acknowledged(
        unsettled_max in 0usize..6,
        choices in proptest::collection::vec(any::<u16>(), 0..250),
    ) {
        run::<EventSourced>(unsettled_max, &choices);
    }

    #[test]
    fn a_value_entity_keeps_what_it_has_acknowledged(
        unsettled_max in 0usize..6,
        choices in proptest::collection::vec(any::<u16>(), 0..250),
    ) {
        run::<ValueEntity>(unsettled_max, &choices);
    }
}
