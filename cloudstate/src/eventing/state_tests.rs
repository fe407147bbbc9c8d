//! The decisions of a consumer, by hand and under random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use persistence::{FeedEvent, FeedPage, Offset, PersistenceId, RawEvent, Stored};
use proptest::prelude::*;

use super::state::{ConsumerSettings, Effect, Failure, State};

fn at(ordering: u64) -> Offset {
    Offset::of_ordering(ordering)
}

fn settings() -> ConsumerSettings {
    ConsumerSettings {
        parallelism: 2,
        attempts_max: 3,
        backoff_min: Duration::from_secs(3),
        backoff_max: Duration::from_secs(5),
        parked_max: 2,
        read_ahead: 100,
        save_every: 3,
    }
}

fn event(offset: u64, entity: &str) -> FeedEvent<RawEvent> {
    let event = RawEvent { manifest: "e".into(), payload: Bytes::new(), meta: None };
    FeedEvent {
        offset: at(offset),
        id: PersistenceId::of("cart", entity),
        stored: Stored { seq_nr: offset, epoch: 1, time_ms: 0, event },
    }
}

fn page(events: &[(u64, &str)], end: u64) -> FeedPage<RawEvent> {
    FeedPage {
        events: events.iter().map(|(offset, entity)| event(*offset, entity)).collect(),
        read_to: at(end),
        end: at(end),
    }
}

fn failed() -> Result<(), Failure> {
    Err(Failure::Failed("no".to_owned()))
}

fn delivered(effects: &[Effect]) -> Vec<u64> {
    let offset = |effect: &Effect| match effect {
        Effect::Deliver(event) => Some(event.offset.ordering()),
        _ => None,
    };
    effects.iter().filter_map(offset).collect()
}

/// A consumer that has begun to read after `offset`.
fn started(offset: u64, parked: &[u64]) -> State {
    let mut state = State::new(settings(), at(offset), parked.iter().copied().map(at));
    assert_eq!(state.start(false), [Effect::Read]);
    state
}

#[test]
fn an_entity_waits_for_its_own_events_and_not_for_others() {
    let mut state = started(0, &[]);
    let effects = state.page(page(&[(1, "a"), (2, "a"), (3, "b"), (4, "c")], 4));
    assert_eq!(delivered(&effects), [1, 3], "two at once, of two entities");
    assert_eq!(state.done_to(), at(0));
    assert_eq!(delivered(&state.delivered(at(3), Ok(()))), [4]);
    assert_eq!(state.done_to(), at(0), "what is done beyond a gap does not count yet");
    assert_eq!(delivered(&state.delivered(at(1), Ok(()))), [2], "only now");
    assert_eq!(state.done_to(), at(1));
    let effects = state.delivered(at(4), Ok(()));
    assert_eq!(effects, [Effect::Save { offset: at(1) }], "three events done since the last save");
    state.delivered(at(2), Ok(()));
    assert_eq!((state.done_to(), state.behind()), (at(4), 0));
}

#[test]
fn a_failed_event_is_tried_again_with_growing_delays_and_then_parked() {
    let mut state = started(0, &[]);
    state.page(page(&[(1, "a"), (2, "a"), (3, "b")], 3));
    for seconds in [3, 5] {
        let effects = state.delivered(at(1), failed());
        assert!(effects.contains(&Effect::Retry { offset: at(1), after: Duration::from_secs(seconds) }), "{effects:?}");
        assert_eq!(delivered(&effects), [0_u64; 0], "nothing overtakes it within its entity");
        assert_eq!(delivered(&state.retry(at(1))), [1]);
    }
    let effects = state.delivered(at(1), failed());
    let parked = Effect::Park { event: Arc::new(event(1, "a")), attempts: 3, reason: "no".to_owned() };
    assert!(effects.contains(&parked), "{effects:?}");
    assert_eq!(state.done_to(), at(0), "not before the store knows");
    assert_eq!(state.parked(at(1), false), [Effect::Retry { offset: at(1), after: Duration::from_secs(5) }]);
    assert_eq!(delivered(&state.retry(at(1))), [1]);
    state.delivered(at(1), failed());
    assert_eq!(delivered(&state.parked(at(1), true)), [2], "the entity goes on");
    assert_eq!((state.done_to(), state.parked_len()), (at(1), 1));
}

