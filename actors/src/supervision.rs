//! [`SupervisorStrategy`]: what happens when an actor fails. Pure: time and randomness come in as arguments.

use std::any::type_name;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{BoxError, Panicked};
use crate::clock::Tick;

/// Share of the delay added at random, so that actors that failed together do not come back together.
const JITTER: f64 = 0.2;

/// What happens when an actor fails. The default is [`stop`](SupervisorStrategy::stop).
#[derive(Clone, Debug, PartialEq)]
pub struct SupervisorStrategy {
    directive: Directive,
}

#[derive(Clone, Debug, PartialEq)]
enum Directive {
    Stop,
    Resume,
    Restart(Restart),
}

#[derive(Clone, Debug, PartialEq)]
struct Restart {
    limit: Option<Limit>,
    backoff: Option<Backoff>,
    keep_children: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    restarts: u32,
    within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
    reset_after: Duration,
}

impl SupervisorStrategy {
    /// The actor stops; a parent that watches it gets `ChildFailed`.
    pub fn stop() -> Self {
        Self { directive: Directive::Stop }
    }

    /// The message is dropped and the actor goes on with the state it has. Only for errors a handler returned: after
    /// a panic, or a failure to start, the actor stops.
    pub fn resume() -> Self {
        Self { directive: Directive::Resume }
    }

    /// The factory makes a new state at once, any number of times. A failure to start stops the actor, because trying
    /// again at once would spin; with [`with_limit`](Self::with_limit) it counts as one of the failures.
    pub fn restart() -> Self {
        Self { directive: Directive::Restart(Restart { limit: None, backoff: None, keep_children: false }) }
    }

    /// The factory makes a new state after a delay: `min` after the first failure, twice as long after each further
    /// one, at most `max`, plus up to a fifth at random. The count starts again once the actor stayed up for `min`.
    ///
    /// # Panics
    /// When `min` is zero or `max` is shorter than `min`.
    pub fn restart_with_backoff(min: Duration, max: Duration) -> Self {
        assert!(
            min > Duration::ZERO,
            "restart_with_backoff: `min` must be longer than zero; use `restart` for no delay"
        );
        assert!(min <= max, "restart_with_backoff: `max` ({max:?}) must not be shorter than `min` ({min:?})");
        let backoff = Backoff { min, max, jitter: JITTER, reset_after: min };
        Self { directive: Directive::Restart(Restart { limit: None, backoff: Some(backoff), keep_children: false }) }
    }

    /// At most `restarts` restarts in any span of `within`; the failure after that stops the actor.
    ///
    /// # Panics
    /// When this strategy does not restart.
    #[must_use]
    pub fn with_limit(mut self, restarts: u32, within: Duration) -> Self {
        self.restart_mut("with_limit").limit = Some(Limit { restarts, within });
        self
    }

    /// How long an actor must stay up before its delays start at the minimum again. Default: the minimum delay.
    ///
    /// # Panics
    /// When this strategy has no backoff.
    #[must_use]
    pub fn reset_after(mut self, up: Duration) -> Self {
        self.backoff_mut("reset_after").reset_after = up;
        self
    }

    /// Share of each delay added at random, 0.0 for none. Default 0.2.
    ///
    /// # Panics
    /// When this strategy has no backoff, or `share` is not a number from 0 to 1.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        assert!((0.0..=1.0).contains(&share), "jitter: the share must be from 0 to 1, is {share}");
        self.backoff_mut("jitter").jitter = share;
        self
    }

    /// Children live on through a restart; the factory must not spawn them again.
    ///
    /// # Panics
    /// When this strategy does not restart.
    #[must_use]
    pub fn keep_children(mut self) -> Self {
        self.restart_mut("keep_children").keep_children = true;
        self
    }

    fn restart_mut(&mut self, setting: &str) -> &mut Restart {
        match &mut self.directive {
            Directive::Restart(restart) => restart,
            other => {
                panic!("{setting} has no meaning for the strategy {other:?}: it never restarts")
            }
        }
    }

    fn backoff_mut(&mut self, setting: &str) -> &mut Backoff {
        match self.restart_mut(setting).backoff.as_mut() {
            Some(backoff) => backoff,
            None => panic!("{setting} has no meaning without a delay: use `restart_with_backoff`"),
        }
    }
}

