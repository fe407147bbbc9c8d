//! What a write's answer leads to, and how an unknown outcome is settled: the same write with the same id again, which a
//! store answers with what became of the first. No I/O in the decisions.

use crate::AppendError;
use actors::Clock;
use std::time::Duration;

/// What a failed write leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Certainly not stored: the entity goes on with the state it has.
    GoOn,
    /// Another writer owns the entity: a new life here would only steal it back.
    StopForGood,
    /// Unknown: the state is not to be believed; what is stored must be read again.
    StartOver,
}

/// A write that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriteFailure {
    /// For whoever asked for it.
    pub(crate) error: AppendError,
    pub(crate) after: AfterFailure,
}

/// What is stored of a write that another one conflicts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overwritten {
    /// Nothing: a log keeps every write in its place, so the place is another's.
    Never,
    /// Perhaps: a state is gone once the next one is stored.
    Perhaps,
}

/// Pauses before each repetition. The first is at once: most unknown outcomes are a connection that broke.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1_600)];

/// Decides, answer by answer, what is known of one write.
#[derive(Debug)]
pub(crate) struct Settling {
    overwritten: Overwritten,
    repeated: usize,
    /// Why the outcome of the first attempt is unknown.
    unknown: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Done(Result<u64, WriteFailure>),
    Repeat { after: Duration },
}

impl AfterFailure {
    pub(crate) fn of(error: &AppendError) -> Self {
        match error {
            AppendError::Rejected { .. } | AppendError::Unavailable { .. } | AppendError::Overloaded { .. } => {
                Self::GoOn
            }
            AppendError::Conflict { .. } | AppendError::Stale { .. } => Self::StopForGood,
            AppendError::Unknown { .. } => Self::StartOver,
        }
    }
}

impl From<AppendError> for WriteFailure {
    fn from(error: AppendError) -> Self {
        Self { after: AfterFailure::of(&error), error }
    }
}

impl Settling {
    pub(crate) fn new(overwritten: Overwritten) -> Self {
        Self { overwritten, repeated: 0, unknown: None }
    }

    /// An attempt was answered.
    pub(crate) fn answered(&mut self, answer: Result<u64, AppendError>) -> Next {
        let error = match answer {
            Ok(stored) => return Next::Done(Ok(stored)),
            Err(error) => error,
        };
        let Some(unknown) = &self.unknown else {
            // The first attempt: what it says is certain, unless it says that it is not.
            return match error {
                AppendError::Unknown { reason } => {
                    self.unknown = Some(reason);
                    self.repeat()
                }
                certain => Next::Done(Err(certain.into())),
            };
        };
        match (error, self.overwritten) {
            // The place of the first attempt is another's: it was never stored.
            (conflict @ AppendError::Conflict { .. }, Overwritten::Never) => Next::Done(Err(conflict.into())),
            (error @ (AppendError::Conflict { .. } | AppendError::Stale { .. }), _) => {
                let reason = format!("{unknown}; then another writer took over: {error}");
                let error = AppendError::Unknown { reason };
                Next::Done(Err(WriteFailure { error, after: AfterFailure::StopForGood }))
            }
            // What these say of the repetition does not settle the first attempt.
            (_, _) => self.repeat(),
        }
    }

    /// There is no time for another attempt.
    pub(crate) fn give_up(&mut self) -> WriteFailure {
        let reason = self.unknown.take().unwrap_or_default();
        AppendError::Unknown { reason }.into()
    }

    fn repeat(&mut self) -> Next {
        match PAUSES.get(self.repeated) {
            Some(&after) => {
                self.repeated += 1;
                Next::Repeat { after }
            }
            None => Next::Done(Err(self.give_up())),
        }
    }
}

