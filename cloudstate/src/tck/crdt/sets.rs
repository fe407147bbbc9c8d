//! `GSet` and `ORSet` in the model tests of CRDT entities.

use proto::model::tck::crdt::RequestAction;

use super::delta::{gset, orset, orset_cleared};
use super::update::{delete, gset_add, orset_add, orset_clear, orset_remove, update};
use super::{Crdt, r, state};
use crate::tck::entity::Expected;
use crate::tck::suite::{Test, scripted};

pub(super) const GSET: &[Test] = &[
    scripted!(Crdt, "verify GSet initial empty state", "GSet", |s| s.c([], g([]))),
    scripted!(Crdt, "verify GSet state changes", "GSet", |s| s
        .c(add(["a", "b"]), g(["a", "b"]).u(gset(["a", "b"])))
        .c(add(["b", "c"]), g(["a", "b", "c"]).u(gset(["c"])))
        .c(add(["c", "a"]), g(["a", "b", "c"]))),
    scripted!(Crdt, "verify GSet initial delta in init", "GSet", |s| s
        .from(Some(gset(["a", "b", "c"])))
        .c(add(["c", "d", "e"]), g(["a", "b", "c", "d", "e"]).u(gset(["d", "e"])))),
    scripted!(Crdt, "verify GSet initial empty state with replicated initial delta", "GSet", |s| s
        .d(gset(["x", "y"]))
        .c(add(["z"]), g(["x", "y", "z"]).u(gset(["z"])))),
    scripted!(Crdt, "verify GSet mix of local and replicated state changes", "GSet", |s| s
        .c(add(["a"]), g(["a"]).u(gset(["a"])))
        .d(gset(["a"]))
        .d(gset(["b"]))
        .d(gset(["c"]))
        .c([], g(["a", "b", "c"]))
        .c(add(["c", "d", "e"]), g(["a", "b", "c", "d", "e"]).u(gset(["d", "e"])))
        .d(gset(["f"]))
        .c(add(["g", "d", "b"]), g(["a", "b", "c", "d", "e", "f", "g"]).u(gset(["g"])))),
    scripted!(Crdt, "verify GSet rehydration after passivation", "GSet", |s| s
        .c(add(["a"]), g(["a"]).u(gset(["a"])))
        .d(gset(["b"]))
        .c([], g(["a", "b"]))
        .c(add(["c"]), g(["a", "b", "c"]).u(gset(["c"])))
        .again()
        .from(Some(gset(["a", "b", "c"])))
        .c([], g(["a", "b", "c"]))
        .d(gset(["d"]))
        .c(add(["e"]), g(["a", "b", "c", "d", "e"]).u(gset(["e"])))),
    scripted!(Crdt, "verify GSet delete action received from entity", "GSet", |s| s
        .c(add(["x"]), g(["x"]).u(gset(["x"])))
        .c([delete()], g(["x"]).delete())),
    scripted!(Crdt, "verify GSet delete action sent to entity", "GSet", |s| s.deleted()),
];

pub(super) const ORSET: &[Test] = &[
    scripted!(Crdt, "verify ORSet initial empty state", "ORSet", |s| s.c([], or([]))),
    scripted!(Crdt, "verify ORSet state changes", "ORSet", |s| s
        .c(or_steps(["+a", "+b"]), or(["a", "b"]).u(orset([], ["a", "b"])))
        .c(or_steps(["+b", "+c"]), or(["a", "b", "c"]).u(orset([], ["c"])))
        .c(or_steps(["+c", "+a"]), or(["a", "b", "c"]))
        .c(or_steps(["-b", "-d"]), or(["a", "c"]).u(orset(["b"], [])))
        .c(or_steps(["-c", "-d", "+b", "+c"]), or(["a", "b", "c"]).u(orset([], ["b"])))
        .c(or_steps(["0"]), or([]).u(orset_cleared([])))
        .c(or_steps(["+a", "0", "+x"]), or(["x"]).u(orset_cleared(["x"])))),
    scripted!(Crdt, "verify ORSet initial delta in init", "ORSet", |s| s
        .from(Some(orset([], ["a", "b", "c"])))
        .c(or_steps(["-c", "+d"]), or(["a", "b", "d"]).u(orset(["c"], ["d"])))),
    scripted!(Crdt, "verify ORSet initial empty state with replicated initial delta", "ORSet", |s| s
        .d(orset([], ["x", "y"]))
        .c(or_steps(["-x", "+z"]), or(["y", "z"]).u(orset(["x"], ["z"])))),
    scripted!(Crdt, "verify ORSet mix of local and replicated state changes", "ORSet", |s| s
        .c(or_steps(["+a"]), or(["a"]).u(orset([], ["a"])))
        .d(orset([], ["a", "b"]))
        .d(orset([], ["c", "d"]))
        .d(orset(["b", "d"], []))
        .c([], or(["a", "c"]))
        .c(or_steps(["+c", "+d", "+e"]), or(["a", "c", "d", "e"]).u(orset([], ["d", "e"])))
        .d(orset(["a", "c"], ["f"]))
        .c(or_steps(["+g", "-a", "-d"]), or(["e", "f", "g"]).u(orset(["d"], ["g"])))
        .d(orset_cleared(["x", "y", "z"]))
        .c(or_steps(["+q", "+x", "-z"]), or(["q", "x", "y"]).u(orset(["z"], ["q"])))
        .d(orset(["x", "y"], ["r", "p"]))
        .c(or_steps(["+s"]), or(["p", "q", "r", "s"]).u(orset([], ["s"])))
        .d(orset([], ["a", "b", "c"]))
        .c(or_steps(["0", "+abc"]), or(["abc"]).u(orset_cleared(["abc"])))),
    scripted!(Crdt, "verify ORSet rehydration after passivation", "ORSet", |s| s
        .c(or_steps(["+a"]), or(["a"]).u(orset([], ["a"])))
        .d(orset(["a"], ["b"]))
        .c([], or(["b"]))
        .c(or_steps(["+c"]), or(["b", "c"]).u(orset([], ["c"])))
        .again()
        .from(Some(orset([], ["b", "c"])))
        .c([], or(["b", "c"]))
        .d(orset_cleared(["p", "q"]))
        .c(or_steps(["+x", "+y", "-x"]), or(["p", "q", "y"]).u(orset([], ["y"])))),
    scripted!(Crdt, "verify ORSet delete action received from entity", "ORSet", |s| s
        .c(or_steps(["+x"]), or(["x"]).u(orset([], ["x"])))
        .c([delete()], or(["x"]).delete())),
    scripted!(Crdt, "verify ORSet delete action sent to entity", "ORSet", |s| s.deleted()),
];

fn g<const N: usize>(elements: [&str; N]) -> Expected<Crdt> {
    r(state::gset(elements))
}

fn add<const N: usize>(elements: [&str; N]) -> [RequestAction; N] {
    elements.map(|element| update(gset_add(element)))
}

fn or<const N: usize>(elements: [&str; N]) -> Expected<Crdt> {
    r(state::orset(elements))
}

/// `+x` adds x, `-x` removes it, and anything else clears the set.
fn or_steps<const N: usize>(steps: [&str; N]) -> [RequestAction; N] {
    steps.map(|step| {
        update(match step.split_at(1) {
            ("+", element) => orset_add(element),
            ("-", element) => orset_remove(element),
            _ => orset_clear(),
        })
    })
}
