//! What the map promises about nested values.

use cloudstate::crdt::{Crdt, Element, Kind, KindMismatch, MAX_DEPTH, MapError, OrMap, ReplicaId};

use super::model::{A, B, C, element};

fn cart() -> Element {
    element(9)
}

/// Adds to the counter of an entry; gives the delta.
fn count(map: &mut OrMap, replica: ReplicaId, amount: u64) -> OrMap {
    let counted = map.update(replica, &cart(), Kind::GCounter, |value| {
        let counter = value.as_g_counter_mut().map_err(MapError::Kind)?;
        Ok::<_, MapError>(counter.increment(replica, amount).unwrap().into())
    });
    counted.unwrap()
}

/// Adds to, or removes from, the set of an entry; gives the delta.
fn put(map: &mut OrMap, replica: ReplicaId, number: u8, add: bool) -> OrMap {
    let put = map.update(replica, &cart(), Kind::OrSet, |value| {
        let set = value.as_or_set_mut().map_err(MapError::Kind)?;
        let delta = if add { set.add(replica, element(number)) } else { set.remove(&element(number)) };
        Ok::<_, MapError>(delta.into())
    });
    put.unwrap()
}

fn counted(map: &OrMap) -> Option<u128> {
    map.get(&cart()).map(|value| value.as_g_counter().unwrap().value())
}

fn numbers(map: &OrMap) -> Vec<u8> {
    let value = map.get(&cart()).expect("the entry is there");
    value.as_or_set().unwrap().elements().map(|element| element.value[0]).collect()
}

/// Both hear of all the other knows, and agree.
fn meet(left: &mut OrMap, right: &mut OrMap) {
    let before = left.clone();
    left.merge(right);
    right.merge(&before);
    assert_eq!(left, right);
}

#[test]
fn nested_values_merge() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    count(&mut here, A, 2);
    count(&mut there, B, 3);
    meet(&mut here, &mut there);
    assert_eq!(counted(&here), Some(5));
    count(&mut here, A, 1);
    count(&mut there, B, 1);
    meet(&mut here, &mut there);
    assert_eq!(counted(&here), Some(7));
}

#[test]
fn a_new_entry_after_a_removal_starts_empty_and_stays_free_of_the_old_one() {
    let mut here = OrMap::default();
    let old = count(&mut here, A, 5);
    let late = here.clone();
    here.remove(&cart());
    assert_eq!(counted(&here), None);
    count(&mut here, A, 1);
    assert_eq!(counted(&here), Some(1));
    here.merge(&old);
    here.merge(&late);
    assert_eq!(counted(&here), Some(1));
    let mut late = late;
    late.merge(&here);
    assert_eq!(counted(&late), Some(1));
}

#[test]
fn an_update_beats_a_concurrent_removal_with_the_share_of_who_updated() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    count(&mut here, A, 5);
    meet(&mut here, &mut there);
    here.remove(&cart());
    count(&mut there, B, 1);
    meet(&mut here, &mut there);
    assert_eq!(counted(&here), Some(1), "what the removal has seen is gone");
}

#[test]
fn counting_anew_after_a_removal_is_not_lost_in_an_old_share() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    count(&mut here, A, 5);
    meet(&mut here, &mut there);
    here.remove(&cart());
    count(&mut here, A, 2);
    count(&mut there, B, 1);
    meet(&mut here, &mut there);
    assert_eq!(counted(&here), Some(3));
}

#[test]
fn an_addition_to_a_new_nested_set_is_not_taken_for_an_old_one_that_was_overwritten() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    put(&mut here, A, 1, true);
    meet(&mut here, &mut there);
    // There the addition is repeated, which puts a new one in place of the one here.
    put(&mut there, B, 1, true);
    here.remove(&cart());
    put(&mut here, A, 2, true);
    meet(&mut here, &mut there);
    assert_eq!(numbers(&here), [1, 2]);
}

#[test]
fn two_additions_in_one_update_are_not_taken_for_old_ones_either() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    let update = here.update(A, &cart(), Kind::OrSet, |value| {
        let set = value.as_or_set_mut().map_err(MapError::Kind)?;
        let mut delta = set.add(A, element(1));
        delta.merge(&set.add(A, element(2)));
        Ok::<_, MapError>(delta.into())
    });
    there.merge(&update.unwrap());
    put(&mut there, B, 2, true);
    here.remove(&cart());
    put(&mut here, A, 3, true);
    meet(&mut here, &mut there);
    assert_eq!(numbers(&here), [2, 3]);
}

#[test]
fn what_was_removed_from_a_nested_set_does_not_come_back_with_its_adders_next_update() {
    let (mut a, mut b, mut c) = (OrMap::default(), OrMap::default(), OrMap::default());
    put(&mut a, A, 3, true);
    put(&mut a, A, 1, true);
    meet(&mut a, &mut b);
    put(&mut b, B, 1, false);
    meet(&mut a, &mut b);
    c.merge(&b);
    // The removal takes B's part away, which says that 1 is removed; A's next part says it, too.
    c.remove(&cart());
    put(&mut a, A, 2, true);
    meet(&mut a, &mut c);
    assert_eq!(numbers(&a), [2, 3]);
}

#[test]
fn what_was_removed_takes_no_space() {
    let mut map = OrMap::default();
    for number in 0..100 {
        put(&mut map, A, number, true);
        put(&mut map, A, number / 2, false);
        count_votes(&mut map, number);
        map.remove(&element(number));
    }
    map.clear();
    let size = Crdt::from(map).encode().len();
    assert!(size < 20, "{size} bytes: one range of dots of one replica");
}

