//! Reliable delivery: what is sent arrives, in order, and the pace is the consumer's.
//!
//! A message told to an [`ActorRef`](crate::ActorRef) may be lost, on a network always. Here two controllers stand
//! between producer and consumer, each local to its own, and speak to each other until it has arrived:
//!
//! ```text
//! producer <-> ProducerController  ~ wire ~  ConsumerController <-> consumer
//!          RequestNext             messages                     Delivery
//!          send                    requests                     confirm
//! ```
//!
//! The producer is told a [`RequestNext`] when there is demand, and sends one message with it. The consumer is told a
//! [`Delivery`], and the next once it has confirmed that. Between the controllers up to
//! [`window`](ConsumerSettings::window) messages are under way, so neither waits for the other. A producer that is
//! faster than its consumer is slowed down and nothing piles up.
//!
//! # Promises
//!
//! - **Nobody crashes:** in order, nothing lost, nothing twice, whatever the wire loses, doubles, delays or reorders.
//! - **The consumer or its controller crashes:** what was not confirmed is delivered again, in order. At least once.
//! - **The producer's controller crashes:** what was not confirmed is lost, unless it has a [`DurableProducerQueue`];
//!   then it is sent again. At least once.
//! - **Confirming** means that the consumer's business is done. Whoever stores a result and confirms after that never
//!   misses one, and sees some twice after a crash; [`Delivery::seq_nr`] with the producer's id tells which.
//! - With [`only_flow_control`](ConsumerSettings::only_flow_control) what is lost stays lost and only the pace is kept.
//!
//! A consumer's controller serves one producer at a time. If another one comes, or another life of the same, it takes
//! that one's place.
//!
//! # Example
//!
//! Parcels are counted. The counter crashes at the second one, before it confirms it, and gets it again.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use std::time::Duration;
//!
//! use actors::delivery::{
//!     ConsumerController, ConsumerControllerMessage, ConsumerSettings, Delivery, ProducerController,
//!     ProducerControllerMessage, ProducerSettings, RequestNext,
//! };
//! use actors::testkit::TestKit;
//! use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Props, SupervisorStrategy};
//!
//! /// Sends the weights of three parcels.
//! struct Sender;
//!
//! impl Actor for Sender {
//!     type Message = RequestNext<u64>;
//!
//!     async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, next: RequestNext<u64>) -> Handled {
//!         let parcels = [10, 20, 30];
//!         if let Some(weight) = parcels.get(next.seq_nr() as usize - 1) {
//!             next.send(*weight);
//!         }
//!         Ok(Behavior::Same)
//!     }
//! }
//!
//! /// Adds them up, for the lives after it too.
//! struct Counter {
//!     total: Arc<AtomicU64>,
//!     crash_at: Option<u64>,
//!     controller: ActorRef<ConsumerControllerMessage<u64>>,
//! }
//!
//! impl Actor for Counter {
//!     type Message = Delivery<u64>;
//!
//!     async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
//!         // Each life says that it is there, and gets what the one before did not confirm.
//!         self.controller.tell(ConsumerControllerMessage::Start { deliver_to: ctx.this().clone() });
//!         Ok(Behavior::Same)
//!     }
//!
//!     async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, delivery: Delivery<u64>) -> Handled {
//!         if self.crash_at == Some(delivery.seq_nr()) {
//!             return Err("crash".into());
//!         }
//!         self.total.fetch_add(**delivery.message(), Ordering::Relaxed);
//!         delivery.confirm();
//!         Ok(Behavior::Same)
//!     }
//! }
//!
//! let kit = TestKit::new();
//! let sending = kit.spawn("sending", ProducerController::props("parcels", ProducerSettings::default()));
//! let sender = kit.spawn("sender", Sender);
//! sending.tell(ProducerControllerMessage::Start { producer: sender });
//!
//! let counting = kit.spawn("counting", ConsumerController::props(ConsumerSettings::default()).producer(&sending));
//! let total = Arc::new(AtomicU64::new(0));
//! let (counted, mut crash_at) = (total.clone(), Some(2));
//! let counter = Props::new(move || Counter {
//!     total: counted.clone(),
//!     crash_at: crash_at.take(),
//!     controller: counting.clone(),
//! });
//! kit.spawn("counter", counter.supervise(SupervisorStrategy::restart()));
//!
//! kit.advance(Duration::from_secs(1));
//! assert_eq!(total.load(Ordering::Relaxed), 60);
//! ```
//!
//! # Work pulling
//!
//! A [`WorkPullingController`] has any number of workers, each a [`ConsumerController`] with a consumer behind it. They
//! register with it ([`worker_of`](ConsumerControllerProps::worker_of)), or the receptionist lists them under a
//! [`service`](ConsumerControllerProps::service) key. Each message goes to one worker with demand, chosen at random.
//!
//! - There is no order between messages.
//! - What a dead worker had not confirmed goes to others: at least once.
//! - While no worker has demand, up to [`buffer`](WorkPullingSettings::buffer) messages wait; then the producer is not
//!   asked for more.
//! - [`RequestNext::send_confirmed`] answers once some worker has confirmed.
//! - [`Delivery::seq_nr`] is a number among those of one worker. To know a job again, give it an id.
//!
//! # Durable queues
//!
//! [`DurableProducerQueue`] is a trait of three requests: load, store before sending, store what is confirmed. With
//! [`InMemoryProducerQueue`] a controller may be restarted; what outlives the process is a journal's business. The next
//! [`RequestNext`] comes after the message before it is stored, so a producer that is asked for number `n` knows that
//! `n - 1` is safe. The number is what a producer goes by after a crash: what it sent and was not stored, it is asked
//! for again.
//!
//! # Chunks
//!
//! With a [`Chunking`] on both sides, messages above a size travel in pieces, so that a large one does not hold up
//! others on the same connection. The consumer sees whole messages only.
//!
//! # What may stand between the controllers
//!
//! They speak through plain references: [`SequencedMessage`]s one way, [`ToProducer`] the other. Anything may stand in
//! between that puts its own references into [`SequencedMessage::producer`] and [`ToProducer::Register`].

mod chunk;
mod consumer;
mod consumer_state;
mod durable_queue;
#[cfg(test)]
mod link_tests;
mod producer;
mod producer_state;
mod props;
mod protocol;
mod request_next;
mod settings;
mod storing;
mod work_pulling;
mod work_pulling_state;

pub use chunk::{ChunkError, Chunkable, Chunking};
pub use consumer::{Confirmed, ConsumerController, ConsumerControllerMessage, Delivery};
pub use durable_queue::{DurableProducerQueue, Fenced, InMemoryProducerQueue, QueueFuture, QueueState, StoredMessage};
pub use producer::{ProducerController, ProducerControllerMessage};
pub use props::{ConsumerControllerProps, ProducerControllerProps, WorkPullingControllerProps};
pub use protocol::{Ack, Incarnation, Payload, Request, Resend, SequencedMessage, ToProducer};
pub use request_next::RequestNext;
pub use settings::{
    ConsumerSettings, DeliverySettingsError, DurableQueueSettings, ProducerSettings, WorkPullingSettings,
};
pub use storing::DurableQueueError;
pub use work_pulling::{WorkPullingController, WorkPullingControllerMessage, WorkerStats};
