//! The consumer's half of a link: what is expected, what waits, how much may come. Pure.
//!
//! `A` is the address of a producer; only the actor beside it makes use of it.
//!
//! Invariants: `confirmed <= received <= requested` while messages are asked for again; `ready` and what is delivered
//! are the messages of the numbers `confirmed + 1 ..= received`, except for a last one that is not complete.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::chunk::{Assembly, ChunkError, Chunking};
use super::protocol::{Ack, Incarnation, Lives, Payload, Request, Resend, Seen};
use super::settings::ConsumerSettings;

pub(super) struct ConsumerState<T, A> {
    me: Incarnation,
    settings: ConsumerSettings,
    chunking: Option<Chunking<T>>,
    producers: Lives,
    link: Option<Link<A>>,
    received: u64,
    confirmed: u64,
    requested: u64,
    assembly: Assembly,
    ready: VecDeque<Ready<T>>,
    delivered: Option<(Link<A>, Ready<T>)>,
    started: bool,
    /// Something is missing and was asked for.
    resending: bool,
    /// A producer nobody knows was asked for a message marked as the first.
    asked_who: Option<Incarnation>,
    progressed: bool,
    retry_delay: Duration,
}

/// With whom.
#[derive(Clone)]
pub(super) struct Link<A> {
    pub(super) incarnation: Incarnation,
    pub(super) producer_id: Arc<str>,
    pub(super) address: A,
    first: u64,
}

struct Ready<T> {
    seq_nr: u64,
    ack: bool,
    message: Arc<T>,
}

/// What came.
pub(super) struct Arrival<T, A> {
    pub(super) producer_id: Arc<str>,
    pub(super) incarnation: Incarnation,
    pub(super) seq_nr: u64,
    pub(super) first: bool,
    pub(super) ack: bool,
    pub(super) payload: Payload<T>,
    pub(super) address: A,
}

/// What the actor beside it carries out, in order.
pub(super) enum ConsumerEffect<T, A> {
    Request { to: A, request: Request },
    Resend { to: A, resend: Resend },
    Ack { to: A, ack: Ack },
    Deliver { producer_id: Arc<str>, incarnation: Incarnation, seq_nr: u64, message: Arc<T> },
    RetryAfter(Duration),
}

type Effects<T, A> = Vec<ConsumerEffect<T, A>>;

impl<T, A: Clone> ConsumerState<T, A> {
    pub(super) fn new(me: Incarnation, settings: ConsumerSettings, chunking: Option<Chunking<T>>) -> Self {
        Self {
            me,
            retry_delay: settings.resend_interval_min,
            settings,
            chunking,
            producers: Lives::default(),
            link: None,
            received: 0,
            confirmed: 0,
            requested: 0,
            assembly: Assembly::default(),
            ready: VecDeque::new(),
            delivered: None,
            started: false,
            resending: false,
            asked_who: None,
            progressed: false,
        }
    }

    pub(super) fn me(&self) -> Incarnation {
        self.me
    }

    pub(super) fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// Nothing waits for the consumer or is being handled by it.
    pub(super) fn is_idle(&self) -> bool {
        self.delivered.is_none() && self.ready.is_empty()
    }

    /// The consumer is there, or there again: what it has not confirmed is delivered once more.
    pub(super) fn start(&mut self) -> Effects<T, A> {
        self.started = true;
        match &self.delivered {
            Some((link, ready)) => vec![deliver(link, ready)],
            None => self.deliver_next(Vec::new()),
        }
    }

    /// The consumer has finished with what was delivered.
    pub(super) fn confirmed(&mut self, producer: Incarnation, seq_nr: u64) -> Effects<T, A> {
        let Some((link, ready)) =
            self.delivered.take_if(|(link, ready)| link.incarnation == producer && ready.seq_nr == seq_nr)
        else {
            return Vec::new(); // confirmed already: delivered twice, to two lives of the consumer
        };
        let mut effects = Vec::new();
        let ack = Ack { producer, confirmed: seq_nr };
        if self.producers.current() == Some(producer) {
            // Confirming the first of a link ends its being sent again.
            let begins = self.link.as_ref().is_some_and(|link| self.confirmed < link.first);
            self.confirmed = self.confirmed.max(seq_nr);
            let asked = self.grant(begins, None, &mut effects);
            if ready.ack && (!asked || self.settings.only_flow_control) {
                effects.push(ConsumerEffect::Ack { to: link.address, ack });
            }
        } else {
            effects.push(ConsumerEffect::Ack { to: link.address, ack });
        }
        self.deliver_next(effects)
    }

    pub(super) fn arrived(&mut self, arrival: Arrival<T, A>) -> Result<Effects<T, A>, ChunkError> {
        let mut effects = Vec::new();
        match self.producers.classify(arrival.incarnation) {
            Seen::Stale => return Ok(effects),
            Seen::New if !arrival.first && !self.settings.only_flow_control => {
                if self.asked_who != Some(arrival.incarnation) {
                    self.asked_who = Some(arrival.incarnation);
                    let resend = Resend { producer: arrival.incarnation, consumer: self.me, from: 0 };
                    effects.push(ConsumerEffect::Resend { to: arrival.address, resend });
                }
                return Ok(effects);
            }
            Seen::New => self.begin_link(&arrival, &mut effects),
            Seen::Current => {}
        }
        let expected = self.received + 1;
        if arrival.seq_nr < expected {
            if arrival.first {
                self.grant(true, None, &mut effects); // the answer to it was lost
            }
            return Ok(effects);
        }
        if arrival.seq_nr > expected {
            if arrival.first {
                self.jump_to(arrival.seq_nr); // an earlier life has confirmed what lies between
            } else if self.settings.only_flow_control {
                self.assembly.clear();
            } else {
                if !std::mem::replace(&mut self.resending, true) {
                    self.ask_for_missing(&mut effects);
                }
                return Ok(effects);
            }
        }
        self.accept(arrival, &mut effects)?;
        Ok(self.deliver_next(effects))
    }

