//! [`RequestNext`]: how a producer sends, and who waits for a confirmation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::actor_ref::ActorRef;
use crate::ask::{Ask, AskError, ReplyTo};

/// Leave to send one message. Using it up is what sends: a producer cannot be ahead of its demand.
///
/// Dropped unused, nothing more is asked for until the producer says `Start` again. One that is used after its
/// controller was restarted still sends, by the controller's next life.
#[must_use = "dropping the leave to send means that no further message is asked for"]
pub struct RequestNext<T> {
    pub(super) send_to: ActorRef<SendNext<T>>,
    pub(super) producer_id: Arc<str>,
    pub(super) seq_nr: u64,
    pub(super) confirmed: u64,
    pub(super) confirm_timeout: Duration,
}

impl<T: Send + Sync + 'static> RequestNext<T> {
    /// Sends `message`. Never blocks; if the controller has stopped, it becomes a dead letter.
    pub fn send(self, message: impl Into<Arc<T>>) {
        self.send_to.tell(SendNext { message: message.into(), reply_to: None });
    }

    /// Sends `message` and waits until the consumer has confirmed it, for
    /// [`confirm_timeout`](super::ProducerSettings::confirm_timeout) at most; gives its number.
    ///
    /// The message is sent by this call, before the first poll. In an actor, hand it to
    /// [`ActorContext::pipe_to_self`](crate::ActorContext::pipe_to_self) instead of awaiting it: the next
    /// `RequestNext` comes before the confirmation. Cancel safe: the message stays sent.
    ///
    /// # Errors
    /// An [`AskError`] when no confirmation came in time or the controller ended; the message may still be handled.
    pub fn send_confirmed(self, message: impl Into<Arc<T>>) -> Ask<u64> {
        let message = message.into();
        self.send_to.ask(|reply_to| SendNext { message, reply_to: Some(reply_to) }, self.confirm_timeout)
    }

    /// As [`send_confirmed`](Self::send_confirmed), for who has a `ReplyTo` already.
    pub fn send_replying(self, message: impl Into<Arc<T>>, reply_to: ReplyTo<u64>) {
        self.send_to.tell(SendNext { message: message.into(), reply_to: Some(reply_to) });
    }

    /// Who produces.
    pub fn producer_id(&self) -> &str {
        &self.producer_id
    }

    /// The number the message gets if it is not cut into chunks. In work pulling, chunks do not count.
    pub fn seq_nr(&self) -> u64 {
        self.seq_nr
    }

    /// Everything up to this number is confirmed. In work pulling, so many messages are.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }
}

impl<T> fmt::Debug for RequestNext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestNext")
            .field("producer_id", &self.producer_id)
            .field("seq_nr", &self.seq_nr)
            .field("confirmed", &self.confirmed)
            .finish_non_exhaustive()
    }
}

#[doc(hidden)]
pub struct SendNext<T> {
    pub(super) message: Arc<T>,
    pub(super) reply_to: Option<ReplyTo<u64>>,
}

/// Who waits for which confirmation.
#[derive(Default)]
pub(super) struct Replies(BTreeMap<u64, ReplyTo<u64>>);

impl Replies {
    pub(super) fn insert(&mut self, seq_nr: u64, reply_to: ReplyTo<u64>) {
        self.0.insert(seq_nr, reply_to);
    }

    /// `exactly`: those below may be lost, and nobody will learn.
    pub(super) fn confirmed(&mut self, up_to: u64, exactly: bool) {
        while let Some(entry) = self.0.first_entry()
            && *entry.key() <= up_to
        {
            let (seq_nr, reply_to) = entry.remove_entry();
            if exactly && seq_nr < up_to {
                reply_to.fail(AskError::NoReply);
            } else {
                reply_to.tell(seq_nr);
            }
        }
    }

    /// `lost`: it may be, and nobody will learn.
    pub(super) fn one_confirmed(&mut self, seq_nr: u64, lost: bool) {
        match self.0.remove(&seq_nr) {
            Some(reply_to) if lost => reply_to.fail(AskError::NoReply),
            Some(reply_to) => reply_to.tell(seq_nr),
            None => {}
        }
    }
}