/// Writes, and settles an unknown outcome: `within` for the first attempt, and as long again for all repetitions.
///
/// `write` asks for the very same write each time.
pub(crate) async fn write_settled<F>(
    clock: &Clock,
    within: Duration,
    overwritten: Overwritten,
    mut write: impl FnMut() -> F,
) -> Result<u64, WriteFailure>
where
    F: Future<Output = Result<u64, AppendError>>,
{
    let mut settling = Settling::new(overwritten);
    let mut left = within;
    let mut until = None;
    loop {
        let answer = match clock.timeout(left, write()).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(AppendError::Unknown { reason: elapsed.to_string() }),
        };
        let after = match settling.answered(answer) {
            Next::Done(done) => return done,
            Next::Repeat { after } => after,
        };
        let until = *until.get_or_insert_with(|| clock.now() + within);
        left = until - clock.now();
        if left <= after {
            return Err(settling.give_up());
        }
        if !after.is_zero() {
            clock.sleep(after).await;
            left = until - clock.now();
        }
        metrics::counter!("persistence_writes_repeated_total").increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(reason: &str) -> AppendError {
        AppendError::Unknown { reason: reason.to_owned() }
    }

    fn unavailable() -> AppendError {
        AppendError::Unavailable { reason: "down".to_owned() }
    }

    fn conflict() -> AppendError {
        AppendError::Conflict { expected: 3, highest: 5 }
    }

    fn stale() -> AppendError {
        AppendError::Stale { held: 1, current: 2 }
    }

    /// Answers one by one, the last one to the last question.
    fn settle(overwritten: Overwritten, answers: &[Result<u64, AppendError>]) -> Result<u64, WriteFailure> {
        let mut settling = Settling::new(overwritten);
        for (at, answer) in answers.iter().enumerate() {
            match settling.answered(answer.clone()) {
                Next::Done(done) => {
                    assert_eq!(at + 1, answers.len(), "done too early");
                    return done;
                }
                Next::Repeat { .. } => {}
            }
        }
        panic!("not done after {answers:?}");
    }

    #[test]
    fn the_first_answer_is_final_unless_it_is_unknown() {
        for error in [conflict(), stale(), unavailable(), AppendError::Rejected { reason: String::new() }] {
            assert_eq!(settle(Overwritten::Never, &[Err(error.clone())]), Err(error.into()));
        }
        assert_eq!(settle(Overwritten::Never, &[Ok(7)]), Ok(7));
    }

    #[test]
    fn the_same_write_again_settles_it() {
        assert_eq!(settle(Overwritten::Never, &[Err(unknown("lost")), Ok(7)]), Ok(7));
        assert_eq!(settle(Overwritten::Perhaps, &[Err(unknown("lost")), Err(unavailable()), Ok(7)]), Ok(7));
    }

    #[test]
    fn a_conflict_settles_a_log_and_not_a_state() {
        let log = settle(Overwritten::Never, &[Err(unknown("lost")), Err(conflict())]).unwrap_err();
        assert_eq!(log, conflict().into(), "its place is another's: certainly not stored");
        let state = settle(Overwritten::Perhaps, &[Err(unknown("lost")), Err(conflict())]).unwrap_err();
        assert!(!state.error.is_certain() && state.after == AfterFailure::StopForGood, "{state:?}");
    }

    #[test]
    fn a_new_owner_leaves_the_outcome_open_and_ends_this_one() {
        let failure = settle(Overwritten::Never, &[Err(unknown("lost")), Err(stale())]).unwrap_err();
        assert!(!failure.error.is_certain() && failure.after == AfterFailure::StopForGood, "{failure:?}");
        assert!(failure.error.to_string().contains("lost"), "{failure:?}");
    }

    #[test]
    fn repetitions_are_bounded_and_end_as_unknown() {
        let answers: Vec<_> =
            [Err(unknown("lost"))].into_iter().chain(vec![Err(unavailable()); PAUSES.len()]).collect();
        let failure = settle(Overwritten::Never, &answers).unwrap_err();
        assert_eq!(failure, WriteFailure { error: unknown("lost"), after: AfterFailure::StartOver });
    }
}
