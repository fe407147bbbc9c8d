//! Group 8, "verifying proxy test: event sourced entity": the suite calls the sidecar and watches what passes between
//! it and the user function.

use std::future::Future;

use anyhow::{Context, Result, bail, ensure};
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut};
use proto::model::tck::event_sourced_configured_client::EventSourcedConfiguredClient;
use proto::model::tck::event_sourced_tck_model_client::EventSourcedTckModelClient;
use proto::model::tck::{RequestAction, Response};
use tonic::Status;

use super::engine::{EXPECTATION, PASSIVATION, Recorded, Report, Setup};
use super::event_sourced::{
    CONFIGURED, Entity, Expected, MODEL, TWO, effect, emit, emits, event, f, f_restart, fail, failed, forward, fwd, r,
    request,
};

/// Tests in this group.
pub const TESTS: usize = 5;

type Stream = Recorded<EventSourcedStreamIn, EventSourcedStreamOut>;

/// Runs the group.
pub async fn run(setup: &mut Setup, report: &mut Report) {
    report.run("verify state changes", setup.orderly(state_changes)).await;
    report.run("verify forwards and side effects", setup.orderly(forwards_and_effects)).await;
    report.run("verify failures", setup.orderly(failures)).await;
    report.run("verify HTTP API", setup.orderly(http_api)).await;
    report.run("verify passivation timeout", setup.orderly(passivation)).await;
}

async fn state_changes(setup: &mut Setup) -> Result<()> {
    let entity = Entity::new(MODEL, "proxy-state-changes");
    setup.process(&entity, [], "").await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, []), r(1, "")).await?;

    setup.process(&entity, [emit("A")], "A").await?;
    seen(&mut stream, entity.c(2, [emit("A")]), r(2, "A").events(&["A"])).await?;

    setup.process(&entity, emits(&["B", "C", "D"]), "ABCD").await?;
    let third = r(3, "ABCD").events(&["B", "C", "D"]);
    seen(&mut stream, entity.c(3, emits(&["B", "C", "D"])), third).await?;

    setup.process(&entity, [emit("E")], "ABCDE").await?;
    let fourth = r(4, "ABCDE").events(&["E"]).snapshot("ABCDE");
    seen(&mut stream, entity.c(4, [emit("E")]), fourth).await?;

    let four = ["F", "G", "H", "I"];
    setup.process(&entity, emits(&four), "ABCDEFGHI").await?;
    seen(&mut stream, entity.c(5, emits(&four)), r(5, "ABCDEFGHI").events(&four)).await?;

    setup.process(&entity, emits(&["J", "K"]), "ABCDEFGHIJK").await?;
    let sixth = r(6, "ABCDEFGHIJK").events(&["J", "K"]).snapshot("ABCDEFGHIJK");
    seen(&mut stream, entity.c(6, emits(&["J", "K"])), sixth).await
}

async fn forwards_and_effects(setup: &mut Setup) -> Result<()> {
    let id = "proxy-forwards-and-effects";
    let (entity, other) = (Entity::new(MODEL, id), Entity::new(TWO, id));
    setup.process(&entity, [emit("one")], "one").await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, [emit("one")]), r(1, "one").events(&["one"])).await?;

    setup.process(&entity, [forward(id)], "").await?;
    seen(&mut stream, entity.c(2, [forward(id)]), fwd(2, id)).await?;
    let mut second = setup.interceptor.event_sourced().await?;
    second.input.expect(other.init()).await?;
    seen(&mut second, other.call(1), r(1, "")).await?;

    setup.process(&entity, [effect(id, false)], "one").await?;
    seen(&mut stream, entity.c(3, [effect(id, false)]), r(3, "one").eff(&[id])).await?;
    seen(&mut second, other.call(2), r(2, "")).await?;

    setup.process(&entity, [], "one").await?;
    seen(&mut stream, entity.c(4, []), r(4, "one")).await
}

async fn failures(setup: &mut Setup) -> Result<()> {
    let entity = Entity::new(MODEL, "proxy-failures");
    let three = ["1", "2", "3"];
    setup.process(&entity, emits(&three), "123").await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, emits(&three)), r(1, "123").events(&three)).await?;

    setup.process_fails(&entity, [fail("expected failure")], "expected failure").await?;
    seen(&mut stream, entity.c(2, [fail("expected failure")]), f(2, "expected failure")).await?;
    setup.process(&entity, [], "123").await?;
    seen(&mut stream, entity.c(3, []), r(3, "123")).await?;

    let steps = [emit("4"), fail("another failure"), emit("5")];
    setup.process_fails(&entity, steps.clone(), "another failure").await?;
    stream.input.expect(entity.c(4, steps)).await?;
    // A restart happens at once: the client sends nothing before the new stream is there.
    let restarted = restarted(setup, stream, &entity, (4, "another failure"), &three).await?;
    let (mut stream, next) = restarted;
    setup.process(&entity, emits(&["4", "5"]), "12345").await?;
    let expected = r(next, "12345").events(&["4", "5"]).snapshot("12345");
    seen(&mut stream, entity.c(next, emits(&["4", "5"])), expected).await
}

