//! [`DurableProducerQueue`]: what a producer has sent and what is confirmed, kept beyond a crash.
//!
//! The seam is a trait that returns futures, not an actor protocol: a journal's own writes are futures already, time
//! limit and retry are the controller's, and an implementation that is an actor answers with an ask.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::actor::BoxError;

/// What a queue's requests return.
pub type QueueFuture<R> = Pin<Box<dyn Future<Output = Result<R, BoxError>> + Send>>;

/// Where one producer's messages are stored before they are sent.
///
/// The controller makes one request of a kind at a time, gives each
/// [`request_timeout`](super::DurableQueueSettings::request_timeout) and repeats it when it fails or is late; after
/// [`attempts`](super::DurableQueueSettings::attempts) the controller fails. So a request may be made again after it
/// has taken effect: each must be idempotent. A future that is late is dropped.
///
/// A new life of the controller begins with `load`. From then on, requests with an earlier epoch must have no effect
/// and fail with [`Fenced`], also those that were under way: a late write of the life before would otherwise be unknown
/// to this one.
pub trait DurableProducerQueue<T>: Send + Sync + 'static {
    /// Claims the queue for a new life and gives what it holds.
    fn load(&self) -> QueueFuture<QueueState<T>>;

    /// Stores a message. Once this is done, each later `load` gives it until it is confirmed.
    fn store_sent(&self, epoch: u64, message: StoredMessage<T>) -> QueueFuture<()>;

    /// Stores that the messages of these numbers are confirmed, all or none. It is called lazily, with what was
    /// confirmed since the last call; what is lost of that in a crash is sent once more. Unknown numbers are none of
    /// its business.
    fn store_confirmed(&self, epoch: u64, seq_nrs: Vec<u64>) -> QueueFuture<()>;
}

/// What a queue holds.
pub struct QueueState<T> {
    /// Which life this is: higher than those before it.
    pub epoch: u64,
    /// The number of the next message; 1 in the beginning.
    pub next: u64,
    /// What is not confirmed, by number.
    pub unconfirmed: Vec<StoredMessage<T>>,
}

impl<T> fmt::Debug for QueueState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueState")
            .field("epoch", &self.epoch)
            .field("next", &self.next)
            .field("unconfirmed", &self.unconfirmed)
            .finish()
    }
}

/// One message in the queue.
pub struct StoredMessage<T> {
    /// Its number; of a message in chunks, the last one's.
    pub seq_nr: u64,
    /// Into how many chunks it was cut: it has the numbers `seq_nr + 1 - chunks ..= seq_nr`.
    pub chunks: NonZeroU64,
    /// Where it goes, for a producer with several consumers; else empty.
    pub qualifier: Arc<str>,
    /// All of it.
    pub message: Arc<T>,
}

impl<T> StoredMessage<T> {
    /// The first of its numbers.
    pub fn first_seq_nr(&self) -> u64 {
        (self.seq_nr + 1).saturating_sub(self.chunks.get())
    }
}

impl<T> Clone for StoredMessage<T> {
    fn clone(&self) -> Self {
        Self {
            seq_nr: self.seq_nr,
            chunks: self.chunks,
            qualifier: self.qualifier.clone(),
            message: self.message.clone(),
        }
    }
}

impl<T> fmt::Debug for StoredMessage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredMessage")
            .field("seq_nr", &self.seq_nr)
            .field("chunks", &self.chunks)
            .field("qualifier", &self.qualifier)
            .finish_non_exhaustive()
    }
}

/// The queue was loaded by a later life; this one has no say any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue belongs to epoch {current} by now; epoch {epoch} is over")]
pub struct Fenced {
    /// Of who asked.
    pub epoch: u64,
    /// Of who owns the queue.
    pub current: u64,
}

/// A queue in memory. Clones share it, so it outlives the lives of a controller, and nothing else.
pub struct InMemoryProducerQueue<T>(Arc<Mutex<Rows<T>>>);

