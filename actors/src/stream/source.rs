//! [`ActorSource`]: what a reference is told, as a stream.

use std::any::type_name;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, TryAcquireError};

use crate::actor::{Actor, Behavior, Handled};
use crate::actor_ref::{ActorRef, Recipient, Sending};
use crate::block_queue::Refusal;
use crate::cell::Control;
use crate::cell_ref::ControlRef;
use crate::context::ActorContext;
use crate::discard;
use crate::envelope::Question;
use crate::event_stream::DeadLetterReason;
use crate::system::ActorSystem;

/// What becomes of a message for which an [`ActorSource`] has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// As a mailbox does: `tell` makes it a dead letter, `try_tell` returns it, `send` waits for room.
    Refuse,
    /// The message that waited longest is dropped in its place and becomes a dead letter of reason
    /// [`Displaced`](DeadLetterReason::Displaced). For news of which the latest counts.
    DropOldest,
    /// It is refused and ends the stream: what waits is still read, then the stream is over and
    /// [`overflowed`](ActorSource::overflowed). For readers that must not miss anything without noticing.
    Fail,
}

/// The messages of one reference, as a `futures` stream.
///
/// Made together with that reference by [`ActorSystem::spawn_source`] and [`ActorContext::spawn_source`]. Behind it is an
/// actor like any other, so it has a path, may be watched, and ends with its parent. When that actor stops, or is stopped,
/// the stream ends after the messages that wait; when the stream is dropped, those that wait become dead letters and the
/// actor stops.
///
/// # Ordering
/// Messages of one sender come in the order they were told.
///
/// # Cancel safety
/// Cancel safe: a message leaves the stream only by being returned.
///
/// ```
/// use actors::{ActorSystem, Overflow};
/// use futures_util::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let system = ActorSystem::new("guide");
/// let (actor_ref, mut latest) = system.spawn_source("temperatures", 2, Overflow::DropOldest);
/// for degrees in [17, 18, 21] {
///     actor_ref.tell(degrees); // by whichever actor measures
/// }
/// assert_eq!((latest.next().await, latest.next().await), (Some(18), Some(21)));
/// # }
/// ```
#[must_use = "dropping a source stops the actor behind it"]
pub struct ActorSource<M: Send + 'static> {
    owner: ActorRef<End>,
    shared: Arc<Shared<M>>,
}

struct Shared<M> {
    buffer: Mutex<Buffer<M>>,
    capacity: usize,
    overflow: Overflow,
    /// A permit for each message that may still come. Not used where the oldest makes room.
    room: Semaphore,
}

struct Buffer<M> {
    messages: VecDeque<M>,
    reader: Option<Waker>,
    closed: bool,
    overflowed: bool,
}

impl<M> Shared<M> {
    fn new(capacity: usize, overflow: Overflow) -> Arc<Self> {
        assert!(capacity > 0, "spawn_source: `capacity` must be at least 1");
        let buffer = Buffer { messages: VecDeque::new(), reader: None, closed: false, overflowed: false };
        let room = Semaphore::new(capacity.min(Semaphore::MAX_PERMITS));
        Arc::new(Self { buffer: Mutex::new(buffer), capacity, overflow, room })
    }

    /// Puts a message into room it has. `Err` returns one that is dropped instead, and why.
    fn put(&self, message: M) -> Result<(), (M, DeadLetterReason)> {
        let mut buffer = self.buffer.lock();
        if buffer.closed {
            return Err((message, DeadLetterReason::Stopped));
        }
        buffer.messages.push_back(message);
        let oldest = if buffer.messages.len() > self.capacity { buffer.messages.pop_front() } else { None };
        let reader = buffer.reader.take();
        drop(buffer);
        if let Some(reader) = reader {
            reader.wake();
        }
        oldest.map_or(Ok(()), |oldest| Err((oldest, DeadLetterReason::Displaced)))
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<M>> {
        let mut buffer = self.buffer.lock();
        let Some(message) = buffer.messages.pop_front() else {
            if buffer.closed {
                return Poll::Ready(None);
            }
            let before = buffer.reader.replace(cx.waker().clone());
            drop(buffer);
            drop(before); // outside the lock: a waker's destructor is not ours
            return Poll::Pending;
        };
        drop(buffer);
        if self.overflow != Overflow::DropOldest {
            self.room.add_permits(1);
        }
        Poll::Ready(Some(message))
    }

    /// Takes no more messages. Those that wait stay.
    fn close(&self, overflowed: bool) {
        let mut buffer = self.buffer.lock();
        if !buffer.closed {
            buffer.closed = true;
            buffer.overflowed = overflowed;
        }
        let reader = buffer.reader.take();
        drop(buffer);
        self.room.close();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<M: Send + 'static> ActorSource<M> {
    /// Whether the stream ends early because there was no room, under [`Overflow::Fail`].
    pub fn overflowed(&self) -> bool {
        self.shared.buffer.lock().overflowed
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.shared.buffer.lock().messages.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<M: Send + 'static> Stream for ActorSource<M> {
    type Item = M;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        self.shared.poll_take(cx)
    }
}

impl<M: Send + 'static> Drop for ActorSource<M> {
    fn drop(&mut self) {
        self.shared.close(false);
        let unread = mem::take(&mut self.shared.buffer.lock().messages);
        for message in unread {
            dropped(&self.owner, DeadLetterReason::StoppedBefore, message);
        }
        stop(&self.owner);
    }
}

impl<M: Send + 'static> fmt::Debug for ActorSource<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorSource").field("path", self.owner.path()).field("len", &self.len()).finish()
    }
}

