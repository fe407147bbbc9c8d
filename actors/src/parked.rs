//! [`ParkingLot`]: messages that actors failed on, kept for people to look at.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;
use tracing::warn;

use crate::actor_ref::{ActorRef, TryTellError};
use crate::cell_ref::CellRef;
use crate::discard;
use crate::path::ActorPath;

/// How many messages a system parks unless told otherwise.
pub(crate) const CAPACITY: usize = 1_000;

/// Messages that actors failed on, oldest first; see [`Props::on_failed_message`](crate::Props::on_failed_message).
///
/// Bounded: what comes when it is full becomes a dead letter. In memory only: it ends with the system.
///
/// ```
/// use actors::{Actor, ActorContext, ActorSystem, Behavior, FailedMessage, Handled, Props, SupervisorStrategy};
/// use std::time::Duration;
///
/// struct Importer;
///
/// impl Actor for Importer {
///     type Message = String;
///
///     async fn receive(&mut self, _ctx: &mut ActorContext<String>, row: String) -> Handled {
///         row.parse::<u64>()?;
///         Ok(Behavior::Same)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let system = ActorSystem::new("import");
/// let props = Props::new(|| Importer)
///     .supervise(SupervisorStrategy::restart())
///     .on_failed_message(FailedMessage::RedeliverThenPark { max: 2 });
/// let importer = system.spawn("importer", props);
/// importer.tell("12 apples".to_owned());
/// system.drain(&importer, Duration::from_secs(5)); // handles what waits, then stops
/// # while system.parking_lot().is_empty() {
/// #     tokio::task::yield_now().await;
/// # }
/// let parked = &system.parking_lot().list()[0];
/// assert_eq!((parked.cause.as_str(), parked.attempts), ("invalid digit found in string", 3));
/// # }
/// ```
pub struct ParkingLot {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Default)]
struct State {
    parked: BTreeMap<u64, Parked>,
    numbers: u64,
    /// Taken out for a moment, to be put back if refused.
    lent: usize,
    ended: bool,
}

struct Parked {
    about: ParkedMessage,
    message: Box<dyn Redeliverable>,
}

/// A message that is parked; also published on the event stream when it is.
///
/// It tells of the message and does not hold it. An actor that wants the message itself, to report it as failed say,
/// subscribes to this event and has the lot send it the message: with
/// [`replay_to`](ParkingLot::replay_to) the `id` and `ctx.this().map(..)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedMessage {
    /// Names it in this lot.
    pub id: u64,
    /// The actor that failed on it.
    pub recipient: ActorPath,
    /// Its type.
    pub message_type: &'static str,
    /// What the actor failed with, the last time.
    pub cause: String,
    /// How often the actor failed on it.
    pub attempts: u32,
    /// When it was parked, in milliseconds since 1970 by the system's clock.
    pub parked_at_ms: u64,
}

/// Why a parked message was not sent. It is still parked, unless there is none of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// There is no such message.
    #[error("no message of number {id} is parked; it was replayed or discarded, or never parked")]
    NotParked {
        /// The number asked for.
        id: u64,
    },
    /// The actor that failed on it takes no messages any more.
    #[error("the actor that failed on message {id} has stopped; replay it to its successor with `replay_to`")]
    Stopped {
        /// The message.
        id: u64,
    },
    /// The mailbox is full.
    #[error("the mailbox is full; message {id} stays parked, replay it later")]
    Full {
        /// The message.
        id: u64,
    },
    /// The reference is one for messages of another type.
    #[error("message {id} is a {message_type}; the reference given is one for messages of another type")]
    OtherType {
        /// The message.
        id: u64,
        /// Its type.
        message_type: &'static str,
    },
}

/// A message, whatever its type, and the actor it was for.
trait Redeliverable: Send {
    /// To the actor it was for, or to `other`, a reference to messages of its type. It comes back if refused.
    fn replay(self: Box<Self>, other: Option<&dyn Any>) -> Result<(), (Refused, Box<dyn Redeliverable>)>;
}

enum Refused {
    Stopped,
    Full,
    OtherType,
}

struct Letter<M> {
    message: M,
    /// Weak, because a parked message keeps no actor and no system.
    recipient: CellRef<M>,
}

impl<M: Send + 'static> Redeliverable for Letter<M> {
    fn replay(self: Box<Self>, other: Option<&dyn Any>) -> Result<(), (Refused, Box<dyn Redeliverable>)> {
        let target = match other {
            Some(other) => other.downcast_ref::<ActorRef<M>>().cloned().ok_or(Refused::OtherType),
            None => Ok(ActorRef::local(self.recipient.clone())),
        };
        let target = match target {
            Ok(target) => target,
            Err(refused) => return Err((refused, self)),
        };
        let Self { message, recipient } = *self;
        let (refused, message) = match target.try_tell(message) {
            Ok(()) => return Ok(()),
            Err(TryTellError::Stopped(message)) => (Refused::Stopped, message),
            Err(TryTellError::Full(message)) => (Refused::Full, message),
        };
        Err((refused, Box::new(Self { message, recipient })))
    }
}

