//! Group 4, "verifying model test: event sourced entity": the suite speaks to the user function directly.

use anyhow::{Context, Result, bail, ensure};
use proto::cloudstate::EntitySpec;
use proto::cloudstate::entity_passivation_strategy::Strategy;
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut};
use tonic::transport::Channel;

use super::engine::{Conversation, Report};
use super::event_sourced::{
    CONFIGURED, Entity, Expected, MODEL, TWO, effect, emit, emits, event, f, f_restart, fail, failed, forward, fwd, r,
};

/// Tests in this group.
pub const TESTS: usize = 21;

const TYPE: &str = "cloudstate.eventsourced.EventSourced";

/// What the tests of the group share.
pub struct Model {
    pub function: Channel,
    pub spec: EntitySpec,
}

/// Runs the group.
pub async fn run(model: &Model, report: &mut Report) {
    discovery(model, report).await;
    events(model, report).await;
    forwards_and_effects(model, report).await;
    failures(model, report).await;
}

async fn discovery(model: &Model, report: &mut Report) {
    report
        .run("verify event sourced entity discovery", async {
            model.declared(TWO)?;
            let persistence_id = &model.declared(MODEL)?.persistence_id;
            ensure!(persistence_id == "event-sourced-tck-model", "persistence id {persistence_id:?}");
            Ok(())
        })
        .await;
    report
        .run("verify event sourced configured entity", async {
            let entity = model.declared(CONFIGURED)?;
            ensure!(entity.persistence_id == "event-sourced-configured", "{entity:?}");
            let strategy = entity.passivation_strategy.as_ref().and_then(|given| given.strategy.as_ref());
            ensure!(matches!(strategy, Some(Strategy::Timeout(timeout)) if timeout.timeout == 100), "{entity:?}");
            Ok(())
        })
        .await;
}

async fn events(model: &Model, report: &mut Report) {
    report
        .run("verify initial empty state", async {
            let mut talk = model.talk("initial").await?;
            talk.exchange(talk.c(1, []), r(1, "")).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify single emitted event", async {
            let mut talk = model.talk("single").await?;
            talk.exchange(talk.c(1, [emit("A")]), r(1, "A").events(&["A"])).await?;
            talk.exchange(talk.c(2, []), r(2, "A")).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify multiple emitted events", async {
            let mut talk = model.talk("multiple").await?;
            talk.exchange(talk.c(1, emits(&["A", "B", "C"])), r(1, "ABC").events(&["A", "B", "C"])).await?;
            talk.exchange(talk.c(2, []), r(2, "ABC")).await?;
            talk.pass().await
        })
        .await;
    report.run("verify multiple emitted events and snapshots", snapshots(model)).await;
    report
        .run("verify initial snapshot", async {
            let mut talk = model.talk_from("snapshot", 5, "ABCDE").await?;
            talk.exchange(talk.c(1, []), r(1, "ABCDE")).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify initial snapshot and events", async {
            let mut talk = model.talk_from("snapshot-events", 5, "ABCDE").await?;
            talk.send(event(6, "F")).await?;
            talk.send(event(7, "G")).await?;
            talk.exchange(talk.c(1, []), r(1, "ABCDEFG")).await?;
            talk.pass().await
        })
        .await;
    report.run("verify rehydration after passivation", rehydration(model)).await;
}

async fn snapshots(model: &Model) -> Result<()> {
    let mut talk = model.talk("snapshots").await?;
    for (id, value, state) in [(1, "A", "A"), (2, "B", "AB"), (3, "C", "ABC"), (4, "D", "ABCD")] {
        talk.exchange(talk.c(id, [emit(value)]), r(id, state).events(&[value])).await?;
    }
    talk.exchange(talk.c(5, [emit("E")]), r(5, "ABCDE").events(&["E"]).snapshot("ABCDE")).await?;
    talk.exchange(talk.c(6, emits(&["F", "G", "H"])), r(6, "ABCDEFGH").events(&["F", "G", "H"])).await?;
    let tenth = r(7, "ABCDEFGHIJ").events(&["I", "J"]).snapshot("ABCDEFGHIJ");
    talk.exchange(talk.c(7, emits(&["I", "J"])), tenth).await?;
    talk.exchange(talk.c(8, [emit("K")]), r(8, "ABCDEFGHIJK").events(&["K"])).await?;
    talk.exchange(talk.c(9, []), r(9, "ABCDEFGHIJK")).await?;
    talk.pass().await
}

