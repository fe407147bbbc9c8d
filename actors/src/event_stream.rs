//! [`EventStream`]: local publish and subscribe by type, and the events the runtime publishes itself.

use std::any::{Any, TypeId, type_name};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tracing::warn;

use crate::actor_ref::{ActorRef, TryTellError};
use crate::ask::AskError;
use crate::ask_chain::Turn;
use crate::clock::{Clock, Tick};
use crate::discard;
use crate::path::ActorPath;

/// Dead letters logged one by one before the log falls silent.
const LOGGED_AT_FIRST: u64 = 10;
/// How long it stays silent then.
const SILENCE: Duration = Duration::from_secs(5 * 60);

/// A message that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// For whom it was.
    pub recipient: ActorPath,
    /// Its type. The message itself is gone.
    pub message_type: &'static str,
    /// Why it was dropped.
    pub reason: DeadLetterReason,
    /// The actor that sent it, where that is known: an actor sent it in its own turn and it was refused at once.
    pub sender: Option<ActorPath>,
}

/// A [`DeadLetter`] of a type that [`EventStream::suppress_dead_letters`] names: late without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressedDeadLetter(pub DeadLetter);

/// Why a message was dropped. Exactly one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// The recipient had stopped.
    Stopped,
    /// The recipient's mailbox was full.
    MailboxFull,
    /// The recipient stopped while the message waited.
    StoppedBefore,
    /// The recipient's mailbox was full, and it had waited longest when a newer one came; see
    /// [`Mailbox::drop_oldest`](crate::Mailbox::drop_oldest) and [`Overflow::DropOldest`](crate::Overflow::DropOldest).
    Displaced,
    /// The recipient wanted to stash it and the stash was full.
    StashFull,
    /// The recipient's stash was dropped with the message in it, by a restart or a stop for instance.
    StashDropped,
    /// The recipient is a router that had nobody to pass it on to.
    NoRoutees,
    /// The recipient failed on it, as often as it may; see [`Props::on_failed_message`](crate::Props::on_failed_message).
    Failed,
    /// The recipient failed on it, and as many messages are parked as may be.
    ParkingLotFull,
    /// It was asked, and the time for the answer was over before the recipient came to it.
    Expired,
    /// The recipient is on another node, and the message could not be written for that: its type is not registered here or
    /// there, it is too large, or the two have no version in common. Or it came from another node and could not be read.
    Unsendable,
    /// The recipient is on another node that could not be reached, or with which nothing passes any more.
    Unreachable,
}

impl DeadLetterReason {
    const ALL: [Self; 12] = [
        Self::Stopped,
        Self::MailboxFull,
        Self::StoppedBefore,
        Self::StashFull,
        Self::StashDropped,
        Self::NoRoutees,
        Self::Failed,
        Self::ParkingLotFull,
        Self::Expired,
        Self::Displaced,
        Self::Unsendable,
        Self::Unreachable,
    ];

    /// The reason as a label: `stopped`, `mailbox_full`, `stopped_before`, `stash_full`, `stash_dropped`, `no_routees`,
    /// `failed`, `parking_lot_full`, `expired`, `displaced`, `unsendable`, `unreachable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::MailboxFull => "mailbox_full",
            Self::StoppedBefore => "stopped_before",
            Self::StashFull => "stash_full",
            Self::StashDropped => "stash_dropped",
            Self::NoRoutees => "no_routees",
            Self::Failed => "failed",
            Self::ParkingLotFull => "parking_lot_full",
            Self::Expired => "expired",
            Self::Displaced => "displaced",
            Self::Unsendable => "unsendable",
            Self::Unreachable => "unreachable",
        }
    }

    /// What an ask in the message ends with.
    pub(crate) fn ask_error(self) -> AskError {
        match self {
            Self::MailboxFull | Self::NoRoutees | Self::Displaced => AskError::Full,
            Self::Unsendable | Self::Unreachable => AskError::NoReply,
            _ => AskError::Stopped,
        }
    }

    /// Whether the message never got into a mailbox or stash: then it is dropped in its sender's turn.
    fn is_refusal(self) -> bool {
        matches!(self, Self::Stopped | Self::MailboxFull | Self::NoRoutees)
    }
}

/// An actor returned [`Behavior::Unhandled`](crate::Behavior::Unhandled) for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnhandledMessage {
    /// The actor.
    pub recipient: ActorPath,
    /// The message's type.
    pub message_type: &'static str,
}

