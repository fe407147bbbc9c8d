//! Event-sourced entities as the protocol wants them, with a user function played by hand.

use std::sync::Arc;
use std::time::Duration;

use cloudstate::store::Store;
use futures_util::stream::{FuturesUnordered, StreamExt};
use persistence::testkit::FaultySnapshots;
use persistence::{JournalError, PersistenceId};
use proto::cloudstate::eventsourced::EventSourcedReply;
use tonic::Code;

use crate::scripted::{
    Model, ScriptedFunction, ScriptedStream, TestSidecar, answer, failure, model_spec, reply, soon, spec, text,
    with_snapshot,
};

/// A function, a sidecar, a client.
async fn start() -> (ScriptedFunction, TestSidecar, Model) {
    let function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let client = sidecar.client();
    (function, sidecar, client)
}

/// Opens the entity with one command that emits `events`.
async fn open(function: &mut ScriptedFunction, client: &Model, id: &str, events: &[&str]) -> ScriptedStream {
    let call = client.process(id);
    let mut stream = function.stream().await;
    let command = stream.until_command(0).await;
    assert_eq!(command.id, 1);
    stream.reply(reply(1, "opened", events)).await;
    assert_eq!(answer(call).await.expect("served"), "opened");
    stream
}

#[tokio::test]
async fn a_command_carries_what_the_protocol_says_and_nothing_else() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut stream = function.stream().await;
    let init = stream.init().await;
    assert_eq!(
        (init.service_name.as_str(), init.entity_id.as_str()),
        ("cloudstate.tck.model.EventSourcedTckModel", "ada")
    );
    assert_eq!(init.snapshot, None);
    let command = stream.command().await;
    assert_eq!((command.id, command.entity_id.as_str(), command.name.as_str()), (1, "ada", "Process"));
    assert_eq!(command.payload.expect("always set").type_url, "type.googleapis.com/cloudstate.tck.model.Request");
    assert!(!command.streamed && command.metadata.is_none());
    stream.reply(reply(1, "hello", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "hello");
}

#[tokio::test]
async fn events_and_snapshots_are_replayed_byte_for_byte() {
    let (mut function, _sidecar, client) = start().await;
    open(&mut function, &client, "ada", &["a", "b"]).await.over().await;
    let call = client.process("ada");
    let mut stream = function.stream().await;
    assert_eq!(stream.init().await.snapshot, None);
    for (sequence, expected) in [(1, "a"), (2, "b")] {
        let event = stream.event().await;
        assert_eq!((event.sequence, text(event.payload).as_str()), (sequence, expected));
    }
    assert_eq!(stream.command().await.id, 1, "ids start over");
    stream.reply(with_snapshot(reply(1, "abcd", &["c", "d"]), "abcd")).await;
    assert_eq!(answer(call).await.expect("served"), "abcd");

    let call = client.process("ada");
    assert_eq!(stream.command().await.id, 2);
    stream.reply(reply(2, "abcde", &["e"])).await;
    answer(call).await.expect("served");
    stream.over().await;

    let call = client.process("ada");
    let mut stream = function.stream().await;
    let snapshot = stream.init().await.snapshot.expect("a snapshot");
    assert_eq!((snapshot.snapshot_sequence, text(snapshot.snapshot).as_str()), (4, "abcd"));
    let event = stream.event().await;
    assert_eq!((event.sequence, text(event.payload).as_str()), (5, "e"));
    assert_eq!(stream.command().await.id, 1);
    stream.reply(reply(1, "done", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "done");
}

/// A snapshot is an optimisation: with a damaged one the entity starts from the one before it, and with none left from
/// all its events.
#[tokio::test]
async fn a_damaged_snapshot_is_passed_over() {
    let mut function = ScriptedFunction::start(model_spec()).await;
    let mut store = Store::in_memory();
    let snapshots = FaultySnapshots::new(store.snapshots.clone());
    store.snapshots = Arc::new(snapshots.clone());
    let sidecar = TestSidecar::over(store, &function, |_| {}).ready().await;
    let client = sidecar.client();
    let mut stream = open(&mut function, &client, "ada", &["a"]).await;
    for (id, total, event) in [(2, "ab", "b"), (3, "abc", "c")] {
        let call = client.process("ada");
        stream.command().await;
        stream.reply(with_snapshot(reply(id, total, &[event]), total)).await;
        answer(call).await.expect("served");
    }
    stream.over().await;
    let damaged = |seq_nr| JournalError::Damaged {
        id: PersistenceId::of("model", "ada"),
        seq_nr,
        place: "snapshot".to_owned(),
        reason: "as told".to_owned(),
    };
    for (damage, snapshot, events) in
        [(&[3][..], Some((2, "ab")), &[(3, "c")][..]), (&[3, 2], None, &[(1, "a"), (2, "b"), (3, "c")])]
    {
        damage.iter().for_each(|&seq_nr| snapshots.fail_next_load(damaged(seq_nr)));
        let call = client.process("ada");
        let mut stream = function.stream().await;
        let found = stream.init().await.snapshot.map(|found| (found.snapshot_sequence, text(found.snapshot)));
        assert_eq!(found, snapshot.map(|(sequence, state)| (sequence, state.to_owned())));
        for (sequence, name) in events {
            let event = stream.event().await;
            assert_eq!((event.sequence, text(event.payload).as_str()), (*sequence, *name));
        }
        stream.command().await;
        stream.reply(reply(1, "served", &[])).await;
        assert_eq!(answer(call).await.expect("it starts all the same"), "served");
        stream.over().await;
    }
}

/// Not every store can keep it, so no entity has it: the same command means the same everywhere.
#[tokio::test]
async fn the_character_nul_in_an_entity_id_is_refused() {
    let (_function, _sidecar, client) = start().await;
    let status = answer(client.process("a\0b")).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "entity key in field id must not contain the character NUL: leave it out");
}

