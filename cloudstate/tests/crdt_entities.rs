//! CRDT entities as the protocol wants them, with a user function played by hand.

use std::time::Duration;

use bytes::Bytes;
use cloudstate::config::ProxyConfig;
use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::crdt_state_action::Action as StateAction;
use proto::cloudstate::crdt::{
    CrdtClock, CrdtDelete, CrdtDelta, CrdtReply, CrdtStateAction, CrdtStreamCancelledResponse, CrdtStreamedMessage,
    CrdtWriteConsistency, FlagDelta, GCounterDelta, GSetDelta, LwwRegisterDelta, OrMapDelta, OrMapEntryDelta,
    OrSetDelta, PnCounterDelta, VoteDelta, crdt_stream_in, crdt_stream_out,
};
use proto::cloudstate::{ClientAction, EntitySpec, Failure, Forward, Reply, SideEffect, client_action};
use proto::model::tck::crdt as tck;
use proto::model::tck::crdt::crdt_tck_model_client::CrdtTckModelClient;
use proto::model::tck::crdt::crdt_two_client::CrdtTwoClient;
use tokio::task::JoinHandle;
use tonic::{Code, Status, Streaming};

use crate::scripted::{ScriptedCrdt, ScriptedFunction, TestSidecar, soon, spec};

/// Both services keep their values at the same place, so that each is "elsewhere" for the other.
fn shared_spec(passivation: Option<Duration>) -> EntitySpec {
    let mut spec = spec(&[("crdt.CrdtTckModel", "shared", passivation), ("crdt.CrdtTwo", "shared", None)]);
    spec.entities.iter_mut().for_each(|entity| entity.entity_type = "cloudstate.crdt.Crdt".to_owned());
    spec
}

async fn start() -> (ScriptedFunction, TestSidecar) {
    start_with(None, |_| {}).await
}

async fn start_with(
    passivation: Option<Duration>,
    change: impl FnOnce(&mut ProxyConfig),
) -> (ScriptedFunction, TestSidecar) {
    let function = ScriptedFunction::start(shared_spec(passivation)).await;
    let sidecar = TestSidecar::new(&function, change).ready().await;
    (function, sidecar)
}

type Call = JoinHandle<Result<i64, Status>>;

/// The number in a response; the tests' replies are told apart by it.
fn number(response: tck::Response) -> i64 {
    match response.state.and_then(|state| state.value) {
        Some(tck::state::Value::Pncounter(value)) => value.value,
        None => -1,
        other => panic!("expected a number, got {other:?}"),
    }
}

fn process(sidecar: &TestSidecar, id: &str) -> Call {
    let mut client = CrdtTckModelClient::new(sidecar.channel());
    let request = tck::Request { id: id.to_owned(), actions: Vec::new() };
    tokio::spawn(async move { Ok(number(client.process(request).await?.into_inner())) })
}

fn call_two(sidecar: &TestSidecar, id: &str) -> Call {
    let mut client = CrdtTwoClient::new(sidecar.channel());
    let request = tck::Request { id: id.to_owned(), actions: Vec::new() };
    tokio::spawn(async move { Ok(number(client.call(request).await?.into_inner())) })
}

type Stream = JoinHandle<Result<Streaming<tck::Response>, Status>>;

fn process_streamed(sidecar: &TestSidecar, id: &str) -> Stream {
    let mut client = CrdtTckModelClient::new(sidecar.channel());
    let request = tck::StreamedRequest { id: id.to_owned(), ..tck::StreamedRequest::default() };
    tokio::spawn(async move { Ok(client.process_streamed(request).await?.into_inner()) })
}

async fn opened(stream: Stream) -> Streaming<tck::Response> {
    soon("the stream", stream).await.expect("no panic").expect("served")
}

async fn next(stream: &mut Streaming<tck::Response>) -> Result<Option<i64>, Status> {
    Ok(soon("an element or the end", stream.message()).await?.map(number))
}

async fn answer(call: Call) -> Result<i64, Status> {
    soon("the answer", call).await.expect("the call did not panic")
}

async fn failed(call: Call) -> (Code, String) {
    let status = answer(call).await.expect_err("a failure");
    (status.code(), status.message().to_owned())
}

fn failure(text: &str) -> (Code, String) {
    (Code::Unknown, text.to_owned())
}

