//! Random histories of one CRDT entity: commands, streamed commands, cancellations, refusals, replies out of order,
//! changes from other nodes, passivations and a function that crashes, in any order, against a model.
//!
//! The state machine is the real one; function, replicator and region around it are played. The value is a set of the
//! numbers of the commands that changed it. Every choice is drawn from a list of numbers, so that a failing history
//! shrinks and can be run again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actors::{Ask, Clock, ReplyTo, Tick};
use bytes::Bytes;
use proptest::prelude::*;
use proto::Any;
use proto::cloudstate::crdt::crdt_state_action::Action as StateAction;
use proto::cloudstate::crdt::crdt_stream_in::Message as In;
use proto::cloudstate::crdt::{
    CrdtDelta, CrdtReply, CrdtStateAction, CrdtStreamCancelledResponse, CrdtStreamOut, CrdtStreamedMessage, OrSetDelta,
    crdt_delta::Delta, crdt_stream_out::Message as Out,
};
use proto::cloudstate::{ClientAction, Failure, Reply, client_action};

use super::delta::{Writer, apply};
use super::replies::{self, Pump};
use super::state::{Effect, Ended, Limits, State, Written};
use super::state_tests::method;
use super::value::{Value, Voters};
use crate::call::{CallError, Replies};
use crate::crdt::{Crdt, ReplicaId};
use crate::entity::{Answer, EntityCommand};
use crate::router::Caller;

const HERE: ReplicaId = ReplicaId(1);
const ELSEWHERE: ReplicaId = ReplicaId(2);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// With the reply that the function gave after changing the value, or without changing it.
    Acknowledged {
        changed: bool,
    },
    Refused,
    /// The write was made here and not confirmed, or nobody waited for the answer.
    Unknown,
}

/// The function's side of an open stream: a plain value, and the commands it has not answered.
struct Function {
    held: Option<Value>,
    owes: Vec<(i64, u32, bool)>,
    /// Streamed commands that it has begun to answer.
    streams: Vec<i64>,
    cancelled: Vec<i64>,
}

struct World {
    entity: State,
    now: Tick,
    replicated: Option<Crdt>,
    function: Option<Function>,
    opening: bool,
    closing: bool,
    writes: VecDeque<(u64, Written)>,
    held_back: Option<VecDeque<Box<EntityCommand>>>,
    stopped: bool,
    commands: u32,
    changed: BTreeSet<u32>,
    outcomes: BTreeMap<u32, Outcome>,
    callers: Vec<Ask<Answer>>,
    /// By the entity's number of the call, which `Effect::Watch` tells.
    watched: Vec<i64>,
    clients: Vec<(Pump, Replies)>,
}

fn voters() -> Voters {
    Voters { own: HERE, members: Arc::new(BTreeSet::from([HERE])) }
}

fn entity(now: Tick) -> State {
    let limits = Limits {
        outstanding_max: 6,
        waiting_max: 6,
        command_timeout: Duration::from_secs(60),
        cancel_timeout: Duration::from_secs(1),
        close_timeout: Duration::from_secs(2),
    };
    State::new(Arc::from("service"), Arc::from("ada"), limits, voters(), now)
}

fn adds(number: u32) -> CrdtDelta {
    let added = vec![Any { type_url: "number".to_owned(), value: Bytes::copy_from_slice(&number.to_be_bytes()) }];
    CrdtDelta { delta: Some(Delta::Orset(OrSetDelta { added, ..OrSetDelta::default() })) }
}

fn update(delta: CrdtDelta) -> Option<CrdtStateAction> {
    Some(CrdtStateAction { write_consistency: 0, action: Some(StateAction::Update(delta)) })
}

fn replied() -> Option<ClientAction> {
    let reply = Reply { payload: Some(Any::default()), metadata: None };
    Some(ClientAction { action: Some(client_action::Action::Reply(reply)) })
}

fn refused() -> Option<ClientAction> {
    let failure = Failure { command_id: 0, description: "refused".to_owned(), restart: false };
    Some(ClientAction { action: Some(client_action::Action::Failure(failure)) })
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.try_into().expect("four bytes"))
}

