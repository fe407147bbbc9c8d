//! Crashes: of the consumer and its controller, of the producer and its.

use std::sync::Arc;
use std::time::Duration;

use actors::delivery::{
    ConsumerSettings, DurableProducerQueue, DurableQueueSettings, InMemoryProducerQueue, ProducerController,
    ProducerSettings, QueueFuture, QueueState, StoredMessage,
};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::site::{Crash, Stage};
use super::wire::{Faults, WireMessage};

const MESSAGES: u64 = 15;

fn all() -> Vec<u64> {
    (1..=MESSAGES).collect()
}

/// What the log says with each run of repetitions taken back to its first appearance must still go up by one.
fn assert_in_order_at_least_once(stage: &Stage, faults: Faults) {
    let delivered = stage.delivered();
    let once: Vec<u64> = stage.delivered_once_or_more().into_iter().collect();
    assert_eq!(once, all(), "seed {}, {faults:?}", stage.seed);
    let mut highest = 0;
    for number in delivered {
        assert!(number <= highest + 1, "seed {}: {number} came after {highest}, {faults:?}", stage.seed);
        highest = highest.max(number);
    }
}

#[test]
fn a_consumer_that_crashes_gets_what_it_did_not_confirm_again() {
    let mut again = 0;
    for seed in 0..40 {
        let faults = Faults::of_seed(seed);
        let stage = Stage::new(seed, faults);
        stage.producer(MESSAGES, stage.producer_props());
        stage.consumer(0.2, stage.consumer_props(ConsumerSettings::default()));

        stage.run_until_delivered(MESSAGES);

        assert_in_order_at_least_once(&stage, faults);
        again += stage.delivered().len() - all().len();
    }
    assert!(again > 0, "nobody crashed");
}

#[test]
fn a_consumer_controller_that_crashes_is_sent_again_what_was_not_confirmed() {
    for seed in 0..40 {
        let faults = Faults::of_seed(seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let stage = Stage::new(seed, faults);
        stage.producer(MESSAGES, stage.producer_props());
        let site = stage.consumer(0.0, stage.consumer_props(ConsumerSettings::default()));
        for _ in 0..4 {
            stage.kit.advance(Duration::from_millis(random.random_range(0..8_000)));
            site.tell(Crash);
        }

        stage.run_until_delivered(MESSAGES);

        assert_in_order_at_least_once(&stage, faults);
    }
}

#[test]
fn a_producer_that_crashes_loses_nothing_that_its_durable_queue_has() {
    for seed in 0..60 {
        let faults = Faults::of_seed(seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let stage = Stage::new(seed, faults);
        let queue = FaultyQueue::new(seed, 0.2);
        let mut props = stage.producer_props().durable_queue(queue.clone());
        if seed % 2 == 0 {
            props = props.consumer(stage.wire.map(WireMessage::ToConsumer)); // else the consumer registers again
        }
        let producer = stage.producer(MESSAGES, props);
        let consumer = stage.consumer(0.05, stage.consumer_props(ConsumerSettings::default()));
        for _ in 0..4 {
            stage.kit.advance(Duration::from_millis(random.random_range(0..8_000)));
            producer.tell(Crash);
            if random.random_bool(0.3) {
                consumer.tell(Crash);
            }
        }

        stage.run_until_delivered(MESSAGES);

        assert_in_order_at_least_once(&stage, faults);
        assert_eq!(queue.inner.unconfirmed(), 0, "seed {seed}: what is confirmed leaves the queue");
    }
}

#[test]
fn a_producer_that_crashes_without_a_durable_queue_begins_anew() {
    let stage = Stage::new(1, Faults::NONE);
    let producer = stage.producer(10, stage.producer_props());
    stage.consumer(0.0, stage.consumer_props(ConsumerSettings::default()));
    stage.run_until_delivered(10);

    producer.tell(Crash);
    stage.kit.advance(Duration::from_secs(300));

    let twice: Vec<u64> = (1..=10).chain(1..=10).collect();
    assert_eq!(stage.delivered(), twice, "the consumer follows the new life of the producer from its first message");
}

#[test]
fn a_queue_that_does_not_answer_fails_the_controller_after_all_attempts() {
    let stage = Stage::new(1, Faults::NONE);
    let queue = FaultyQueue::new(1, 1.0);
    let settings = ProducerSettings { durable_queue: DurableQueueSettings::default(), ..ProducerSettings::default() };
    let props = ProducerController::<u64>::props("numbers", settings).durable_queue(queue.clone());
    let controller = stage.kit.spawn("controller", props);

    stage.kit.advance(Duration::from_secs(60));

    assert!(controller.is_stopped());
    assert_eq!(*queue.requests.lock(), 10);
}

/// Fails, or never answers, with a probability.
#[derive(Clone)]
struct FaultyQueue {
    inner: InMemoryProducerQueue<u64>,
    random: Arc<Mutex<SmallRng>>,
    faults: f64,
    requests: Arc<Mutex<u32>>,
}

impl FaultyQueue {
    fn new(seed: u64, faults: f64) -> Self {
        let random = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
        Self { inner: InMemoryProducerQueue::new(), random, faults, requests: Arc::default() }
    }

    /// What is asked may fail, hang, or take effect and hang then.
    fn perhaps<R: Send + 'static>(&self, request: QueueFuture<R>) -> QueueFuture<R> {
        *self.requests.lock() += 1;
        let mut random = self.random.lock();
        if !random.random_bool(self.faults) {
            return request;
        }
        match random.random_range(0..3) {
            0 => Box::pin(async { Err("disk full".into()) }),
            1 => Box::pin(std::future::pending()),
            _ => Box::pin(async move {
                request.await?;
                std::future::pending().await
            }),
        }
    }
}

impl DurableProducerQueue<u64> for FaultyQueue {
    fn load(&self) -> QueueFuture<QueueState<u64>> {
        self.perhaps(self.inner.load())
    }

    fn store_sent(&self, epoch: u64, message: StoredMessage<u64>) -> QueueFuture<()> {
        self.perhaps(self.inner.store_sent(epoch, message))
    }

    fn store_confirmed(&self, epoch: u64, seq_nrs: Vec<u64>) -> QueueFuture<()> {
        self.perhaps(self.inner.store_confirmed(epoch, seq_nrs))
    }
}
