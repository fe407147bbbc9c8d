//! What the function holds, the replicated value and what is said between them stay in step.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{
    CrdtDelta, FlagDelta, GCounterDelta, GSetDelta, LwwRegisterDelta, OrMapDelta, OrMapEntryDelta, OrSetDelta,
    PnCounterDelta, VoteDelta,
};

use super::{DeltaError, Difference, Value, Voters, Writer, apply};
use crate::crdt::{Crdt, Kind, ReplicaId};

const HERE: ReplicaId = ReplicaId(1);

fn voters() -> Voters {
    Voters { own: HERE, members: Arc::new(BTreeSet::from([HERE])) }
}

fn delta(delta: Delta) -> CrdtDelta {
    CrdtDelta { delta: Some(delta) }
}

fn changed(value: Option<Crdt>, delta: &CrdtDelta) -> Result<Crdt, DeltaError> {
    let change = apply(value.as_ref(), delta, Writer { replica: HERE, now_ms: 7 })?;
    let mut value = value.unwrap_or_else(|| change.clone());
    value.merge(&change).expect("the same kind");
    Ok(value)
}

fn element() -> impl Strategy<Value = Any> {
    prop_oneof!["a", "b", "c", "d"].prop_map(|text| Any { type_url: String::new(), value: text.into() })
}

fn elements() -> impl Strategy<Value = Vec<Any>> {
    prop::collection::vec(element(), 0..4)
}

/// A delta for a value of one kind, never one that is refused.
fn simple(kind: Kind) -> BoxedStrategy<CrdtDelta> {
    match kind {
        Kind::GCounter => (0..9_u64).prop_map(|increment| delta(Delta::Gcounter(GCounterDelta { increment }))).boxed(),
        Kind::PnCounter => (-9..9_i64).prop_map(|change| delta(Delta::Pncounter(PnCounterDelta { change }))).boxed(),
        Kind::GSet => elements().prop_map(|added| delta(Delta::Gset(GSetDelta { added }))).boxed(),
        Kind::OrSet | Kind::Vote | Kind::OrMap => (prop::bool::weighted(0.2), elements(), elements())
            .prop_map(|(cleared, removed, added)| delta(Delta::Orset(OrSetDelta { cleared, removed, added })))
            .boxed(),
        Kind::LwwRegister => element()
            .prop_map(|value| LwwRegisterDelta { value: Some(value), ..LwwRegisterDelta::default() })
            .prop_map(|register| delta(Delta::Lwwregister(register)))
            .boxed(),
        Kind::Flag => Just(delta(Delta::Flag(FlagDelta { value: true }))).boxed(),
    }
}

fn any_simple() -> impl Strategy<Value = CrdtDelta> {
    prop_oneof![simple(Kind::GCounter), simple(Kind::OrSet), simple(Kind::LwwRegister)]
}

fn entry() -> impl Strategy<Value = OrMapEntryDelta> {
    (element(), any_simple()).prop_map(|(key, delta)| OrMapEntryDelta { key: Some(key), delta: Some(delta) })
}

fn map() -> BoxedStrategy<CrdtDelta> {
    let entries = || prop::collection::vec(entry(), 0..3);
    // What is added is removed first, so that a change of type is none.
    (prop::bool::weighted(0.2), elements(), entries(), entry())
        .prop_map(|(cleared, mut removed, updated, added)| {
            removed.extend(added.key.clone());
            delta(Delta::Ormap(OrMapDelta { cleared, removed, updated, added: vec![added] }))
        })
        .boxed()
}

fn history() -> impl Strategy<Value = Vec<CrdtDelta>> {
    let kinds = [Kind::GCounter, Kind::PnCounter, Kind::GSet, Kind::OrSet, Kind::LwwRegister, Kind::Flag];
    let deltas = kinds.map(simple).into_iter().chain([map()]);
    let histories: Vec<_> = deltas.map(|delta| prop::collection::vec(delta, 1..8).boxed()).collect();
    prop::strategy::Union::new(histories)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A function that changes its value alone holds what is replicated.
    #[test]
    fn own_changes_have_the_same_effect_on_both_sides(history in history()) {
        let (mut held, mut value) = (None, None);
        for delta in &history {
            held = Some(Value::after(held.as_ref(), delta, &voters()).expect("fits"));
            value = Some(changed(value, delta).expect("fits"));
            prop_assert_eq!(&held, &value.as_ref().map(|value| Value::of(value, &voters())));
        }
    }

    /// A function that is told the difference between any two moments of a history holds the later one, as does one that
    /// knew nothing and is told all, or is corrected.
    #[test]
    fn a_difference_leads_from_the_one_value_to_the_other(history in history(), from in 0..8_usize) {
        let mut values = Vec::new();
        let mut value = None;
        for delta in &history {
            let next = changed(value, delta).expect("fits");
            values.push(Value::of(&next, &voters()));
            value = Some(next);
        }
        let (old, new) = (&values[from % values.len()], &values[values.len() - 1]);
        let told = match old.difference(new) {
            Difference::None => old.clone(),
            Difference::Delta(delta) => Value::after(Some(old), &delta, &voters()).expect("fits"),
            Difference::Incompatible => return Err(TestCaseError::fail("values of a history are compatible")),
        };
        prop_assert_eq!(&told, new);
        prop_assert_eq!(&Value::after(None, &new.full(), &voters()).expect("fits"), new);
        if let Some(correction) = new.correction() {
            prop_assert_eq!(&Value::after(Some(old), &correction, &voters()).expect("fits"), new);
        }
    }
}