    /// Nothing was heard for [`RetryAfter`](ConsumerEffect::RetryAfter).
    pub(super) fn retry(&mut self) -> Effects<T, A> {
        let mut effects = Vec::new();
        self.asked_who = None;
        let progressed = std::mem::take(&mut self.progressed);
        self.retry_delay = if progressed || !self.is_idle() {
            self.settings.resend_interval_min
        } else {
            (self.retry_delay * 2).min(self.settings.resend_interval_max)
        };
        if self.resending {
            self.ask_for_missing(&mut effects);
        }
        if !progressed && self.is_idle() {
            self.grant(true, Some(self.received + 1), &mut effects);
        }
        effects.push(ConsumerEffect::RetryAfter(self.retry_delay));
        effects
    }

    fn begin_link(&mut self, arrival: &Arrival<T, A>, effects: &mut Effects<T, A>) {
        self.producers.replace_by(arrival.incarnation);
        self.link = Some(Link {
            incarnation: arrival.incarnation,
            producer_id: arrival.producer_id.clone(),
            address: arrival.address.clone(),
            first: arrival.seq_nr,
        });
        self.requested = 0;
        self.asked_who = None;
        self.jump_to(arrival.seq_nr);
        self.grant(true, None, effects);
    }

    /// What waits is confirmed already, or belongs to a life of the producer that is over.
    fn jump_to(&mut self, seq_nr: u64) {
        self.ready.clear();
        self.assembly.clear();
        self.received = seq_nr - 1;
        self.confirmed = seq_nr - 1;
        if let Some(link) = &mut self.link {
            link.first = seq_nr;
        }
    }

    fn accept(&mut self, arrival: Arrival<T, A>, effects: &mut Effects<T, A>) -> Result<(), ChunkError> {
        if self.ready.len() >= self.settings.window.get() as usize {
            return Ok(()); // nobody granted that; it counts as lost
        }
        self.received = arrival.seq_nr;
        self.resending = false;
        self.progressed = true;
        if self.retry_delay > self.settings.resend_interval_min {
            self.retry_delay = self.settings.resend_interval_min;
            effects.push(ConsumerEffect::RetryAfter(self.retry_delay));
        }
        if !arrival.payload.begins() && !self.assembly.has_begun() {
            self.grant(false, None, effects);
            return Ok(()); // the rest of a message whose beginning is lost for good
        }
        if let Some(message) = self.assembly.add(arrival.seq_nr, arrival.payload, self.chunking.as_ref())? {
            self.ready.push_back(Ready { seq_nr: arrival.seq_nr, ack: arrival.ack, message });
        } else {
            self.grant(false, None, effects);
        }
        Ok(())
    }

    fn deliver_next(&mut self, mut effects: Effects<T, A>) -> Effects<T, A> {
        if self.started
            && self.delivered.is_none()
            && let Some(link) = &self.link
            && let Some(ready) = self.ready.pop_front()
        {
            effects.push(deliver(link, &ready));
            self.delivered = Some((link.clone(), ready));
        }
        effects
    }

    /// Asks for more if half of what was granted is used up, or in any case. Whether it did.
    fn grant(&mut self, in_any_case: bool, silent_from: Option<u64>, effects: &mut Effects<T, A>) -> bool {
        let Some(link) = &self.link else { return false };
        let window = u64::from(self.settings.window.get());
        // Chunks of a message that is not complete are used up; what waits for the consumer is not.
        let used = if self.is_idle() { self.received } else { self.confirmed };
        let up_to = used + window;
        if !in_any_case && up_to < self.requested + (window / 2).max(1) {
            return false;
        }
        self.requested = self.requested.max(up_to);
        let request = Request {
            producer: link.incarnation,
            consumer: self.me,
            confirmed: self.confirmed,
            up_to: self.requested,
            support_resend: !self.settings.only_flow_control,
            silent_from,
        };
        effects.push(ConsumerEffect::Request { to: link.address.clone(), request });
        true
    }

    fn ask_for_missing(&self, effects: &mut Effects<T, A>) {
        if let Some(link) = &self.link {
            let resend = Resend { producer: link.incarnation, consumer: self.me, from: self.received + 1 };
            effects.push(ConsumerEffect::Resend { to: link.address.clone(), resend });
        }
    }
}

fn deliver<T, A>(link: &Link<A>, ready: &Ready<T>) -> ConsumerEffect<T, A> {
    ConsumerEffect::Deliver {
        producer_id: link.producer_id.clone(),
        incarnation: link.incarnation,
        seq_nr: ready.seq_nr,
        message: ready.message.clone(),
    }
}
