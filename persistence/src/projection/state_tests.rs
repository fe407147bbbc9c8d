//! The decisions of a projection, by hand and under random histories.

use super::{
    Envelope, OnFailure, ProjectionSettings,
    source::Page,
    state::{Applied, Delivery, Effect, Start, State},
};
use crate::{Offset, PersistenceId};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

#[derive(Debug)]
struct Item(u64, PersistenceId);

impl Envelope for Item {
    fn offset(&self) -> Offset {
        at(self.0)
    }

    fn id(&self) -> &PersistenceId {
        &self.1
    }

    fn number(&self) -> u64 {
        self.0
    }

    fn time_ms(&self) -> u64 {
        0
    }
}

fn at(ordering: u64) -> Offset {
    Offset::of_ordering(ordering)
}

fn settings() -> ProjectionSettings {
    ProjectionSettings {
        read_ahead: 20,
        save_every: 3,
        group_max: 4,
        transaction_max: 5,
        ..ProjectionSettings::default()
    }
}

fn started(delivery: Delivery, on_failure: OnFailure, start: Start) -> State<Item> {
    let mut state = State::new(settings(), delivery, on_failure, start);
    assert!(matches!(state.start()[..], [Effect::Read { .. }]));
    state
}

fn page(offsets: impl IntoIterator<Item = u64>, read_to: u64) -> Page<Item> {
    let item = |offset: u64| Item(offset, PersistenceId::of("cart", &offset.to_string()));
    Page { items: offsets.into_iter().map(item).collect(), read_to: at(read_to), end: at(read_to) }
}

fn applying(effects: &[Effect<Item>]) -> Vec<u64> {
    let of = |effect: &Effect<Item>| match effect {
        Effect::Apply(items) => items.iter().map(|item| item.0).collect(),
        _ => Vec::new(),
    };
    effects.iter().flat_map(of).collect()
}

fn saving(effects: &[Effect<Item>]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Save(offset) => Some(offset.ordering()),
        _ => None,
    })
}

fn done(done: usize) -> Applied {
    Applied { done, failure: None }
}

fn failed(done: usize) -> Applied {
    Applied { done, failure: Some("no".to_owned()) }
}

#[test]
fn at_least_once_the_offset_follows_what_is_handled() {
    let mut state = started(Delivery::AtLeastOnce, OnFailure::fail(), Start::default());
    let effects = state.page(0, page(1..=5, 9));
    assert_eq!((applying(&effects), saving(&effects)), (vec![1, 2, 3], None), "nothing is saved that is not handled");
    let effects = state.applied(done(2));
    assert_eq!((applying(&effects), saving(&effects)), (vec![3, 4, 5], None));
    let effects = state.applied(done(3));
    assert_eq!(saving(&effects), Some(9), "all that was read is handled, what was passed over with it");
    assert_eq!(state.done_to(), at(9));
    assert_eq!(saving(&state.saved(at(9), false)), None, "not again at once");
    assert_eq!(saving(&state.save_due()), Some(9));
}

#[test]
fn at_most_once_the_offset_goes_first() {
    let mut state = started(Delivery::AtMostOnce, OnFailure::retry_then_park(), Start::default());
    let effects = state.page(0, page([4, 6], 6));
    assert_eq!((saving(&effects), applying(&effects)), (Some(4), vec![]), "before it is handled");
    assert!(matches!(state.saved(at(4), false)[..], [Effect::Retry(_)]), "a place that is not saved is not passed");
    assert_eq!(saving(&state.retry()), Some(4));
    assert_eq!(applying(&state.saved(at(4), true)), [4]);
    let effects = state.applied(failed(0));
    assert!(matches!(effects[..], [Effect::Park { .. }, ..]), "never tried twice: {effects:?}");
    assert_eq!(saving(&state.parked(true)), Some(6));
}

