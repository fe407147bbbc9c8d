//! Group 5, "verifying model test: CRDT entity": the suite speaks to the user function directly.

use anyhow::Result;
use proto::cloudstate::crdt::CrdtWriteConsistency;
use proto::model::tck::crdt::UpdateWriteConsistency;

use super::counters::{GCOUNTER, PNCOUNTER};
use super::delta::{self, Map};
use super::ormap::ORMAP;
use super::registers::{FLAG, REGISTER};
use super::sets::{GSET, ORSET};
use super::state::{flag, gcounter, gset, ormap, orset, pncounter};
use super::streamed::STREAMED;
use super::update::{
    change_by, effect, effect_sync, fail, forward, gset_add, increment, map_add, map_update, update, written,
};
use super::vote::VOTE;
use super::{CONFIGURED, Crdt, TYPE, r};
use crate::tck::discovery::{declared, passivates_after_100_ms};
use crate::tck::engine::Tck;
use crate::tck::entity::{Kind, f, fwd};
use crate::tck::suite::{Test, scripted, test};

const TEXT: &str = "expected failure";

/// All tests of the group in their order.
pub(in crate::tck) const TESTS: &[&[Test]] = &[
    DECLARED,
    GCOUNTER,
    PNCOUNTER,
    GSET,
    ORSET,
    REGISTER,
    FLAG,
    ORMAP,
    VOTE,
    FORWARDS,
    EFFECTS,
    FAILURES,
    STREAMED,
    CONSISTENCY,
];

const DECLARED: &[Test] = &[
    test!("verify CRDT entity discovery", entity_discovery),
    test!("verify CRDT configured entity", configured_entity, CONFIGURED),
];

const FORWARDS: &[Test] = &[
    scripted!(Crdt, "verify forward to second service", "GCounter", |s| s
        .c([update(increment(42))], r(gcounter(42)).u(delta::gcounter(42)))
        .c([forward("GCounter-other")], fwd("GCounter-other"))
        .c([], r(gcounter(42)))),
    scripted!(Crdt, "verify forward with state changes", "PNCounter", |s| s
        .c([update(change_by(-42)), forward("GCounter-other")], fwd("GCounter-other").u(delta::pncounter(-42)))),
];

const EFFECTS: &[Test] = &[
    scripted!(Crdt, "verify reply with side effect to second service", "GSet", |s| s
        .c([update(gset_add("one"))], r(gset(["one"])).u(delta::gset(["one"])))
        .c([effect("GSet-other")], r(gset(["one"])).eff(["GSet-other"]))
        .c([], r(gset(["one"])))),
    scripted!(Crdt, "verify synchronous side effect to second service", "ORSet", |s| s
        .c([effect_sync("ORSet-other")], r(orset([])).eff_sync(["ORSet-other"]))),
    scripted!(Crdt, "verify forward and side effect to second service", "LWWRegister", |s| s.c(
        [effect("LWWRegister-B"), forward("LWWRegister-A")],
        fwd("LWWRegister-A").u(delta::register("")).eff(["LWWRegister-B"]),
    )),
    scripted!(Crdt, "verify reply with multiple side effects", "Flag", |s| s
        .c(["Flag-1", "Flag-2", "Flag-3"].map(effect), r(flag(false)).eff(["Flag-1", "Flag-2", "Flag-3"]))),
    scripted!(Crdt, "verify reply with multiple side effects and state changes", "ORMap", |s| s.c(
        [
            update(map_add("PNCounter-1")),
            update(map_update("GSet-1", gset_add("a"))),
            update(map_update("GSet-1", gset_add("b"))),
            update(map_update("GSet-1", gset_add("c"))),
            effect("ORMap-1"),
            effect("ORMap-2"),
            effect("ORMap-3"),
        ],
        r(ormap([("GSet-1", gset(["a", "b", "c"])), ("PNCounter-1", pncounter(0))]))
            .u(Map::new()
                .added("GSet-1", delta::gset(["a", "b", "c"]))
                .added("PNCounter-1", delta::pncounter(0))
                .delta())
            .eff(["ORMap-1", "ORMap-2", "ORMap-3"]),
    )),
];

const FAILURES: &[Test] = &[
    scripted!(Crdt, "verify failure action", "GCounter", |s| s.c([fail(TEXT)], f(TEXT))),
    scripted!(Crdt, "verify connection after failure action", "PNCounter", |s| s
        .c([update(change_by(42))], r(pncounter(42)).u(delta::pncounter(42)))
        .c([fail(TEXT)], f(TEXT))
        .c([], r(pncounter(42)))),
];

const CONSISTENCY: &[Test] = &[scripted!(Crdt, "verify write consistency can be configured", "GCounter", |s| s
    .c(
        [update(written(increment(1), UpdateWriteConsistency::Local))],
        r(gcounter(1)).written(delta::gcounter(1), CrdtWriteConsistency::Local),
    )
    .c(
        [update(written(increment(2), UpdateWriteConsistency::Majority))],
        r(gcounter(3)).written(delta::gcounter(2), CrdtWriteConsistency::Majority),
    )
    .c(
        [update(written(increment(3), UpdateWriteConsistency::All))],
        r(gcounter(6)).written(delta::gcounter(3), CrdtWriteConsistency::All),
    ))];

async fn entity_discovery(tck: &mut Tck) -> Result<()> {
    declared(&tck.spec, Crdt::MODEL, TYPE)?;
    declared(&tck.spec, Crdt::TWO, TYPE).map(|_| ())
}

async fn configured_entity(tck: &mut Tck) -> Result<()> {
    passivates_after_100_ms(declared(&tck.spec, CONFIGURED, TYPE)?)
}
