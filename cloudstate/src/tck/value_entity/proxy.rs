//! Group 7, "verifying proxy test: entity": the suite calls the proxy and watches what passes between it and the user
//! function.

use anyhow::Result;

use super::{CONFIGURED, ValueEntity, delete, effect, fail, forward, r, update};
use crate::tck::engine::{PASSIVATION, Tck};
use crate::tck::entity::{Entity, Kind, Watched, f, fwd};
use crate::tck::suite::{Test, test};

pub(in crate::tck) const TESTS: &[Test] = &[
    test!("verify state changes", state_changes),
    test!("verify forwards and side effects", forwards_and_effects),
    test!("verify failures", failures),
    test!("verify HTTP API", http_api),
    test!("verify passivation timeout", passivation, CONFIGURED),
];

type Watch = Watched<ValueEntity>;

async fn state_changes(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "value");
    entity.process(tck, [], r("")).await?;
    entity.process(tck, [update("one")], r("one").update("one")).await?;
    entity.process(tck, [update("two")], r("two").update("two")).await?;
    entity.process(tck, [], r("two")).await?;
    entity.process(tck, [delete()], r("").delete()).await?;
    entity.process(tck, [], r("")).await?;
    entity.process(tck, [update("foo")], r("foo").update("foo")).await?;
    entity.process(tck, [delete()], r("").delete()).await
}

async fn forwards_and_effects(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "value");
    let id = &entity.entity.id.clone();
    let mut second = Watch::new(Entity::new(ValueEntity::TWO, id));
    entity.process(tck, [update("one")], r("one").update("one")).await?;
    entity.process(tck, [forward(id)], fwd(id)).await?;
    second.seen(tck, "Call", [], r("")).await?;
    entity.process(tck, [effect(id)], r("one").eff([id])).await?;
    second.seen(tck, "Call", [], r("")).await?;
    entity.process(tck, [], r("one")).await
}

async fn failures(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "value");
    entity.process(tck, [update("one")], r("one").update("one")).await?;
    entity.process(tck, [fail("expected failure")], f("expected failure")).await?;
    entity.process(tck, [], r("one")).await
}

async fn http_api(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "value");
    let id = &entity.entity.id.clone();
    let path = &format!("/tck/model/entity/{id}");
    entity.post(tck, (path, "{}"), r#"{"message":""}"#, ([], r(""))).await?;

    let mut second = Watch::new(Entity::new(ValueEntity::TWO, id));
    let (call, json) = ("/cloudstate.tck.model.valueentity.ValueEntityTwo/Call", &format!(r#"{{"id": "{id}"}}"#));
    second.post(tck, (call, json), r#"{"message":""}"#, ([], r(""))).await?;

    let json = r#"{"actions": [{"update": {"value": "one"}}]}"#;
    entity.post(tck, (path, json), r#"{"message":"one"}"#, ([update("one")], r("one").update("one"))).await?;
    let json = r#"{"actions": [{"fail": {"message": "expected failure"}}]}"#;
    entity.post(tck, (path, json), "", ([fail("expected failure")], f("expected failure"))).await?;
    let json = r#"{"actions": [{"update": {"value": "two"}}]}"#;
    entity.post(tck, (path, json), r#"{"message":"two"}"#, ([update("two")], r("two").update("two"))).await?;
    entity.post(tck, (path, "{}"), r#"{"message":"two"}"#, ([], r("two"))).await
}

async fn passivation(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::new(Entity::new(CONFIGURED, tck.fresh("value")));
    entity.called(tck, r("")).await?;
    entity.closed_within(PASSIVATION).await
}
