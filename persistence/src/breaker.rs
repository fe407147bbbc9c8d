//! [`CircuitBreaker`]: when to leave a store that fails in peace, and when to try it again. No clock of its own.
//!
//! ```text
//!            failures_max in a row              reset_after
//!   closed ───────────────────────────▶ open ────────────────▶ half open ── one call: answered ──▶ closed
//!                                         ▲                        │
//!                                         └──────── failed ────────┘
//! ```

use actors::Tick;
use std::time::Duration;

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// It opens after as many failures in a row. At least 1.
    pub failures_max: u32,
    /// A call without an answer for so long has failed.
    pub call_timeout: Duration,
    /// It stays open for so long; then one call is let through to see.
    pub reset_after: Duration,
}

/// Decides whether a call may go to the store. Told how each ended.
///
/// ```
/// use actors::Tick;
/// use persistence::{BreakerSettings, CallOutcome, CircuitBreaker};
/// use std::time::Duration;
///
/// let settings = BreakerSettings { failures_max: 2, ..BreakerSettings::JOURNAL };
/// let mut breaker = CircuitBreaker::new(settings);
/// let mut now = Tick::START;
/// for _ in 0..2 {
///     let call = breaker.enter(now).expect("closed");
///     breaker.leave(call, CallOutcome::Failed, now);
/// }
/// assert_eq!(breaker.enter(now).unwrap_err().retry_after, Duration::from_secs(30));
/// now = now + Duration::from_secs(30);
/// let trial = breaker.enter(now).expect("one call may try");
/// assert!(breaker.enter(now).is_err(), "and no more than one");
/// breaker.leave(trial, CallOutcome::Answered, now);
/// assert!(breaker.enter(now).is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    settings: BreakerSettings,
    state: State,
    generation: u64, // grows with each change of state: what began before it says nothing about what is now
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { since: Tick },
    HalfOpen { trying: bool },
}

/// A call that was let through; to be given back with how it ended.
#[derive(Debug)]
#[must_use = "the breaker waits to hear how the call ended"]
pub struct Call {
    generation: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The store answered, if only to refuse what was asked.
    Answered,
    /// It did not, or could not do its work.
    Failed,
    /// Nobody waited for the end.
    Abandoned,
}

/// The breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker is open, the next attempt is in {} ms", retry_after.as_millis())]
pub struct BreakerOpen {
    /// When a call will be let through; zero while another one tries.
    pub retry_after: Duration,
}

/// A breaker has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// It lets nothing through from now on.
    Opened,
    /// It lets everything through again.
    Closed,
}

impl BreakerSettings {
    /// For journals and state stores: 10 failures, 10 s a call, 30 s of rest.
    pub const JOURNAL: Self =
        Self { failures_max: 10, call_timeout: Duration::from_secs(10), reset_after: Duration::from_secs(30) };

    /// For snapshot stores, which can be done without for longer: 5 failures, 20 s a call, 60 s of rest.
    pub const SNAPSHOTS: Self =
        Self { failures_max: 5, call_timeout: Duration::from_secs(20), reset_after: Duration::from_secs(60) };
}

