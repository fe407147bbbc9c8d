//! Reliable delivery across nodes: what the controllers of [`actors::delivery`] say to each other travels.
//!
//! A message that is delivered has the version in which its own type is written for the other node: a controller's message
//! is no more than an envelope.

use crate::{
    WireMessage,
    remote::{
        pack::{PackError, Packer, Unpacker},
        wire::RegistryBuilder,
    },
};
use actors::{
    ActorRef,
    delivery::{ConsumerControllerMessage, Incarnation, Payload, SequencedMessage, ToProducer},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use std::{fmt, ops::RangeInclusive, sync::Arc};

impl RegistryBuilder {
    /// `T` may travel between controllers of [`actors::delivery`], and by itself.
    #[must_use]
    pub(crate) fn delivery<T: WireMessage + Sync>(self) -> Self {
        let registry = self.message::<T>().message::<SequencedMessage<T>>();
        registry.message::<ToProducer<T>>().message::<ConsumerControllerMessage<T>>()
    }
}

impl<T: WireMessage + Sync> WireMessage for SequencedMessage<T> {
    const NAME: &'static str = "actors.delivery.Sequenced";
    const VERSION: u32 = T::VERSION;
    const READS: RangeInclusive<u32> = T::READS;

    fn name() -> Arc<str> {
        name::<T>(Self::NAME)
    }

    fn write(&self, version: u32, out: &mut Packer<'_>) -> Result<(), PackError> {
        let message = Sequenced::of(self, version, out.room())?;
        out.value(&message)
    }

    fn read(version: u32, bytes: Unpacker<'_>) -> Result<Self, PackError> {
        bytes.value::<Sequenced<T>>()?.read(version)
    }
}

impl<T: WireMessage + Sync> WireMessage for ToProducer<T> {
    const NAME: &'static str = "actors.delivery.ToProducer";

    fn name() -> Arc<str> {
        name::<T>(Self::NAME)
    }
}

/// What comes from another controller travels; what a consumer and its own controller say to each other does not.
impl<T: WireMessage + Sync> WireMessage for ConsumerControllerMessage<T> {
    const NAME: &'static str = "actors.delivery.Consumer";
    const VERSION: u32 = T::VERSION;
    const READS: RangeInclusive<u32> = T::READS;

    fn name() -> Arc<str> {
        name::<T>(Self::NAME)
    }

    fn write(&self, version: u32, out: &mut Packer<'_>) -> Result<(), PackError> {
        let message = match self {
            Self::FromProducer(message) => ToConsumer::FromProducer(Sequenced::of(message, version, out.room())?),
            Self::RegisterTo { producer } => ToConsumer::RegisterTo(producer.clone()),
            _ => return Err(PackError::other("a consumer and its controller are to be on the same node")),
        };
        out.value(&message)
    }

    fn read(version: u32, bytes: Unpacker<'_>) -> Result<Self, PackError> {
        Ok(match bytes.value::<ToConsumer<T>>()? {
            ToConsumer::FromProducer(message) => Self::FromProducer(message.read(version)?),
            ToConsumer::RegisterTo(producer) => Self::RegisterTo { producer },
        })
    }
}

fn name<T: WireMessage>(of: &str) -> Arc<str> {
    format!("{of}<{}>", T::name()).into()
}

#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
enum ToConsumer<T: Send + 'static> {
    FromProducer(Sequenced<T>),
    RegisterTo(ActorRef<ToProducer<T>>),
}

/// A [`SequencedMessage`] whose payload is written in a version of its own.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "", deserialize = ""))]
struct Sequenced<T: Send + 'static> {
    producer_id: Arc<str>,
    incarnation: Incarnation,
    seq_nr: u64,
    first: bool,
    ack: bool,
    carried: Carried,
    producer: ActorRef<ToProducer<T>>,
}

#[derive(Serialize, Deserialize)]
enum Carried {
    Whole(Bytes),
    Chunk { bytes: Bytes, begins: bool, ends: bool },
}

impl<T: WireMessage + Sync> Sequenced<T> {
    fn of(message: &SequencedMessage<T>, version: u32, max: usize) -> Result<Self, PackError> {
        let carried = match &message.payload {
            Payload::Whole(whole) => {
                let mut bytes = Vec::new();
                let mut packer = Packer::new(&mut bytes, max);
                whole.write(version, &mut packer)?;
                packer.end()?;
                Carried::Whole(Bytes(bytes))
            }
            Payload::Chunk { bytes, begins, ends } => {
                Carried::Chunk { bytes: Bytes(bytes.to_vec()), begins: *begins, ends: *ends }
            }
        };
        Ok(Self {
            producer_id: Arc::clone(&message.producer_id),
            incarnation: message.incarnation,
            seq_nr: message.seq_nr,
            first: message.first,
            ack: message.ack,
            carried,
            producer: message.producer.clone(),
        })
    }

