//! Keyed timers.
//!
//! A tick is made when the actor comes to it, never queued: so a timer that was cancelled or replaced has nothing left
//! that could still arrive, and ticks of one key cannot pile up.
//!
//! [`TimerTable`] is pure; [`Timers`] is what an actor sees of it.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::mem;
use std::time::Duration;

use crate::clock::{Clock, Tick};
use crate::discard;
use crate::testkit::{Effect, Recorder, TimerKind};

type Key = Cow<'static, str>;
type Make<M> = Box<dyn FnMut() -> M + Send>;

/// What a fixed rate does about ticks it could not deliver in time, because the actor was busy or the machine asleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// Leaves them out and goes on at the next multiple of the interval.
    #[default]
    Skip,
    /// Delivers one now and counts the interval from here.
    Delay,
    /// Delivers all of them, one after the other.
    Burst,
}

/// An actor's timers. They end with its life: a restart starts with none.
pub struct Timers<'a, M> {
    table: &'a mut TimerTable<M>,
    clock: &'a Clock,
    recorder: Option<&'a Recorder>,
}

impl<'a, M> Timers<'a, M> {
    pub(crate) fn new(table: &'a mut TimerTable<M>, clock: &'a Clock, recorder: Option<&'a Recorder>) -> Self {
        Self { table, clock, recorder }
    }

    /// Delivers `message` once, `delay` from now. Replaces a timer of the same key.
    pub fn start_single(&mut self, key: impl Into<Cow<'static, str>>, delay: Duration, message: M) {
        self.start(key.into(), delay, Kind::Single(message));
    }

    /// Delivers what `make` returns, `delay` from now and then `delay` after each delivery. Replaces a timer of the
    /// same key.
    pub fn start_with_fixed_delay(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        delay: Duration,
        make: impl FnMut() -> M + Send + 'static,
    ) {
        self.start(key.into(), delay, Kind::FixedDelay { delay, make: Box::new(make) });
    }

    /// Delivers what `make` returns at each multiple of `interval` from now, whatever the handlers take; `missed` says
    /// what becomes of those that could not be delivered in time. Replaces a timer of the same key.
    ///
    /// # Panics
    /// When `interval` is zero.
    pub fn start_at_fixed_rate(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        interval: Duration,
        missed: MissedTicks,
        make: impl FnMut() -> M + Send + 'static,
    ) {
        assert!(!interval.is_zero(), "start_at_fixed_rate: `interval` must be longer than zero");
        let kind = Kind::FixedRate { interval, missed, make: Box::new(make) };
        self.start(key.into(), interval, kind);
    }

    fn start(&mut self, key: Key, delay: Duration, kind: Kind<M>) {
        if let Some(recorder) = self.recorder {
            recorder.note(Effect::TimerScheduled { key: key.clone(), delay, kind: kind.shown() });
        }
        self.table.start(key, self.clock.now() + delay, kind);
    }

    /// Ends the timer of `key`. Nothing of it is delivered afterwards. No timer of that key: nothing happens.
    pub fn cancel(&mut self, key: &str) {
        if let Some(recorder) = self.recorder {
            recorder.note(Effect::TimerCancelled { key: key.to_owned() });
        }
        self.table.cancel(key);
    }

    /// Ends all timers.
    pub fn cancel_all(&mut self) {
        if let Some(recorder) = self.recorder {
            recorder.note(Effect::AllTimersCancelled);
        }
        self.table.clear();
    }

    /// Whether a timer of `key` will still deliver something.
    pub fn is_active(&self, key: &str) -> bool {
        self.table.timers.contains_key(key)
    }

    /// The message of the timer of `key`, as if its moment had come.
    pub(crate) fn fire(&mut self, key: &str) -> Option<M> {
        let now = self.clock.now();
        let kind = self.table.take(key)?.kind;
        Some(self.table.deliver(key.to_owned().into(), now, now, kind))
    }
}

impl<M> fmt::Debug for Timers<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.table.timers.keys()).finish()
    }
}

