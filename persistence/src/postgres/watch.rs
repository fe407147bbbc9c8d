//! Notices what other nodes have stored, by looking; wakes those who follow a feed.

use super::{Shared, options::chain, session::Sql, writer::Link};
use std::{sync::Arc, time::Duration};

/// Between two looks while something happens, and at most while nothing does.
const PACE_MIN: Duration = Duration::from_millis(100);
const PACE_MAX: Duration = Duration::from_secs(1);

/// Numbers are given out before the commit, so they tell that something is coming; the transactions then running tell when
/// it has come. Those have ids up to the next one to be given out, which is `xmin` and its age: the highest of a snapshot
/// will not do, as what runs may be above it. The columns are computed in their order, so who has given a number that is
/// seen is below the next id.
pub(crate) static LOOK: Sql = Sql {
    text: "
SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {schema}.journal_ordering_seq),
  (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {schema}.state_ordering),
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    + age(pg_snapshot_xmin(pg_current_snapshot())::xid)",
    types: &[],
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    events: i64,
    states: i64,
    xmin: i64,
    next: i64,
}

/// When to wake, and when to look again. Pure.
#[derive(Debug)]
struct Watch {
    last: Option<Look>,
    /// What was coming has come once no transaction below this one runs.
    until: Option<i64>,
    /// Since when the oldest transaction is the one that holds it back.
    held_since: Option<Duration>,
    pace: Duration,
}

impl Watch {
    fn new() -> Self {
        Self { last: None, until: None, held_since: None, pace: PACE_MIN }
    }

    /// Answers whether those who wait for events, and for states, should look.
    fn look(&mut self, found: Look) -> (bool, bool) {
        let last = self.last.replace(found).unwrap_or_default();
        if found.xmin != last.xmin {
            self.held_since = None;
        }
        let (events, states) = (found.events != last.events, found.states != last.states);
        if events || states {
            self.until = Some(found.next);
            self.pace = PACE_MIN;
            return (events || found.xmin != last.xmin, states || found.xmin != last.xmin);
        }
        let Some(until) = self.until else {
            self.pace = (self.pace * 2).min(PACE_MAX);
            return (false, false);
        };
        if found.xmin >= until {
            self.until = None;
        }
        let more = found.xmin != last.xmin;
        (more, more)
    }

    /// How long the oldest transaction has held back what is coming, at a look at `now`, which is time since any moment.
    fn held(&mut self, now: Duration) -> Duration {
        let oldest = self.last.unwrap_or_default().xmin;
        if self.until.is_none_or(|until| oldest >= until) {
            self.held_since = None;
            return Duration::ZERO;
        }
        now.saturating_sub(*self.held_since.get_or_insert(now))
    }

    /// This node stores something, so others may too.
    fn hurry(&mut self) {
        self.pace = PACE_MIN;
    }
}

/// Makes its connection when somebody begins to wait.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut link = Link::idle();
    let mut watch = Watch::new();
    let clock = shared.connector.clock().clone();
    loop {
        if clock.timeout(watch.pace, shared.stored.notified()).await.is_ok() {
            watch.hurry();
            clock.sleep(PACE_MIN).await;
        }
        if shared.events_stored.receiver_count() + shared.states_stored.receiver_count() == 0 {
            continue; // nobody waits
        }
        let Ok(session) = link.session(&shared, &[&LOOK]).await else { continue };
        let within = shared.connector.answer_within();
        match clock.timeout(within, session.query(&LOOK, &[])).await {
            Ok(Ok(rows)) => {
                let row = &rows[0];
                let found = Look { events: row.get(0), states: row.get(1), xmin: row.get(2), next: row.get(3) };
                let (events, states) = watch.look(found);
                let held = watch.held(clock.now().since_start());
                metrics::gauge!("persistence_feed_held_back_seconds").set(held.as_secs_f64());
                if events {
                    shared.events_stored.send_modify(|looks| *looks += 1);
                }
                if states {
                    shared.states_stored.send_modify(|looks| *looks += 1);
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(place = %shared.connector.place(), error = %chain(&error), "looking for changes failed");
            }
            Err(elapsed) => link.lose(&shared, &elapsed.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(events: i64, xmin: i64, next: i64) -> Look {
        Look { events, states: 0, xmin, next }
    }

    /// An event is numbered, a slower transaction holds it back, and it is told of until it can be seen.
    #[test]
    fn those_who_wait_are_woken_until_what_came_can_be_seen() {
        let mut watch = Watch::new();
        watch.look(look(1, 10, 10));
        watch.look(look(1, 10, 10));
        assert_eq!(watch.look(look(2, 10, 14)), (true, false), "a number was given out");
        assert_eq!(watch.look(look(2, 10, 15)), (false, false), "the same transaction still runs");
        assert_eq!(watch.look(look(2, 12, 16)), (true, true), "it ended, another runs");
        assert_eq!(watch.look(look(2, 17, 17)), (true, true), "all that ran when it was numbered are over");
        assert_eq!(watch.look(look(2, 20, 20)), (false, false), "what others do is of no account");
    }

    /// The transaction that numbers is the only one that runs, and the last one begun.
    #[test]
    fn a_commit_on_a_server_where_nothing_else_happens_is_told() {
        let mut watch = Watch::new();
        watch.look(look(1, 10, 10));
        watch.look(look(1, 10, 10));
        assert_eq!(watch.look(look(2, 10, 11)), (true, false), "transaction 10 has numbered an event");
        assert_eq!(watch.look(look(2, 10, 11)), (false, false), "it still runs");
        assert_eq!(watch.look(look(2, 11, 11)), (true, true), "it ended");
    }

    #[test]
    fn it_is_known_how_long_one_transaction_holds_the_feed_back() {
        let mut watch = Watch::new();
        let mut at = |found, seconds| {
            watch.look(found);
            watch.held(Duration::from_secs(seconds)).as_secs()
        };
        assert_eq!(at(look(1, 10, 10), 0), 0);
        assert_eq!(at(look(1, 10, 10), 100), 0, "nothing is coming");
        assert_eq!(at(look(2, 10, 12), 200), 0, "it begins");
        assert_eq!(at(look(2, 10, 12), 205), 5);
        assert_eq!(at(look(3, 10, 14), 207), 7, "more is coming, and the same transaction holds it back");
        assert_eq!(at(look(3, 12, 14), 208), 0, "another one");
        assert_eq!(at(look(3, 12, 14), 210), 2);
        assert_eq!(at(look(3, 14, 14), 211), 0, "all is told");
        assert_eq!(at(look(3, 14, 14), 300), 0);
    }

    #[test]
    fn looks_get_rarer_while_nothing_happens() {
        let mut watch = Watch::new();
        watch.look(look(1, 10, 10));
        watch.look(look(1, 10, 10));
        for _ in 0..9 {
            watch.look(look(1, 10, 10));
        }
        assert_eq!(watch.pace, PACE_MAX);
        watch.look(look(2, 10, 11));
        assert_eq!(watch.pace, PACE_MIN);
    }
}
