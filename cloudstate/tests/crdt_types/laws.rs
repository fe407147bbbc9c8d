//! What holds for every type, whatever happened before.

use cloudstate::crdt::{Crdt, Kind};
use proptest::prelude::*;

use super::model::{A, B, C, History, action, element, kind, merged, steps, visible};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        kind in kind(), steps in steps(), picks in prop::array::uniform3(any::<prop::sample::Index>()),
    ) {
        let history = History::run(kind, &steps);
        let [x, y, z] = picks.map(|pick| pick.get(&history.seen));
        prop_assert_eq!(merged(x, y), merged(y, x));
        prop_assert_eq!(merged(&merged(x, y), z), merged(x, &merged(y, z)));
        prop_assert_eq!(&merged(x, x), x);
        prop_assert_eq!(&merged(x, &Crdt::new(kind)), x);
        prop_assert_eq!(&merged(&Crdt::new(kind), x), x);
    }

    #[test]
    fn deltas_in_any_order_and_more_than_once_add_up_to_the_full_state(
        kind in kind(), steps in steps(), order in any::<prop::sample::Index>(),
    ) {
        let history = History::run(kind, &steps);
        let everything = history.everything();
        let in_order = history.deltas.iter().fold(Crdt::new(kind), |sum, delta| merged(&sum, delta));
        prop_assert_eq!(&in_order, &everything);

        let mut deltas = [history.deltas.clone(), history.deltas.clone()].concat();
        if !deltas.is_empty() {
            let start = order.index(deltas.len());
            deltas.rotate_left(start);
            deltas.reverse();
        }
        let mixed = deltas.iter().fold(Crdt::new(kind), |sum, delta| merged(&sum, delta));
        prop_assert_eq!(&mixed, &everything);
    }

    #[test]
    fn counters_sum_up_what_was_counted(steps in steps(), both_ways in any::<bool>()) {
        let kind = if both_ways { Kind::PnCounter } else { Kind::GCounter };
        let history = History::run(kind, &steps);
        for (copy, known) in history.copies.iter().zip(&history.known) {
            let amounts = known.iter().map(|&event| i128::from(history.events[event].1.amount));
            match copy {
                Crdt::PnCounter(counter) => prop_assert_eq!(counter.value(), amounts.sum::<i128>()),
                Crdt::GCounter(counter) => {
                    prop_assert_eq!(counter.value(), amounts.map(i128::unsigned_abs).sum::<u128>());
                }
                other => panic!("a {}", other.kind()),
            }
        }
    }

    #[test]
    fn sets_and_maps_hold_what_no_removal_has_seen(steps in steps(), as_map in any::<bool>()) {
        let history = History::run(if as_map { Kind::OrMap } else { Kind::OrSet }, &steps);
        for (copy, known) in history.copies.iter().zip(&history.known) {
            let expected: Vec<_> = history.keys_by_definition(known).into_iter().map(element).collect();
            let keys: Vec<_> = match copy {
                Crdt::OrSet(set) => set.elements().cloned().collect(),
                Crdt::OrMap(map) => map.keys().cloned().collect(),
                other => panic!("a {}", other.kind()),
            };
            prop_assert_eq!(keys, expected);
        }
    }

    #[test]
    fn pruning_leaves_the_value_and_nothing_of_the_removed_replica(kind in kind(), steps in steps()) {
        let whole = History::run(kind, &steps).everything();
        let mut pruned = whole.clone();
        pruned.prune(C, A);
        prop_assert_eq!(visible(&pruned, A), visible(&whole, A));
        prop_assert!(!pruned.mentions(C));
        let once = pruned.clone();
        pruned.prune(C, A);
        prop_assert_eq!(&pruned, &once, "a second time changes nothing");

        // Further replicas in either order.
        let mut other_order = whole.clone();
        other_order.prune(B, A);
        other_order.prune(C, A);
        pruned.prune(B, A);
        prop_assert_eq!(visible(&pruned, A), visible(&whole, A));
        prop_assert_eq!(visible(&other_order, A), visible(&whole, A));
    }

    #[test]
    fn copies_that_forgot_meet_pruned_ones_without_counting_twice(kind in kind(), steps in steps(), later in action()) {
        let whole = History::run(kind, &steps).everything();
        let mut pruned = whole.clone();
        pruned.prune(C, A);

        let mut idle = whole.clone();
        idle.forget(C);
        prop_assert!(!idle.mentions(C));
        idle.merge(&pruned).unwrap();
        prop_assert_eq!(&idle, &pruned, "who did nothing has the pruned copy");

        // Somebody changes its copy meanwhile: the change is worth what it is worth without any pruning.
        let mut busy = whole.clone();
        later.apply(&mut busy, B);
        let expected = visible(&busy, A);
        busy.forget(C);
        let met = merged(&pruned, &busy);
        prop_assert_eq!(&merged(&busy, &pruned), &met);
        if matches!(kind, Kind::GCounter | Kind::PnCounter | Kind::GSet | Kind::LwwRegister | Kind::Flag | Kind::Vote) {
            prop_assert_eq!(visible(&met, A), expected);
        }
    }

    #[test]
    fn equal_copies_have_equal_bytes_and_come_back_from_them(kind in kind(), steps in steps()) {
        let history = History::run(kind, &steps);
        for state in &history.seen {
            prop_assert_eq!(&Crdt::decode(&state.encode()).unwrap(), state);
        }
        let one_way = history.everything();
        let other_way = history.copies.iter().rev().fold(Crdt::new(kind), |all, copy| merged(&all, copy));
        prop_assert_eq!(one_way.encode(), other_way.encode());
    }

    #[test]
    fn of_any_bytes_only_canonical_ones_are_taken(
        kind in kind(), steps in steps(), noise in prop::collection::vec(any::<u8>(), 0..40),
        at in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        let mut changed = History::run(kind, &steps).everything().encode().to_vec();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        for bytes in [noise.clone(), [&[1_u8, noise.len() as u8 % 10][..], &noise].concat(), changed] {
            if let Ok(value) = Crdt::decode(&bytes) {
                prop_assert_eq!(&value.encode()[..], &bytes[..]);
                // What was taken can be worked with.
                let mut value = value;
                value.merge(&value.clone()).unwrap();
                value.prune(A, B);
            }
        }
    }
}
