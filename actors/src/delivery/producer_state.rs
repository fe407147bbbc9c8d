//! The producer's half of a link: numbers, window, what is kept. Pure.
//!
//! Sending again is going back: `sent` is set to the number before, and what lies between it and the demand is sent as
//! if it were new.
//!
//! Invariants: `confirmed <= sent < next`; the messages kept are those of the numbers `next - kept.len() .. next`, and
//! nothing above `requested` is sent.

use std::collections::VecDeque;

use super::protocol::{Ack, Incarnation, Lives, Payload, Request, Resend, Seen};

pub(super) struct ProducerState<T> {
    me: Incarnation,
    consumers: Lives,
    kept: VecDeque<Kept<T>>,
    next: u64,
    sent: u64,
    confirmed: u64,
    requested: u64,
    /// The number that is marked as the first of this link and sent again until it is confirmed.
    first: u64,
    connected: bool,
    /// The consumer has answered on this link.
    linked: bool,
    /// The producer has been asked for its next message.
    asked: bool,
    support_resend: bool,
}

pub(super) struct Kept<T> {
    pub(super) payload: Payload<T>,
    pub(super) ack: bool,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { payload: self.payload.clone(), ack: self.ack }
    }
}

/// What the actor beside it carries out, in order.
pub(super) enum ProducerEffect<T> {
    Send {
        seq_nr: u64,
        first: bool,
        kept: Kept<T>,
    },
    /// Everything up to this number is confirmed; `exactly`: nothing is known of those below, some may be lost.
    Confirmed {
        up_to: u64,
        exactly: bool,
    },
    RequestNext,
}

type Effects<T> = Vec<ProducerEffect<T>>;

impl<T> ProducerState<T> {
    /// A link whose first number is `first`: 1, or more when earlier messages were confirmed in an earlier life.
    pub(super) fn new(me: Incarnation, first: u64) -> Self {
        Self {
            me,
            consumers: Lives::default(),
            kept: VecDeque::new(),
            next: first,
            sent: first - 1,
            confirmed: first - 1,
            requested: first,
            first,
            connected: false,
            linked: false,
            asked: false,
            support_resend: true,
        }
    }

    /// The number the next message gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// The first of this link is under way and not confirmed: it is to be sent again after a while.
    pub(super) fn awaits_first(&self) -> bool {
        self.connected && self.confirmed < self.first && self.sent >= self.first
    }

    /// The number of the oldest message kept.
    fn front(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    /// There is a consumer, in this life. What is not confirmed goes to it from the start.
    pub(super) fn register(&mut self, consumer: Incarnation) -> Effects<T> {
        match self.consumers.classify(consumer) {
            Seen::Current | Seen::Stale => Vec::new(),
            Seen::New => {
                self.consumers.replace_by(consumer);
                self.connect()
            }
        }
    }

    /// There is a consumer of which nothing else is known: its answers tell its life.
    pub(super) fn connect(&mut self) -> Effects<T> {
        self.connected = true;
        self.begin_link();
        self.go_on(Vec::new())
    }

    fn begin_link(&mut self) {
        self.first = self.confirmed.max(self.front().saturating_sub(1)) + 1;
        self.sent = self.first - 1;
        self.requested = self.first; // the first needs no demand
        self.linked = false;
    }

    /// Takes a message, in pieces if it was cut. Its number is that of the last piece.
    pub(super) fn push(&mut self, payloads: impl IntoIterator<Item = Payload<T>>, ack: bool) -> Effects<T> {
        for payload in payloads {
            self.kept.push_back(Kept { payload, ack });
            self.next += 1;
        }
        self.asked = false;
        self.go_on(Vec::new())
    }

    /// The producer has lost what it was asked, or was never asked: another one, or another life of it.
    pub(super) fn ask_again(&mut self) -> Effects<T> {
        self.asked = false;
        self.go_on(Vec::new())
    }

    pub(super) fn request(&mut self, request: Request) -> Effects<T> {
        if request.producer != self.me {
            return Vec::new();
        }
        let effects = self.confirm(request.confirmed, !request.support_resend);
        match self.consumers.classify(request.consumer) {
            Seen::Stale => return self.go_on(effects),
            Seen::Current => self.requested = self.requested.max(request.up_to),
            Seen::New => {
                // It was made by the first of this link; what came after that went to the life before it.
                self.consumers.replace_by(request.consumer);
                self.sent = self.sent.min(self.first).max(self.confirmed);
                self.requested = request.up_to;
            }
        }
        self.connected = true;
        self.linked = true;
        self.support_resend = request.support_resend;
        match request.silent_from {
            Some(from) if self.support_resend => self.go_back(from),
            Some(_) if request.up_to <= self.sent => {
                // All the demand was spent on messages that are lost.
                self.requested = self.sent + request.up_to.saturating_sub(request.confirmed);
            }
            _ => {}
        }
        self.go_on(effects)
    }

    pub(super) fn resend(&mut self, resend: Resend) -> Effects<T> {
        if resend.producer != self.me {
            return Vec::new();
        }
        match self.consumers.classify(resend.consumer) {
            Seen::Stale => return Vec::new(),
            Seen::Current => {}
            Seen::New => self.consumers.replace_by(resend.consumer),
        }
        self.go_back(resend.from);
        self.go_on(Vec::new())
    }

    pub(super) fn ack(&mut self, ack: Ack) -> Effects<T> {
        if ack.producer != self.me {
            return Vec::new();
        }
        let effects = self.confirm(ack.confirmed, !self.support_resend);
        self.go_on(effects)
    }

    /// The first of this link was not confirmed for a while.
    pub(super) fn resend_first(&mut self) -> Effects<T> {
        let effects = Vec::new();
        if self.awaits_first() { self.send(self.first, effects) } else { effects }
    }

    /// Sends everything from `from` on again.
    fn go_back(&mut self, from: u64) {
        if from <= self.confirmed {
            // The consumer lacks what an earlier life of it has confirmed: it learns where the link begins.
            self.begin_link();
        } else {
            self.sent = self.sent.min(from - 1);
        }
    }

    fn confirm(&mut self, up_to: u64, exactly: bool) -> Effects<T> {
        if up_to <= self.confirmed || up_to >= self.next {
            return Vec::new();
        }
        while self.front() <= up_to && self.kept.pop_front().is_some() {}
        self.confirmed = up_to;
        self.sent = self.sent.max(up_to);
        vec![ProducerEffect::Confirmed { up_to, exactly }]
    }

    /// Sends what may be sent, then asks for more if more may be sent.
    fn go_on(&mut self, mut effects: Effects<T>) -> Effects<T> {
        if !self.connected {
            return effects;
        }
        if !self.linked && self.confirmed >= self.first {
            // An earlier life of the consumer has confirmed the first of this link; the one there is now knows of none.
            self.begin_link();
        }
        while self.sent + 1 < self.next && self.sent < self.requested {
            self.sent += 1;
            effects = self.send(self.sent, effects);
        }
        if !self.support_resend {
            while self.front() <= self.sent && self.kept.pop_front().is_some() {}
        }
        if !self.asked && self.sent + 1 == self.next && self.sent < self.requested {
            self.asked = true;
            effects.push(ProducerEffect::RequestNext);
        }
        effects
    }

    fn send(&self, seq_nr: u64, mut effects: Effects<T>) -> Effects<T> {
        if let Some(kept) = seq_nr.checked_sub(self.front()).and_then(|index| self.kept.get(index as usize)) {
            effects.push(ProducerEffect::Send { seq_nr, first: seq_nr == self.first, kept: kept.clone() });
        }
        effects
    }
}
