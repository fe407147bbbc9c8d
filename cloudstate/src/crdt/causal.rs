//! Who did what, in numbers: replicas, dots, and the set of dots that were seen.

use std::collections::BTreeMap;

/// One copy of the replicated data: the uid of a node, new on every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl std::fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One addition: the `counter`-th of a replica. Counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Whose addition.
    pub replica: ReplicaId,
    /// Its number.
    pub counter: u64,
}

/// The set of dots that were seen, as ranges per replica. A copy that misses nothing has one range a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CausalContext {
    /// Inclusive, ascending, with a gap between any two; no replica without a range.
    pub(super) ranges: BTreeMap<ReplicaId, Vec<(u64, u64)>>,
}

impl CausalContext {
    /// Whether the dot was seen.
    pub fn contains(&self, dot: &Dot) -> bool {
        self.ranges.get(&dot.replica).is_some_and(|ranges| {
            let at = ranges.partition_point(|&(_, end)| end < dot.counter);
            ranges.get(at).is_some_and(|&(start, _)| start <= dot.counter)
        })
    }

    /// The highest number seen of a replica, 0 if none.
    pub fn highest(&self, replica: ReplicaId) -> u64 {
        self.ranges.get(&replica).and_then(|ranges| ranges.last()).map_or(0, |&(_, end)| end)
    }

    /// Adds a dot.
    pub fn insert(&mut self, dot: Dot) {
        self.insert_range(dot.replica, dot.counter, dot.counter);
    }

    /// Adds the dots `start..=end` of a replica; none if `end` is lower.
    pub(super) fn insert_range(&mut self, replica: ReplicaId, start: u64, end: u64) {
        if start == 0 || start > end {
            return;
        }
        let ranges = self.ranges.entry(replica).or_default();
        // All that overlap or touch the new one become one with it.
        let first = ranges.partition_point(|&(_, other_end)| other_end < start - 1);
        let last = ranges.partition_point(|&(other_start, _)| other_start <= end.saturating_add(1));
        let (mut start, mut end) = (start, end);
        if first < last {
            start = start.min(ranges[first].0);
            end = end.max(ranges[last - 1].1);
        }
        ranges.splice(first..last, [(start, end)]);
    }

    /// Takes out one dot.
    pub(super) fn remove(&mut self, dot: &Dot) {
        let Some(ranges) = self.ranges.get_mut(&dot.replica) else { return };
        let at = ranges.partition_point(|&(_, end)| end < dot.counter);
        let Some(&(start, end)) = ranges.get(at).filter(|&&(start, _)| start <= dot.counter) else { return };
        let left = (start < dot.counter).then(|| (start, dot.counter - 1));
        let right = (dot.counter < end).then(|| (dot.counter + 1, end));
        ranges.splice(at..=at, left.into_iter().chain(right));
        if ranges.is_empty() {
            self.ranges.remove(&dot.replica);
        }
    }

    /// Takes out everything of a replica.
    pub(super) fn forget(&mut self, replica: ReplicaId) {
        self.ranges.remove(&replica);
    }

    /// Whether anything of a replica was seen.
    pub(super) fn mentions(&self, replica: ReplicaId) -> bool {
        self.ranges.contains_key(&replica)
    }

    /// Adds all dots of the other.
    pub fn union(&mut self, other: &CausalContext) {
        for (replica, ranges) in &other.ranges {
            for &(start, end) in ranges {
                self.insert_range(*replica, start, end);
            }
        }
    }
}
