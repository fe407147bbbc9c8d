//! Group 9, "verifying proxy test: CRDT entity": the suite calls the proxy and watches what passes between it and the
//! user function.

use std::time::Duration;

use anyhow::Result;
use proto::cloudstate::crdt::CrdtDelta;
use proto::model::tck::crdt::crdt_tck_model_client::CrdtTckModelClient;
use proto::model::tck::crdt::{Response, State, StreamedRequest};

use super::delta::{gcounter, gset, pncounter, self_vote};
use super::streamed::{cancelled_response, message, stream_cancelled, streamed_command};
use super::update::{self, change_by, delete, effect, fail, forward, gset_add, increment, update};
use super::{CONFIGURED, Crdt, r, state};
use crate::tck::engine::{Conversation, PASSIVATION, Tck};
use crate::tck::entity::{Answer, Entity, Expected, Kind, Watched, f, fwd, nothing};
use crate::tck::suite::{Test, test};

pub(in crate::tck) const TESTS: &[Test] = &[
    test!("verify state changes", state_changes),
    test!("verify forwards and side effects", forwards_and_effects),
    test!("verify failures", failures),
    test!("verify streamed responses for connection tracking", connection_tracking),
    test!("verify HTTP API", http_api),
    test!("verify passivation timeout", passivation, CONFIGURED),
];

type Watch = Watched<Crdt>;

/// How long a client must see nothing.
const SILENCE: Duration = Duration::from_millis(100);

async fn state_changes(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "PNCounter");
    entity.process(tck, [], r(state::pncounter(0))).await?;
    let steps = [1, -2, 3].map(|by| update(change_by(by)));
    entity.process(tck, steps, r(state::pncounter(2)).u(pncounter(2))).await?;
    let steps = [4, -5, 6].map(|by| update(change_by(by)));
    entity.process(tck, steps, r(state::pncounter(7)).u(pncounter(5))).await?;
    entity.process(tck, [delete()], r(state::pncounter(7)).delete()).await?;
    entity.closed().await
}

async fn forwards_and_effects(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "GSet");
    let id = &entity.entity.id.clone();
    let mut second = Watch::new(Entity::new(Crdt::TWO, id));
    let one = || r(state::gset(["one"]));
    entity.process(tck, [update(gset_add("one"))], one().u(gset(["one"]))).await?;
    entity.process(tck, [forward(id)], fwd(id)).await?;
    second.seen(tck, "Call", [], empty()).await?;
    entity.process(tck, [effect(id)], one().eff([id])).await?;
    second.seen(tck, "Call", [], empty()).await?;
    entity.process(tck, [delete()], one().delete()).await?;
    entity.closed().await?;

    let deleted = empty().delete();
    second.client(tck, "Call", vec![delete()], &deleted.answer).await?;
    second.seen(tck, "Call", [delete()], deleted).await?;
    second.closed().await
}

async fn failures(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "GCounter");
    entity.process(tck, [update(increment(42))], r(state::gcounter(42)).u(gcounter(42))).await?;
    entity.process(tck, [fail("expected failure")], f("expected failure")).await?;
    entity.process(tck, [delete()], r(state::gcounter(42)).delete()).await?;
    entity.closed().await
}

async fn connection_tracking(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "Vote");
    let whole = entity.entity.clone();
    let nobody = || state::vote(false, 0, 1);

    let monitor_request = StreamedRequest { id: whole.id.clone(), ..StreamedRequest::default() };
    let mut monitor = stream(tck, monitor_request.clone());
    monitor.expect(Response { state: Some(nobody()) }).await?;
    entity.opened(tck, None).await?;
    let seen = entity.stream()?;
    seen.input.expect(streamed_command(&whole, 1, monitor_request)).await?;
    seen.output.expect(r(nobody()).streamed().message(1)).await?;

    let connect_request = StreamedRequest {
        id: whole.id.clone(),
        initial_update: Some(update::vote(true)),
        cancel_update: Some(update::vote(false)),
        empty: true,
        ..StreamedRequest::default()
    };
    let mut connect = stream(tck, connect_request.clone());
    connect.answers.nothing_for(SILENCE).await?;
    monitor.expect(Response { state: Some(state::vote(true, 1, 1)) }).await?;
    seen.input.expect(streamed_command(&whole, 2, connect_request)).await?;
    seen.output.expect(nothing().streamed().u(self_vote(true)).message(2)).await?;
    seen.output.expect(message(1, state::vote(true, 1, 1)).out()).await?;

    drop(connect);
    monitor.expect(Response { state: Some(nobody()) }).await?;
    seen.input.expect(stream_cancelled(&whole, 2)).await?;
    seen.output.expect(cancelled_response(2, Some(self_vote(false)))).await?;
    seen.output.expect(message(1, nobody()).out()).await?;

    drop(monitor);
    seen.input.expect(stream_cancelled(&whole, 1)).await?;
    seen.output.expect(cancelled_response(1, None)).await?;

    entity.numbered_from(3).process(tck, [delete()], r(nobody()).delete()).await?;
    entity.closed().await
}

/// A call of `ProcessStreamed`; dropped, it is cancelled.
fn stream(tck: &Tck, request: StreamedRequest) -> Conversation<(), Response> {
    let mut client = CrdtTckModelClient::new(tck.proxy.clone());
    Conversation::open(move |_| async move { client.process_streamed(request).await })
}

async fn http_api(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "PNCounter");
    let id = &entity.entity.id.clone();
    let path = &format!("/tck/model/crdt/{id}");
    let json = |value: &str| format!(r#"{{"state":{{"pncounter":{{"value":"{value}"}}}}}}"#);
    let counted = |value: i64, change: Option<CrdtDelta>| {
        let reply = r(state::pncounter(value));
        change.map_or(reply.clone(), |delta| reply.u(delta))
    };
    entity.post(tck, (path, "{}"), &json("0"), ([], counted(0, None))).await?;

    let mut second = Watch::new(Entity::new(Crdt::TWO, id));
    let (call, body) = ("/cloudstate.tck.model.crdt.CrdtTwo/Call", &format!(r#"{{"id": "{id}"}}"#));
    second.post(tck, (call, body), "{}", ([], empty())).await?;

    let body = r#"{"actions": [{"update": {"pncounter": {"change": 42} }}]}"#;
    let steps = [update(change_by(42))];
    entity.post(tck, (path, body), &json("42"), (steps, counted(42, Some(pncounter(42))))).await?;
    let body = r#"{"actions": [{"fail": {"message": "expected failure"}}]}"#;
    entity.post(tck, (path, body), "", ([fail("expected failure")], f("expected failure"))).await?;
    let body = r#"{"actions": [{"update": {"pncounter": {"change": -123} }}]}"#;
    let steps = [update(change_by(-123))];
    entity.post(tck, (path, body), &json("-81"), (steps, counted(-81, Some(pncounter(-123))))).await?;
    let body = r#"{"actions": [{"delete": {}}]}"#;
    entity.post(tck, (path, body), &json("-81"), ([delete()], counted(-81, None).delete())).await?;
    entity.closed().await
}

async fn passivation(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::new(Entity::new(CONFIGURED, tck.fresh("PNCounter")));
    entity.called(tck, empty()).await?;
    entity.closed_within(PASSIVATION).await
}

/// A reply without state, as of the second service.
fn empty() -> Expected<Crdt> {
    Expected::new(Answer::Reply(Response { state: None::<State> }))
}
