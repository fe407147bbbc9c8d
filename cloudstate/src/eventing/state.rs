//! What a consumer does next, without I/O: order within an entity, parallelism across entities, retries, and how far
//! the offset may advance.
//!
//! Invariants: of the events of one entity at most one is being delivered, and the next only when that is done or
//! parked; the offset passes an event only once it is done, or known to the store as parked.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use persistence::{FeedEvent, FeedPage, Offset, PersistenceId, RawEvent};

/// Bounds and delays.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Events delivered at once.
    pub parallelism: usize,
    /// Attempts before an event is parked.
    pub attempts_max: u32,
    /// First delay between attempts; each further one is twice as long.
    pub backoff_min: Duration,
    /// Longest delay.
    pub backoff_max: Duration,
    /// Events parked at most.
    pub parked_max: usize,
    /// Events read ahead at most.
    pub read_ahead: usize,
    /// Events done after which the offset is saved without waiting for the timer.
    pub save_every: u64,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Trying again may help.
    Failed(String),
    /// Trying again cannot help: the event is parked at once.
    Hopeless(String),
    /// The attempt was not made. Nobody is to blame, and it does not count.
    NotMade,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Read the next page.
    Read,
    /// Deliver this event.
    Deliver(Arc<FeedEvent<RawEvent>>),
    /// Tell [`State::retry`] after this time.
    Retry { offset: Offset, after: Duration },
    /// Park the event.
    Park { event: Arc<FeedEvent<RawEvent>>, attempts: u32, reason: String },
    /// The event was parked, and is handled now.
    Unpark { offset: Offset },
    /// Save this offset.
    Save { offset: Offset },
    /// See that [`State::save`] is called within a second.
    SaveSoon,
    /// There are as many parked events as there may be.
    ParkedFull { offset: Offset },
}

struct Item {
    event: Arc<FeedEvent<RawEvent>>,
    attempts: u32,
    /// It was parked before, so often tried.
    replayed_after: Option<u32>,
    reason: String,
}

/// A consumer's memory.
pub(super) struct State {
    settings: ConsumerSettings,
    items: HashMap<Offset, Item>,
    /// Per entity, what is read and not done, in order; the first one is being dealt with.
    lanes: HashMap<PersistenceId, VecDeque<Offset>>,
    /// Entities whose first event waits for its turn.
    ready: VecDeque<PersistenceId>,
    delivering: usize,
    /// Read and not done, replayed ones apart; each with the place before it.
    pending: BTreeMap<Offset, Offset>,
    parked: BTreeSet<Offset>,
    read_to: Offset,
    end: Offset,
    saved: Offset,
    saving: bool,
    save_soon: bool,
    since_save: u64,
    reading: bool,
    paused: bool,
    stopping: bool,
}

impl State {
    /// A consumer that starts after `offset`, with events parked earlier.
    pub(super) fn new(settings: ConsumerSettings, offset: Offset, parked: impl IntoIterator<Item = Offset>) -> Self {
        Self {
            settings,
            items: HashMap::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            delivering: 0,
            pending: BTreeMap::new(),
            parked: parked.into_iter().collect(),
            read_to: offset,
            end: offset,
            saved: offset,
            saving: false,
            save_soon: false,
            since_save: 0,
            reading: false,
            paused: false,
            stopping: false,
        }
    }

    /// Everything up to here is done or parked.
    pub(super) fn done_to(&self) -> Offset {
        self.pending.first_key_value().map_or(self.read_to, |(_, before)| *before)
    }

    /// How far behind the store's end that is, in events of any type.
    pub(super) fn behind(&self) -> u64 {
        self.end.ordering().saturating_sub(self.done_to().ordering())
    }

