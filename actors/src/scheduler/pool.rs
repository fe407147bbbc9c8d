//! [`Pool`]: what the carriers of one scheduler share.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, OnceLock};

use crossbeam_deque::{Steal, Stealer, Worker as Deque};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::carrier::{Carrier, Decoys, Tasks};
use super::injector::Injector;
use super::line::Line;
use super::outside::Outside;
use super::sleepers::{Brought, Call, MAX, Sleepers};
use super::slot::{Slot, Thief};
use super::worker::{self, Worker};
use super::{Hint, Order, WorkerState};
use crate::gate::Gatekeeper;

/// Hints a thread may bring from outside while no carrier runs on it, before another thread is called in.
const PATIENCE: u32 = 8;

thread_local! {
    /// The runtime of several threads this thread is a worker of, as far as is known.
    static HOME: Cell<Option<tokio::runtime::Id>> = const { Cell::new(None) };
    /// Hints this thread brought from outside since a carrier last ran on it. Its address tells threads apart.
    static BROUGHT: Cell<u32> = const { Cell::new(0) };
}

pub(super) struct Pool {
    injector: Injector,
    outside: Outside,
    /// Takes the place of all other queues where the order is fixed.
    line: Option<Line>,
    seats: Box<[OnceLock<Seat>]>,
    seated: AtomicUsize,
    /// Carriers that shall run at once.
    workers: usize,
    sleepers: Sleepers,
    /// Which thread outside woke a carrier last; 0: a carrier did.
    caller: AtomicUsize,
    decoys: Decoys,
    stopped: AtomicBool,
    /// What is done when the runtime ends under the carriers.
    pub(super) lost: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Held while a seat is added.
    growing: Mutex<()>,
    runtime: Handle,
    gate: Gatekeeper,
    /// The runtime has one thread, on which a carrier that was woken comes as soon as it can.
    one_thread: bool,
}

/// What others see of a carrier.
pub(super) struct Seat {
    stealer: Stealer<Hint>,
    young: Stealer<Hint>,
    slot: Thief<Hint>,
    pub(super) tasks: Tasks,
    pub(super) pulse: Pulse,
    /// `pulse.runs` at the last look, and the value at which it was found stuck.
    seen: AtomicU64,
    stuck: AtomicU64,
}

/// Written by the carrier at every run, so on a cache line of its own.
#[repr(align(64))]
pub(super) struct Pulse {
    pub(super) runs: AtomicU64,
    pub(super) running: AtomicU64,
}

impl Seat {
    fn has_some(&self) -> bool {
        !self.stealer.is_empty() || !self.young.is_empty()
    }

    /// In one run since the look before last, at least.
    fn is_stuck(&self) -> bool {
        self.stuck.load(Relaxed) == self.pulse.runs.load(Relaxed) && self.pulse.running.load(Relaxed) != 0
    }
}

impl Pool {
    pub(super) fn start(runtime: &Handle, order: Order, workers: usize, seats: usize, gate: Gatekeeper) -> Arc<Self> {
        let seats = seats.clamp(1, MAX);
        let workers = workers.clamp(1, seats);
        let pool = Arc::new(Self {
            injector: Injector::new(),
            outside: Outside::new(),
            line: Line::new(order),
            seats: (0..seats).map(|_| OnceLock::new()).collect(),
            seated: AtomicUsize::new(0),
            workers,
            sleepers: Sleepers::new(),
            caller: AtomicUsize::new(0),
            decoys: Decoys::new(),
            stopped: AtomicBool::new(false),
            lost: OnceLock::new(),
            growing: Mutex::new(()),
            runtime: runtime.clone(),
            gate,
            one_thread: runtime.runtime_flavor() == RuntimeFlavor::CurrentThread,
        });
        for _ in 0..workers {
            pool.seat_one();
        }
        if !pool.one_thread {
            pool.decoys.spawn(runtime, 2 * workers);
        }
        pool
    }

