//! How messages get into an actor's foyer.

use super::{Accepted, Foyer};
use crate::actor_ref::Stopped;
use crate::ask::AskError;
use crate::block_queue::{Refusal, Room};
use crate::cell::{Control, PILE};
use crate::cell_ref::CellRef;
use crate::discard;
use crate::envelope::{Envelope, Letter};
use crate::event_stream::DeadLetterReason;
use crate::mailbox::WhenFull;

impl<M: Send + 'static> CellRef<M> {
    /// Whether messages wait somewhere else than in the queue.
    pub(crate) fn foyer(&self) -> Option<&Foyer<M>> {
        if self.queue().takes_none() { self.head().foyer()?.downcast_ref() } else { None }
    }

    /// Lets a message in by the rules of the foyer.
    pub(crate) fn tell_through(
        &self,
        foyer: &Foyer<M>,
        letter: Letter<M>,
        room: Room,
    ) -> Result<(), (Refusal, Envelope<M>)> {
        match foyer.offer(self.queue(), foyer.entry(letter), room) {
            Ok(Accepted { wake, len, displaced }) => {
                self.schedule(wake);
                if len.is_multiple_of(PILE) {
                    self.head().system().scheduler().hurry();
                }
                for entry in displaced {
                    self.dropped(DeadLetterReason::Displaced, entry.letter.envelope);
                }
                Ok(())
            }
            Err((Refusal::Full, envelope)) if foyer.when_full == WhenFull::DropNewest => {
                self.head().warn_full();
                self.dropped(DeadLetterReason::MailboxFull, envelope);
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }

    fn dropped(&self, reason: DeadLetterReason, envelope: Envelope<M>) {
        self.head().dead_letter::<M>(reason);
        discard::each_caught_because(reason.ask_error(), [envelope]);
    }

    /// Lets a message in, and waits for that where it would be refused.
    pub(crate) async fn send_through(&self, foyer: &Foyer<M>, message: M) -> Result<(), Stopped<M>> {
        let weight = foyer.weigh(&message);
        let Ok(hold) = foyer.hold(Some(weight)).await else { return Err(Stopped(message)) };
        match foyer.fill(hold, self.queue(), foyer.entry(Envelope::Message(message).into())) {
            Ok(wake) => {
                self.schedule(wake);
                Ok(())
            }
            Err(Envelope::Message(message)) => Err(Stopped(message)),
            Err(_) => unreachable!("the envelope made above is returned"),
        }
    }

    /// Makes a message if there is room, and delivers it; should the actor have closed in between, to dead letters.
    pub(crate) fn try_deliver_with(&self, room: Room, make: impl FnOnce() -> Letter<M>) -> Result<(), Refusal> {
        let Some(foyer) = self.foyer() else {
            let permit = self.queue().try_reserve(room)?;
            self.deliver(permit, make());
            return Ok(());
        };
        if foyer.when_full == WhenFull::Refuse {
            let hold = foyer.try_hold(self.queue(), room)?;
            match foyer.fill(hold, self.queue(), foyer.entry(make())) {
                Ok(wake) => self.schedule(wake),
                Err(envelope) => self.dropped(DeadLetterReason::Stopped, envelope),
            }
        } else {
            if self.is_closed() {
                return Err(Refusal::Stopped);
            }
            if let Err((_, envelope)) = self.tell_through(foyer, make(), room) {
                self.dropped(DeadLetterReason::Stopped, envelope);
            }
        }
        Ok(())
    }

    /// As [`try_deliver_with`](Cell::try_deliver_with), but waits for room.
    ///
    /// # Errors
    /// The actor takes no more messages.
    pub(crate) async fn deliver_with(&self, make: impl FnOnce() -> Letter<M>) -> Result<(), Refusal> {
        let Some(foyer) = self.foyer() else {
            let permit = self.queue().reserve().await.map_err(|()| Refusal::Stopped)?;
            self.deliver(permit, make());
            return Ok(());
        };
        if foyer.when_full != WhenFull::Refuse {
            return self.try_deliver_with(Room::Ordinary, make);
        }
        let hold = foyer.hold(None).await.map_err(|()| Refusal::Stopped)?;
        match foyer.fill(hold, self.queue(), foyer.entry(make())) {
            Ok(wake) => self.schedule(wake),
            Err(envelope) => self.dropped(DeadLetterReason::Stopped, envelope),
        }
        Ok(())
    }

    /// Delivers what is bounded elsewhere and takes no room in a foyer.
    pub(crate) fn deliver_past_foyer(&self, envelope: Envelope<M>) {
        if self.is_closed() {
            return discard::because(AskError::Stopped, envelope);
        }
        match self.queue().push(envelope, Room::Unbounded) {
            Ok(wake) => self.schedule(wake),
            Err((_, envelope)) => discard::because(AskError::Stopped, envelope),
        }
    }
}
