//! [`Sleepers`]: which carriers sleep, and how many of those woken still look for work. No lost wake-up, no herd.
//!
//! One word: bit `i` says that carrier `i` sleeps; the top byte counts the carriers that were called and have not found
//! work yet. While there are any, more are not called: whoever finds work and was the last that looked calls the next.
//!
//! Nothing is lost because both sides write before they read, with a sequentially consistent fence between:
//!
//! - who brings work: puts it into a queue; fence; reads the word ([`Sleepers::call`]). A sequentially consistent exchange
//!   that puts the work there stands for the fence, since all that is read after it is read in that order too
//!   ([`Brought::ByExchange`]; loom does not know such an order, so the models have the fence there as well);
//! - who goes to sleep: sets its bit; fence; looks into all queues ([`Sleepers::doze`]);
//! - who stops searching: counts itself out; fence; looks into all queues once more (by dozing, or after
//!   [`Sleepers::found`] by looking whether there is more).
//!
//! So of two that meet at least one sees what the other wrote.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::sync::atomic::{AtomicU64, fence};

/// As many carriers as the word has room for.
pub(super) const MAX: usize = 56;

const SEARCHING: u64 = 1 << MAX;
const ASLEEP: u64 = SEARCHING - 1;

/// When a sleeper is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// Only while nobody who was called before is still looking.
    UnlessSearching,
    /// Also then: those who look seem to be held up.
    Anyhow,
}

/// How work came to where a carrier looks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Brought {
    /// By one sequentially consistent exchange.
    ByExchange,
    Anyhow,
}

#[derive(Debug)]
pub(super) struct Sleepers {
    word: AtomicU64,
    /// So many are left asleep: those beyond the number that shall run at once.
    reserve: AtomicU64,
}

impl Sleepers {
    /// All awake.
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0), reserve: AtomicU64::new(0) }
    }

    /// So many carriers stay asleep whatever comes.
    pub(super) fn set_reserve(&self, carriers: usize) {
        self.reserve.store(carriers as u64, Relaxed);
    }

    /// Whether anybody could be called, as far as this thread can see without a fence.
    pub(super) fn any(&self) -> bool {
        self.callable(self.word.load(Relaxed))
    }

    /// How many of the called still look for work.
    pub(super) fn searching(&self) -> u64 {
        self.word.load(Relaxed) >> MAX
    }

    /// Those asleep, one bit each.
    pub(super) fn asleep(&self) -> u64 {
        self.word.load(SeqCst) & ASLEEP
    }

    fn callable(&self, word: u64) -> bool {
        u64::from((word & ASLEEP).count_ones()) > self.reserve.load(SeqCst)
    }

    /// After work was put into a queue: the sleeper the caller has to wake, if any. It counts as searching from now on.
    pub(super) fn call(&self, call: Call) -> Option<usize> {
        self.call_for(Brought::Anyhow, call)
    }

    #[inline]
    pub(super) fn call_for(&self, brought: Brought, call: Call) -> Option<usize> {
        if brought == Brought::Anyhow || cfg!(actors_loom) {
            fence(SeqCst);
        }
        let mut word = self.word.load(SeqCst);
        loop {
            if !self.callable(word) || (call == Call::UnlessSearching && word >= SEARCHING) {
                return None;
            }
            let index = (word & ASLEEP).trailing_zeros();
            let next = (word & !(1 << index)) + SEARCHING;
            match self.word.compare_exchange_weak(word, next, SeqCst, Relaxed) {
                Ok(_) => return Some(index as usize),
                Err(now) => word = now,
            }
        }
    }

    /// Carrier `index` found no work and goes to sleep, unless `work` says that there is some after all. True: it sleeps
    /// and [`rise`](Sleepers::rise)s when it is polled next. False: it must `rise` now.
    pub(super) fn doze(&self, index: usize, work: impl FnOnce() -> bool) -> bool {
        self.word.fetch_or(1 << index, SeqCst);
        fence(SeqCst);
        !work()
    }

    /// A carrier that dozed is awake. True: it was called, so it counts as searching until it says
    /// [`found`](Sleepers::found).
    pub(super) fn rise(&self, index: usize) -> bool {
        // Only a call clears the bit, so if it is clear that was one, and nothing has to be written.
        self.word.load(Acquire) & (1 << index) == 0 || self.word.fetch_and(!(1 << index), SeqCst) & (1 << index) == 0
    }

    /// One that was called searches no longer, with or without success. True: it was the last, so if it found something
    /// and there is more it must call another.
    pub(super) fn found(&self) -> bool {
        let last = self.word.fetch_sub(SEARCHING, SeqCst) >> MAX == 1;
        fence(SeqCst);
        last
    }
}