/// An actor failed and begins another life.
#[derive(Clone, Debug)]
pub struct ActorRestarted {
    /// The actor.
    pub actor: ActorPath,
    /// What it failed with.
    pub cause: Arc<dyn Error + Send + Sync>,
    /// How long it waits before the new life begins.
    pub delay: Duration,
}

/// An actor did not stop within its [`stop_timeout`](crate::Props::stop_timeout) or the limit it was given: its handler
/// was dropped at an await point, its state without `PostStop`. Work of several steps may be half done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopForced {
    /// The actor.
    pub actor: ActorPath,
    /// The time it had.
    pub after: Duration,
}

/// An actor was killed: its handler was dropped at an await point, its state without `PostStop`. Work of several steps may
/// be half done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorKilled {
    /// The actor.
    pub actor: ActorPath,
}

/// Local publish and subscribe by type. Subscribers are actors; they are removed once they stop, and all of them when the
/// system has ended.
///
/// Delivery is `try_tell`: what a subscriber has no room for is counted, not published again.
pub struct EventStream {
    /// By the event's type. Locked only to look up and to change: code of subscribers runs outside.
    subscribers: RwLock<Subscribers>,
    dropped: AtomicU64,
    dead_letters: DeadLetters,
}

#[derive(Default)]
struct Subscribers {
    by_type: BTreeMap<TypeId, Box<dyn Any + Send + Sync>>, // a `Told` of that type
    ended: bool,
}

/// Who is told events of type `E`. Replaced as a whole.
type Told<E> = Arc<[ActorRef<E>]>;

impl EventStream {
    pub(crate) fn new(clock: Clock) -> Self {
        let dead_letters = DeadLetters {
            counts: [const { AtomicU64::new(0) }; DeadLetterReason::ALL.len()],
            clock,
            logs: AtomicBool::new(true),
            harmless: RwLock::default(),
            sample: Mutex::default(),
        };
        Self { subscribers: RwLock::default(), dropped: AtomicU64::new(0), dead_letters }
    }