fn delta(delta: Delta) -> CrdtDelta {
    CrdtDelta { delta: Some(delta) }
}

fn pn(change: i64) -> CrdtDelta {
    delta(Delta::Pncounter(PnCounterDelta { change }))
}

fn any(text: &str) -> Any {
    Any { type_url: "json.cloudstate.io/text".to_owned(), value: Bytes::copy_from_slice(text.as_bytes()) }
}

fn anys(texts: &[&str]) -> Vec<Any> {
    texts.iter().map(|text| any(text)).collect()
}

fn update(delta: CrdtDelta) -> Option<CrdtStateAction> {
    Some(CrdtStateAction { write_consistency: 0, action: Some(StateAction::Update(delta)) })
}

fn delete() -> Option<CrdtStateAction> {
    Some(CrdtStateAction { write_consistency: 0, action: Some(StateAction::Delete(CrdtDelete {})) })
}

fn response(number: i64) -> Option<ClientAction> {
    let state = tck::State { value: Some(tck::state::Value::Pncounter(tck::PnCounterValue { value: number })) };
    let payload = Any::pack("cloudstate.tck.model.crdt.Response", &tck::Response { state: Some(state) });
    Some(ClientAction { action: Some(client_action::Action::Reply(Reply { payload: Some(payload), metadata: None })) })
}

/// A reply with the number of its command.
fn reply(command_id: i64, state_action: Option<CrdtStateAction>) -> CrdtReply {
    CrdtReply { command_id, client_action: response(command_id), state_action, ..CrdtReply::default() }
}

fn begin(command_id: i64) -> CrdtReply {
    CrdtReply { command_id, streamed: true, ..CrdtReply::default() }
}

fn element(command_id: i64, number: i64, end_stream: bool) -> CrdtStreamedMessage {
    CrdtStreamedMessage { command_id, client_action: response(number), end_stream, ..CrdtStreamedMessage::default() }
}

/// A command to `CrdtTwo`, to be carried out for `id`.
fn effect(id: &str, synchronous: bool) -> SideEffect {
    let payload = Any::pack("cloudstate.tck.model.crdt.Request", &tck::Request { id: id.to_owned(), actions: vec![] });
    SideEffect {
        service_name: "cloudstate.tck.model.crdt.CrdtTwo".to_owned(),
        command_name: "Call".to_owned(),
        payload: Some(payload),
        synchronous,
        metadata: None,
    }
}

trait Says {
    async fn reply(&self, reply: CrdtReply);
    async fn element(&self, element: CrdtStreamedMessage);
    async fn answer_cancel(&self, response: CrdtStreamCancelledResponse);
}

impl Says for ScriptedCrdt {
    async fn reply(&self, reply: CrdtReply) {
        self.send(crdt_stream_out::Message::Reply(reply)).await;
    }

    async fn element(&self, element: CrdtStreamedMessage) {
        self.send(crdt_stream_out::Message::StreamedMessage(element)).await;
    }

    async fn answer_cancel(&self, response: CrdtStreamCancelledResponse) {
        self.send(crdt_stream_out::Message::StreamCancelledResponse(response)).await;
    }
}

/// Opens the entity of the first service with a command that is answered with `state_action`.
async fn open(
    function: &mut ScriptedFunction,
    sidecar: &TestSidecar,
    id: &str,
    state_action: Option<CrdtStateAction>,
) -> ScriptedCrdt {
    let call = process(sidecar, id);
    let mut stream = function.crdt().await;
    assert_eq!(stream.init().await.delta, None);
    assert_eq!(stream.command().await.id, 1);
    stream.reply(reply(1, state_action)).await;
    assert_eq!(answer(call).await.expect("served"), 1);
    stream
}

/// Waits until others, which have been idle for a shorter time than whoever is idle now, have been passivated.
async fn until_idle_ones_are_passivated(function: &mut ScriptedFunction, sidecar: &TestSidecar) {
    for id in ["later", "still later"] {
        open(function, sidecar, id, None).await.closed().await;
    }
}

