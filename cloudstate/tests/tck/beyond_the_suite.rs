//! What the suite leaves out although its arrangement can see it: recovery from a snapshot, commands that wait for a
//! restart, synchronous effects, client headers, and calls that must not reach the user function at all.

use anyhow::{Result, ensure};
use proto::model::tck::event_sourced_tck_model_client::EventSourcedTckModelClient;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};

use super::engine::{EXPECTATION, Report, Setup};
use super::event_sourced::{Entity, MODEL, TWO, effect, emit, emits, event, f_restart, fail, r, request};
use super::proxy_event_sourced::{in_time, seen};

/// Tests in this group.
pub const TESTS: usize = 5;

/// Runs the group.
pub async fn run(setup: &mut Setup, report: &mut Report) {
    report.run("a restart recovers from the snapshot and the events after it", setup.orderly(snapshot)).await;
    report.run("a command that arrives during a restart is answered after it", setup.orderly(waiting)).await;
    report.run("a synchronous effect is complete before the client is answered", setup.orderly(synchronous)).await;
    report.run("headers of the client do not become metadata of the command", setup.orderly(headers)).await;
    report.run("a call that cannot be routed does not reach the function", setup.orderly(not_routed)).await;
}

async fn snapshot(setup: &mut Setup) -> Result<()> {
    let entity = Entity::new(MODEL, "beyond-snapshot");
    let five = ["A", "B", "C", "D", "E"];
    setup.process(&entity, emits(&five), "ABCDE").await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, emits(&five)), r(1, "ABCDE").events(&five).snapshot("ABCDE")).await?;
    setup.process(&entity, emits(&["F", "G"]), "ABCDEFG").await?;
    seen(&mut stream, entity.c(2, emits(&["F", "G"])), r(2, "ABCDEFG").events(&["F", "G"])).await?;

    setup.process_fails(&entity, [emit("x"), fail("no")], "no").await?;
    seen(&mut stream, entity.c(3, [emit("x"), fail("no")]), f_restart(3, "no")).await?;
    stream.closed(EXPECTATION).await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init_from(5, "ABCDE")).await?;
    stream.input.expect(event(6, "F")).await?;
    stream.input.expect(event(7, "G")).await?;
    setup.process(&entity, [], "ABCDEFG").await?;
    seen(&mut stream, entity.c(1, []), r(1, "ABCDEFG")).await
}

async fn waiting(setup: &mut Setup) -> Result<()> {
    let entity = Entity::new(MODEL, "beyond-waiting");
    setup.process(&entity, [emit("A")], "A").await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, [emit("A")]), r(1, "A").events(&["A"])).await?;

    // Both are on their way together. In either order nobody sees `x`, and nobody is sent away.
    let failing = [emit("x"), fail("no")];
    let (failed, answered) = tokio::join!(
        biased;
        setup.process_fails(&entity, failing.clone(), "no"),
        setup.process(&entity, [emit("B")], "AB"),
    );
    failed.and(answered)?;
    let second = r(2, "AB").events(&["B"]);
    if stream.input.message().await? == entity.c(2, failing.clone()) {
        stream.output.expect(f_restart(2, "no").message()).await?;
        stream.closed(EXPECTATION).await?;
        let mut stream = setup.interceptor.event_sourced().await?;
        stream.input.expect(entity.init()).await?;
        stream.input.expect(event(1, "A")).await?;
        return seen(&mut stream, entity.c(1, [emit("B")]), r(1, "AB").events(&["B"])).await;
    }
    stream.output.expect(second.message()).await?;
    seen(&mut stream, entity.c(3, failing), f_restart(3, "no")).await?;
    stream.closed(EXPECTATION).await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    stream.input.expect(event(1, "A")).await?;
    stream.input.expect(event(2, "B")).await
}

async fn synchronous(setup: &mut Setup) -> Result<()> {
    let id = "beyond-synchronous";
    let (entity, other) = (Entity::new(MODEL, id), Entity::new(TWO, id));
    setup.process(&entity, [emit("A"), effect(id, true)], "A").await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, [emit("A"), effect(id, true)]), r(1, "A").events(&["A"]).eff_sync(&[id])).await?;
    // The client has its answer: by now all of it must have been seen, without any waiting.
    let mut second = setup.interceptor.event_sourced_now()?;
    second.input.expect_now(other.init())?;
    second.input.expect_now(other.call(1))?;
    second.output.expect_now(r(1, "").message())
}

async fn headers(setup: &mut Setup) -> Result<()> {
    let entity = Entity::new(MODEL, "beyond-headers");
    let mut call = Request::new(request(&entity.id, []));
    call.metadata_mut().insert("x-user", "alice".parse()?);
    call.set_timeout(EXPECTATION);
    let mut client = EventSourcedTckModelClient::new(setup.channel.clone());
    client.process(call).await?;
    let mut stream = setup.interceptor.event_sourced().await?;
    stream.input.expect(entity.init()).await?;
    seen(&mut stream, entity.c(1, []), r(1, "")).await
}

async fn not_routed(setup: &mut Setup) -> Result<()> {
    let mut client = EventSourcedTckModelClient::new(setup.channel.clone());
    let keyless = in_time(client.process(request("", [emit("A")]))).await?.expect_err("there is no key");
    ensure!(keyless.code() == Code::InvalidArgument, "{keyless:?}");

    let path = PathAndQuery::from_static("/cloudstate.tck.model.EventSourcedTckModel/Nothing");
    let mut grpc = tonic::client::Grpc::new(setup.channel.clone());
    grpc.ready().await?;
    let codec = tonic_prost::ProstCodec::<_, proto::model::tck::Response>::default();
    let unknown = in_time(grpc.unary(Request::new(request("a", [])), path, codec)).await?;
    let unknown = unknown.expect_err("there is no such method");
    ensure!(unknown.code() == Code::Unimplemented, "{unknown:?}");

    let path = "/tck/model/eventsourced/beyond-json";
    let malformed = setup.http.post(path, r#"{"actions": 1}"#).await?;
    ensure!(malformed.status == 400, "{malformed:?}");
    let nowhere = setup.http.post("/tck/nowhere", "{}").await?;
    ensure!(nowhere.status == 404, "{nowhere:?}");
    Ok(())
}
