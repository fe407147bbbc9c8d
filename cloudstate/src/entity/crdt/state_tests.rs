//! Stories of one entity, told to the pure state machine, in virtual time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actors::{Ask, Clock, ReplyTo, Tick};
use bytes::Bytes;
use proto::Any;
use proto::cloudstate::crdt::crdt_state_action::Action as StateAction;
use proto::cloudstate::crdt::crdt_stream_in::Message as In;
use proto::cloudstate::crdt::{
    CrdtDelete, CrdtDelta, CrdtReply, CrdtStateAction, CrdtStreamCancelledResponse, CrdtStreamOut, CrdtStreamedMessage,
    FlagDelta, GCounterDelta, LwwRegisterDelta, PnCounterDelta, VoteDelta, crdt_delta::Delta, crdt_stream_out,
};
use proto::cloudstate::{ClientAction, Entity, EntitySpec, Failure, Reply, ServiceInfo, SideEffect, client_action};

use super::delta::{Writer, apply};
use super::replies::{self, ELEMENTS_MAX, Pump};
use super::state::{Effect, Ended, Limits, State, Written};
use super::value::Voters;
use crate::call::{CallError, Replies};
use crate::crdt::{Crdt, ReplicaId};
use crate::entity::{Answer, EntityCommand};
use crate::router::Caller;
use crate::spec::{EntityType, MethodSpec, ServedSpec, SpecSettings};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HERE: ReplicaId = ReplicaId(1);
const ELSEWHERE: ReplicaId = ReplicaId(2);

pub(super) fn method() -> Arc<MethodSpec> {
    static SPEC: LazyLock<ServedSpec> = LazyLock::new(|| {
        let entity = Entity {
            entity_type: EntityType::Crdt.as_str().to_owned(),
            service_name: "cloudstate.tck.model.crdt.CrdtTckModel".to_owned(),
            persistence_id: "crdt".to_owned(),
            passivation_strategy: None,
        };
        let spec = EntitySpec {
            proto: Bytes::from_static(proto::model::FILE_DESCRIPTOR_SET),
            entities: vec![entity],
            service_info: Some(ServiceInfo { protocol_minor_version: 2, ..ServiceInfo::default() }),
        };
        let settings = SpecSettings { strict_version: true, ..SpecSettings::default() };
        ServedSpec::check(&spec, &settings).expect("the model is valid")
    });
    SPEC.method("cloudstate.tck.model.crdt.CrdtTckModel", "Process").expect("a method").clone()
}

fn pn(change: i64) -> CrdtDelta {
    CrdtDelta { delta: Some(Delta::Pncounter(PnCounterDelta { change })) }
}

fn g(increment: u64) -> CrdtDelta {
    CrdtDelta { delta: Some(Delta::Gcounter(GCounterDelta { increment })) }
}

fn register(text: &'static str) -> CrdtDelta {
    let value = Some(Any { type_url: String::new(), value: Bytes::from_static(text.as_bytes()) });
    CrdtDelta { delta: Some(Delta::Lwwregister(LwwRegisterDelta { value, ..LwwRegisterDelta::default() })) }
}

fn vote(self_vote: bool) -> CrdtDelta {
    CrdtDelta { delta: Some(Delta::Vote(VoteDelta { self_vote, ..VoteDelta::default() })) }
}

fn shown(delta: &CrdtDelta) -> String {
    match delta.delta.as_ref().expect("not empty") {
        Delta::Pncounter(delta) => format!("{:+}", delta.change),
        Delta::Gcounter(delta) => format!("+{}", delta.increment),
        Delta::Lwwregister(delta) => {
            format!("={}", String::from_utf8_lossy(&delta.value.as_ref().expect("a value").value))
        }
        Delta::Vote(delta) => format!("{} {} of {}", delta.self_vote, delta.votes_for, delta.total_voters),
        other => format!("{other:?}"),
    }
}

fn action(text: &'static str) -> Option<ClientAction> {
    let payload = Some(Any { type_url: String::new(), value: Bytes::from_static(text.as_bytes()) });
    Some(ClientAction { action: Some(client_action::Action::Reply(Reply { payload, metadata: None })) })
}