#[test]
fn a_failed_item_is_tried_again_and_then_parked() {
    let mut state = started(Delivery::ExactlyOnce, OnFailure::retry_then_park().attempts(3), Start::default());
    assert_eq!(applying(&state.page(0, page(1..=7, 7))), [1, 2, 3, 4, 5]);
    for done_before in [2, 0] {
        let effects = state.applied(failed(done_before));
        assert!(matches!(effects[0], Effect::Retry(delay) if delay == Duration::from_secs(1)), "{effects:?}");
        assert_eq!(state.done_to(), at(2), "those before it are handled");
        assert_eq!(applying(&state.retry()), [3, 4, 5, 6, 7], "at the item that failed");
    }
    let effects = state.applied(failed(0));
    assert!(matches!(&effects[0], Effect::Park { item, attempts: 3, .. } if item.0 == 3), "{effects:?}");
    assert_eq!(state.done_to(), at(2), "not before the store knows");
    assert!(matches!(state.parked(false)[0], Effect::Retry(_)));
    assert_eq!(applying(&state.retry()), [3, 4, 5, 6, 7]);
    assert!(matches!(state.applied(failed(0))[0], Effect::Park { .. }));
    let effects = state.parked(true);
    assert_eq!((applying(&effects), saving(&effects)), (vec![4, 5, 6, 7], Some(3)), "and passed at once");
    assert_eq!(state.parked_count(), 1);
}

#[test]
fn of_a_group_that_fails_only_the_bad_one_is_parked() {
    let mut state = started(Delivery::Grouped, OnFailure::park(), Start::default());
    let effects = state.page(0, page(1..=3, 3));
    assert!(matches!(effects[0], Effect::GroupSoon(_)), "others may come: {effects:?}");
    assert_eq!(applying(&state.group_due()), [1, 2, 3]);
    assert_eq!(applying(&state.applied(failed(0))), [1], "one by one");
    assert_eq!(applying(&state.applied(done(1))), [2]);
    assert!(matches!(&state.applied(failed(0))[0], Effect::Park { item, .. } if item.0 == 2));
    assert_eq!(applying(&state.parked(true)), [3]);
}

#[test]
fn with_too_many_parked_items_it_fails() {
    let start = Start { parked_count: 10_000, ..Start::default() };
    let mut state = started(Delivery::AtLeastOnce, OnFailure::park(), start);
    state.page(0, page([1], 1));
    let effects = state.applied(failed(0));
    assert!(matches!(&effects[..], [Effect::Fail(reason)] if reason.contains("10000 items are parked")), "{effects:?}");
    assert_eq!(state.done_to(), Offset::START);
}

#[test]
fn what_others_have_handled_or_was_parked_is_passed_over() {
    let slice = PersistenceId::of("cart", "5").slice();
    let start = Start { ahead: vec![(slice..=slice, at(5))], parked: BTreeSet::from([at(2)]), ..Start::default() };
    let mut state = started(Delivery::ExactlyOnce, OnFailure::fail(), start);
    assert_eq!(applying(&state.page(0, page(1..=6, 6))), [1, 3, 4, 6]);
}

#[test]
fn paused_it_begins_nothing_and_goes_on_where_it_was() {
    let mut state = started(Delivery::AtLeastOnce, OnFailure::fail(), Start::default());
    state.page(0, page(1..=4, 4));
    state.set_paused(true);
    let effects = state.applied(done(3));
    assert_eq!((applying(&effects), saving(&effects)), (vec![], Some(3)), "what was under way is saved");
    assert_eq!(applying(&state.set_paused(false)), [4]);
}

#[test]
fn a_reset_waits_for_what_is_under_way_and_forgets_what_was_read() {
    let mut state = started(Delivery::AtLeastOnce, OnFailure::fail(), Start::default());
    state.page(0, page(1..=4, 4));
    assert!(state.reset(at(1)).is_empty(), "an item is being handled");
    assert!(matches!(state.applied(done(1))[..], [Effect::Reset(offset)] if offset == at(1)));
    let effects = state.was_reset(at(1), true);
    assert!(matches!(effects[..], [Effect::Read { after, turn: 1 }] if after == at(1)), "{effects:?}");
    assert!(state.page(0, page(5..=6, 6)).is_empty(), "a page from before");
    assert_eq!(applying(&state.page(1, page(2..=3, 3))), [2, 3], "again");
    assert_eq!(state.done_to(), at(1));
}

