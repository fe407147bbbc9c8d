//! Group 8, "verifying proxy test: event sourced entity": the suite calls the proxy and watches what passes between it
//! and the user function.

use anyhow::{Result, bail, ensure};

use super::{CONFIGURED, EventSourced, effect, emit, emits, event, fail, failed, forward, r};
use crate::tck::engine::{PASSIVATION, Tck};
use crate::tck::entity::{Entity, Kind, Watched, f, f_restart, fwd};
use crate::tck::suite::{Test, test};

pub(in crate::tck) const TESTS: &[Test] = &[
    test!("verify state changes", state_changes),
    test!("verify forwards and side effects", forwards_and_effects),
    test!("verify failures", failures),
    test!("verify HTTP API", http_api),
    test!("verify passivation timeout", passivation, CONFIGURED),
];

type Watch = Watched<EventSourced>;

async fn state_changes(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "event-sourced");
    entity.process(tck, [], r("")).await?;
    entity.process(tck, [emit("A")], r("A").events(["A"])).await?;
    entity.process(tck, emits(["B", "C", "D"]), r("ABCD").events(["B", "C", "D"])).await?;
    entity.process(tck, [emit("E")], r("ABCDE").events(["E"]).snapshot("ABCDE")).await?;
    entity.process(tck, emits(["F", "G", "H", "I"]), r("ABCDEFGHI").events(["F", "G", "H", "I"])).await?;
    entity.process(tck, emits(["J", "K"]), r("ABCDEFGHIJK").events(["J", "K"]).snapshot("ABCDEFGHIJK")).await
}

async fn forwards_and_effects(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "event-sourced");
    let id = &entity.entity.id.clone();
    let mut second = Watch::new(Entity::new(EventSourced::TWO, id));
    entity.process(tck, [emit("one")], r("one").events(["one"])).await?;
    entity.process(tck, [forward(id)], fwd(id)).await?;
    second.seen(tck, "Call", [], r("")).await?;
    entity.process(tck, [effect(id)], r("one").eff([id])).await?;
    second.seen(tck, "Call", [], r("")).await?;
    entity.process(tck, [], r("one")).await
}

async fn failures(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "event-sourced");
    entity.process(tck, emits(["1", "2", "3"]), r("123").events(["1", "2", "3"])).await?;
    entity.process(tck, [fail("expected failure")], f("expected failure")).await?;
    entity.process(tck, [], r("123")).await?;

    let steps = vec![emit("4"), fail("another failure"), emit("5")];
    entity.client(tck, "Process", steps.clone(), &f("another failure").answer).await?;
    // A restart happens at once: the client sends nothing before the new stream is there.
    failed_after_emitting(tck, &mut entity, steps, "another failure", &["1", "2", "3"]).await?;
    entity.process(tck, emits(["4", "5"]), r("12345").events(["4", "5"]).snapshot("12345")).await
}

/// The record of a failed command that had emitted: follows the entity into its new stream if the function asked for a
/// restart.
async fn failed_after_emitting(
    tck: &mut Tck,
    entity: &mut Watch,
    steps: Vec<proto::model::tck::RequestAction>,
    text: &str,
    events: &[&str],
) -> Result<()> {
    let id = entity.command(tck, "Process", steps).await?;
    let answer = entity.stream()?.output.message().await?;
    match failed(&answer, id) {
        Some(true) => {
            ensure!(answer == f_restart::<EventSourced>(text).message(id), "more than the failure: {answer:?}");
        }
        Some(false) => {
            ensure!(answer == f::<EventSourced>(text).message(id), "more than the failure: {answer:?}");
            return Ok(());
        }
        None => bail!("expected a failure of command {id}, seen {answer:?}"),
    }
    entity.closed().await?;
    entity.opened(tck, None).await?;
    for (sequence, value) in (1..).zip(events) {
        entity.stream()?.input.expect(event(sequence, value)).await?;
    }
    Ok(())
}

async fn http_api(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "event-sourced");
    let id = &entity.entity.id.clone();
    let path = &format!("/tck/model/eventsourced/{id}");
    entity.post(tck, (path, "{}"), r#"{"message":""}"#, ([], r(""))).await?;

    let mut second = Watch::new(Entity::new(EventSourced::TWO, id));
    let json = &format!(r#"{{"id": "{id}"}}"#);
    second.post(tck, ("/cloudstate.tck.model.EventSourcedTwo/Call", json), r#"{"message":""}"#, ([], r(""))).await?;

    let json = r#"{"actions": [{"emit": {"value": "x"}}]}"#;
    entity.post(tck, (path, json), r#"{"message":"x"}"#, ([emit("x")], r("x").events(["x"]))).await?;
    let json = r#"{"actions": [{"fail": {"message": "expected failure"}}]}"#;
    entity.post(tck, (path, json), "", ([fail("expected failure")], f("expected failure"))).await?;
    let json = r#"{"actions": [{"emit": {"value": "y"}}]}"#;
    entity.post(tck, (path, json), r#"{"message":"xy"}"#, ([emit("y")], r("xy").events(["y"]))).await?;

    let json = r#"{"actions": [{"emit": {"value": "z"}}, {"fail": {"message": "emit then fail"}}]}"#;
    tck.http.expect_failure(path, json, "emit then fail").await?;
    let steps = vec![emit("z"), fail("emit then fail")];
    failed_after_emitting(tck, &mut entity, steps, "emit then fail", &["x", "y"]).await?;
    let json = r#"{"actions": [{"emit": {"value": "z"}}]}"#;
    entity.post(tck, (path, json), r#"{"message":"xyz"}"#, ([emit("z")], r("xyz").events(["z"]))).await
}

async fn passivation(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::new(Entity::new(CONFIGURED, tck.fresh("event-sourced")));
    entity.called(tck, r("")).await?;
    entity.closed_within(PASSIVATION).await
}
