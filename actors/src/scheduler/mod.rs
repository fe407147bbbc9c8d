//! [`Scheduler`]: which actor runs next, on which thread.
//!
//! An actor that has work is known to its scheduler by a *hint* ([`Hint`]) in one of the queues below. A *carrier*, a task of
//! tokio (or two that take turns: [`carrier`]), takes hints out and runs them ([`Runnable::run`]), many in a row, so that
//! handing a thread from one actor to the next costs no task switch, while handlers can await whatever tokio offers.
//!
//! | queue | who puts in | who takes out |
//! |---|---|---|
//! | slot, one per carrier | its carrier, inside a run: what is scheduled last comes next | its carrier; others when it is stuck |
//! | deque, one per carrier | its carrier: what the slot had before, and actors that go on | its carrier, first in first out; thieves |
//! | young, one per carrier | its carrier, inside a run: actors that have never run | its carrier, last in first out and in turn with the deque, but at the beginning of every other slice the one that waits for longest; thieves, that one too |
//! | place outside, one for a few threads that are no carriers | those threads: what they bring last ([`outside`]) | who brought it and waits for it; carriers that have nothing else, and every one now and then |
//! | [`injector`] | the same: what the place had before | carriers that have nothing else, and every one now and then |
//! | [`line`], instead of all these | where the order is fixed | the one carrier |
//!
//! # Invariants
//!
//! - A hint put into a queue of a scheduler that has not stopped is taken out and run. No wake-up is lost ([`sleepers`]):
//!   as long as a hint waits, a carrier is awake, or woken, or (in a queue of a carrier's own) its owner is.
//! - A carrier wakes others only for work beyond its own next piece, and only while no other woken one is still looking.
//! - Waking from outside costs one tokio wake-up, from a carrier two ([`carrier::Decoys`]). No thread is owned, nobody spins.
//!   With nothing to do all carriers are pending tasks, so a runtime that waits for idleness sees it.
//! - Actors that make others grow a tree branch by branch: what is made first comes after all that the last one leads to, so
//!   that few wait at a time and memory is used again while it is near. Nobody waits for good for that: every other slice, of
//!   200 µs or one run, begins with the oldest. In the deque one comes after as many young as waited when it was its turn, 128 at
//!   most: so an actor that makes others as long as it has messages lets those run before it goes on.
//! - No counter is shared on the way of a message; a carrier writes only to cache lines of its own, and to others' only to
//!   steal or wake.
//! - After [`Scheduler::stop`], the drop of its last clone, or the end of the runtime no hint is in any queue, whoever still
//!   schedules, and carriers end. What was in them is told so ([`Runnable::adrift`]); an actor waits then to be abandoned.
//! - Nothing is global: any number of schedulers live in one process, on one runtime, even inside each other's runs on one
//!   thread.
//!
//! # What it does not do
//!
//! A run that computes for long, or blocks (`block_in_place`), holds its carrier. What lies in that carrier's deque others
//! steal at once if they are awake; a hint in its slot only after `Pool::relieve` has found it stuck, which the
//! [guard](Scheduler::guard) calls every 10 ms. The same call adds carriers for those that are stuck, up to 56 in all, and
//! has those come at once that wait for their thread to have nothing else to do and were not given it since the call before.
//! Where the order is fixed or the runtime has one thread there is one carrier, and everybody waits for it.

mod carrier;
mod current;
mod guard;
mod hint;
mod injector;
mod line;
mod observer;
mod outside;
mod pool;
mod scoped;
mod sleepers;
mod slot;
#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests;
mod worker;

use std::fmt;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};

pub(crate) use self::current::current;
pub(crate) use self::hint::{Header, Hint, Runnable};
pub(crate) use self::observer::Observer;
use self::pool::Pool;
use crate::clock::Clock;
use crate::gate::Gatekeeper;

/// What became of an actor that was run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// It waits. Whoever wakes it schedules it, with the count that the hint had.
    Parked,
    /// It has ended: the hint is given up.
    Ended,
    /// It has more to do and counts as scheduled: the very hint goes to the back of the queue.
    Again,
}

/// In which order actors run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// As is fastest; several at once.
    Fast,
    /// One at a time, first come first served. Together with a single-threaded runtime: the same run each time.
    Fifo,
    /// One at a time, the next one drawn from all that wait: the same seed, the same order.
    Seeded(u64),
}

/// A carrier as others see it. The two figures are read one after the other, so they may belong to different moments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WorkerState {
    /// Runs begun so far.
    pub(crate) runs: u64,
    /// Uid of what it runs now (or has just run); 0 while it runs nothing.
    pub(crate) running: u64,
}

/// A set of carriers. Clones are the same one; it stops when the last is dropped.
#[derive(Clone)]
pub(crate) struct Scheduler(Arc<Owner>);

