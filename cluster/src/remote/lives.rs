//! [`Lives`]: which lives of other nodes are over for this one, and why. Remembered for an hour after their last word.

use crate::member::UniqueAddress;
use actors::Tick;
use std::{collections::BTreeMap, time::Duration};

/// How long after its last word a life is remembered to be over.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(3600);

/// Lives that are remembered; beyond that the one that was silent for longest is forgotten.
pub(crate) const REMEMBERED_MAX: usize = 16_384;

/// What a life is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Nothing is said against it.
    Good,
    /// A later life took its address.
    Old,
    /// Nothing passes to or from it any more, for good.
    Quarantined,
}

/// Knows what lives are to this node.
pub(crate) trait Standings: Send + Sync {
    /// What `life` is.
    fn standing(&self, life: &UniqueAddress) -> Standing;

    /// Whether the certificate of whoever is at the other end is good for `node`. Without certificates all are.
    fn is_certified(&self, node: &UniqueAddress) -> bool {
        let _ = node;
        true
    }
}

impl Standings for Lives {
    fn standing(&self, life: &UniqueAddress) -> Standing {
        self.0.get(life).map_or(Standing::Good, |(standing, _)| *standing)
    }
}

/// Lives that are over.
#[derive(Debug, Default)]
pub(crate) struct Lives(BTreeMap<UniqueAddress, (Standing, Tick)>);

impl Lives {
    /// It is over. Of old and quarantined the latter stays.
    pub(crate) fn end(&mut self, life: UniqueAddress, standing: Standing, now: Tick) {
        if standing == Standing::Good {
            return;
        }
        if self.0.len() >= REMEMBERED_MAX && !self.0.contains_key(&life) {
            let silent = self.0.iter().min_by_key(|(_, (_, heard))| *heard).map(|(life, _)| life.clone());
            silent.map(|life| self.0.remove(&life));
        }
        let known = self.0.entry(life).or_insert((standing, now));
        *known = (known.0.max(standing), now);
    }

    /// It said something, or somebody to it: it is remembered for another hour.
    pub(crate) fn heard(&mut self, life: &UniqueAddress, now: Tick) {
        if let Some((_, heard)) = self.0.get_mut(life) {
            *heard = now;
        }
    }

    /// Forgets those that were silent for long.
    pub(crate) fn tick(&mut self, now: Tick) {
        self.0.retain(|_, (_, heard)| *heard + REMEMBERED_FOR > now);
    }

    /// When the next is forgotten.
    pub(crate) fn due(&self) -> Option<Tick> {
        self.0.values().map(|(_, heard)| *heard + REMEMBERED_FOR).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Address;

    fn life(uid: u64) -> UniqueAddress {
        UniqueAddress { address: Address::new("a", 1).unwrap(), uid }
    }

    fn at(seconds: u64) -> Tick {
        Tick::START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_life_is_remembered_for_an_hour_after_its_last_word() {
        let mut lives = Lives::default();
        lives.end(life(1), Standing::Quarantined, at(0));
        lives.end(life(1), Standing::Old, at(10));
        lives.end(life(2), Standing::Old, at(10));
        lives.heard(&life(1), at(600));
        assert_eq!(lives.due(), Some(at(3610)));
        lives.tick(at(3610));
        assert_eq!(lives.standing(&life(1)), Standing::Quarantined, "it stays that, and said something later");
        assert_eq!(lives.standing(&life(2)), Standing::Good);
        lives.tick(at(4200));
        assert_eq!((lives.standing(&life(1)), lives.due()), (Standing::Good, None));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut lives = Lives::default();
        (0..=REMEMBERED_MAX as u64).for_each(|uid| lives.end(life(uid), Standing::Old, at(uid)));
        assert_eq!(lives.0.len(), REMEMBERED_MAX);
        assert_eq!(lives.standing(&life(0)), Standing::Good, "it was silent for longest");
    }
}
