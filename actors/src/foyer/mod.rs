//! [`Foyer`]: where messages wait for an actor whose mailbox knows more than a number: bytes, which message goes when there is
//! no room, where each was sent.
//!
//! Its queue has a bound of zero then, so whoever sends in the usual way is refused there and comes here; actors without a
//! foyer pay nothing. The queue holds a token, [`Envelope::Held`], for each message here, and keeps its order with notices of
//! ends; tokens are all alike.
//!
//! Invariants, all under one lock:
//!
//! - Tokens in the queue, and those taken out of it and not shown to [`Foyer::take`] yet, are as many as entries and
//!   `surplus`. Whoever displaces a message leaves its token.
//! - Entries and room set aside never exceed the capacity (adapted messages: twice that, where the oldest does not go).
//! - `weight` is what the entries weigh and what room set aside was set aside for. It exceeds the limit only by one message
//!   that came when nothing had any weight, and by those whose weight was not known when they were let in.
//! - Only where messages are refused does anybody wait for room, in the order they came; nobody overtakes them, and who is at
//!   the front and fits is let in at once.
//!
//! No foreign code runs under the lock: messages are weighed before, and dropped after.

mod door;
mod waiting;

use std::collections::VecDeque;
use std::task::Waker;

use parking_lot::Mutex;

use self::waiting::Waiting;
use crate::block_queue::{Queue, Refusal, Room, Wake};
use crate::discard;
use crate::envelope::{Envelope, Internal, Letter};
use crate::mailbox::{Mailbox, WhenFull};
use crate::trace::{self, Origin};

type Mail<M> = Queue<Envelope<M>, Internal<M>>;

/// How much messages weigh, and how much of that may wait.
pub(crate) struct Scale<M> {
    pub(crate) limit: u64,
    pub(crate) weigh: std::sync::Arc<dyn Fn(&M) -> usize + Send + Sync>,
}

/// See the module's documentation.
pub(crate) struct Foyer<M> {
    capacity: usize,
    when_full: WhenFull,
    scale: Option<Scale<M>>,
    traced: bool,
    state: Mutex<State<M>>,
}

struct State<M> {
    entries: VecDeque<Entry<M>>,
    surplus: usize,
    /// Places set aside.
    reserved: usize,
    weight: u64,
    waiting: VecDeque<Waiting>,
    /// Number of who comes to wait next.
    next: u64,
    /// For good.
    refuses: bool,
}

/// A message that waits.
pub(crate) struct Entry<M> {
    pub(crate) letter: Letter<M>,
    /// Where it was sent, for a traced actor.
    pub(crate) origin: Option<Box<Origin>>,
    weight: u64,
}

/// What came of a message that was let in.
struct Accepted<M> {
    wake: Wake,
    /// How many wait now.
    len: usize,
    /// Those that had to go for it.
    displaced: Vec<Entry<M>>,
}

impl<M> Foyer<M> {
    /// The foyer of an actor that needs one.
    pub(crate) fn for_mailbox(mailbox: Mailbox, scale: Option<Scale<M>>, traced: bool) -> Option<Self> {
        if mailbox.when_full() == WhenFull::Refuse && scale.is_none() && !traced {
            return None;
        }
        let state = State {
            entries: VecDeque::new(),
            surplus: 0,
            reserved: 0,
            weight: 0,
            waiting: VecDeque::new(),
            next: 0,
            refuses: false,
        };
        let (capacity, when_full) = (mailbox.capacity(), mailbox.when_full());
        Some(Self { capacity, when_full, scale, traced, state: Mutex::new(state) })
    }

    /// Weighs a message and notes where it was sent, in its sender's turn.
    fn entry(&self, letter: Letter<M>) -> Entry<M> {
        let weight = match &letter.envelope {
            Envelope::Message(message) => self.weigh(message),
            Envelope::Asked(asked) => self.weigh(&asked.0),
            // What an adapter makes of it is not known before the receiver's turn.
            Envelope::Adapted(_)
            | Envelope::Streamed(_)
            | Envelope::Ended(_)
            | Envelope::Inspect(_)
            | Envelope::Held => 0,
        };
        let origin = if self.traced { trace::here().map(Box::new) } else { None };
        Entry { letter, origin, weight }
    }

