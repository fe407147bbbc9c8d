//! [`Worker`]: a carrier's queues and its loop.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker as Deque;
use tokio::task::coop::has_budget_remaining;

use super::pool::{self, Pool, Seat};
use super::scoped::Scoped;
use super::slot::Slot;
use super::{After, Hint, current};

/// Actors in a row taken from the slot: two that keep telling each other must not hold up the rest.
const SLOT_MAX: u32 = 16;
/// Young in a row, at most, while there is something in the deque.
const YOUNG_MAX: usize = 128;
/// Of [`Worker::young_left`]: to be counted when the next one is looked for.
const AS_MANY_AS_WAIT: usize = usize::MAX;
/// Every so many runs the injector comes first.
const FAIRNESS: u32 = 61;
/// How long actors run before the thread goes back to tokio, for its other tasks and for I/O and timers. Each time tokio
/// may go on with the carrier on another thread, so it must not be too often.
const SLICE: Duration = Duration::from_micros(200);
/// Runs between two looks at the clock, at most.
const CLOCK_EVERY: u32 = 64;
/// Runs before the first look in a slice, at most.
const CLOCK_FIRST: u32 = 8;
/// Every so many runs it looks whether tokio lets this task go on. Who awaits something of tokio's without that comes again.
const BUDGET_EVERY: u64 = 8;
/// Runs in a slice where the order is fixed and so must not depend on a clock.
const FIXED_SLICE: u32 = 256;

thread_local! {
    /// The worker this thread is being, if any.
    static WORKER: Scoped<Worker> = const { Scoped::new() };
}

pub(super) struct Worker {
    index: usize,
    pool: Arc<Pool>,
    slot: Slot<Hint>,
    slot_runs: Cell<u32>,
    deque: Deque<Hint>,
    /// Actors made here that have not run yet, the last one first.
    young: Deque<Hint>,
    /// How many of them run before the deque has its turn; [`AS_MANY_AS_WAIT`] after that had one.
    young_left: Cell<usize>,
    /// Whether the next slice begins with the one of them that waits for longest.
    oldest_first: Cell<bool>,
    /// Runs until the injector comes first.
    until_fair: Cell<u32>,
    /// Empty, but while hints from outside go through.
    chunk: RefCell<Vec<Hint>>,
    /// Which place outside it looks at first when others have their turn.
    place: Cell<u32>,
    /// Runs between two looks at the clock: fewer when they are long.
    stride: Cell<u32>,
}

/// The worker this thread is being.
#[inline]
pub(super) fn here<R>(f: impl FnOnce(Option<&Worker>) -> R) -> R {
    Scoped::with(&WORKER, f)
}

