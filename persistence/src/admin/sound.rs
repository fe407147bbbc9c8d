//! Decides whether logs are whole, from their events in order. Pure; memory is bounded by the entities it is told of, which
//! are as many as one window holds.

use super::{Finding, Subject};

/// What the store says of one entity.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) deleted_to: u64,
    pub(crate) highest: u64, // as stored: 0 until events are deleted
    pub(crate) epoch: u64,   // needed to write now
}

/// One entity's log, as far as it was shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    claimed: Claimed,
    last_seq: u64, // 0 before the first event
    last_epoch: u64,
}

/// The logs of the entities with numbers from `first` on.
pub(crate) struct Window {
    first: i64,
    logs: Vec<Option<Log>>,
}

impl Log {
    pub(crate) fn new(claimed: Claimed) -> Self {
        Self { claimed, last_seq: 0, last_epoch: 0 }
    }

    /// What is wrong with the next event, if anything.
    pub(crate) fn event(&mut self, seq_nr: u64, epoch: u64) -> Option<String> {
        let (last_seq, last_epoch) = (self.last_seq, self.last_epoch);
        (self.last_seq, self.last_epoch) = (last_seq.max(seq_nr), last_epoch.max(epoch));
        // Deleted events may still lie there: they are removed from the first one on.
        let expected = if last_seq == 0 { seq_nr.min(self.claimed.deleted_to + 1) } else { last_seq + 1 };
        if seq_nr < expected {
            return Some(format!("comes after number {last_seq} in commit order"));
        }
        if seq_nr > expected {
            return Some(missing(expected, seq_nr - 1));
        }
        (epoch < last_epoch).then(|| format!("epoch falls from {last_epoch} to {epoch}: two writers were let in"))
    }

    /// What is wrong now that every event was shown: findings without a name.
    pub(crate) fn finish(self) -> Vec<Finding> {
        let Claimed { deleted_to, highest, epoch } = self.claimed;
        let mut findings = Vec::new();
        let last = self.last_seq.max(deleted_to);
        if deleted_to > highest {
            let reason = format!("events up to {deleted_to} are deleted, but the highest used is {highest}");
            findings.push(Finding::new(Subject::Entity, "", reason));
        } else if last < highest {
            findings.push(Finding::new(Subject::Entity, "", missing(last + 1, highest)));
        }
        if self.last_epoch > epoch {
            let reason = format!("its last event has epoch {}, but only {epoch} was ever claimed", self.last_epoch);
            findings.push(Finding::new(Subject::Entity, "", reason));
        }
        findings
    }
}

impl Window {
    pub(crate) fn new(first: i64, entities: usize) -> Self {
        Self { first, logs: vec![None; entities] }
    }

    pub(crate) fn add(&mut self, pid: i64, claimed: Claimed) {
        if let Some(log) = self.place(pid).and_then(|place| self.logs.get_mut(place)) {
            *log = Some(Log::new(claimed));
        }
    }

    /// What is wrong with the next event of `pid`, if anything; entities of other windows are passed over.
    pub(crate) fn event(&mut self, pid: i64, seq_nr: u64, epoch: u64) -> Option<String> {
        let place = self.place(pid)?;
        self.logs.get_mut(place)?.as_mut()?.event(seq_nr, epoch)
    }

    /// What is wrong now that every event was shown: for each entity its number and a finding without a name.
    pub(crate) fn finish(self) -> impl Iterator<Item = (i64, Finding)> {
        let first = self.first;
        let logs = (first..).zip(self.logs).filter_map(|(pid, log)| Some((pid, log?)));
        logs.flat_map(|(pid, log)| log.finish().into_iter().map(move |finding| (pid, finding)))
    }

    fn place(&self, pid: i64) -> Option<usize> {
        usize::try_from(pid.checked_sub(self.first)?).ok()
    }
}

fn missing(from: u64, to: u64) -> String {
    if from == to { format!("event {from} is missing") } else { format!("events {from} to {to} are missing") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(claimed: Claimed) -> Window {
        let mut window = Window::new(5, 2);
        window.add(6, claimed);
        window
    }

    fn shown(window: &mut Window, log: &[(u64, u64)]) -> Vec<String> {
        log.iter().filter_map(|&(seq_nr, epoch)| window.event(6, seq_nr, epoch)).collect()
    }

    #[test]
    fn entities_of_other_windows_are_passed_over() {
        let mut window = window(Claimed { epoch: 9, ..Claimed::default() });
        for pid in [i64::MIN, 4, 5, 7, i64::MAX] {
            assert_eq!(window.event(pid, 17, 1), None, "{pid}");
        }
        assert_eq!(window.finish().count(), 0);
    }

    #[test]
    fn a_lost_tail_is_noticed_where_the_highest_number_was_noted() {
        let mut window = window(Claimed { deleted_to: 2, highest: 5, epoch: 1 });
        assert_eq!(shown(&mut window, &[(3, 1), (4, 1)]), [""; 0]);
        let found: Vec<_> = window.finish().map(|(pid, finding)| (pid, finding.reason)).collect();
        assert_eq!(found, [(6, "event 5 is missing".to_owned())]);
    }

    #[test]
    fn events_that_wait_to_be_removed_are_no_finding_and_lost_ones_are() {
        let claimed = Claimed { deleted_to: 4, highest: 6, epoch: 1 };
        for whole in [&[(5, 1), (6, 1)][..], &[(3, 1), (4, 1), (5, 1), (6, 1)]] {
            let mut window = window(claimed);
            assert_eq!(shown(&mut window, whole), [""; 0]);
            assert_eq!(window.finish().count(), 0, "{whole:?}");
        }
        assert_eq!(shown(&mut window(claimed), &[(6, 1)]), ["event 5 is missing"]);
    }

    proptest! {
        #[test]
        fn whole_logs_pass_and_damaged_ones_do_not(
            epochs in proptest::collection::vec(0_u64..3, 3..40), at in any::<prop::sample::Index>(), kind in 0..4,
        ) {
            let mut epoch = 1;
            let mut log: Vec<(u64, u64)> = (1..).zip(&epochs).map(|(seq_nr, step)| { epoch += step; (seq_nr, epoch) }).collect();
            let claimed = Claimed { deleted_to: 0, highest: 0, epoch };
            let mut whole = window(claimed);
            prop_assert_eq!(shown(&mut whole, &log), Vec::<String>::new());
            prop_assert_eq!(whole.finish().count(), 0);

            let at = at.index(log.len() - 1);
            match kind {
                0 => drop(log.remove(at)),
                1 => log.swap(at, at + 1),
                2 => log[at + 1].1 = log[at].1 - 1,
                _ => log.last_mut().unwrap().1 += 1,
            }
            let mut damaged = window(claimed);
            let found = shown(&mut damaged, &log);
            prop_assert!(!found.is_empty() || damaged.finish().count() > 0, "{:?}", log);
        }
    }
}
