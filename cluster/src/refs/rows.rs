//! [`Rows`]: messages of [`actors::ActorRef::send`] from one life, and how many of them are through.
//!
//! A row is what one [`Window`](super::window::Window) sends, in order. A message that finds no room in the mailbox waits here,
//! and those behind it: never more than a window, for its sender knows how many are through. Forgotten while it is idle a row
//! begins again with the next message.

use super::{frame::Numbered, window::WINDOW};
use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
};

/// Messages of one actor that wait: those of the present window, and of earlier ones to the same actor.
const WAITING_MAX: usize = 4 * WINDOW as usize;

/// Rows one life may have before those that are idle are forgotten.
const ROWS_MAX: usize = 4096;

pub(super) type AnyMessage = Box<dyn Any + Send>;

/// See the module's documentation. By the number of the actor.
#[derive(Default)]
pub(super) struct Rows {
    rows: BTreeMap<u64, Row>,
    busy: usize,
}

struct Row {
    row: u64,
    /// All up to this one are through, or lost.
    taken: u64,
    /// Of which the sender knows.
    told: u64,
    waiting: VecDeque<(Numbered, AnyMessage)>,
    /// Somebody waits for room in the mailbox with one of its messages.
    busy: bool,
}

impl Rows {
    /// How many have messages that wait.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// Whether messages to this actor wait: no other may overtake them.
    pub(super) fn is_busy(&self, id: u64) -> bool {
        self.rows.get(&id).is_some_and(|row| row.busy)
    }

    /// A message has found no room, or may not overtake. `Ok(true)`: somebody has to wait for room now, for what
    /// [`next`](Self::next) returns. It comes back if more wait than the sender may have sent.
    pub(super) fn wait(&mut self, id: u64, numbered: Numbered, message: AnyMessage) -> Result<bool, AnyMessage> {
        let row = self.row(id, numbered);
        if row.waiting.len() >= WAITING_MAX {
            return Err(message);
        }
        row.waiting.push_back((numbered, message));
        let begins = !std::mem::replace(&mut row.busy, true);
        self.busy += usize::from(begins);
        Ok(begins)
    }

    /// The next that waits; none: nobody waits any more.
    pub(super) fn next(&mut self, id: u64) -> Option<(Numbered, AnyMessage)> {
        let row = self.rows.get_mut(&id)?;
        let next = row.waiting.pop_front();
        if next.is_none() && std::mem::take(&mut row.busy) {
            self.busy -= 1;
        }
        next
    }

    /// It is through. What the sender is to be told, now and then.
    pub(super) fn taken(&mut self, id: u64, numbered: Numbered) -> Option<Numbered> {
        let row = self.row(id, numbered);
        if row.row != numbered.row {
            return None;
        }
        row.taken = row.taken.max(numbered.number);
        if row.taken - row.told < WINDOW / 2 {
            return None;
        }
        row.told = row.taken;
        Some(Numbered { row: row.row, number: row.taken })
    }

    /// All up to this one have come, or are lost: what to tell the sender.
    pub(super) fn probed(&mut self, id: u64, numbered: Numbered) -> Numbered {
        let row = self.row(id, numbered);
        if !row.busy && row.row == numbered.row {
            row.taken = row.taken.max(numbered.number);
        }
        row.told = row.taken;
        Numbered { row: row.row, number: row.taken }
    }

    /// The actor is not there any more; those that wait for it come back.
    pub(super) fn remove(&mut self, id: u64) -> Vec<AnyMessage> {
        let Some(row) = self.rows.remove(&id) else { return Vec::new() };
        self.busy -= usize::from(row.busy);
        row.waiting.into_iter().map(|(_, message)| message).collect()
    }

    fn row(&mut self, id: u64, Numbered { row, number }: Numbered) -> &mut Row {
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&id) {
            self.rows.retain(|_, row| row.busy);
        }
        let before = number.saturating_sub(1);
        let new = || Row { row, taken: before, told: before, waiting: VecDeque::new(), busy: false };
        let known = self.rows.entry(id).or_insert_with(new);
        if row > known.row {
            (known.row, known.taken, known.told) = (row, before, before);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(row: u64, number: u64) -> Numbered {
        Numbered { row, number }
    }

    fn message(n: u64) -> AnyMessage {
        Box::new(n)
    }

    fn number((_, message): (Numbered, AnyMessage)) -> u64 {
        *message.downcast().unwrap()
    }

    #[test]
    fn the_sender_hears_each_half_window_what_is_through() {
        let mut rows = Rows::default();
        let told: Vec<_> = (1..=WINDOW).filter_map(|n| rows.taken(7, at(1, n))).map(|told| told.number).collect();
        assert_eq!(told, [WINDOW / 2, WINDOW]);
    }

    #[test]
    fn what_waits_is_taken_in_order_and_nothing_overtakes_it() {
        let mut rows = Rows::default();
        assert!(!rows.is_busy(7));
        assert_eq!(rows.wait(7, at(1, 1), message(1)).ok(), Some(true), "somebody has to wait");
        assert_eq!(rows.wait(7, at(1, 2), message(2)).ok(), Some(false), "somebody does");
        assert_eq!((rows.is_busy(7), rows.is_busy(8), rows.busy()), (true, false, 1));
        assert_eq!(rows.next(7).map(number), Some(1));
        assert!(rows.is_busy(7), "the first one is not through yet");
        assert_eq!(rows.probed(7, at(1, 2)), at(1, 0), "so nothing is");
        rows.taken(7, at(1, 1));
        assert_eq!(rows.next(7).map(number), Some(2));
        rows.taken(7, at(1, 2));
        assert!(rows.next(7).is_none() && !rows.is_busy(7));
        assert_eq!(rows.probed(7, at(1, 5)), at(1, 5), "three were lost before the question");
    }

    #[test]
    fn more_than_the_sender_may_send_comes_back() {
        let mut rows = Rows::default();
        for n in 1..=WAITING_MAX as u64 {
            assert!(rows.wait(7, at(1, n), message(n)).is_ok());
        }
        assert!(rows.wait(7, at(1, 1000), message(0)).is_err());
        assert_eq!(rows.remove(7).len(), WAITING_MAX);
        assert_eq!(rows.busy(), 0);
    }

    #[test]
    fn a_later_row_to_the_same_actor_begins_anew() {
        let mut rows = Rows::default();
        assert_eq!(rows.probed(7, at(1, 9)), at(1, 9));
        assert_eq!(rows.taken(7, at(2, 1)), None);
        assert_eq!(rows.taken(7, at(1, 10)), None, "of the old one");
        assert_eq!(rows.probed(7, at(2, 1)), at(2, 1));
    }

    #[test]
    fn idle_rows_are_forgotten_when_there_are_many() {
        let mut rows = Rows::default();
        let waits = rows.wait(0, at(1, 1), message(1));
        assert_eq!(waits.ok(), Some(true));
        for id in 1..=2 * ROWS_MAX as u64 {
            rows.taken(id, at(id, 5));
        }
        assert!(rows.rows.len() <= ROWS_MAX);
        assert!(rows.is_busy(0));
    }
}