async fn rehydration(model: &Model) -> Result<()> {
    let mut talk = model.talk("rehydration").await?;
    talk.exchange(talk.c(1, emits(&["A", "B", "C"])), r(1, "ABC").events(&["A", "B", "C"])).await?;
    let fifth = r(2, "ABCDE").events(&["D", "E"]).snapshot("ABCDE");
    talk.exchange(talk.c(2, emits(&["D", "E"])), fifth).await?;
    talk.exchange(talk.c(3, [emit("F")]), r(3, "ABCDEF").events(&["F"])).await?;
    talk.exchange(talk.c(4, [emit("G")]), r(4, "ABCDEFG").events(&["G"])).await?;
    talk.pass().await?;
    let mut talk = model.talk_from("rehydration", 5, "ABCDE").await?;
    talk.send(event(6, "F")).await?;
    talk.send(event(7, "G")).await?;
    talk.exchange(talk.c(1, []), r(1, "ABCDEFG")).await?;
    talk.pass().await
}

async fn forwards_and_effects(model: &Model, report: &mut Report) {
    forwards(model, report).await;
    effects(model, report).await;
}

async fn forwards(model: &Model, report: &mut Report) {
    report
        .run("verify forward to second service", async {
            let mut talk = model.talk("forward").await?;
            talk.abc().await?;
            talk.exchange(talk.c(2, [forward("other")]), fwd(2, "other")).await?;
            talk.exchange(talk.c(3, []), r(3, "ABC")).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify forward with emitted events", async {
            let mut talk = model.talk("forward-events").await?;
            talk.exchange(talk.c(1, [emit("A"), forward("other")]), fwd(1, "other").events(&["A"])).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify forward with emitted events and snapshot", async {
            let mut talk = model.talk("forward-snapshot").await?;
            talk.abc().await?;
            let steps = [emit("D"), emit("E"), forward("other")];
            let expected = fwd(2, "other").events(&["D", "E"]).snapshot("ABCDE");
            talk.exchange(talk.c(2, steps), expected).await?;
            talk.pass().await
        })
        .await;
}

async fn effects(model: &Model, report: &mut Report) {
    report
        .run("verify reply with side effect to second service", async {
            let mut talk = model.talk("effect").await?;
            talk.abc().await?;
            talk.exchange(talk.c(2, [effect("other", false)]), r(2, "ABC").eff(&["other"])).await?;
            talk.exchange(talk.c(3, []), r(3, "ABC")).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify synchronous side effect to second service", async {
            let mut talk = model.talk("effect-synchronous").await?;
            talk.exchange(talk.c(1, [effect("other", true)]), r(1, "").eff_sync(&["other"])).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify forward and side effect to second service", async {
            let mut talk = model.talk("effect-forward").await?;
            let steps = [effect("other", false), forward("other")];
            talk.exchange(talk.c(1, steps), fwd(1, "other").eff(&["other"])).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify reply with multiple side effects", async {
            let mut talk = model.talk("effects").await?;
            let steps = ["1", "2", "3"].map(|id| effect(id, false));
            talk.exchange(talk.c(1, steps), r(1, "").eff(&["1", "2", "3"])).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify reply with multiple side effects, events, and snapshot", async {
            let mut talk = model.talk("effects-events").await?;
            let mut steps = emits(&["A", "B", "C", "D", "E"]);
            steps.extend(["1", "2", "3"].map(|id| effect(id, false)));
            let all = r(1, "ABCDE").events(&["A", "B", "C", "D", "E"]).snapshot("ABCDE").eff(&["1", "2", "3"]);
            talk.exchange(talk.c(1, steps), all).await?;
            talk.pass().await
        })
        .await;
}

async fn failures(model: &Model, report: &mut Report) {
    const TEXT: &str = "expected failure";
    report
        .run("verify failure action", async {
            let mut talk = model.talk("failure").await?;
            talk.exchange(talk.c(1, [fail(TEXT)]), f(1, TEXT)).await?;
            talk.pass().await
        })
        .await;
    report
        .run("verify connection after failure action", async {
            let mut talk = model.talk("after-failure").await?;
            talk.exchange(talk.c(1, [emit("A")]), r(1, "A").events(&["A"])).await?;
            talk.exchange(talk.c(2, [fail(TEXT)]), f(2, TEXT)).await?;
            talk.exchange(talk.c(3, []), r(3, "A")).await?;
            talk.pass().await
        })
        .await;
    report
        .run(
            "verify failure actions do not retain emitted events (may request entity restart)",
            events_are_not_retained(model),
        )
        .await;
    report
        .run("verify failure actions do not allow side effects", async {
            let mut talk = model.talk("failure-effects").await?;
            talk.exchange(talk.c(1, [effect("other", false), fail(TEXT)]), f(1, TEXT)).await?;
            talk.pass().await
        })
        .await;
}

