//! [`Contacts`]: at which doors to knock when nobody is there any more.

use crate::member::Address;
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Seeds, for ever, and every address at which somebody was known to be in the last 24 hours.
#[derive(Debug)]
pub(crate) struct Contacts {
    own: Address,
    seeds: BTreeSet<Address>,
    /// When each was last known to be alive.
    known: BTreeMap<Address, Tick>,
    /// The same by time, to forget the oldest.
    by_time: BTreeSet<(Tick, Address)>,
}

/// How long an address is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How many addresses are remembered, without the seeds.
pub(crate) const KNOWN_MAX: usize = 4096;

impl Contacts {
    pub(crate) fn new(own: Address, seeds: impl IntoIterator<Item = Address>) -> Self {
        let mut seeds = seeds.into_iter().collect::<BTreeSet<_>>();
        seeds.remove(&own);
        Self { own, seeds, known: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// Somebody was at `address` just now. If there are too many, who was seen longest ago is forgotten.
    pub(crate) fn seen(&mut self, address: &Address, now: Tick) {
        if *address == self.own {
            return;
        }
        if let Some(before) = self.known.insert(address.clone(), now) {
            self.by_time.remove(&(before, address.clone()));
        }
        self.by_time.insert((now, address.clone()));
        if self.known.len() > KNOWN_MAX
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    /// At which doors to knock now: once each, none twice.
    pub(crate) fn doors(&mut self, now: Tick) -> Vec<Address> {
        while let Some((seen, _)) = self.by_time.first()
            && *seen + REMEMBERED <= now
            && let Some((_, old)) = self.by_time.pop_first()
        {
            self.known.remove(&old);
        }
        self.seeds.iter().chain(self.known.keys().filter(|known| !self.seeds.contains(known))).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> Address {
        Address::new(format!("n{n}"), 2551).unwrap()
    }

    #[test]
    fn seeds_stay_and_others_are_forgotten_after_a_day_or_when_there_are_too_many() {
        let hours = |hours| Tick::START + Duration::from_hours(hours);
        let mut contacts = Contacts::new(address(0), [address(0), address(1)]);
        [0, 1, 2].into_iter().for_each(|n| contacts.seen(&address(n), hours(0)));
        contacts.seen(&address(3), hours(10));
        assert_eq!(contacts.doors(hours(23)), [1, 2, 3].map(address));
        assert_eq!(contacts.doors(hours(24)), [1, 3].map(address));
        contacts.seen(&address(3), hours(30));
        assert_eq!(contacts.doors(hours(50)), [1, 3].map(address));
        (0..KNOWN_MAX).for_each(|n| contacts.seen(&address(10 + n), hours(51)));
        assert_eq!(contacts.known.len(), KNOWN_MAX);
        assert_eq!(contacts.by_time.len(), KNOWN_MAX);
        assert!(!contacts.doors(hours(51)).contains(&address(3)), "who was seen longest ago");
        assert_eq!(contacts.doors(hours(99)), [address(1)]);
    }
}