fn update(delta: CrdtDelta) -> Option<CrdtStateAction> {
    Some(CrdtStateAction { write_consistency: 0, action: Some(StateAction::Update(delta)) })
}

fn delete() -> Option<CrdtStateAction> {
    Some(CrdtStateAction { write_consistency: 0, action: Some(StateAction::Delete(CrdtDelete {})) })
}

/// A reply "r1" to command 1 and so on.
fn reply(command_id: i64, state_action: Option<CrdtStateAction>) -> CrdtReply {
    let text = ["r0", "r1", "r2", "r3"][usize::try_from(command_id).expect("small")];
    CrdtReply { command_id, client_action: action(text), state_action, ..CrdtReply::default() }
}

/// The reply that begins a stream, without an element.
fn begin(command_id: i64, state_action: Option<CrdtStateAction>) -> CrdtReply {
    CrdtReply { command_id, streamed: true, state_action, ..CrdtReply::default() }
}

fn element(command_id: i64, text: &'static str) -> CrdtStreamedMessage {
    CrdtStreamedMessage { command_id, client_action: action(text), ..CrdtStreamedMessage::default() }
}

fn cancelled(command_id: i64, state_action: Option<CrdtStateAction>) -> CrdtStreamCancelledResponse {
    CrdtStreamCancelledResponse { command_id, state_action, ..CrdtStreamCancelledResponse::default() }
}

/// The entity, the replicated value and everybody who waits.
pub(super) struct World {
    pub(super) state: State,
    now: Tick,
    pub(super) value: Option<Crdt>,
    deleted: bool,
    /// Writes wait for [`World::confirm`].
    pub(super) slow: bool,
    pub(super) writes: VecDeque<u64>,
    /// What goes to the function, in order; `None` ends the stream.
    pub(super) sent: VecDeque<Option<In>>,
    story: Vec<String>,
    asks: Vec<Ask<Answer>>,
    streams: Vec<(Pump, Replies)>,
}

impl World {
    pub(super) fn new() -> Self {
        let now = Clock::tokio().now();
        let limits = Limits {
            outstanding_max: 3,
            waiting_max: 2,
            command_timeout: 5 * SECOND,
            cancel_timeout: SECOND,
            close_timeout: 2 * SECOND,
        };
        let voters = Voters { own: HERE, members: Arc::new(BTreeSet::from([HERE])) };
        let state = State::new(Arc::from("service"), Arc::from("ada"), limits, voters, now);
        Self {
            state,
            now,
            value: None,
            deleted: false,
            slow: false,
            writes: VecDeque::new(),
            sent: VecDeque::new(),
            story: Vec::new(),
            asks: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// One that is open and has nothing to do.
    fn open(value: Option<CrdtDelta>) -> Self {
        let mut world = Self::new();
        if let Some(delta) = value {
            world.elsewhere(&delta);
        }
        world.command();
        world.activated();
        world.says(reply(1, None));
        world.state_base();
        world
    }

    /// Forgets what has been told so far.
    fn state_base(&mut self) {
        self.story.clear();
    }

    pub(super) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.story)
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        let effects = self.state.tick(self.now);
        self.run(effects);
    }

    pub(super) fn command(&mut self) {
        let (reply_to, answer) = ReplyTo::channel();
        self.asks.push(answer);
        self.given(reply_to, None);
    }

    pub(super) fn streamed(&mut self) {
        let (sink, pump, replies) = replies::channel();
        let (reply_to, answer) = ReplyTo::channel();
        self.asks.push(answer);
        self.streams.push((pump, replies));
        self.given(reply_to, Some(sink));
    }

    fn given(&mut self, reply_to: ReplyTo<Answer>, replies: Option<replies::Sink>) {
        let command = EntityCommand {
            method: method(),
            type_url: method().input_type_url.clone(),
            payload: Bytes::from_static(b"please"),
            command_id: None,
            deadline: None,
            received_at: self.now,
            caller: Caller::client(),
            reply_to,
            replies,
        };
        let effects = self.state.command(Box::new(command), self.now);
        self.run(effects);
    }

    pub(super) fn activated(&mut self) {
        let effects = self.state.activated(self.value.as_ref(), self.now);
        self.run(effects);
    }

