//! `ORMap` in the model tests of CRDT entities. The type of a value follows from its key.

use proto::model::tck::crdt::{RequestAction, State, Update};

use super::delta::{self, Map};
use super::state::{flag, gcounter, gset, ormap, orset, pncounter, register};
use super::update::{
    change_by, delete, enable, gset_add, increment, map_add, map_clear, map_remove, map_update, orset_add,
    orset_remove, set, update,
};
use super::{Crdt, r};
use crate::tck::entity::{Expected, Script};
use crate::tck::suite::{Test, scripted};

pub(super) const ORMAP: &[Test] = &[
    scripted!(Crdt, "verify ORMap initial empty state", "ORMap", |s| s.c([], map([]))),
    scripted!(Crdt, "verify ORMap state changes", "ORMap", state_changes),
    scripted!(Crdt, "verify ORMap initial delta in init", "ORMap", |s| s
        .from(Some(
            Map::new()
                .added("PNCounter-1", delta::pncounter(123))
                .added("LWWRegister-1", delta::register("one"))
                .added("GSet-1", delta::gset(["a", "b", "c"]))
                .delta(),
        ))
        .c(
            [],
            map([
                ("GSet-1", gset(["a", "b", "c"])),
                ("LWWRegister-1", register("one")),
                ("PNCounter-1", pncounter(123)),
            ]),
        )
        .c(
            [update(map_remove("LWWRegister-1")), at("PNCounter-1", change_by(-42))],
            map([("GSet-1", gset(["a", "b", "c"])), ("PNCounter-1", pncounter(81))])
                .u(Map::new().removed("LWWRegister-1").updated("PNCounter-1", delta::pncounter(-42)).delta()),
        )),
    scripted!(Crdt, "verify ORMap initial empty state with replicated initial delta", "ORMap", |s| s
        .d(Map::new()
            .added("GCounter-1", delta::gcounter(42))
            .added("ORSet-1", delta::orset([], ["a", "b", "c"]))
            .added("Flag-1", delta::flag(false))
            .delta())
        .c([], map([("Flag-1", flag(false)), ("GCounter-1", gcounter(42)), ("ORSet-1", orset(["a", "b", "c"]))]),)),
    scripted!(Crdt, "verify ORMap mix of local and replicated state changes", "ORMap", mix),
    scripted!(Crdt, "verify ORMap rehydration after passivation", "ORMap", |s| s
        .d(Map::new().added("PNCounter-1", delta::pncounter(123)).delta())
        .c(
            [at("PNCounter-1", change_by(321))],
            map([("PNCounter-1", pncounter(444))]).u(Map::new().updated("PNCounter-1", delta::pncounter(321)).delta()),
        )
        .again()
        .from(Some(Map::new().added("PNCounter-1", delta::pncounter(444)).delta()))
        .c([], map([("PNCounter-1", pncounter(444))]))
        .d(Map::new().updated("PNCounter-1", delta::pncounter(-42)).delta())
        .c(
            [at("PNCounter-1", change_by(-360))],
            map([("PNCounter-1", pncounter(42))]).u(Map::new().updated("PNCounter-1", delta::pncounter(-360)).delta()),
        )),
    scripted!(Crdt, "verify ORMap delete action received from entity", "ORMap", |s| s
        .c(
            [update(map_add("Flag-1"))],
            map([("Flag-1", flag(false))]).u(Map::new().added("Flag-1", delta::flag(false)).delta()),
        )
        .c([at("Flag-1", enable()), delete()], map([("Flag-1", flag(true))]).delete())),
    scripted!(Crdt, "verify ORMap delete action sent to entity", "ORMap", |s| s.deleted()),
];