#[test]
fn what_cannot_succeed_is_parked_at_once_and_what_was_not_tried_is_not_counted() {
    let mut state = started(0, &[]);
    state.page(page(&[(1, "a")], 1));
    for _ in 0..5 {
        assert_eq!(delivered(&state.delivered(at(1), Err(Failure::NotMade))), [1]);
    }
    let effects = state.delivered(at(1), Err(Failure::Hopeless("no method".to_owned())));
    let parked = Effect::Park { event: Arc::new(event(1, "a")), attempts: 1, reason: "no method".to_owned() };
    assert!(effects.contains(&parked), "{effects:?}");
}

#[test]
fn a_consumer_with_too_many_parked_events_waits() {
    let mut state = started(10, &[4, 5]);
    state.page(page(&[(11, "a")], 11));
    let hopeless = || Err(Failure::Hopeless("no".to_owned()));
    assert!(state.delivered(at(11), hopeless()).contains(&Effect::ParkedFull { offset: at(11) }));
    assert_eq!(state.done_to(), at(10));
    state.parked_now([at(5)]);
    assert_eq!(delivered(&state.retry(at(11))), [11]);
    let effects = state.delivered(at(11), hopeless());
    assert!(matches!(effects[..], [Effect::Park { .. }, ..]), "room again: {effects:?}");
}

#[test]
fn a_parked_event_is_not_delivered_unless_it_is_asked_for() {
    let mut state = started(0, &[1]);
    assert_eq!(delivered(&state.page(page(&[(1, "a"), (2, "a")], 2))), [2], "parked before the offset was saved");
    let effects = state.replay(vec![(event(1, "a"), 3), (event(1, "a"), 3)]);
    assert_eq!(delivered(&effects), [0_u64; 0], "one event of an entity at a time, replayed or not");
    assert_eq!(delivered(&state.delivered(at(2), Ok(()))), [1], "once, though asked for twice");
    let effects = state.delivered(at(1), Err(Failure::Hopeless("still".to_owned())));
    let parked = Effect::Park { event: Arc::new(event(1, "a")), attempts: 4, reason: "still".to_owned() };
    assert!(effects.contains(&parked), "attempts are counted on: {effects:?}");
    state.parked(at(1), true);
    assert_eq!(delivered(&state.replay(vec![(event(1, "a"), 4)])), [1]);
    let effects = state.delivered(at(1), Ok(()));
    assert!(effects.contains(&Effect::Unpark { offset: at(1) }), "{effects:?}");
    assert_eq!((state.parked_len(), state.done_to()), (0, at(2)));
}

/// The journal could not be read when it was looked up, and could when it was asked for again.
#[test]
fn the_parking_of_an_event_that_waits_lets_no_other_overtake() {
    let mut state = started(10, &[1]);
    assert_eq!(delivered(&state.page(page(&[(11, "a"), (12, "a")], 12))), [11]);
    state.replay(vec![(event(1, "a"), 3)]);
    assert_eq!(delivered(&state.parked(at(1), true)), [0_u64; 0], "11 is being delivered");
    assert_eq!(delivered(&state.delivered(at(11), Ok(()))), [12]);
    assert_eq!(delivered(&state.delivered(at(12), Ok(()))), [0_u64; 0], "1 is parked");
    state.replay(vec![(event(1, "a"), 3), (event(2, "a"), 3)]);
    state.parked_again(at(1));
    assert_eq!(delivered(&state.delivered(at(1), Ok(()))), [2], "1 was being delivered, and is done only now");
}

#[test]
fn paused_it_begins_nothing_and_goes_on_where_it_was() {
    let mut state = State::new(settings(), at(0), []);
    assert_eq!(state.start(true), []);
    assert_eq!(state.set_paused(false), [Effect::Read]);
    assert_eq!(delivered(&state.page(page(&[(1, "a"), (2, "a"), (3, "b"), (4, "c")], 4))), [1, 3]);
    assert_eq!(state.set_paused(true), []);
    assert_eq!(delivered(&state.delivered(at(1), Ok(()))), [0_u64; 0]);
    state.delivered(at(3), failed());
    assert_eq!(state.retry(at(3)), []);
    assert_eq!((state.done_to(), state.is_idle()), (at(1), true), "what was under way is finished");
    assert_eq!(delivered(&state.set_paused(false)), [4, 2]);
}

#[test]
fn an_event_dropped_while_it_is_tried_again_is_not_parked_anew() {
    let mut state = started(5, &[1]);
    assert_eq!(delivered(&state.replay(vec![(event(1, "a"), 3), (event(2, "a"), 3)])), [1]);
    state.parked_now([at(2)]);
    let effects = state.delivered(at(1), failed());
    assert_eq!(delivered(&effects), [2], "the next one of its entity takes its turn");
    assert_eq!((effects.len(), state.parked_len()), (1, 1), "{effects:?}");
}

