//! Stories of one entity, told to the pure state machine.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actors::{Clock, ReplyTo, Tick};
use bytes::Bytes;
use persistence::{CommandId, CommandWindow};
use proto::Any;
use proto::cloudstate::eventsourced::{EventSourcedReply, EventSourcedStreamOut, event_sourced_stream_out};
use proto::cloudstate::{ClientAction, Entity, EntitySpec, Failure, Reply, ServiceInfo, SideEffect, client_action};
use tonic::Code;

use super::protocol::{Change, Protocol};
use super::state::{ActivationError, Effect, Limits, WriteError};
use crate::call::CallError;
use crate::entity::event_sourced::{EventSourced, Events};
use crate::entity::{Answer, EntityCommand};
use crate::router::Caller;
use crate::spec::{EntityType, MethodSpec, ServedSpec, SpecSettings};

type State = super::state::State<EventSourced>;

/// The same moment throughout.
pub(in crate::entity) fn now() -> Tick {
    static START: LazyLock<Tick> = LazyLock::new(|| Clock::tokio().now());
    *START
}

/// `GetCart` of the sample cart.
pub(crate) fn method() -> Arc<MethodSpec> {
    static SPEC: LazyLock<ServedSpec> = LazyLock::new(|| {
        let entity = Entity {
            entity_type: EntityType::EventSourced.as_str().to_owned(),
            service_name: "com.example.shoppingcart.ShoppingCart".to_owned(),
            persistence_id: "cart".to_owned(),
            passivation_strategy: None,
        };
        let spec = EntitySpec {
            proto: Bytes::from_static(proto::model::FILE_DESCRIPTOR_SET),
            entities: vec![entity],
            service_info: Some(ServiceInfo { protocol_minor_version: 2, ..ServiceInfo::default() }),
        };
        let settings = SpecSettings { strict_version: true, ..SpecSettings::default() };
        ServedSpec::check(&spec, &settings).expect("the sample is valid")
    });
    SPEC.method("com.example.shoppingcart.ShoppingCart", "GetCart").expect("a method").clone()
}

/// A command whose caller waits for ever; the caller's side must stay alive.
fn command(text: &'static str) -> (Box<EntityCommand>, actors::Ask<Answer>) {
    let (reply_to, answer) = ReplyTo::channel();
    let payload = Bytes::from_static(text.as_bytes());
    (
        Box::new(EntityCommand {
            method: method(),
            type_url: method().input_type_url.clone(),
            payload,
            command_id: None,
            deadline: None,
            received_at: now(),
            caller: Caller::client(),
            reply_to,
            replies: None,
        }),
        answer,
    )
}

/// Nothing was carried out before.
fn window() -> CommandWindow {
    CommandWindow::new(EventSourced::WINDOW)
}

fn any(text: &'static str) -> Any {
    Any { type_url: "type.googleapis.com/test.Event".to_owned(), value: Bytes::from_static(text.as_bytes()) }
}

fn reply(command_id: i64, events: &[&'static str]) -> EventSourcedReply {
    let action = client_action::Action::Reply(Reply { payload: Some(any("reply")), metadata: None });
    EventSourcedReply {
        command_id,
        client_action: Some(ClientAction { action: Some(action) }),
        events: events.iter().map(|text| any(text)).collect(),
        ..EventSourcedReply::default()
    }
}

fn failed(command_id: i64, restart: bool) -> EventSourcedReply {
    let failure = Failure { command_id, description: "no".to_owned(), restart };
    let action = client_action::Action::Failure(failure);
    EventSourcedReply { client_action: Some(ClientAction { action: Some(action) }), ..reply(command_id, &[]) }
}

fn out(reply: EventSourcedReply) -> EventSourcedStreamOut {
    EventSourcedStreamOut { message: Some(event_sourced_stream_out::Message::Reply(reply)) }
}

fn stream_failure(command_id: i64) -> EventSourcedStreamOut {
    let failure = Failure { command_id, description: "broken".to_owned(), restart: false };
    EventSourcedStreamOut { message: Some(event_sourced_stream_out::Message::Failure(failure)) }
}

/// Effects as words, so that a story reads as one; answers carry their text.
fn told(effects: Vec<Effect<Events>>) -> Vec<String> {
    effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Activate => "activate".to_owned(),
            Effect::Send { id } => format!("send {id}"),
            Effect::Write { change, after, .. } => format!("write {} after {after}", change.steps()),
            Effect::SaveSnapshot { position, .. } => format!("snapshot at {position}"),
            Effect::Repeated => "again".to_owned(),
            Effect::Answer { command, answer } => {
                let text = String::from_utf8_lossy(&command.payload).into_owned();
                match answer {
                    Ok(_) => format!("answer {text}"),
                    Err(CallError::Failure(failure)) => format!("fail {text}: {failure}"),
                    Err(CallError::Status(status)) => format!("fail {text}: {:?}", status.code()),
                }
            }
            Effect::Route { command, effects, .. } => {
                format!("route {} with {} effects", String::from_utf8_lossy(&command.payload), effects.len())
            }
            Effect::HalfClose => "half-close".to_owned(),
            Effect::Report(_) => "report".to_owned(),
            Effect::RequestPassivation => "request passivation".to_owned(),
            Effect::Stop => "stop".to_owned(),
        })
        .collect()
}

