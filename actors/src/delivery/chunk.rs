//! Cutting large messages into chunks and joining them again.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use super::protocol::Payload;
use crate::actor::BoxError;

const DEFAULT_MESSAGE_MAX: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("it is not zero");

/// A message that gives its bytes and can be made of them.
pub trait Chunkable: Sized {
    /// The bytes it can be made of again.
    fn to_bytes(&self) -> Vec<u8>;

    /// Makes it of what [`to_bytes`](Chunkable::to_bytes) gave.
    ///
    /// # Errors
    /// When the bytes are not of such a message. The consumer's controller fails with it.
    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError>;
}

/// How messages above a size are cut into chunks. Both controllers of a link need one for the same kind of bytes.
///
/// A chunk travels like a message of its own: it has a number, counts in the window and is sent again when lost. So a
/// large message does not hold up what travels beside it. Messages up to the size travel whole, and so does everything
/// where there is no such setting. Finding out how large a message is takes its bytes, each time one is sent.
pub struct Chunking<T> {
    size: NonZeroUsize,
    message_max: NonZeroUsize,
    codec: Arc<dyn Codec<T>>,
}

impl<T: Chunkable + 'static> Chunking<T> {
    /// Chunks of `size` bytes at most.
    pub fn of(size: NonZeroUsize) -> Self {
        Self::with(size, T::to_bytes, T::from_bytes)
    }
}

impl<T: 'static> Chunking<T> {
    /// As [`of`](Chunking::of), for messages whose bytes come and go through functions.
    pub fn with(
        size: NonZeroUsize,
        to_bytes: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static,
        from_bytes: impl Fn(&[u8]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self { size, message_max: DEFAULT_MESSAGE_MAX, codec: Arc::new((to_bytes, from_bytes)) }
    }

    /// How many bytes one message may have; the controller that meets a larger one fails. Default 64 MiB.
    #[must_use]
    pub fn message_max(mut self, bytes: NonZeroUsize) -> Self {
        self.message_max = bytes;
        self
    }

    /// `message` in pieces of the size set.
    pub(super) fn cut(&self, message: &Arc<T>) -> Result<Vec<Payload<T>>, ChunkError> {
        let bytes = self.bytes(message)?;
        if bytes.len() <= self.size.get() {
            return Ok(vec![Payload::Whole(message.clone())]);
        }
        Ok(pieces(&bytes, self.size.get()))
    }

    /// `message` in exactly `pieces` pieces, as it was cut when it got its numbers.
    pub(super) fn cut_into(&self, message: &Arc<T>, count: NonZeroU64) -> Result<Vec<Payload<T>>, ChunkError> {
        let count = count.get() as usize;
        if count == 1 {
            return Ok(vec![Payload::Whole(message.clone())]);
        }
        let bytes = self.bytes(message)?;
        let mut cut = pieces(&bytes, bytes.len().div_ceil(count).max(1));
        let complete = cut.len() == count;
        if let Some(Payload::Chunk { ends, .. }) = cut.last_mut() {
            *ends = complete;
        }
        Ok(pad(cut, count))
    }

    fn bytes(&self, message: &T) -> Result<Vec<u8>, ChunkError> {
        let bytes = self.codec.encode(message);
        if bytes.len() > self.message_max.get() {
            return Err(ChunkError::TooLarge { bytes: bytes.len(), message_max: self.message_max.get() });
        }
        Ok(bytes)
    }
}

fn pieces<T>(bytes: &[u8], size: usize) -> Vec<Payload<T>> {
    let mut begins = true;
    let mut cut: Vec<_> = bytes
        .chunks(size)
        .map(|piece| Payload::Chunk { bytes: piece.into(), begins: std::mem::take(&mut begins), ends: false })
        .collect();
    if let Some(Payload::Chunk { ends, .. }) = cut.last_mut() {
        *ends = true;
    }
    cut
}

/// Adds empty pieces until there are `count`.
fn pad<T>(mut cut: Vec<Payload<T>>, count: usize) -> Vec<Payload<T>> {
    while cut.len() < count {
        let begins = cut.is_empty();
        let ends = cut.len() + 1 == count;
        cut.push(Payload::Chunk { bytes: [].into(), begins, ends });
    }
    cut
}

impl<T> Clone for Chunking<T> {
    fn clone(&self) -> Self {
        Self { size: self.size, message_max: self.message_max, codec: self.codec.clone() }
    }
}

impl<T> fmt::Debug for Chunking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunking").field("size", &self.size).field("message_max", &self.message_max).finish()
    }
}