impl Worker {
    pub(super) fn new(index: usize, pool: Arc<Pool>, deque: Deque<Hint>, young: Deque<Hint>, slot: Slot<Hint>) -> Self {
        Self {
            index,
            pool,
            slot,
            slot_runs: Cell::new(0),
            deque,
            young,
            young_left: Cell::new(AS_MANY_AS_WAIT),
            oldest_first: Cell::new(true),
            until_fair: Cell::new(FAIRNESS),
            chunk: RefCell::default(),
            place: Cell::new(0),
            stride: Cell::new(CLOCK_EVERY),
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn seat(&self) -> &Seat {
        self.pool.seat(self.index)
    }

    /// Several schedulers may have carriers on one thread.
    pub(super) fn serves(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    /// From inside a run of this worker: `hint` comes next, and what would have come next goes to the back.
    #[inline]
    pub(super) fn schedule(&self, hint: Hint) {
        if self.slot_runs.get() >= SLOT_MAX || self.pool.line().is_some() {
            return self.push_back(hint);
        }
        if let Some(displaced) = self.slot.put(hint) {
            self.push_back(displaced);
        } else {
            if !self.young.is_empty() && self.pool.sleepers().any() {
                self.pool.wake_from_carrier();
            }
            if self.pool.is_stopped() {
                self.pool.drain();
            }
        }
    }

    /// From wherever: behind what waits already.
    pub(super) fn push_back(&self, hint: Hint) {
        self.add(&self.deque, hint);
    }

    /// From inside a run of this worker: an actor that has never run.
    #[inline]
    pub(super) fn begin(&self, hint: Hint) {
        self.add(&self.young, hint);
    }

    /// Others are called in only when there is more than this worker's next piece of work. No fence: what lies in a queue of
    /// its own this worker finds in any case.
    fn add(&self, queue: &Deque<Hint>, hint: Hint) {
        if let Some(line) = self.pool.line() {
            line.push(hint);
        } else {
            let more = !self.slot.is_empty() || !self.deque.is_empty() || !self.young.is_empty();
            queue.push(hint);
            if more && self.pool.sleepers().any() {
                self.pool.wake_from_carrier();
            }
        }
        if self.pool.is_stopped() {
            self.pool.drain();
        }
    }

    /// More than one piece of work.
    fn has_more(&self) -> bool {
        self.deque.len() + self.young.len() + usize::from(!self.slot.is_empty()) > 1 || self.pool.was_brought_work()
    }

    #[inline(always)]
    fn next(&self) -> Option<Hint> {
        if let Some(line) = self.pool.line() {
            return line.pop();
        }
        let until_fair = self.until_fair.get() - 1;
        self.until_fair.set(until_fair);
        if until_fair == 0
            && let Some(hint) = self.fairly()
        {
            return Some(hint);
        }
        if let Some(hint) = self.slot.take() {
            self.slot_runs.set(self.slot_runs.get() + 1);
            return Some(hint);
        }
        self.slot_runs.set(0);
        self.own()
            .or_else(|| self.pool.inject(&self.deque, &mut self.chunk.borrow_mut()))
            .or_else(|| self.pool.steal(self.index, &self.deque))
    }

    /// What others have brought.
    #[cold]
    fn fairly(&self) -> Option<Hint> {
        self.until_fair.set(FAIRNESS);
        let place = self.place.get();
        self.place.set(place.wrapping_add(1));
        self.pool.brought(place, &self.deque, &mut self.chunk.borrow_mut())
    }

    /// From the young and from this worker's deque, in turn: after one of those as many young as wait by then, since all of
    /// them may be its work, which must not pile up because it goes on.
    fn own(&self) -> Option<Hint> {
        let left = match self.young_left.get() {
            AS_MANY_AS_WAIT => self.young.len().min(YOUNG_MAX),
            left => left,
        };
        if left > 0
            && let Some(young) = self.young.pop()
        {
            self.young_left.set(left - 1);
            return Some(young);
        }
        self.young_left.set(AS_MANY_AS_WAIT);
        self.deque.pop().or_else(|| self.young.pop())
    }

    /// What a slice begins with, every other time: a slice may be one run, and the rest has to have its turn too.
    fn oldest(&self) -> Option<Hint> {
        if self.oldest_first.replace(!self.oldest_first.get()) { self.pool.oldest(self.index) } else { None }
    }

    /// Runs actors for a slice; false when it ran out of them first. `searching`: it was called and counts as one that
    /// looks for work.
    pub(super) fn work(&self, searching: bool) -> bool {
        pool::begin_here();
        Scoped::set(&WORKER, self, || {
            let (mut searching, mut running) = (searching, None);
            let in_turn = current::in_turn();
            let slice = || self.run_slice(&mut searching, &mut running, &in_turn);
            let busy = catch_unwind(AssertUnwindSafe(slice)).unwrap_or_else(|panic| {
                match running.take() {
                    Some(hint) => {
                        let after = in_turn.panicked(&hint, panic);
                        self.over(hint, after);
                    }
                    None => resume_unwind(panic),
                }
                true
            });
            self.seat().pulse.running.store(0, Relaxed);
            if busy && self.has_more() {
                self.pool.wake_in_passing();
            }
            busy
        })
    }

    /// As [`work`](Self::work), with the hint that is being run in `running`.
    #[inline(always)]
    fn run_slice(&self, searching: &mut bool, running: &mut Option<Hint>, in_turn: &current::InTurn) -> bool {
        let pulse = &self.seat().pulse;
        let fixed = self.pool.line().is_some();
        let mut runs = pulse.runs.load(Relaxed);
        let mut slice = Slice::new(fixed, self.stride.get());
        let mut first = self.oldest();
        loop {
            let next = if first.is_some() { first.take() } else { self.next() };
            if *searching {
                *searching = false;
                self.searched(next.is_some());
            }
            let Some(hint) = next else { return false };
            let hint = running.insert(hint);
            runs += 1;
            pulse.running.store(hint.uid(), Relaxed);
            pulse.runs.store(runs, Relaxed);
            let after = in_turn.run(hint);
            if let Some(hint) = running.take() {
                self.over(hint, after);
            }
            let is_over = slice.is_over();
            if is_over || self.pool.is_stopped() || (runs.is_multiple_of(BUDGET_EVERY) && !has_budget_remaining()) {
                self.stride.set(slice.stride);
                return true;
            }
        }
    }

    /// A run is over.
    #[inline(always)]
    fn over(&self, hint: Hint, after: After) {
        if after == After::Again {
            self.push_back(hint);
            // That was a long one: whoever waits outside has waited for long enough.
            self.until_fair.set(1);
        } else {
            hint.over(after);
        }
    }

    /// It was called, and has looked for work.
    #[cold]
    fn searched(&self, found: bool) {
        if self.pool.sleepers().found()
            && found
            && (!self.deque.is_empty() || !self.young.is_empty() || self.pool.has_work_for(self.index))
        {
            self.pool.wake_from_carrier();
        }
    }

    /// Goes to sleep; false when there is work after all or none will come any more.
    pub(super) fn doze(&self) -> bool {
        self.pool.sleepers().doze(self.index, || self.pool.has_work_for(self.index) || self.pool.is_stopped())
    }
}

/// The time a carrier keeps its thread. The clock is read for the first time after a few runs: a carrier that is woken for
/// one or two needs none.
struct Slice {
    stride: u32,
    left: u32,
    fixed: bool,
    /// When the clock was first looked at, and when last.
    clock: Option<(Instant, Instant)>,
}

#[allow(clippy::disallowed_methods, reason = "a slice is time of this thread: a paused clock would never end it")]
impl Slice {
    fn new(fixed: bool, stride: u32) -> Self {
        let left = if fixed { FIXED_SLICE } else { stride.min(CLOCK_FIRST) };
        Self { stride, left, fixed, clock: None }
    }

    /// After a run.
    fn is_over(&mut self) -> bool {
        self.left -= 1;
        self.left == 0 && (self.fixed || self.look())
    }

    /// Looks at the clock, and from then on more often where runs are long.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        let (begin, last) = *self.clock.get_or_insert((now, now));
        self.clock = Some((begin, now));
        let lap = now - last;
        if lap > SLICE / 8 {
            self.stride = (self.stride / 2).max(1);
        } else if lap < SLICE / 32 && !lap.is_zero() {
            self.stride = (self.stride * 2).min(CLOCK_EVERY);
        }
        self.left = self.stride;
        now - begin >= SLICE
    }
}

impl Drop for Worker {
    /// The runtime has been shut down, or the scheduler has stopped.
    fn drop(&mut self) {
        self.pool.stop();
        if let Some(lost) = self.pool.lost.get() {
            lost();
        }
    }
}