/// An entity that has not been started: four commands may wait, and as many replies.
fn fresh() -> State {
    State::new(Arc::from("ada"), Limits { waiting_max: 4, unsettled_max: 4, stored_size_max: 1_000 })
}

/// An entity that is open, with nothing to do.
fn idle(highest_seq: u64) -> State {
    let mut state = fresh();
    let (first, caller) = command("first");
    assert_eq!(told(state.command(first, now())), ["activate"]);
    drop(caller);
    assert_eq!(told(state.recovered(highest_seq, window(), now())), Vec::<String>::new(), "its caller has gone");
    state
}

#[test]
fn a_command_activates_and_is_answered_after_its_events_are_durable() {
    let mut state = fresh();
    let (a, _a) = command("a");
    assert_eq!(told(state.command(a, now())), ["activate"]);
    assert_eq!(told(state.recovered(7, window(), now())), ["send 1"]);
    assert_eq!(told(state.received(out(reply(1, &["x", "y"])), now())), ["write 2 after 7"]);
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a"]);

    let (b, _b) = command("b");
    assert_eq!(told(state.command(b, now())), ["send 2"]);
    assert_eq!(told(state.received(out(reply(2, &["z"])), now())), ["write 1 after 9"]);
}

#[test]
fn one_command_at_a_time_in_order_of_arrival() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    assert_eq!(told(state.command(a, now())), ["send 1"]);
    assert_eq!(told(state.command(b, now())), Vec::<String>::new());
    let (c, _c) = command("c");
    assert_eq!(told(state.command(c, now())), Vec::<String>::new());
    assert_eq!(told(state.received(out(reply(1, &[])), now())), ["answer a", "send 2"]);
    assert_eq!(told(state.received(out(reply(2, &[])), now())), ["answer b", "send 3"]);
}