trait Codec<T>: Send + Sync {
    fn encode(&self, message: &T) -> Vec<u8>;
    fn decode(&self, bytes: &[u8]) -> Result<T, BoxError>;
}

impl<T, E, D> Codec<T> for (E, D)
where
    E: Fn(&T) -> Vec<u8> + Send + Sync,
    D: Fn(&[u8]) -> Result<T, BoxError> + Send + Sync,
{
    fn encode(&self, message: &T) -> Vec<u8> {
        (self.0)(message)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, BoxError> {
        (self.1)(bytes)
    }
}

/// Why a message in chunks could not be cut or joined. The controller fails with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The message has more bytes than may be.
    #[error("a message has {bytes} bytes; `Chunking::message_max` allows {message_max}")]
    TooLarge {
        /// How many it has, as far as was seen.
        bytes: usize,
        /// The setting.
        message_max: usize,
    },
    /// Chunks came but nothing was said about how to join them.
    #[error("the producer cuts messages into chunks and this consumer cannot join them; give its props a `Chunking`")]
    NoChunking,
    /// The bytes are not of a message.
    #[error("the chunks of message {seq_nr} do not make a message: {error}")]
    Malformed {
        /// The number of its last chunk.
        seq_nr: u64,
        /// What the message said.
        error: BoxError,
    },
}

/// The chunks of one message that have come so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    bytes: Vec<u8>,
    begun: bool,
}

impl Assembly {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a piece that does not begin a message would have something to continue.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes what comes next; gives the message once it is complete.
    pub(super) fn add<T>(
        &mut self,
        seq_nr: u64,
        payload: Payload<T>,
        chunking: Option<&Chunking<T>>,
    ) -> Result<Option<Arc<T>>, ChunkError> {
        let (piece, ends) = match payload {
            Payload::Whole(message) => {
                self.clear();
                return Ok(Some(message));
            }
            Payload::Chunk { bytes, begins, ends } => {
                if begins {
                    self.clear();
                }
                (bytes, ends)
            }
        };
        let chunking = chunking.ok_or(ChunkError::NoChunking)?;
        let (bytes, message_max) = (self.bytes.len() + piece.len(), chunking.message_max.get());
        if bytes > message_max {
            return Err(ChunkError::TooLarge { bytes, message_max });
        }
        self.bytes.extend_from_slice(&piece);
        self.begun = true;
        if !ends {
            return Ok(None);
        }
        let whole = std::mem::take(self).bytes;
        let message = chunking.codec.decode(&whole).map_err(|error| ChunkError::Malformed { seq_nr, error })?;
        Ok(Some(Arc::new(message)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunking(size: usize) -> Chunking<Vec<u8>> {
        Chunking::with(NonZeroUsize::new(size).unwrap(), Vec::clone, |bytes| Ok(bytes.to_vec()))
    }

    fn joined(chunking: &Chunking<Vec<u8>>, cut: Vec<Payload<Vec<u8>>>) -> Vec<Arc<Vec<u8>>> {
        let mut assembly = Assembly::default();
        let add = |(payload, seq_nr)| assembly.add(seq_nr, payload, Some(chunking)).unwrap();
        cut.into_iter().zip(1..).filter_map(add).collect()
    }

    proptest! {
        #[test]
        fn what_was_cut_is_joined(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..40, count in 1u64..400) {
            let chunking = chunking(size);
            let message = Arc::new(bytes);
            let cut = chunking.cut(&message).unwrap();
            prop_assert_eq!(cut.len(), message.len().div_ceil(size).max(1));
            prop_assert_eq!(joined(&chunking, cut), vec![message.clone()]);
            let cut = chunking.cut_into(&message, NonZeroU64::new(count).unwrap()).unwrap();
            prop_assert_eq!(cut.len() as u64, count);
            prop_assert_eq!(joined(&chunking, cut), vec![message]);
        }
    }

    #[test]
    fn what_is_too_large_is_refused_on_both_sides() {
        let wide = chunking(4);
        let narrow = wide.clone().message_max(NonZeroUsize::new(9).unwrap());
        let message = Arc::new(vec![7; 10]);
        let text = "a message has 10 bytes; `Chunking::message_max` allows 9";
        assert_eq!(narrow.cut(&message).unwrap_err().to_string(), text);
        let mut assembly = Assembly::default();
        let errors = wide
            .cut(&message)
            .unwrap()
            .into_iter()
            .zip(1..)
            .filter_map(|(payload, seq_nr)| assembly.add(seq_nr, payload, Some(&narrow)).err());
        assert_eq!(errors.map(|error| error.to_string()).collect::<Vec<_>>(), [text]);
    }
}