#[tokio::test]
async fn a_long_log_is_replayed_to_a_function_that_reads_slowly() {
    let (mut function, _sidecar, client) = start().await;
    let names: Vec<String> = (0..3_000).map(|number| format!("{number:0>100}")).collect();
    let events: Vec<&str> = names.iter().map(String::as_str).collect();
    open(&mut function, &client, "ada", &events).await.over().await;

    let call = client.process("ada");
    let mut stream = function.stream().await;
    // Nothing is read for a while: the sidecar must wait, not fail, and serve others meanwhile.
    open(&mut function, &client, "bob", &[]).await.over().await;
    let command = stream.until_command(3_000).await;
    stream.reply(reply(command.id, "all there", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "all there");
}

#[tokio::test]
async fn a_failure_is_an_answer_and_a_restart_replays_at_once() {
    let (mut function, _sidecar, client) = start().await;
    let mut stream = open(&mut function, &client, "ada", &["a"]).await;
    let call = client.process("ada");
    stream.command().await;
    stream.reply(failure(2, "not today", false)).await;
    let status = answer(call).await.expect_err("a failure");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "not today"));

    let (failing, waiting) = (client.process("ada"), client.process("ada"));
    stream.command().await;
    stream.reply(failure(3, "emitted already", true)).await;
    assert_eq!(answer(failing).await.expect_err("a failure").message(), "emitted already");
    stream.closed().await;
    let mut stream = function.stream().await;
    let command = stream.until_command(1).await;
    assert_eq!(command.id, 1);
    stream.reply(reply(1, "after the restart", &[])).await;
    assert_eq!(answer(waiting).await.expect("kept, in order"), "after the restart");
}

#[tokio::test]
async fn violations_of_the_protocol_end_the_stream_and_are_told() {
    let (mut function, _sidecar, client) = start().await;
    for (id, text) in [
        ("wrong-id", "Unexpected entity reply"),
        ("empty", "Unexpected entity message"),
        ("failure", "Unexpected entity failure"),
        ("failure-zero", "Unexpected entity failure"),
        ("ends", "Unexpected entity termination"),
    ] {
        let call = client.process(id);
        let mut stream = function.stream().await;
        stream.until_command(0).await;
        match id {
            "wrong-id" => stream.reply(reply(7, "?", &["never stored"])).await,
            "empty" => stream.send_empty().await,
            "failure" => stream.fail(1, "secret").await,
            "failure-zero" => stream.fail(0, "secret").await,
            _ => stream.end(),
        }
        let status = answer(call).await.expect_err("the stream is over");
        assert_eq!((status.code(), status.message()), (Code::Unknown, text), "{id}");
        if id != "ends" {
            stream.closed().await;
        }
        // The next command starts afresh, and nothing of the violation is in the log.
        open(&mut function, &client, id, &[]).await.over().await;
    }
    for expected in ["Unexpected entity reply", "Unexpected entity message"] {
        let report = function.report().await;
        assert!(report.starts_with(expected), "{report}");
    }
}