#[test]
fn the_waiting_room_is_bounded_and_callers_that_left_make_room() {
    let mut state = idle(0);
    let callers: Vec<_> = ["now", "1", "2", "3"].map(command).into_iter().collect();
    let mut waits = Vec::new();
    for (command, wait) in callers {
        state.command(command, now());
        waits.push(wait);
    }
    let (gone, left) = command("gone");
    drop(left);
    state.command(gone, now());
    let (next, _next) = command("next");
    assert_eq!(told(state.command(next, now())), Vec::<String>::new(), "takes the place of the one that left");
    let (refused, _refused) = command("refused");
    let effects = state.command(refused, now());
    let [Effect::Answer { answer: Err(CallError::Status(status)), .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[test]
fn a_command_whose_deadline_has_passed_is_not_started() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    let (mut late, _late) = command("late");
    let (c, _c) = command("c");
    late.deadline = Some(now() + Duration::from_secs(1));
    state.command(a, now());
    state.command(late, now());
    state.command(c, now());
    let later = now() + Duration::from_secs(2);
    assert_eq!(told(state.received(out(reply(1, &[])), later)), ["answer a", "fail late: DeadlineExceeded", "send 2"]);
    assert_eq!(state.in_progress().map(|command| &command.payload[..]), Some(&b"c"[..]));
}

#[test]
fn a_snapshot_describes_the_events_of_its_reply_and_needs_some() {
    let mut state = idle(4);
    let (a, _a) = command("a");
    state.command(a, now());
    let with_snapshot = EventSourcedReply { snapshot: Some(any("s")), ..reply(1, &["x", "y"]) };
    assert_eq!(told(state.received(out(with_snapshot), now())), ["write 2 after 4"]);
    assert_eq!(told(state.written(1, Ok(()), now())), ["snapshot at 6", "answer a"]);

    let (b, _b) = command("b");
    state.command(b, now());
    let without_events = EventSourcedReply { snapshot: Some(any("s")), ..reply(2, &[]) };
    assert_eq!(told(state.received(out(without_events), now())), ["report", "answer b"]);
}

#[test]
fn side_effects_go_through_the_router_after_the_write() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    state.command(a, now());
    let with_effects = EventSourcedReply { side_effects: vec![SideEffect::default()], ..reply(1, &["x"]) };
    assert_eq!(told(state.received(out(with_effects), now())), ["write 1 after 0"]);
    assert_eq!(told(state.written(1, Ok(()), now())), ["route a with 1 effects"]);
}

#[test]
fn a_failure_keeps_the_stream() {
    let mut state = idle(3);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    assert_eq!(told(state.received(out(failed(1, false)), now())), ["fail a: no", "send 2"]);
}

#[test]
fn a_failure_with_restart_replays_at_once_and_keeps_the_queue() {
    let mut state = idle(3);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    let mut with_events = failed(1, true);
    with_events.events = vec![any("never stored")];
    assert_eq!(told(state.received(out(with_events), now())), ["fail a: no", "half-close"]);
    assert_eq!(told(state.ended()), Vec::<String>::new(), "asked for");
    assert_eq!(told(state.closed(now())), ["activate"]);
    assert_eq!(told(state.recovered(3, window(), now())), ["send 1"], "ids start over");
}

#[test]
fn a_restart_is_eager_even_when_nobody_waits() {
    let mut state = idle(3);
    let (a, _a) = command("a");
    state.command(a, now());
    assert_eq!(told(state.received(out(failed(1, true)), now())), ["fail a: no", "half-close"]);
    assert_eq!(told(state.closed(now())), ["activate"]);
}

#[test]
fn events_of_a_failed_command_are_never_stored() {
    let mut state = idle(3);
    let (a, _a) = command("a");
    state.command(a, now());
    let with_events = EventSourcedReply { events: vec![any("x")], ..failed(1, false) };
    assert_eq!(told(state.received(out(with_events), now())), ["fail a: no", "half-close"]);
}

#[test]
fn protocol_violations_end_the_stream_with_their_texts() {
    let empty = EventSourcedStreamOut { message: None };
    for (message, text, reported) in [
        (out(reply(9, &[])), "Unexpected entity reply", true),
        (stream_failure(0), "Unexpected entity failure", false),
        (stream_failure(1), "Unexpected entity failure", false),
        (stream_failure(9), "Unexpected entity failure", false),
        (empty, "Unexpected entity message", true),
    ] {
        let mut state = idle(0);
        let (a, _a) = command("a");
        let (b, _b) = command("b");
        state.command(a, now());
        state.command(b, now());
        let mut expected =
            vec![format!("fail a: {text}"), "fail b: Entity terminated".to_owned(), "half-close".to_owned()];
        expected.extend(reported.then(|| "report".to_owned()));
        assert_eq!(told(state.received(message, now())), expected);
        assert_eq!(told(state.closed(now())), Vec::<String>::new(), "rests until the next command");
    }
}

#[test]
fn a_reply_when_nothing_was_asked_is_a_violation_too() {
    let mut state = idle(0);
    assert_eq!(told(state.received(out(reply(1, &[])), now())), ["half-close", "report"]);
}

#[test]
fn a_broken_stream_fails_the_command_and_those_behind_it() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    assert_eq!(
        told(state.ended()),
        ["fail a: Unexpected entity termination", "fail b: Entity terminated", "half-close"]
    );
    assert_eq!(told(state.closed(now())), Vec::<String>::new());
    let (c, _c) = command("c");
    assert_eq!(told(state.command(c, now())), ["activate"], "the next command starts a new life");
}

