//! [`Rng`]: the one source of random numbers of a node, seeded, and split by name among those that draw from it.

use rand::{SeedableRng, TryRng, rngs::ChaCha8Rng};
use ring::digest::{SHA256, digest};
use std::{convert::Infallible, fmt};

/// Random numbers that follow from a seed: the same ones in every version and on every machine.
///
/// Each part of a node draws from a [fork](Self::fork) of its own, so that what one part draws changes nothing for another.
pub(crate) struct Rng {
    seed: [u8; 32],
    numbers: ChaCha8Rng,
}

impl Rng {
    /// The numbers of `seed`. Outside of tests it comes from the operating system.
    pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, numbers: ChaCha8Rng::from_seed(seed) }
    }

    /// The numbers of a seed that can be written down.
    pub(crate) fn seeded(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::from_seed(bytes)
    }

    /// A generator for the part called `name`. It depends on seed and name only, not on what was drawn before.
    pub(crate) fn fork(&self, name: &str) -> Self {
        let mut text = self.seed.to_vec();
        text.extend_from_slice(name.as_bytes());
        let mut seed = [0; 32];
        seed.copy_from_slice(digest(&SHA256, &text).as_ref());
        Self::from_seed(seed)
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.numbers.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.numbers.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.numbers.try_fill_bytes(bytes)
    }
}

/// Tells nothing: who knows the seed knows the numbers.
impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    fn drawn(mut rng: Rng) -> Vec<u64> {
        (0..8).map(|_| rng.next_u64()).collect()
    }

    #[test]
    fn numbers_follow_from_seed_and_name_alone() {
        let mut root = Rng::seeded(7);
        let before = drawn(root.fork("swim"));
        root.next_u64();
        assert_eq!(drawn(root.fork("swim")), before, "what the root draws changes nothing for a fork");
        assert_ne!(drawn(root.fork("gossip")), before);
        assert_ne!(drawn(Rng::seeded(8).fork("swim")), before);
        assert_ne!(drawn(Rng::seeded(7)), before);
        let nested = drawn(root.fork("a").fork("b"));
        assert_ne!(nested, drawn(root.fork("ab")));
        assert_ne!(nested, drawn(root.fork("b").fork("a")));
    }

    #[test]
    fn numbers_stay_what_they_are() {
        // A seed that was written down must tell the same story later.
        assert_eq!(drawn(Rng::seeded(1))[0], 7_037_237_572_835_827_407);
    }
}
