//! Group 6, "verifying proxy test: action": the suite calls the proxy and watches what passes between it and the user
//! function.

use anyhow::{Result, bail};
use proto::cloudstate::action::{ActionCommand, ActionResponse};
use proto::model::tck::action::action_tck_model_client::ActionTckModelClient;
use proto::model::tck::action::{Request, Response};

use super::{
    Expected, call_of_two, command, effect, f, fail, forward, fwd, groups, header, nothing, r, reply, request, streamed,
};
use crate::tck::engine::{ActionMethod, Call, Conversation, EXPECTATION, Recorded, Tck, expect_failure, expect_one};
use crate::tck::suite::{Test, test};

pub(in crate::tck) const TESTS: &[Test] = &[
    test!("verify unary command processing", unary),
    test!("verify streamed-in command processing", streamed_in),
    test!("verify streamed-out command processing", streamed_out),
    test!("verify streamed command processing", streamed_both),
    test!("verify unary forwards and side effects", unary_forwards_and_effects),
    test!("verify streamed forwards and side effects", streamed_forwards_and_effects),
    test!("verify unary failures", unary_failures),
    test!("verify streamed failures", streamed_failures),
    test!("verify unary HTTP API", http_api),
];

async fn unary(tck: &mut Tck) -> Result<()> {
    process(tck, request([reply("one")]), "one").await?;
    seen(tck, command("ProcessUnary", &request([reply("one")])), r("one")).await
}

async fn streamed_in(tck: &mut Tck) -> Result<()> {
    let two = request([reply("two")]);
    let mut client = ActionTckModelClient::new(tck.proxy.clone());
    expect_one(client.process_streamed_in(tokio_stream::iter([two.clone()])), response("two")).await?;
    let mut call = recorded(tck, ActionMethod::StreamedIn).await?;
    call.input.expect(header("ProcessStreamedIn")).await?;
    call.input.expect(streamed(&two)).await?;
    call.input.completed(EXPECTATION).await?;
    call.output.expect(r("two").0).await
}

async fn streamed_out(tck: &mut Tck) -> Result<()> {
    let texts = ["A", "B", "C"];
    let request = groups(texts.map(|text| vec![reply(text)]));
    let (mut client, sent) = (ActionTckModelClient::new(tck.proxy.clone()), request.clone());
    let mut talk: Conversation<(), _> =
        Conversation::open(move |_| async move { client.process_streamed_out(sent).await });
    for text in texts {
        talk.expect(response(text)).await?;
    }
    talk.answers.completed(EXPECTATION).await?;
    let mut call = recorded(tck, ActionMethod::StreamedOut).await?;
    call.input.expect(command("ProcessStreamedOut", &request)).await?;
    for text in texts {
        call.output.expect(r(text).0).await?;
    }
    call.output.completed(EXPECTATION).await
}

async fn streamed_both(tck: &mut Tck) -> Result<()> {
    let texts = ["X", "Y", "Z"];
    let talk = open(tck);
    for text in texts {
        talk.send(request([reply(text)])).await?;
    }
    let mut answers = talk.complete();
    for text in texts {
        answers.expect(response(text)).await?;
    }
    answers.completed(EXPECTATION).await?;
    let mut call = recorded(tck, ActionMethod::Streamed).await?;
    call.input.expect(header("ProcessStreamed")).await?;
    for text in texts {
        call.input.expect(streamed(&request([reply(text)]))).await?;
        call.output.expect(r(text).0).await?;
    }
    call.closed(EXPECTATION).await
}

async fn unary_forwards_and_effects(tck: &mut Tck) -> Result<()> {
    let forwarding = request([forward("other")]);
    process(tck, forwarding.clone(), "").await?;
    seen(tck, command("ProcessUnary", &forwarding), fwd("other")).await?;
    seen(tck, call_of_two("other"), r("")).await?;

    let with_effect = request([reply(""), effect("another")]);
    process(tck, with_effect.clone(), "").await?;
    seen(tck, command("ProcessUnary", &with_effect), r("").eff(["another"])).await?;
    seen(tck, call_of_two("another"), r("")).await
}

