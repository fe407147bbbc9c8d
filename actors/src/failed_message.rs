//! [`FailedMessage`]: what becomes of a message whose handler failed. Pure.

/// What becomes of a message whose handler failed, see [`Props::on_failed_message`](crate::Props::on_failed_message).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailedMessage {
    /// It is gone. What every actor does that says nothing else.
    Drop,
    /// It is handled once more, before all that waits, when the actor goes on: by the new life after a restart, by the same
    /// state after a resume. At most `max` times after the first; then it is a dead letter, as it is at once when the actor stops.
    Redeliver {
        /// How often it is handled again. At least 1.
        max: u32,
    },
    /// It goes to the system's [`ParkingLot`](crate::ParkingLot), for people to look at.
    Park,
    /// As `Redeliver`, and as `Park` in place of the dead letter.
    RedeliverThenPark {
        /// How often it is handled again. At least 1.
        max: u32,
    },
}

/// What is to be done with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Redeliver,
    Park,
    Drop,
}

impl FailedMessage {
    /// `attempts`: how often it was handled and failed; `goes_on`: the actor does.
    fn fate(self, attempts: u32, goes_on: bool) -> Fate {
        match self {
            Self::Redeliver { max } | Self::RedeliverThenPark { max } if goes_on && attempts <= max => Fate::Redeliver,
            Self::Park | Self::RedeliverThenPark { .. } => Fate::Park,
            Self::Drop | Self::Redeliver { .. } => Fate::Drop,
        }
    }
}

/// What an actor does about messages it failed on, and how to keep one while it is handled.
pub(crate) struct FailedPolicy<M> {
    pub(crate) what: FailedMessage,
    pub(crate) copy: fn(&M) -> M,
}

/// Keeps a copy of the message in hand.
pub(crate) struct Kept<M> {
    policy: FailedPolicy<M>,
    in_hand: Option<M>,
    /// How often the message in hand was begun.
    attempts: u32,
    /// The next message is the one in hand once more.
    again: bool,
}

impl<M> Kept<M> {
    pub(crate) fn new(policy: FailedPolicy<M>) -> Self {
        Self { policy, in_hand: None, attempts: 0, again: false }
    }

    /// `message` is going to be handled.
    pub(crate) fn begin(&mut self, message: &M) {
        self.attempts = if std::mem::take(&mut self.again) { self.attempts.saturating_add(1) } else { 1 };
        self.in_hand = Some((self.policy.copy)(message));
    }

    /// Nothing is being handled.
    pub(crate) fn end(&mut self) {
        self.in_hand = None;
    }

    /// The handler failed. The message, how often it has, and what to do with it.
    pub(crate) fn failed(&mut self, goes_on: bool) -> Option<(M, u32, Fate)> {
        let message = self.in_hand.take()?;
        let fate = self.policy.what.fate(self.attempts, goes_on);
        self.again = fate == Fate::Redeliver;
        Some((message, self.attempts, fate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_actor_that_goes_on_gets_a_message_again_and_not_for_ever() {
        let twice = FailedMessage::Redeliver { max: 2 };
        assert_eq!(
            [1, 2, 3].map(|attempts| twice.fate(attempts, true)),
            [Fate::Redeliver, Fate::Redeliver, Fate::Drop]
        );
        assert_eq!(twice.fate(1, false), Fate::Drop);
        let then_park = FailedMessage::RedeliverThenPark { max: 1 };
        assert_eq!([1, 2].map(|attempts| then_park.fate(attempts, true)), [Fate::Redeliver, Fate::Park]);
        assert_eq!(then_park.fate(1, false), Fate::Park);
        assert_eq!(FailedMessage::Park.fate(1, true), Fate::Park);
    }
}
