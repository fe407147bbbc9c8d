//! What belongs to whoever runs an actor: its end of the mailbox and the future that is the actor.
//!
//! # Invariant
//! The queue's state word is the lock. A thread that has claimed it ([`Queue::claim`](crate::block_queue::Queue::claim)
//! or `claim_inline` returned `true`) is *the runner* until it parks or yields; there is one at most, and parking
//! releases to the next claim all that was done before. Everything in [`Own`] is touched by the runner alone. The
//! exception is [`Cell::install`], which runs before the cell is shared.
//!
//! [`Owner`] is how the actor's own future reaches its mailbox. There is one a cell, it never leaves that future, and the
//! future is polled by the runner alone; so whoever calls a method of it is the runner.

#![allow(
    unsafe_code,
    reason = "the state word is a lock the compiler cannot see; the invariant above says why it holds"
)]

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake as TaskWake, Waker};
use std::time::Duration;

use tracing::{Span, error};

use crate::block_queue::{For, Park, Receiver, Wake};
use crate::cell::{Cell, Control, Head};
use crate::clock::Tick;
use crate::discard;
use crate::envelope::{Envelope, Internal};
use crate::panic_text::panic_text;
use crate::scheduler::{After, Hint, Runnable};

/// Looks at a slot that is claimed and not filled yet before the runner gives way.
const SPINS: u32 = 64;
/// Turns between two looks at the clock within one run; the first look comes after as many.
const TURNS_PER_CLOCK: u32 = 16;
/// How long a run may last once its first look at the clock was taken, if the turns it may take do not end it before.
const SLICE: Duration = Duration::from_micros(500);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module's documentation.
pub(crate) struct Own {
    future: UnsafeCell<Option<Running>>,
    /// Wakes this very cell; kept, so that a run costs no count of holders.
    waker: UnsafeCell<Option<Waker>>,
    run: UnsafeCell<Run>,
}

/// What the future and the runner tell each other about the present run.
#[derive(Clone, Copy)]
struct Run {
    /// Why the future was pending.
    pending: Pending,
    /// The actor came back from waiting, so that any time may have passed.
    resumed: bool,
    /// Turns it may still take.
    left: u32,
    /// Turns until it next looks at the clock.
    until_look: u32,
    /// At its first look at the clock; `START` before that.
    began: Tick,
    /// The last look at the clock in this run; `START` before the first.
    looked: Tick,
    /// The actor was kept from its mailbox before this run: what is in there may have waited for long.
    kept: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// It has nothing to do: a message, an item of the runtime or its waker wakes it.
    Idle,
    /// Between two lives, or at its end: an item of the runtime or its waker wakes it.
    Between,
    /// It awaits something: its waker alone wakes it.
    Handler,
    /// It has taken its share of turns.
    Share,
}

// SAFETY: the parts are `Send`, and by the invariant at the top one thread at a time touches them, with the state
// word's acquire and release between one and the next.
unsafe impl Sync for Own {}

impl Own {
    pub(crate) fn new() -> Self {
        Self {
            future: UnsafeCell::new(None),
            waker: UnsafeCell::new(None),
            run: UnsafeCell::new(Run {
                pending: Pending::Handler,
                resumed: true,
                left: 0,
                until_look: 0,
                began: Tick::START,
                looked: Tick::START,
                kept: true,
            }),
        }
    }
}

