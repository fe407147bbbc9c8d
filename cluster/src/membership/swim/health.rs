//! [`Health`]: whether it is this node that is sick, before it says so of others.

use actors::Tick;
use std::time::Duration;

/// How much speaks for this node being slow or badly connected itself: 0 nothing, 8 all.
///
/// A late timer, a probe that was not carried out in full, and having to contradict one's own death each raise it by one; a
/// clean round of probing lowers it by one. As long as it is above 0 all that others are given to answer takes
/// [`factor`](Self::factor) times as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    score: u8,
    /// Since when the score is what it is, if that is 0.
    well_since: Tick,
}

const WORST: u8 = 8;

impl Health {
    /// A timer later than this says that this node is slow.
    pub(crate) const LATE: Duration = Duration::from_millis(250);

    /// Nothing is wrong.
    pub(crate) fn new(now: Tick) -> Self {
        Self { score: 0, well_since: now }
    }

    /// From 0 to 8.
    #[cfg(test)]
    pub(crate) fn score(self) -> u8 {
        self.score
    }

    /// By how much to lengthen the time that others have to answer.
    pub(crate) fn factor(self) -> u32 {
        1 + u32::from(self.score)
    }

    /// Something that speaks against this node.
    pub(crate) fn worse(&mut self) {
        self.score = (self.score + 1).min(WORST);
    }

    /// A round of probing in which all went well.
    pub(crate) fn clean(&mut self, now: Tick) {
        if self.score == 1 {
            self.well_since = now;
        }
        self.score = self.score.saturating_sub(1);
    }

    /// Whether this node has been well for a whole `probe_period`, so that it may say of others that it cannot reach them.
    pub(crate) fn may_accuse(self, probe_period: Duration, now: Tick) -> bool {
        self.score == 0 && now >= self.well_since + probe_period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sick_node_gives_others_more_time_and_accuses_nobody_until_it_was_well_for_a_while() {
        let period = Duration::from_millis(500);
        let at = |periods| Tick::START + period * periods;
        let mut health = Health::new(at(0));
        assert!(!health.may_accuse(period, at(0)));
        assert!(health.may_accuse(period, at(1)));
        (0..20).for_each(|_| health.worse());
        assert_eq!((health.score(), health.factor()), (8, 9));
        assert!(!health.may_accuse(period, at(99)));
        for round in 1..=8 {
            health.clean(at(100 + round));
            assert_eq!(health.score(), 8 - u8::try_from(round).unwrap());
        }
        assert!(!health.may_accuse(period, at(108)));
        health.clean(at(109));
        assert!(health.may_accuse(period, at(109)), "being well goes on");
        assert_eq!(health.factor(), 1);
    }
}