    fn weigh(&self, message: &M) -> u64 {
        self.scale.as_ref().map_or(0, |scale| (scale.weigh)(message) as u64)
    }

    /// Whether there is room for a message of that weight, `None` for one that is not known yet.
    fn fits(&self, state: &State<M>, weight: Option<u64>, room: Room) -> bool {
        let adapted = room == Room::Adapted && self.when_full != WhenFull::DropOldest;
        let capacity = if adapted { self.capacity.saturating_mul(2) } else { self.capacity };
        if state.entries.len() + state.reserved >= capacity {
            return false;
        }
        match &self.scale {
            Some(scale) if !adapted && state.weight > 0 => match weight {
                Some(weight) => state.weight.saturating_add(weight) <= scale.limit,
                None => state.weight < scale.limit,
            },
            Some(_) | None => true,
        }
    }

    /// Lets a message in, or returns it.
    fn offer(&self, mail: &Mail<M>, entry: Entry<M>, room: Room) -> Result<Accepted<M>, (Refusal, Envelope<M>)> {
        let mut displaced = Vec::new();
        let mut state = self.state.lock();
        if state.refuses || mail.is_closed() {
            return Err((Refusal::Stopped, entry.letter.envelope));
        }
        let weight = Some(entry.weight);
        if self.when_full == WhenFull::DropOldest {
            while !self.fits(&state, weight, room) {
                let Some(oldest) = state.entries.pop_front() else { break };
                state.weight -= oldest.weight;
                state.surplus += 1;
                displaced.push(oldest);
            }
        } else if !self.fits(&state, weight, room) || (room == Room::Ordinary && !state.waiting.is_empty()) {
            return Err((Refusal::Full, entry.letter.envelope));
        }
        let wake = Self::push(&mut state, mail, entry).map_err(|envelope| (Refusal::Stopped, envelope))?;
        Ok(Accepted { wake, len: state.entries.len(), displaced })
    }

    fn push(state: &mut State<M>, mail: &Mail<M>, entry: Entry<M>) -> Result<Wake, Envelope<M>> {
        let weight = entry.weight;
        state.weight += weight;
        state.entries.push_back(entry);
        if state.surplus > 0 {
            state.surplus -= 1; // its token was not taken yet, so the actor is still to come here
            return Ok(Wake::No);
        }
        match mail.push(Envelope::Held, Room::Unbounded) {
            Ok(wake) => Ok(wake),
            Err(_) => {
                state.weight -= weight;
                let entry = state.entries.pop_back().expect("pushed just now, under the same lock");
                Err(entry.letter.envelope)
            }
        }
    }

    /// The message for a token; `None` when one was displaced and none came after it.
    pub(crate) fn take(&self) -> Option<Entry<M>> {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.pop_front() else {
            state.surplus = state.surplus.saturating_sub(1);
            return None;
        };
        state.weight -= entry.weight;
        let woken = self.let_in(&mut state);
        drop(state);
        wake_all(woken);
        Some(entry)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Lets nobody in from now on; what waits stays.
    pub(crate) fn shut(&self) {
        let mut state = self.state.lock();
        state.refuses = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        wake_all(waiting.into_iter().map(Waiting::into_waker));
    }

    /// Lets nobody in from now on, and returns what waits, oldest first.
    pub(crate) fn close(&self) -> VecDeque<Envelope<M>> {
        self.shut();
        let mut state = self.state.lock();
        state.surplus = 0;
        state.weight = 0;
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        entries.into_iter().map(|entry| entry.letter.envelope).collect()
    }
}

/// A waker that panics keeps nobody else asleep.
fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(|waker| discard::caught(|| waker.wake()));
}
