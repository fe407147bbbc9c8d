//! A suite that passes everything would be green as well. Here one thing is wrong at a time, and exactly the tests fail
//! that are there to find it.

use cloudstate::tck::engine::{Address, Tck};
use cloudstate::tck::{self, Arrangement, Part, Report};
use prost::Message;
use prost::bytes::Bytes;
use proto::cloudstate::action::{ActionResponse, action_response};
use proto::cloudstate::client_action::Action;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{
    CrdtReply, CrdtStateAction, CrdtStreamOut, CrdtWriteConsistency, crdt_state_action, crdt_stream_out,
};
use proto::cloudstate::eventsourced::{EventSourcedReply, EventSourcedStreamOut, event_sourced_stream_out};
use proto::cloudstate::valueentity::{ValueEntityReply, ValueEntityStreamOut, value_entity_stream_out};
use proto::cloudstate::{ClientAction, EntitySpec};

use super::relay::{Break, Fate, Relay, Then, intact};

/// What is wrong with the function, the group that is run, and the tests that find it.
const BROKEN_FUNCTIONS: &[(&str, Break, &str, &[&str])] = &[
    ("nothing", intact, "5", &[]),
    (
        "the fourth command's answer claims to be the third's",
        wrong_command_id,
        "4",
        &["verify multiple emitted events and snapshots", "verify rehydration after passivation"],
    ),
    (
        "snapshots are not sent",
        missing_snapshot,
        "4",
        &[
            "verify multiple emitted events and snapshots",
            "verify rehydration after passivation",
            "verify forward with emitted events and snapshot",
            "verify reply with multiple side effects, events, and snapshot",
            "verify failure actions do not retain emitted events (may request entity restart)",
        ],
    ),
    (
        "a forward is sent twice",
        extra_message,
        "4",
        &[
            "verify forward to second service",
            "verify forward with emitted events",
            "verify forward with emitted events and snapshot",
            "verify forward and side effect to second service",
        ],
    ),
    (
        "the stream is completed after the second answer",
        closed_early,
        "4",
        &[
            "verify multiple emitted events and snapshots",
            "verify rehydration after passivation",
            "verify forward to second service",
            "verify reply with side effect to second service",
            "verify connection after failure action",
        ],
    ),
    (
        "the stream ends with an error after a failure",
        ends_with_an_error,
        "4",
        &[
            "verify failure action",
            "verify connection after failure action",
            "verify failure actions do not retain emitted events (may request entity restart)",
            "verify failure actions do not allow side effects",
        ],
    ),
    (
        "the last event is not sent",
        missing_event,
        "4",
        &[
            "verify multiple emitted events",
            "verify multiple emitted events and snapshots",
            "verify rehydration after passivation",
            "verify forward to second service",
            "verify forward with emitted events and snapshot",
            "verify reply with side effect to second service",
            "verify reply with multiple side effects, events, and snapshot",
            "verify failure actions do not retain emitted events (may request entity restart)",
        ],
    ),
    (
        "a state is not the one that was written",
        wrong_payload,
        "3",
        &["verify rehydration after passivation", "verify reply with multiple side effects and state"],
    ),
    (
        "a delete is sent as no change",
        missing_delete,
        "3",
        &["verify delete state", "verify sub invocations with multiple update states and delete states"],
    ),
    (
        "the last of several side effects is missing",
        missing_side_effect,
        "2",
        &[
            "verify unary command reply with multiple side effects",
            "verify unary command no reply with multiple side effects",
            "verify unary command forward with multiple side effects",
            "verify unary command failure with multiple side effects",
            "verify streamed-in command reply with side effects",
            "verify streamed-in command no reply with side effects",
            "verify streamed-in command forward with side effects",
            "verify streamed-in command failure with side effects",
            "verify streamed-out command replies and side effects",
            "verify streamed-out command no replies and side effects",
            "verify streamed-out command forwards and side effects",
            "verify streamed-out command failures and side effects",
            "verify streamed command replies and side effects",
            "verify streamed command no replies and side effects",
            "verify streamed command forwards and side effects",
            "verify streamed command failures and side effects",
        ],
    ),
    (
        "side effects beside anything but a failure are never synchronous",
        not_synchronous,
        "2",
        &[
            "verify unary command reply with synchronous side effect",
            "verify unary command no reply with synchronous side effect",
            "verify unary command forward with synchronous side effect",
            "verify streamed-in command reply with side effects",
            "verify streamed-in command no reply with side effects",
            "verify streamed-in command forward with side effects",
            "verify streamed-out command replies and side effects",
            "verify streamed-out command no replies and side effects",
            "verify streamed-out command forwards and side effects",
            "verify streamed command replies and side effects",
            "verify streamed command no replies and side effects",
            "verify streamed command forwards and side effects",
        ],
    ),
    (
        "a GCounter counts one too many in its delta",
        wrong_delta,
        "5",
        &[
            "verify GCounter state changes",
            "verify GCounter initial delta in init",
            "verify GCounter initial empty state with replicated initial delta",
            "verify GCounter mix of local and replicated state changes",
            "verify GCounter rehydration after passivation",
            "verify GCounter delete action received from entity",
            "verify forward to second service",
            "verify streamed responses",
            "verify streamed responses with stream ending action",
            "verify write consistency can be configured",
        ],
    ),
    ("write consistency is lost", consistency_lost, "5", &["verify write consistency can be configured"]),
    (
        "accepted streams are not marked so",
        not_streamed,
        "5",
        &[
            "verify streamed responses",
            "verify streamed responses with stream ending action",
            "verify streamed responses with cancellation",
            "verify empty streamed responses with cancellation",
            "verify streamed responses with side effects",
        ],
    ),
    ("the persistence id is that of another entity", wrong_persistence_id, "3", &["verify entity discovery"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_function_fails_the_tests_that_are_there_to_find_it() {
    let (_function, address) = function().await;
    let mut wrong = Vec::new();
    for (what, breakage, group, expected) in BROKEN_FUNCTIONS {
        let relay = Relay::start(address.clone(), intact, *breakage).await;
        let behind_relay = Part { port: Some(relay.port), ..Part::default() };
        let arrangement = Arrangement { function: behind_relay, ..Arrangement::default() };
        let report = tck::run(&arrangement, &[group.parse().expect("a group")], |_| ()).await.expect("a function");
        let failed = failed(&report);
        if failed != *expected {
            wrong.push(format!("{what}:\n  expected {expected:#?}\n  failed {failed:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(super) fn failed(report: &Report) -> Vec<&str> {
    report.groups.iter().flat_map(|group| group.failures()).map(|(name, _)| name).collect()
}

/// The Go function, for as long as the suite that has started it is held.
pub(super) async fn function() -> (Tck, Address) {
    let port = cloudstate::listen::free_port().expect("a port");
    let Arrangement { function, .. } = super::function();
    let arrangement = Arrangement { function: Part { port: Some(port), ..function }, ..Arrangement::default() };
    (Tck::start(&arrangement, false).await.expect("a running function"), Address::local(port))
}

pub(super) fn wrong_command_id(path: &str, message: Bytes) -> Fate {
    event_sourced(path, message, |reply| {
        if reply.command_id == 4 {
            reply.command_id = 3;
        }
        Then::GoOn
    })
}

fn missing_snapshot(path: &str, message: Bytes) -> Fate {
    event_sourced(path, message, |reply| {
        reply.snapshot = None;
        Then::GoOn
    })
}

fn extra_message(path: &str, message: Bytes) -> Fate {
    let mut twice = false;
    let mut fate = event_sourced(path, message, |reply| {
        twice = matches!(action(&reply.client_action), Some(Action::Forward(_)));
        Then::GoOn
    });
    if twice {
        fate.messages.extend(fate.messages.clone());
    }
    fate
}

fn closed_early(path: &str, message: Bytes) -> Fate {
    event_sourced(path, message, |reply| if reply.command_id == 2 { Then::Complete } else { Then::GoOn })
}

fn ends_with_an_error(path: &str, message: Bytes) -> Fate {
    event_sourced(path, message, |reply| match action(&reply.client_action) {
        Some(Action::Failure(_)) => Then::Fail,
        _ => Then::GoOn,
    })
}

fn missing_event(path: &str, message: Bytes) -> Fate {
    event_sourced(path, message, |reply| {
        if reply.events.len() > 2 {
            reply.events.pop();
        }
        Then::GoOn
    })
}

fn wrong_payload(path: &str, message: Bytes) -> Fate {
    value_entity(path, message, |reply| {
        if let Some(Action::Reply(reply)) = reply.client_action.as_mut().and_then(|given| given.action.as_mut())
            && let Some(payload) = &mut reply.payload
            && payload.value.ends_with(b"E")
        {
            payload.value = Bytes::from_static(b"\x0a\x01D");
        }
    })
}

fn missing_delete(path: &str, message: Bytes) -> Fate {
    use proto::cloudstate::valueentity::value_entity_action::Action::Delete;
    value_entity(path, message, |reply| {
        if matches!(reply.state_action.as_ref().and_then(|given| given.action.as_ref()), Some(Delete(_))) {
            reply.state_action = None;
        }
    })
}

fn missing_side_effect(path: &str, message: Bytes) -> Fate {
    action_response(path, message, |response| {
        if response.side_effects.len() > 1 {
            response.side_effects.pop();
        }
    })
}

fn not_synchronous(path: &str, message: Bytes) -> Fate {
    action_response(path, message, |response| {
        let unary = !matches!(response.response, Some(action_response::Response::Failure(_)));
        response.side_effects.iter_mut().for_each(|effect| effect.synchronous &= !unary);
    })
}

fn wrong_delta(path: &str, message: Bytes) -> Fate {
    crdt(path, message, |reply| {
        use crdt_state_action::Action::Update;
        let change = reply.state_action.as_mut().and_then(|given| given.action.as_mut());
        if let Some(Update(delta)) = change
            && let Some(Delta::Gcounter(delta)) = &mut delta.delta
        {
            delta.increment += 1;
        }
    })
}

fn consistency_lost(path: &str, message: Bytes) -> Fate {
    crdt(path, message, |reply| {
        if let Some(CrdtStateAction { write_consistency, .. }) = &mut reply.state_action {
            *write_consistency = CrdtWriteConsistency::Local.into();
        }
    })
}

fn not_streamed(path: &str, message: Bytes) -> Fate {
    crdt(path, message, |reply| reply.streamed = false)
}

fn wrong_persistence_id(path: &str, message: Bytes) -> Fate {
    if !path.ends_with("/discover") {
        return intact(path, message);
    }
    let mut spec = EntitySpec::decode(message).expect("a specification");
    for entity in &mut spec.entities {
        if entity.persistence_id == "value-entity-tck-model-two" {
            entity.persistence_id = "value-entity-tck-model".to_owned();
        }
    }
    one(&spec)
}

fn action(given: &Option<ClientAction>) -> Option<&Action> {
    given.as_ref()?.action.as_ref()
}

fn event_sourced(path: &str, message: Bytes, change: impl FnOnce(&mut EventSourcedReply) -> Then) -> Fate {
    if path != "/cloudstate.eventsourced.EventSourced/handle" {
        return intact(path, message);
    }
    let mut output = EventSourcedStreamOut::decode(message).expect("a message of the protocol");
    let then = match &mut output.message {
        Some(event_sourced_stream_out::Message::Reply(reply)) => change(reply),
        _ => Then::GoOn,
    };
    Fate { then, ..one(&output) }
}

fn value_entity(path: &str, message: Bytes, change: impl FnOnce(&mut ValueEntityReply)) -> Fate {
    if path != "/cloudstate.valueentity.ValueEntity/handle" {
        return intact(path, message);
    }
    let mut output = ValueEntityStreamOut::decode(message).expect("a message of the protocol");
    if let Some(value_entity_stream_out::Message::Reply(reply)) = &mut output.message {
        change(reply);
    }
    one(&output)
}

fn crdt(path: &str, message: Bytes, change: impl FnOnce(&mut CrdtReply)) -> Fate {
    if path != "/cloudstate.crdt.Crdt/handle" {
        return intact(path, message);
    }
    let mut output = CrdtStreamOut::decode(message).expect("a message of the protocol");
    if let Some(crdt_stream_out::Message::Reply(reply)) = &mut output.message {
        change(reply);
    }
    one(&output)
}

fn action_response(path: &str, message: Bytes, change: impl FnOnce(&mut ActionResponse)) -> Fate {
    if !path.starts_with("/cloudstate.action.ActionProtocol/") {
        return intact(path, message);
    }
    let mut response = ActionResponse::decode(message).expect("a message of the protocol");
    change(&mut response);
    one(&response)
}

pub(super) fn one(message: &impl Message) -> Fate {
    Fate { messages: vec![message.encode_to_vec().into()], then: Then::GoOn }
}