#[cfg(all(test, actors_loom))]
mod loom_tests {
    use std::sync::atomic::Ordering::{Relaxed, SeqCst};

    use loom::sync::atomic::{AtomicBool, AtomicUsize};
    use loom::sync::{Arc, Notify};
    use loom::thread;

    use super::{Call, Sleepers};

    /// Work is a number that says how much of it lies in the injector; a wake-up is a `Notify`. Who is never woken for
    /// work that is there deadlocks, which the checker reports.
    struct Model {
        sleepers: Sleepers,
        waiting: AtomicUsize,
        left: AtomicUsize,
        stopped: AtomicBool,
        wakers: Vec<Notify>,
    }

    impl Model {
        fn new(carriers: usize, work: usize) -> Arc<Self> {
            Arc::new(Self {
                sleepers: Sleepers::new(),
                waiting: AtomicUsize::new(0),
                left: AtomicUsize::new(work),
                stopped: AtomicBool::new(false),
                wakers: (0..carriers).map(|_| Notify::new()).collect(),
            })
        }

        fn bring(&self) {
            self.waiting.fetch_add(1, Relaxed);
            self.call();
        }

        fn call(&self) {
            if let Some(index) = self.sleepers.call(Call::UnlessSearching) {
                self.wakers[index].notify();
            }
        }

        fn take(&self) -> bool {
            self.waiting.fetch_update(Relaxed, Relaxed, |waiting| waiting.checked_sub(1)).is_ok()
        }

        fn carry(&self, index: usize) {
            let mut asleep = false;
            let mut searching = false;
            loop {
                if asleep {
                    self.wakers[index].wait();
                    searching = self.sleepers.rise(index);
                    asleep = false;
                }
                if self.stopped.load(Relaxed) {
                    return;
                }
                let found = self.take();
                if std::mem::take(&mut searching) && self.sleepers.found() && found && self.waiting.load(Relaxed) > 0 {
                    self.call();
                }
                if found {
                    if self.left.fetch_sub(1, SeqCst) == 1 {
                        self.stopped.store(true, Relaxed);
                        loom::sync::atomic::fence(SeqCst);
                        self.wakers.iter().for_each(Notify::notify);
                        return;
                    }
                } else if self.sleepers.doze(index, || self.waiting.load(Relaxed) > 0 || self.stopped.load(Relaxed)) {
                    asleep = true;
                } else {
                    searching = self.sleepers.rise(index);
                }
            }
        }
    }

    fn check(carriers: usize, work: usize, preemptions: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(move || {
            let model = Model::new(carriers, work);
            let threads: Vec<_> = (0..carriers)
                .map(|index| {
                    let model = model.clone();
                    thread::spawn(move || model.carry(index))
                })
                .collect();
            (0..work).for_each(|_| model.bring());
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            assert_eq!(model.left.load(SeqCst), 0);
        });
    }

    #[test]
    fn loom_one_carrier_is_woken_for_all_work() {
        check(1, 2, 3);
    }

    #[test]
    fn loom_two_carriers_are_woken_for_all_work() {
        check(2, 2, 2);
    }

    /// Two bring work at once: one call for each at most, and never two while one searches.
    #[test]
    fn loom_two_that_bring_work_call_one() {
        loom::model(|| {
            let sleepers = Arc::new(Sleepers::new());
            assert!(sleepers.doze(0, || false) && sleepers.doze(1, || false));
            let other = {
                let sleepers = sleepers.clone();
                thread::spawn(move || sleepers.call(Call::UnlessSearching))
            };
            let here = sleepers.call(Call::UnlessSearching);
            let there = other.join().expect("no panic");
            assert_eq!(usize::from(here.is_some()) + usize::from(there.is_some()), 1);
            assert_eq!(sleepers.searching(), 1);
            assert_eq!(sleepers.asleep().count_ones(), 1);
            assert!(sleepers.rise(0) != sleepers.rise(1));
        });
    }
}
