//! Value entities as the protocol wants them, with a user function played by hand.

use std::time::Duration;

use cloudstate::store::Store;
use proto::cloudstate::valueentity::{
    ValueEntityAction, ValueEntityReply, ValueEntityUpdate, value_entity_action, value_entity_stream_out,
};
use proto::cloudstate::{EntitySpec, Failure};
use proto::model::tck::valueentity as tck;
use proto::model::tck::valueentity::value_entity_tck_model_client::ValueEntityTckModelClient;
use proto::model::tck::valueentity::value_entity_two_client::ValueEntityTwoClient;
use tonic::{Code, Status};

use crate::scripted::{ScriptedFunction, ScriptedValue, TestSidecar, answer, failure, soon, spec, value_reply};

const SERVICE: &str = "cloudstate.tck.model.valueentity.ValueEntityTckModel";

fn value_spec(passivation: Option<Duration>) -> EntitySpec {
    let mut spec = spec(&[("valueentity.ValueEntityTckModel", "values", passivation)]);
    spec.entities[0].entity_type = "cloudstate.valueentity.ValueEntity".to_owned();
    spec
}

async fn start() -> (ScriptedFunction, TestSidecar) {
    let function = ScriptedFunction::start(value_spec(None)).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    (function, sidecar)
}

fn process(sidecar: &TestSidecar, id: &str) -> tokio::task::JoinHandle<Result<String, Status>> {
    let mut client = ValueEntityTckModelClient::new(sidecar.channel());
    let request = tck::Request { id: id.to_owned(), actions: Vec::new() };
    tokio::spawn(async move { Ok(client.process(request).await?.into_inner().message) })
}

/// Opens the entity, which has `state`, with one command that stores `value`.
async fn open(
    function: &mut ScriptedFunction,
    sidecar: &TestSidecar,
    id: &str,
    state: Option<&str>,
    value: Option<Option<&str>>,
) -> ScriptedValue {
    let call = process(sidecar, id);
    let mut stream = function.value().await;
    stream.init_with(state).await;
    assert_eq!(stream.command().await.id, 1);
    stream.reply(value_reply(1, "opened", value)).await;
    assert_eq!(answer(call).await.expect("served"), "opened");
    stream
}

/// Ends the stream from the function's side and waits until the sidecar has noticed.
async fn over(mut stream: ScriptedValue) {
    stream.end();
    stream.closed().await;
}

#[tokio::test]
async fn init_and_commands_carry_what_the_protocol_says_and_nothing_else() {
    let (mut function, sidecar) = start().await;
    let call = process(&sidecar, "ada");
    let mut stream = function.value().await;
    let init = stream.init().await;
    assert_eq!((init.service_name.as_str(), init.entity_id.as_str()), (SERVICE, "ada"));
    assert_eq!(init.state.expect("present without a value too").value, None);
    let command = stream.command().await;
    assert_eq!((command.id, command.entity_id.as_str(), command.name.as_str()), (1, "ada", "Process"));
    assert!(!command.streamed && command.metadata.is_none());
    stream.reply(value_reply(1, "hello", None)).await;
    assert_eq!(answer(call).await.expect("served"), "hello");
}

#[tokio::test]
async fn a_value_is_kept_replaced_and_deleted_and_the_entity_lives_on() {
    let (mut function, sidecar) = start().await;
    over(open(&mut function, &sidecar, "ada", None, Some(Some("one"))).await).await;
    over(open(&mut function, &sidecar, "ada", Some("one"), Some(Some("two"))).await).await;
    let mut stream = open(&mut function, &sidecar, "ada", Some("two"), Some(None)).await;
    // Deleting does not end the instance.
    let call = process(&sidecar, "ada");
    assert_eq!(stream.command().await.id, 2);
    stream.reply(value_reply(2, "still here", None)).await;
    assert_eq!(answer(call).await.expect("served"), "still here");
    over(stream).await;
    over(open(&mut function, &sidecar, "ada", None, Some(Some("born again"))).await).await;
    over(open(&mut function, &sidecar, "ada", Some("born again"), None).await).await;
    open(&mut function, &sidecar, "bob", None, None).await;
}

#[tokio::test]
async fn a_failure_with_an_update_updates_and_restart_means_nothing() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", None, None).await;
    let call = process(&sidecar, "ada");
    stream.command().await;
    let refusing = failure(2, "no, but noted", true).client_action;
    stream.reply(ValueEntityReply { client_action: refusing, ..value_reply(2, "", Some(Some("noted"))) }).await;
    let status = answer(call).await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "no, but noted"));
    over(stream).await;
    open(&mut function, &sidecar, "ada", Some("noted"), None).await;
}

