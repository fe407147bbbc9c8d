//! [`Balance`]: what was sent once came, or it was counted as dropped, or a connection ended that may have carried it.
//!
//! Each message carries its number, and how much was lost between the two when it was sent. Where numbers are missing, as
//! much must have been lost since then.

use crate::testkit::SimCluster;
use std::collections::BTreeMap;

/// What a connection that ended may have lost: all that was sent.
const ALL: u64 = 1 << 32;

/// What was lost so far, as far as anybody counts it.
#[derive(Default)]
pub(super) struct Balance {
    /// By sender and receiver: how much both dropped of what goes between them, and their connections may have lost.
    between: BTreeMap<(u64, u64), u64>,
    /// By life: how many messages of actors it dropped, above remoting.
    by_actors: BTreeMap<u64, u64>,
    gaps: Vec<Gap>,
}

/// Who counts what is dropped, besides remoting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Frames: nobody.
    ByRemoting,
    /// Messages: what is between actors and remoting.
    ByActors,
}

/// Numbers that did not come, and those after them did.
struct Gap {
    from: u64,
    to: u64,
    sent: Sent,
    missing: u64,
    /// How much was lost when the last before them was sent.
    lost: u64,
    last: u64,
}

impl Balance {
    /// How much was lost so far of what goes from one life to another.
    pub(super) fn lost(&self, from: u64, to: u64, sent: Sent) -> u64 {
        let above = |life| match sent {
            Sent::ByRemoting => 0,
            Sent::ByActors => self.by_actors.get(&life).copied().unwrap_or(0),
        };
        self.between.get(&(from, to)).copied().unwrap_or(0) + above(from) + above(to)
    }

    /// `number` came next after `last`, with which it was told how much was `lost` by then.
    pub(super) fn came(&mut self, from: u64, to: u64, sent: Sent, number: u64, (last, lost): (u64, u64)) {
        // What was sent to one that was not there yet is not looked at.
        if last > 0 && number > last + 1 {
            self.gaps.push(Gap { from, to, sent, missing: number - last - 1, lost, last });
        }
    }

    /// Asks all that run how much they have dropped. Numbers that are missing, and that nobody counted.
    pub(super) fn strike(&mut self, cluster: &SimCluster) -> Option<String> {
        let there: Vec<_> = cluster.running().filter_map(|node| Some((node.number(), node.cluster()?))).collect();
        for (number, node) in &there {
            let me = node.me().uid;
            self.by_actors.insert(me, node.refs().dropped().map(|(_, count)| count).sum());
            for (other, peer) in there.iter().filter(|(other, _)| other != number) {
                let by = |one: &crate::Cluster, two: &crate::Cluster| one.remoting().dropped_with(&two.me().address).lost();
                let dropped = by(node, peer) + by(peer, node);
                let lost = self.between.entry((me, peer.me().uid)).or_default();
                // One that is forgotten, and met again, counts from the beginning.
                *lost = (*lost).max(cluster.ends(*number, *other) * ALL + dropped);
            }
        }
        let gaps = std::mem::take(&mut self.gaps);
        let unexplained = gaps.iter().find(|gap| gap.missing > self.lost(gap.from, gap.to, gap.sent) - gap.lost)?;
        let Gap { from, to, missing, last, .. } = unexplained;
        Some(format!("{to:016x} lacks {missing} of the life {from:016x} after number {last}, and nobody has dropped them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_must_have_been_dropped_since_the_last_that_came_was_sent() {
        let sim = SimCluster::builder().start_none();
        let missing = |lost_then: u64, lost_now: u64, by_actors: u64, sent| {
            let mut balance = Balance::default();
            balance.between.insert((1, 2), lost_now);
            balance.by_actors.insert(2, by_actors);
            balance.came(1, 2, sent, 8, (5, lost_then));
            balance.strike(&sim)
        };
        assert!(missing(3, 4, 1, Sent::ByRemoting).is_some_and(|what| what.contains("lacks 2")), "one was counted");
        assert_eq!(missing(3, 5, 0, Sent::ByRemoting), None);
        assert_eq!(missing(3, ALL, 0, Sent::ByRemoting), None, "the connection ended");
        assert_eq!(missing(3, 4, 1, Sent::ByActors), None, "actors count too");
        let mut first = Balance::default();
        first.came(1, 2, Sent::ByRemoting, 8, (0, 0));
        assert_eq!(first.strike(&sim), None, "nothing had come before");
    }
}
