//! [`Looks`]: which runs are too long, as a pure state machine.

use std::time::Duration;

use crate::scheduler::WorkerState;

/// What was seen of the carriers, look by look.
pub(super) struct Looks {
    limit: Duration,
    seats: Vec<Seat>,
    /// Somebody ran something since the look before the last.
    busy: bool,
}

#[derive(Clone, Copy, Default)]
struct Seat {
    runs: u64,
    uid: u64,
    /// When this run was seen first.
    since: Duration,
    told: bool,
}

/// A run that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) uid: u64,
    /// At least.
    pub(super) age: Duration,
}

impl Looks {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, seats: Vec::new(), busy: true }
    }

    /// Until the next look: short while somebody runs, so that a run is noticed soon after its limit; else so long that
    /// an idle system is left alone.
    pub(super) fn pause(&self) -> Duration {
        let pause = if self.busy { self.limit / 4 } else { self.limit };
        pause.max(Duration::from_millis(1))
    }

    /// Takes in what the carriers do `now`. Returns each run that has become too long, once.
    pub(super) fn look(&mut self, workers: &[WorkerState], now: Duration) -> Vec<Stuck> {
        self.seats.resize(workers.len().max(self.seats.len()), Seat::default());
        self.busy = false;
        let mut stuck = Vec::new();
        for (seat, worker) in self.seats.iter_mut().zip(workers) {
            if worker.runs != seat.runs {
                *seat = Seat { runs: worker.runs, uid: worker.running, since: now, told: false };
                self.busy = true;
            } else if worker.running == 0 {
                seat.uid = 0;
            } else if seat.uid == worker.running {
                self.busy = true;
                let age = now.saturating_sub(seat.since);
                if age >= self.limit && !seat.told {
                    seat.told = true;
                    stuck.push(Stuck { uid: seat.uid, age });
                }
            } else {
                // The two figures were of different moments.
                (seat.uid, seat.since) = (worker.running, now);
            }
        }
        stuck
    }

    /// How long the run of an actor has lasted by `now`, at least, if it was seen in one.
    pub(super) fn age_of(&self, uid: u64, now: Duration) -> Option<Duration> {
        let seat = self.seats.iter().find(|seat| seat.uid == uid)?;
        Some(now.saturating_sub(seat.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_run_is_told_of_once_and_the_next_one_anew() {
        let mut looks = Looks::new(LIMIT);
        let held = [WorkerState { runs: 7, running: 42 }];
        assert_eq!(looks.look(&held, ms(0)), []);
        assert_eq!(looks.look(&held, ms(99)), []);
        assert_eq!(looks.look(&held, ms(130)), [Stuck { uid: 42, age: ms(130) }]);
        assert_eq!(looks.look(&held, ms(900)), []);
        let next = [WorkerState { runs: 8, running: 42 }];
        assert_eq!(looks.look(&next, ms(1_000)), []);
        assert_eq!(looks.look(&next, ms(1_100)), [Stuck { uid: 42, age: ms(100) }]);
    }

    #[test]
    fn many_short_runs_and_none_at_all_are_nothing_to_tell() {
        let mut looks = Looks::new(LIMIT);
        for at in 0..50 {
            let busy = WorkerState { runs: at + 1, running: 42 };
            let idle = WorkerState { runs: 3, running: 0 };
            assert_eq!(looks.look(&[busy, idle], ms(100 * at)), []);
        }
    }

    #[test]
    fn an_idle_system_is_looked_at_less_often() {
        let mut looks = Looks::new(LIMIT);
        looks.look(&[WorkerState { runs: 1, running: 42 }], ms(0));
        assert_eq!(looks.pause(), ms(25));
        looks.look(&[WorkerState { runs: 1, running: 0 }], ms(25));
        assert_eq!(looks.pause(), ms(100));
    }
}