pub(crate) struct TimerTable<M> {
    timers: BTreeMap<Key, Timer<M>>,
    /// By moment, then by start: those of one moment come in the order they were started. Also holds some that were
    /// cancelled or replaced, never first and never more than as many as count.
    due: BinaryHeap<Reverse<Due>>,
    started: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: (Tick, u64),
    key: Key,
}

struct Timer<M> {
    at: (Tick, u64),
    kind: Kind<M>,
}

enum Kind<M> {
    Single(M),
    FixedDelay { delay: Duration, make: Make<M> },
    FixedRate { interval: Duration, missed: MissedTicks, make: Make<M> },
}

impl<M> Kind<M> {
    fn shown(&self) -> TimerKind {
        match self {
            Self::Single(_) => TimerKind::Single,
            Self::FixedDelay { .. } => TimerKind::FixedDelay,
            Self::FixedRate { missed, .. } => TimerKind::FixedRate { missed: *missed },
        }
    }
}

impl<M> TimerTable<M> {
    pub(crate) fn new() -> Self {
        Self { timers: BTreeMap::new(), due: BinaryHeap::new(), started: 0 }
    }

    fn start(&mut self, key: Key, at: Tick, kind: Kind<M>) {
        self.cancel(&key);
        self.schedule(key, at, kind);
    }

    fn schedule(&mut self, key: Key, at: Tick, kind: Kind<M>) {
        let at = (at, self.started);
        self.started += 1;
        self.due.push(Reverse(Due { at, key: key.clone() }));
        self.timers.insert(key, Timer { at, kind });
    }

    fn cancel(&mut self, key: &str) {
        drop(self.take(key));
    }

    fn take(&mut self, key: &str) -> Option<Timer<M>> {
        let timer = self.timers.remove(key)?;
        self.tidy();
        Some(timer)
    }

    /// Sees to it that what is due first counts, and that little is held that does not.
    fn tidy(&mut self) {
        let Self { timers, due, .. } = self;
        let counts = |due: &Due| timers.get(&due.key).is_some_and(|timer| timer.at == due.at);
        while due.peek().is_some_and(|Reverse(first)| !counts(first)) {
            due.pop();
        }
        if due.len() > 2 * timers.len() + 4 {
            due.retain(|Reverse(due)| counts(due));
        }
    }

    fn clear(&mut self) {
        self.due.clear();
        drop(mem::take(&mut self.timers)); // empty even if a message panics in its destructor
    }

    pub(crate) fn clear_caught(&mut self) {
        self.due.clear();
        discard::each_caught(mem::take(&mut self.timers));
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.due.peek().map(|Reverse(Due { at: (at, _), .. })| *at)
    }

    /// The next message whose moment has come.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<M> {
        if self.next_deadline()? > now {
            return None;
        }
        let Reverse(Due { key, .. }) = self.due.pop()?;
        let Timer { at: (at, _), kind } = self.timers.remove(&key)?;
        self.tidy();
        Some(self.deliver(key, at, now, kind))
    }

    /// The message of a timer that was due at `at`; starts it again if there is more to come.
    fn deliver(&mut self, key: Key, at: Tick, now: Tick, kind: Kind<M>) -> M {
        match kind {
            Kind::Single(message) => message,
            Kind::FixedDelay { delay, mut make } => {
                let message = make();
                self.schedule(key, now + delay, Kind::FixedDelay { delay, make });
                message
            }
            Kind::FixedRate { interval, missed, mut make } => {
                let message = make();
                let next = next_of_rate(at, now, interval, missed);
                self.schedule(key, next, Kind::FixedRate { interval, missed, make });
                message
            }
        }
    }
}