    pub(super) fn message(&mut self, message: crdt_stream_out::Message) {
        let effects = self.state.received(CrdtStreamOut { message: Some(message) }, self.now);
        self.run(effects);
    }

    fn says(&mut self, reply: CrdtReply) {
        self.message(crdt_stream_out::Message::Reply(reply));
    }

    fn streams(&mut self, message: CrdtStreamedMessage) {
        self.message(crdt_stream_out::Message::StreamedMessage(message));
    }

    fn answers_cancel(&mut self, response: CrdtStreamCancelledResponse) {
        self.message(crdt_stream_out::Message::StreamCancelledResponse(response));
    }

    pub(super) fn gone(&mut self, id: i64) {
        let effects = self.state.gone(id, self.now);
        self.run(effects);
    }

    /// Another node changes the value.
    pub(super) fn elsewhere(&mut self, delta: &CrdtDelta) {
        let writer = Writer { replica: ELSEWHERE, now_ms: 5 };
        let change = apply(self.value.as_ref(), delta, writer).expect("a fitting delta");
        self.merge(change);
        let effects = self.state.changed();
        self.run(effects);
    }

    fn merge(&mut self, change: Crdt) {
        match &mut self.value {
            Some(value) => value.merge(&change).expect("the same kind"),
            None => self.value = Some(change),
        }
    }

    fn deleted_elsewhere(&mut self) {
        self.deleted = true;
        let effects = self.state.key_deleted(self.now);
        self.run(effects);
    }

    pub(super) fn ended(&mut self, how: Ended) {
        let effects = self.state.ended(how);
        self.run(effects);
    }

    fn stop(&mut self) {
        let effects = self.state.stop(self.now);
        self.run(effects);
    }

    /// The first write that waits ends so.
    pub(super) fn confirm(&mut self, written: Written) {
        let ticket = self.writes.pop_front().expect("a write under way");
        let effects = self.state.written(ticket, written, self.now);
        self.run(effects);
    }

    fn run(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let word = match effect {
                Effect::Read => {
                    effects.extend(self.state.read(self.value.as_ref(), self.now));
                    continue;
                }
                Effect::Update { ticket, delta, .. } => {
                    let written = self.write(&delta);
                    if self.slow {
                        self.writes.push_back(ticket);
                        "writing".to_owned()
                    } else {
                        effects.extend(self.state.written(ticket, written, self.now));
                        continue;
                    }
                }
                Effect::Delete { ticket, .. } => {
                    self.deleted = true;
                    if self.slow {
                        self.writes.push_back(ticket);
                    } else {
                        effects.extend(self.state.written(ticket, Written::Done, self.now));
                    }
                    "delete the key".to_owned()
                }
                Effect::Watch { .. } => continue,
                other => {
                    match &other {
                        Effect::Send(message) => self.sent.push_back(Some(message.clone())),
                        Effect::HalfClose => self.sent.push_back(None),
                        Effect::Reset => self.sent.clear(),
                        _ => {}
                    }
                    word(other)
                }
            };
            self.story.push(word);
        }
    }

    fn write(&mut self, delta: &CrdtDelta) -> Written {
        if self.deleted {
            return Written::Deleted;
        }
        match apply(self.value.as_ref(), delta, Writer { replica: HERE, now_ms: 10 }) {
            Ok(change) => {
                self.merge(change);
                Written::Done
            }
            Err(error) => Written::Refused(error.to_string()),
        }
    }
}

fn text_of(action: Option<client_action::Action>) -> String {
    match action {
        Some(client_action::Action::Reply(reply)) => {
            String::from_utf8_lossy(&reply.payload.unwrap_or_default().value).into_owned()
        }
        other => format!("{other:?}"),
    }
}

fn because(error: &CallError) -> String {
    match error {
        CallError::Failure(text) => text.clone(),
        CallError::Status(status) => format!("{:?}", status.code()),
    }
}