struct Rows<T> {
    epoch: u64,
    next: u64,
    unconfirmed: BTreeMap<u64, StoredMessage<T>>,
}

impl<T> InMemoryProducerQueue<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Rows { epoch: 0, next: 1, unconfirmed: BTreeMap::new() })))
    }

    /// How many messages are not confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.0.lock().unconfirmed.len()
    }
}

impl<T> Default for InMemoryProducerQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for InMemoryProducerQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for InMemoryProducerQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.0.lock();
        f.debug_struct("InMemoryProducerQueue")
            .field("epoch", &rows.epoch)
            .field("next", &rows.next)
            .field("unconfirmed", &rows.unconfirmed.len())
            .finish()
    }
}

impl<T> Rows<T> {
    fn check(&self, epoch: u64) -> Result<(), BoxError> {
        if epoch == self.epoch { Ok(()) } else { Err(Fenced { epoch, current: self.epoch }.into()) }
    }
}

impl<T: Send + Sync + 'static> DurableProducerQueue<T> for InMemoryProducerQueue<T> {
    fn load(&self) -> QueueFuture<QueueState<T>> {
        let rows = self.0.clone();
        Box::pin(async move {
            let mut rows = rows.lock();
            rows.epoch += 1;
            let unconfirmed = rows.unconfirmed.values().cloned().collect();
            Ok(QueueState { epoch: rows.epoch, next: rows.next, unconfirmed })
        })
    }

    fn store_sent(&self, epoch: u64, message: StoredMessage<T>) -> QueueFuture<()> {
        let rows = self.0.clone();
        Box::pin(async move {
            let mut rows = rows.lock();
            rows.check(epoch)?;
            if message.seq_nr >= rows.next {
                rows.next = message.seq_nr + 1;
                rows.unconfirmed.insert(message.seq_nr, message);
            }
            Ok(())
        })
    }

    fn store_confirmed(&self, epoch: u64, seq_nrs: Vec<u64>) -> QueueFuture<()> {
        let rows = self.0.clone();
        Box::pin(async move {
            let mut rows = rows.lock();
            rows.check(epoch)?;
            for seq_nr in seq_nrs {
                rows.unconfirmed.remove(&seq_nr);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<R>(request: QueueFuture<R>) -> Result<R, BoxError> {
        futures_util::FutureExt::now_or_never(request).expect("memory does not wait")
    }

    fn stored(seq_nr: u64) -> StoredMessage<u64> {
        StoredMessage { seq_nr, chunks: NonZeroU64::MIN, qualifier: "".into(), message: Arc::new(seq_nr) }
    }

    #[test]
    fn a_request_of_an_earlier_life_has_no_effect_also_when_it_was_under_way() {
        let queue = InMemoryProducerQueue::new();
        let first = now(queue.load()).unwrap();
        now(queue.store_sent(first.epoch, stored(1))).unwrap();
        now(queue.store_sent(first.epoch, stored(2))).unwrap();
        let late = queue.store_sent(first.epoch, stored(3));

        let second = now(queue.load()).unwrap();

        let fenced = Fenced { epoch: 1, current: 2 };
        assert_eq!(now(late).unwrap_err().downcast_ref(), Some(&fenced));
        assert_eq!(now(queue.store_confirmed(first.epoch, vec![1])).unwrap_err().downcast_ref(), Some(&fenced));
        assert_eq!((second.next, second.unconfirmed.len(), queue.unconfirmed()), (3, 2, 2));
    }

    #[test]
    fn a_request_made_again_changes_nothing() {
        let queue = InMemoryProducerQueue::new();
        let epoch = now(queue.load()).unwrap().epoch;
        for _ in 0..2 {
            now(queue.store_sent(epoch, stored(1))).unwrap();
        }
        for _ in 0..2 {
            now(queue.store_confirmed(epoch, vec![1])).unwrap();
        }
        now(queue.store_sent(epoch, stored(1))).unwrap();
        assert_eq!(queue.unconfirmed(), 0);
        assert_eq!(now(queue.load()).unwrap().next, 2);
    }
}
