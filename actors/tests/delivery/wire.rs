//! A wire between two controllers, as bad as its faults say, the same for the same seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actors::delivery::{SequencedMessage, ToProducer};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Mailbox, Props};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) loss: f64,
    pub(super) doubling: f64,
    /// Each message takes up to this long: with more than zero, messages overtake each other.
    pub(super) delay_ms: u64,
}

impl Faults {
    pub(super) const NONE: Self = Self { loss: 0.0, doubling: 0.0, delay_ms: 0 };

    pub(super) fn of_seed(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let delay_ms = if random.random_bool(0.3) { 0 } else { random.random_range(1..3_000) };
        Self { loss: random.random_range(0.0..0.4), doubling: random.random_range(0.0..0.4), delay_ms }
    }
}

/// What the wire saw, for bounds.
#[derive(Clone, Default)]
pub(super) struct Gauge {
    /// The highest number the consumer has confirmed, as it counts itself.
    pub(super) confirmed: Arc<AtomicU64>,
    /// The most that were ever sent and not confirmed.
    pub(super) in_flight_max: Arc<AtomicU64>,
}

pub(super) struct Wire<T> {
    faults: Faults,
    random: SmallRng,
    passed: u64,
    producer: Option<ActorRef<ToProducer<T>>>,
    consumer: Option<ActorRef<SequencedMessage<T>>>,
    gauge: Gauge,
}

pub(super) enum WireMessage<T> {
    ProducerIs(ActorRef<ToProducer<T>>),
    ConsumerIs(ActorRef<SequencedMessage<T>>),
    ToConsumer(SequencedMessage<T>),
    ToProducer(ToProducer<T>),
    Arrived(Box<WireMessage<T>>),
    /// The wire ends.
    Cut,
}

impl<T: Send + Sync + 'static> Wire<T> {
    pub(super) fn props(seed: u64, faults: Faults, gauge: Gauge) -> Props<Self> {
        let make = move || Self {
            faults,
            random: SmallRng::seed_from_u64(seed),
            passed: 0,
            producer: None,
            consumer: None,
            gauge: gauge.clone(),
        };
        Props::new(make).mailbox(Mailbox::unbounded())
    }

    fn carry(&mut self, ctx: &mut ActorContext<WireMessage<T>>, make: impl Fn() -> WireMessage<T>) {
        let copies = if self.random.random_bool(self.faults.doubling) { 2 } else { 1 };
        for _ in 0..copies {
            if self.random.random_bool(self.faults.loss) {
                continue;
            }
            self.passed += 1;
            let delay = Duration::from_millis(self.random.random_range(0..=self.faults.delay_ms));
            if delay.is_zero() {
                self.deliver(make());
            } else {
                let arrived = WireMessage::Arrived(Box::new(make()));
                ctx.timers().start_single(self.passed.to_string(), delay, arrived);
            }
        }
    }

    fn deliver(&self, message: WireMessage<T>) {
        match (message, &self.producer, &self.consumer) {
            (WireMessage::ToConsumer(message), _, Some(consumer)) => consumer.tell(message),
            (WireMessage::ToProducer(message), Some(producer), _) => producer.tell(message),
            _ => {}
        }
    }
}

impl<T: Send + Sync + 'static> Actor for Wire<T> {
    type Message = WireMessage<T>;

    async fn receive(&mut self, ctx: &mut ActorContext<WireMessage<T>>, message: WireMessage<T>) -> Handled {
        match message {
            WireMessage::ProducerIs(producer) => self.producer = Some(producer),
            WireMessage::ConsumerIs(consumer) => self.consumer = Some(consumer),
            WireMessage::ToConsumer(mut message) => {
                let in_flight = message.seq_nr.saturating_sub(self.gauge.confirmed.load(Ordering::Relaxed));
                self.gauge.in_flight_max.fetch_max(in_flight, Ordering::Relaxed);
                message.producer = ctx.this().map(WireMessage::ToProducer);
                self.carry(ctx, || WireMessage::ToConsumer(message.clone()));
            }
            WireMessage::ToProducer(mut message) => {
                if let ToProducer::Register { consumer, .. } = &mut message {
                    *consumer = ctx.this().map(WireMessage::ToConsumer);
                }
                self.carry(ctx, || WireMessage::ToProducer(message.clone()));
            }
            WireMessage::Arrived(message) => self.deliver(*message),
            WireMessage::Cut => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}
