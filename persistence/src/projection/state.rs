//! What a projection does next, without I/O.
//!
//! Invariants: items are handled in the order of the feed, one piece of work at a time; the offset passes an item only
//! once it is handled or known to the store as parked, except at most once, where it passes before.

use super::{Envelope, OnFailure, ParkedEvent, ProjectionSettings, source::Page};
use crate::Offset;
use std::{
    collections::{BTreeSet, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

/// How handling and the offset go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The offset is saved some time after.
    AtLeastOnce,
    /// The offset is saved before.
    AtMostOnce,
    /// Several items at a time; the offset is saved after each group.
    Grouped,
    /// Several items share a transaction with the offset.
    ExactlyOnce,
    /// A group shares a transaction with the offset.
    ExactlyOnceGrouped,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Effect<I> {
    /// Read the page after this offset; its answer carries `turn`.
    Read { after: Offset, turn: u64 },
    /// Handle these, then tell [`State::applied`].
    Apply(Vec<Arc<I>>),
    /// Save this offset, then tell [`State::saved`].
    Save(Offset),
    /// Call [`State::save_due`] after this time.
    SaveSoon(Duration),
    /// Call [`State::group_due`] after this time.
    GroupSoon(Duration),
    /// Call [`State::retry`] after this time.
    Retry(Duration),
    /// Park this, then tell [`State::parked`].
    Park { item: Arc<I>, attempts: u32, reason: String },
    /// Set the offset to this, then tell [`State::was_reset`].
    Reset(Offset),
    /// Handle this once more, which was parked, then tell [`State::replayed`].
    Replay(Replay<I>),
    /// Give up; the supervisor decides.
    Fail(String),
}

/// A parked item that is to be tried again.
#[derive(Debug)]
pub(super) struct Replay<I> {
    pub(super) parked: ParkedEvent,
    pub(super) item: Arc<I>,
}

/// How work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// The first so many are handled.
    pub(super) done: usize,
    /// Why the next one, or the group, is not. Without a reason it just was not its turn.
    pub(super) failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    No,
    /// So many are being handled.
    Applying(usize),
    /// At most once: the offset of the first one is being saved.
    SavingFirst,
    /// The first one is tried again later.
    Waiting,
    /// The first one is being parked.
    Parking,
    Resetting,
    /// One that was parked is tried again.
    Replaying,
    /// Failed: nothing more is begun.
    Over,
}

/// A projection's memory.
pub(super) struct State<I> {
    settings: ProjectionSettings,
    delivery: Delivery,
    on_failure: OnFailure,
    /// Read and not handled, in order.
    queue: VecDeque<Arc<I>>,
    done_to: Offset,
    read_to: Offset,
    end: Offset,
    saved: Offset,
    /// Slices of which other instances have handled everything up to an offset.
    ahead: Vec<(RangeInclusive<u16>, Offset)>,
    /// Parked, though the offset saved does not say so.
    parked: BTreeSet<Offset>,
    parked_count: usize,
    busy: Busy,
    reading: bool,
    turn: u64,
    saving: bool,
    save_soon: bool,
    since_save: u64,
    group_soon: bool,
    group_due: bool,
    attempts: u32,
    /// So many of the first ones are handled alone: their group could not be.
    singles: usize,
    paused: bool,
    stopping: bool,
    /// Where to go on from, one after the other.
    resets: VecDeque<Offset>,
    replays: VecDeque<Replay<I>>,
    handled: u64,
}

impl<I: Envelope> State<I> {
    pub(super) fn new(settings: ProjectionSettings, delivery: Delivery, on_failure: OnFailure, start: Start) -> Self {
        let Start { offset, paused, ahead, parked, parked_count } = start;
        Self {
            settings,
            delivery,
            on_failure,
            queue: VecDeque::new(),
            done_to: offset,
            read_to: offset,
            end: offset,
            saved: offset,
            ahead,
            parked,
            parked_count,
            busy: Busy::No,
            reading: false,
            turn: 0,
            saving: false,
            save_soon: false,
            since_save: 0,
            group_soon: false,
            group_due: false,
            attempts: 0,
            singles: 0,
            paused,
            stopping: false,
            resets: VecDeque::new(),
            replays: VecDeque::new(),
            handled: 0,
        }
    }

    /// Everything up to here is handled or parked.
    pub(super) fn done_to(&self) -> Offset {
        self.done_to
    }

    /// The end of the store, as far as it is known.
    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// Items handled in this life.
    pub(super) fn handled(&self) -> u64 {
        self.handled
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn parked_count(&self) -> usize {
        self.parked_count
    }

    /// When the oldest item that is not handled was written, ms since 1970.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.queue.front().map(|item| item.time_ms())
    }

    /// The offset to save at the end of a life; `None` when it is saved, or a reset may have been stored that it would undo.
    pub(super) fn unsaved(&self) -> Option<Offset> {
        let is_ours_to_say = self.delivery != Delivery::AtMostOnce && self.busy != Busy::Resetting;
        (is_ours_to_say && self.done_to > self.saved).then_some(self.done_to)
    }

    /// What to do first.
    pub(super) fn start(&mut self) -> Vec<Effect<I>> {
        self.next()
    }

    /// Whether what was asked for in this turn is still of use: a reset makes what was read before useless.
    pub(super) fn is_current(&self, turn: u64) -> bool {
        turn == self.turn
    }

    /// A page was read; one that was asked for before a reset is of no use any more.
    pub(super) fn page(&mut self, turn: u64, page: Page<I>) -> Vec<Effect<I>> {
        if !self.is_current(turn) {
            return Vec::new();
        }
        self.reading = false;
        self.read_to = page.read_to;
        self.end = self.end.max(page.end);
        let wanted =
            page.items.into_iter().filter(|item| !self.is_ahead(item) && !self.parked.contains(&item.offset()));
        let wanted: Vec<_> = wanted.map(Arc::new).collect();
        self.queue.extend(wanted);
        self.note_progress(self.done_to);
        self.next()
    }

    /// No page could be read; it is asked for again.
    pub(super) fn read_again(&mut self, turn: u64) -> Vec<Effect<I>> {
        if self.is_current(turn) {
            self.reading = false;
        }
        self.next()
    }

    /// Work has ended.
    pub(super) fn applied(&mut self, applied: Applied) -> Vec<Effect<I>> {
        let Busy::Applying(count) = self.busy else { return Vec::new() };
        self.busy = Busy::No;
        let done = applied.done.min(count);
        for _ in 0..done {
            self.pop();
        }
        self.handled += done as u64;
        self.singles = self.singles.saturating_sub(done);
        if matches!(self.delivery, Delivery::ExactlyOnce | Delivery::ExactlyOnceGrouped) && done > 0 {
            self.saved = self.saved.max(self.done_to);
            self.since_save = 0;
            self.note_progress(self.done_to);
        }
        match applied.failure {
            Some(reason) => self.failed(count - done, reason),
            None => self.next(),
        }
    }

    /// The first item, or the group of so many, could not be handled.
    fn failed(&mut self, count: usize, reason: String) -> Vec<Effect<I>> {
        let OnFailure { attempts, delay, park } = self.on_failure;
        self.attempts += 1;
        // At most once: the offset is past it, and it is not tried again.
        let attempts = if self.delivery == Delivery::AtMostOnce { 1 } else { attempts };
        if self.attempts < attempts {
            self.busy = Busy::Waiting;
            return self.with(Effect::Retry(delay));
        }
        let grouped = matches!(self.delivery, Delivery::Grouped | Delivery::ExactlyOnceGrouped);
        if park && grouped && count > 1 && self.singles == 0 {
            // One of them is bad; find out which.
            self.singles = count;
            self.attempts = 0;
            return self.next();
        }
        let Some(item) = self.queue.front().cloned() else { return self.next() };
        if park && self.parked_count < self.settings.parked_max {
            self.busy = Busy::Parking;
            let attempts = self.attempts;
            return self.with(Effect::Park { item, attempts, reason });
        }
        self.busy = Busy::Over;
        let id = item.id();
        let place = format!("{id} number {} at offset {}", item.number(), item.offset());
        let parked =
            if park { format!("; {} items are parked, replay or drop some", self.parked_count) } else { String::new() };
        vec![Effect::Fail(format!("{place}: {reason}{parked}"))]
    }

    /// It is time to try again.
    pub(super) fn retry(&mut self) -> Vec<Effect<I>> {
        if self.busy == Busy::Waiting {
            self.busy = Busy::No;
        }
        self.next()
    }

    /// The first item was parked, or could not be.
    pub(super) fn parked(&mut self, stored: bool) -> Vec<Effect<I>> {
        if self.busy != Busy::Parking {
            return Vec::new();
        }
        if !stored {
            self.busy = Busy::Waiting;
            self.attempts = self.attempts.saturating_sub(1); // the same attempt once more
            return self.with(Effect::Retry(self.on_failure.delay));
        }
        self.busy = Busy::No;
        self.parked_count += 1;
        self.singles = self.singles.saturating_sub(1);
        self.pop();
        // At once, so that few items are parked and not passed when the process ends.
        self.since_save = self.since_save.max(self.settings.save_every);
        self.next()
    }

    /// So many are parked, as the store says.
    pub(super) fn set_parked_count(&mut self, count: usize) {
        self.parked_count = count;
    }

    /// These were parked and are to be tried again, between the others.
    pub(super) fn replay(&mut self, replays: Vec<Replay<I>>) -> Vec<Effect<I>> {
        for replay in replays {
            if self.replays.iter().all(|known| known.parked.offset != replay.parked.offset) {
                self.replays.push_back(replay);
            }
        }
        self.next()
    }

    /// Whether some wait for another try.
    pub(super) fn is_replaying(&self) -> bool {
        self.busy == Busy::Replaying || !self.replays.is_empty()
    }

    /// One that was parked was handled, or failed once more.
    pub(super) fn replayed(&mut self, handled: bool) -> Vec<Effect<I>> {
        if self.busy == Busy::Replaying {
            self.busy = Busy::No;
            self.parked_count -= usize::from(handled && self.parked_count > 0);
        }
        self.next()
    }

    /// An offset was saved, or not.
    pub(super) fn saved(&mut self, offset: Offset, stored: bool) -> Vec<Effect<I>> {
        self.saving = false;
        if stored {
            self.saved = self.saved.max(offset);
        }
        if self.busy == Busy::SavingFirst {
            if !stored {
                self.busy = Busy::Waiting;
                return self.with(Effect::Retry(self.on_failure.delay));
            }
            let Some(item) = self.queue.front().cloned() else { return self.next() };
            self.busy = Busy::Applying(1);
            return self.with(Effect::Apply(vec![item]));
        }
        if !stored {
            // Not again at once: the store has just refused.
            self.since_save = 0;
        }
        self.next()
    }

    /// The time to save has come.
    pub(super) fn save_due(&mut self) -> Vec<Effect<I>> {
        self.save_soon = false;
        self.since_save = self.settings.save_every;
        self.next()
    }

    /// The time to wait for others is over.
    pub(super) fn group_due(&mut self) -> Vec<Effect<I>> {
        self.group_soon = false;
        self.group_due = true;
        self.next()
    }

    /// Begins nothing more, or goes on.
    pub(super) fn set_paused(&mut self, paused: bool) -> Vec<Effect<I>> {
        self.paused = paused;
        self.next()
    }

    /// Begins nothing more, for good.
    pub(super) fn stop(&mut self) -> Vec<Effect<I>> {
        self.stopping = true;
        self.next()
    }

    /// Whether nothing is under way that a stop should wait for. An offset that is being saved is saved at the end too.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.busy, Busy::No | Busy::Waiting | Busy::Over) && self.resets.is_empty()
    }

    /// Goes on from there, once what is under way and all earlier resets have ended.
    pub(super) fn reset(&mut self, offset: Offset) -> Vec<Effect<I>> {
        self.resets.push_back(offset);
        if self.busy == Busy::Waiting {
            self.busy = Busy::No;
        }
        self.next()
    }

    /// The store has the new offset, and no item behind it is parked any more; or nothing is changed.
    pub(super) fn was_reset(&mut self, offset: Offset, stored: bool) -> Vec<Effect<I>> {
        self.busy = Busy::No;
        self.resets.pop_front();
        if !stored {
            return self.next();
        }
        self.turn += 1;
        self.reading = false;
        self.queue.clear();
        self.ahead.clear(); // what others did before is to be done again
        self.parked.clear();
        self.replays.clear(); // the next look finds those that are still parked
        (self.done_to, self.read_to, self.saved) = (offset, offset, offset);
        (self.attempts, self.singles, self.since_save) = (0, 0, 0);
        self.next()
    }

    fn is_ahead(&self, item: &I) -> bool {
        let slice = item.id().slice();
        self.ahead.iter().any(|(slices, offset)| slices.contains(&slice) && item.offset() <= *offset)
    }

    fn pop(&mut self) {
        let Some(item) = self.queue.pop_front() else { return };
        self.attempts = 0;
        self.since_save += 1;
        self.note_progress(item.offset());
    }

    /// Everything up to `offset` is done; all that was read, if nothing is left of it.
    fn note_progress(&mut self, offset: Offset) {
        self.done_to = self.done_to.max(if self.queue.is_empty() { self.read_to } else { offset });
    }

    fn with(&mut self, effect: Effect<I>) -> Vec<Effect<I>> {
        let mut effects = vec![effect];
        effects.extend(self.next());
        effects
    }

    /// What can be begun now.
    fn next(&mut self) -> Vec<Effect<I>> {
        let mut effects = Vec::new();
        if self.busy == Busy::Over {
            return effects;
        }
        if let Some(offset) = self.resets.front().copied() {
            if self.busy == Busy::No && !self.saving {
                self.busy = Busy::Resetting;
                effects.push(Effect::Reset(offset));
            }
            return effects;
        }
        let waits = self.paused || self.stopping;
        if self.busy == Busy::No && !waits {
            effects.extend(self.begin());
        }
        if !self.reading && !waits && self.queue.len() <= self.settings.read_ahead / 2 {
            self.reading = true;
            effects.push(Effect::Read { after: self.read_to, turn: self.turn });
        }
        effects.extend(self.save());
        effects
    }

    fn begin(&mut self) -> Option<Effect<I>> {
        if let Some(replay) = self.replays.pop_front() {
            self.busy = Busy::Replaying;
            return Some(Effect::Replay(replay));
        }
        let first = self.queue.front()?;
        let waiting = self.queue.len();
        let ProjectionSettings { group_max, group_within, transaction_max, save_every, .. } = self.settings;
        let count = match self.delivery {
            Delivery::AtMostOnce if self.saved < first.offset() => {
                if self.saving {
                    return None;
                }
                self.busy = Busy::SavingFirst;
                self.saving = true;
                return Some(Effect::Save(first.offset()));
            }
            Delivery::AtMostOnce => 1,
            Delivery::AtLeastOnce => save_every.min(self.settings.read_ahead as u64) as usize,
            Delivery::ExactlyOnce => transaction_max,
            Delivery::Grouped | Delivery::ExactlyOnceGrouped if self.singles > 0 => 1,
            Delivery::Grouped | Delivery::ExactlyOnceGrouped => {
                if waiting < group_max && !self.group_due {
                    if self.group_soon {
                        return None;
                    }
                    self.group_soon = true;
                    return Some(Effect::GroupSoon(group_within));
                }
                self.group_due = false;
                group_max
            }
        };
        let count = count.min(waiting);
        self.busy = Busy::Applying(count);
        Some(Effect::Apply(self.queue.iter().take(count).cloned().collect()))
    }

    fn save(&mut self) -> Option<Effect<I>> {
        if self.saving || self.done_to <= self.saved {
            return None;
        }
        // At most once an item's own offset goes first; only what lies behind all items is saved here.
        if self.delivery == Delivery::AtMostOnce && (self.busy != Busy::No || !self.queue.is_empty()) {
            return None;
        }
        let due = match self.delivery {
            Delivery::Grouped => self.since_save > 0,
            _ => self.since_save >= self.settings.save_every,
        };
        if due {
            self.saving = true;
            self.since_save = 0;
            return Some(Effect::Save(self.done_to));
        }
        if self.save_soon {
            return None;
        }
        self.save_soon = true;
        Some(Effect::SaveSoon(self.settings.save_within))
    }
}

/// What is known when a life begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    pub(super) offset: Offset,
    pub(super) paused: bool,
    pub(super) ahead: Vec<(RangeInclusive<u16>, Offset)>,
    pub(super) parked: BTreeSet<Offset>,
    pub(super) parked_count: usize,
}
