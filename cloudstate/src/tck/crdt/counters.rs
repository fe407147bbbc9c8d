//! `GCounter` and `PNCounter` in the model tests of CRDT entities.

use proto::model::tck::crdt::RequestAction;

use super::delta::{gcounter, pncounter};
use super::update::{change_by, delete, increment, update};
use super::{Crdt, r, state};
use crate::tck::entity::Expected;
use crate::tck::suite::{Test, scripted};

pub(super) const GCOUNTER: &[Test] = &[
    scripted!(Crdt, "verify GCounter initial empty state", "GCounter", |s| s.c([], g(0))),
    scripted!(Crdt, "verify GCounter state changes", "GCounter", |s| s
        .c(plus([42]), g(42).u(gcounter(42)))
        .c(plus([1, 2, 3]), g(48).u(gcounter(6)))),
    scripted!(Crdt, "verify GCounter initial delta in init", "GCounter", |s| s
        .from(Some(gcounter(42)))
        .c(plus([123]), g(165).u(gcounter(123)))),
    scripted!(Crdt, "verify GCounter initial empty state with replicated initial delta", "GCounter", |s| s
        .d(gcounter(42))
        .c(plus([123]), g(165).u(gcounter(123)))),
    scripted!(Crdt, "verify GCounter mix of local and replicated state changes", "GCounter", |s| s
        .c(plus([1]), g(1).u(gcounter(1)))
        .d(gcounter(2))
        .d(gcounter(3))
        .c([], g(6))
        .c(plus([4]), g(10).u(gcounter(4)))
        .d(gcounter(5))
        .c(plus([6]), g(21).u(gcounter(6)))),
    scripted!(Crdt, "verify GCounter rehydration after passivation", "GCounter", |s| s
        .c(plus([1]), g(1).u(gcounter(1)))
        .d(gcounter(2))
        .c([], g(3))
        .c(plus([3]), g(6).u(gcounter(3)))
        .again()
        .from(Some(gcounter(6)))
        .c([], g(6))
        .d(gcounter(4))
        .c(plus([5]), g(15).u(gcounter(5)))),
    scripted!(Crdt, "verify GCounter delete action received from entity", "GCounter", |s| s
        .c(plus([42]), g(42).u(gcounter(42)))
        .c([delete()], g(42).delete())),
    scripted!(Crdt, "verify GCounter delete action sent to entity", "GCounter", |s| s.deleted()),
];

pub(super) const PNCOUNTER: &[Test] = &[
    scripted!(Crdt, "verify PNCounter initial empty state", "PNCounter", |s| s.c([], pn(0))),
    scripted!(Crdt, "verify PNCounter state changes", "PNCounter", |s| s
        .c(by([1, -2, 3]), pn(2).u(pncounter(2)))
        .c(by([-4, 5, -6]), pn(-3).u(pncounter(-5)))),
    scripted!(Crdt, "verify PNCounter initial delta in init", "PNCounter", |s| s
        .from(Some(pncounter(42)))
        .c(by([-123]), pn(-81).u(pncounter(-123)))),
    scripted!(Crdt, "verify PNCounter initial empty state with replicated initial delta", "PNCounter", |s| s
        .d(pncounter(-42))
        .c(by([123]), pn(81).u(pncounter(123)))),
    scripted!(Crdt, "verify PNCounter mix of local and replicated state changes", "PNCounter", |s| s
        .c(by([1]), pn(1).u(pncounter(1)))
        .d(pncounter(-2))
        .d(pncounter(3))
        .c([], pn(2))
        .c(by([-4]), pn(-2).u(pncounter(-4)))
        .d(pncounter(5))
        .c(by([-6]), pn(-3).u(pncounter(-6)))),
    scripted!(Crdt, "verify PNCounter rehydration after passivation", "PNCounter", |s| s
        .c(by([1]), pn(1).u(pncounter(1)))
        .d(pncounter(-2))
        .c([], pn(-1))
        .c(by([3]), pn(2).u(pncounter(3)))
        .again()
        .from(Some(pncounter(2)))
        .c([], pn(2))
        .d(pncounter(-4))
        .c(by([5]), pn(3).u(pncounter(5)))),
    scripted!(Crdt, "verify PNCounter delete action received from entity", "PNCounter", |s| s
        .c(by([42]), pn(42).u(pncounter(42)))
        .c([delete()], pn(42).delete())),
    scripted!(Crdt, "verify PNCounter delete action sent to entity", "PNCounter", |s| s.deleted()),
];

fn g(value: u64) -> Expected<Crdt> {
    r(state::gcounter(value))
}

fn plus<const N: usize>(increments: [u64; N]) -> [RequestAction; N] {
    increments.map(|by| update(increment(by)))
}

fn pn(value: i64) -> Expected<Crdt> {
    r(state::pncounter(value))
}

fn by<const N: usize>(changes: [i64; N]) -> [RequestAction; N] {
    changes.map(|by| update(change_by(by)))
}