proptest! {
    /// Whatever fails and in whatever order things come back: items are handled in order, the offset never passes one that
    /// is neither handled nor parked, and all are in the end.
    #[test]
    fn order_and_offset_hold_under_random_histories(
        delivery in prop_oneof![
            Just(Delivery::AtLeastOnce), Just(Delivery::Grouped), Just(Delivery::ExactlyOnce),
            Just(Delivery::ExactlyOnceGrouped), Just(Delivery::AtMostOnce),
        ],
        count in 1_u64..40,
        choices in proptest::collection::vec((any::<usize>(), 0_usize..8), 300),
    ) {
        let mut state = State::new(settings(), delivery, OnFailure::retry_then_park().attempts(2), Start::default());
        let mut queue = state.start();
        let mut waiting: Vec<Effect<Item>> = Vec::new();
        let (mut ended, mut saved) = (BTreeSet::new(), 0);
        let mut choices = choices.into_iter().chain(std::iter::repeat((0, 0)));
        loop {
            waiting.append(&mut queue);
            let at_work = |effect: &&Effect<Item>| matches!(effect, Effect::Apply(_) | Effect::Park { .. });
            prop_assert!(waiting.iter().filter(at_work).count() < 2, "one piece of work at a time");
            if let Some(gap) = (1..=count).find(|offset| !ended.contains(offset)) {
                prop_assert!(state.done_to() < at(gap), "{:?} passes {gap}", state.done_to());
                prop_assert!(saved < gap || (delivery == Delivery::AtMostOnce && saved == gap), "{saved} passes {gap}");
            }
            if waiting.iter().all(|effect| matches!(effect, Effect::Read { after, .. } if after.ordering() == count)) {
                break;
            }
            let (index, outcome) = choices.next().expect("endless");
            let effect = waiting.remove(index % waiting.len());
            queue = match effect {
                Effect::Read { after, .. } if after.ordering() == count => {
                    waiting.push(effect);
                    Vec::new()
                }
                Effect::Read { after, turn } => {
                    let to = (after.ordering() + 7).min(count);
                    state.page(turn, page(after.ordering() + 1..=to, to))
                }
                Effect::Apply(items) => {
                    let first = (1..=count).find(|offset| !ended.contains(offset)).expect("something to do");
                    prop_assert_eq!(items[0].0, first, "in order, none left out");
                    let grouped = matches!(delivery, Delivery::Grouped | Delivery::ExactlyOnceGrouped);
                    let good = if outcome < 6 { items.len() } else if grouped { 0 } else { outcome % items.len() };
                    ended.extend(items[..good].iter().map(|item| item.0));
                    if matches!(delivery, Delivery::ExactlyOnce | Delivery::ExactlyOnceGrouped) && good > 0 {
                        saved = items[good - 1].0;
                    }
                    state.applied(if good == items.len() { done(good) } else { failed(good) })
                }
                Effect::Park { item, .. } => {
                    let stored = outcome < 6;
                    if stored {
                        ended.insert(item.0);
                    }
                    state.parked(stored)
                }
                Effect::Save(offset) => {
                    let stored = outcome < 6;
                    if stored {
                        saved = saved.max(offset.ordering());
                    }
                    state.saved(offset, stored)
                }
                Effect::SaveSoon(_) => state.save_due(),
                Effect::GroupSoon(_) => state.group_due(),
                Effect::Retry(_) => state.retry(),
                Effect::Reset(_) | Effect::Replay(_) | Effect::Fail(_) => return Err(TestCaseError::fail("not asked for")),
            };
        }
        prop_assert_eq!(ended.len() as u64, count, "every item is handled or parked");
        prop_assert_eq!(state.done_to(), at(count));
        prop_assert_eq!(saved, count, "and the offset says so");
    }
}

#[test]
fn items_are_shared_not_copied() {
    let mut state = started(Delivery::AtLeastOnce, OnFailure::retry_then_fail(), Start::default());
    let effects = state.page(0, page([1], 1));
    let Effect::Apply(first) = &effects[0] else { panic!("{effects:?}") };
    state.applied(failed(0));
    let again = state.retry();
    let Effect::Apply(second) = &again[0] else { panic!("{again:?}") };
    assert!(Arc::ptr_eq(&first[0], &second[0]));
}
