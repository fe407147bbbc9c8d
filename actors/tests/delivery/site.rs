//! A producer with its controller, and a consumer with its: each a site that can crash.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actors::delivery::{
    ConsumerController, ConsumerControllerMessage, ConsumerControllerProps, ConsumerSettings, Delivery,
    ProducerController, ProducerControllerMessage, ProducerControllerProps, ProducerSettings, RequestNext,
};
use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, Behavior, BoxError, Handled, Props, SupervisorStrategy};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::wire::{Faults, Gauge, Wire, WireMessage};

/// Message number `n` says `n`, so that whoever has the number knows what was to be said.
type Number = u64;
pub(super) type Log = Arc<Mutex<Vec<Number>>>;

/// Sends `last` messages, some of them after a pause.
struct Producer {
    last: u64,
    random: SmallRng,
}

enum ProducerMessage {
    Next(RequestNext<Number>),
    Rested(RequestNext<Number>),
}

impl Actor for Producer {
    type Message = ProducerMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<ProducerMessage>, message: ProducerMessage) -> Handled {
        match message {
            ProducerMessage::Next(next) if next.seq_nr() > self.last => drop(next),
            ProducerMessage::Next(next) if self.random.random_bool(0.05) => {
                let pause = Duration::from_millis(self.random.random_range(0..20_000));
                ctx.timers().start_single("rested", pause, ProducerMessage::Rested(next));
            }
            ProducerMessage::Next(next) | ProducerMessage::Rested(next) => {
                let number = next.seq_nr();
                next.send(number);
            }
        }
        Ok(Behavior::Same)
    }
}

/// Writes down what it is given and confirms it, sometimes after a while.
pub(super) struct Consumer {
    pub(super) log: Log,
    pub(super) random: SmallRng,
    pub(super) crashes: f64,
    pub(super) gauge: Gauge,
    pub(super) start: Option<ActorRef<ConsumerControllerMessage<Number>>>,
}

pub(super) enum ConsumerMessage {
    Delivered(Delivery<Number>),
    Done(Delivery<Number>),
}

impl Actor for Consumer {
    type Message = ConsumerMessage;

    async fn started(&mut self, ctx: &mut ActorContext<ConsumerMessage>) -> Handled {
        if let Some(controller) = &self.start {
            controller
                .tell(ConsumerControllerMessage::Start { deliver_to: ctx.this().map(ConsumerMessage::Delivered) });
        }
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<ConsumerMessage>, message: ConsumerMessage) -> Handled {
        match message {
            ConsumerMessage::Delivered(delivery) => {
                self.log.lock().push(**delivery.message());
                if self.random.random_bool(self.crashes) {
                    return Err(BoxError::from("crash before confirming"));
                }
                if self.random.random_bool(0.1) {
                    let work = Duration::from_millis(self.random.random_range(0..5_000));
                    ctx.timers().start_single("done", work, ConsumerMessage::Done(delivery));
                } else {
                    self.confirm(delivery);
                }
            }
            ConsumerMessage::Done(delivery) => self.confirm(delivery),
        }
        Ok(Behavior::Same)
    }
}

impl Consumer {
    fn confirm(&self, delivery: Delivery<Number>) {
        self.gauge.confirmed.fetch_max(delivery.seq_nr(), Ordering::Relaxed);
        delivery.confirm();
    }
}

/// Two actors that live and crash together.
pub(super) struct Site;

pub(super) struct Crash;

impl Actor for Site {
    type Message = Crash;

    async fn receive(&mut self, _ctx: &mut ActorContext<Crash>, _crash: Crash) -> Handled {
        Err(BoxError::from("crash"))
    }
}

pub(super) struct Stage {
    pub(super) kit: TestKit,
    pub(super) seed: u64,
    pub(super) wire: ActorRef<WireMessage<Number>>,
    pub(super) log: Log,
    pub(super) gauge: Gauge,
}

impl Stage {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let kit = TestKit::new();
        let gauge = Gauge::default();
        let wire = kit.spawn("wire", Wire::props(seed, faults, gauge.clone()));
        Self { kit, seed, wire, log: Log::default(), gauge }
    }

    pub(super) fn producer_props(&self) -> ProducerControllerProps<Number> {
        ProducerController::props("numbers", ProducerSettings::default())
    }

    /// A site that sends the numbers up to `last`; `props` are those of its controller.
    pub(super) fn producer(&self, last: u64, props: ProducerControllerProps<Number>) -> ActorRef<Crash> {
        let (wire, seed) = (self.wire.clone(), self.seed);
        let props = Props::setup(move |ctx| {
            let controller = ctx.spawn("controller", props.clone());
            let producer = ctx.spawn("producer", Producer { last, random: SmallRng::seed_from_u64(seed) });
            let from_consumer = controller.map(ProducerControllerMessage::FromConsumer);
            wire.tell(WireMessage::ProducerIs(from_consumer));
            controller.tell(ProducerControllerMessage::Start { producer: producer.map(ProducerMessage::Next) });
            Site
        });
        self.kit.spawn("producer", props.supervise(SupervisorStrategy::restart()))
    }

    pub(super) fn consumer_props(&self, settings: ConsumerSettings) -> ConsumerControllerProps<Number> {
        ConsumerController::props(settings).register_to(self.wire.map(WireMessage::ToProducer))
    }

    /// A site that takes numbers; its consumer fails with the probability `crashes` at each.
    pub(super) fn consumer(&self, crashes: f64, props: ConsumerControllerProps<Number>) -> ActorRef<Crash> {
        let (wire, seed, log, gauge) = (self.wire.clone(), self.seed, self.log.clone(), self.gauge.clone());
        let lives = AtomicU64::new(seed);
        let props = Props::setup(move |ctx| {
            let controller = ctx.spawn("controller", props.clone());
            wire.tell(WireMessage::ConsumerIs(controller.map(ConsumerControllerMessage::FromProducer)));
            let (log, gauge) = (log.clone(), gauge.clone());
            let life = lives.fetch_add(1, Ordering::Relaxed);
            let mut lives = 0;
            let make = move || {
                lives += 1;
                let random = SmallRng::seed_from_u64(life << 16 | lives);
                let (log, gauge, start) = (log.clone(), gauge.clone(), Some(controller.clone()));
                Consumer { log, random, crashes, gauge, start }
            };
            ctx.spawn("consumer", Props::new(make).supervise(SupervisorStrategy::restart()));
            Site
        });
        self.kit.spawn("consumer", props.supervise(SupervisorStrategy::restart()))
    }

    /// Lets time pass until `last` was delivered, a few hours at most.
    pub(super) fn run_until_delivered(&self, last: u64) {
        for _ in 0..2_000 {
            self.kit.advance(Duration::from_secs(60));
            if self.log.lock().contains(&last) {
                self.kit.advance(Duration::from_secs(60)); // for what should not come any more
                return;
            }
        }
    }

    pub(super) fn delivered(&self) -> Vec<Number> {
        self.log.lock().clone()
    }

    pub(super) fn delivered_once_or_more(&self) -> BTreeSet<Number> {
        self.log.lock().iter().copied().collect()
    }
}