impl<M: Send + 'static> Cell<M> {
    /// Puts the actor into its cell. `make` gets the one [`Owner`].
    ///
    /// To be called once, before anybody else knows the cell.
    pub(crate) fn install<F>(self: &Arc<Self>, make: impl FnOnce(Owner<M>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // SAFETY: the owner is used by the future alone, which only the runner polls.
        let mailbox = unsafe { Receiver::new() };
        let future = Box::pin(make(Owner { cell: self.clone(), mailbox }));
        // SAFETY: nobody else knows the cell yet, so this thread is as good as the runner.
        unsafe {
            *self.own.future.get() = Some(future);
            *self.own.waker.get() = Some(Waker::from(self.clone()));
        }
    }

    /// Lets go of the future and of all it holds, unless somebody runs it at this moment.
    pub(crate) fn abandon_own(self: &Arc<Self>) {
        self.head().abandoned.store(true, Ordering::SeqCst);
        let wake = self.queue().notify();
        if self.head().pin().is_some() {
            self.schedule(wake); // what it has may not leave its thread
        } else if self.queue().claim() {
            self.let_go();
        }
    }

    /// Ends the actor's future. The claim is kept for good: nobody runs this cell again.
    fn let_go(&self) {
        // SAFETY: called by the runner.
        let (future, waker) = unsafe { ((*self.own.future.get()).take(), (*self.own.waker.get()).take()) };
        discard::caught(|| drop(future));
        drop(waker);
    }

    /// Polls the future until it has nothing to do, or has had its share.
    fn run_claimed(&self) -> After {
        let budget = self.head().system().throughput();
        let _entered = self.head().span().map(Span::enter);
        // SAFETY: the caller has claimed the cell. `run` is written and read in short steps, never held across the poll,
        // in which the future writes it through its `Owner`.
        unsafe {
            let run = &mut *self.own.run.get();
            run.kept = run.pending != Pending::Idle;
            run.looked = Tick::START;
            run.left = budget;
            run.until_look = TURNS_PER_CLOCK;
            run.began = Tick::START;
            run.resumed = true;
        }
        // SAFETY: this is the runner, and uses it only between polls, in which the future uses its own.
        let mut mailbox = unsafe { Receiver::new() };
        let mut spins = SPINS;
        loop {
            if self.head().abandoned.load(Ordering::Relaxed) {
                self.let_go();
                return After::Parked;
            }
            // SAFETY: as above; the future and the waker are touched by the runner alone, and neither is replaced while
            // it is borrowed here, because `let_go` is called only when no poll is going on.
            let polled = unsafe {
                (*self.own.run.get()).pending = Pending::Handler;
                let (Some(future), Some(waker)) = (&mut *self.own.future.get(), &*self.own.waker.get()) else {
                    return After::Parked; // it has ended
                };
                let mut cx = Context::from_waker(waker);
                catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)))
            };
            match polled {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(())) => {
                    self.let_go();
                    return After::Parked;
                }
                Err(panic) => {
                    error!(path = %self.head().path(), panic = panic_text(&*panic), "an actor's own loop panicked");
                    self.let_go();
                    return After::Parked;
                }
            }
            // SAFETY: still the runner.
            let pending = unsafe { (*self.own.run.get()).pending };
            // Once it has parked this thread is not the runner any more, and touches nothing.
            let parked = match pending {
                Pending::Share => return self.again(&mut mailbox),
                Pending::Idle => mailbox.park(self.queue(), For::Messages),
                Pending::Between => mailbox.park(self.queue(), For::Internal),
                Pending::Handler => mailbox.park(self.queue(), For::Waker),
            };
            match parked {
                Park::Parked => return After::Parked,
                Park::Busy if spins > 0 => {
                    spins -= 1;
                    std::hint::spin_loop();
                }
                Park::Busy => return self.again(&mut mailbox),
            }
        }
    }

    fn again(&self, mailbox: &mut Receiver<Envelope<M>, Internal<M>>) -> After {
        match mailbox.yield_now(self.queue()) {
            Wake::Schedule => After::Again,
            Wake::No => After::Parked, // a hint is out already
        }
    }
}

impl<M: Send + 'static> Runnable for Cell<M> {
    fn run(&self, _this: &Hint) -> After {
        if self.queue().claim() { self.run_claimed() } else { After::Parked }
    }

    fn run_past_hint(&self, _this: &Hint) -> After {
        if self.head().pin().is_none() && self.queue().claim_inline() { self.run_claimed() } else { After::Parked }
    }

    fn uid(&self) -> u64 {
        self.head().uid()
    }

    fn actor(&self) -> Option<&Head> {
        Some(self.head())
    }
}

