//! Reliable delivery across nodes: what the controllers of [`actors::delivery`] say to each other travels.
//!
//! A message that is delivered has the version in which its own type is written for the other node: a controller's message
//! is no more than an envelope.

#[cfg(test)]
mod tests;

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
