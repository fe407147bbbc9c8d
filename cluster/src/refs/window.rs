//! [`Window`]: how many messages of [`actors::ActorRef::send`] are on their way to one actor elsewhere.
//!
//! The other node takes so many beyond its actor's mailbox, and says when they are through. What is lost on the way is found
//! by a question behind it.

use super::frame::Numbered;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// Messages that are on their way to one actor at a time.
pub(super) const WINDOW: u64 = 16;

/// How many messages are on their way, and who waits for room. Cheap to clone.
#[derive(Clone)]
pub(super) struct Window {
    row: u64,
    state: Arc<Mutex<State>>,
}

struct State {
    sent: u64,
    /// Of those sent.
    taken: u64,
    /// Room that somebody has and has not used yet.
    reserved: u64,
    waiting: VecDeque<(u64, Waker)>,
    next: u64,
    closed: bool,
    /// Somebody asks now and then how much is through, until nobody waits.
    starving: bool,
}

impl State {
    fn room(&self) -> u64 {
        WINDOW.saturating_sub(self.sent - self.taken + self.reserved)
    }

    /// Those for whom there is room now.
    fn to_wake(&self) -> Vec<Waker> {
        let room = if self.closed { usize::MAX } else { self.room() as usize };
        self.waiting.iter().take(room).map(|(_, waker)| waker.clone()).collect()
    }
}

impl Window {
    /// `row` tells its messages from those of an earlier window to the same actor.
    pub(super) fn new(row: u64) -> Self {
        let waiting = VecDeque::new();
        let state = State { sent: 0, taken: 0, reserved: 0, waiting, next: 0, closed: false, starving: false };
        Self { row, state: Arc::new(Mutex::new(state)) }
    }

    /// Which window it is.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// All up to this one were taken, or lost.
    pub(super) fn granted(&self, Numbered { row, number }: Numbered) {
        let wake = {
            let mut state = self.state.lock();
            if self.row != row || number > state.sent || number <= state.taken {
                return;
            }
            state.taken = number;
            state.to_wake()
        };
        wake.into_iter().for_each(Waker::wake);
    }

    /// It was not sent after all.
    pub(super) fn give_back(&self, Numbered { number, .. }: Numbered) {
        self.update(|state| {
            if state.sent == number {
                state.sent -= 1;
            }
        });
    }

    /// Nothing goes there any more.
    pub(super) fn close(&self) {
        let wake = {
            let mut state = self.state.lock();
            state.closed = true;
            state.to_wake()
        };
        wake.into_iter().for_each(Waker::wake);
    }

    /// The last message sent, if somebody waits for room.
    pub(super) fn starving(&self) -> Option<Numbered> {
        let mut state = self.state.lock();
        state.starving = !state.waiting.is_empty() && !state.closed;
        state.starving.then_some(Numbered { row: self.row, number: state.sent })
    }

    /// Whether somebody is to ask from now on how much is through.
    pub(super) fn begins_to_starve(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().starving, true)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let wake = {
            let mut state = self.state.lock();
            change(&mut state);
            state.to_wake()
        };
        wake.into_iter().for_each(Waker::wake);
    }
}

/// Room for one message.
pub(super) struct Place(Window, bool);

impl Place {
    /// It is used for a message that is sent now.
    pub(super) fn take(mut self) -> Numbered {
        self.1 = true;
        let mut state = self.0.state.lock();
        state.reserved -= 1;
        state.sent += 1;
        Numbered { row: self.0.row, number: state.sent }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.1 {
            self.0.update(|state| state.reserved -= 1);
        }
    }
}

/// The wait for a [`Place`], first come first served.
pub(super) struct Reserve<F> {
    window: Window,
    waits: Option<F>,
    ticket: Option<u64>,
}

impl<F: FnOnce() + Unpin> Reserve<F> {
    /// Calls `waits` when there is no room at once.
    pub(super) fn new(window: &Window, waits: F) -> Self {
        Self { window: window.clone(), waits: Some(waits), ticket: None }
    }
}

/// The window is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl<F: FnOnce() + Unpin> Future for Reserve<F> {
    type Output = Result<Place, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let waker = cx.waker().clone(); // outside the lock, as all wakers
        let mut before = None;
        let outcome = {
            let mut state = this.window.state.lock();
            let ahead = match this.ticket {
                Some(ticket) => state.waiting.iter().position(|(waiting, _)| *waiting == ticket),
                None => None,
            };
            let place = ahead.unwrap_or(state.waiting.len());
            if state.closed {
                Some(Err(Closed))
            } else if (place as u64) < state.room() {
                state.reserved += 1;
                let ticket = this.ticket.take();
                if ticket.is_some() && ahead.is_some() {
                    before = state.waiting.remove(place).map(|(_, waker)| waker);
                }
                Some(Ok(()))
            } else {
                match ahead {
                    Some(place) => before = Some(std::mem::replace(&mut state.waiting[place].1, waker)),
                    None => {
                        state.next += 1;
                        let ticket = state.next;
                        this.ticket = Some(ticket);
                        state.waiting.push_back((ticket, waker));
                    }
                }
                None
            }
        };
        drop(before);
        match outcome {
            Some(outcome) => Poll::Ready(outcome.map(|()| Place(this.window.clone(), false))),
            None => {
                if let Some(waits) = this.waits.take() {
                    waits();
                }
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Reserve<F> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut left = None;
        self.window.update(|state| {
            let place = state.waiting.iter().position(|(waiting, _)| *waiting == ticket);
            left = place.and_then(|place| state.waiting.remove(place));
        });
        drop(left); // outside the lock
    }
}
