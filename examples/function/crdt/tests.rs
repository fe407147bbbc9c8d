//! What the function says it changed, and what it makes of changes elsewhere.

use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{
    CrdtClock, CrdtDelta, FlagDelta, GCounterDelta, GSetDelta, LwwRegisterDelta, OrMapDelta, OrMapEntryDelta,
    OrSetDelta, PnCounterDelta, VoteDelta,
};

use super::*;
use crate::function::primitive_string as text;

#[test]
fn changes_of_one_command_are_one_delta() {
    let mut counter = PNCounter::default();
    counter.change(1);
    counter.change(-3);
    assert_eq!(counter.value(), -2);
    assert_eq!(counter.changes(), Some(Delta::Pncounter(PnCounterDelta { change: -2 })));
    counter.settle();
    assert_eq!(counter.changes(), None, "it was told");
}

#[test]
fn changes_elsewhere_are_not_ours() {
    let mut counter = Data::GCounter(GCounter::default());
    counter.apply(delta(Delta::Gcounter(GCounterDelta { increment: 5 }))).expect("a counter's delta");
    assert_eq!(counter.changes(), None);
    assert_eq!(counter.state(), delta(Delta::Gcounter(GCounterDelta { increment: 5 })));
}

#[test]
fn a_delta_of_another_type_is_refused() {
    let mut counter = Data::GCounter(GCounter::default());
    assert!(counter.apply(delta(Delta::Pncounter(PnCounterDelta { change: 1 }))).is_err());
    assert!(Data::received(CrdtDelta::default()).is_err(), "an empty one has no type at all");
}

#[test]
fn an_element_that_is_there_is_not_added_again() {
    let mut set = GSet::default();
    set.apply(GSetDelta { added: vec![text("a")] });
    set.add(text("a"));
    set.add(text("b"));
    assert_eq!(set.changes(), Some(Delta::Gset(GSetDelta { added: vec![text("b")] })));
}

#[test]
fn what_is_added_and_removed_at_once_has_not_happened() {
    let mut set = or_set(&["a"]);
    set.remove(text("a"));
    set.add(text("a"));
    set.add(text("b"));
    set.remove(text("b"));
    set.remove(text("unknown"));
    assert_eq!(set.changes(), None);
}

#[test]
fn clearing_a_set_makes_what_was_done_before_void() {
    let mut set = or_set(&["a", "b"]);
    set.remove(text("b"));
    set.add(text("c"));
    set.clear();
    set.add(text("d"));
    let cleared = OrSetDelta { cleared: true, removed: Vec::new(), added: vec![text("d")] };
    assert_eq!(set.changes(), Some(Delta::Orset(cleared)));
}

#[test]
fn clearing_nothing_is_nothing() {
    let mut set = ORSet::default();
    set.clear();
    assert_eq!(set.changes(), None);
    let mut map = ORMap::default();
    map.clear();
    assert_eq!(map.changes(), None);
}

#[test]
fn a_register_is_written_when_it_is_made_and_when_the_same_is_written_again() {
    let mut register = LWWRegister::new(text(""));
    let written = |clock: CrdtClock, custom_clock_value| {
        let value = Some(text(""));
        Some(Delta::Lwwregister(LwwRegisterDelta { value, clock: clock.into(), custom_clock_value }))
    };
    assert_eq!(register.changes(), written(CrdtClock::Default, 0));
    register.settle();
    register.set(text(""), CrdtClock::Custom, 7);
    assert_eq!(register.changes(), written(CrdtClock::Custom, 7));
}

#[test]
fn a_flag_is_raised_once_and_never_lowered() {
    let mut flag = Flag::default();
    flag.enable();
    assert_eq!(flag.changes(), Some(Delta::Flag(FlagDelta { value: true })));
    flag.settle();
    flag.enable();
    assert_eq!(flag.changes(), None);
    flag.apply(&FlagDelta { value: false });
    assert!(flag.enabled());
}

#[test]
fn a_vote_that_was_withdrawn_at_once_was_none() {
    let mut vote = Vote::default();
    vote.vote(true);
    assert_eq!((vote.votes_for(), vote.voters()), (1, 1));
    vote.vote(false);
    assert_eq!((vote.votes_for(), vote.changes()), (0, None));
}

#[test]
fn others_votes_count_without_ours() {
    let mut vote = Vote::default();
    vote.apply(&VoteDelta { self_vote: false, votes_for: 2, total_voters: 4 });
    assert!(vote.at_least_one());
    vote.vote(true);
    assert_eq!((vote.votes_for(), vote.voters()), (3, 4));
    assert_eq!(vote.changes(), Some(Delta::Vote(VoteDelta { self_vote: true, ..VoteDelta::default() })));
}

#[test]
fn an_entry_is_added_with_its_state_and_then_updated_with_its_changes() {
    let mut map = ORMap::default();
    count(&mut map, "hits", 2);
    assert_eq!(map.changes(), Some(Delta::Ormap(OrMapDelta { added: vec![hits(2)], ..OrMapDelta::default() })));
    map.settle();
    count(&mut map, "hits", 3);
    assert_eq!(map.changes(), Some(Delta::Ormap(OrMapDelta { updated: vec![hits(3)], ..OrMapDelta::default() })));
    assert_eq!(map.state(), Delta::Ormap(OrMapDelta { added: vec![hits(5)], ..OrMapDelta::default() }));
}

#[test]
fn an_entry_replaced_by_another_is_removed_and_added() {
    let mut map = ORMap::default();
    count(&mut map, "hits", 2);
    map.settle();
    map.remove(text("hits"));
    count(&mut map, "hits", 1);
    let replaced = OrMapDelta { removed: vec![text("hits")], added: vec![hits(1)], ..OrMapDelta::default() };
    assert_eq!(map.changes(), Some(Delta::Ormap(replaced)));
    map.remove(text("hits"));
    let removed = OrMapDelta { removed: vec![text("hits")], ..OrMapDelta::default() };
    assert_eq!(map.changes(), Some(Delta::Ormap(removed)), "the first one is gone all the same");
}

#[test]
fn an_update_of_an_entry_removed_here_is_passed_over() {
    let mut map = ORMap::default();
    map.apply(OrMapDelta { updated: vec![hits(1)], ..OrMapDelta::default() }).expect("nothing to update");
    assert_eq!(map.iter().count(), 0);
    map.apply(OrMapDelta { added: vec![hits(4)], ..OrMapDelta::default() }).expect("a new entry");
    map.apply(OrMapDelta { updated: vec![hits(1)], ..OrMapDelta::default() }).expect("an entry");
    assert_eq!(map.state(), Delta::Ormap(OrMapDelta { added: vec![hits(5)], ..OrMapDelta::default() }));
}

fn delta(delta: Delta) -> CrdtDelta {
    CrdtDelta { delta: Some(delta) }
}

fn or_set(elements: &[&str]) -> ORSet {
    let mut set = ORSet::default();
    set.apply(OrSetDelta { added: elements.iter().map(|element| text(element)).collect(), ..OrSetDelta::default() });
    set
}

fn count(map: &mut ORMap, key: &str, by: u64) {
    match map.entry(text(key), || Ok(Data::GCounter(GCounter::default()))) {
        Ok(Data::GCounter(counter)) => counter.increment(by),
        other => panic!("a counter, not {other:?}"),
    }
}

fn hits(increment: u64) -> OrMapEntryDelta {
    let key: Any = text("hits");
    OrMapEntryDelta { key: Some(key), delta: Some(delta(Delta::Gcounter(GCounterDelta { increment }))) }
}