/// An entry of its own with a vote.
fn count_votes(map: &mut OrMap, number: u8) {
    let key = if element(number) == cart() { element(200) } else { element(number) };
    let voted = map.update(A, &key, Kind::Vote, |value| {
        Ok::<_, MapError>(value.as_vote_mut().map_err(MapError::Kind)?.vote(A, true).into())
    });
    voted.unwrap();
}

#[test]
fn of_two_types_for_one_key_everybody_sees_the_same_and_an_update_settles_it() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    count(&mut here, A, 1);
    meet(&mut here, &mut there);
    // Here the entry gets another type, there it is counted on.
    here.remove(&cart());
    put(&mut here, A, 7, true);
    count(&mut there, B, 1);
    meet(&mut here, &mut there);
    assert_eq!(numbers(&here), [7], "the part with the highest dot decides");

    put(&mut there, B, 8, true);
    meet(&mut here, &mut there);
    assert_eq!(numbers(&here), [7, 8]);
    here.remove(&cart());
    assert!(here.is_empty());
}

#[test]
fn the_type_that_lost_does_not_come_back_after_an_update() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    count(&mut here, A, 1);
    there.merge(&here);
    here.remove(&cart());
    put(&mut here, A, 7, true);
    let late = count(&mut there, B, 1);
    meet(&mut here, &mut there);

    let settled = put(&mut here, A, 8, true);
    let mut elsewhere = settled.clone();
    elsewhere.remove(&cart());
    elsewhere.merge(&late);
    assert!(elsewhere.is_empty(), "the update has replaced it: {elsewhere:?}");
}

/// Not supposed to happen, but whoever merges the two must agree with everybody else.
#[test]
fn two_entries_under_one_dot_merge_alike_everywhere() {
    let (mut flag, mut vote) = (OrMap::default(), OrMap::default());
    flag.update(A, &cart(), Kind::Flag, |value| Ok::<_, MapError>(value.as_flag_mut()?.enable().into())).unwrap();
    vote.update(A, &cart(), Kind::Vote, |value| Ok::<_, MapError>(value.as_vote_mut()?.vote(A, true).into())).unwrap();
    meet(&mut flag, &mut vote);
    assert_eq!(flag.get(&cart()).map(|value| value.kind()), Some(Kind::Vote));
}

#[test]
fn an_entry_of_another_type_has_to_be_removed_first() {
    let mut map = OrMap::default();
    count(&mut map, A, 1);
    let before = map.clone();
    let refused = map.update(A, &cart(), Kind::OrSet, |_| unreachable!("there is no set"));
    let mismatch = KindMismatch { expected: Kind::GCounter, found: Kind::OrSet };
    assert_eq!(refused, Err(MapError::Kind(mismatch)));
    let refused = map.update(A, &cart(), Kind::GCounter, |_| Ok::<_, MapError>(Crdt::new(Kind::OrSet)));
    assert_eq!(refused, Err(MapError::Kind(mismatch)), "a delta of another type");
    assert_eq!(map, before, "what was refused changes nothing");
}

#[test]
fn maps_nest_as_deep_as_they_can_be_decoded() {
    /// Fills a map with one map in another, `levels` of them below.
    fn fill(map: &mut OrMap, levels: usize) -> Result<OrMap, MapError> {
        if levels == 0 {
            return map.update(C, &cart(), Kind::Flag, |flag| Ok(flag.as_flag_mut()?.enable().into()));
        }
        map.update(C, &cart(), Kind::OrMap, |inner| Ok(fill(inner.as_or_map_mut()?, levels - 1)?.into()))
    }
    let mut map = OrMap::default();
    fill(&mut map, MAX_DEPTH - 2).unwrap();
    let map = Crdt::from(map);
    assert_eq!(Crdt::decode(&map.encode()).unwrap(), map);
    assert_eq!(fill(&mut OrMap::default(), MAX_DEPTH - 1), Err(MapError::TooDeep));
}

#[test]
fn a_pruned_map_keeps_its_entries_and_counts_on() {
    let (mut here, mut there) = (OrMap::default(), OrMap::default());
    count(&mut there, C, 4);
    meet(&mut here, &mut there);
    count(&mut here, B, 3);
    let mut elsewhere = Crdt::from(here.clone());
    let mut here = Crdt::from(here);

    here.prune(C, A);
    elsewhere.forget(C);
    count(elsewhere.as_or_map_mut().unwrap(), B, 1);
    here.merge(&elsewhere).unwrap();
    assert_eq!(counted(here.as_or_map().unwrap()), Some(8));
}

#[test]
fn pruning_finds_the_removed_replica_in_what_others_know_of_it() {
    let (mut a, mut b, mut c) = (OrMap::default(), OrMap::default(), OrMap::default());
    put(&mut c, C, 1, true);
    meet(&mut c, &mut b);
    put(&mut b, B, 1, false);
    meet(&mut b, &mut a);
    // Only B's part is left then, which says that C's 1 is removed.
    a.remove(&cart());
    put(&mut b, B, 2, true);
    meet(&mut b, &mut a);
    let mut a = Crdt::from(a);
    a.prune(C, A);
    assert!(!a.mentions(C));
    assert_eq!(numbers(a.as_or_map().unwrap()), [2]);
}

#[test]
fn what_is_pruned_into_a_new_entry_is_not_taken_for_an_old_addition() {
    let (mut a, mut b, mut c) = (OrMap::default(), OrMap::default(), OrMap::default());
    put(&mut a, A, 1, true);
    meet(&mut a, &mut b);
    put(&mut b, B, 1, true);
    a.remove(&cart());
    put(&mut c, C, 5, true);
    meet(&mut a, &mut c);
    let (mut a, b) = (Crdt::from(a), Crdt::from(b));
    a.prune(C, A);
    a.merge(&b).unwrap();
    assert_eq!(numbers(a.as_or_map().unwrap()), [1, 5]);
}
