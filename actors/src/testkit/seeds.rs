//! Runs drawn from a seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::TestKit;
use crate::panic_text::panic_text;

impl TestKit {
    /// As [`new`](TestKit::new), with all randomness of the system drawn from `seed`, and with it the order in which its
    /// actors take their turns: the same seed, the same run.
    pub fn seeded(seed: u64) -> Self {
        Self::start(seed, |builder| builder.seeded_order(seed))
    }

    /// Runs `test` once for each seed, each time in a kit of its own.
    ///
    /// # Panics
    /// As soon as a run panics; the text names the seed, which [`seeded`](TestKit::seeded) repeats the run with.
    pub fn for_each_seed(seeds: impl IntoIterator<Item = u64>, mut test: impl FnMut(&TestKit)) {
        for seed in seeds {
            let run = catch_unwind(AssertUnwindSafe(|| test(&Self::seeded(seed))));
            if let Err(panic) = run {
                panic!("with seed {seed}: {}; `TestKit::seeded({seed})` repeats it", panic_text(&*panic));
            }
        }
    }
}