/// The entity of the second service with the same value, and what it was told of it.
async fn open_two(
    function: &mut ScriptedFunction,
    sidecar: &TestSidecar,
    id: &str,
) -> (ScriptedCrdt, Option<CrdtDelta>) {
    let call = call_two(sidecar, id);
    let mut stream = function.crdt().await;
    let init = stream.init().await;
    assert_eq!(init.service_name, "cloudstate.tck.model.crdt.CrdtTwo");
    stream.command().await;
    stream.reply(reply(1, None)).await;
    answer(call).await.expect("served");
    (stream, init.delta)
}

/// Carries out one command with this state action.
async fn act(
    sidecar: &TestSidecar,
    stream: &mut ScriptedCrdt,
    state_action: Option<CrdtStateAction>,
) -> Result<i64, Status> {
    let call = process(sidecar, "ada");
    let id = stream.command().await.id;
    stream.reply(reply(id, state_action)).await;
    answer(call).await
}

#[tokio::test]
async fn a_first_command_opens_a_stream_that_is_told_what_is_known() {
    let (mut function, sidecar) = start().await;
    let call = process(&sidecar, "ada");
    let mut stream = function.crdt().await;
    let init = stream.init().await;
    let service = "cloudstate.tck.model.crdt.CrdtTckModel";
    assert_eq!((init.service_name.as_str(), init.entity_id.as_str(), init.delta), (service, "ada", None));
    let command = stream.command().await;
    assert_eq!((command.entity_id.as_str(), command.id, command.name.as_str()), ("ada", 1, "Process"));
    assert!(!command.streamed && command.metadata.is_none());
    stream.reply(reply(1, update(pn(-5)))).await;
    assert_eq!(answer(call).await.expect("served"), 1);

    // The other service with the same persistence id shares the value.
    let (_two, delta) = open_two(&mut function, &sidecar, "ada").await;
    assert_eq!(delta, Some(pn(-5)));
    let (_other, delta) = open_two(&mut function, &sidecar, "bob").await;
    assert_eq!(delta, None);
}

#[tokio::test]
async fn a_streamed_command_has_elements_until_the_function_ends_it() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let call = process_streamed(&sidecar, "ada");
    let command = stream.command().await;
    assert!(command.streamed);
    stream.reply(CrdtReply { streamed: true, ..reply(2, update(pn(1))) }).await;
    let mut elements = opened(call).await;
    assert_eq!(next(&mut elements).await.expect("an element"), Some(2));
    stream.element(element(2, 7, false)).await;
    assert_eq!(next(&mut elements).await.expect("an element"), Some(7));
    // A message without anything is no element.
    stream.element(CrdtStreamedMessage { command_id: 2, ..CrdtStreamedMessage::default() }).await;
    stream.element(element(2, 8, true)).await;
    assert_eq!(next(&mut elements).await.expect("an element"), Some(8));
    assert_eq!(next(&mut elements).await.expect("the end"), None);
}

#[tokio::test]
async fn a_client_that_leaves_is_cancelled_and_the_answer_changes_the_value() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let call = process_streamed(&sidecar, "ada");
    stream.command().await;
    stream.reply(CrdtReply { streamed: true, ..reply(2, update(pn(10))) }).await;
    let mut elements = opened(call).await;
    next(&mut elements).await.expect("an element");
    drop(elements);
    assert_eq!(stream.cancelled().await, 2);
    // Row 46: its side effects are executed, once its state action is.
    let response = CrdtStreamCancelledResponse { command_id: 2, state_action: update(pn(-10)), ..Default::default() };
    let side_effects = vec![effect("ada", false)];
    stream.answer_cancel(CrdtStreamCancelledResponse { side_effects, ..response }).await;
    let mut two = function.crdt().await;
    assert_eq!(two.init().await.delta, Some(pn(1)));
    assert_eq!(two.command().await.name, "Call");
}

#[tokio::test]
async fn a_client_that_is_let_in_knows_it_before_there_is_anything_to_say() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let call = process_streamed(&sidecar, "ada");
    stream.command().await;
    stream.reply(begin(2)).await;
    let elements = opened(call).await;
    drop(elements);
    assert_eq!(stream.cancelled().await, 2);
}

/// Rows 47 and 48: a client that leaves before the first reply is cancelled once; that the function does not answer
/// holds changes from elsewhere back for a while only.
#[tokio::test]
async fn a_client_that_leaves_before_the_first_reply_is_cancelled_once() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let call = process_streamed(&sidecar, "ada");
    stream.command().await;
    call.abort();
    assert_eq!(stream.cancelled().await, 2);
    stream.reply(begin(2)).await;
    let (mut two, _) = open_two(&mut function, &sidecar, "ada").await;
    let call = call_two(&sidecar, "ada");
    two.command().await;
    two.reply(reply(2, update(pn(5)))).await;
    answer(call).await.expect("served");
    assert_eq!(stream.delta().await, pn(5));
}