    /// When the oldest event that is not done was written, ms since 1970.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.pending
            .first_key_value()
            .and_then(|(offset, _)| self.items.get(offset))
            .map(|item| item.event.stored.time_ms)
    }

    /// Events parked.
    pub(super) fn parked_len(&self) -> usize {
        self.parked.len()
    }

    /// Whether nothing is being delivered.
    pub(super) fn is_idle(&self) -> bool {
        self.delivering == 0
    }

    /// Whether an offset is being saved.
    pub(super) fn is_saving(&self) -> bool {
        self.saving
    }

    /// Parked events that are being tried again.
    pub(super) fn replaying(&self) -> usize {
        self.items.values().filter(|item| item.replayed_after.is_some()).count()
    }

    /// What to do first; nothing, if it is paused.
    pub(super) fn start(&mut self, paused: bool) -> Vec<Effect> {
        self.set_paused(paused)
    }

    /// No further event is delivered.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// From now on nothing more is read or delivered, until told otherwise. What is under way is finished.
    pub(super) fn set_paused(&mut self, paused: bool) -> Vec<Effect> {
        self.paused = paused;
        self.next()
    }

    /// Whether it waits to be told to go on.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// A page was read.
    pub(super) fn page(&mut self, page: FeedPage<RawEvent>) -> Vec<Effect> {
        self.reading = false;
        let mut before = std::mem::replace(&mut self.read_to, page.read_to);
        self.end = self.end.max(page.end);
        for event in page.events {
            let before = std::mem::replace(&mut before, event.offset);
            // Parked before the offset that passes it was saved.
            if !self.parked.contains(&event.offset) {
                self.pending.insert(event.offset, before);
                self.enqueue(Arc::new(event), None);
            }
        }
        self.next()
    }

    /// No page could be read; ask for it again by and by.
    pub(super) fn read_again(&mut self) -> Vec<Effect> {
        self.reading = false;
        self.next()
    }

    /// These events were parked after so many attempts and are to be tried again.
    pub(super) fn replay(&mut self, events: Vec<(FeedEvent<RawEvent>, u32)>) -> Vec<Effect> {
        for (event, attempts) in events {
            if !self.items.contains_key(&event.offset) {
                self.enqueue(Arc::new(event), Some(attempts));
            }
        }
        self.next()
    }

    /// Which events are parked, after somebody else has dropped some.
    pub(super) fn parked_now(&mut self, parked: impl IntoIterator<Item = Offset>) {
        self.parked = parked.into_iter().collect();
    }

    /// An event was delivered.
    pub(super) fn delivered(&mut self, offset: Offset, result: Result<(), Failure>) -> Vec<Effect> {
        self.delivering -= 1;
        let Some(item) = self.items.get_mut(&offset) else { return self.next() };
        let mut effects = Vec::new();
        match result {
            Ok(()) => {
                if item.replayed_after.is_some() {
                    self.parked.remove(&offset);
                    effects.push(Effect::Unpark { offset });
                }
                self.finish(offset);
            }
            Err(Failure::NotMade) => {
                let id = item.event.id.clone();
                self.ready.push_front(id);
            }
            Err(Failure::Failed(reason)) => {
                item.attempts += 1;
                item.reason = reason;
                effects.extend(self.after_failure(offset, false));
            }
            Err(Failure::Hopeless(reason)) => {
                item.attempts += 1;
                item.reason = reason;
                effects.extend(self.after_failure(offset, true));
            }
        }
        effects.extend(self.next());
        effects
    }

    /// It is time to try an event again.
    pub(super) fn retry(&mut self, offset: Offset) -> Vec<Effect> {
        if let Some(item) = self.items.get(&offset) {
            self.ready.push_back(item.event.id.clone());
        }
        self.next()
    }

    /// An event was parked, or could not be.
    pub(super) fn parked(&mut self, offset: Offset, stored: bool) -> Vec<Effect> {
        if !stored {
            return vec![Effect::Retry { offset, after: self.settings.backoff_max }];
        }
        self.parked.insert(offset);
        self.finish(offset);
        self.next()
    }

    /// An event that was parked before could not be looked up, and is parked still. Nothing was delivered.
    pub(super) fn parked_again(&mut self, offset: Offset) {
        self.parked.insert(offset);
    }

    /// The offset to save now, if it has moved.
    pub(super) fn save(&mut self) -> Option<Offset> {
        self.save_soon = false;
        let offset = self.done_to();
        if self.saving || offset <= self.saved {
            return None;
        }
        self.saving = true;
        self.since_save = 0;
        Some(offset)
    }

    /// An offset was saved, or not.
    pub(super) fn saved(&mut self, offset: Offset, stored: bool) -> Vec<Effect> {
        self.saving = false;
        if stored {
            self.saved = self.saved.max(offset);
        }
        self.next()
    }

    fn enqueue(&mut self, event: Arc<FeedEvent<RawEvent>>, replayed_after: Option<u32>) {
        let (offset, id) = (event.offset, event.id.clone());
        let lane = self.lanes.entry(id.clone()).or_default();
        lane.push_back(offset);
        if lane.len() == 1 {
            self.ready.push_back(id);
        }
        self.items.insert(offset, Item { event, attempts: 0, replayed_after, reason: String::new() });
    }

    fn after_failure(&mut self, offset: Offset, hopeless: bool) -> Option<Effect> {
        let ConsumerSettings { attempts_max, backoff_min, backoff_max, parked_max, .. } = self.settings;
        let item = self.items.get(&offset)?;
        if item.replayed_after.is_some() && !self.parked.contains(&offset) {
            self.finish(offset); // dropped meanwhile: nobody wants it any more
            return None;
        }
        if !hopeless && item.attempts < attempts_max {
            let factor = 1_u32.checked_shl(item.attempts - 1).unwrap_or(u32::MAX);
            return Some(Effect::Retry { offset, after: backoff_min.saturating_mul(factor).min(backoff_max) });
        }
        if item.replayed_after.is_none() && self.parked.len() >= parked_max {
            return Some(Effect::ParkedFull { offset });
        }
        let attempts = item.attempts.saturating_add(item.replayed_after.unwrap_or(0));
        Some(Effect::Park { event: item.event.clone(), attempts, reason: item.reason.clone() })
    }

    /// An event leaves its lane; if it was the first there, the next one of its entity takes its turn.
    fn finish(&mut self, offset: Offset) {
        let Some(item) = self.items.remove(&offset) else { return };
        if self.pending.remove(&offset).is_some() {
            self.since_save += 1;
        }
        let id = &item.event.id;
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let Some(place) = lane.iter().position(|other| *other == offset) else { return };
        lane.remove(place);
        if lane.is_empty() {
            self.lanes.remove(id);
        } else if place == 0 {
            self.ready.push_back(id.clone());
        }
    }

    fn next(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.stopping {
            return effects;
        }
        while !self.paused
            && self.delivering < self.settings.parallelism
            && let Some(id) = self.ready.pop_front()
        {
            let first = self.lanes.get(&id).and_then(|lane| lane.front()).and_then(|offset| self.items.get(offset));
            if let Some(item) = first {
                self.delivering += 1;
                effects.push(Effect::Deliver(item.event.clone()));
            }
        }
        if !self.reading && !self.paused && self.items.len() <= self.settings.read_ahead / 2 {
            self.reading = true;
            effects.push(Effect::Read);
        }
        if !self.saving && self.done_to() > self.saved {
            if self.since_save >= self.settings.save_every {
                effects.extend(self.save().map(|offset| Effect::Save { offset }));
            } else if !self.save_soon {
                self.save_soon = true;
                effects.push(Effect::SaveSoon);
            }
        }
        effects
    }
}