    /// Tells `subscriber` every event of type `E` published from now on. Twice is the same as once.
    pub fn subscribe<E: Clone + Send + 'static>(&self, subscriber: &ActorRef<E>) {
        self.change(|told: &[ActorRef<E>]| {
            let alive = told.iter().filter(|known| !known.is_stopped() && *known != subscriber);
            alive.chain([subscriber]).cloned().collect()
        });
    }

    /// Ends a subscription. What is in the subscriber's mailbox already still arrives.
    pub fn unsubscribe<E: Clone + Send + 'static>(&self, subscriber: &ActorRef<E>) {
        self.change(|told: &[ActorRef<E>]| told.iter().filter(|known| *known != subscriber).cloned().collect());
    }

    fn change<E: Clone + Send + 'static>(&self, change: impl FnOnce(&[ActorRef<E>]) -> Told<E>) {
        let mut subscribers = self.subscribers.write();
        if subscribers.ended {
            return;
        }
        let before = subscribers.by_type.remove(&TypeId::of::<E>());
        let told = before.as_ref().and_then(|told| told.downcast_ref::<Told<E>>()).map_or(&[][..], |told| told);
        let told = change(told);
        if !told.is_empty() {
            subscribers.by_type.insert(TypeId::of::<E>(), Box::new(told));
        }
        drop(subscribers);
        drop(before); // outside the lock: a reference's function may have a destructor
    }

    /// Lets go of all subscribers, for good: they keep the system they belong to.
    pub(crate) fn end(&self) {
        let ended = Subscribers { ended: true, ..Subscribers::default() };
        let before = std::mem::replace(&mut *self.subscribers.write(), ended);
        discard::each_caught(before.by_type);
    }

    /// Tells every subscriber of `E`. Costs a read lock and a look-up when there is none.
    pub fn publish<E: Clone + Send + 'static>(&self, event: E) {
        let told = {
            let subscribers = self.subscribers.read();
            let told = subscribers.by_type.get(&TypeId::of::<E>());
            told.and_then(|told| told.downcast_ref::<Told<E>>()).cloned()
        };
        let Some(told) = told else { return };
        let mut gone = false;
        for subscriber in &*told {
            // Whoever publishes has no part in what a subscriber makes of it.
            discard::caught(|| match subscriber.try_tell(event.clone()) {
                Ok(()) => {}
                Err(TryTellError::Stopped(_)) => gone = true,
                Err(TryTellError::Full(_)) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    metrics::counter!("actors_events_dropped_total").increment(1);
                }
            });
        }
        if gone {
            self.change(|told: &[ActorRef<E>]| told.iter().filter(|known| !known.is_stopped()).cloned().collect());
        }
    }

    /// How many events a subscriber had no room for.
    pub fn events_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many messages were dropped for `reason` since the system started.
    pub fn dead_letters(&self, reason: DeadLetterReason) -> u64 {
        self.dead_letters.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// How many messages were dropped since the system started.
    pub fn dead_letters_total(&self) -> u64 {
        DeadLetterReason::ALL.into_iter().map(|reason| self.dead_letters(reason)).sum()
    }

    /// Declares that a message of type `M` may come too late without harm, such as the last tick to something that has
    /// ended: such a dead letter is counted, but not logged, and published as [`SuppressedDeadLetter`] instead.
    pub fn suppress_dead_letters<M: 'static>(&self) {
        self.dead_letters.harmless.write().insert(type_name::<M>());
    }

    pub(crate) fn dead_letter(&self, recipient: &ActorPath, message_type: &'static str, reason: DeadLetterReason) {
        self.dead_letters.counts[reason as usize].fetch_add(1, Ordering::Relaxed);
        metrics::counter!("actors_dead_letters_total", "reason" => reason.as_str()).increment(1);
        let sender = if reason.is_refusal() { Turn::current().map(|turn| turn.head().path().clone()) } else { None };
        let letter = DeadLetter { recipient: recipient.clone(), message_type, reason, sender };
        if self.dead_letters.harmless.read().contains(message_type) {
            return self.publish(SuppressedDeadLetter(letter));
        }
        self.dead_letters.log(&letter, self.dead_letters_total());
        self.publish(letter);
    }

    /// The system is ending: what comes too late now says nothing, so dead letters are counted and published only.
    pub(crate) fn log_no_more(&self) {
        self.dead_letters.logs.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("dead_letters", &self.dead_letters_total()).finish_non_exhaustive()
    }
}

/// Counts always, logs samples.
struct DeadLetters {
    counts: [AtomicU64; DeadLetterReason::ALL.len()], // by `DeadLetterReason`
    clock: Clock,
    logs: AtomicBool,
    harmless: RwLock<BTreeSet<&'static str>>, // types of messages
    sample: Mutex<Sample>,
}

impl DeadLetters {
    fn log(&self, letter: &DeadLetter, total: u64) {
        if !self.logs.load(Ordering::Relaxed) {
            return;
        }
        let DeadLetter { recipient, message_type, reason, sender } = letter;
        let (reason, sender) = (reason.as_str(), sender.as_ref().map(tracing::field::display));
        let logged = self.sample.lock().next(self.clock.now());
        match logged {
            Logged::Yes => warn!(%recipient, sender, message_type, reason, total, "dead letter"),
            Logged::ThenSilent => {
                warn!(%recipient, sender, message_type, reason, total, "dead letter; further ones are only counted for five minutes");
            }
            Logged::No => {}
        }
    }
}

/// Which dead letters are logged: the first few, then one after each silence. Pure.
#[derive(Default)]
struct Sample {
    logged: u64,
    silent_until: Option<Tick>,
}

#[derive(Debug, PartialEq)]
enum Logged {
    Yes,
    ThenSilent,
    No,
}

impl Sample {
    fn next(&mut self, now: Tick) -> Logged {
        if self.silent_until.is_some_and(|until| now < until) {
            return Logged::No;
        }
        self.logged += 1;
        if self.logged < LOGGED_AT_FIRST {
            return Logged::Yes;
        }
        self.silent_until = Some(now + SILENCE);
        Logged::ThenSilent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_dead_letters_are_logged_then_one_every_five_minutes() {
        let mut sample = Sample::default();
        let mut logged_at = Vec::new();
        for second in 0..1_000 {
            let now = Tick::START + Duration::from_secs(second);
            if sample.next(now) != Logged::No {
                logged_at.push(second);
            }
        }
        assert_eq!(logged_at, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 309, 609, 909]);
    }
}
