//! Group 2, "verifying model test: action": the suite speaks to the user function directly.

use anyhow::Result;
use proto::cloudstate::action::action_protocol_client::ActionProtocolClient;
use proto::cloudstate::action::{ActionCommand, ActionResponse};
use proto::model::tck::action::ProcessStep;

use super::{
    Expected, MODEL, TWO, TYPE, command, effect, effect_sync, f, fail, forward, fwd, groups, header, nothing, r, reply,
    request, streamed,
};
use crate::tck::discovery::declared;
use crate::tck::engine::{Conversation, EXPECTATION, Tck, expect_one};
use crate::tck::suite::{Test, test};

/// `u(steps) ← expected`.
macro_rules! unary {
    ($name:literal, $steps:expr, $expected:expr) => {
        Test { name: $name, services: &[], run: |tck| Box::pin(unary(tck, $steps.into(), $expected)) }
    };
}

/// `header; {steps} of each request; complete ← expected`.
macro_rules! streamed_in {
    ($name:literal, $requests:expr, $expected:expr) => {
        Test { name: $name, services: &[], run: |tck| Box::pin(streamed_in(tck, $requests, $expected)) }
    };
}

/// Several groups or requests with the same kind of answer.
macro_rules! streams {
    ($name:literal, $function:ident, $answers:ident) => {
        Test { name: $name, services: &[], run: |tck| Box::pin($function(tck, $answers)) }
    };
}

pub(in crate::tck) const TESTS: &[Test] = &[
    test!("verify action entity discovery", entity_discovery),
    unary!("verify unary command reply", [reply("one")], r("one")),
    unary!("verify unary command reply with side effect", [reply("two"), effect("other")], r("two").eff(["other"])),
    unary!(
        "verify unary command reply with synchronous side effect",
        [reply("three"), effect_sync("another")],
        r("three").eff_sync(["another"])
    ),
    unary!(
        "verify unary command reply with multiple side effects",
        [reply("four"), effect("a"), effect("b"), effect("c")],
        r("four").eff(["a", "b", "c"])
    ),
    unary!("verify unary command no reply", [], nothing()),
    unary!("verify unary command no reply with side effect", [effect("other")], nothing().eff(["other"])),
    unary!(
        "verify unary command no reply with synchronous side effect",
        [effect_sync("another")],
        nothing().eff_sync(["another"])
    ),
    unary!(
        "verify unary command no reply with multiple side effects",
        [effect("a"), effect("b"), effect("c")],
        nothing().eff(["a", "b", "c"])
    ),
    unary!("verify unary command forward", [forward("one")], fwd("one")),
    unary!(
        "verify unary command forward with side effect",
        [forward("two"), effect("other")],
        fwd("two").eff(["other"])
    ),
    unary!(
        "verify unary command forward with synchronous side effect",
        [forward("three"), effect_sync("another")],
        fwd("three").eff_sync(["another"])
    ),
    unary!(
        "verify unary command forward with multiple side effects",
        [forward("four"), effect("a"), effect("b"), effect("c")],
        fwd("four").eff(["a", "b", "c"])
    ),
    unary!("verify unary command failure", [fail("one")], f("one")),
    unary!("verify unary command failure with side effect", [fail("two"), effect("other")], f("two").eff(["other"])),
    unary!(
        "verify unary command failure with synchronous side effect",
        [fail("three"), effect_sync("another")],
        f("three").eff_sync(["another"])
    ),
    unary!(
        "verify unary command failure with multiple side effects",
        [fail("four"), effect("a"), effect("b"), effect("c")],
        f("four").eff(["a", "b", "c"])
    ),
    streamed_in!("verify streamed-in command reply", vec![vec![reply("one")]], r("one")),
    streamed_in!(
        "verify streamed-in command reply with side effects",
        with_effects(Some(reply("two"))),
        all_effects(r("two"))
    ),
    streamed_in!("verify streamed-in command no reply (no requests)", vec![], nothing()),
    streamed_in!("verify streamed-in command no reply", vec![vec![]], nothing()),
    streamed_in!("verify streamed-in command no reply with side effects", with_effects(None), all_effects(nothing())),
    streamed_in!("verify streamed-in command forward", vec![vec![forward("one")]], fwd("one")),
    streamed_in!(
        "verify streamed-in command forward with side effects",
        with_effects(Some(forward("two"))),
        all_effects(fwd("two"))
    ),
    streamed_in!("verify streamed-in command failure", vec![vec![fail("one")]], f("one")),
    streamed_in!(
        "verify streamed-in command failure with side effects",
        with_effects(Some(fail("two"))),
        all_effects(f("two"))
    ),
    streams!("verify streamed-out command replies and side effects", streamed_out, REPLIES),
    streams!("verify streamed-out command no replies and side effects", streamed_out, NO_REPLIES),
    streams!("verify streamed-out command forwards and side effects", streamed_out, FORWARDS),
    streams!("verify streamed-out command failures and side effects", streamed_out, FAILURES),
    streams!("verify streamed command replies and side effects", streamed_both, REPLIES),
    streams!("verify streamed command no replies and side effects", streamed_both, NO_REPLIES),
    streams!("verify streamed command forwards and side effects", streamed_both, FORWARDS),
    streams!("verify streamed command failures and side effects", streamed_both, FAILURES),
];