#[test]
fn a_stream_that_breaks_during_a_write_does_not_lose_the_answer() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    state.received(out(reply(1, &["x"])), now());
    assert_eq!(told(state.ended()), ["fail b: Unexpected entity termination", "half-close"]);
    let (c, _c) = command("c");
    assert_eq!(told(state.command(c, now())), Vec::<String>::new());
    assert_eq!(told(state.closed(now())), Vec::<String>::new(), "recovery must not overtake the write");
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a", "activate"]);
}

#[test]
fn a_failed_write_is_told_and_replayed_over() {
    let error = WriteError::NotStored("disk full".to_owned());
    let mut state = idle(5);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    state.received(out(reply(1, &["x"])), now());
    assert_eq!(told(state.written(1, Err(error), now())), ["fail a: Unavailable", "half-close"]);
    assert_eq!(told(state.closed(now())), ["activate"], "b is served from what the log says");
    assert_eq!(told(state.recovered(5, window(), now())), ["send 1"]);
}

#[test]
fn a_failed_activation_answers_everybody() {
    let mut state = fresh();
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    let error = ActivationError::Recovery("hole at 3".to_owned());
    assert_eq!(told(state.activation_failed(&error)), ["fail a: Unavailable", "fail b: Unavailable"]);
}

#[test]
fn passivation_serves_what_came_before_the_stop() {
    let mut state = idle(0);
    assert_eq!(told(state.idle_timeout()), ["request passivation"]);
    assert_eq!(told(state.idle_timeout()), ["request passivation"], "again: the first may have been lost");
    let (a, _a) = command("a");
    assert_eq!(told(state.command(a, now())), ["send 1"], "came before the region knew");
    assert_eq!(told(state.stop(now())), Vec::<String>::new());
    assert_eq!(told(state.idle_timeout()), Vec::<String>::new(), "the stop has come");
    assert_eq!(told(state.received(out(reply(1, &["x"])), now())), ["write 1 after 0"]);
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a", "half-close"]);
    assert_eq!(told(state.closed(now())), ["stop"]);
}

#[test]
fn an_idle_entity_closes_its_stream_and_stops() {
    let mut state = idle(0);
    state.idle_timeout();
    assert_eq!(told(state.stop(now())), ["half-close"]);
    assert_eq!(told(state.closed(now())), ["stop"]);
}

#[test]
fn a_function_that_never_answers_does_not_hold_the_id() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    assert_eq!(
        told(state.timed_out(Duration::from_secs(60))),
        ["fail a: DeadlineExceeded", "fail b: Entity terminated", "half-close"]
    );
}

/// Three commands that each emit an event, all served before the first write has ended.
fn three_under_way(state: &mut State) -> Vec<actors::Ask<Answer>> {
    let (a, a_wait) = command("a");
    let (b, b_wait) = command("b");
    let (c, c_wait) = command("c");
    assert_eq!(told(state.command(a, now())), ["send 1"]);
    state.command(b, now());
    state.command(c, now());
    assert_eq!(told(state.received(out(reply(1, &["x"])), now())), ["write 1 after 0", "send 2"]);
    assert_eq!(told(state.received(out(reply(2, &["y", "z"])), now())), ["write 2 after 1", "send 3"]);
    assert_eq!(told(state.received(out(reply(3, &[])), now())), Vec::<String>::new(), "it may have read a's or b's");
    vec![a_wait, b_wait, c_wait]
}

#[test]
fn the_function_works_on_while_replies_wait_for_their_own_writes() {
    let mut state = idle(0);
    let _callers = three_under_way(&mut state);
    assert_eq!(told(state.written(2, Ok(()), now())), Vec::<String>::new(), "in the order of the commands");
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a", "answer b", "answer c"]);
}