impl World {
    fn new() -> Self {
        let now = Clock::tokio().now();
        Self {
            entity: entity(now),
            now,
            replicated: None,
            function: None,
            opening: false,
            closing: false,
            writes: VecDeque::new(),
            held_back: None,
            stopped: false,
            commands: 0,
            changed: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            callers: Vec::new(),
            watched: Vec::new(),
            clients: Vec::new(),
        }
    }

    fn step(&mut self, choice: u16) {
        self.now = self.now + Duration::from_millis(1);
        let (kind, detail) = (choice % 16, choice / 16);
        match kind {
            0..=3 => self.call(detail),
            4..=8 => self.function_answers(detail),
            9 => self.elsewhere(),
            10 | 11 => self.write_ends(detail),
            12 => self.activation_ends(detail),
            13 => self.stream_closes(),
            14 => self.function_streams(detail),
            _ => match detail % 5 {
                0 => self.idles(),
                1 => self.function_dies(detail),
                2 => self.client_goes(detail),
                3 => self.cancellation_is_answered(detail),
                _ => {
                    self.now = self.now + Duration::from_millis(700);
                    let effects = self.entity.tick(self.now);
                    self.perform(effects);
                }
            },
        }
    }

    fn call(&mut self, detail: u16) {
        self.commands += 1;
        let (reply_to, caller) = ReplyTo::channel();
        self.callers.push(caller);
        let streamed = detail % 4 == 1;
        let replies = streamed.then(|| {
            let (sink, pump, replies) = replies::channel();
            self.clients.push((pump, replies));
            sink
        });
        self.deliver(Box::new(EntityCommand {
            method: method(),
            type_url: method().input_type_url.clone(),
            payload: Bytes::copy_from_slice(&self.commands.to_be_bytes()),
            command_id: None,
            deadline: None,
            received_at: self.now,
            caller: Caller::client(),
            reply_to,
            replies,
        }));
    }

    /// As a region does.
    fn deliver(&mut self, command: Box<EntityCommand>) {
        if let Some(held) = &mut self.held_back {
            held.push_back(command);
            return;
        }
        if self.stopped {
            self.stopped = false;
            self.entity = entity(self.now);
        }
        let effects = self.entity.command(command, self.now);
        self.perform(effects);
    }

    fn function_answers(&mut self, detail: u16) {
        let Some(function) = &mut self.function else { return };
        if function.owes.is_empty() {
            return;
        }
        // In any order.
        let (id, number, streamed) = function.owes.remove(usize::from(detail) % function.owes.len());
        let delta = adds(number);
        let message = match detail / 8 % 16 {
            0 => Out::Reply(CrdtReply { command_id: id, client_action: refused(), ..CrdtReply::default() }),
            1 => Out::Failure(Failure { command_id: id, description: "broken".to_owned(), restart: false }),
            2 if detail.is_multiple_of(3) => Out::Reply(CrdtReply { command_id: id + 70, ..CrdtReply::default() }),
            3..=6 => Out::Reply(CrdtReply { command_id: id, client_action: replied(), ..CrdtReply::default() }),
            _ => {
                function.held = Some(Value::after(function.held.as_ref(), &delta, &voters()).expect("a set"));
                self.changed.insert(number);
                if streamed {
                    function.streams.push(id);
                }
                Out::Reply(CrdtReply {
                    command_id: id,
                    client_action: replied(),
                    state_action: update(delta),
                    streamed,
                    ..CrdtReply::default()
                })
            }
        };
        self.says(message);
    }

    fn says(&mut self, message: Out) {
        let effects = self.entity.received(CrdtStreamOut { message: Some(message) }, self.now);
        self.perform(effects);
    }

    fn function_streams(&mut self, detail: u16) {
        let Some(function) = &mut self.function else { return };
        if function.streams.is_empty() {
            return;
        }
        let index = usize::from(detail) % function.streams.len();
        let end_stream = (detail / 8).is_multiple_of(4);
        let command_id = if end_stream { function.streams.remove(index) } else { function.streams[index] };
        let client_action = replied();
        self.says(Out::StreamedMessage(CrdtStreamedMessage {
            command_id,
            client_action,
            end_stream,
            ..CrdtStreamedMessage::default()
        }));
    }

    fn cancellation_is_answered(&mut self, detail: u16) {
        let Some(function) = &mut self.function else { return };
        if function.cancelled.is_empty() {
            return;
        }
        let command_id = function.cancelled.remove(usize::from(detail) % function.cancelled.len());
        function.streams.retain(|id| *id != command_id);
        self.says(Out::StreamCancelledResponse(CrdtStreamCancelledResponse {
            command_id,
            ..CrdtStreamCancelledResponse::default()
        }));
    }

