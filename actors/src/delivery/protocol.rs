//! What the two controllers say to each other. Every message may be lost, doubled, late or overtaken.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::actor_ref::ActorRef;
use crate::system::ActorSystem;

/// Which life of a controller. A restart under the same reference is another one.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation {
    system: u64,
    number: u64,
}

impl Incarnation {
    /// A life that begins now.
    pub(super) fn new(system: &ActorSystem) -> Self {
        Self { system: system.uid(), number: system.next_uid() }
    }

    #[cfg(test)]
    pub(super) const fn of(system: u64, number: u64) -> Self {
        Self { system, number }
    }
}

/// Tells the life one talks with from those before it.
#[derive(Debug, Default)]
pub(super) struct Lives {
    current: Option<Incarnation>,
    past: VecDeque<Incarnation>, // the latest known of each system that was left
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Current,
    New,
    Stale,
}

impl Lives {
    /// Systems that are remembered after the peer moved away from them.
    const PAST: usize = 16;

    pub(super) fn current(&self) -> Option<Incarnation> {
        self.current
    }

    pub(super) fn classify(&self, life: Incarnation) -> Seen {
        if self.current == Some(life) {
            return Seen::Current;
        }
        let known = self.current.iter().chain(&self.past).find(|known| known.system == life.system);
        if known.is_some_and(|known| known.number >= life.number) { Seen::Stale } else { Seen::New }
    }

    pub(super) fn replace_by(&mut self, life: Incarnation) {
        self.past.retain(|past| past.system != life.system);
        if let Some(before) = self.current.replace(life)
            && before.system != life.system
        {
            self.past.push_back(before);
            if self.past.len() > Self::PAST {
                self.past.pop_front();
            }
        }
    }
}

/// From a producer's controller to a consumer's.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "T: serde::Serialize + Send + Sync + 'static",
        deserialize = "T: serde::Deserialize<'de> + Send + Sync + 'static"
    ))
)]
pub struct SequencedMessage<T> {
    /// Who produces.
    pub producer_id: Arc<str>,
    /// Which life of its controller.
    pub incarnation: Incarnation,
    /// The number: from 1, without gaps. Of a message in chunks, each chunk has its own.
    pub seq_nr: u64,
    /// The first of this link: all numbers below are confirmed.
    pub first: bool,
    /// Whether the producer waits for the confirmation of this very message.
    pub ack: bool,
    /// What is carried.
    pub payload: Payload<T>,
    /// Where the consumer's controller answers.
    pub producer: ActorRef<ToProducer<T>>,
}

impl<T> Clone for SequencedMessage<T> {
    fn clone(&self) -> Self {
        Self {
            producer_id: self.producer_id.clone(),
            incarnation: self.incarnation,
            seq_nr: self.seq_nr,
            first: self.first,
            ack: self.ack,
            payload: self.payload.clone(),
            producer: self.producer.clone(),
        }
    }
}

impl<T> fmt::Debug for SequencedMessage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequencedMessage")
            .field("producer_id", &self.producer_id)
            .field("incarnation", &self.incarnation)
            .field("seq_nr", &self.seq_nr)
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

/// A message, or a piece of one. Kept until it is confirmed, so that nothing is copied for sending it again.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "T: serde::Serialize + Send + Sync + 'static",
        deserialize = "T: serde::Deserialize<'de> + Send + Sync + 'static"
    ))
)]
pub enum Payload<T> {
    /// All of it.
    Whole(Arc<T>),
    /// A piece of its bytes; pieces come in order.
    Chunk {
        /// The bytes.
        #[cfg_attr(feature = "serde", serde(with = "bytes"))]
        bytes: Arc<[u8]>,
        /// The first piece.
        begins: bool,
        /// The last piece.
        ends: bool,
    },
}

impl<T> Clone for Payload<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Whole(message) => Self::Whole(message.clone()),
            Self::Chunk { bytes, begins, ends } => Self::Chunk { bytes: bytes.clone(), begins: *begins, ends: *ends },
        }
    }
}