#[test]
fn a_failed_write_takes_along_what_was_built_on_it() {
    let mut state = idle(0);
    let _callers = three_under_way(&mut state);
    let (d, _d) = command("d");
    assert_eq!(told(state.command(d, now())), ["send 4"]);
    let full = WriteError::NotStored("disk full".to_owned());
    assert_eq!(told(state.written(1, Err(full), now())), ["half-close"], "b's is still open");
    assert_eq!(told(state.closed(now())), Vec::<String>::new());
    let conflict = WriteError::NotOwner("conflict".to_owned());
    assert_eq!(told(state.written(2, Err(conflict), now())), ["fail a: Unavailable", "activate"]);
    assert_eq!(told(state.recovered(0, window(), now())), ["send 1"]);
    for (id, next) in [(1, "b"), (2, "c"), (3, "d")] {
        assert_eq!(state.in_progress().map(|command| &command.payload[..]), Some(next.as_bytes()), "in order");
        state.received(out(reply(id, &[])), now());
    }
}

#[test]
fn an_unknown_write_is_known_once_its_successor_is_stored() {
    let mut state = idle(0);
    let _callers = three_under_way(&mut state);
    let unknown = || WriteError::Unknown("connection lost".to_owned());
    assert_eq!(told(state.written(1, Err(unknown()), now())), ["half-close"]);
    assert_eq!(told(state.written(2, Ok(()), now())), ["answer a", "answer b", "answer c"]);

    let mut state = idle(0);
    let _callers = three_under_way(&mut state);
    state.written(1, Err(unknown()), now());
    let effects = state.written(2, Err(WriteError::NotOwner("conflict".to_owned())), now());
    let [Effect::Answer { answer: Err(error), .. }] = &effects[..] else { panic!("{effects:?}") };
    assert!(error.message().contains("unknown whether"), "{error}");
}

#[test]
fn so_many_replies_wait_and_no_more() {
    let mut state = idle(0);
    let mut waits = Vec::new();
    for text in ["1", "2", "3", "4", "5"] {
        let (command, wait) = command(text);
        assert_eq!(told(state.command(command, now())), [format!("send {text}")]);
        let id = text.parse().expect("a number");
        assert_eq!(told(state.received(out(reply(id, &["x"])), now())).len(), 1, "a write");
        waits.push(wait);
    }
    let (six, _six) = command("6");
    assert_eq!(told(state.command(six, now())), Vec::<String>::new(), "the store is behind");
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer 1", "send 6"]);
}

#[test]
fn a_failure_waits_for_the_changes_that_it_may_have_seen() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    let (b, _b) = command("b");
    state.command(a, now());
    state.command(b, now());
    state.received(out(reply(1, &["x"])), now());
    assert_eq!(told(state.received(out(failed(2, true)), now())), ["half-close"], "replays once a is written");
    assert_eq!(told(state.closed(now())), Vec::<String>::new());
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a", "fail b: no", "activate"]);
}

#[test]
fn an_event_too_large_to_be_loaded_again_is_refused_type_url_included() {
    let mut state = idle(0);
    let (a, _a) = command("a");
    state.command(a, now());
    let mut large = reply(1, &["x"]);
    large.events[0].type_url = "t".repeat(1_000);
    assert_eq!(told(state.received(out(large), now())), ["report", "fail a: FailedPrecondition", "half-close"]);
}

/// As [`command`], with a key.
fn keyed(key: &str, text: &'static str) -> (Box<EntityCommand>, actors::Ask<Answer>) {
    let (mut command, answer) = command(text);
    command.command_id = Some(CommandId::of(key, &[text.as_bytes()]));
    (command, answer)
}