impl Default for SupervisorStrategy {
    fn default() -> Self {
        Self::stop()
    }
}

/// One way an actor's life went wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: BoxError,
    /// The life had not begun: the factory or `started` failed.
    pub(crate) starting: bool,
}

impl Failure {
    pub(crate) fn is_panic(&self) -> bool {
        self.error.is::<Panicked>()
    }
}

/// What to do about a failure.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    Stop,
    Resume,
    Restart { delay: Duration, keep_children: bool },
}

/// Which strategy answers which failure, and what happened so far. First match decides.
#[derive(Default)]
pub(crate) struct Supervision {
    rules: Vec<Rule>,
    fallback: History,
}

struct Rule {
    matches: Arc<dyn Fn(&BoxError) -> bool + Send + Sync>,
    error: &'static str,
    history: History,
}

#[derive(Default)]
struct History {
    strategy: SupervisorStrategy,
    restarts: VecDeque<Tick>, // those within the limit's window
    in_a_row: u32,
}

impl Supervision {
    /// The same strategies, for an actor that has not failed yet.
    pub(crate) fn anew(&self) -> Self {
        let anew = |history: &History| History { strategy: history.strategy.clone(), ..History::default() };
        let rule =
            |rule: &Rule| Rule { matches: rule.matches.clone(), error: rule.error, history: anew(&rule.history) };
        Self { rules: self.rules.iter().map(rule).collect(), fallback: anew(&self.fallback) }
    }

    pub(crate) fn set_fallback(&mut self, strategy: SupervisorStrategy) {
        self.fallback = History { strategy, ..History::default() };
    }

    pub(crate) fn add_rule<E: Error + 'static>(&mut self, strategy: SupervisorStrategy) {
        self.rules.push(Rule {
            matches: Arc::new(|error| error.is::<E>()),
            error: type_name::<E>(),
            history: History { strategy, ..History::default() },
        });
    }

    /// `up_since` is when the life that failed began; `random` is in 0..1.
    pub(crate) fn decide(&mut self, failure: &Failure, up_since: Tick, now: Tick, random: f64) -> Decision {
        let rule = self.rules.iter_mut().find(|rule| (rule.matches)(&failure.error));
        let history = rule.map_or(&mut self.fallback, |rule| &mut rule.history);
        history.decide(failure, up_since, now, random)
    }
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for rule in &self.rules {
            map.entry(&rule.error, &rule.history.strategy);
        }
        map.entry(&"any other", &self.fallback.strategy).finish()
    }
}

impl History {
    fn decide(&mut self, failure: &Failure, up_since: Tick, now: Tick, random: f64) -> Decision {
        let restart = match &self.strategy.directive {
            Directive::Stop => return Decision::Stop,
            Directive::Resume if failure.is_panic() || failure.starting => return Decision::Stop,
            Directive::Resume => return Decision::Resume,
            Directive::Restart(restart) => restart,
        };
        match restart.limit {
            Some(limit) => {
                while self.restarts.front().is_some_and(|&at| now - at >= limit.within) {
                    self.restarts.pop_front();
                }
                if self.restarts.len() >= limit.restarts as usize {
                    return Decision::Stop;
                }
                self.restarts.push_back(now);
            }
            None if failure.starting && restart.backoff.is_none() => return Decision::Stop,
            None => {}
        }
        let delay = restart.backoff.map_or(Duration::ZERO, |backoff| {
            if !failure.starting && now - up_since >= backoff.reset_after {
                self.in_a_row = 0;
            }
            let delay = backoff.delay(self.in_a_row, random);
            self.in_a_row = self.in_a_row.saturating_add(1);
            delay
        });
        Decision::Restart { delay, keep_children: restart.keep_children }
    }
}

impl Backoff {
    fn delay(&self, failures_before: u32, random: f64) -> Duration {
        let doubled = self.min.saturating_mul(1u32.checked_shl(failures_before).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(1.0 + random * self.jitter)
    }
}
