//! [`FaultPlan`]: which operations of a disk fail, drawn from a seed.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// How often which fault strikes: one operation in so many, 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Of the draws: the same plan over the same operations strikes the same ones.
    pub seed: u64,
    /// Writes that fail and change nothing.
    pub write_errors: u32,
    /// Writes of which the first sectors arrive, and which then fail.
    pub torn_writes: u32,
    /// Writes that find no room.
    pub full: u32,
    /// Reads that fail.
    pub read_errors: u32,
    /// Syncs that fail. What they were to make durable may not be, whatever later syncs of the file say.
    pub sync_errors: u32,
    /// Syncs that do nothing and claim success. No store can keep its promises on such a disk: for tests that must fail.
    pub lost_syncs: u32,
}

/// What a [`FaultPlan`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes that failed, torn ones included.
    pub writes: u64,
    /// Writes that found no room.
    pub full: u64,
    /// Reads that failed.
    pub reads: u64,
    /// Syncs that failed.
    pub syncs: u64,
    /// Syncs that were lost.
    pub lost_syncs: u64,
}

pub(super) struct Dice {
    plan: FaultPlan,
    random: StdRng,
    pub(super) struck: Faults,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteFate {
    Done,
    Full,
    Failed,
    /// Fails after so many bytes.
    Torn(usize),
}

/// What becomes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncFate {
    Done,
    Failed,
    Lost,
}

/// What a disk writes at once.
pub(super) const SECTOR: usize = 512;

impl Dice {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self { plan, random: StdRng::seed_from_u64(plan.seed), struck: Faults::default() }
    }

    pub(super) fn write(&mut self, bytes: usize) -> WriteFate {
        if self.one_in(self.plan.full) {
            self.struck.full += 1;
            return WriteFate::Full;
        }
        if self.one_in(self.plan.write_errors) {
            self.struck.writes += 1;
            return WriteFate::Failed;
        }
        if self.one_in(self.plan.torn_writes) {
            self.struck.writes += 1;
            return WriteFate::Torn(self.random.random_range(0..=bytes / SECTOR) * SECTOR);
        }
        WriteFate::Done
    }

    pub(super) fn sync(&mut self) -> SyncFate {
        if self.one_in(self.plan.sync_errors) {
            self.struck.syncs += 1;
            return SyncFate::Failed;
        }
        if self.one_in(self.plan.lost_syncs) {
            self.struck.lost_syncs += 1;
            return SyncFate::Lost;
        }
        SyncFate::Done
    }

    pub(super) fn read_fails(&mut self) -> bool {
        let fails = self.one_in(self.plan.read_errors);
        self.struck.reads += u64::from(fails);
        fails
    }

    fn one_in(&mut self, count: u32) -> bool {
        count > 0 && self.random.random_range(0..count) == 0
    }
}
