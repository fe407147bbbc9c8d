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
    /// ```
    /// use actors::testkit::TestKit;
    /// use actors::{Behavior, FnActor};
    ///
    /// // Two who write to one probe: in which order is nobody's promise, that both arrive is.
    /// TestKit::for_each_seed(0..20, |kit| {
    ///     let mut probe = kit.probe();
    ///     for name in ["one", "two"] {
    ///         let to = probe.actor_ref();
    ///         let relay = FnActor::new((), move |(), _ctx, text| {
    ///             to.tell(text);
    ///             Ok(Behavior::Same)
    ///         });
    ///         kit.spawn(name, relay).tell(name);
    ///     }
    ///     probe.expect_all_of(["one", "two"]);
    /// });
    /// ```
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