fn word(effect: Effect) -> String {
    match effect {
        Effect::Activate => "activate".to_owned(),
        Effect::Send(In::Init(init)) => format!("init {}", init.delta.as_ref().map_or("-".to_owned(), shown)),
        Effect::Send(In::Delta(delta)) => format!("delta {}", shown(&delta)),
        Effect::Send(In::Delete(_)) => "delete".to_owned(),
        Effect::Send(In::Command(command)) if command.streamed => format!("streamed command {}", command.id),
        Effect::Send(In::Command(command)) => format!("command {}", command.id),
        Effect::Send(In::StreamCancelled(cancelled)) => format!("cancel {}", cancelled.id),
        Effect::HalfClose => "half-close".to_owned(),
        Effect::Reset => "reset".to_owned(),
        Effect::Answer { answer: Ok(Some(reply)), .. } => format!("answer {}", String::from_utf8_lossy(&reply.payload)),
        Effect::Answer { answer: Ok(None), .. } => "answer".to_owned(),
        Effect::Answer { answer: Err(error), .. } => format!("fail: {}", because(&error)),
        Effect::Route { effects, action, .. } => format!("route {} with {}", text_of(action), effects.len()),
        Effect::Emit { sink, action, effects } => {
            let text = text_of(action.clone());
            sink.push(effects, action);
            format!("emit {text}")
        }
        Effect::Fail { error, .. } => format!("stream fails: {}", because(&error)),
        Effect::Abort { error, .. } => format!("stream aborts: {}", because(&error)),
        Effect::Run { effects, .. } => format!("run {}", effects.len()),
        Effect::Report(text) => format!("report {text}"),
        Effect::RequestPassivation => "passivate".to_owned(),
        Effect::HandBack(_) => "hand back".to_owned(),
        Effect::Stop => "stop".to_owned(),
        Effect::Read | Effect::Update { .. } | Effect::Delete { .. } | Effect::Watch { .. } => unreachable!("done"),
    }
}

#[test]
fn an_activation_without_state_tells_nothing_and_one_with_state_all_of_it() {
    let mut world = World::new();
    world.command();
    assert_eq!(world.told(), ["activate"]);
    world.activated();
    assert_eq!(world.told(), ["init -", "command 1"]);

    let mut world = World::new();
    world.elsewhere(&pn(-7));
    world.command();
    world.activated();
    assert_eq!(world.told(), ["activate", "init -7", "command 1"]);
}

#[test]
fn commands_are_answered_in_any_order_and_own_changes_are_not_echoed() {
    let mut world = World::open(None);
    world.command();
    world.command();
    world.says(reply(3, update(pn(2))));
    world.says(reply(2, update(pn(3))));
    assert_eq!(world.told(), ["command 2", "command 3", "answer r3", "answer r2"]);
}