/// After a failed command that had emitted: follows the entity into its new stream if the function asked for a
/// restart. The stream to go on with, and the id of its next command.
async fn restarted(
    setup: &mut Setup,
    mut stream: Stream,
    entity: &Entity,
    (id, text): (i64, &str),
    events: &[&str],
) -> Result<(Stream, i64)> {
    let answer = stream.output.message().await?;
    match failed(&answer, id) {
        Some(true) => ensure!(answer == f_restart(id, text).message(), "more than the failure: {answer:?}"),
        Some(false) => {
            ensure!(answer == f(id, text).message(), "more than the failure: {answer:?}");
            return Ok((stream, id + 1));
        }
        None => bail!("expected a failure of command {id}, got {answer:?}"),
    }
    stream.closed(EXPECTATION).await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    for (sequence, value) in (1..).zip(events) {
        stream.input.expect(event(sequence, value)).await?;
    }
    Ok((stream, 1))
}

async fn http_api(setup: &mut Setup) -> Result<()> {
    let id = "proxy-http";
    let (entity, other) = (Entity::new(MODEL, id), Entity::new(TWO, id));
    let path = &format!("/tck/model/eventsourced/{id}");
    setup.http.expect_json(path, "{}", r#"{"message":""}"#).await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, []), r(1, "")).await?;

    let call = "/cloudstate.tck.model.EventSourcedTwo/Call";
    setup.http.expect_json(call, &format!(r#"{{"id": "{id}"}}"#), r#"{"message":""}"#).await?;
    let mut second = setup.interceptor.event_sourced().await?;
    second.input.expect(other.init()).await?;
    seen(&mut second, other.call(1), r(1, "")).await?;

    setup.http.expect_json(path, r#"{"actions": [{"emit": {"value": "x"}}]}"#, r#"{"message":"x"}"#).await?;
    seen(&mut stream, entity.c(2, [emit("x")]), r(2, "x").events(&["x"])).await?;
    let json = r#"{"actions": [{"fail": {"message": "expected failure"}}]}"#;
    setup.http.expect_failure(path, json, "expected failure").await?;
    seen(&mut stream, entity.c(3, [fail("expected failure")]), f(3, "expected failure")).await?;
    setup.http.expect_json(path, r#"{"actions": [{"emit": {"value": "y"}}]}"#, r#"{"message":"xy"}"#).await?;
    seen(&mut stream, entity.c(4, [emit("y")]), r(4, "xy").events(&["y"])).await?;

    let json = r#"{"actions": [{"emit": {"value": "z"}}, {"fail": {"message": "emit then fail"}}]}"#;
    setup.http.expect_failure(path, json, "emit then fail").await?;
    stream.input.expect(entity.c(5, [emit("z"), fail("emit then fail")])).await?;
    let (mut stream, next) = restarted(setup, stream, &entity, (5, "emit then fail"), &["x", "y"]).await?;
    setup.http.expect_json(path, r#"{"actions": [{"emit": {"value": "z"}}]}"#, r#"{"message":"xyz"}"#).await?;
    seen(&mut stream, entity.c(next, [emit("z")]), r(next, "xyz").events(&["z"])).await
}

async fn passivation(setup: &mut Setup) -> Result<()> {
    let entity = Entity::new(CONFIGURED, "proxy-passivation");
    let mut client = EventSourcedConfiguredClient::new(setup.channel.clone());
    answered(client.call(request(&entity.id, [])), "").await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.call(1), r(1, "")).await?;
    stream.closed(PASSIVATION).await
}

impl Setup {
    /// `actions ⇒ text`
    pub async fn process(&self, entity: &Entity, actions: impl Into<Vec<RequestAction>>, text: &str) -> Result<()> {
        let mut client = EventSourcedTckModelClient::new(self.channel.clone());
        answered(client.process(request(&entity.id, actions)), text).await
    }

    /// `actions ⇒ failure with text`
    pub async fn process_fails(
        &self,
        entity: &Entity,
        actions: impl Into<Vec<RequestAction>>,
        text: &str,
    ) -> Result<()> {
        let mut client = EventSourcedTckModelClient::new(self.channel.clone());
        match in_time(client.process(request(&entity.id, actions))).await? {
            Err(status) if status.message() == text => Ok(()),
            other => bail!("expected the failure {text:?} at the client, got {other:?}"),
        }
    }
}

/// The next message each way.
pub async fn seen(stream: &mut Stream, input: EventSourcedStreamIn, output: Expected) -> Result<()> {
    stream.input.expect(input).await?;
    stream.output.expect(output.message()).await
}

async fn answered(call: impl Future<Output = Result<tonic::Response<Response>, Status>>, text: &str) -> Result<()> {
    match in_time(call).await? {
        Ok(response) if response.get_ref().message == text => Ok(()),
        other => bail!("expected {text:?} at the client, got {other:?}"),
    }
}

pub async fn in_time<T>(call: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(EXPECTATION, call).await.context("no result at the client in time")
}
