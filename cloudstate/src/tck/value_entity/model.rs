//! Group 3, "verifying model test: entity": the suite speaks to the user function directly.

use anyhow::Result;

use super::{CONFIGURED, TYPE, ValueEntity, delete, effect, effect_sync, fail, forward, r, state, update};
use crate::tck::discovery::{declared, passivates_after_100_ms, persisted_as};
use crate::tck::engine::Tck;
use crate::tck::entity::{Kind, f, fwd};
use crate::tck::suite::{Test, scripted, test};

const TEXT: &str = "expected failure";

pub(in crate::tck) const TESTS: &[Test] = &[
    test!("verify entity discovery", entity_discovery),
    test!("verify configured entity", configured_entity, CONFIGURED),
    scripted!(ValueEntity, "verify initial empty state", |s| s.c([], r(""))),
    scripted!(ValueEntity, "verify update state", |s| s.c([update("A")], r("A").update("A")).c([], r("A"))),
    scripted!(ValueEntity, "verify delete state", |s| s
        .c([update("A")], r("A").update("A"))
        .c([delete()], r("").delete())
        .c([], r(""))),
    scripted!(ValueEntity, "verify sub invocations with multiple update states", |s| s
        .c(["A", "B", "C"].map(update), r("C").update("C"))
        .c([], r("C"))),
    scripted!(ValueEntity, "verify sub invocations with multiple update states and delete states", |s| s
        .c([update("A"), update("B"), delete()], r("").delete())
        .c([], r(""))),
    scripted!(ValueEntity, "verify sub invocations with update, delete and update states", |s| s
        .c([update("A"), delete(), update("B")], r("B").update("B"))
        .c([], r("B"))),
    scripted!(ValueEntity, "verify rehydration after passivation", |s| s
        .c([update("A")], r("A").update("A"))
        .c([update("B")], r("B").update("B"))
        .c([update("C")], r("C").update("C"))
        .c([update("D")], r("D").update("D"))
        .again()
        .from(state("D"))
        .c([update("E")], r("E").update("E"))
        .c([], r("E"))),
    scripted!(ValueEntity, "verify reply with multiple side effects", |s| s
        .c(["1", "2", "3"].map(effect), r("").eff(["1", "2", "3"]))),
    scripted!(ValueEntity, "verify reply with side effect to second service", |s| s
        .c([update("X")], r("X").update("X"))
        .c([effect("other")], r("X").eff(["other"]))
        .c([], r("X"))),
    scripted!(ValueEntity, "verify reply with multiple side effects and state", |s| s.c(
        [["A", "B", "C", "D", "E"].map(update).to_vec(), ["1", "2", "3"].map(effect).to_vec()].concat(),
        r("E").update("E").eff(["1", "2", "3"]),
    )),
    scripted!(ValueEntity, "verify synchronous side effect to second service", |s| s
        .c([effect_sync("other")], r("").eff_sync(["other"]))),
    scripted!(ValueEntity, "verify forward to second service", |s| s
        .c([update("X")], r("X").update("X"))
        .c([forward("other")], fwd("other"))
        .c([], r("X"))),
    scripted!(ValueEntity, "verify forward with updated state to second service", |s| s
        .c([update("A"), forward("other")], fwd("other").update("A"))),
    scripted!(ValueEntity, "verify forward and side effect to second service", |s| s
        .c([effect("other"), forward("other")], fwd("other").eff(["other"]))),
    scripted!(ValueEntity, "verify failure action", |s| s.c([fail(TEXT)], f(TEXT))),
    scripted!(ValueEntity, "verify connection after failure action", |s| s
        .c([update("A")], r("A").update("A"))
        .c([fail(TEXT)], f(TEXT))
        .c([], r("A"))),
    scripted!(ValueEntity, "verify failure action do not allow side effects", |s| s
        .c([effect("other"), fail(TEXT)], f(TEXT))),
];

async fn entity_discovery(tck: &mut Tck) -> Result<()> {
    persisted_as(declared(&tck.spec, ValueEntity::MODEL, TYPE)?, "value-entity-tck-model")?;
    persisted_as(declared(&tck.spec, ValueEntity::TWO, TYPE)?, "value-entity-tck-model-two")
}

async fn configured_entity(tck: &mut Tck) -> Result<()> {
    let entity = declared(&tck.spec, CONFIGURED, TYPE)?;
    persisted_as(entity, "value-entity-configured")?;
    passivates_after_100_ms(entity)
}