    /// Adds a carrier.
    fn seat_one(self: &Arc<Self>) {
        let _growing = self.growing.lock();
        let index = self.seated.load(Relaxed);
        let Some(place) = self.seats.get(index) else { return };
        let deque = Deque::new_fifo();
        let young = Deque::new_lifo();
        let (slot, thief) = Slot::new();
        let seat = Seat {
            stealer: deque.stealer(),
            young: young.stealer(),
            slot: thief,
            tasks: Tasks::new(),
            pulse: Pulse { runs: AtomicU64::new(0), running: AtomicU64::new(0) },
            seen: AtomicU64::new(u64::MAX),
            stuck: AtomicU64::new(u64::MAX),
        };
        if place.set(seat).is_err() {
            return;
        }
        self.seated.store(index + 1, SeqCst);
        for task in Carrier::tasks(self, Worker::new(index, self.clone(), deque, young, slot)) {
            self.runtime.spawn(self.gate.guard(task));
        }
    }

    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats[..self.seated.load(Acquire)].iter().filter_map(OnceLock::get)
    }

    pub(super) fn seat(&self, index: usize) -> &Seat {
        self.seats[index].get().expect("a carrier has a seat")
    }

    pub(super) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    pub(super) fn sleepers(&self) -> &Sleepers {
        &self.sleepers
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Whether this thread belongs to the runtime's workers, and so is inside it for good.
    pub(super) fn is_home(&self) -> bool {
        HOME.get() == Some(self.runtime.id())
    }

    /// A carrier runs on this thread: with several workers none of them ever leaves the runtime.
    pub(super) fn is_here(&self) {
        if self.runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
            HOME.set(Some(self.runtime.id()));
        }
    }

    /// There can be more than one carrier.
    pub(super) fn may_grow(&self) -> bool {
        self.seats.len() > 1
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    // ---- bringing work

    /// From any thread.
    #[inline]
    pub(super) fn schedule(self: &Arc<Self>, hint: Hint) {
        self.bring(hint, Worker::schedule);
    }

    /// As [`schedule`](Pool::schedule), of an actor that has never run.
    #[inline]
    pub(super) fn begin(self: &Arc<Self>, hint: Hint) {
        self.bring(hint, Worker::begin);
    }

    /// As [`schedule`](Pool::schedule), behind what waits already.
    pub(super) fn schedule_back(self: &Arc<Self>, hint: Hint) {
        self.bring(hint, Worker::push_back);
    }

    /// To the worker this thread is being, by `inside`, or from outside.
    #[inline(always)]
    fn bring(self: &Arc<Self>, hint: Hint, inside: impl FnOnce(&Worker, Hint)) {
        let outside = worker::here(|worker| match worker.filter(|worker| worker.serves(self)) {
            Some(worker) => {
                inside(worker, hint);
                None
            }
            None => Some(hint),
        });
        if let Some(hint) = outside {
            self.schedule_from_outside(hint);
        }
    }

    fn schedule_from_outside(&self, hint: Hint) {
        let brought = match &self.line {
            Some(line) => {
                line.push(hint);
                Brought::Anyhow
            }
            None => match self.outside.put(hint) {
                Some(before) => {
                    self.injector.push(before); // behind all others
                    Brought::Anyhow
                }
                None => Brought::ByExchange,
            },
        };
        self.wake_from_outside(brought);
        if self.stopped.load(SeqCst) {
            self.drain();
        }
    }

    /// Takes a hint back that a thread has brought from outside last, if it is there still.
    pub(super) fn take_back(&self, hint: &Hint) -> Option<Hint> {
        let back = self.outside.take_back(hint)?;
        BROUGHT.set(BROUGHT.get().saturating_sub(1));
        Some(back)
    }

    /// A wake from a task of this runtime puts the carrier into the next-task slot of that very thread: as soon as the
    /// task waits, the carrier runs, and no other thread was disturbed. That slot cannot be stolen from, so for a task that
    /// brings more and more and does not wait another one is woken, which pushes the first one out of the slot.
    fn wake_from_outside(&self, brought: Brought) {
        BROUGHT.set(BROUGHT.get().saturating_add(1));
        if let Some(index) = self.sleepers.call_for(brought, Call::UnlessSearching) {
            self.caller.store(this_thread(), Relaxed);
            self.wake(index);
            if self.is_flooded() {
                self.decoys.wake();
            }
        } else if self.sleepers.searching() > 0 {
            // Was the one that searches woken from another thread, where it may wait for a task to end?
            let elsewhere = ![0, this_thread()].contains(&self.caller.load(Relaxed));
            if elsewhere || self.is_flooded() {
                self.hurry_for(brought);
            }
        }
    }

    /// Whether this is a thread of the runtime on which a task brings hints and lets no carrier run.
    fn is_flooded(&self) -> bool {
        BROUGHT.get() > PATIENCE && tokio::task::try_id().is_some() && (self.is_home() || self.comes_home())
    }

    /// Whether this thread, on which no carrier has run yet, is one of the runtime's.
    #[cold]
    fn comes_home(&self) -> bool {
        let home = Handle::try_current().is_ok_and(|here| here.id() == self.runtime.id());
        if home {
            self.is_here();
        }
        home
    }

    /// Work waits although a carrier was woken for it: frees it from where it is stuck.
    pub(super) fn hurry(&self) {
        self.hurry_for(Brought::Anyhow);
    }

    fn hurry_for(&self, brought: Brought) {
        if self.sleepers.searching() == 0 || self.one_thread {
            return;
        }
        match self.sleepers.call_for(brought, Call::Anyhow) {
            Some(index) => {
                self.caller.store(this_thread(), Relaxed);
                self.wake(index);
            }
            None => {
                self.decoys.wake();
            }
        }
    }

    /// From a carrier that has more than its next piece of work. It goes on, so whom it wakes must not be left in the
    /// next-task slot of this thread.
    pub(super) fn wake_from_carrier(&self) {
        if let Some(index) = self.sleepers.call(Call::UnlessSearching) {
            self.caller.store(0, Relaxed);
            self.wake(index);
            if !self.decoys.wake() {
                self.runtime.spawn(std::future::ready(()));
            }
        }
    }

    /// From a carrier that waits for all other tasks of its thread: the one in the thread's next-task slot goes to where others
    /// can take it, and one is called for it.
    pub(super) fn clear_next(&self) {
        self.decoys.wake();
    }

    /// From a carrier that gives its thread back and leaves work behind: whom it wakes goes on there.
    pub(super) fn wake_in_passing(&self) {
        if self.sleepers.any()
            && let Some(index) = self.sleepers.call(Call::Anyhow)
        {
            self.caller.store(0, Relaxed);
            self.wake(index);
        }
    }

    fn wake(&self, index: usize) {
        self.seat(index).tasks.wake();
    }

    // ---- finding work

    /// What was brought from outside, for a carrier that has nothing else. `empty` is, and stays so.
    pub(super) fn inject(&self, deque: &Deque<Hint>, empty: &mut Vec<Hint>) -> Option<Hint> {
        self.injected(deque, empty).or_else(|| self.outside.take(0))
    }

    /// The one that was brought first; those behind it go into `deque`.
    fn injected(&self, deque: &Deque<Hint>, empty: &mut Vec<Hint>) -> Option<Hint> {
        self.injector.take(empty);
        let mut taken = empty.drain(..);
        let first = taken.next();
        taken.for_each(|hint| deque.push(hint));
        first
    }

    /// What others have brought, for a carrier that has work of its own: some of what waits for longest, and one from the
    /// places, beginning with `first`. So nothing waits for good, whoever else brings more.
    pub(super) fn brought(&self, first: u32, deque: &Deque<Hint>, empty: &mut Vec<Hint>) -> Option<Hint> {
        let last = self.outside.take(first);
        match (self.injected(deque, empty), last) {
            (Some(first), Some(last)) => {
                deque.push(last);
                Some(first)
            }
            (first, last) => first.or(last),
        }
    }

    /// The one that has waited for longest of those that have never run.
    pub(super) fn oldest(&self, index: usize) -> Option<Hint> {
        let young = &self.seat(index).young;
        if young.is_empty() { None } else { until_settled(|| young.steal()) }
    }

    /// From the others' deques; from the slots of those that are stuck only if there is nothing in any deque.
    pub(super) fn steal(&self, index: usize, deque: &Deque<Hint>) -> Option<Hint> {
        self.awake_after(index)
            .filter(|seat| !seat.stealer.is_empty())
            .find_map(|seat| until_settled(|| seat.stealer.steal_batch_and_pop(deque)))
            // One alone: all that it leads to comes with it.
            .or_else(|| {
                self.awake_after(index)
                    .filter(|seat| !seat.young.is_empty())
                    .find_map(|seat| until_settled(|| seat.young.steal()))
            })
            .or_else(|| self.awake_after(index).filter(|seat| seat.is_stuck()).find_map(|seat| seat.slot.steal()))
    }

    /// Those not asleep, the one after `index` first. Who sleeps has nothing in its queues, and who wakes up meanwhile and
    /// puts something in looks there itself.
    fn awake_after(&self, index: usize) -> impl Iterator<Item = &Seat> {
        let seated = self.seated.load(Acquire);
        let awake = !self.sleepers.asleep() & (u64::MAX >> (64 - seated));
        let after = awake & (u64::MAX << index << 1);
        let from = move |mut bits: u64| {
            std::iter::from_fn(move || {
                let next = (bits != 0).then(|| bits.trailing_zeros() as usize);
                bits &= bits.wrapping_sub(1);
                next
            })
        };
        let before = awake & !after & !(1 << index);
        from(after).chain(from(before)).filter_map(|index| self.seats[index].get())
    }

    /// Whether threads that are no carriers have brought work.
    pub(super) fn was_brought_work(&self) -> bool {
        match &self.line {
            Some(line) => !line.is_empty(),
            None => !self.injector.is_empty() || !self.outside.is_empty(),
        }
    }

    /// Whether there is work that carrier `index`, which has none in its own queues, could take.
    pub(super) fn has_work_for(&self, index: usize) -> bool {
        self.was_brought_work()
            || self.awake_after(index).any(|seat| seat.has_some() || (!seat.slot.is_empty() && seat.is_stuck()))
    }

    fn has_work(&self) -> bool {
        self.has_work_for(0)
            || self.seats().next().is_some_and(|seat| seat.has_some() || (!seat.slot.is_empty() && seat.is_stuck()))
    }

    // ---- looking after the carriers

    pub(super) fn workers(&self) -> Vec<WorkerState> {
        let state = |seat: &Seat| WorkerState {
            runs: seat.pulse.runs.load(Relaxed),
            running: seat.pulse.running.load(Relaxed),
        };
        self.seats().map(state).collect()
    }

    /// Looks after carriers that have been in one and the same run since the last call, and returns how many: others may
    /// take the hints out of their slots, and others are added, so that as many as were started are free. Those that have
    /// been put off since then come at once.
    pub(super) fn relieve(self: &Arc<Self>) -> usize {
        let mut stuck = 0;
        for seat in self.seats() {
            let runs = seat.pulse.runs.load(Relaxed);
            if seat.seen.swap(runs, Relaxed) != runs {
                continue;
            }
            if seat.pulse.running.load(Relaxed) != 0 {
                seat.stuck.store(runs, Relaxed);
                stuck += 1;
            } else {
                seat.tasks.hasten();
            }
        }
        let wanted = (self.workers + stuck).min(self.seats.len());
        while self.seated.load(Relaxed) < wanted && !self.is_stopped() {
            self.seat_one();
        }
        self.sleepers.set_reserve(self.seated.load(Relaxed).saturating_sub(self.workers + stuck));
        fence(SeqCst);
        if self.has_work()
            && let Some(index) = self.sleepers.call(Call::Anyhow)
        {
            self.caller.store(0, Relaxed);
            self.wake(index);
        }
        stuck
    }

    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("workers", &self.workers())
            .field("asleep", &format_args!("{:#b}", self.sleepers.asleep()))
            .field("searching", &self.sleepers.searching())
            .field("brought", &self.injector.len())
            .field("decoys", &self.decoys)
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }

    // ---- the end

    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        // The tasks of a carrier make their wakers known first and then look whether they have been stopped.
        fence(SeqCst);
        self.seats().for_each(|seat| seat.tasks.wake_all());
        self.decoys.stop();
        self.drain();
    }

    /// Empties all queues. Whoever adds a hint looks after that whether the pool has stopped, so none is left.
    pub(super) fn drain(&self) {
        fence(SeqCst);
        let mut brought = Vec::new();
        let mut one = || {
            if brought.is_empty() {
                self.injector.take(&mut brought);
            }
            self.line.as_ref().and_then(Line::pop).or_else(|| brought.pop()).or_else(|| self.outside.take(0)).or_else(
                || {
                    self.seats().find_map(|seat| {
                        until_settled(|| seat.stealer.steal())
                            .or_else(|| until_settled(|| seat.young.steal()))
                            .or_else(|| seat.slot.steal())
                    })
                },
            )
        };
        while let Some(hint) = one() {
            hint.adrift();
        }
    }
}

/// Tells threads apart; never 0.
fn this_thread() -> usize {
    BROUGHT.with(|brought| std::ptr::from_ref(brought).addr())
}

/// A carrier runs on this thread.
pub(super) fn begin_here() {
    BROUGHT.set(0);
}

fn until_settled(steal: impl FnMut() -> Steal<Hint>) -> Option<Hint> {
    std::iter::repeat_with(steal).find(|steal| !steal.is_retry()).and_then(Steal::success)
}
