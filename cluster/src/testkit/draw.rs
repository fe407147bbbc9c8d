//! [`Draw`]: random numbers of a simulation, where millions are drawn.

use crate::rng::Rng;
use rand::Rng as _;

/// Numbers that follow from a seed. Fast, and good enough to decide what goes wrong (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The numbers of the fork of `root` called `name`.
    pub(crate) fn fork(root: &Rng, name: &str) -> Self {
        Self(root.fork(name).next_u64())
    }

    /// A generator for a part of whoever draws from this one.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.bits())
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `0..below`; 0 if there is nothing below.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(below)) >> 64) as u64
    }

    /// In `from..=to`; `from` if there is nothing between.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// Whether it happens that happens so many times in a thousand. Draws nothing for what never happens.
    pub(crate) fn per_mille(&mut self, times: u32) -> bool {
        times > 0 && self.below(1000) < u64::from(times)
    }

    /// One of them.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// In another order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}
