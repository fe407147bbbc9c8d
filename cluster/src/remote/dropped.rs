//! [`DropReason`] and [`Dropped`]: nothing is dropped without a reason, and each is counted.

/// Why a message did not go to, or was not taken from, another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DropReason {
    /// As many were waiting for this lane as may, or as many bytes.
    LaneFull,
    /// More bytes than a frame of its lane may have.
    TooLarge,
    /// Nobody answered there for so long.
    Unreachable,
    /// The life it was meant for is over.
    OldLife,
    /// It came from a life that is over, or is not the one behind the connection.
    Stale,
    /// Nothing passes to or from that life any more.
    Quarantined,
    /// More associations than one node may have.
    TooManyPeers,
    /// The other node knows no such type.
    UnknownThere,
    /// This node knows no such type.
    UnknownHere,
    /// There is no version that one writes and the other reads.
    NoCommonVersion,
    /// Its bytes are no such value.
    Malformed,
    /// A system message that came before, or before one that is missing. It is sent again: nothing is lost.
    OutOfOrder,
    /// The connection broke, or was to end, while it was written: it may have arrived.
    Broken,
    /// Nobody here takes what comes over its channel.
    NoReceiver,
    /// This node has stopped.
    Stopped,
}

impl DropReason {
    /// All of them, in the order of [`Dropped::iter`].
    pub(crate) const ALL: [Self; 15] = [
        Self::LaneFull,
        Self::TooLarge,
        Self::Unreachable,
        Self::OldLife,
        Self::Stale,
        Self::Quarantined,
        Self::TooManyPeers,
        Self::UnknownThere,
        Self::UnknownHere,
        Self::NoCommonVersion,
        Self::Malformed,
        Self::OutOfOrder,
        Self::Broken,
        Self::NoReceiver,
        Self::Stopped,
    ];
}

/// How many were dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped([u64; DropReason::ALL.len()]);

impl Dropped {
    /// `count` more.
    pub(crate) fn add(&mut self, reason: DropReason, count: usize) {
        let of_reason = &mut self.0[reason as usize];
        *of_reason = of_reason.saturating_add(count as u64);
    }

    /// So far, of what is not sent again, and not for a life that is over.
    pub(crate) fn lost(&self) -> u64 {
        use DropReason::{OldLife, OutOfOrder, Quarantined};
        let lost = DropReason::ALL.into_iter().filter(|reason| !matches!(reason, OldLife | OutOfOrder | Quarantined));
        lost.fold(0, |sum, reason| sum.saturating_add(self.0[reason as usize]))
    }

    /// So far.
    #[cfg(test)]
    pub(crate) fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All of another's as well.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine = mine.saturating_add(theirs));
    }

    /// Reasons with how many, 0 included.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().map(|reason| (reason, self.of(reason)))
    }

    /// Whatever the reason.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        let mut dropped = Dropped::default();
        for (n, reason) in DropReason::ALL.into_iter().enumerate() {
            dropped.add(reason, n + 1);
        }
        let counts: Vec<_> = dropped.iter().map(|(_, count)| count).collect();
        assert_eq!(counts, (1..=DropReason::ALL.len() as u64).collect::<Vec<_>>());
        assert_eq!(dropped.total(), counts.iter().sum::<u64>());
    }
}