#[tokio::test]
async fn queued_commands_hear_that_the_entity_terminated() {
    let (mut function, _sidecar, client) = start().await;
    let current = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    // A second command that has certainly arrived: a third entity's answer comes after it.
    let queued = client.process("ada");
    open(&mut function, &client, "bob", &[]).await.over().await;
    stream.end();
    assert_eq!(answer(current).await.expect_err("ended").message(), "Unexpected entity termination");
    assert_eq!(answer(queued).await.expect_err("ended").message(), "Entity terminated");
}

#[tokio::test]
async fn the_waiting_room_is_bounded_and_refused_commands_are_never_sent() {
    let mut function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |config| {
        config.event_sourced.waiting_room = 2.try_into().expect("not zero");
    });
    let client = sidecar.ready().await.client();
    let mut calls: FuturesUnordered<_> = (0..8).map(|_| client.process("ada")).collect();
    let mut stream = function.stream().await;
    assert_eq!(stream.until_command(0).await.id, 1);
    // One is in progress and two wait: the others are refused, without the function's doing anything.
    for _ in 0..5 {
        let refused = soon("a refusal", calls.next()).await.expect("a call").expect("no panic");
        assert_eq!(refused.expect_err("no room").code(), Code::ResourceExhausted);
    }
    for id in 1..=3 {
        stream.reply(reply(id, "served", &[])).await;
        let served = soon("an answer", calls.next()).await.expect("a call").expect("no panic");
        assert_eq!(served.expect("has waited"), "served");
        if id < 3 {
            assert_eq!(stream.command().await.id, id + 1);
        }
    }
}

#[tokio::test]
async fn idle_entities_are_passivated_and_nothing_sent_meanwhile_is_lost() {
    let short = Some(Duration::from_millis(50));
    let mut function = ScriptedFunction::start(spec(&[("EventSourcedTckModel", "model", short)])).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let client = sidecar.client();
    let mut stored = 0;
    for round in 0..20 {
        let call = client.process("ada");
        let mut stream = function.stream().await;
        let command = stream.until_command(stored).await;
        stream.reply(reply(command.id, "first", &["x"])).await;
        stored += 1;
        answer(call).await.expect("served");
        stream.half_closed().await;
        // Sent before the function has ended its side: it must wait for the next life.
        let again = client.process("ada");
        stream.end();
        let mut stream = function.stream().await;
        let command = stream.until_command(stored).await;
        stream.reply(reply(command.id, "second", &["y"])).await;
        stored += 1;
        assert_eq!(answer(again).await.expect("served"), "second", "round {round}");
        stream.closed().await;
    }
}

#[tokio::test]
async fn a_function_that_never_answers_loses_its_stream_but_not_the_id() {
    let mut function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |config| {
        config.requests.timeout = Duration::from_millis(200);
        config.event_sourced.close_timeout = Duration::from_millis(100);
    });
    let client = sidecar.ready().await.client();
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    assert_eq!(answer(call).await.expect_err("late").code(), Code::DeadlineExceeded);
    stream.reset().await;
    open(&mut function, &client, "ada", &[]).await.over().await;
}

#[tokio::test]
async fn a_deadline_of_the_client_ends_its_wait_and_a_queued_command_is_not_started() {
    let (mut function, _sidecar, client) = start().await;
    let current = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    let late = client.process_within("ada", Duration::from_millis(100));
    // Said by the client's own library or by the sidecar, whichever notices first.
    let code = answer(late).await.expect_err("late").code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
    let next = client.process("ada");
    stream.reply(reply(1, "one", &[])).await;
    assert_eq!(answer(current).await.expect("served"), "one");
    assert_eq!(stream.command().await.id, 2);
    stream.reply(reply(2, "two", &[])).await;
    assert_eq!(answer(next).await.expect("the late one was skipped"), "two");
}

#[tokio::test]
async fn more_entities_than_a_connection_has_streams() {
    let mut function = ScriptedFunction::start_on(0, model_spec(), Some(5)).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let client = sidecar.client();
    let mut open_streams = Vec::new();
    for number in 0..23 {
        open_streams.push(open(&mut function, &client, &format!("id-{number}"), &["x"]).await);
    }
    assert_eq!(function.discovered(), 1, "further connections do not discover");
}

