//! Messages in chunks, and confirmations that are waited for.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use actors::delivery::{
    Chunkable, Chunking, ConsumerController, ConsumerControllerMessage, ConsumerControllerProps, ConsumerSettings,
    Delivery, InMemoryProducerQueue, ProducerController, ProducerControllerMessage, ProducerSettings, RequestNext,
};
use actors::testkit::{TestKit, TestProbe};
use actors::{ActorRef, AskError, BoxError};

use super::wire::{Faults, Gauge, Wire, WireMessage};

#[derive(Debug, PartialEq)]
struct Picture(Vec<u8>);

impl Chunkable for Picture {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        if bytes.contains(&0) { Err("a picture has no black".into()) } else { Ok(Self(bytes.to_vec())) }
    }
}

/// Pictures of 1, 8, 15, … bytes.
fn picture(number: usize) -> Picture {
    Picture((0..=number * 7).map(|byte| (byte % 255) as u8 + 1).collect())
}

fn chunks_of_ten() -> Chunking<Picture> {
    Chunking::of(NonZeroUsize::new(10).unwrap())
}

fn consumer_props(window: u32) -> ConsumerControllerProps<Picture> {
    let settings = ConsumerSettings { window: NonZeroU32::new(window).unwrap(), ..ConsumerSettings::default() };
    ConsumerController::props(settings).chunking(chunks_of_ten())
}

/// A consumer the test plays itself.
fn consumer(kit: &TestKit, props: ConsumerControllerProps<Picture>) -> (TestProbe<Delivery<Picture>>, Controller) {
    let probe = kit.probe();
    let controller = kit.system().spawn_anonymous(props);
    controller.tell(ConsumerControllerMessage::Start { deliver_to: probe.actor_ref() });
    (probe, controller)
}

type Controller = ActorRef<ConsumerControllerMessage<Picture>>;

#[test]
fn large_messages_are_whole_again_over_any_wire() {
    for seed in 0..60 {
        let kit = TestKit::new();
        let faults = Faults::of_seed(seed);
        let wire = kit.spawn("wire", Wire::props(seed, faults, Gauge::default()));
        let mut asked = kit.probe();
        let producing = ProducerController::props("pictures", ProducerSettings::default()).chunking(chunks_of_ten());
        let producing = kit.spawn("producing", producing);
        wire.tell(WireMessage::ProducerIs(producing.map(ProducerControllerMessage::FromConsumer)));
        producing.tell(ProducerControllerMessage::Start { producer: asked.actor_ref() });
        let window = [1, 3, 50][(seed % 3) as usize]; // a picture has up to six chunks
        let register_to = wire.map(WireMessage::ToProducer);
        let (mut deliveries, consuming) = consumer(&kit, consumer_props(window).register_to(register_to));
        wire.tell(WireMessage::ConsumerIs(consuming.map(ConsumerControllerMessage::FromProducer)));

        let mut sent = 0;
        let mut received = Vec::new();
        for _ in 0..1_000 {
            kit.advance(Duration::from_secs(2));
            for next in asked.drain() {
                if sent < 8 {
                    next.send(picture(sent));
                    sent += 1;
                }
            }
            for delivery in deliveries.drain() {
                received.push(delivery.message().clone());
                delivery.confirm();
            }
            if received.len() == 8 {
                break;
            }
        }

        assert!(received.iter().map(|picture| &**picture).eq((0..8).map(picture).collect::<Vec<_>>().iter()), "{seed}");
    }
}

/// Both controllers, and a test that plays producer and consumer.
fn pair(
    kit: &TestKit,
    settings: ProducerSettings,
) -> (TestProbe<RequestNext<Picture>>, TestProbe<Delivery<Picture>>, Controller) {
    let asked = kit.probe();
    let producing = kit.spawn("producing", ProducerController::props("pictures", settings).chunking(chunks_of_ten()));
    producing.tell(ProducerControllerMessage::Start { producer: asked.actor_ref() });
    let (deliveries, consuming) = consumer(kit, consumer_props(50).producer(&producing));
    (asked, deliveries, consuming)
}

#[test]
fn who_waits_for_a_confirmation_learns_of_it_when_the_business_is_done() {
    let kit = TestKit::new();
    let (mut asked, mut deliveries, _) = pair(&kit, ProducerSettings::default());
    let answer = asked.expect_message().send_confirmed(picture(2)); // 15 bytes: two chunks
    let delivery = deliveries.expect_message();
    assert_eq!(delivery.seq_nr(), 2);
    kit.advance(Duration::from_secs(50));
    assert_eq!(asked.drain().len(), 1, "the next is asked for before");
    delivery.confirm();
    assert_eq!(kit.block_on(answer), Ok(2));
}

#[test]
fn a_confirmation_that_does_not_come_is_waited_for_a_minute() {
    let kit = TestKit::new();
    let (mut asked, _deliveries, _) = pair(&kit, ProducerSettings::default());
    let next = asked.expect_message();
    let before = kit.clock().now();
    assert_eq!(kit.block_on(next.send_confirmed(picture(0))), Err(AskError::Timeout));
    assert_eq!(kit.clock().now() - before, Duration::from_secs(60));
}

#[test]
fn chunks_that_make_no_message_fail_the_controller_that_joins_them() {
    let kit = TestKit::new();
    let (mut asked, mut deliveries, consuming) = pair(&kit, ProducerSettings::default());
    let next = asked.expect_message();
    next.send(Picture(vec![0; 30]));
    kit.settle();
    assert!(consuming.is_stopped());
    assert!(deliveries.drain().is_empty());
}

#[test]
fn stored_messages_keep_their_numbers_when_they_are_cut_again() {
    let kit = TestKit::new();
    let queue = InMemoryProducerQueue::new();
    let mut asked = kit.probe();
    for life in 0..2 {
        let props = ProducerController::props("pictures", ProducerSettings::default()).durable_queue(queue.clone());
        // The next life has another size of chunks.
        let chunking = if life == 0 { chunks_of_ten() } else { Chunking::of(NonZeroUsize::new(1_000).unwrap()) };
        let producing = kit.system().spawn_anonymous(props.chunking(chunking));
        producing.tell(ProducerControllerMessage::Start { producer: asked.actor_ref() });
        let (mut deliveries, consuming) = consumer(&kit, consumer_props(50).producer(&producing));
        if life == 0 {
            asked.expect_message().send(picture(5)); // 36 bytes: four chunks
            asked.expect_message().send(picture(0));
            let first = deliveries.expect_message();
            assert_eq!(first.seq_nr(), 4);
            drop((first, deliveries)); // the consumer ends, and its controller with it
            kit.settle();
            assert!(consuming.is_stopped());
        } else {
            for (seq_nr, number) in [(4, 5), (5, 0)] {
                let delivery = deliveries.expect_message();
                assert_eq!((delivery.seq_nr(), &**delivery.message()), (seq_nr, &picture(number)));
                delivery.confirm();
            }
            kit.advance(Duration::from_secs(10));
            assert_eq!(asked.drain().pop().map(|next| next.seq_nr()), Some(6));
            assert_eq!(queue.unconfirmed(), 0);
        }
    }
}