#[test]
fn offsets_are_saved_for_other_types_too_and_not_while_one_is_being_saved() {
    let mut state = started(0, &[]);
    let effects = state.page(page(&[], 50));
    assert_eq!(effects, [Effect::Read, Effect::SaveSoon], "a page of other types leads on");
    assert_eq!(state.save(), Some(at(50)));
    state.page(page(&[], 60));
    assert_eq!(state.save(), None, "one at a time");
    assert_eq!(state.saved(at(50), true), [Effect::SaveSoon]);
    assert_eq!(state.save(), Some(at(60)));
    assert_eq!(state.saved(at(60), false), [Effect::SaveSoon], "tried again");
    assert_eq!(state.save(), Some(at(60)));
    assert_eq!(state.saved(at(60), true), []);
}

#[test]
fn a_stopping_consumer_delivers_nothing_more() {
    let mut state = started(0, &[]);
    state.page(page(&[(1, "a"), (2, "a"), (3, "b")], 3));
    state.stop();
    assert!(!state.is_idle());
    assert_eq!(state.delivered(at(1), Ok(())), []);
    assert_eq!(state.delivered(at(3), Err(Failure::NotMade)), []);
    assert!(state.is_idle());
    assert_eq!(state.save(), Some(at(1)));
}

proptest! {
    /// Whatever fails and in whatever order things come back: one event of an entity at a time and in order, never more
    /// at once than allowed, the offset never past an event that is neither done nor parked, and all are in the end.
    #[test]
    fn order_and_offset_hold_under_random_histories(
        entities in proptest::collection::vec(0_u8..5, 1..60),
        choices in proptest::collection::vec((any::<usize>(), 0_u8..6), 400),
    ) {
        let names: Vec<String> = entities.iter().map(u8::to_string).collect();
        let all: Vec<(u64, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
        let end = all.len() as u64;
        let mut state = State::new(ConsumerSettings { parked_max: 1_000, ..settings() }, Offset::START, []);
        let mut queue = state.start(false);
        let (mut flying, mut waiting): (Vec<Offset>, Vec<Effect>) = (Vec::new(), Vec::new());
        let (mut ended, mut last): (BTreeSet<Offset>, BTreeMap<String, Offset>) = (BTreeSet::new(), BTreeMap::new());
        let mut unread = all.chunks(7);
        let mut choices = choices.into_iter().chain(std::iter::repeat((0, 0)));
        loop {
            for effect in std::mem::take(&mut queue) {
                match effect {
                    Effect::Deliver(event) => {
                        let entity = event.id.entity_id().to_owned();
                        prop_assert!(flying.iter().all(|other| names[other.ordering() as usize - 1] != entity));
                        let before = last.insert(entity, event.offset).unwrap_or(Offset::START);
                        prop_assert!(event.offset >= before, "{} after {before}", event.offset);
                        flying.push(event.offset);
                        prop_assert!(flying.len() <= 2);
                    }
                    Effect::SaveSoon | Effect::Save { .. } => waiting.push(Effect::SaveSoon),
                    other => waiting.push(other),
                }
            }
            if let Some(gap) = (1..=end).map(at).find(|offset| !ended.contains(offset)) {
                prop_assert!(state.done_to() < gap, "offset {} passes {gap}", state.done_to());
            }
            if flying.is_empty() && waiting.is_empty() {
                break;
            }
            let (index, outcome) = choices.next().expect("endless");
            let place = index % (flying.len() + waiting.len());
            queue = if place < flying.len() {
                let offset = flying.remove(place);
                let result = match outcome {
                    0..=2 => Ok(()),
                    3 => Err(Failure::NotMade),
                    4 => Err(Failure::Hopeless("no".to_owned())),
                    _ => failed(),
                };
                if result.is_ok() {
                    ended.insert(offset);
                }
                state.delivered(offset, result)
            } else {
                match waiting.remove(place - flying.len()) {
                    Effect::Read => match unread.next() {
                        Some(chunk) => state.page(FeedPage { end: at(end), ..page(chunk, chunk[chunk.len() - 1].0) }),
                        None => Vec::new(),
                    },
                    Effect::Retry { offset, .. } => state.retry(offset),
                    Effect::Park { event, .. } => {
                        let stored = outcome != 5;
                        if stored {
                            ended.insert(event.offset);
                        }
                        state.parked(event.offset, stored)
                    }
                    _ => match state.save() {
                        Some(offset) => state.saved(offset, true),
                        None => Vec::new(),
                    },
                }
            };
        }
        prop_assert_eq!(ended.len() as u64, end, "every event is done or parked");
        prop_assert_eq!(state.done_to(), at(end));
    }
}