#[tokio::test]
async fn the_function_may_restart_between_and_during_commands() {
    let (mut function, _sidecar, client) = start().await;
    open(&mut function, &client, "ada", &["a"]).await.over().await;
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(1).await;
    let port = function.port;
    drop((function, stream));
    assert_eq!(answer(call).await.expect_err("killed").message(), "Unexpected entity termination");

    // Sent while there is no function: it waits for the next one.
    let waiting = client.process("ada");
    let mut function = ScriptedFunction::start_on(port, model_spec(), None).await;
    let mut stream = function.stream().await;
    let command = stream.until_command(1).await;
    stream.reply(reply(command.id, "back", &[])).await;
    assert_eq!(answer(waiting).await.expect("served"), "back");
    assert_eq!(function.discovered(), 1, "once per connection");
}

#[tokio::test]
async fn an_event_that_could_never_be_loaded_again_is_refused() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    let huge = "x".repeat(5 * 1024 * 1024);
    stream.reply(reply(1, "never seen", &[&huge])).await;
    let status = answer(call).await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition, "trying again does not help");
    assert!(function.report().await.contains("more than the"), "the function is told");
    stream.closed().await;
    open(&mut function, &client, "ada", &["small"]).await.over().await;
}

#[tokio::test]
async fn a_reply_of_another_type_is_delivered_and_reported() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    let mut odd: EventSourcedReply = reply(1, "odd", &[]);
    if let Some(proto::cloudstate::client_action::Action::Reply(reply)) =
        odd.client_action.as_mut().and_then(|action| action.action.as_mut())
        && let Some(payload) = &mut reply.payload
    {
        payload.type_url = "type.googleapis.com/other.Type".to_owned();
    }
    stream.reply(odd).await;
    assert_eq!(answer(call).await.expect("bytes are bytes"), "odd");
    assert_eq!(
        function.report().await,
        "Warning: cloudstate.tck.model.EventSourcedTckModel.Process: Expected reply type_url to be \
         [type.googleapis.com/cloudstate.tck.model.Response] but was [type.googleapis.com/other.Type]."
    );
}

#[tokio::test]
async fn draining_finishes_what_was_begun_and_refuses_the_rest() {
    let (mut function, sidecar, client) = start().await;
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    let address = sidecar.address;
    let draining = tokio::spawn(sidecar.proxy.drain());
    stream.reply(reply(1, "finished", &["kept"])).await;
    assert_eq!(answer(call).await.expect("finished"), "finished");
    stream.closed().await;
    soon("the end", draining).await.expect("drained");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_function_full_of_mistakes_is_told_of_some() {
    let (mut function, _sidecar, client) = start().await;
    let mut stream = open(&mut function, &client, "ada", &[]).await;
    for id in 2..200 {
        let call = client.process("ada");
        assert_eq!(stream.command().await.id, id);
        // A snapshot without events is a mistake, and no reason to end the stream.
        stream.reply(with_snapshot(reply(id, "answered all the same", &[]), "ignored")).await;
        answer(call).await.expect("served");
    }
    assert!(function.report().await.contains("a snapshot without events is ignored"));
}

#[tokio::test]
async fn the_first_command_waits_for_room_behind_a_log_that_fills_every_buffer() {
    let mut function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |config| {
        config.user_function.relay_buffer = 1.try_into().expect("not zero");
    });
    let client = sidecar.ready().await.client();
    let large = "x".repeat(3 * 1024 * 1024);
    open(&mut function, &client, "ada", &[&large, &large]).await.over().await;
    let call = client.process("ada");
    let mut stream = function.stream().await;
    // Nothing is read until the sidecar has had every chance to send all it can.
    open(&mut function, &client, "bob", &[]).await.over().await;
    let command = stream.until_command(2).await;
    stream.reply(reply(command.id, "arrived", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "arrived");
}

#[tokio::test]
async fn a_function_that_never_reads_its_log_does_not_hold_up_other_entities() {
    let mut function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |config| {
        config.user_function.relay_buffer = 1.try_into().expect("not zero");
        config.event_sourced.recoveries_max = 1.try_into().expect("not zero");
        config.requests.timeout = Duration::from_millis(500);
    });
    let client = sidecar.ready().await.client();
    let large = "x".repeat(3 * 1024 * 1024);
    open(&mut function, &client, "ada", &[&large, &large, &large]).await.over().await;
    let stuck = client.process("ada");
    let _never_read = function.stream().await;
    answer(stuck).await.expect_err("its log is not read");
    let call = client.process_within("bob", Duration::from_secs(9));
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "served", &[])).await;
    assert_eq!(answer(call).await.expect("the place was given back"), "served");
}