async fn events_are_not_retained(model: &Model) -> Result<()> {
    let mut talk = model.talk("not-retained").await?;
    talk.abc().await?;
    talk.send(talk.c(2, [emit("4"), emit("5"), fail("failure 1")])).await?;
    let answer = talk.conversation.answer().await?;
    let Some(restart) = failed(&answer, 2) else { bail!("expected a failure of command 2, got {answer:?}") };
    if !restart {
        ensure!(answer == f(2, "failure 1").message(), "more than the failure: {answer:?}");
        talk.exchange(talk.c(3, [emit("D")]), r(3, "ABCD").events(&["D"])).await?;
        talk.exchange(talk.c(4, [emit("6"), fail("failure 2"), emit("7")]), f(4, "failure 2")).await?;
        talk.exchange(talk.c(5, [emit("E")]), r(5, "ABCDE").events(&["E"]).snapshot("ABCDE")).await?;
        return talk.pass().await;
    }
    ensure!(answer == f_restart(2, "failure 1").message(), "more than the failure: {answer:?}");
    talk.pass().await?;

    let mut talk = model.talk("not-retained").await?;
    talk.replay(&["A", "B", "C"]).await?;
    talk.exchange(talk.c(1, [emit("D")]), r(1, "ABCD").events(&["D"])).await?;
    talk.exchange(talk.c(2, [emit("6"), fail("failure 2"), emit("7")]), f_restart(2, "failure 2")).await?;
    talk.pass().await?;

    let mut talk = model.talk("not-retained").await?;
    talk.replay(&["A", "B", "C", "D"]).await?;
    talk.exchange(talk.c(1, [emit("E")]), r(1, "ABCDE").events(&["E"]).snapshot("ABCDE")).await?;
    talk.pass().await
}

impl Model {
    /// What the function declares of a service that its descriptors contain.
    fn declared(&self, service: &str) -> Result<&proto::cloudstate::Entity> {
        let entity = self.spec.entities.iter().find(|entity| entity.service_name == service);
        let entity = entity.with_context(|| format!("{service} is not declared"))?;
        ensure!(entity.entity_type == TYPE, "{service} is declared as {}", entity.entity_type);
        super::discovery::described(&self.spec, service)?;
        Ok(entity)
    }

    async fn talk(&self, id: &str) -> Result<Talk> {
        let talk = self.open(id);
        talk.send(talk.entity.init()).await?;
        Ok(talk)
    }

    async fn talk_from(&self, id: &str, sequence: i64, state: &str) -> Result<Talk> {
        let talk = self.open(id);
        talk.send(talk.entity.init_from(sequence, state)).await?;
        Ok(talk)
    }

    fn open(&self, id: &str) -> Talk {
        let mut client = EventSourcedClient::new(self.function.clone());
        let conversation = Conversation::open(move |requests| async move { client.handle(requests).await });
        Talk { entity: Entity::new(MODEL, format!("model-{id}")), conversation }
    }
}

/// A stream to one entity of the function.
struct Talk {
    entity: Entity,
    conversation: Conversation<EventSourcedStreamIn, EventSourcedStreamOut>,
}

impl Talk {
    fn c(&self, id: i64, actions: impl Into<Vec<proto::model::tck::RequestAction>>) -> EventSourcedStreamIn {
        self.entity.c(id, actions)
    }

    async fn send(&self, message: EventSourcedStreamIn) -> Result<()> {
        self.conversation.send(message).await
    }

    /// `→ message ← expected`.
    async fn exchange(&mut self, message: EventSourcedStreamIn, expected: Expected) -> Result<()> {
        self.send(message).await?;
        self.conversation.expect(expected.message()).await
    }

    /// `c1{emit A B C} ← r1("ABC"; events A, B, C)`.
    async fn abc(&mut self) -> Result<()> {
        self.exchange(self.c(1, emits(&["A", "B", "C"])), r(1, "ABC").events(&["A", "B", "C"])).await
    }

    /// Events from sequence number 1.
    async fn replay(&self, values: &[&str]) -> Result<()> {
        for (sequence, value) in (1..).zip(values) {
            self.send(event(sequence, value)).await?;
        }
        Ok(())
    }

    async fn pass(self) -> Result<()> {
        self.conversation.pass().await
    }
}
