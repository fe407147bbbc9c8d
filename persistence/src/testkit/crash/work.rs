//! What a crash writer writes: each event, state and batch follows from its writer and number, so that whoever looks at
//! it later knows whether it was ever written.

use crate::{Append, Fence, PersistenceId, PutState, RawEvent, RawSnapshot, RawState};
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Writers of one process.
pub(super) const WRITERS: u64 = 8;

/// Batches have one, two or three events, in turn.
pub(super) fn batch_size(turn: u64) -> u64 {
    1 + turn % 3
}

/// The turn whose batch ends with `seq_nr`, counted from 0; `None` if none does: then half a batch is stored.
pub(super) fn turn_ending_with(seq_nr: u64) -> Option<u64> {
    let rest = match seq_nr % 6 {
        1 => 0,
        3 => 1,
        0 => 2,
        _ => return None,
    };
    (seq_nr > 0).then(|| (seq_nr - 1) / 6 * 3 + rest)
}

/// Every so many turns a snapshot is saved and events before it are deleted.
pub(super) const SNAPSHOT_TURNS: u64 = 25;

/// Events kept before a snapshot.
pub(super) const KEPT: u64 = 10;

pub(super) fn id(writer: u64) -> PersistenceId {
    PersistenceId::of("crash", &writer.to_string())
}

pub(super) fn event_text(writer: u64, seq_nr: u64) -> String {
    // Sizes vary, so that batches end anywhere in a page and sometimes take several.
    let fill = if seq_nr.is_multiple_of(37) { 9_000 } else { seq_nr as usize * 7 % 90 };
    format!("{writer}:{seq_nr}:{}", "·".repeat(fill / 2))
}

pub(super) fn state_text(writer: u64, revision: u64) -> String {
    format!("{writer}@{revision}:{}", "s".repeat(revision as usize % 60))
}

pub(super) fn snapshot_text(writer: u64, seq_nr: u64) -> String {
    format!("state of {writer} at {seq_nr}")
}

/// The batch of `turn`, which begins with `from`; the same one whenever it is asked for, its id included.
pub(super) fn batch(writer: u64, turn: u64, from: u64, fence: Fence) -> Append<RawEvent> {
    let event = |seq_nr| RawEvent {
        manifest: "text/1".into(),
        payload: event_text(writer, seq_nr).into(),
        meta: seq_nr.is_multiple_of(5).then(|| Bytes::from_static(b"beside")),
    };
    Append {
        id: id(writer),
        expected_seq: from,
        fence,
        batch_id: number("batch", writer, from),
        events: (from..from + batch_size(turn)).map(event).collect(),
        tags: if from.is_multiple_of(4) { vec![vec!["fourth".into()]; batch_size(turn) as usize] } else { Vec::new() },
        time_ms: 1,
    }
}

pub(super) fn put(writer: u64, expected_revision: u64, fence: Fence) -> PutState<RawState> {
    let revision = expected_revision + 1;
    PutState {
        id: id(writer),
        expected_revision,
        fence,
        batch_id: number("state", writer, revision),
        time_ms: 1,
        state: RawState { manifest: "text/1".into(), payload: state_text(writer, revision).into(), meta: None },
        tag: None,
    }
}

pub(super) fn snapshot(writer: u64, seq_nr: u64) -> RawSnapshot {
    RawSnapshot { manifest: "text-state/1".into(), payload: snapshot_text(writer, seq_nr).into(), meta: None }
}

fn number(kind: &str, writer: u64, number: u64) -> u128 {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    u128::from(hasher.finish()) << 64 | u128::from(writer) << 48 | u128::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_tells_the_turn() {
        let (mut highest, mut ends) = (0, Vec::new());
        for turn in 0..30 {
            highest += batch_size(turn);
            assert_eq!(turn_ending_with(highest), Some(turn));
            ends.push(highest);
        }
        for seq_nr in (0..=highest).filter(|seq_nr| !ends.contains(seq_nr)) {
            assert_eq!(turn_ending_with(seq_nr), None, "{seq_nr}");
        }
    }
}