    fn read(self, version: u32) -> Result<SequencedMessage<T>, PackError> {
        let Self { producer_id, incarnation, seq_nr, first, ack, carried, producer } = self;
        let payload = match carried {
            Carried::Whole(Bytes(bytes)) => Payload::Whole(Arc::new(T::read(version, Unpacker::new(&bytes))?)),
            Carried::Chunk { bytes: Bytes(bytes), begins, ends } => {
                Payload::Chunk { bytes: bytes.into(), begins, ends }
            }
        };
        Ok(SequencedMessage { producer_id, incarnation, seq_nr, first, ack, payload, producer })
    }
}

/// Written as bytes, and not as a list of numbers.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsBytes;
        impl Visitor<'_> for AsBytes {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(AsBytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        WireMessage,
        refs::tests::nodes::{SECOND, Two},
    };
    use actors::{
        Actor, ActorContext, ActorRef, Behavior, Handled, ServiceKey,
        delivery::{
            ConsumerController, ConsumerControllerMessage, ConsumerSettings, Delivery, ProducerController,
            ProducerControllerMessage, ProducerSettings, RequestNext, WorkPullingController,
            WorkPullingControllerMessage, WorkPullingSettings,
        },
    };
    use parking_lot::Mutex;
    use serde::{Deserialize, Serialize};
    use std::sync::Arc;

    #[derive(Debug, Serialize, Deserialize)]
    struct Parcel(u64);

    impl WireMessage for Parcel {
        const NAME: &'static str = "test.Parcel";
    }

    /// Sends parcels of these numbers.
    struct Sender(u64, u64);

    impl Actor for Sender {
        type Message = RequestNext<Parcel>;

        async fn receive(&mut self, _: &mut ActorContext<Self::Message>, next: RequestNext<Parcel>) -> Handled {
            if self.0 < self.1 {
                next.send(Parcel(self.0));
                self.0 += 1;
            }
            Ok(Behavior::Same)
        }
    }

    /// Writes down what comes, and confirms it.
    struct Clerk(Arc<Mutex<Vec<u64>>>);

    impl Actor for Clerk {
        type Message = Delivery<Parcel>;

        async fn receive(&mut self, _: &mut ActorContext<Self::Message>, delivery: Delivery<Parcel>) -> Handled {
            self.0.lock().push(delivery.message().0);
            delivery.confirm();
            Ok(Behavior::Same)
        }
    }

    fn nodes() -> Two {
        Two::with(|registry| crate::receptionist::protocol(registry.delivery::<Parcel>()))
    }

    #[test]
    fn parcels_arrive_once_and_in_order_at_another_node_whatever_is_lost() {
        let nodes = nodes();
        let sending =
            nodes.one.system.spawn("sending", ProducerController::props("parcels", ProducerSettings::default()));
        let sender = nodes.one.system.spawn("sender", Sender(0, 300));
        sending.tell(ProducerControllerMessage::Start { producer: sender });
        let counting = nodes.two.system.spawn("counting", ConsumerController::props(ConsumerSettings::default()));
        let counted = Arc::new(Mutex::new(Vec::new()));
        let clerk = nodes.two.system.spawn("clerk", Clerk(counted.clone()));
        counting.tell(ConsumerControllerMessage::Start { deliver_to: clerk });
        nodes.two.refs.name("counting", &counting).unwrap();
        let there: ActorRef<ConsumerControllerMessage<Parcel>> =
            nodes.one.refs.named(&nodes.two.me, "counting").unwrap();
        // Of all frames both ways each fifth is lost.
        for node in [&nodes.one, &nodes.two] {
            let sent = Mutex::new(0_u32);
            node.remote.lose(move |_, system, _| {
                let mut sent = sent.lock();
                *sent += 1;
                !system && sent.is_multiple_of(5)
            });
        }
        sending.tell(ProducerControllerMessage::ConnectTo {
            consumer: there.map(ConsumerControllerMessage::FromProducer),
        });
        nodes.kit.advance(600 * SECOND);
        assert_eq!(*counted.lock(), (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn workers_of_other_nodes_pull_work() {
        let nodes = nodes();
        let key = ServiceKey::<ConsumerControllerMessage<Parcel>>::new("workers");
        let done = Arc::new(Mutex::new(Vec::new()));
        for (node, name) in [(&nodes.one, "one"), (&nodes.two, "two")] {
            let props = ConsumerController::props(ConsumerSettings::default()).service(key.clone());
            let worker = node.system.spawn(format!("worker-{name}"), props);
            let clerk = node.system.spawn(format!("clerk-{name}"), Clerk(done.clone()));
            worker.tell(ConsumerControllerMessage::Start { deliver_to: clerk });
        }
        nodes.join_receptionists();
        nodes.settle();
        let work = WorkPullingController::props("work", WorkPullingSettings::default()).service(key);
        let work = nodes.one.system.spawn("work", work);
        nodes.settle();
        let sender = nodes.one.system.spawn("sender", Sender(0, 200));
        work.tell(WorkPullingControllerMessage::Start { producer: sender });
        nodes.kit.advance(30 * SECOND);
        let stats = nodes.kit.block_on(async { work.ask(WorkPullingControllerMessage::GetWorkerStats, SECOND).await });
        assert_eq!(stats.unwrap().workers, 2);
        let mut done = done.lock().clone();
        done.sort_unstable();
        assert_eq!(done, (0..200).collect::<Vec<_>>());
    }
}