/// The protocol's known defects, row 38: an update without a value, or an action that is none, is a mistake of the
/// function that its caller hears of at once.
#[tokio::test]
async fn row_38_an_update_without_a_value_is_a_violation_and_not_a_silence() {
    let (mut function, sidecar) = start().await;
    let without_value = value_entity_action::Action::Update(ValueEntityUpdate { value: None });
    for action in [Some(without_value), None] {
        let call = process(&sidecar, "ada");
        let mut stream = function.value().await;
        stream.init_with(None).await;
        stream.command().await;
        let state_action = Some(ValueEntityAction { action });
        stream.reply(ValueEntityReply { state_action, ..value_reply(1, "?", None) }).await;
        assert_eq!(answer(call).await.expect_err("a violation").message(), "Unexpected Value entity failure");
        assert!(function.report().await.starts_with("Unexpected Value entity failure"));
        stream.closed().await;
    }
}

/// Row 37: a stream that fails, as opposed to one that ends, does not make the id unusable.
#[tokio::test]
async fn row_37_a_stream_that_fails_does_not_kill_the_id() {
    let (mut function, sidecar) = start().await;
    let failure = Failure { command_id: 1, description: "secret".to_owned(), restart: false };
    let mistakes = [
        (Some(value_entity_stream_out::Message::Failure(failure)), "Unexpected Value entity failure"),
        (Some(value_entity_stream_out::Message::Reply(value_reply(7, "?", None))), "Unexpected Value entity reply"),
        (None, "Unexpected Value entity failure"),
    ];
    for (message, text) in mistakes {
        let call = process(&sidecar, "ada");
        let mut stream = function.value().await;
        stream.init_with(None).await;
        stream.command().await;
        stream.send(message).await;
        assert_eq!(answer(call).await.expect_err("over").message(), text);
        stream.closed().await;
    }
    for status in [Some(Status::internal("broken")), None] {
        let (call, mut stream) = (process(&sidecar, "ada"), function.value().await);
        stream.init_with(None).await;
        stream.command().await;
        match status {
            Some(status) => stream.fail(status).await,
            None => stream.end(),
        }
        assert_eq!(answer(call).await.expect_err("over").message(), "Unexpected Value entity termination");
    }
    open(&mut function, &sidecar, "ada", None, None).await;
}

/// Row 39: persistence id and entity id are told apart, wherever the one ends and the other begins.
#[tokio::test]
async fn row_39_keys_have_a_separator() {
    let mut spec = spec(&[("valueentity.ValueEntityTckModel", "a", None), ("valueentity.ValueEntityTwo", "ab", None)]);
    for entity in &mut spec.entities {
        entity.entity_type = "cloudstate.valueentity.ValueEntity".to_owned();
    }
    let mut function = ScriptedFunction::start(spec).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    over(open(&mut function, &sidecar, "bc", None, Some(Some("of a"))).await).await;

    let mut two = ValueEntityTwoClient::new(sidecar.channel());
    let call = tokio::spawn(async move { two.call(tck::Request { id: "c".to_owned(), actions: Vec::new() }).await });
    let mut stream = function.value().await;
    stream.init_with(None).await;
    stream.command().await;
    stream.reply(value_reply(1, "", None)).await;
    soon("the answer", call).await.expect("no panic").expect("served");
}

/// Row 41: what arrives while an entity is passivated waits for its next life.
#[tokio::test]
async fn row_41_nothing_sent_during_passivation_is_lost() {
    let mut function = ScriptedFunction::start(value_spec(Some(Duration::from_millis(50)))).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let mut stream = open(&mut function, &sidecar, "ada", None, Some(Some("one"))).await;
    stream.half_closed().await;
    let call = process(&sidecar, "ada");
    stream.end();
    let mut stream = function.value().await;
    stream.init_with(Some("one")).await;
    stream.command().await;
    stream.reply(value_reply(1, "in the next life", None)).await;
    assert_eq!(answer(call).await.expect("served"), "in the next life");
}

#[tokio::test]
async fn idle_value_entities_are_passivated_and_come_back_with_their_value() {
    let mut function = ScriptedFunction::start(value_spec(Some(Duration::from_millis(50)))).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let mut state = None;
    for round in ["one", "two", "three"] {
        let stream = open(&mut function, &sidecar, "ada", state, Some(Some(round))).await;
        soon("passivation", stream.closed()).await;
        state = Some(round);
    }
}

#[tokio::test]
async fn values_survive_the_process_in_the_embedded_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = || {
        let mut config = cloudstate::config::ProxyConfig::default().store;
        config.location = cloudstate::config::StoreLocation::Sqlite(folder.path().into());
        async move { Store::open(&config).await.expect("the store") }
    };
    let mut function = ScriptedFunction::start(value_spec(None)).await;
    let sidecar = TestSidecar::over(store().await, &function, |_| {}).ready().await;
    over(open(&mut function, &sidecar, "ada", None, Some(Some("kept"))).await).await;
    soon("the end", sidecar.proxy.drain()).await;

    let sidecar = TestSidecar::over(store().await, &function, |_| {}).ready().await;
    over(open(&mut function, &sidecar, "ada", Some("kept"), Some(None)).await).await;
    open(&mut function, &sidecar, "ada", None, None).await;
    soon("the end", sidecar.proxy.drain()).await;
}
