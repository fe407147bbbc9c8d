//! Group 4, "verifying model test: event sourced entity": the suite speaks to the user function directly.

use anyhow::{Result, bail, ensure};

use super::{
    CONFIGURED, EventSourced, TYPE, effect, effect_sync, emit, emits, event, fail, failed, forward, r, snapshot,
};
use crate::tck::discovery::{declared, passivates_after_100_ms, persisted_as};
use crate::tck::engine::Tck;
use crate::tck::entity::{Entity, Kind, f, f_restart, fwd};
use crate::tck::suite::{Test, scripted, test};

const TEXT: &str = "expected failure";

pub(in crate::tck) const TESTS: &[Test] = &[
    test!("verify event sourced entity discovery", entity_discovery),
    test!("verify event sourced configured entity", configured_entity, CONFIGURED),
    scripted!(EventSourced, "verify initial empty state", |s| s.c([], r(""))),
    scripted!(EventSourced, "verify single emitted event", |s| s.c([emit("A")], r("A").events(["A"])).c([], r("A"))),
    scripted!(EventSourced, "verify multiple emitted events", |s| s
        .c(emits(["A", "B", "C"]), r("ABC").events(["A", "B", "C"]))
        .c([], r("ABC"))),
    scripted!(EventSourced, "verify multiple emitted events and snapshots", |s| s
        .c([emit("A")], r("A").events(["A"]))
        .c([emit("B")], r("AB").events(["B"]))
        .c([emit("C")], r("ABC").events(["C"]))
        .c([emit("D")], r("ABCD").events(["D"]))
        .c([emit("E")], r("ABCDE").events(["E"]).snapshot("ABCDE"))
        .c(emits(["F", "G", "H"]), r("ABCDEFGH").events(["F", "G", "H"]))
        .c(emits(["I", "J"]), r("ABCDEFGHIJ").events(["I", "J"]).snapshot("ABCDEFGHIJ"))
        .c([emit("K")], r("ABCDEFGHIJK").events(["K"]))
        .c([], r("ABCDEFGHIJK"))),
    scripted!(EventSourced, "verify initial snapshot", |s| s.from(snapshot(5, "ABCDE")).c([], r("ABCDE"))),
    scripted!(EventSourced, "verify initial snapshot and events", |s| s
        .from(snapshot(5, "ABCDE"))
        .send(event(6, "F"))
        .send(event(7, "G"))
        .c([], r("ABCDEFG"))),
    scripted!(EventSourced, "verify rehydration after passivation", |s| s
        .c(emits(["A", "B", "C"]), r("ABC").events(["A", "B", "C"]))
        .c(emits(["D", "E"]), r("ABCDE").events(["D", "E"]).snapshot("ABCDE"))
        .c([emit("F")], r("ABCDEF").events(["F"]))
        .c([emit("G")], r("ABCDEFG").events(["G"]))
        .again()
        .from(snapshot(5, "ABCDE"))
        .send(event(6, "F"))
        .send(event(7, "G"))
        .c([], r("ABCDEFG"))),
    scripted!(EventSourced, "verify forward to second service", |s| s
        .c(emits(["A", "B", "C"]), r("ABC").events(["A", "B", "C"]))
        .c([forward("other")], fwd("other"))
        .c([], r("ABC"))),
    scripted!(EventSourced, "verify forward with emitted events", |s| s
        .c([emit("A"), forward("other")], fwd("other").events(["A"]))),
    scripted!(EventSourced, "verify forward with emitted events and snapshot", |s| s
        .c(emits(["A", "B", "C"]), r("ABC").events(["A", "B", "C"]))
        .c([emit("D"), emit("E"), forward("other")], fwd("other").events(["D", "E"]).snapshot("ABCDE"))),
    scripted!(EventSourced, "verify reply with side effect to second service", |s| s
        .c(emits(["A", "B", "C"]), r("ABC").events(["A", "B", "C"]))
        .c([effect("other")], r("ABC").eff(["other"]))
        .c([], r("ABC"))),
    scripted!(EventSourced, "verify synchronous side effect to second service", |s| s
        .c([effect_sync("other")], r("").eff_sync(["other"]))),
    scripted!(EventSourced, "verify forward and side effect to second service", |s| s
        .c([effect("other"), forward("other")], fwd("other").eff(["other"]))),
    scripted!(EventSourced, "verify reply with multiple side effects", |s| s
        .c(["1", "2", "3"].map(effect), r("").eff(["1", "2", "3"]))),
    scripted!(EventSourced, "verify reply with multiple side effects, events, and snapshot", |s| s.c(
        [emits(["A", "B", "C", "D", "E"]), ["1", "2", "3"].map(effect).to_vec()].concat(),
        r("ABCDE").events(["A", "B", "C", "D", "E"]).snapshot("ABCDE").eff(["1", "2", "3"]),
    )),
    scripted!(EventSourced, "verify failure action", |s| s.c([fail(TEXT)], f(TEXT))),
    scripted!(EventSourced, "verify connection after failure action", |s| s
        .c([emit("A")], r("A").events(["A"]))
        .c([fail(TEXT)], f(TEXT))
        .c([], r("A"))),
    test!("verify failure actions do not retain emitted events (may request entity restart)", events_not_retained),
    scripted!(EventSourced, "verify failure actions do not allow side effects", |s| s
        .c([effect("other"), fail(TEXT)], f(TEXT))),
];