fn next_of_rate(at: Tick, now: Tick, interval: Duration, missed: MissedTicks) -> Tick {
    let next = at + interval;
    if next > now {
        return next;
    }
    match missed {
        MissedTicks::Burst => next,
        MissedTicks::Delay => now + interval,
        MissedTicks::Skip => {
            let late = (now - at).as_nanos() % interval.as_nanos();
            let wait = interval - Duration::from_nanos(u64::try_from(late).unwrap_or(0));
            now + wait
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: f64) -> Tick {
        Tick::START + Duration::from_secs_f64(seconds)
    }

    fn rate(missed: MissedTicks) -> TimerTable<u32> {
        let mut table = TimerTable::new();
        table.start("rate".into(), at(1.0), Kind::FixedRate { interval: SECOND, missed, make: Box::new(|| 1) });
        table
    }

    fn due_at(table: &mut TimerTable<u32>, now: Tick) -> usize {
        std::iter::from_fn(|| table.pop_due(now)).count()
    }

    #[test]
    fn a_rate_that_slept_skips_delays_or_bursts() {
        let mut skip = rate(MissedTicks::Skip);
        assert_eq!(due_at(&mut skip, at(30.5)), 1);
        assert_eq!(skip.next_deadline(), Some(at(31.0)));

        let mut delay = rate(MissedTicks::Delay);
        assert_eq!(due_at(&mut delay, at(30.5)), 1);
        assert_eq!(delay.next_deadline(), Some(at(31.5)));

        let mut burst = rate(MissedTicks::Burst);
        assert_eq!(due_at(&mut burst, at(30.5)), 30);
        assert_eq!(burst.next_deadline(), Some(at(31.0)));
    }

    #[test]
    fn a_rate_in_time_does_not_drift() {
        let mut table = rate(MissedTicks::Skip);
        assert_eq!(due_at(&mut table, at(1.0)), 1);
        assert_eq!(due_at(&mut table, at(2.25)), 1); // a little late
        assert_eq!(table.next_deadline(), Some(at(3.0)));
    }

    #[test]
    fn timers_of_one_moment_come_in_the_order_they_were_started() {
        let mut table = TimerTable::new();
        table.start("z".into(), at(1.0), Kind::Single(1));
        table.start("a".into(), at(1.0), Kind::Single(2));
        table.start("m".into(), at(0.5), Kind::Single(0));
        let order: Vec<u32> = std::iter::from_fn(|| table.pop_due(at(1.0))).collect();
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn never_early() {
        let mut table = TimerTable::new();
        table.start("a".into(), at(1.0), Kind::Single(1));
        assert_eq!(table.pop_due(at(0.999_999_999)), None);
    }

    /// What a test does with a table.
    #[derive(Clone, Debug)]
    enum Do {
        Start(usize, u64),
        Cancel(usize),
        Pass(u64),
    }

    const KEYS: [&str; 4] = ["a", "b", "c", "d"];

    fn any_do() -> impl Strategy<Value = Do> {
        prop_oneof![
            (0..KEYS.len(), 0u64..20).prop_map(|(key, delay)| Do::Start(key, delay)),
            (0..KEYS.len()).prop_map(Do::Cancel),
            (0u64..15).prop_map(Do::Pass),
        ]
    }

    proptest! {
        /// Whatever is started, replaced and cancelled: exactly the last start of each key that was not cancelled is
        /// delivered, at its moment, in order of moments.
        #[test]
        fn only_the_last_start_of_a_key_is_delivered(dos in prop::collection::vec(any_do(), 0..60)) {
            let mut table = TimerTable::new();
            let mut expected: Vec<Option<(Tick, usize)>> = vec![None; KEYS.len()]; // by key: when, and which start
            let mut now = Tick::START;
            for (number, what) in dos.into_iter().enumerate() {
                match what {
                    Do::Start(key, delay) => {
                        let at = now + Duration::from_secs(delay);
                        table.start(KEYS[key].into(), at, Kind::Single(number));
                        expected[key] = Some((at, number));
                    }
                    Do::Cancel(key) => {
                        table.cancel(KEYS[key]);
                        expected[key] = None;
                    }
                    Do::Pass(seconds) => {
                        now = now + Duration::from_secs(seconds);
                        let mut due: Vec<(Tick, usize)> = expected.iter().flatten().copied().filter(|(at, _)| *at <= now).collect();
                        due.sort_unstable();
                        expected.iter_mut().filter(|entry| entry.is_some_and(|(at, _)| at <= now)).for_each(|entry| *entry = None);
                        let delivered: Vec<usize> = std::iter::from_fn(|| table.pop_due(now)).collect();
                        prop_assert_eq!(delivered, due.into_iter().map(|(_, number)| number).collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(table.next_deadline(), expected.iter().flatten().map(|(at, _)| *at).min());
            }
        }
    }
}