    fn client_goes(&mut self, detail: u16) {
        if !self.watched.is_empty() {
            let id = self.watched.remove(usize::from(detail) % self.watched.len());
            let effects = self.entity.gone(id, self.now);
            self.perform(effects);
        }
    }

    /// Another node adds an element.
    fn elsewhere(&mut self) {
        self.commands += 1;
        let number = self.commands;
        self.outcomes.insert(number, Outcome::Acknowledged { changed: true });
        self.changed.insert(number);
        self.merge(&adds(number), ELSEWHERE).expect("a set");
        let effects = self.entity.changed();
        self.perform(effects);
    }

    fn merge(&mut self, delta: &CrdtDelta, replica: ReplicaId) -> Result<(), String> {
        let writer = Writer { replica, now_ms: 5 };
        let change = apply(self.replicated.as_ref(), delta, writer).map_err(|error| error.to_string())?;
        match &mut self.replicated {
            Some(value) => value.merge(&change).map_err(|error| error.to_string())?,
            None => self.replicated = Some(change),
        }
        Ok(())
    }

    fn write_ends(&mut self, detail: u16) {
        let Some((ticket, written)) = self.writes.pop_front() else { return };
        // Made here, but not confirmed by as many as were asked.
        let missed = detail.is_multiple_of(12) && written == Written::Done;
        let written = if missed { Written::NotReached } else { written };
        let effects = self.entity.written(ticket, written, self.now);
        self.perform(effects);
    }

    fn activation_ends(&mut self, detail: u16) {
        if !self.opening {
            return;
        }
        self.opening = false;
        let effects = if detail.is_multiple_of(8) {
            self.entity.activation_failed(&CallError::Failure("gone".to_owned()))
        } else {
            self.function = Some(Function { held: None, owes: Vec::new(), streams: Vec::new(), cancelled: Vec::new() });
            self.entity.activated(self.replicated.as_ref(), self.now)
        };
        self.perform(effects);
    }

    fn stream_closes(&mut self) {
        if self.closing && self.function.as_ref().is_none_or(|function| function.owes.is_empty()) {
            self.closing = false;
            self.function = None;
            let effects = self.entity.ended(Ended::Completed);
            self.perform(effects);
        }
    }

    fn function_dies(&mut self, detail: u16) {
        if self.function.take().is_some() {
            self.closing = false;
            let how = if detail.is_multiple_of(2) { Ended::Failed } else { Ended::Completed };
            let effects = self.entity.ended(how);
            self.perform(effects);
        }
    }