impl ParkingLot {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), capacity }
    }

    /// What is parked, oldest first.
    pub fn list(&self) -> Vec<ParkedMessage> {
        self.state.lock().parked.values().map(|parked| parked.about.clone()).collect()
    }

    /// How many are parked.
    pub fn len(&self) -> usize {
        self.state.lock().parked.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many may be parked.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sends a parked message to the actor that failed on it, behind what waits there; its attempts are counted anew.
    ///
    /// # Errors
    /// [`ReplayError`] says why not; the message stays parked.
    pub fn replay(&self, id: u64) -> Result<(), ReplayError> {
        self.replay_somewhere(id, None)
    }

    /// As [`replay`](Self::replay), to another actor: a later incarnation, say, or one that looks into such messages.
    ///
    /// # Errors
    /// As there, and when `recipient` takes messages of another type.
    pub fn replay_to<M: Send + 'static>(&self, id: u64, recipient: &ActorRef<M>) -> Result<(), ReplayError> {
        self.replay_somewhere(id, Some(recipient))
    }

    fn replay_somewhere(&self, id: u64, other: Option<&dyn Any>) -> Result<(), ReplayError> {
        let Some(Parked { about, message }) = self.take(id) else { return Err(ReplayError::NotParked { id }) };
        let Err((refused, message)) = message.replay(other) else {
            self.state.lock().lent -= 1;
            return Ok(());
        };
        let message_type = about.message_type;
        let mut late = Some(Parked { about, message });
        {
            let mut state = self.state.lock();
            state.lent -= 1;
            if !state.ended {
                state.parked.extend(late.take().map(|parked| (id, parked)));
            }
        }
        discard::caught(|| drop(late)); // outside the lock
        Err(match refused {
            Refused::Stopped => ReplayError::Stopped { id },
            Refused::Full => ReplayError::Full { id },
            Refused::OtherType => ReplayError::OtherType { id, message_type },
        })
    }

    /// Takes a message out for a moment; its place is kept.
    fn take(&self, id: u64) -> Option<Parked> {
        let mut state = self.state.lock();
        let parked = state.parked.remove(&id)?;
        state.lent += 1;
        Some(parked)
    }

    /// Drops a parked message. `false` when there is none of that number.
    pub fn discard(&self, id: u64) -> bool {
        let parked = self.state.lock().parked.remove(&id);
        let was_there = parked.is_some();
        discard::caught(|| drop(parked)); // outside the lock: it may have a destructor
        was_there
    }

    /// Parks `message`; `false` when there is no room, and then it is dropped.
    pub(crate) fn park<M: Send + 'static>(
        &self,
        message: M,
        recipient: &CellRef<M>,
        cause: String,
        attempts: u32,
    ) -> bool {
        let message: Box<dyn Redeliverable> = Box::new(Letter { message, recipient: recipient.clone() });
        let head = recipient.head();
        let mut about = ParkedMessage {
            id: 0,
            recipient: head.path().clone(),
            message_type: type_name::<M>(),
            cause,
            attempts,
            parked_at_ms: head.system().clock().wall_ms(),
        };
        let mut message = Some(message);
        {
            let mut state = self.state.lock();
            if !state.ended && state.parked.len() + state.lent < self.capacity {
                state.numbers += 1;
                about.id = state.numbers;
                let parked = message.take().map(|message| (about.id, Parked { about: about.clone(), message }));
                state.parked.extend(parked);
            }
        }
        if let Some(message) = message {
            warn!(recipient = %about.recipient, capacity = self.capacity, "parking lot is full; a failed message is dropped");
            discard::caught(|| drop(message));
            return false;
        }
        metrics::counter!("actors_parked_messages_total").increment(1);
        warn!(recipient = %about.recipient, id = about.id, attempts, cause = about.cause, "failed message is parked");
        head.system().event_stream().publish(about);
        true
    }

    /// Drops all messages, for good.
    pub(crate) fn end(&self) {
        let parked = {
            let mut state = self.state.lock();
            state.ended = true;
            std::mem::take(&mut state.parked)
        };
        if !parked.is_empty() {
            warn!(parked = parked.len(), "parked messages are lost with their system");
        }
        discard::each_caught(parked);
    }
}

impl fmt::Debug for ParkingLot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParkingLot").field("len", &self.len()).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
