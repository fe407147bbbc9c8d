//! [`Balance`]: what was sent once came, or it was counted as dropped, or it was under way when its connection ended.
//!
//! Each message carries its number, and how much was lost between the two when it was sent. Where numbers are missing, as
//! much must have been lost since then.

use crate::testkit::SimCluster;
use std::collections::{BTreeMap, BTreeSet};

/// How much a connection lost that ended: nobody knows.
const UNKNOWN: u64 = 1 << 32;

/// What was lost so far, as far as anybody counts it.
#[derive(Default)]
pub(super) struct Balance {
    /// By sender and receiver: how much both dropped of what goes between them, and what connections lost.
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
                let by =
                    |one: &crate::Cluster, two: &crate::Cluster| one.remoting().dropped_with(&two.me().address).lost();
                let dropped = by(node, peer) + by(peer, node);
                let lost = self.between.entry((me, peer.me().uid)).or_default();
                // One that is forgotten, and met again, counts from the beginning.
                *lost = (*lost).max(cluster.losses(*number, *other) * UNKNOWN + dropped);
            }
        }
        // Who has not joined yet, or not heard that it has, is asked later.
        let lives: BTreeSet<u64> = there.iter().map(|(_, node)| node.me().uid).collect();
        let asked = |gap: &mut Gap| lives.contains(&gap.from) && lives.contains(&gap.to);
        let gaps: Vec<Gap> = self.gaps.extract_if(.., asked).collect();
        let unexplained = gaps.iter().find(|gap| gap.missing > self.lost(gap.from, gap.to, gap.sent) - gap.lost)?;
        let Gap { from, to, sent, missing, last, .. } = unexplained;
        Some(format!(
            "{to:016x} lacks {missing} of {from:016x} after number {last}, {sent:?}, and nobody has dropped them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_missing_must_have_been_dropped_since_the_last_that_came_was_sent() {
        let mut sim = SimCluster::builder().nodes(2).start();
        assert!(sim.run_until(Duration::from_secs(60), SimCluster::is_whole));
        let (from, to) = (sim.cluster(0).me().uid, sim.cluster(1).me().uid);
        let missing = |lost_then: u64, lost_now: u64| {
            let mut balance = Balance::default();
            balance.between.insert((from, to), lost_now);
            balance.came(from, to, Sent::ByRemoting, 8, (5, lost_then));
            balance.strike(&sim)
        };
        assert!(missing(3, 4).is_some_and(|what| what.contains("lacks 2")), "one was counted");
        assert_eq!(missing(3, 5), None);
        assert_eq!(missing(3, UNKNOWN), None, "it was under way");
        let mut balance = Balance::default();
        balance.came(from, to, Sent::ByRemoting, 8, (0, 0));
        assert_eq!(balance.strike(&sim), None, "nothing had come before");
        balance.came(from, 7, Sent::ByRemoting, 8, (5, 0));
        assert_eq!((balance.strike(&sim), balance.gaps.len()), (None, 1), "one that has not joined is asked later");
    }
}
