//! [`Round`]: one attempt after the other to get the next epoch of one name.

use super::{Ballot, CouncilId, EpochMessage, Known};
use actors::Tick;
use rand::{RngExt, rngs::ChaCha8Rng};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// At least, and at most, how long whoever was outbid waits.
const OUTBID_WAITS: (u64, u64) = (20, 200);

/// A wish for the next epoch of one name.
#[derive(Debug)]
pub(super) struct Round {
    /// Of the wish.
    pub(super) id: u64,
    floor: u64,
    /// Of the attempt that is under way.
    pub(super) ballot: Option<Ballot>,
    /// The highest number that anybody used.
    number: u64,
    phase: Phase,
    answered: BTreeSet<u64>,
    /// When those that did not answer are asked again.
    pub(super) ask_at: Tick,
}

#[derive(Debug)]
enum Phase {
    Preparing { highest: u64 },
    Accepting { epoch: u64 },
}

impl Default for Round {
    fn default() -> Self {
        Self {
            id: 0,
            floor: 0,
            ballot: None,
            number: 0,
            phase: Phase::Preparing { highest: 0 },
            answered: BTreeSet::new(),
            ask_at: Tick::START,
        }
    }
}

impl Round {
    /// Begins anew, for this wish.
    pub(super) fn wish(&mut self, id: u64, floor: u64, now: Tick) {
        (self.id, self.floor) = (id, floor);
        self.restart(now);
    }

    /// What was under way does not count.
    pub(super) fn restart(&mut self, now: Tick) {
        self.ballot = None;
        self.phase = Phase::Preparing { highest: 0 };
        self.answered.clear();
        self.ask_at = now;
    }

    pub(super) fn has_answered(&self, uid: u64) -> bool {
        self.answered.contains(&uid)
    }

    pub(super) fn promised(&mut self, from: u64, known: Known) {
        if let Phase::Preparing { highest } = &mut self.phase {
            *highest = known.epoch.max(*highest);
            self.answered.insert(from);
        }
    }

    pub(super) fn accepted(&mut self, from: u64) {
        if matches!(self.phase, Phase::Accepting { .. }) {
            self.answered.insert(from);
        }
    }

    /// Somebody promised another more: the next attempt is above that, a little later.
    pub(super) fn refused(&mut self, promised: Ballot, rng: &mut ChaCha8Rng, now: Tick) {
        self.number = self.number.max(promised.number);
        let (least, most) = OUTBID_WAITS;
        self.restart(now + Duration::from_millis(rng.random_range(least..most)));
    }

    /// The epoch, if a majority of `voters` accepted it.
    pub(super) fn decided(&self, voters: &BTreeSet<u64>) -> Option<u64> {
        match self.phase {
            Phase::Accepting { epoch } if self.has_majority(voters) => Some(epoch),
            _ => None,
        }
    }

    /// What those that have not answered are to be asked now, if anything. `last` is the last ballot of this member.
    pub(super) fn ask(
        &mut self,
        council: CouncilId,
        name: &Arc<str>,
        last: Ballot,
        voters: &BTreeSet<u64>,
        now: Tick,
    ) -> Option<EpochMessage> {
        let name = name.clone();
        match (self.ballot, &self.phase) {
            (Some(ballot), Phase::Preparing { highest }) if self.has_majority(voters) => {
                let epoch = highest.checked_add(1)?.max(self.floor);
                self.phase = Phase::Accepting { epoch };
                self.answered.clear();
                Some(EpochMessage::Accept { council, name, ballot, epoch })
            }
            _ if now < self.ask_at => None,
            (Some(ballot), Phase::Preparing { .. }) => Some(EpochMessage::Prepare { council, name, ballot }),
            (Some(ballot), Phase::Accepting { epoch }) => {
                Some(EpochMessage::Accept { council, name, ballot, epoch: *epoch })
            }
            (None, _) => {
                self.number = self.number.max(last.number).checked_add(1)?;
                let ballot = Ballot { number: self.number, ..last };
                self.ballot = Some(ballot);
                Some(EpochMessage::Prepare { council, name, ballot })
            }
        }
    }

    fn has_majority(&self, voters: &BTreeSet<u64>) -> bool {
        self.answered.intersection(voters).count() * 2 > voters.len()
    }
}