#[test]
fn deltas_that_do_not_fit_are_refused_with_the_protocols_texts() {
    let cases = [
        (
            Kind::PnCounter,
            Delta::Gcounter(GCounterDelta { increment: 1 }),
            "GCounterDelta is incompatible with CRDT PNCounter",
        ),
        (
            Kind::GCounter,
            Delta::Pncounter(PnCounterDelta { change: 1 }),
            "PNCounterDelta is incompatible with CRDT GCounter",
        ),
        (Kind::OrSet, Delta::Gset(GSetDelta::default()), "GSetDelta is incompatible with CRDT ORSet"),
        (Kind::GSet, Delta::Orset(OrSetDelta::default()), "ORSetDelta is incompatible with CRDT GSet"),
        (
            Kind::Flag,
            Delta::Lwwregister(LwwRegisterDelta::default()),
            "LWWRegisterDelta is incompatible with CRDT Flag",
        ),
        (Kind::Vote, Delta::Flag(FlagDelta::default()), "FlagDelta is incompatible with CRDT Vote"),
        (Kind::LwwRegister, Delta::Ormap(OrMapDelta::default()), "ORMap is incompatible with CRDT LWWRegister"),
        (Kind::OrMap, Delta::Vote(VoteDelta::default()), "Vote is incompatible with CRDT ORMap"),
    ];
    for (kind, refused, text) in cases {
        let (value, refused) = (Crdt::new(kind), delta(refused));
        assert_eq!(changed(Some(value.clone()), &refused).expect_err("another type").to_string(), text);
        let held = Value::of(&value, &voters());
        assert_eq!(Value::after(Some(&held), &refused, &voters()).expect_err("another type").to_string(), text);
    }
    assert_eq!(changed(None, &CrdtDelta::default()).expect_err("nothing").to_string(), "Empty delta");
    let flag = |value| delta(Delta::Flag(FlagDelta { value }));
    let on = changed(None, &flag(true)).expect("fits");
    let text = "Cannot switch off already enabled flag";
    assert_eq!(changed(Some(on.clone()), &flag(false)).expect_err("on").to_string(), text);
    let held = Value::of(&on, &voters());
    assert_eq!(Value::after(Some(&held), &flag(false), &voters()).expect_err("on").to_string(), text);
    let nested = |key: &str, delta| {
        let key = Some(Any { type_url: String::new(), value: key.to_owned().into() });
        Delta::Ormap(OrMapDelta { added: vec![OrMapEntryDelta { key, delta }], ..OrMapDelta::default() })
    };
    let map = changed(None, &delta(nested("a", Some(flag(true))))).expect("fits");
    let counter = Some(delta(Delta::Gcounter(GCounterDelta { increment: 1 })));
    let error = changed(Some(map.clone()), &delta(nested("a", counter))).expect_err("the key has another type");
    assert_eq!(error.to_string(), "GCounterDelta is incompatible with CRDT Flag");
    assert_eq!(changed(Some(map), &delta(nested("b", None))).expect_err("nothing").to_string(), "Empty delta");
}

/// Row 52: increments are unsigned, and a sum that is wider than the wire stays at the largest number it has.
#[test]
fn counters_use_the_whole_width_of_the_wire() {
    let increment = |increment| delta(Delta::Gcounter(GCounterDelta { increment }));
    let counter = changed(None, &increment(u64::MAX - 1)).expect("fits");
    let old = Value::of(&counter, &voters());
    assert_eq!(old.full(), increment(u64::MAX - 1));
    let counter = changed(Some(counter), &increment(1)).expect("fits");
    let new = Value::of(&counter, &voters());
    assert_eq!(old.difference(&new), Difference::Delta(increment(1)));
    assert!(changed(Some(counter.clone()), &increment(1)).is_err(), "this node's share is full");
    let mut wide = counter.clone();
    let other = Writer { replica: ReplicaId(2), now_ms: 7 };
    wide.merge(&apply(Some(&counter), &increment(5), other).expect("fits")).expect("the same kind");
    assert_eq!(new.difference(&Value::of(&wide, &voters())), Difference::None);

    let (low, high) = (Value::PnCounter(i64::MIN), Value::PnCounter(i64::MAX));
    assert_eq!(low.difference(&high), Difference::Delta(delta(Delta::Pncounter(PnCounterDelta { change: -1 }))));
}

#[test]
fn what_cannot_shrink_and_what_changes_its_type_is_incompatible() {
    let set = |texts: &[&str]| {
        let added =
            texts.iter().map(|text| Any { type_url: String::new(), value: (*text).to_owned().into() }).collect();
        Value::after(None, &delta(Delta::Gset(GSetDelta { added })), &voters()).expect("fits")
    };
    for (old, new) in [
        (Value::GCounter(2), Value::GCounter(1)),
        (set(&["a"]), set(&["b"])),
        (Value::Flag(true), Value::Flag(false)),
        (Value::GCounter(1), Value::PnCounter(1)),
    ] {
        assert_eq!(old.difference(&new), Difference::Incompatible);
    }
}