/// Row 48: a streamed command that is answered once and for all, without a state action, ends the client's stream.
#[tokio::test]
async fn a_streamed_command_may_have_one_answer() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", None).await;
    let call = process_streamed(&sidecar, "ada");
    stream.command().await;
    stream.reply(reply(2, None)).await;
    let mut elements = opened(call).await;
    assert_eq!(next(&mut elements).await.expect("an element"), Some(2));
    assert_eq!(next(&mut elements).await.expect("the end"), None);
}

#[tokio::test]
async fn elements_run_their_side_effects_and_forwards_in_order() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", None).await;
    let call = process_streamed(&sidecar, "ada");
    stream.command().await;
    stream.reply(begin(2)).await;
    let side_effects = vec![effect("bob", true)];
    stream.element(CrdtStreamedMessage { side_effects, ..element(2, 7, false) }).await;
    let SideEffect { service_name, command_name, payload, .. } = effect("bob", true);
    let forward = client_action::Action::Forward(Forward { service_name, command_name, payload, metadata: None });
    let client_action = Some(ClientAction { action: Some(forward) });
    stream.element(CrdtStreamedMessage { client_action, ..element(2, 0, false) }).await;
    stream.element(element(2, 9, true)).await;
    let mut bob = function.crdt().await;
    bob.init().await;
    for id in [1, 2] {
        assert_eq!(bob.command().await.id, id);
        let number = CrdtReply { client_action: response(id + 100), ..reply(id, None) };
        bob.reply(number).await;
    }
    let mut elements = opened(call).await;
    let mut seen = Vec::new();
    while let Some(number) = next(&mut elements).await.expect("an element") {
        seen.push(number);
    }
    assert_eq!(seen, [7, 102, 9]);
}

#[tokio::test]
async fn a_failure_as_an_element_ends_the_stream_and_cancels_it() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", None).await;
    let call = process_streamed(&sidecar, "ada");
    stream.command().await;
    stream.reply(CrdtReply { streamed: true, ..reply(2, None) }).await;
    let mut elements = opened(call).await;
    next(&mut elements).await.expect("an element");
    let action = client_action::Action::Failure(Failure { description: "enough".to_owned(), ..Failure::default() });
    let client_action = Some(ClientAction { action: Some(action) });
    stream.element(CrdtStreamedMessage { client_action, ..element(2, 0, false) }).await;
    assert_eq!(next(&mut elements).await.expect_err("a failure").message(), "enough");
    assert_eq!(stream.cancelled().await, 2);
    stream.element(element(3, 0, false)).await;
    assert_eq!(function.report().await, "Received streamed message for unknown command id: 3");
}

#[tokio::test]
async fn a_change_elsewhere_while_idle_gives_one_delta_and_is_withheld_during_commands() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let (mut two, _) = open_two(&mut function, &sidecar, "ada").await;
    let calls = [process(&sidecar, "ada"), process(&sidecar, "ada")];
    stream.command().await;
    stream.command().await;
    let call = call_two(&sidecar, "ada");
    assert_eq!(two.command().await.id, 2);
    two.reply(reply(2, update(pn(10)))).await;
    answer(call).await.expect("served");
    stream.reply(reply(3, None)).await;
    stream.reply(reply(2, update(pn(100)))).await;
    assert_eq!(stream.delta().await, pn(10));
    assert_eq!(two.delta().await, pn(100));
    for call in calls {
        answer(call).await.expect("served");
    }
    // Own changes are not echoed: the next thing is the next command.
    act(&sidecar, &mut stream, None).await.expect("served");
}