/// Kept by schedulers, not by carriers.
struct Owner(Arc<Pool>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs `hint` on this thread, which is none of a scheduler's, as the current actor; returned if it is to run again.
pub(crate) fn run_here(hint: Hint) -> Option<Hint> {
    match current::run(hint) {
        (hint, After::Again) => Some(hint),
        (hint, after) => {
            hint.over(after);
            None
        }
    }
}

impl Scheduler {
    /// Whether actors run one at a time, in an order that can be repeated.
    pub(crate) fn is_ordered(&self) -> bool {
        self.0.0.line().is_some()
    }

    /// Starts carriers on `runtime`: `workers` of them, by default one per thread of the runtime (at most 56); just one
    /// where the order is fixed or the runtime has one thread.
    /// They pass `gate` whenever they are to run.
    pub(crate) fn start_behind(gate: &Gatekeeper, runtime: &Handle, order: Order, workers: Option<usize>) -> Self {
        let one = order != Order::Fast || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        let workers = if one { 1 } else { workers.unwrap_or_else(|| runtime.metrics().num_workers()) };
        let seats = if one { 1 } else { usize::MAX };
        Self(Arc::new(Owner(Pool::start(runtime, order, workers, seats, gate.clone()))))
    }

    #[cfg(test)]
    pub(crate) fn start(runtime: &Handle, order: Order, workers: Option<usize>) -> Self {
        Self::start_behind(&Gatekeeper::default(), runtime, order, workers)
    }

    /// Puts a hint into a queue, from any thread. On a carrier of this scheduler it comes next on that carrier. On another
    /// thread a carrier is woken; if that is a thread of the same runtime
    /// the carrier goes on there as soon as the task that called this waits, or on another thread when it does not wait but
    /// brings more ([`Scheduler::hurry`]).
    #[inline]
    pub(crate) fn schedule(&self, hint: Hint) {
        self.0.0.schedule(hint);
    }

    /// As [`schedule`](Self::schedule), of an actor that has never run.
    #[inline]
    pub(crate) fn begin(&self, hint: Hint) {
        self.0.0.begin(hint);
    }

    /// To be called where work piles up for an actor that was scheduled long ago (a mailbox starts another block): if the
    /// carrier woken for it has not begun, because it waits for the very task that brings the work, another thread gets it.
    /// Costs a load otherwise. Never needed for progress.
    #[inline]
    pub(crate) fn hurry(&self) {
        self.0.0.hurry();
    }

    /// Runs an actor at once on this thread, with [`current`] set to it and the runtime entered, if a thread that is no
    /// carrier has scheduled it, has scheduled nothing else since, and nobody has taken the hint meanwhile. Does nothing, and returns false, otherwise, and when
    /// this thread runs an actor, when the order is fixed, or when the scheduler has stopped.
    pub(crate) fn run_inline(&self, hint: &Hint) -> bool {
        let pool = &self.0.0;
        if pool.is_stopped() || current(|running| running.is_some()) {
            return false;
        }
        let Some(hint) = pool.take_back(hint) else { return false };
        let _entered = (!pool.is_home()).then(|| pool.runtime().enter());
        match current::run(hint) {
            (hint, After::Again) => pool.schedule_back(hint),
            (hint, after) => hint.over(after),
        }
        true
    }

    /// Ends the carriers as soon as they come out of what they run. No hint is run any more, of those that still come neither.
    pub(crate) fn stop(&self) {
        self.0.0.stop();
    }

    /// Has `lost` called whenever a carrier ends, which before [`stop`](Scheduler::stop) only the end of its runtime brings
    /// about: nobody runs actors any more.
    pub(crate) fn when_lost(&self, lost: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.0.lost.set(Box::new(lost));
    }

    #[cfg(test)]
    /// The carriers, for tests.
    pub(crate) fn workers(&self) -> Vec<WorkerState> {
        self.0.0.workers()
    }

    /// The carriers, for the watchdog.
    pub(crate) fn observer(&self) -> Observer {
        Observer(Arc::downgrade(&self.0.0))
    }

    /// Has carriers looked after (`Pool::relieve`) until the scheduler stops, every 10 ms while actors run
    /// and every 100 ms while none does. Without it a handler that blocks its thread until another actor has answered may
    /// wait for good. Nothing is to be done where there is one carrier anyway.
    pub(crate) fn guard(&self, clock: Clock) {
        let pool = &self.0.0;
        if pool.may_grow() {
            pool.runtime().spawn(guard::guard(Arc::downgrade(pool), clock));
        }
    }

    #[cfg(test)]
    /// Looks after carriers that have been in one and the same run since the last call, and returns how many: others may
    /// take the hints out of their slots, and others are added, so that as many as were started are free.
    pub(crate) fn relieve(&self) -> usize {
        self.0.0.relieve()
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.describe(f)
    }
}