async fn streamed_forwards_and_effects(tck: &mut Tck) -> Result<()> {
    let (one, two) = (request([forward("one")]), request([effect("two")]));
    let mut talk = open(tck);
    talk.send(one.clone()).await?;
    talk.expect(response("")).await?;
    let mut call = recorded(tck, ActionMethod::Streamed).await?;
    call.input.expect(header("ProcessStreamed")).await?;
    call.input.expect(streamed(&one)).await?;
    call.output.expect(fwd("one").0).await?;
    seen(tck, call_of_two("one"), r("")).await?;

    talk.send(two.clone()).await?;
    call.input.expect(streamed(&two)).await?;
    call.output.expect(nothing().eff(["two"]).0).await?;
    seen(tck, call_of_two("two"), r("")).await?;

    // Had the client got an element for the empty response, it would be found here.
    talk.pass().await?;
    call.closed(EXPECTATION).await
}

async fn unary_failures(tck: &mut Tck) -> Result<()> {
    let failing = request([fail("expected failure")]);
    let mut client = ActionTckModelClient::new(tck.proxy.clone());
    expect_failure(client.process_unary(failing.clone()), "expected failure").await?;
    seen(tck, command("ProcessUnary", &failing), f("expected failure")).await
}

async fn streamed_failures(tck: &mut Tck) -> Result<()> {
    let failing = request([fail("expected failure")]);
    let mut talk = open(tck);
    // The call is there before the client has sent anything.
    let mut call = recorded(tck, ActionMethod::Streamed).await?;
    call.input.expect(header("ProcessStreamed")).await?;
    talk.send(failing.clone()).await?;
    // With its last answer the client gives up its requests as well.
    talk.answers.failed("expected failure").await?;
    drop(talk);
    call.input.expect(streamed(&failing)).await?;
    call.output.expect(f("expected failure").0).await
}

async fn http_api(tck: &mut Tck) -> Result<()> {
    let path = "/tck/model/action/unary";
    let json = r#"{"groups": [{"steps": [{"reply": {"message": "foo"}}]}]}"#;
    tck.http.expect_json(path, json, r#"{"message":"foo"}"#).await?;
    seen(tck, command("ProcessUnary", &request([reply("foo")])), r("foo")).await?;

    let json = r#"{"groups": [{"steps": [{"fail": {"message": "boom"}}]}]}"#;
    tck.http.expect_failure(path, json, "boom").await?;
    seen(tck, command("ProcessUnary", &request([fail("boom")])), f("boom")).await
}

fn response(message: &str) -> Response {
    Response { message: message.to_owned() }
}

/// `ProcessUnary(request) ⇒ text`.
async fn process(tck: &Tck, request: Request, text: &str) -> Result<()> {
    let mut client = ActionTckModelClient::new(tck.proxy.clone());
    expect_one(client.process_unary(request), response(text)).await
}

/// A call of `ProcessStreamed`.
fn open(tck: &Tck) -> Conversation<Request, Response> {
    let mut client = ActionTckModelClient::new(tck.proxy.clone());
    Conversation::open(move |requests| async move { client.process_streamed(requests).await })
}

/// A whole `handleUnary`.
async fn seen(tck: &mut Tck, input: ActionCommand, Expected(output): Expected) -> Result<()> {
    let mut call = recorded(tck, ActionMethod::Unary).await?;
    call.input.expect(input).await?;
    call.output.expect(output).await
}

/// The head of the interceptor's queue is such a call.
async fn recorded(tck: &mut Tck, expected: ActionMethod) -> Result<Recorded<ActionCommand, ActionResponse>> {
    match tck.interceptor.call().await? {
        Call::Action(method, call) if method == expected => Ok(call),
        other => bail!("expected a {expected:?} call of an action, seen {}", other.describe()),
    }
}