/// Every type: what one function sends reaches the other in full, and then as differences.
#[tokio::test]
async fn every_type_is_told_in_full_and_then_by_differences() {
    let g = |increment| delta(Delta::Gcounter(GCounterDelta { increment }));
    let gset = |added: &[&str]| delta(Delta::Gset(GSetDelta { added: anys(added) }));
    let orset = |cleared, removed: &[&str], added: &[&str]| {
        delta(Delta::Orset(OrSetDelta { cleared, removed: anys(removed), added: anys(added) }))
    };
    let register =
        |text| delta(Delta::Lwwregister(LwwRegisterDelta { value: Some(any(text)), ..LwwRegisterDelta::default() }));
    let flag = |value| delta(Delta::Flag(FlagDelta { value }));
    let vote =
        |self_vote, votes_for, total_voters| delta(Delta::Vote(VoteDelta { self_vote, votes_for, total_voters }));
    let entry = |key, delta| OrMapEntryDelta { key: Some(any(key)), delta: Some(delta) };
    let map = |map| delta(Delta::Ormap(map));
    let added = |added| map(OrMapDelta { added, ..OrMapDelta::default() });
    // (name, first change, what the other is told at init, second change, what the other is told then)
    let cases = [
        ("gcounter", g(5), g(5), g(3), g(3)),
        // Row 52: unsigned, whatever the size.
        ("large", g(1 << 63), g(1 << 63), g(u64::MAX >> 1), g(u64::MAX >> 1)),
        ("pncounter", pn(-5), pn(-5), pn(7), pn(7)),
        ("gset", gset(&["a", "b"]), gset(&["a", "b"]), gset(&["b", "c"]), gset(&["c"])),
        (
            "orset",
            orset(false, &[], &["a", "b", "c"]),
            orset(false, &[], &["a", "b", "c"]),
            orset(false, &["b"], &["d"]),
            orset(false, &["b"], &["d"]),
        ),
        // Shorter than naming what was removed.
        (
            "orset-cleared",
            orset(false, &[], &["a", "b", "c"]),
            orset(false, &[], &["a", "b", "c"]),
            orset(true, &[], &["x"]),
            orset(true, &[], &["x"]),
        ),
        (
            "orset-empty",
            orset(false, &[], &["a"]),
            orset(false, &[], &["a"]),
            orset(false, &["a"], &[]),
            orset(true, &[], &[]),
        ),
        ("register", register("a"), register("a"), register("b"), register("b")),
        ("flag", flag(false), flag(false), flag(true), flag(true)),
        ("vote", vote(false, 0, 0), vote(false, 0, 1), vote(true, 0, 0), vote(true, 1, 1)),
        (
            "map",
            added(vec![entry("n", pn(1)), entry("s", gset(&["a"])), entry("z", pn(9))]),
            added(vec![entry("n", pn(1)), entry("s", gset(&["a"])), entry("z", pn(9))]),
            map(OrMapDelta {
                cleared: false,
                removed: anys(&["z"]),
                updated: vec![entry("n", pn(4)), entry("nowhere", pn(1))],
                added: vec![entry("new", flag(true))],
            }),
            map(OrMapDelta {
                cleared: false,
                removed: anys(&["z"]),
                updated: vec![entry("n", pn(4))],
                added: vec![entry("new", flag(true))],
            }),
        ),
        // A key that is removed and added again with another type.
        (
            "map-replaced",
            added(vec![entry("n", pn(1))]),
            added(vec![entry("n", pn(1))]),
            map(OrMapDelta { removed: anys(&["n"]), added: vec![entry("n", g(2))], ..OrMapDelta::default() }),
            map(OrMapDelta { removed: anys(&["n"]), added: vec![entry("n", g(2))], ..OrMapDelta::default() }),
        ),
        (
            "map-cleared",
            added(vec![entry("n", pn(1))]),
            added(vec![entry("n", pn(1))]),
            map(OrMapDelta { cleared: true, ..OrMapDelta::default() }),
            map(OrMapDelta { cleared: true, ..OrMapDelta::default() }),
        ),
    ];
    let (mut function, sidecar) = start().await;
    for (name, first, told, second, difference) in cases {
        let mut stream = open(&mut function, &sidecar, name, update(first)).await;
        let (mut two, init) = open_two(&mut function, &sidecar, name).await;
        assert_eq!(init, Some(told), "{name}");
        let call = process(&sidecar, name);
        stream.command().await;
        stream.reply(reply(2, update(second))).await;
        answer(call).await.expect("served");
        assert_eq!(two.delta().await, difference, "{name}");
    }
}

