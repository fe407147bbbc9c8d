//! How a write of unknown outcome is settled: by asking for the same write again.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use persistence::AppendError;

/// What a conflict of the second attempt says of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::entity) enum Conflict {
    /// It was not stored: a log keeps every write in its place, and the place is another's.
    Settles,
    /// Nothing: a later write, which followed the first one, may have taken its place.
    SaysNothing,
}

/// Writes; when the outcome is unknown it is asked for once, by asking for the same write again: the store takes one
/// that it has for success and carries one out that it has not.
pub(in crate::entity) fn settled<F>(conflict: Conflict, write: F) -> BoxFuture<'static, Result<(), AppendError>>
where
    F: Fn() -> BoxFuture<'static, Result<u64, AppendError>> + Send + 'static,
{
    // Handed over at once: writes have to reach the store in the order of the commands.
    let written = write();
    async move {
        let first = written.await.map(drop);
        let Err(AppendError::Unknown { .. }) = first else { return first };
        metrics::counter!("persistence_writes_repeated_total").increment(1);
        match write().await {
            Err(AppendError::Conflict { .. }) if conflict == Conflict::SaysNothing => first,
            // What this says of the second attempt does not settle the first.
            Err(
                AppendError::Unavailable { .. }
                | AppendError::Overloaded { .. }
                | AppendError::Rejected { .. }
                | AppendError::Stale { .. },
            ) => first,
            settled => settled.map(drop),
        }
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use parking_lot::Mutex;

    use super::*;

    fn outcome(conflict: Conflict, answers: Vec<Result<u64, AppendError>>) -> Result<(), AppendError> {
        let answers = Mutex::new(answers.into_iter());
        let write = move || ready(answers.lock().next().expect("asked once more at most")).boxed();
        settled(conflict, write).now_or_never().expect("nothing to wait for")
    }

    #[test]
    fn the_same_write_again_settles_an_unknown_one() {
        let unknown = || AppendError::Unknown { reason: "lost".to_owned() };
        let taken = || AppendError::Conflict { expected: 1, highest: 2 };
        for conflict in [Conflict::Settles, Conflict::SaysNothing] {
            assert_eq!(outcome(conflict, vec![Ok(1)]), Ok(()));
            assert_eq!(outcome(conflict, vec![Err(taken())]), Err(taken()), "the first answer is certain");
            assert_eq!(outcome(conflict, vec![Err(unknown()), Ok(1)]), Ok(()));
            let stale = AppendError::Stale { held: 1, current: 2 };
            assert_eq!(outcome(conflict, vec![Err(unknown()), Err(stale)]), Err(unknown()), "still");
        }
        assert_eq!(outcome(Conflict::Settles, vec![Err(unknown()), Err(taken())]), Err(taken()));
        assert_eq!(outcome(Conflict::SaysNothing, vec![Err(unknown()), Err(taken())]), Err(unknown()));
    }
}
