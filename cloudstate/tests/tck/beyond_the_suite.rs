//! What the suite leaves out although its arrangement can see it: recovery from a snapshot, commands that wait for a
//! restart, synchronous effects, client headers, calls that must not reach the user function at all, and the end of failed ones.

use anyhow::{Context, Result, bail, ensure};
use cloudstate::tck::engine::{Call, Conversation, EXPECTATION, Tck, in_time};
use cloudstate::tck::entity::{Entity, Kind, Watched, f, f_restart};
use cloudstate::tck::event_sourced::{EventSourced, effect_sync, emit, emits, event, fail, r, snapshot};
use proto::model::tck::action::action_tck_model_client::ActionTckModelClient;
use proto::model::tck::action::process_step::Step;
use proto::model::tck::action::{Fail, ProcessGroup, ProcessStep, Request as ActionRequest};
use proto::model::tck::event_sourced_tck_model_client::EventSourcedTckModelClient;
use tonic::{Code, Request};

type Watch = Watched<EventSourced>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_suite() {
    let mut tck = Tck::start(&super::arrangement(), true).await.expect("function, suite and sidecar");
    let outcomes = [
        ("a restart recovers from the snapshot and the events after it", tck.orderly(recovery).await),
        ("a command that arrives during a restart is answered after it", tck.orderly(waiting).await),
        ("a synchronous effect is complete before the client is answered", tck.orderly(synchronous).await),
        ("headers of the client do not become metadata of the command", tck.orderly(headers).await),
        ("a call that cannot be routed does not reach the function", tck.orderly(not_routed).await),
        ("a failed streamed call of an action is over on both sides", tck.orderly(failed_streamed_call).await),
    ];
    let failures: Vec<_> =
        outcomes.into_iter().filter_map(|(name, outcome)| Some(format!("{name}: {:#}", outcome.err()?))).collect();
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), tck.last_lines());
    tck.stop(false).await;
}

async fn recovery(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "recovery");
    let five = ["A", "B", "C", "D", "E"];
    entity.process(tck, emits(five), r("ABCDE").events(five).snapshot("ABCDE")).await?;
    entity.process(tck, emits(["F", "G"]), r("ABCDEFG").events(["F", "G"])).await?;
    entity.process(tck, [emit("x"), fail("no")], f_restart("no")).await?;
    entity.closed().await?;
    entity.opened(tck, snapshot(5, "ABCDE")).await?;
    entity.stream()?.input.expect(event(6, "F")).await?;
    entity.stream()?.input.expect(event(7, "G")).await?;
    entity.process(tck, [], r("ABCDEFG")).await
}

async fn waiting(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "waiting");
    entity.process(tck, [emit("A")], r("A").events(["A"])).await?;

    // Both are on their way together. In either order nobody sees `x`, and nobody is sent away.
    let failing = vec![emit("x"), fail("no")];
    let (no, ab) = (f("no"), r("AB").events(["B"]));
    let (failed, answered) = tokio::join!(
        biased;
        entity.client(tck, "Process", failing.clone(), &no.answer),
        entity.client(tck, "Process", vec![emit("B")], &ab.answer),
    );
    failed.and(answered)?;
    let command = |id, actions: Vec<_>| entity.entity.command::<EventSourced>(id, "Process", actions);
    let (first_fails, then_fails) = (command(2, failing.clone()), command(3, failing));
    let again_emits = command(1, vec![emit("B")]);
    let stream = entity.stream()?;
    if stream.input.message().await? == first_fails {
        stream.output.expect(f_restart::<EventSourced>("no").message(2)).await?;
        entity.closed().await?;
        entity.opened(tck, None).await?;
        let stream = entity.stream()?;
        stream.input.expect(event(1, "A")).await?;
        stream.input.expect(again_emits).await?;
        return stream.output.expect(ab.message(1)).await;
    }
    stream.output.expect(ab.message(2)).await?;
    stream.input.expect(then_fails).await?;
    stream.output.expect(f_restart::<EventSourced>("no").message(3)).await?;
    entity.closed().await?;
    entity.opened(tck, None).await?;
    entity.stream()?.input.expect(event(1, "A")).await?;
    entity.stream()?.input.expect(event(2, "B")).await
}

async fn synchronous(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "synchronous");
    let id = &entity.entity.id.clone();
    entity.process(tck, [emit("A"), effect_sync(id)], r("A").events(["A"]).eff_sync([id])).await?;
    // The client has its answer: by now all of it must have been seen, without any waiting.
    let mut second = Watch::new(Entity::new(EventSourced::TWO, id));
    second.opened_already(tck, None)?;
    let command = second.entity.command::<EventSourced>(1, "Call", []);
    second.stream()?.input.expect_now(command)?;
    second.stream()?.output.expect_now(r("").message(1))
}

async fn headers(tck: &mut Tck) -> Result<()> {
    let mut entity = Watch::model(tck, "headers");
    let mut call = Request::new(EventSourced::request(&entity.entity.id, Vec::new()));
    call.metadata_mut().insert("x-user", "alice".parse()?);
    call.set_timeout(EXPECTATION);
    EventSourcedTckModelClient::new(tck.proxy.clone()).process(call).await?;
    entity.seen(tck, "Process", [], r("")).await
}

/// The client goes on listening and does not end its requests: whoever has told it the failure must end them.
async fn failed_streamed_call(tck: &mut Tck) -> Result<()> {
    let mut client = ActionTckModelClient::new(tck.proxy.clone());
    let mut talk: Conversation<ActionRequest, _> =
        Conversation::open(move |requests| async move { client.process_streamed(requests).await });
    let fail = Step::Fail(Fail { message: "no".to_owned() });
    let steps = vec![ProcessStep { step: Some(fail) }];
    talk.send(ActionRequest { groups: vec![ProcessGroup { steps }] }).await?;
    talk.answers.failed("no").await?;
    talk.requests_cancelled().await?;

    let Call::Action(_, mut call) = tck.interceptor.call().await? else { bail!("expected a call of the action") };
    let (_header, _failing) = (call.input.message().await?, call.input.message().await?);
    call.input.over().await
}

async fn not_routed(tck: &mut Tck) -> Result<()> {
    let keyless = Watch::new(Entity::new(EventSourced::MODEL, ""));
    let refused = in_time(keyless.call(tck.proxy.clone(), "Process", vec![emit("A")])).await?;
    let refused = refused.err().context("there is no key")?;
    ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");

    let entity = Watch::model(tck, "not-routed");
    let unknown = in_time(entity.call(tck.proxy.clone(), "Nothing", Vec::new())).await?;
    let unknown = unknown.err().context("there is no such method")?;
    ensure!(unknown.code() == Code::Unimplemented, "{unknown:?}");

    let malformed = tck.http.post("/tck/model/eventsourced/beyond-json", r#"{"actions": 1}"#).await?;
    ensure!(malformed.status == 400, "{malformed:?}");
    let nowhere = tck.http.post("/tck/nowhere", "{}").await?;
    ensure!(nowhere.status == 404, "{nowhere:?}");
    Ok(())
}