/// Row 50: the first custom clock counts, and a lower one that loses is told of.
#[tokio::test]
async fn custom_clocks_count_from_the_first_write_and_a_write_that_loses_is_told_so() {
    let clocked = |text, clock: CrdtClock, custom_clock_value| {
        let clock = clock.into();
        delta(Delta::Lwwregister(LwwRegisterDelta { value: Some(any(text)), clock, custom_clock_value }))
    };
    let plain = |text| clocked(text, CrdtClock::Default, 0);
    let (mut function, sidecar) = start().await;
    let first = clocked("a", CrdtClock::CustomAutoIncrement, 100);
    let mut stream = open(&mut function, &sidecar, "ada", update(first)).await;
    // Were "a" written with the time of day, this would lose.
    let (mut two, init) = open_two(&mut function, &sidecar, "ada").await;
    assert_eq!(init, Some(plain("a")));
    act(&sidecar, &mut stream, update(clocked("b", CrdtClock::Custom, 101))).await.expect("served");
    assert_eq!(two.delta().await, plain("b"));
    act(&sidecar, &mut stream, update(clocked("c", CrdtClock::Custom, 7))).await.expect("served");
    assert_eq!(stream.delta().await, plain("b"), "the winner, after the reply");
    act(&sidecar, &mut stream, update(clocked("d", CrdtClock::CustomAutoIncrement, 7))).await.expect("served");
    assert_eq!(two.delta().await, plain("d"));
    act(&sidecar, &mut stream, update(clocked("e", CrdtClock::Reverse, 0))).await.expect("served");
    assert_eq!(stream.delta().await, plain("d"), "the first write wins");
}

#[tokio::test]
async fn every_consistency_is_reached_on_a_node_alone() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", None).await;
    for consistency in [CrdtWriteConsistency::Local, CrdtWriteConsistency::Majority, CrdtWriteConsistency::All] {
        let action = StateAction::Update(pn(1));
        let action = CrdtStateAction { write_consistency: consistency.into(), action: Some(action) };
        act(&sidecar, &mut stream, Some(action)).await.expect("served");
    }
    let (_two, delta) = open_two(&mut function, &sidecar, "ada").await;
    assert_eq!(delta, Some(pn(3)));
}

/// Row 44: also for the next entity of the id, and for the one that shares the value.
#[tokio::test]
async fn a_deletion_is_final_and_says_so() {
    let (mut function, sidecar) = start_with(Some(Duration::from_millis(100)), |_| {}).await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let (mut two, _) = open_two(&mut function, &sidecar, "ada").await;
    let call = call_two(&sidecar, "ada");
    two.command().await;
    act(&sidecar, &mut stream, delete()).await.expect("the reply of the deletion");
    stream.closed().await;
    assert_eq!(two.next().await, Some(crdt_stream_in::Message::Delete(CrdtDelete {})));
    // What was owed is passed on; its state action is not carried out.
    two.reply(reply(2, update(pn(1)))).await;
    assert_eq!(answer(call).await.expect("passed on"), 2);
    two.closed().await;
    assert_eq!(failed(call_two(&sidecar, "ada")).await, failure("Entity deleted"));
    assert_eq!(failed(process(&sidecar, "ada")).await, failure("Entity deleted"));
    let status = soon("the failure", process_streamed(&sidecar, "ada")).await.expect("no panic");
    assert_eq!(status.expect_err("deleted").message(), "Entity deleted");
    until_idle_ones_are_passivated(&mut function, &sidecar).await; // its successor finds the key deleted
    assert_eq!(failed(process(&sidecar, "ada")).await, failure("Entity deleted"));
    assert!(function.has_no_crdt());
}

/// Row 45: the client gets the description.
#[tokio::test]
async fn a_stream_failure_for_a_command_has_its_description() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", None).await;
    let call = process(&sidecar, "ada");
    stream.command().await;
    let description = "no luck".to_owned();
    stream.send(crdt_stream_out::Message::Failure(Failure { command_id: 2, description, restart: false })).await;
    assert_eq!(failed(call).await, failure("no luck"));
    act(&sidecar, &mut stream, None).await.expect("the entity lives on");
}

