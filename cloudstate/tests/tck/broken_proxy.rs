//! The same from the other side: something is wrong with what the sidecar sends, and the tests of the proxy find it.

use cloudstate::tck::engine::Address;
use cloudstate::tck::{self, Arrangement, Part};
use prost::Message;
use prost::bytes::Bytes;
use proto::cloudstate::action::ActionCommand;
use proto::cloudstate::crdt::{CrdtStreamIn, crdt_stream_in};
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, event_sourced_stream_in};
use proto::cloudstate::valueentity::{ValueEntityStreamIn, value_entity_stream_in};
use proto::cloudstate::{Metadata, MetadataEntry, ProxyInfo, metadata_entry};

use super::broken::{failed, function, one};
use super::relay::{Break, Fate, Relay, Then, intact};
use super::started_with;

/// What is wrong with the sidecar, the groups that are run, and the tests that find it.
const BROKEN_PROXIES: &[(&str, Break, &[&str], &[&str])] = &[
    ("nothing", intact, &["1", "6", "7", "8", "9", "10", "11"], &[]),
    ("a type of entities is not supported", unsupported_type, &["1"], &["verify proxy info and entity discovery"]),
    (
        "commands carry the client's headers",
        with_metadata,
        &["8"],
        &[
            "verify state changes",
            "verify forwards and side effects",
            "verify failures",
            "verify HTTP API",
            "verify passivation timeout",
        ],
    ),
    (
        "replayed events are numbered from two",
        replay_from_one_too_many,
        &["8"],
        &["verify failures", "verify HTTP API"],
    ),
    (
        "an entity without state starts without a state message",
        without_init_state,
        &["7"],
        &[
            "verify state changes",
            "verify forwards and side effects",
            "verify failures",
            "verify HTTP API",
            "verify passivation timeout",
        ],
    ),
    (
        "cancelled streams are not told to the function",
        never_cancelled,
        &["9"],
        &["verify streamed responses for connection tracking"],
    ),
    (
        "the header of a streamed call has a payload",
        payload_in_the_header,
        &["6"],
        &[
            "verify streamed command processing",
            "verify streamed forwards and side effects",
            "verify streamed failures",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_proxy_fails_the_tests_that_are_there_to_find_it() {
    let (_function, address) = function().await;
    let mut wrong = Vec::new();
    for (what, breakage, groups, expected) in BROKEN_PROXIES {
        // The sidecar finds the relay where it should find the interceptor.
        let port = cloudstate::listen::free_port().expect("a port");
        let relay = Relay::start(Address::local(port), *breakage, intact).await;
        let Part { command, .. } = super::arrangement().proxy;
        let command = format!("USER_FUNCTION_PORT={} {}", relay.port, command.expect("a sidecar of ours"));
        let arrangement = Arrangement {
            port: Some(port),
            proxy: started_with(command),
            function: Part { port: Some(address.port), ..Part::default() },
            ..Arrangement::default()
        };
        let groups: Vec<_> = groups.iter().map(|group| group.parse().expect("a group")).collect();
        let report = tck::run(&arrangement, &groups, |_| ()).await.expect("function, suite, relay and sidecar");
        // Kept for a reader of the failures, of which there is none here.
        if let Some(folder) = report.outputs.first().and_then(|file| file.parent()) {
            std::fs::remove_dir_all(folder).expect("its processes have ended");
        }
        let failed = failed(&report);
        if failed != *expected {
            wrong.push(format!("{what}:\n  expected {expected:#?}\n  failed {failed:#?}\n{report}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn unsupported_type(path: &str, message: Bytes) -> Fate {
    if !path.ends_with("/discover") {
        return intact(path, message);
    }
    let mut info = ProxyInfo::decode(message).expect("a message of the protocol");
    info.supported_entity_types.retain(|supported| supported != "cloudstate.crdt.Crdt");
    one(&info)
}

fn with_metadata(path: &str, message: Bytes) -> Fate {
    event_sourced(path, message, |input| {
        if let event_sourced_stream_in::Message::Command(command) = input {
            let value = Some(metadata_entry::Value::StringValue("alice".to_owned()));
            command.metadata = Some(Metadata { entries: vec![MetadataEntry { key: "x-user".to_owned(), value }] });
        }
    })
}

fn replay_from_one_too_many(path: &str, message: Bytes) -> Fate {
    event_sourced(path, message, |input| {
        if let event_sourced_stream_in::Message::Event(event) = input {
            event.sequence += 1;
        }
    })
}

fn without_init_state(path: &str, message: Bytes) -> Fate {
    if path != "/cloudstate.valueentity.ValueEntity/handle" {
        return intact(path, message);
    }
    let mut input = ValueEntityStreamIn::decode(message).expect("a message of the protocol");
    if let Some(value_entity_stream_in::Message::Init(init)) = &mut input.message {
        init.state = None;
    }
    one(&input)
}

fn never_cancelled(path: &str, message: Bytes) -> Fate {
    if path != "/cloudstate.crdt.Crdt/handle" {
        return intact(path, message);
    }
    let input = CrdtStreamIn::decode(message.clone()).expect("a message of the protocol");
    let cancels = matches!(input.message, Some(crdt_stream_in::Message::StreamCancelled(_)));
    Fate { messages: if cancels { Vec::new() } else { vec![message] }, then: Then::GoOn }
}

fn payload_in_the_header(path: &str, message: Bytes) -> Fate {
    if path != "/cloudstate.action.ActionProtocol/handleStreamed" {
        return intact(path, message);
    }
    let mut command = ActionCommand::decode(message).expect("a message of the protocol");
    if command.payload.is_none() {
        command.payload = Some(proto::Any::default());
    }
    one(&command)
}

fn event_sourced(path: &str, message: Bytes, change: impl FnMut(&mut event_sourced_stream_in::Message)) -> Fate {
    if path != "/cloudstate.eventsourced.EventSourced/handle" {
        return intact(path, message);
    }
    let mut input = EventSourcedStreamIn::decode(message).expect("a message of the protocol");
    input.message.iter_mut().for_each(change);
    one(&input)
}
