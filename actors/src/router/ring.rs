//! [`Ring`]: consistent hashing with virtual nodes. Pure.
//!
//! Each routee has a number of points on a circle of hashes; a key belongs to the next point clockwise. A routee that
//! goes leaves its arcs to its neighbours and moves nothing else.

use std::hash::{Hash, Hasher};

use crate::path::ActorPath;

/// 2^64 divided by the golden ratio: steps of it spread evenly.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Default)]
pub(super) struct Ring {
    /// Point and place of its routee, sorted.
    points: Vec<(u64, u32)>,
}

impl Ring {
    pub(super) fn new<'a>(routees: impl Iterator<Item = &'a ActorPath>, virtual_nodes: u32) -> Self {
        Self::of(routees.map(|path| key_hash(&(path.system_uid(), path.as_str()))), virtual_nodes)
    }

    fn of(routees: impl Iterator<Item = u64>, virtual_nodes: u32) -> Self {
        let mut points: Vec<(u64, u32)> = routees
            .zip(0u32..)
            .flat_map(|(hash, place)| {
                (0..u64::from(virtual_nodes))
                    .map(move |node| (mix(hash.wrapping_add(node.wrapping_mul(GOLDEN))), place))
            })
            .collect();
        points.sort_unstable();
        Self { points }
    }

    /// The places of routees in the order in which `key` prefers them; some come more than once.
    pub(super) fn places(&self, key: u64) -> impl Iterator<Item = usize> {
        let key = mix(key);
        let at = self.points.partition_point(|(point, _)| *point < key);
        let (before, after) = self.points.split_at(at);
        after.iter().chain(before).map(|(_, place)| *place as usize)
    }
}

/// Hashes part of a message for [`RoutingLogic::consistent_hashing`](crate::RoutingLogic::consistent_hashing): the same
/// in every process and release, on every machine of either byte order. Not meant to withstand chosen keys.
pub fn key_hash(key: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = KeyHasher(0xcbf2_9ce4_8422_2325);
    key.hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a with a finish that spreads.
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        mix(self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// Spreads every bit of `number` over all of them; different numbers stay different.
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 10_000;

    fn ring(names: &[u64]) -> Ring {
        Ring::of(names.iter().map(key_hash), 128)
    }

    fn owner(ring: &Ring, key: u64) -> usize {
        ring.places(key).next().unwrap()
    }

    #[test]
    fn shares_are_about_equal() {
        let ring = ring(&[0, 1, 2, 3, 4, 5, 6, 7]);
        let mut shares = [0; 8];
        (0..KEYS).for_each(|key| shares[owner(&ring, key)] += 1);
        let mean = KEYS / 8;
        assert!(shares.iter().all(|share| (mean * 7 / 10..mean * 13 / 10).contains(share)), "{shares:?}");
    }

    #[test]
    fn one_that_goes_moves_its_own_keys_alone() {
        let (before, after) = (ring(&[0, 1, 2, 3]), ring(&[0, 1, 2]));
        for key in 0..KEYS {
            let (owned, owns) = (owner(&before, key), owner(&after, key));
            assert!(owned == owns || owned == 3, "{key}: from {owned} to {owns}");
            let heir = before.places(key).find(|place| *place != 3).unwrap();
            assert_eq!(heir, owns, "the next on the ring inherits");
        }
    }

    #[test]
    fn a_key_is_known_in_every_release() {
        assert_eq!(key_hash("anna"), key_hash(&"anna".to_owned()));
        assert_eq!(
            [key_hash("anna"), key_hash(&7u64), key_hash(&(1u16, 2usize))],
            [4_982_372_331_471_127_483, 12_548_494_866_695_815_710, 10_112_464_104_513_951_673]
        );
    }
}