impl<T> Payload<T> {
    pub(super) fn begins(&self) -> bool {
        !matches!(self, Self::Chunk { begins: false, .. })
    }
}

impl<T> fmt::Debug for Payload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(_) => f.write_str("Whole"),
            Self::Chunk { bytes, begins, ends } => {
                write!(f, "Chunk({} bytes, begins: {begins}, ends: {ends})", bytes.len())
            }
        }
    }
}

/// From a consumer's controller to a producer's.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "T: serde::Serialize + Send + Sync + 'static",
        deserialize = "T: serde::Deserialize<'de> + Send + Sync + 'static"
    ))
)]
pub enum ToProducer<T> {
    /// A consumer that is ready for a producer. Said again until something comes from it, and when it is silent.
    Register {
        /// Where to send.
        consumer: ActorRef<SequencedMessage<T>>,
        /// Which life of its controller.
        incarnation: Incarnation,
    },
    /// How far the consumer is and how far the producer may go.
    Request(Request),
    /// Something is missing.
    Resend(Resend),
    /// Everything up to a number is confirmed.
    Ack(Ack),
}

/// How far a consumer is and how far its producer may go.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which life of the producer's controller is meant; another one ignores it.
    pub producer: Incarnation,
    /// Which life of the consumer's controller says so.
    pub consumer: Incarnation,
    /// The consumer has finished with everything up to this number.
    pub confirmed: u64,
    /// The producer may send everything up to this number.
    pub up_to: u64,
    /// Whether the consumer asks again for what is lost; else nothing needs to be kept for that.
    pub support_resend: bool,
    /// Nothing came for a while: what was sent from this number on is lost, or nothing was sent.
    pub silent_from: Option<u64>,
}

/// Something is missing.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    /// Which life of the producer's controller is meant; another one ignores it.
    pub producer: Incarnation,
    /// Which life of the consumer's controller says so.
    pub consumer: Incarnation,
    /// The number from which everything is to be sent again. 0: the consumer does not know this producer and needs a
    /// message that is marked as the first.
    pub from: u64,
}

/// Everything up to a number is confirmed.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which life of the producer's controller is meant; another one ignores it.
    pub producer: Incarnation,
    /// The number.
    pub confirmed: u64,
}

impl<T> Clone for ToProducer<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Register { consumer, incarnation } => {
                Self::Register { consumer: consumer.clone(), incarnation: *incarnation }
            }
            Self::Request(request) => Self::Request(*request),
            Self::Resend(resend) => Self::Resend(*resend),
            Self::Ack(ack) => Self::Ack(*ack),
        }
    }
}

impl<T> fmt::Debug for ToProducer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { incarnation, .. } => f.debug_tuple("Register").field(incarnation).finish(),
            Self::Request(request) => request.fmt(f),
            Self::Resend(resend) => resend.fmt(f),
            Self::Ack(ack) => ack.fmt(f),
        }
    }
}

/// A chunk as bytes, and not as a list of numbers.
#[cfg(feature = "serde")]
mod bytes {
    use std::fmt;
    use std::sync::Arc;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Arc<[u8]>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Arc<[u8]>, E> {
                Ok(bytes.into())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_that_was_replaced_stays_in_the_past_also_after_a_move_to_another_system() {
        let (old, new, elsewhere, back) =
            (Incarnation::of(1, 5), Incarnation::of(1, 7), Incarnation::of(2, 3), Incarnation::of(1, 9));
        let mut lives = Lives::default();
        lives.replace_by(old);
        assert_eq!(lives.classify(new), Seen::New);
        lives.replace_by(new);
        assert_eq!((lives.classify(old), lives.classify(new)), (Seen::Stale, Seen::Current));
        lives.replace_by(elsewhere);
        assert_eq!((lives.classify(new), lives.classify(back)), (Seen::Stale, Seen::New));
        lives.replace_by(back);
        assert_eq!(lives.classify(elsewhere), Seen::Stale);
    }
}
