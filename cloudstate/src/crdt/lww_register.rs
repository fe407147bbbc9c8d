//! A register: the write with the highest timestamp wins.

use std::cmp::Reverse;

use super::{Element, ReplicaId};

/// How a write gets its timestamp (CloudState protocol: LWWRegister clocks). `cur` is the timestamp of the current value;
/// a register that was never written has none, it counts as lower than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `max(now, cur + 1)`: the last write wins.
    Default,
    /// `min(-now, cur - 1)`: the first write wins.
    Reverse,
    /// The given number.
    Custom(i64),
    /// The given number if it is greater than `cur`, else `cur + 1`.
    CustomAutoIncrement(i64),
}

/// Whether a write is now the register's value.
#[must_use = "a write that lost has changed nothing, which its author has to be told"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// It is, and this is the delta.
    Won(LwwRegister),
    /// The value that is there has precedence; nothing was changed.
    Lost {
        /// The timestamp that the write would have had.
        timestamp: i64,
        /// The timestamp of the value that stays.
        current: i64,
    },
}

impl SetOutcome {
    /// The delta: an empty one if the write lost.
    pub fn into_delta(self) -> LwwRegister {
        match self {
            SetOutcome::Won(delta) => delta,
            SetOutcome::Lost { .. } => LwwRegister::default(),
        }
    }
}

/// A register. Of two writes the one with the higher timestamp wins, then the one of the lower [`ReplicaId`], then a
/// replica's later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LwwRegister {
    pub(super) write: Option<Write>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) timestamp: i64,
    pub(super) replica: ReplicaId,
    /// Counts the replica's successive writes with one and the same timestamp.
    pub(super) repeat: u64,
    pub(super) value: Element,
}

impl Write {
    /// The greater one wins. The value decides only if a replica forgot what it had written.
    fn precedence(&self) -> (i64, Reverse<ReplicaId>, u64, &Element) {
        (self.timestamp, Reverse(self.replica), self.repeat, &self.value)
    }
}

impl LwwRegister {
    /// Writes a value in the name of the replica, at `now_ms` of the wall clock (milliseconds since 1970).
    pub fn set(&mut self, replica: ReplicaId, value: Element, clock: Clock, now_ms: u64) -> SetOutcome {
        let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let current = self.timestamp();
        let timestamp = match (clock, current) {
            (Clock::Default, None) => now,
            (Clock::Default, Some(current)) => now.max(current.saturating_add(1)),
            (Clock::Reverse, None) => -now,
            (Clock::Reverse, Some(current)) => current.saturating_sub(1).min(-now),
            (Clock::CustomAutoIncrement(given), Some(current)) if given <= current => current.saturating_add(1),
            (Clock::Custom(given) | Clock::CustomAutoIncrement(given), _) => given,
        };
        let repeat = match &self.write {
            Some(last) if last.timestamp == timestamp && last.replica == replica => last.repeat.saturating_add(1),
            _ => 0,
        };
        let write = Write { timestamp, replica, repeat, value };
        match &self.write {
            Some(last) if last.precedence() >= write.precedence() => {
                SetOutcome::Lost { timestamp, current: last.timestamp }
            }
            _ => {
                self.write = Some(write);
                SetOutcome::Won(self.clone())
            }
        }
    }

    /// The value, unless the register was never written.
    pub fn value(&self) -> Option<&Element> {
        self.write.as_ref().map(|write| &write.value)
    }

    /// The timestamp of the value.
    pub fn timestamp(&self) -> Option<i64> {
        self.write.as_ref().map(|write| write.timestamp)
    }

    /// Takes in what another copy knows.
    pub fn merge(&mut self, other: &LwwRegister) {
        if let Some(theirs) = &other.write
            && self.write.as_ref().is_none_or(|mine| mine.precedence() < theirs.precedence())
        {
            self.write = Some(theirs.clone());
        }
    }

    /// Who wrote is part of the order between writes, so it stays; it is one number and does not add up.
    pub(super) fn prune(&mut self, _removed: ReplicaId, _into: ReplicaId) {}

    pub(super) fn forget(&mut self, _removed: ReplicaId) {}

    pub(super) fn mentions(&self, _replica: ReplicaId) -> bool {
        false
    }
}
