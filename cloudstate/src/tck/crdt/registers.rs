//! `LWWRegister` and `Flag` in the model tests of CRDT entities.

use proto::cloudstate::crdt::CrdtClock;
use proto::model::tck::crdt::{LwwRegisterClockType, RequestAction};

use super::delta::{self, register, register_with};
use super::update::{delete, enable, set, set_with, update};
use super::{Crdt, r, state};
use crate::tck::entity::Expected;
use crate::tck::suite::{Test, scripted};

pub(super) const REGISTER: &[Test] = &[
    scripted!(Crdt, "verify LWWRegister initial empty state", "LWWRegister", |s| s.c([], lww("").u(register("")))),
    scripted!(Crdt, "verify LWWRegister state changes", "LWWRegister", |s| s
        .c(write("one"), lww("one").u(register("one")))
        .c(write("two"), lww("two").u(register("two")))),
    scripted!(Crdt, "verify LWWRegister initial delta in init", "LWWRegister", |s| s
        .from(Some(register("one")))
        .c([], lww("one"))),
    scripted!(Crdt, "verify LWWRegister initial empty state with replicated initial delta", "LWWRegister", |s| s
        .d(register("one"))
        .c([], lww("one"))),
    scripted!(Crdt, "verify LWWRegister mix of local and replicated state changes", "LWWRegister", |s| s
        .c(write("A"), lww("A").u(register("A")))
        .d(register("B"))
        .d(register("C"))
        .c([], lww("C"))
        .c(write("D"), lww("D").u(register("D")))
        .d(register("D"))
        .c(write("E"), lww("E").u(register("E")))),
    scripted!(Crdt, "verify LWWRegister state changes with clock settings", "LWWRegister", |s| s
        .c(
            [update(set_with("A", LwwRegisterClockType::Reverse, 0))],
            lww("A").u(register_with("A", CrdtClock::Reverse, 0)),
        )
        .c(
            [update(set_with("A", LwwRegisterClockType::Custom, 123))],
            lww("A").u(register_with("A", CrdtClock::Custom, 123)),
        )
        .next_id(2)
        .c(
            [update(set_with("A", LwwRegisterClockType::CustomAutoIncrement, 456))],
            lww("A").u(register_with("A", CrdtClock::CustomAutoIncrement, 456)),
        )),
    scripted!(Crdt, "verify LWWRegister rehydration after passivation", "LWWRegister", |s| s
        .c(write("A"), lww("A").u(register("A")))
        .d(register("B"))
        .c([], lww("B"))
        .c(write("C"), lww("C").u(register("C")))
        .again()
        .from(Some(register("C")))
        .c([], lww("C"))
        .d(register("D"))
        .c(write("E"), lww("E").u(register("E")))),
    scripted!(Crdt, "verify LWWRegister delete action received from entity", "LWWRegister", |s| s
        .c(write("one"), lww("one").u(register("one")))
        .c([delete()], lww("one").delete())),
    scripted!(Crdt, "verify LWWRegister delete action sent to entity", "LWWRegister", |s| s.deleted()),
];

pub(super) const FLAG: &[Test] = &[
    scripted!(Crdt, "verify Flag initial empty state", "Flag", |s| s.c([], flag(false))),
    scripted!(Crdt, "verify Flag state changes", "Flag", |s| s.c(raise(), flag(true).u(delta::flag(true)))),
    scripted!(Crdt, "verify Flag initial delta in init", "Flag", |s| s
        .from(Some(delta::flag(false)))
        .c([], flag(false))
        .again()
        .from(Some(delta::flag(true)))
        .c([], flag(true))),
    scripted!(Crdt, "verify Flag initial empty state with replicated initial delta", "Flag", |s| s
        .d(delta::flag(false))
        .c([], flag(false))
        .again()
        .d(delta::flag(true))
        .c([], flag(true))),
    scripted!(Crdt, "verify Flag mix of local and replicated state changes", "Flag", |s| s
        .d(delta::flag(false))
        .c([], flag(false))
        .c(raise(), flag(true).u(delta::flag(true)))
        .d(delta::flag(true))
        .d(delta::flag(false))
        .c([], flag(true))
        .again()
        .d(delta::flag(true))
        .c([], flag(true))
        .c(raise(), flag(true))
        .d(delta::flag(true))
        .d(delta::flag(false))
        .c([], flag(true))),
    scripted!(Crdt, "verify Flag rehydration after passivation", "Flag", |s| s
        .c([], flag(false))
        .c(raise(), flag(true).u(delta::flag(true)))
        .again()
        .from(Some(delta::flag(true)))
        .c([], flag(true))),
    scripted!(Crdt, "verify Flag delete action received from entity", "Flag", |s| s
        .c(raise(), flag(true).u(delta::flag(true)))
        .c([delete()], flag(true).delete())),
    scripted!(Crdt, "verify Flag delete action sent to entity", "Flag", |s| s.deleted()),
];

fn lww(value: &str) -> Expected<Crdt> {
    r(state::register(value))
}

fn write(value: &str) -> [RequestAction; 1] {
    [update(set(value))]
}

fn flag(value: bool) -> Expected<Crdt> {
    r(state::flag(value))
}

fn raise() -> [RequestAction; 1] {
    [update(enable())]
}