impl<M: Send + 'static> TaskWake for Cell<M> {
    fn wake(self: Arc<Self>) {
        if let Wake::Schedule = self.queue().notify() {
            self.schedule(Wake::Schedule);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wake = self.queue().notify();
        self.schedule(wake);
    }
}

/// The actor's own hold on its mailbox. See the module's documentation.
pub(crate) struct Owner<M> {
    cell: Arc<Cell<M>>,
    mailbox: Receiver<Envelope<M>, Internal<M>>,
}

impl<M: Send + 'static> Owner<M> {
    pub(crate) fn cell(&self) -> &Arc<Cell<M>> {
        &self.cell
    }

    /// What the run knows of itself.
    #[inline]
    fn run(&mut self) -> &mut Run {
        // SAFETY: whoever has the owner is the runner, which itself looks at this only between two polls.
        unsafe { &mut *self.cell.own.run.get() }
    }

    /// The next of what the runtime itself sent.
    #[inline]
    pub(crate) fn next_internal(&mut self) -> Option<Internal<M>> {
        self.mailbox.next_internal(self.cell.queue())
    }

    /// The next message.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Envelope<M>> {
        self.mailbox.pop(self.cell.queue())
    }

    /// Whether there is no message, not even one that is just being pushed.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.mailbox.is_empty(self.cell.queue())
    }

    /// Puts what was taken from the runtime's lane back, before all else.
    pub(crate) fn put_back(&mut self, items: VecDeque<Internal<M>>) {
        self.mailbox.put_back_internal(self.cell.queue(), items);
    }

    /// Refuses messages from now on; returns those that were accepted and not handled, oldest first.
    pub(crate) fn close(&mut self) -> VecDeque<Envelope<M>> {
        self.mailbox.close(self.cell.queue())
    }

    /// Refuses everything from now on; returns what was never handled, oldest first.
    pub(crate) fn end(&mut self) -> (VecDeque<Envelope<M>>, VecDeque<Internal<M>>) {
        self.mailbox.end(self.cell.queue())
    }

    /// Counts a turn. `false` when the actor has had its share of this run: then its future is to be pending, and it
    /// is run again behind the others.
    #[inline]
    pub(crate) fn may_go_on(&mut self) -> bool {
        let run = self.run();
        if run.left == 0 {
            run.pending = Pending::Share;
            return false;
        }
        run.left -= 1;
        run.until_look -= 1;
        run.until_look > 0 || self.time_is_left()
    }

    #[cold]
    fn time_is_left(&mut self) -> bool {
        let now = self.cell.head().system().clock().now();
        let run = self.run();
        run.until_look = TURNS_PER_CLOCK;
        run.looked = now;
        if run.began == Tick::START {
            run.began = now;
        } else if now - run.began >= SLICE {
            run.left = 0;
            run.pending = Pending::Share;
            return false;
        }
        true
    }

    /// Whether the actor was suspended since it last called this.
    #[inline]
    pub(crate) fn was_suspended(&mut self) -> bool {
        std::mem::take(&mut self.run().resumed)
    }

    /// Whether `deadline` has passed, as far as this is known without a look at the clock for each message: after the
    /// actor was kept from its mailbox by a handler that awaited or by other actors' turns there is one look, then one
    /// every so many turns as for the share.
    #[inline]
    pub(crate) fn has_passed(&mut self, deadline: Tick) -> bool {
        let run = self.run();
        if std::mem::take(&mut run.kept) {
            self.look();
        }
        self.run().looked != Tick::START && deadline <= self.run().looked
    }

    #[cold]
    fn look(&mut self) {
        let now = self.cell.head().system().clock().now();
        self.run().looked = now;
    }

    /// The future is about to be pending because there is nothing to do.
    #[inline]
    pub(crate) fn idle(&mut self) {
        self.run().pending = Pending::Idle;
    }

    /// Waits for the runtime's lane alone, while messages stay where they are.
    pub(crate) fn poll_internal(&mut self) -> Poll<Internal<M>> {
        match self.next_internal() {
            Some(item) => Poll::Ready(item),
            None => {
                self.run().pending = Pending::Between;
                Poll::Pending
            }
        }
    }
}