impl CircuitBreaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 }, generation: 0 }
    }

    /// Whether everything is let through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Asks to call the store.
    ///
    /// # Errors
    /// [`BreakerOpen`]: the store must not be called.
    pub fn enter(&mut self, now: Tick) -> Result<Call, BreakerOpen> {
        if let State::Open { since } = self.state {
            let rest = self.settings.reset_after.saturating_sub(now - since);
            if !rest.is_zero() {
                return Err(BreakerOpen { retry_after: rest });
            }
            self.become_(State::HalfOpen { trying: false });
        }
        match &mut self.state {
            State::HalfOpen { trying: true } => return Err(BreakerOpen { retry_after: Duration::ZERO }),
            State::HalfOpen { trying } => *trying = true,
            State::Closed { .. } | State::Open { .. } => {}
        }
        Ok(Call { generation: self.generation })
    }

    /// Hears how a call ended, and says whether that changed anything.
    pub fn leave(&mut self, call: Call, outcome: CallOutcome, now: Tick) -> Option<BreakerChange> {
        if call.generation != self.generation {
            return None;
        }
        match (self.state, outcome) {
            (State::Closed { .. }, CallOutcome::Answered) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, CallOutcome::Failed) if failures + 1 >= self.settings.failures_max => {
                self.become_(State::Open { since: now });
                return Some(BreakerChange::Opened);
            }
            (State::Closed { failures }, CallOutcome::Failed) => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::HalfOpen { .. }, CallOutcome::Answered) => {
                self.become_(State::Closed { failures: 0 });
                return Some(BreakerChange::Closed);
            }
            (State::HalfOpen { .. }, CallOutcome::Failed) => {
                self.become_(State::Open { since: now });
                return Some(BreakerChange::Opened);
            }
            (State::HalfOpen { .. }, CallOutcome::Abandoned) => self.state = State::HalfOpen { trying: false },
            (State::Closed { .. }, CallOutcome::Abandoned) | (State::Open { .. }, _) => {}
        }
        None
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: BreakerSettings =
        BreakerSettings { failures_max: 3, call_timeout: Duration::from_secs(1), reset_after: Duration::from_secs(5) };

    #[test]
    fn failures_count_only_in_a_row() {
        let mut breaker = CircuitBreaker::new(SETTINGS);
        for outcome in [CallOutcome::Failed, CallOutcome::Failed, CallOutcome::Answered].repeat(5) {
            let call = breaker.enter(Tick::START).unwrap();
            assert_eq!(breaker.leave(call, outcome, Tick::START), None);
        }
    }

    /// What was under way when the breaker opened ends later: it neither opens nor closes anything.
    #[test]
    fn late_ends_say_nothing() {
        let mut breaker = CircuitBreaker::new(SETTINGS);
        let mut calls: Vec<_> = (0..5).map(|_| breaker.enter(Tick::START).unwrap()).collect();
        let late = calls.split_off(3);
        let changes = calls.into_iter().map(|call| breaker.leave(call, CallOutcome::Failed, Tick::START));
        assert_eq!(changes.last(), Some(Some(BreakerChange::Opened)));
        let later = Tick::START + SETTINGS.reset_after;
        let trial = breaker.enter(later).unwrap();
        for (call, outcome) in late.into_iter().zip([CallOutcome::Answered, CallOutcome::Failed]) {
            assert_eq!(breaker.leave(call, outcome, later), None);
        }
        assert!(breaker.enter(later).is_err(), "the trial is still under way");
        assert_eq!(breaker.leave(trial, CallOutcome::Answered, later), Some(BreakerChange::Closed));
    }

    #[test]
    fn a_trial_that_nobody_waits_for_makes_room_for_another() {
        let mut breaker = CircuitBreaker::new(BreakerSettings { failures_max: 1, ..SETTINGS });
        let call = breaker.enter(Tick::START).unwrap();
        breaker.leave(call, CallOutcome::Failed, Tick::START);
        let later = Tick::START + SETTINGS.reset_after;
        let trial = breaker.enter(later).unwrap();
        breaker.leave(trial, CallOutcome::Abandoned, later);
        assert!(breaker.enter(later).is_ok());
    }

    proptest! {
        /// Whatever happens: after `failures_max` failures in a row nothing passes for `reset_after`, then one call does,
        /// and a store that answers is never shut out for longer than that.
        #[test]
        fn it_never_hammers_and_never_sticks(steps in proptest::collection::vec((0_u8..4, 0_u64..3_000), 1..200)) {
            let mut breaker = CircuitBreaker::new(SETTINGS);
            let (mut now, mut under_way) = (Tick::START, Vec::new());
            let mut opened: Option<Tick> = None;
            for (kind, pause) in steps {
                now = now + Duration::from_millis(pause);
                if kind == 0 || under_way.is_empty() {
                    match breaker.enter(now) {
                        Ok(call) => {
                            if let Some(at) = opened {
                                prop_assert!(now - at >= SETTINGS.reset_after, "tried too early");
                            }
                            under_way.push(call);
                        }
                        Err(open) => {
                            let at = opened.expect("refused although closed");
                            let over = now - at >= SETTINGS.reset_after;
                            prop_assert!(over || open.retry_after == SETTINGS.reset_after - (now - at));
                            prop_assert!(!over || !under_way.is_empty(), "nothing is under way, and nothing may be");
                        }
                    }
                } else {
                    let outcome = [CallOutcome::Answered, CallOutcome::Failed, CallOutcome::Abandoned][usize::from(kind) - 1];
                    match breaker.leave(under_way.remove(0), outcome, now) {
                        Some(BreakerChange::Opened) => opened = Some(now),
                        Some(BreakerChange::Closed) => opened = None,
                        None => {}
                    }
                    prop_assert_eq!(breaker.is_closed(), opened.is_none());
                }
            }
        }
    }
}