/// The step that asks for an answer, and the answer.
type Answers = (fn(&str) -> Option<ProcessStep>, fn(&str) -> Expected);

const REPLIES: Answers = (|text| Some(reply(text)), r);
const NO_REPLIES: Answers = (|_| None, |_| nothing());
const FORWARDS: Answers = (|id| Some(forward(id)), fwd);
const FAILURES: Answers = (|text| Some(fail(text)), f);

async fn entity_discovery(tck: &mut Tck) -> Result<()> {
    declared(&tck.spec, MODEL, TYPE)?;
    declared(&tck.spec, TWO, TYPE).map(|_| ())
}

async fn unary(tck: &mut Tck, steps: Vec<ProcessStep>, Expected(expected): Expected) -> Result<()> {
    let mut client = ActionProtocolClient::new(tck.function.clone());
    expect_one(client.handle_unary(command("ProcessUnary", &request(steps))), expected).await
}

async fn streamed_in(tck: &mut Tck, requests: Vec<Vec<ProcessStep>>, Expected(expected): Expected) -> Result<()> {
    let mut client = ActionProtocolClient::new(tck.function.clone());
    let requests = requests.into_iter().map(|steps| streamed(&request(steps)));
    let commands: Vec<_> = [header("ProcessStreamedIn")].into_iter().chain(requests).collect();
    expect_one(client.handle_streamed_in(tokio_stream::iter(commands)), expected).await
}

/// Three requests with side effects, the first one asks for the answer besides.
fn with_effects(answer: Option<ProcessStep>) -> Vec<Vec<ProcessStep>> {
    let first = answer.into_iter().chain([effect("a")]).collect();
    vec![first, vec![effect_sync("b")], vec![effect("c"), effect("d")]]
}

fn all_effects(expected: Expected) -> Expected {
    expected.eff(["a"]).eff_sync(["b"]).eff(["c", "d"])
}

/// Four groups of steps with what they are answered.
fn four((ask, answer): Answers) -> [(Vec<ProcessStep>, ActionResponse); 4] {
    let steps = |text, effects: &[ProcessStep]| ask(text).into_iter().chain(effects.iter().cloned()).collect();
    [
        (steps("one", &[]), answer("one").0),
        (steps("two", &[effect("other")]), answer("two").eff(["other"]).0),
        (steps("three", &[effect_sync("another")]), answer("three").eff_sync(["another"]).0),
        (steps("four", &["a", "b", "c"].map(effect)), answer("four").eff(["a", "b", "c"]).0),
    ]
}

async fn streamed_out(tck: &mut Tck, answers: Answers) -> Result<()> {
    let (steps, expected): (Vec<_>, Vec<_>) = four(answers).into_iter().unzip();
    let mut client = ActionProtocolClient::new(tck.function.clone());
    let command = command("ProcessStreamedOut", &groups(steps));
    let mut talk: Conversation<(), _> =
        Conversation::open(move |_| async move { client.handle_streamed_out(command).await });
    for response in expected {
        talk.expect(response).await?;
    }
    talk.answers.completed(EXPECTATION).await
}

async fn streamed_both(tck: &mut Tck, answers: Answers) -> Result<()> {
    let mut client = ActionProtocolClient::new(tck.function.clone());
    let mut talk: Conversation<ActionCommand, ActionResponse> =
        Conversation::open(move |commands| async move { client.handle_streamed(commands).await });
    talk.send(header("ProcessStreamed")).await?;
    for (steps, expected) in four(answers) {
        talk.send(streamed(&request(steps))).await?;
        talk.expect(expected).await?;
    }
    let (ask, answer) = answers;
    let two = [ask("five").into_iter().collect(), ask("six").into_iter().chain([effect("other")]).collect()];
    talk.send(streamed(&groups(two))).await?;
    talk.expect(answer("five").0).await?;
    talk.expect(answer("six").eff(["other"]).0).await?;
    talk.pass().await
}