/// What the actor behind a source is told: to stop.
struct End;

/// The actor behind a source: it lives, and the stream with it.
struct Owner<M: Send + 'static>(Arc<Shared<M>>);

impl<M: Send + 'static> Actor for Owner<M> {
    type Message = End;

    async fn receive(&mut self, _ctx: &mut ActorContext<End>, _end: End) -> Handled {
        Ok(Behavior::Stopped)
    }
}

impl<M: Send + 'static> Drop for Owner<M> {
    fn drop(&mut self) {
        self.0.close(false);
    }
}

fn stop(owner: &ActorRef<End>) {
    let _ = owner.try_tell(End); // it stops or has stopped: all the better
}

fn dropped<M>(owner: &ActorRef<End>, reason: DeadLetterReason, message: M) {
    owner.system().event_stream().dead_letter(owner.path(), type_name::<M>(), reason);
    discard::each_caught_because(reason.ask_error(), [message]);
}

/// What the reference of a source leads to: the buffer, not the mailbox of the actor behind it.
struct Entrance<M: Send + 'static> {
    owner: ActorRef<End>,
    shared: Arc<Shared<M>>,
}

impl<M: Send + 'static> Entrance<M> {
    fn put(&self, message: M) {
        if let Err((message, reason)) = self.shared.put(message) {
            dropped(&self.owner, reason, message);
        }
    }

    /// There is no room, and by the rule that is the end.
    fn overflow(&self) {
        self.shared.close(true);
        stop(&self.owner);
    }
}

impl<M: Send + 'static> Recipient<M> for Entrance<M> {
    fn control(&self) -> &dyn Control {
        self.owner.control()
    }

    fn control_arc(&self) -> ControlRef {
        self.owner.control_arc()
    }

    fn try_tell_with(&self, make: &mut dyn FnMut() -> M, _question: Option<Question>) -> Result<(), Refusal> {
        if self.shared.overflow == Overflow::DropOldest {
            if self.shared.room.is_closed() {
                return Err(Refusal::Stopped);
            }
            self.put(make());
            return Ok(());
        }
        match self.shared.room.try_acquire() {
            Ok(permit) => {
                let message = make();
                permit.forget(); // it comes back when the message is read
                self.put(message);
                Ok(())
            }
            Err(TryAcquireError::Closed) => Err(Refusal::Stopped),
            Err(TryAcquireError::NoPermits) => {
                if self.shared.overflow == Overflow::Fail {
                    self.overflow();
                }
                Err(Refusal::Full)
            }
        }
    }

    fn send_with<'a>(&'a self, make: &'a mut (dyn FnMut() -> M + Send)) -> Sending<'a> {
        Box::pin(async move {
            if self.shared.overflow != Overflow::Refuse {
                return self.try_tell_with(make, None).map_err(|_| Refusal::Stopped);
            }
            let permit = self.shared.room.acquire().await.map_err(|_| Refusal::Stopped)?;
            let message = make();
            permit.forget();
            self.put(message);
            Ok(())
        })
    }
}

impl ActorSystem {
    /// Spawns a reference at the top, under `/user`, whose messages come out of a stream; at most `capacity` wait.
    ///
    /// # Panics
    /// When an actor of that name exists at the top, the name is empty, or `capacity` is zero.
    pub fn spawn_source<M: Send + 'static>(
        &self,
        name: impl AsRef<str>,
        capacity: usize,
        overflow: Overflow,
    ) -> (ActorRef<M>, ActorSource<M>) {
        source(capacity, overflow, |owner| self.spawn(name, owner))
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// Spawns a child whose messages come out of a stream; at most `capacity` wait. The stream ends with the child, and so
    /// with this actor at the latest.
    ///
    /// # Panics
    /// When a child of that name exists, the name is empty, or `capacity` is zero; this fails the actor.
    pub fn spawn_source<N: Send + 'static>(
        &mut self,
        name: impl AsRef<str>,
        capacity: usize,
        overflow: Overflow,
    ) -> (ActorRef<N>, ActorSource<N>) {
        source(capacity, overflow, |owner| self.spawn(name, owner))
    }
}

fn source<M: Send + 'static>(
    capacity: usize,
    overflow: Overflow,
    spawn: impl FnOnce(Owner<M>) -> ActorRef<End>,
) -> (ActorRef<M>, ActorSource<M>) {
    let shared = Shared::new(capacity, overflow);
    let owner = spawn(Owner(shared.clone()));
    let entrance = Entrance { owner: owner.clone(), shared: shared.clone() };
    (ActorRef::other(entrance), ActorSource { owner, shared })
}
