//! How to make the controllers.

use std::fmt;
use std::sync::Arc;

use super::chunk::Chunking;
use super::consumer::{ConsumerController, ConsumerControllerMessage};
use super::durable_queue::DurableProducerQueue;
use super::producer::{ProducerController, ProducerControllerMessage};
use super::protocol::{SequencedMessage, ToProducer};
use super::settings::{ConsumerSettings, ProducerSettings, WorkPullingSettings};
use super::work_pulling::{WorkPullingController, WorkPullingControllerMessage};
use crate::actor_ref::ActorRef;
use crate::props::Props;
use crate::receptionist::ServiceKey;

/// How to make a [`ProducerController`]; turns into [`Props`]. Clones share the durable queue.
#[must_use = "props do nothing until they are spawned"]
pub struct ProducerControllerProps<T> {
    pub(super) id: Arc<str>,
    pub(super) settings: ProducerSettings,
    pub(super) chunking: Option<Chunking<T>>,
    pub(super) consumer: Option<ActorRef<SequencedMessage<T>>>,
    pub(super) queue: Option<Arc<dyn DurableProducerQueue<T>>>,
}

impl<T: Send + Sync + 'static> ProducerControllerProps<T> {
    /// Messages above a size travel in chunks. The consumer's controller needs the same.
    pub fn chunking(mut self, chunking: Chunking<T>) -> Self {
        self.chunking = Some(chunking);
        self
    }

    /// The consumer, where its controller does not register itself. Each life of this controller begins with it.
    pub fn consumer(mut self, consumer: ActorRef<SequencedMessage<T>>) -> Self {
        self.consumer = Some(consumer);
        self
    }

    /// Each message is stored before it is sent, so that the next life of this controller sends what is not confirmed.
    pub fn durable_queue(mut self, queue: impl DurableProducerQueue<T>) -> Self {
        self.queue = Some(Arc::new(queue));
        self
    }

    /// The props, for a strategy or a mailbox of one's own.
    pub fn into_props(self) -> Props<ProducerController<T>> {
        self.into()
    }
}

impl<T: Send + Sync + 'static> From<ProducerControllerProps<T>> for Props<ProducerController<T>> {
    fn from(props: ProducerControllerProps<T>) -> Self {
        Props::setup(move |ctx| ProducerController::new(&props, ctx))
    }
}

impl<T> Clone for ProducerControllerProps<T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            settings: self.settings.clone(),
            chunking: self.chunking.clone(),
            consumer: self.consumer.clone(),
            queue: self.queue.clone(),
        }
    }
}

impl<T> fmt::Debug for ProducerControllerProps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerControllerProps")
            .field("producer_id", &self.id)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How to make a [`ConsumerController`]; turns into [`Props`].
#[must_use = "props do nothing until they are spawned"]
pub struct ConsumerControllerProps<T> {
    pub(super) settings: ConsumerSettings,
    pub(super) chunking: Option<Chunking<T>>,
    pub(super) producer: Option<ActorRef<ToProducer<T>>>,
    pub(super) service: Option<ServiceKey<ConsumerControllerMessage<T>>>,
}

impl<T: Send + Sync + 'static> ConsumerControllerProps<T> {
    /// How messages that come in chunks are joined.
    pub fn chunking(mut self, chunking: Chunking<T>) -> Self {
        self.chunking = Some(chunking);
        self
    }

    /// Each life of this controller registers with `producer`.
    pub fn producer(self, producer: &ActorRef<ProducerControllerMessage<T>>) -> Self {
        self.register_to(producer.map(ProducerControllerMessage::FromConsumer))
    }

    /// As [`producer`](Self::producer), for what stands in front of a producer's controller.
    pub fn register_to(mut self, producer: ActorRef<ToProducer<T>>) -> Self {
        self.producer = Some(producer);
        self
    }

    /// A worker of `controller`, which each life registers with.
    pub fn worker_of(self, controller: &ActorRef<WorkPullingControllerMessage<T>>) -> Self {
        self.register_to(controller.map(WorkPullingControllerMessage::FromWorker))
    }

    /// A worker under `key`: the receptionist lists it, and the work-pulling controller of that service finds it there.
    pub fn service(mut self, key: ServiceKey<ConsumerControllerMessage<T>>) -> Self {
        self.service = Some(key);
        self
    }

    /// The props, for a strategy or a mailbox of one's own.
    pub fn into_props(self) -> Props<ConsumerController<T>> {
        self.into()
    }
}

impl<T: Send + Sync + 'static> From<ConsumerControllerProps<T>> for Props<ConsumerController<T>> {
    fn from(props: ConsumerControllerProps<T>) -> Self {
        Props::setup(move |ctx| ConsumerController::new(&props, ctx))
    }
}

impl<T> Clone for ConsumerControllerProps<T> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            chunking: self.chunking.clone(),
            producer: self.producer.clone(),
            service: self.service.clone(),
        }
    }
}

impl<T> fmt::Debug for ConsumerControllerProps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerControllerProps").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How to make a [`WorkPullingController`]; turns into [`Props`]. Clones share the durable queue.
#[must_use = "props do nothing until they are spawned"]
pub struct WorkPullingControllerProps<T> {
    pub(super) id: Arc<str>,
    pub(super) settings: WorkPullingSettings,
    pub(super) chunking: Option<Chunking<T>>,
    pub(super) service: Option<ServiceKey<ConsumerControllerMessage<T>>>,
    pub(super) queue: Option<Arc<dyn DurableProducerQueue<T>>>,
}

impl<T: Send + Sync + 'static> WorkPullingControllerProps<T> {
    /// Messages above a size travel in chunks. The workers' controllers need the same.
    pub fn chunking(mut self, chunking: Chunking<T>) -> Self {
        self.chunking = Some(chunking);
        self
    }

    /// Whoever is registered under `key` with the receptionist is a worker. One controller a key: a worker serves one.
    pub fn service(mut self, key: ServiceKey<ConsumerControllerMessage<T>>) -> Self {
        self.service = Some(key);
        self
    }

    /// Each message is stored before it is given out, so that the next life of this controller gives out again what is
    /// not confirmed.
    pub fn durable_queue(mut self, queue: impl DurableProducerQueue<T>) -> Self {
        self.queue = Some(Arc::new(queue));
        self
    }

    /// The props, for a strategy or a mailbox of one's own.
    pub fn into_props(self) -> Props<WorkPullingController<T>> {
        self.into()
    }
}

impl<T> Clone for WorkPullingControllerProps<T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            settings: self.settings.clone(),
            chunking: self.chunking.clone(),
            service: self.service.clone(),
            queue: self.queue.clone(),
        }
    }
}

impl<T: Send + Sync + 'static> From<WorkPullingControllerProps<T>> for Props<WorkPullingController<T>> {
    fn from(props: WorkPullingControllerProps<T>) -> Self {
        Props::setup(move |ctx| WorkPullingController::new(&props, ctx))
    }
}

impl<T> fmt::Debug for WorkPullingControllerProps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkPullingControllerProps")
            .field("producer_id", &self.id)
            .field("settings", &self.settings)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