#[test]
fn a_change_elsewhere_while_idle_gives_exactly_one_delta() {
    let mut world = World::open(None);
    world.elsewhere(&pn(4));
    assert_eq!(world.told(), ["delta +4"]);
    let effects = world.state.changed();
    world.run(effects);
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn changes_elsewhere_are_withheld_until_both_commands_are_answered() {
    let mut world = World::open(Some(pn(1)));
    world.command();
    world.command();
    world.elsewhere(&pn(10));
    world.says(reply(2, update(pn(5))));
    world.elsewhere(&pn(100));
    assert_eq!(world.told(), ["command 2", "command 3", "answer r2"]);
    world.says(reply(3, None));
    assert_eq!(world.told(), ["answer r3", "delta +110"]);
}

#[test]
fn a_turn_ends_only_when_its_write_does() {
    let mut world = World::open(None);
    world.slow = true;
    world.command();
    world.says(reply(2, update(pn(5))));
    world.elsewhere(&pn(1));
    assert_eq!(world.told(), ["command 2", "writing"]);
    world.confirm(Written::Done);
    assert_eq!(world.told(), ["answer r2", "delta +1"]);
}

#[test]
fn a_reply_to_an_unknown_command_crashes_the_entity_and_the_next_command_starts_a_new_one() {
    let mut world = World::open(None);
    world.command();
    world.says(reply(3, None));
    assert_eq!(
        world.told(),
        [
            "command 2",
            "fail: Entity terminating",
            "report Received reply for entity id ada for unknown command 3",
            "reset"
        ]
    );
    world.command();
    world.activated();
    assert_eq!(world.told(), ["activate", "init -", "command 1"]);
}

/// Row 45: the client gets the description, not a fixed text.
#[test]
fn a_stream_failure_for_a_command_answers_it_with_its_description() {
    let mut world = World::open(None);
    world.command();
    world.command();
    let failure = |command_id| Failure { command_id, description: "no luck".to_owned(), restart: false };
    world.message(crdt_stream_out::Message::Failure(failure(0)));
    world.message(crdt_stream_out::Message::Failure(failure(2)));
    world.elsewhere(&pn(1));
    assert_eq!(world.told(), ["command 2", "command 3", "fail: no luck"]);
    world.says(reply(3, None));
    assert_eq!(world.told(), ["answer r3", "delta +1"]);
}

/// Row 45: also a deletion that did not reach enough nodes has its own text.
#[test]
fn a_deletion_that_does_not_reach_enough_nodes_has_its_own_text() {
    let mut world = World::open(None);
    world.slow = true;
    world.command();
    world.says(reply(2, delete()));
    assert_eq!(world.told(), ["command 2", "delete the key", "half-close"]);
    world.confirm(Written::NotReached);
    assert_eq!(world.told(), ["fail: Failed to delete CRDT at requested write consistency"]);
}

/// Row 55: the function keeps its stream, and is told the truth.
#[test]
fn an_update_that_does_not_reach_enough_nodes_fails_the_command_and_resynchronises_the_function() {
    let mut world = World::open(None);
    world.slow = true;
    world.command();
    world.says(reply(2, update(pn(5))));
    world.elsewhere(&pn(1));
    world.confirm(Written::NotReached);
    assert_eq!(
        world.told(),
        ["command 2", "writing", "fail: Failed to update CRDT at requested write consistency", "delta +1"]
    );
}

/// Row 53: one command fails; the others are answered; the function begins anew with the replicated value.
#[test]
fn an_incompatible_delta_fails_the_one_command_and_the_stream_is_replaced() {
    let mut world = World::open(Some(pn(1)));
    world.command();
    world.command();
    world.says(reply(2, update(g(5))));
    assert_eq!(
        world.told(),
        [
            "command 2",
            "command 3",
            "report GCounterDelta is incompatible with CRDT PNCounter",
            "fail: GCounterDelta is incompatible with CRDT PNCounter"
        ]
    );
    world.command();
    world.elsewhere(&pn(1));
    assert_eq!(world.told(), [""; 0]);
    world.says(reply(3, update(pn(3))));
    assert_eq!(world.told(), ["answer r3", "half-close"]);
    world.ended(Ended::Completed);
    world.activated();
    assert_eq!(world.told(), ["reset", "activate", "init +5", "command 1"]);
}

/// Row 53: the other half of a streamed call is in the stream that is replaced.
#[test]
fn streamed_calls_go_down_with_a_stream_that_is_replaced() {
    let mut world = World::open(Some(pn(1)));
    world.streamed();
    world.says(begin(2, None));
    world.command();
    world.says(reply(3, Some(CrdtStateAction::default())));
    assert_eq!(world.told(), ["streamed command 2", "answer", "command 3", "answer r3"]);
    world.command();
    let empty = update(CrdtDelta::default());
    world.says(CrdtReply { command_id: 4, state_action: empty, ..CrdtReply::default() });
    assert_eq!(
        world.told(),
        ["command 4", "report Empty delta", "fail: Empty delta", "stream fails: Entity terminating", "half-close"]
    );
}

#[test]
fn replies_that_are_owed_on_a_stream_to_be_replaced_are_not_waited_for_for_ever() {
    let mut world = World::open(Some(pn(1)));
    world.command();
    world.command();
    world.says(reply(2, update(g(5))));
    world.state_base();
    world.wait(5 * SECOND);
    assert_eq!(world.told()[0], "fail: Entity terminating");
}

/// Row 44: a deleted key is recognised when the entity is activated.
#[test]
fn a_key_that_is_found_deleted_answers_at_once() {
    let mut world = World::new();
    world.command();
    world.deleted_elsewhere();
    world.command();
    assert_eq!(world.told(), ["activate", "fail: Entity deleted", "reset", "fail: Entity deleted"]);
}

/// Row 44: and when an update meets it.
#[test]
fn an_update_that_meets_a_deletion_is_answered_as_if_it_had_come_before() {
    let mut world = World::open(Some(pn(1)));
    world.command();
    world.deleted = true;
    world.says(reply(2, update(pn(1))));
    assert_eq!(world.told(), ["command 2", "delete", "half-close", "answer r2"]);
}

#[test]
fn a_deletion_elsewhere_ends_the_stream_and_replies_that_were_owed_are_passed_on() {
    let mut world = World::open(Some(pn(1)));
    world.command();
    world.deleted_elsewhere();
    world.command();
    assert_eq!(world.told(), ["command 2", "delete", "half-close", "fail: Entity deleted"]);
    world.says(reply(2, update(pn(1))));
    world.ended(Ended::Completed);
    assert_eq!(world.told(), ["answer r2", "reset"]);
}

#[test]
fn a_deletion_by_the_function_is_carried_out_before_its_reply_and_ends_the_stream() {
    let mut world = World::open(Some(pn(1)));
    world.streamed();
    world.says(begin(2, None));
    world.command();
    world.state_base();
    world.says(reply(3, delete()));
    assert_eq!(world.told(), ["delete the key", "half-close", "answer r3"]);
    world.deleted_elsewhere(); // the notice of its own deletion
    world.ended(Ended::Completed);
    world.command();
    assert_eq!(world.told(), ["stream fails: Entity deleted", "reset", "fail: Entity deleted"]);
}

#[test]
fn a_streamed_command_has_elements_until_the_function_ends_it() {
    let mut world = World::open(None);
    world.streamed();
    world.says(CrdtReply { streamed: true, ..reply(2, update(pn(1))) });
    world.elsewhere(&pn(1));
    world.streams(element(2, "a"));
    world.streams(CrdtStreamedMessage { command_id: 2, ..CrdtStreamedMessage::default() });
    world.streams(CrdtStreamedMessage { end_stream: true, ..element(2, "b") });
    assert_eq!(
        world.told(),
        ["streamed command 2", "answer", "emit r2", "delta +1", "emit a", "emit b"],
        "no turn after the first reply, and nothing for an empty element"
    );
    world.gone(2);
    world.streams(element(2, "c"));
    assert_eq!(world.told(), ["report Received streamed message for unknown command id: 2"]);
}

/// Row 48: the client's stream ends with it.
#[test]
fn a_streamed_command_may_be_answered_once_without_a_state_action() {
    let mut world = World::open(None);
    world.streamed();
    world.says(reply(2, None));
    assert_eq!(world.told(), ["streamed command 2", "answer", "emit r2"]);
    assert!(world.streams.pop().is_some_and(|(pump, _)| pump.is_ending()));
}

#[test]
fn elements_wait_for_the_write_of_the_reply_that_began_their_stream() {
    let mut world = World::open(None);
    world.slow = true;
    world.streamed();
    world.says(CrdtReply { streamed: true, ..reply(2, update(pn(1))) });
    world.streams(element(2, "a"));
    assert_eq!(world.told(), ["streamed command 2", "writing"]);
    world.confirm(Written::Done);
    assert_eq!(world.told(), ["answer", "emit r2", "emit a"]);
}

#[test]
fn a_client_that_leaves_cancels_once_and_the_answer_changes_the_value() {
    let mut world = World::open(None);
    world.streamed();
    world.says(begin(2, None));
    world.state_base();
    world.gone(2);
    world.gone(2);
    world.elsewhere(&pn(10));
    assert_eq!(world.told(), ["cancel 2"], "a cancellation is a turn");
    world.answers_cancel(cancelled(2, update(pn(-1))));
    assert_eq!(world.told(), ["delta +10"]);
    assert_eq!(world.value.as_ref().map(|value| value.as_pn_counter().expect("a counter").value()), Some(9));
}

/// Row 46: nobody waits for them, but they are wanted.
#[test]
fn side_effects_of_an_answer_to_a_cancellation_are_executed() {
    let mut world = World::open(None);
    world.streamed();
    world.says(begin(2, None));
    world.gone(2);
    world.state_base();
    let response = cancelled(2, None);
    world.answers_cancel(CrdtStreamCancelledResponse { side_effects: vec![SideEffect::default()], ..response });
    assert_eq!(world.told(), ["run 1"]);
}

/// Row 47: the answer to a cancellation is optional.
#[test]
fn an_answer_to_a_cancellation_that_does_not_come_holds_deltas_back_for_a_while_only() {
    let mut world = World::open(Some(register("a")));
    world.streamed();
    world.says(begin(2, None));
    world.gone(2);
    world.elsewhere(&register("b"));
    world.state_base();
    world.wait(SECOND);
    assert_eq!(world.told(), ["delta =b"]);
    // A late answer crossed that delta: the function holds "b", the value is "c". It is told, although it said so itself.
    world.answers_cancel(cancelled(2, update(register("c"))));
    assert_eq!(world.told(), ["delta =c"]);
}

/// Row 47: only the answer to the call that was cancelled counts.
#[test]
fn cancellations_are_counted_by_command() {
    let mut world = World::open(None);
    for id in [2, 3] {
        world.streamed();
        world.says(begin(id, None));
        world.gone(id);
    }
    world.elsewhere(&pn(1));
    world.state_base();
    world.answers_cancel(cancelled(2, None));
    world.answers_cancel(cancelled(2, None));
    assert_eq!(world.told(), ["report Received stream cancelled response for unknown command id: 2"]);
    world.answers_cancel(cancelled(3, None));
    assert_eq!(world.told(), ["delta +1"]);
}

/// Row 48: cancelled before the first reply, it is cancelled once and counted once.
#[test]
fn a_client_that_leaves_before_the_first_reply_cancels_once() {
    let mut world = World::open(None);
    world.streamed();
    world.gone(2);
    world.elsewhere(&pn(1));
    world.says(begin(2, None));
    assert_eq!(world.told(), ["streamed command 2", "cancel 2", "answer"]);
    world.answers_cancel(cancelled(2, None));
    assert_eq!(world.told(), ["delta +1"]);

    // Answered once and for all: over with the reply, whose side effects are wanted all the same.
    world.streamed();
    world.gone(3);
    world.elsewhere(&pn(1));
    world.state_base();
    world.says(CrdtReply { side_effects: vec![SideEffect::default()], ..reply(3, None) });
    assert_eq!(world.told(), ["answer", "run 1", "delta +1"]);
}

#[test]
fn an_element_after_the_cancellation_is_dropped_and_the_end_of_the_stream_is_the_answer() {
    let mut world = World::open(None);
    world.streamed();
    world.says(begin(2, None));
    world.gone(2);
    world.elsewhere(&pn(1));
    world.state_base();
    world.streams(element(2, "late"));
    assert_eq!(world.told(), [""; 0]);
    world.streams(CrdtStreamedMessage { end_stream: true, ..element(2, "last") });
    assert_eq!(world.told(), ["delta +1"]);
}

#[test]
fn a_streamed_reply_to_a_command_that_is_not_streamed_crashes_the_entity() {
    let mut world = World::open(None);
    world.command();
    world.says(begin(2, None));
    assert_eq!(
        world.told(),
        ["command 2", "fail: Entity terminating", "report Streamed reply to non streamed command 2", "reset"]
    );
}

#[test]
fn a_client_that_takes_nothing_loses_its_stream_after_a_hundred_elements() {
    let mut world = World::open(None);
    world.streamed();
    world.says(begin(2, None));
    for _ in 0..ELEMENTS_MAX {
        world.streams(element(2, "a"));
    }
    world.state_base();
    world.streams(element(2, "one more"));
    assert_eq!(world.told(), ["stream aborts: ResourceExhausted", "cancel 2"]);
}

/// Row 49: what counts is what was last sent.
#[test]
fn a_new_member_is_news_for_a_vote() {
    let mut world = World::open(None);
    world.command();
    world.says(reply(2, update(vote(true))));
    world.state_base();
    let effects = world.state.members(Arc::new(BTreeSet::from([HERE, ELSEWHERE])));
    world.run(effects);
    assert_eq!(world.told(), ["delta true 1 of 2"]);
    world.elsewhere(&vote(true));
    assert_eq!(world.told(), ["delta true 2 of 2"]);
}

/// A flag that is on here and off there cannot be: the stream is replaced.
#[test]
fn a_value_to_which_no_delta_leads_replaces_the_stream() {
    let on = CrdtDelta { delta: Some(Delta::Flag(FlagDelta { value: true })) };
    let mut world = World::open(Some(on));
    world.value = Some(Crdt::new(crate::crdt::Kind::Flag));
    let effects = world.state.changed();
    world.run(effects);
    assert_eq!(world.told(), ["half-close"]);
}

#[test]
fn passivation_waits_for_streamed_calls() {
    let mut world = World::open(None);
    world.streamed();
    world.says(begin(2, None));
    let effects = world.state.idle_timeout();
    world.run(effects);
    world.streams(CrdtStreamedMessage { end_stream: true, ..element(2, "a") });
    world.state_base();
    let effects = world.state.idle_timeout();
    world.run(effects);
    assert_eq!(world.told(), ["passivate"]);
    // Too late for a stream, which would be ended at once.
    world.streamed();
    assert_eq!(world.told(), ["hand back"]);
}

/// Row 58: what is under way is finished, and a function that does not end its side is not waited for.
#[test]
fn a_stop_finishes_what_is_under_way_and_waits_for_the_function_for_a_while_only() {
    let mut world = World::open(None);
    world.streamed();
    world.says(begin(2, None));
    world.command();
    world.state_base();
    world.stop();
    assert_eq!(world.told(), ["cancel 2"], "the client's stream ends, and the function is told");
    world.answers_cancel(cancelled(2, update(pn(-1))));
    world.says(reply(3, update(pn(1))));
    assert_eq!(world.told(), ["answer r3", "half-close"]);
    world.wait(SECOND);
    assert_eq!(world.told(), [""; 0]);
    world.wait(SECOND);
    assert_eq!(world.told(), ["reset", "stop"]);
}

#[test]
fn a_function_that_ends_or_breaks_its_stream_takes_its_commands_down() {
    for (how, report) in [
        (Ended::Completed, "report Unexpected entity termination due to stream closure"),
        (Ended::Failed, "report Entity crashed"),
    ] {
        let mut world = World::open(None);
        world.command();
        world.ended(how);
        assert_eq!(world.told(), ["command 2", "fail: Entity terminating", report, "reset"]);
    }
}

#[test]
fn a_slow_command_is_given_up_alone_and_its_late_reply_still_counts() {
    let mut world = World::open(None);
    world.command();
    world.wait(4 * SECOND);
    world.command();
    world.says(reply(3, None));
    world.elsewhere(&pn(10));
    world.state_base();
    world.wait(SECOND);
    assert_eq!(world.told(), ["fail: DeadlineExceeded", "delta +10"]);
    world.says(reply(2, update(pn(1))));
    assert_eq!(world.told(), [""; 0]);
    assert_eq!(world.value.as_ref().map(|value| value.as_pn_counter().expect("a counter").value()), Some(11));
}

#[test]
fn a_function_that_says_nothing_at_all_loses_its_stream() {
    let mut world = World::open(None);
    world.wait(SECOND);
    world.command();
    world.wait(5 * SECOND);
    assert_eq!(world.told()[..2], ["command 2", "fail: Entity terminating"]);
}

#[test]
fn commands_are_bounded_with_the_function_and_before_it() {
    let mut world = World::open(None);
    for _ in 0..4 {
        world.command();
    }
    assert_eq!(world.told(), ["command 2", "command 3", "command 4", "fail: ResourceExhausted"]);

    let mut world = World::new();
    for _ in 0..3 {
        world.command();
    }
    assert_eq!(world.told(), ["activate", "fail: ResourceExhausted"]);
}

/// Row 54: a deletion while the entity is being stopped and a command is outstanding.
#[test]
fn a_deletion_during_a_stop_passes_on_what_is_owed() {
    let mut world = World::open(Some(pn(1)));
    world.command();
    world.stop();
    world.deleted_elsewhere();
    assert_eq!(world.told(), ["command 2", "delete", "half-close"]);
    world.says(reply(2, update(pn(1))));
    world.ended(Ended::Completed);
    assert_eq!(world.told(), ["answer r2", "reset", "stop"]);

    let mut world = World::open(Some(pn(1)));
    world.command();
    world.stop();
    world.deleted_elsewhere();
    world.state_base();
    world.wait(3 * SECOND);
    assert_eq!(world.told(), [""; 0], "the function owes a reply");
    world.wait(2 * SECOND);
    assert_eq!(world.told(), ["fail: Entity deleted", "reset", "stop"]);
}