#[test]
fn a_command_sent_again_is_answered_again_and_not_sent_to_the_function() {
    let mut state = idle(0);
    let (a, _a) = keyed("k", "a");
    assert_eq!(told(state.command(a, now())), ["send 1"]);
    let effects = state.received(out(reply(1, &["x"])), now());
    let [Effect::Write { answered: Some(answered), .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(answered.command, CommandId::of("k", &[b"a"]), "stored in the same write");
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a"]);
    let (again, mut got) = keyed("k", "a");
    let mut effects = state.command(again, now());
    let Some(Effect::Answer { command, answer }) = effects.pop() else { panic!("{effects:?}") };
    assert_eq!(told(effects), ["again"]);
    command.reply_to.tell(answer);
    let reply = futures_util::FutureExt::now_or_never(&mut got).expect("answered").expect("answered");
    assert_eq!(&reply.expect("a reply").expect("a payload").payload[..], b"reply");

    let (other, _other) = keyed("k", "b");
    assert_eq!(told(state.command(other, now())), ["fail b: FailedPrecondition"], "the key of another command");
}

/// The first is still being stored: the second waits for what becomes of it, and for the same answer.
#[test]
fn a_command_sent_again_too_early_waits_for_the_first() {
    let mut state = idle(0);
    let (a, _a) = keyed("k", "a");
    let (again, _again) = keyed("k", "a");
    let (other, _other) = keyed("k", "b");
    state.command(a, now());
    assert_eq!(told(state.command(again, now())), Vec::<String>::new(), "the first is with the function");
    let effects = told(state.received(out(reply(1, &["x"])), now()));
    assert_eq!(effects, ["write 1 after 0", "again"]);
    assert_eq!(told(state.command(other, now())), ["fail b: FailedPrecondition"]);
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a", "answer a"]);
}

/// What becomes of the first is nothing: the second is served as if it were the first.
#[test]
fn a_command_sent_again_takes_the_place_of_one_that_failed() {
    let mut state = idle(0);
    let (a, _a) = keyed("k", "a");
    let (again, _again) = keyed("k", "a");
    state.command(a, now());
    state.command(again, now());
    state.received(out(reply(1, &["x"])), now());
    let full = WriteError::NotStored("disk full".to_owned());
    assert_eq!(told(state.written(1, Err(full), now())), ["fail a: Unavailable", "half-close"]);
    assert_eq!(told(state.closed(now())), ["activate"]);
    assert_eq!(told(state.recovered(0, window(), now())), ["send 1"]);
}

/// UNAVAILABLE invites to try again: that is for those who can do so without harm.
#[test]
fn an_unknown_outcome_invites_to_try_again_only_with_a_key() {
    for (key, code) in [(true, Code::Unavailable), (false, Code::Unknown)] {
        let mut state = idle(0);
        let (a, _a) = if key { keyed("k", "a") } else { command("a") };
        state.command(a, now());
        state.received(out(reply(1, &["x"])), now());
        let effects = state.written(1, Err(WriteError::Unknown("connection lost".to_owned())), now());
        let Some(Effect::Answer { answer: Err(error), .. }) = effects.first() else { panic!("{effects:?}") };
        assert_eq!(error.code(), code);
        assert!(error.message().contains("unknown whether"), "{error}");
    }
}

#[test]
fn an_answer_too_large_to_be_kept_is_not_made_up() {
    let mut state = idle(0);
    let (a, _a) = keyed("k", "a");
    state.command(a, now());
    let mut large = reply(1, &["x"]);
    let payload = Any { type_url: "large".to_owned(), value: vec![0; 70_000].into() };
    let action = client_action::Action::Reply(Reply { payload: Some(payload), metadata: None });
    large.client_action = Some(ClientAction { action: Some(action) });
    state.received(out(large), now());
    assert_eq!(told(state.written(1, Ok(()), now())), ["answer a"], "the first time all of it");
    let (again, _again) = keyed("k", "a");
    let effects = state.command(again, now());
    let [Effect::Answer { answer: Err(error), .. }] = &effects[..] else { panic!("{effects:?}") };
    assert!(error.code() == Code::FailedPrecondition && error.message().contains("carried out"), "{error}");
}

/// A forward is made again, for its answer; side effects are not.
#[test]
fn a_forward_is_made_again_and_side_effects_are_not() {
    let mut state = idle(0);
    let (a, _a) = keyed("k", "a");
    state.command(a, now());
    let mut forwards = reply(1, &["x"]);
    let action = client_action::Action::Forward(proto::cloudstate::Forward::default());
    forwards.client_action = Some(ClientAction { action: Some(action) });
    forwards.side_effects = vec![SideEffect::default()];
    state.received(out(forwards), now());
    let effects = state.written(1, Ok(()), now());
    assert!(matches!(&effects[..], [Effect::Route { effects, .. }] if effects.len() == 1), "{effects:?}");
    let (again, _again) = keyed("k", "a");
    let effects = state.command(again, now());
    let [Effect::Repeated, Effect::Route { effects, action: Some(client_action::Action::Forward(_)), .. }] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!(effects.is_empty());
}