/// Row 53: one command fails, with the text; the function begins anew with what is replicated.
#[tokio::test]
async fn an_incompatible_delta_fails_its_command_alone() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let bad = process(&sidecar, "ada");
    stream.command().await;
    let good = process(&sidecar, "ada");
    stream.command().await;
    stream.reply(reply(2, update(delta(Delta::Flag(FlagDelta { value: true }))))).await;
    let text = "FlagDelta is incompatible with CRDT PNCounter";
    assert_eq!(failed(bad).await, failure(text));
    assert_eq!(function.report().await, text);
    let waits = process(&sidecar, "ada");
    stream.reply(reply(3, update(pn(1)))).await;
    assert_eq!(answer(good).await.expect("served"), 3);
    stream.closed().await;
    let mut stream = function.crdt().await;
    assert_eq!(stream.init().await.delta, Some(pn(2)));
    assert_eq!(stream.command().await.id, 1);
    stream.reply(reply(1, None)).await;
    assert_eq!(answer(waits).await.expect("served"), 1);
}

#[tokio::test]
async fn mistakes_of_the_function_take_the_stream_down_and_the_next_command_opens_another() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let call = process(&sidecar, "ada");
    stream.command().await;
    stream.reply(reply(9, None)).await;
    assert_eq!(failed(call).await, failure("Entity terminating"));
    assert_eq!(function.report().await, "Received reply for entity id ada for unknown command 9");
    stream.reset().await;

    let call = process(&sidecar, "ada");
    let mut stream = function.crdt().await;
    assert_eq!(stream.init().await.delta, Some(pn(1)));
    stream.command().await;
    stream.reply(begin(1)).await;
    assert_eq!(failed(call).await, failure("Entity terminating"));
    assert_eq!(function.report().await, "Streamed reply to non streamed command 1");

    let call = process(&sidecar, "ada");
    let mut stream = function.crdt().await;
    stream.init().await;
    stream.command().await;
    stream.end();
    assert_eq!(failed(call).await, failure("Entity terminating"));
    assert_eq!(function.report().await, "Unexpected entity termination due to stream closure");
}

/// Row 58: the Node SDK does not end its side when we have.
#[tokio::test]
async fn a_function_that_does_not_end_its_stream_is_not_waited_for_for_ever() {
    let idle = Some(Duration::from_millis(50));
    let change = |config: &mut ProxyConfig| config.event_sourced.close_timeout = Duration::from_millis(200);
    let (mut function, sidecar) = start_with(idle, change).await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    assert_eq!(stream.next().await, None, "half-closed by passivation");
    let call = process(&sidecar, "ada");
    stream.reset().await;
    let mut stream = function.crdt().await;
    assert_eq!(stream.init().await.delta, Some(pn(1)));
    stream.command().await;
    stream.reply(reply(1, None)).await;
    answer(call).await.expect("served");
}

#[tokio::test]
async fn an_entity_is_not_passivated_while_a_client_listens() {
    let (mut function, sidecar) = start_with(Some(Duration::from_millis(50)), |_| {}).await;
    let call = process_streamed(&sidecar, "ada");
    let mut stream = function.crdt().await;
    stream.init().await;
    stream.command().await;
    stream.reply(CrdtReply { streamed: true, ..reply(1, None) }).await;
    let mut elements = opened(call).await;
    next(&mut elements).await.expect("an element");
    until_idle_ones_are_passivated(&mut function, &sidecar).await;
    stream.element(element(1, 7, true)).await;
    assert_eq!(next(&mut elements).await.expect("an element"), Some(7));
    stream.closed().await;
}

/// Streams without an end are ended when the sidecar stops, the function hears of it, and what it says then counts.
#[tokio::test]
async fn a_sidecar_that_stops_completes_streamed_calls() {
    let (mut function, sidecar) = start().await;
    let mut stream = open(&mut function, &sidecar, "ada", update(pn(1))).await;
    let call = process_streamed(&sidecar, "ada");
    stream.command().await;
    stream.reply(CrdtReply { streamed: true, ..reply(2, None) }).await;
    let mut elements = opened(call).await;
    next(&mut elements).await.expect("an element");
    let drained = tokio::spawn(sidecar.proxy.drain());
    assert_eq!(next(&mut elements).await.expect("no error"), None);
    drop(elements);
    assert_eq!(stream.cancelled().await, 2);
    stream.answer_cancel(CrdtStreamCancelledResponse { command_id: 2, ..Default::default() }).await;
    stream.closed().await;
    soon("the end", drained).await.expect("no panic");
}