    fn idles(&mut self) {
        let effects = self.entity.idle_timeout();
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Activate => {
                    assert!(!self.opening && !self.closing, "two streams at once");
                    self.opening = true;
                }
                Effect::Send(message) => self.function_hears(message),
                Effect::Watch { id, .. } => self.watched.push(id),
                Effect::HalfClose => {
                    assert!(!self.closing, "closed twice");
                    self.closing = true;
                }
                Effect::Reset => {
                    self.function = None;
                    self.opening = false;
                    self.closing = false;
                }
                Effect::Read => effects.extend(self.entity.read(self.replicated.as_ref(), self.now)),
                Effect::Update { ticket, delta, .. } => {
                    let written = self.merge(&delta, HERE).map_or_else(Written::Refused, |()| Written::Done);
                    self.writes.push_back((ticket, written));
                }
                Effect::Delete { .. } => panic!("nobody deletes here"),
                Effect::Answer { reply_to, answer, .. } => self.answered(reply_to, answer),
                Effect::Route { reply_to, action, .. } => {
                    let answer = match action {
                        Some(client_action::Action::Failure(failure)) => Err(CallError::Failure(failure.description)),
                        _ => Ok(None),
                    };
                    self.answered(reply_to, answer);
                }
                Effect::RequestPassivation => {
                    if self.held_back.is_none() && !self.stopped {
                        self.held_back = Some(VecDeque::new());
                        effects.extend(self.entity.stop(self.now));
                    }
                }
                Effect::HandBack(command) => self.deliver(command),
                Effect::Stop => {
                    self.stopped = true;
                    for command in self.held_back.take().into_iter().flatten() {
                        self.deliver(command);
                    }
                }
                Effect::Emit { .. }
                | Effect::Fail { .. }
                | Effect::Abort { .. }
                | Effect::Run { .. }
                | Effect::Report(_) => {}
            }
        }
    }

    fn function_hears(&mut self, message: In) {
        let Some(function) = &mut self.function else { return };
        match message {
            In::Init(init) => {
                assert!(function.held.is_none() && function.owes.is_empty(), "init is first");
                function.held = init.delta.map(|delta| Value::after(None, &delta, &voters()).expect("a whole value"));
            }
            In::Command(command) => {
                let number = number(&command.payload.expect("always set").value);
                function.owes.push((command.id, number, command.streamed));
            }
            In::Delta(delta) => {
                assert!(function.owes.is_empty(), "told of a change while it may be changing the value itself");
                function.held = Some(Value::after(function.held.as_ref(), &delta, &voters()).expect("it fits"));
            }
            In::StreamCancelled(cancelled) => function.cancelled.push(cancelled.id),
            In::Delete(_) => panic!("nobody deletes here"),
        }
    }

    fn answered(&mut self, reply_to: ReplyTo<Answer>, answer: Answer) {
        reply_to.tell(answer);
    }

    /// What the callers were told, in the order of the commands.
    fn collect(&mut self) {
        let numbers = (1..=self.commands).filter(|number| !self.outcomes.contains_key(number)).collect::<Vec<_>>();
        assert_eq!(numbers.len(), self.callers.len());
        for (number, caller) in numbers.into_iter().zip(std::mem::take(&mut self.callers)) {
            let answer = futures_util::FutureExt::now_or_never(caller);
            let answer = answer.unwrap_or_else(|| panic!("command {number} was never answered"));
            let outcome = match answer.unwrap_or_else(|error| panic!("command {number} got lost: {error}")) {
                Ok(_) => Outcome::Acknowledged { changed: self.changed.contains(&number) },
                Err(error) if error.message().contains("write consistency") => Outcome::Unknown,
                Err(_) => Outcome::Refused,
            };
            self.outcomes.insert(number, outcome);
        }
    }

    /// Everything works from here on: what is under way comes to its end.
    fn heal(&mut self) {
        for _ in 0..10_000 {
            self.now = self.now + Duration::from_millis(50);
            self.write_ends(1);
            self.activation_ends(1);
            while self.function.as_ref().is_some_and(|function| !function.cancelled.is_empty()) {
                self.cancellation_is_answered(0);
            }
            self.function_answers(8 * 8);
            self.client_goes(0);
            self.stream_closes();
            let effects = self.entity.tick(self.now);
            self.perform(effects);
            let owes = self.function.as_ref().is_some_and(|function| !function.owes.is_empty());
            let busy = self.opening || self.closing || owes || !self.writes.is_empty() || !self.watched.is_empty();
            if !busy && self.held_back.is_none() && (self.stopped || self.entity.is_idle()) {
                return;
            }
        }
        panic!("the entity is stuck: {:?}", self.entity);
    }

    fn check(&mut self) {
        let there: BTreeSet<u32> = match &self.replicated {
            None => BTreeSet::new(),
            Some(Crdt::OrSet(set)) => set.elements().map(|element| number(&element.value)).collect(),
            Some(other) => panic!("not a set: {other:?}"),
        };
        for (number, outcome) in &self.outcomes {
            match outcome {
                Outcome::Acknowledged { changed: true } => assert!(there.contains(number), "{number} is lost"),
                Outcome::Acknowledged { changed: false } | Outcome::Refused => {
                    assert!(!there.contains(number), "{number} is there, {outcome:?}");
                }
                Outcome::Unknown => {}
            }
        }
        if let Some(Function { held, .. }) = &self.function {
            let replicated = self.replicated.as_ref().map(|value| Value::of(value, &voters()));
            assert_eq!(*held, replicated, "what the function holds is not what is replicated");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crdt_entity_keeps_what_it_has_acknowledged_and_tells_the_function_the_rest(
        choices in proptest::collection::vec(any::<u16>(), 0..200),
    ) {
        let mut world = World::new();
        choices.iter().for_each(|choice| world.step(*choice));
        world.heal();
        world.collect();
        world.check();
    }
}