fn state_changes(s: Script<Crdt>) -> Script<Crdt> {
    let (pn, set_one, lww) = ("PNCounter-1", "ORSet-1", "LWWRegister-1");
    s.c(
        [update(map_add(pn)), update(map_add(set_one))],
        map([(set_one, orset([])), (pn, pncounter(0))])
            .u(Map::new().added(set_one, delta::orset([], [])).added(pn, delta::pncounter(0)).delta()),
    )
    .c(
        [update(map_add(set_one)), at(lww, set("zero"))],
        map([(lww, register("zero")), (set_one, orset([])), (pn, pncounter(0))])
            .u(Map::new().added(lww, delta::register("zero")).delta()),
    )
    .c(
        [at(pn, change_by(42)), at(lww, set("one"))],
        map([(lww, register("one")), (set_one, orset([])), (pn, pncounter(42))])
            .u(Map::new().updated(lww, delta::register("one")).updated(pn, delta::pncounter(42)).delta()),
    )
    .c(
        [at(set_one, orset_add("a")), at(set_one, orset_add("b")), at(set_one, orset_add("c"))],
        map([(lww, register("one")), (set_one, orset(["a", "b", "c"])), (pn, pncounter(42))])
            .u(Map::new().updated(set_one, delta::orset([], ["a", "b", "c"])).delta()),
    )
    .c(
        [at(set_one, orset_remove("b")), at(set_one, orset_add("d")), at(pn, change_by(-123)), at(lww, set("two"))],
        map([(lww, register("two")), (set_one, orset(["a", "c", "d"])), (pn, pncounter(-81))]).u(Map::new()
            .updated(lww, delta::register("two"))
            .updated(set_one, delta::orset(["b"], ["d"]))
            .updated(pn, delta::pncounter(-123))
            .delta()),
    )
    .c(
        [update(map_remove(set_one))],
        map([(lww, register("two")), (pn, pncounter(-81))]).u(Map::new().removed(set_one).delta()),
    )
    .c(
        [update(map_remove(lww)), at("Flag-1", enable())],
        map([("Flag-1", flag(true)), (pn, pncounter(-81))])
            .u(Map::new().removed(lww).added("Flag-1", delta::flag(true)).delta()),
    )
    .c([update(map_clear())], map([]).u(Map::new().cleared().delta()))
    .c(
        [update(map_add("PNCounter-2")), update(map_clear()), at("GCounter-1", increment(123))],
        map([("GCounter-1", gcounter(123))]).u(Map::new().cleared().added("GCounter-1", delta::gcounter(123)).delta()),
    )
}

fn mix(s: Script<Crdt>) -> Script<Crdt> {
    let (pn, lww, inner, gc) = ("PNCounter-1", "LWWRegister-1", "ORMap-1", "GCounter-1");
    let added_inner = Map::new().added(pn, delta::pncounter(123)).delta();
    let inner_added = Map::new().added(lww, delta::register("ABC")).delta();
    let inner_changed = Map::new().updated(pn, delta::pncounter(-456)).delta();
    s.c([update(map_add(pn))], map([(pn, pncounter(0))]).u(Map::new().added(pn, delta::pncounter(0)).delta()))
        .d(Map::new().added("ORSet-1", delta::orset([], ["x"])).delta())
        .d(Map::new().added(lww, delta::register("one")).updated("ORSet-1", delta::orset([], ["y", "z"])).delta())
        .c(
            [update(map_add("ORSet-2")), at("LWWRegister-2", set("two"))],
            map([
                (lww, register("one")),
                ("LWWRegister-2", register("two")),
                ("ORSet-1", orset(["x", "y", "z"])),
                ("ORSet-2", orset([])),
                (pn, pncounter(0)),
            ])
            .u(Map::new()
                .added("LWWRegister-2", delta::register("two"))
                .added("ORSet-2", delta::orset([], []))
                .delta()),
        )
        .c(
            [at(pn, change_by(42)), at(lww, set("ONE"))],
            map([
                (lww, register("ONE")),
                ("LWWRegister-2", register("two")),
                ("ORSet-1", orset(["x", "y", "z"])),
                ("ORSet-2", orset([])),
                (pn, pncounter(42)),
            ])
            .u(Map::new().updated(lww, delta::register("ONE")).updated(pn, delta::pncounter(42)).delta()),
        )
        .d(Map::new().removed("LWWRegister-2").added(inner, added_inner).delta())
        .d(Map::new()
            .removed("ORSet-1")
            .updated("ORSet-2", delta::orset([], ["a", "b", "c"]))
            .updated(inner, inner_added)
            .delta())
        .c(
            [at(inner, map_update(pn, change_by(-456)))],
            map([
                (lww, register("ONE")),
                (inner, ormap([(lww, register("ABC")), (pn, pncounter(-333))])),
                ("ORSet-2", orset(["a", "b", "c"])),
                (pn, pncounter(42)),
            ])
            .u(Map::new().updated(inner, inner_changed).delta()),
        )
        .d(Map::new().cleared().added("GSet-1", delta::gset(["1", "2", "3"])).delta())
        .c(
            [
                update(map_remove(pn)),
                update(map_remove(lww)),
                at("GSet-1", gset_add("2")),
                at("GSet-1", gset_add("4")),
                at("GSet-1", gset_add("6")),
            ],
            map([("GSet-1", gset(["1", "2", "3", "4", "6"]))])
                .u(Map::new().updated("GSet-1", delta::gset(["4", "6"])).delta()),
        )
        .c(
            [update(map_clear()), update(map_add(gc))],
            map([(gc, gcounter(0))]).u(Map::new().cleared().added(gc, delta::gcounter(0)).delta()),
        )
        .d(Map::new().removed("GSet-1").added(gc, delta::gcounter(42)).delta())
        .c([at(gc, increment(7))], map([(gc, gcounter(49))]).u(Map::new().updated(gc, delta::gcounter(7)).delta()))
}

fn map<const N: usize>(entries: [(&str, State); N]) -> Expected<Crdt> {
    r(ormap(entries))
}

fn at(key: &str, change: Update) -> RequestAction {
    update(map_update(key, change))
}
