//! Who waits for room in a foyer, and room that is set aside.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::{Entry, Foyer, Mail, State, wake_all};
use crate::block_queue::{Refusal, Room, Wake};
use crate::envelope::Envelope;
use crate::mailbox::WhenFull;

pub(super) struct Waiting {
    number: u64,
    /// `None`: not known before the message is made.
    weight: Option<u64>,
    waker: Waker,
}

impl Waiting {
    pub(super) fn into_waker(self) -> Waker {
        self.waker
    }
}

impl<M> Foyer<M> {
    /// With room made: who waits and fits, now let in and to be woken.
    pub(super) fn let_in(&self, state: &mut State<M>) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(first) = state.waiting.front()
            && self.fits(state, first.weight, Room::Ordinary)
            && let Some(first) = state.waiting.pop_front()
        {
            Self::set_aside(state, first.weight);
            woken.push(first.waker);
        }
        woken
    }

    fn set_aside(state: &mut State<M>, weight: Option<u64>) {
        state.reserved += 1;
        state.weight += weight.unwrap_or(0);
    }

    /// Sets room aside for one message whose weight is not known yet.
    pub(super) fn try_hold(&self, mail: &Mail<M>, room: Room) -> Result<Hold<'_, M>, Refusal> {
        let mut state = self.state.lock();
        if state.refuses || mail.is_closed() {
            return Err(Refusal::Stopped);
        }
        if !self.fits(&state, None, room) || (room == Room::Ordinary && !state.waiting.is_empty()) {
            return Err(Refusal::Full);
        }
        Self::set_aside(&mut state, None);
        Ok(Hold { foyer: self, weight: None })
    }

    /// Waits for room, first come first served. Dropping the future gives up the place in line, or the room.
    pub(super) fn hold(&self, weight: Option<u64>) -> Holding<'_, M> {
        debug_assert_eq!(self.when_full, WhenFull::Refuse, "nobody waits where messages are dropped");
        Holding { foyer: self, weight, place: Place::New }
    }

    /// Puts a message into room that was set aside.
    pub(super) fn fill(&self, hold: Hold<'_, M>, mail: &Mail<M>, entry: Entry<M>) -> Result<Wake, Envelope<M>> {
        let weight = hold.weight.unwrap_or(0);
        std::mem::forget(hold);
        let mut state = self.state.lock();
        state.reserved -= 1;
        state.weight -= weight;
        if state.refuses || mail.is_closed() {
            return Err(entry.letter.envelope);
        }
        Self::push(&mut state, mail, entry)
    }

    fn give_back(&self, weight: Option<u64>) {
        let mut state = self.state.lock();
        state.reserved -= 1;
        state.weight -= weight.unwrap_or(0);
        let woken = self.let_in(&mut state);
        drop(state);
        wake_all(woken);
    }
}

/// Room for one message.
#[must_use]
pub(super) struct Hold<'a, M> {
    foyer: &'a Foyer<M>,
    weight: Option<u64>,
}

impl<M> Drop for Hold<'_, M> {
    fn drop(&mut self) {
        self.foyer.give_back(self.weight);
    }
}

/// Waits for room; see [`Foyer::hold`].
#[must_use]
pub(super) struct Holding<'a, M> {
    foyer: &'a Foyer<M>,
    weight: Option<u64>,
    place: Place,
}

enum Place {
    New,
    /// In line, or let in and not told yet.
    Number(u64),
    Done,
}

impl<'a, M> Future for Holding<'a, M> {
    type Output = Result<Hold<'a, M>, ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (foyer, weight) = (self.foyer, self.weight);
        let mut waker = cx.waker().clone();
        let mut state = foyer.state.lock();
        let outcome = match self.place {
            Place::Done => Err(()),
            Place::New if state.refuses => Err(()),
            Place::New if state.waiting.is_empty() && foyer.fits(&state, weight, Room::Ordinary) => {
                Foyer::set_aside(&mut state, weight);
                Ok(())
            }
            Place::New => {
                let number = state.next;
                state.next += 1;
                state.waiting.push_back(Waiting { number, weight, waker });
                self.place = Place::Number(number);
                return Poll::Pending;
            }
            Place::Number(number) => {
                if let Some(index) = state.find(number) {
                    std::mem::swap(&mut state.waiting[index].waker, &mut waker);
                    drop(state); // the old waker goes after the lock
                    return Poll::Pending;
                }
                if state.refuses { Err(()) } else { Ok(()) }
            }
        };
        drop(state);
        self.place = Place::Done;
        Poll::Ready(outcome.map(|()| Hold { foyer, weight }))
    }
}

impl<M> Drop for Holding<'_, M> {
    fn drop(&mut self) {
        let Place::Number(number) = self.place else { return };
        let mut state = self.foyer.state.lock();
        let Some(index) = state.find(number) else {
            let refuses = state.refuses;
            drop(state);
            if !refuses {
                self.foyer.give_back(self.weight); // let in, and it did not come
            }
            return;
        };
        let left = state.waiting.remove(index);
        let woken = self.foyer.let_in(&mut state); // who stood behind it may be lighter
        drop(state);
        drop(left);
        wake_all(woken);
    }
}

impl<M> State<M> {
    fn find(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()
    }
}
