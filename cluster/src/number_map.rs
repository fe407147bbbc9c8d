//! [`NumberMap`]: a map whose keys are numbers that this process has made, or types of it.
//!
//! Nobody elsewhere can choose them, so nothing is to be had by choosing badly: one multiplication spreads them. The same in
//! each run.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// See the module's documentation.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(number));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio; then the halves, as a table looks at the highest and the lowest bits.
        let spread = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::BTreeSet,
        hash::{BuildHasher, Hash},
    };

    fn hash(key: impl Hash) -> u64 {
        BuildHasherDefault::<NumberHasher>::default().hash_one(key)
    }

    #[test]
    fn numbers_in_a_row_are_spread_at_both_ends() {
        for step in [1, 1 << 8, 1 << 32] {
            let ends = |hash: u64| (hash >> 57, hash & 0x7f);
            let (high, low): (BTreeSet<_>, BTreeSet<_>) = (0..1024_u64).map(|n| ends(hash(n * step))).unzip();
            assert!(high.len() > 100 && low.len() > 70, "step {step}: {} and {} of 128", high.len(), low.len());
        }
    }
}