async fn entity_discovery(tck: &mut Tck) -> Result<()> {
    declared(&tck.spec, EventSourced::TWO, TYPE)?;
    persisted_as(declared(&tck.spec, EventSourced::MODEL, TYPE)?, "event-sourced-tck-model")
}

async fn configured_entity(tck: &mut Tck) -> Result<()> {
    let entity = declared(&tck.spec, CONFIGURED, TYPE)?;
    persisted_as(entity, "event-sourced-configured")?;
    passivates_after_100_ms(entity)
}

/// Whether the function asks for a restart decides where the conversation goes on.
async fn events_not_retained(tck: &mut Tck) -> Result<()> {
    let entity = Entity::new(EventSourced::MODEL, tck.fresh("event-sourced"));
    let function = tck.function.clone();
    let command = |id, actions: Vec<_>| entity.command::<EventSourced>(id, "Process", actions);
    let emits_after_failing = [emit("6"), fail("failure 2"), emit("7")].to_vec();

    let mut talk = entity.talk::<EventSourced>(&function);
    talk.send(entity.init::<EventSourced>(None)).await?;
    talk.send(command(1, emits(["A", "B", "C"]))).await?;
    talk.expect(r("ABC").events(["A", "B", "C"]).message(1)).await?;
    talk.send(command(2, [emits(["4", "5"]), vec![fail("failure 1")]].concat())).await?;
    let answer = talk.answers.message().await?;
    let Some(restart) = failed(&answer, 2) else { bail!("expected a failure of command 2, seen {answer:?}") };
    if !restart {
        ensure!(answer == f::<EventSourced>("failure 1").message(2), "more than the failure: {answer:?}");
        talk.send(command(3, emits(["D"]))).await?;
        talk.expect(r("ABCD").events(["D"]).message(3)).await?;
        talk.send(command(4, emits_after_failing)).await?;
        talk.expect(f::<EventSourced>("failure 2").message(4)).await?;
        talk.send(command(5, emits(["E"]))).await?;
        talk.expect(r("ABCDE").events(["E"]).snapshot("ABCDE").message(5)).await?;
        return talk.pass().await;
    }
    ensure!(answer == f_restart::<EventSourced>("failure 1").message(2), "more than the failure: {answer:?}");
    talk.pass().await?;

    let mut talk = entity.talk::<EventSourced>(&function);
    talk.send(entity.init::<EventSourced>(None)).await?;
    for (sequence, value) in [(1, "A"), (2, "B"), (3, "C")] {
        talk.send(event(sequence, value)).await?;
    }
    talk.send(command(1, emits(["D"]))).await?;
    talk.expect(r("ABCD").events(["D"]).message(1)).await?;
    talk.send(command(2, emits_after_failing)).await?;
    talk.expect(f_restart::<EventSourced>("failure 2").message(2)).await?;
    talk.pass().await?;

    let mut talk = entity.talk::<EventSourced>(&function);
    talk.send(entity.init::<EventSourced>(None)).await?;
    for (sequence, value) in [(1, "A"), (2, "B"), (3, "C"), (4, "D")] {
        talk.send(event(sequence, value)).await?;
    }
    talk.send(command(1, emits(["E"]))).await?;
    talk.expect(r("ABCDE").events(["E"]).snapshot("ABCDE").message(1)).await?;
    talk.pass().await
}
