//! [`Balance`]: what was sent once came, or it was counted as dropped, or it was under way when its connection ended.
//!
//! Each message carries its number, and how much was lost between the two before it was sent, as far as that was known.
//! Where numbers are missing, as much must have been lost since then.

use crate::{
    cluster::Cluster,
    member::{Address, UniqueAddress},
    testkit::SimCluster,
};
use std::collections::BTreeMap;

/// What was lost so far, as far as anybody counts it.
#[derive(Default)]
pub(super) struct Balance {
    /// Of each life where it is, and of each place the last life there.
    places: BTreeMap<u64, Address>,
    lives: BTreeMap<Address, u64>,
    /// By sender and receiver: how many frames may have been lost with connections.
    by_network: BTreeMap<(Address, Address), u64>,
    /// By life and peer: how much it dropped of what goes there or comes from there.
    by_remoting: BTreeMap<(u64, Address), Count>,
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

/// Of somebody who may begin again at 0.
#[derive(Default)]
struct Count {
    last: u64,
    sum: u64,
}

impl Count {
    fn is(&mut self, now: u64) {
        let last = std::mem::replace(&mut self.last, now);
        self.sum += now.checked_sub(last).unwrap_or(now);
    }
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
    /// That life is there.
    pub(super) fn begins(&mut self, life: &UniqueAddress) {
        self.places.insert(life.uid, life.address.clone());
        self.lives.insert(life.address.clone(), life.uid);
    }

    /// How much was lost, by the last time that was asked, of what goes from one life to another.
    pub(super) fn lost(&self, from: u64, to: u64, sent: Sent) -> u64 {
        let (Some(here), Some(there)) = (self.places.get(&from), self.places.get(&to)) else { return 0 };
        let network = self.by_network.get(&(here.clone(), there.clone())).copied().unwrap_or(0);
        let remoting = |life, peer: &Address| self.by_remoting.get(&(life, peer.clone())).map_or(0, |count| count.sum);
        let actors = |life| match sent {
            Sent::ByRemoting => 0,
            Sent::ByActors => self.by_actors.get(&life).copied().unwrap_or(0),
        };
        network + remoting(from, there) + remoting(to, here) + actors(from) + actors(to)
    }

    /// `number` came next after `last`, which said how much was `lost` before it.
    pub(super) fn came(&mut self, from: u64, to: u64, sent: Sent, number: u64, (last, lost): (u64, u64)) {
        // What was sent to one that was not there yet is not looked at.
        if last > 0 && number > last + 1 {
            self.gaps.push(Gap { from, to, sent, missing: number - last - 1, lost, last });
        }
    }

    /// Asks all that run how much they have dropped. Numbers that are missing, and that nobody counted.
    pub(super) fn strike(&mut self, cluster: &SimCluster) -> Option<String> {
        let there: BTreeMap<u64, Cluster> =
            cluster.running().filter_map(|node| Some((node.id()?.uid, node.cluster()?))).collect();
        for (uid, node) in &there {
            self.by_actors.insert(*uid, node.refs().dropped().map(|(_, count)| count).sum());
        }
        for (one, two) in (0..cluster.nodes()).flat_map(|one| (0..cluster.nodes()).map(move |two| (one, two))) {
            let (here, address) = (cluster.address(one), cluster.address(two));
            self.by_network.insert((here.clone(), address.clone()), cluster.lost(one, two));
            if let Some((uid, node)) = self.lives.get(here).and_then(|uid| there.get_key_value(uid)) {
                let dropped = node.remoting().dropped_with(address).lost();
                self.by_remoting.entry((*uid, address.clone())).or_default().is(dropped);
            }
        }
        // Who has not joined yet, or not heard that it has, is asked later; who is over, never.
        let (places, lives) = (&self.places, &self.lives);
        let is_last = |life: u64| places.get(&life).is_none_or(|place| lives.get(place) == Some(&life));
        self.gaps.retain(|gap| is_last(gap.from) && is_last(gap.to));
        let is_asked = |gap: &mut Gap| there.contains_key(&gap.from) && there.contains_key(&gap.to);
        let gaps: Vec<Gap> = self.gaps.extract_if(.., is_asked).collect();
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
        let [from, to] = [0, 1].map(|node| sim.cluster(node).me().clone());
        let begun = || {
            let mut balance = Balance::default();
            [&from, &to].into_iter().for_each(|life| balance.begins(life));
            balance
        };
        let missing = |lost_then: u64, lost_now: u64| {
            let mut balance = begun();
            balance.by_remoting.entry((from.uid, to.address.clone())).or_default().is(lost_now);
            balance.came(from.uid, to.uid, Sent::ByRemoting, 8, (5, lost_then));
            balance.strike(&sim)
        };
        assert!(missing(3, 4).is_some_and(|what| what.contains("lacks 2")), "one was counted");
        assert_eq!((missing(3, 5), missing(0, 9)), (None, None));
        let mut balance = begun();
        balance.came(from.uid, to.uid, Sent::ByRemoting, 8, (0, 0));
        assert_eq!(balance.strike(&sim), None, "nothing had come before");
        balance.came(from.uid, 7, Sent::ByRemoting, 8, (5, 0));
        assert_eq!((balance.strike(&sim), balance.gaps.len()), (None, 1), "one that has not joined is asked later");
        balance.begins(&UniqueAddress { address: to.address.clone(), uid: 7 });
        balance.begins(&to);
        assert_eq!((balance.strike(&sim), balance.gaps.len()), (None, 0), "one that is over, never");
    }

    #[test]
    fn who_counts_from_the_beginning_again_is_added_to_what_was() {
        let mut count = Count::default();
        [3, 5, 1, 1, 4].into_iter().for_each(|now| count.is(now));
        assert_eq!(count.sum, 5 + 4);
    }
}
