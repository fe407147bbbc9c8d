//! What belongs to whoever runs an actor: its end of the mailbox, its engine, and what it awaits.
//!
//! # Invariant
//! The queue's state word is the lock. Whoever has the right to run the actor (see
//! [`block_queue`](crate::block_queue)) is *the runner* until it parks or hands the right on; there is one at most, and
//! parking releases to the next one all that was done before. The right is a [`Hint`] in a run queue, with a count of its own. Everything in [`Own`], and in [`Whole`] beside the cell, is
//! touched by the runner alone. The exception is [`Whole::spawn`], before anybody else knows the cell.
//!
//! While `work` holds a future, that future alone touches the engine, which it has borrowed; so the future goes first.
//! Once it has parked a runner touches nothing of the actor any more, which another thread may end and free from then on. (By
//! the letter of aliasing models the `&self` of the calls it comes out of still lasts; nothing is read through it.)
//! [`Owner`] is how the engine reaches its mailbox. There is one a cell, it never leaves the engine and is given that cell;
//! so whoever calls a method of it is the runner.

#![allow(
    unsafe_code,
    reason = "the state word is a lock the compiler cannot see, and a handler borrows what lies beside it"
)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

use tracing::{Span, error};

use crate::actor::{Actor, Behavior, Handled, Panicked};
use crate::block_queue::{For, Lying, Note, Park, Queue, Receiver, Wake};
use crate::cell::{Cell, Control, Head};
use crate::cell_ref::{Begins, CellRef};
use crate::clock::{Clock, Tick};
use crate::discard;
use crate::engine::{Came, Engine, Flow, Phase, Step};
use crate::envelope::{Envelope, Internal, deadline};
use crate::first_poll::{Room, Suspended};
use crate::orders::{Cut, cut_off};
use crate::panic_text::panic_text;
use crate::pinned::ThreadEnd;
use crate::props::Props;
use crate::scheduler::{After, Header, Hint, Runnable};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Looks at a slot that is claimed and not filled yet before the runner gives way.
const SPINS: u32 = 64;
/// Turns between two looks at the clock within one run; the first look comes after as many.
const TURNS_PER_CLOCK: u32 = 16;
/// How long a run may last once its first look at the clock was taken, if the turns it may take do not end it before.
const SLICE: Duration = Duration::from_micros(500);

/// What every cell has of the runner's.
pub(crate) struct Own {
    /// Why the last run ended; while a phase of the engine is polled, what that waits for.
    pending: UnsafeCell<Pending>,
    kind: UnsafeCell<Kind>,
    /// Somebody runs it at this moment. For those who look from outside.
    running: AtomicBool,
    /// It was made asleep, and has not run since. For those who schedule it.
    fresh: AtomicBool,
    /// Nobody will run it, and nobody has the right: its hint was thrown away when the carriers ended.
    adrift: AtomicBool,
}

// SAFETY: by the invariant at the top one thread at a time touches it, with the state word's acquire and release between
// one and the next.
unsafe impl Sync for Own {}

impl Own {
    pub(crate) fn new() -> Self {
        Self {
            pending: UnsafeCell::new(Pending::Handler),
            kind: UnsafeCell::new(Kind::Start),
            running: AtomicBool::new(false),
            fresh: AtomicBool::new(false),
            adrift: AtomicBool::new(false),
        }
    }

    /// Of an actor that waits for its first message.
    fn asleep() -> Self {
        Self {
            pending: UnsafeCell::new(Pending::Idle),
            kind: UnsafeCell::new(Kind::Message),
            fresh: AtomicBool::new(true),
            ..Self::new()
        }
    }

    /// Whether it was made asleep and has never run.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }
}

/// Why an actor does not run on.
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
    /// It has ended.
    Ended,
}

/// What is known of the present run.
pub(crate) struct Run {
    /// The actor came back from waiting, so that any time may have passed.
    resumed: bool,
    /// The actor was kept from its mailbox before this run: what is in there may have waited for long.
    kept: bool,
    /// Turns until it has to see whether it may go on.
    turns: u32,
    /// Turns it may take after those.
    left: u32,
    /// At its first look at the clock; `START` before that.
    began: Tick,
    /// The last look at the clock in this run; `START` before the first.
    looked: Tick,
}

impl Run {
    /// Of an actor that may take so many turns.
    #[inline(always)]
    fn new(throughput: u32, kept: bool) -> Self {
        let turns = throughput.min(TURNS_PER_CLOCK);
        Self { resumed: true, kept, turns, left: throughput - turns, began: Tick::START, looked: Tick::START }
    }

    /// Counts a turn. `false` when the actor has had its share of this run: then it is run again behind the others.
    #[inline(always)]
    fn may_go_on(&mut self, head: &Head) -> bool {
        if self.turns == 0 && !self.is_more(head.system().clock()) {
            return false;
        }
        self.turns -= 1;
        true
    }

    #[cold]
    fn is_more(&mut self, clock: &Clock) -> bool {
        if self.left == 0 {
            return false;
        }
        let now = clock.now();
        self.looked = now;
        if self.began == Tick::START {
            self.began = now;
        } else if now - self.began >= SLICE {
            return false;
        }
        self.turns = self.left.min(TURNS_PER_CLOCK);
        self.left -= self.turns;
        true
    }

    /// Whether the actor was suspended since it last called this.
    #[inline]
    pub(crate) fn was_suspended(&mut self) -> bool {
        mem::take(&mut self.resumed)
    }

    /// Whether `deadline` has passed, as far as this is known without a look at the clock for each message: after the
    /// actor was kept from its mailbox by a handler that awaited or by other actors' turns there is one look, then one
    /// every so many turns as for the share.
    #[inline]
    pub(crate) fn has_passed(&mut self, deadline: Tick, clock: &Clock) -> bool {
        if mem::take(&mut self.kept) {
            self.look(clock);
        }
        self.looked != Tick::START && deadline <= self.looked
    }

    #[cold]
    fn look(&mut self, clock: &Clock) {
        self.looked = clock.now();
    }
}

/// What an actor is suspended in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Start,
    Message,
    Signal,
    /// A phase of the engine, which orders do not cut off.
    Phase,
}

/// What comes next in a run, besides the next message.
enum Next {
    /// Turn after turn, as long as there is nothing else.
    Turns,
    /// The work of that kind is done.
    Done(Kind, Handled),
    Phase(Phase),
    Wait(Pending),
}

/// How a row of messages ended.
enum Quick {
    Idle,
    Share,
    Else,
}

/// What a run carries along.
struct Running<'a> {
    run: Run,
    cx: Context<'a>,
    /// Looks it may still take at what is being pushed.
    spins: u32,
}

/// An actor. See the module's documentation.
#[repr(C)]
pub(crate) struct Whole<A: Actor> {
    cell: Cell<A::Message>,
    /// `None` once the actor has ended. Before `work`, so that what every turn writes lies together.
    engine: UnsafeCell<Option<Engine<A>>>,
    /// What is suspended, of the kind that `own` tells.
    work: UnsafeCell<Option<Suspended>>,
}

impl<A: Actor> Drop for Whole<A> {
    fn drop(&mut self) {
        *self.work.get_mut() = None; // first: it has borrowed the engine
    }
}

// SAFETY: the parts are `Send`, and by the invariant at the top one thread at a time touches them, with the state
// word's acquire and release between one and the next.
unsafe impl<A: Actor> Send for Whole<A> {}
// SAFETY: as above.
unsafe impl<A: Actor> Sync for Whole<A> {}

// SAFETY: it begins with a cell, which begins with the header that `spawn` makes for this type.
unsafe impl<A: Actor> Runnable for Whole<A> {
    #[inline]
    fn run(&self, this: &Hint) -> After {
        self.run_for_a_while(this)
    }

    #[cold]
    fn panicked(&self, this: &Hint, panic: Box<dyn Any + Send>) -> After {
        let waker = borrowed_waker::<A::Message>(this);
        let mut run = self.running(&waker);
        run.run.kept = true; // what was known of the time is gone with the run
        match self.after_panic(panic) {
            Some(phase) => self.run_thoroughly(Some(Next::Phase(phase)), &mut run),
            None => self.park(Pending::Ended).unwrap_or(After::Ended),
        }
    }

    fn type_name() -> &'static str {
        std::any::type_name::<A>()
    }

    fn control(this: &Hint) -> Option<&(dyn Control + 'static)> {
        CellRef::<A::Message>::control_of(this)
    }

    fn adrift(this: Hint) {
        let cell = CellRef::<A::Message>::of(&this);
        // Who abandons the actor writes there first and looks here then: one of the two sees the other.
        cell.own.adrift.store(true, Ordering::SeqCst);
        if cell.head().abandoned.load(Ordering::SeqCst) && cell.own.adrift.swap(false, Ordering::SeqCst) {
            this.let_go_of();
        } else {
            mem::forget(this);
        }
    }

    fn let_go(&self) {
        self.end_of_all();
    }
}

// SAFETY: as above, and that is what `control` is.
unsafe impl<A: Actor> Begins for Whole<A> {
    type Message = A::Message;
}

impl<A: Actor> Whole<A> {
    pub(crate) fn header(uid: u64) -> Header {
        Header::of::<Self>(uid, 2) // whoever spawns it, and the right to run it
    }

    /// An actor, and whether it is to be scheduled for the first time; else it sleeps. `head` has a header made here.
    pub(crate) fn spawn(
        head: Head,
        capacity: usize,
        props: Props<A>,
        thread: Option<ThreadEnd>,
    ) -> (CellRef<A::Message>, Wake) {
        let asleep = Engine::begins_asleep(&props, thread.as_ref(), &head);
        let cell = CellRef::new(|| Self {
            cell: if asleep {
                Cell::new(head.up(), Own::asleep(), Queue::asleep(capacity))
            } else {
                Cell::new(head, Own::new(), Queue::new(capacity))
            },
            work: UnsafeCell::new(None),
            engine: UnsafeCell::new(None),
        });
        // SAFETY: the owner is used by the engine alone.
        let owner = Owner { mailbox: unsafe { Receiver::new() }, one: PhantomData };
        let engine = Engine::new(cell.clone(), owner, props, thread, !asleep);
        // SAFETY: that is what the cell was made as, and nobody else knows it yet, so this thread is as good as the runner.
        unsafe { *(*cell.hint().as_ptr().cast::<Self>()).engine.get() = Some(engine) };
        (cell, if asleep { Wake::No } else { Wake::Schedule })
    }

    /// Lets go of all the actor was. Called by the runner, which never gives the right up again.
    #[cold]
    fn end_of_all(&self) {
        // SAFETY: this is the runner, and no engine or future is further up on its stack.
        let work = unsafe { (*self.work.get()).take() };
        discard::caught(|| drop(work)); // first: it has borrowed the engine
        // SAFETY: as above.
        let engine = unsafe { (*self.engine.get()).take() };
        discard::caught(|| drop(engine));
        // There are none after an end that was one.
        discard::caught(|| self.cell.head().forget_watchers());
        self.cell.head().forget_sleep();
    }

    /// Runs the actor until it has nothing to do, or has had its share.
    fn run_for_a_while(&self, this: &Hint) -> After {
        let head = self.cell.head();
        self.cell.own.running.store(true, Ordering::Relaxed);
        if self.cell.own.is_fresh() {
            self.cell.own.fresh.store(false, Ordering::Relaxed);
        }
        if head.span().is_some() {
            return self.run_in_span(this);
        }
        self.run_on(this)
    }

    /// The span is left after the right to run has been given up, when others may end the actor and let go of it: so it is
    /// held until then. A subscriber that panics takes nobody along.
    #[inline(never)]
    fn run_in_span(&self, this: &Hint) -> After {
        let held = this.clone();
        let entered = self.cell.head().span().map(Span::enter);
        let after = catch_unwind(AssertUnwindSafe(|| self.run_on(this)));
        let after = after.unwrap_or_else(|panic| self.panicked(this, panic));
        discard::caught(|| drop(entered));
        discard::caught(|| drop(held));
        after
    }

    #[inline(always)]
    fn running<'a>(&self, waker: &'a Waker) -> Running<'a> {
        // SAFETY: this is the runner.
        let kept = unsafe { *self.cell.own.pending.get() } != Pending::Idle;
        let run = Run::new(self.cell.head().system().throughput(), kept);
        Running { run, cx: Context::from_waker(waker), spins: SPINS }
    }

    /// What most runs are: a few messages, and nothing else. A panic of a handler comes out of it.
    #[inline(always)]
    fn run_on(&self, this: &Hint) -> After {
        let head = self.cell.head();
        let waker = borrowed_waker::<A::Message>(this);
        let mut run = self.running(&waker);
        // SAFETY: this is the runner.
        let idle = unsafe { *self.cell.own.kind.get() == Kind::Message && (*self.work.get()).is_none() };
        if !idle || head.is_ordered() || head.abandoned.load(Ordering::Relaxed) {
            return self.run_thoroughly(None, &mut run);
        }
        let mut next = None;
        loop {
            match self.messages(&mut run, &mut next) {
                Quick::Idle => match self.park(Pending::Idle) {
                    Some(after) => return after,
                    // What has come may be an order, or the end of all.
                    None if head.is_ordered() || head.abandoned.load(Ordering::Relaxed) => {
                        return self.run_thoroughly(None, &mut run);
                    }
                    None if run.spins > 0 => {
                        run.spins -= 1;
                        std::hint::spin_loop();
                    }
                    None => return self.again(),
                },
                Quick::Share => {
                    // SAFETY: still the runner.
                    unsafe { *self.cell.own.pending.get() = Pending::Share };
                    return self.again();
                }
                Quick::Else => return self.run_thoroughly(next, &mut run),
            }
        }
    }

    /// A run with more to it than messages: what was suspended, orders, lives that begin or end.
    #[inline(never)]
    fn run_thoroughly(&self, next: Option<Next>, run: &mut Running<'_>) -> After {
        let mut next = next;
        loop {
            let begin = next.take();
            let pending = match catch_unwind(AssertUnwindSafe(|| self.turns(begin, run))) {
                Ok(pending) => pending,
                Err(panic) => {
                    next = self.after_panic(panic).map(Next::Phase);
                    if next.is_some() {
                        continue;
                    }
                    Pending::Ended
                }
            };
            match self.park(pending) {
                Some(After::Again) => return self.again(),
                Some(after) => return after,
                None if run.spins > 0 => {
                    run.spins -= 1;
                    std::hint::spin_loop();
                }
                None => return self.again(),
            }
        }
    }

    /// Tries to give the right up: `None` when something has come, and it is held still. Once it is `Parked` this
    /// thread is not the runner any more, and touches nothing.
    #[inline(always)]
    fn park(&self, pending: Pending) -> Option<After> {
        let queue = self.cell.queue();
        // SAFETY: this is the runner, and the engine does not use its own at the moment.
        let mut mailbox = unsafe { Receiver::<Envelope<A::Message>, Internal<A::Message>>::new() };
        // SAFETY: still the runner.
        unsafe { *self.cell.own.pending.get() = pending };
        self.cell.own.running.store(false, Ordering::Relaxed);
        let parked = match pending {
            Pending::Idle => mailbox.park(queue, For::Messages),
            Pending::Between => mailbox.park(queue, For::Internal),
            Pending::Handler => mailbox.park(queue, For::Waker),
            Pending::Share => return Some(After::Again),
            Pending::Ended => {
                self.end_of_all();
                return Some(After::Ended);
            }
        };
        match parked {
            Park::Parked => Some(After::Parked),
            Park::Busy => {
                self.cell.own.running.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Hands the right on, to go on later.
    fn again(&self) -> After {
        // SAFETY: this is the runner, and the engine does not use its own at the moment.
        let mut mailbox = unsafe { Receiver::<Envelope<A::Message>, Internal<A::Message>>::new() };
        mailbox.yield_now(self.cell.queue());
        self.cell.own.running.store(false, Ordering::Relaxed);
        After::Again
    }

    /// The engine, while nothing is suspended.
    ///
    /// # Safety
    /// For the runner, with no other reference to the engine in use.
    #[expect(clippy::mut_from_ref, reason = "the runner's right is what makes it exclusive")]
    #[inline(always)]
    unsafe fn engine(&self) -> &mut Engine<A> {
        // SAFETY: as the caller says.
        unsafe { &mut *self.engine.get() }.as_mut().expect("an actor that has ended is not run again")
    }

    /// Goes on until the actor cannot, beginning with `next` if that is known already.
    fn turns(&self, next: Option<Next>, run: &mut Running<'_>) -> Pending {
        let mut next = if self.cell.head().abandoned.load(Ordering::Relaxed) {
            Next::Wait(Pending::Ended)
        } else {
            next.unwrap_or_else(|| self.go_on(&mut run.cx))
        };
        loop {
            next = match next {
                Next::Turns => {
                    let mut other = None;
                    match self.messages(run, &mut other) {
                        Quick::Idle => return Pending::Idle,
                        Quick::Share => return Pending::Share,
                        Quick::Else => other.unwrap_or(Next::Turns),
                    }
                }
                Next::Wait(pending) => return pending,
                other => self.rarely(other, run),
            };
        }
    }

    /// Message after message, as long as there is nothing else to be done; that comes in `next` then.
    #[inline(always)]
    fn messages(&self, run: &mut Running<'_>, next: &mut Option<Next>) -> Quick {
        // SAFETY: this is the runner, and nothing is suspended.
        let engine: *mut Engine<A> = unsafe {
            *self.cell.own.kind.get() = Kind::Message;
            self.engine()
        };
        let cell = &self.cell;
        let mut room = Room::new();
        loop {
            if !run.run.may_go_on(cell.head()) {
                return Quick::Share;
            }
            // SAFETY: this is the runner; nothing is suspended, and each handler has let go of the engine before the next
            // turn begins.
            let step = match unsafe { &mut *engine }.next(cell, &mut run.run) {
                Came::Message(message) => {
                    let receive = || {
                        // SAFETY: the engine stays where it is, and only the future touches it before it is dropped.
                        let (state, ctx) = unsafe { &mut *engine }.parts();
                        state.receive(ctx, message.take())
                    };
                    // SAFETY: as it says.
                    match unsafe { room.poll(receive, &mut run.cx) } {
                        // SAFETY: the handler is done, and dropped.
                        Poll::Ready(Ok(Behavior::Same)) => unsafe { &mut *engine }.handled_well(cell),
                        polled => {
                            *next = Some(self.otherwise(polled, room.suspended(), run));
                            return Quick::Else;
                        }
                    }
                    continue;
                }
                Came::Nothing => return Quick::Idle,
                Came::Late(message) => {
                    // SAFETY: as for `next`.
                    unsafe { &*engine }.expired(message.take());
                    continue;
                }
                // SAFETY: as for `next`.
                Came::Other(envelope) => unsafe { &mut *engine }.unpack(envelope.take(), &mut run.run),
                // SAFETY: as for `next`.
                Came::More => unsafe { &mut *engine }.poll_more(&mut run.run, &mut run.cx),
            };
            // The same once more, for what comes less often: two ways to one place would move the message there twice.
            match step {
                Poll::Ready(Step::Handle(message)) => {
                    let receive = || {
                        // SAFETY: as above.
                        let (state, ctx) = unsafe { &mut *engine }.parts();
                        state.receive(ctx, message)
                    };
                    // SAFETY: as above.
                    match unsafe { room.poll(receive, &mut run.cx) } {
                        // SAFETY: as above.
                        Poll::Ready(Ok(Behavior::Same)) => unsafe { &mut *engine }.handled_well(cell),
                        polled => {
                            *next = Some(self.otherwise(polled, room.suspended(), run));
                            return Quick::Else;
                        }
                    }
                }
                Poll::Pending => return Quick::Idle,
                Poll::Ready(step) => {
                    *next = Some(self.rare(step, run));
                    return Quick::Else;
                }
            }
        }
    }

    /// A handler awaits something, or its outcome is not the usual one.
    #[inline(never)]
    fn otherwise(&self, polled: Poll<Handled>, suspended: Option<Suspended>, run: &mut Running<'_>) -> Next {
        match polled {
            Poll::Ready(handled) => Next::Done(Kind::Message, handled),
            Poll::Pending => self.suspend(suspended, &mut run.cx),
        }
    }

    /// A handler awaits something.
    #[inline(never)]
    fn suspend(&self, suspended: Option<Suspended>, cx: &mut Context<'_>) -> Next {
        // SAFETY: this is the runner.
        let kind = unsafe {
            *self.work.get() = suspended;
            *self.cell.own.kind.get()
        };
        self.wait(kind, cx)
    }

    /// Goes on with what is suspended, or has not begun, or has to be done before all else.
    #[inline(never)]
    fn go_on(&self, cx: &mut Context<'_>) -> Next {
        let head = self.cell.head();
        if head.is_ordered() && head.is_killed() && self.is_cut_short() {
            return Next::Phase(Phase::Cut(Cut::Killed));
        }
        self.resume(cx)
    }

    /// Whether orders may cut off what the actor is doing. Drops what is suspended then.
    #[cold]
    fn is_cut_short(&self) -> bool {
        // SAFETY: called by the runner; the work is dropped here and not used any more.
        let (kind, work) = unsafe { (*self.cell.own.kind.get(), &mut *self.work.get()) };
        if kind == Kind::Phase && work.is_some() {
            return false;
        }
        let work = work.take();
        discard::caught(|| drop(work));
        true
    }

    /// Begins work that has borrowed the engine.
    ///
    /// # Safety
    /// For the runner: what `make` returns is the only one to touch the engine until it is dropped.
    unsafe fn begin<'a, F>(&'a self, kind: Kind, make: impl FnOnce() -> F, run: &mut Running<'_>) -> Next
    where
        F: Future<Output = Handled> + Send + 'a,
    {
        // SAFETY: this is the runner; as it says, the engine lies in the cell, and `end_of_all` drops the future first.
        unsafe {
            *self.cell.own.kind.get() = kind;
            let mut room = Room::new();
            match room.poll(make, &mut run.cx) {
                Poll::Ready(handled) => Next::Done(kind, handled),
                Poll::Pending => self.suspend(room.suspended(), &mut run.cx),
            }
        }
    }

    /// Goes on with what is suspended.
    fn resume(&self, cx: &mut Context<'_>) -> Next {
        // SAFETY: this is the runner, and the engine is not touched here.
        let (kind, work) = unsafe { (*self.cell.own.kind.get(), &mut *self.work.get()) };
        let Some(suspended) = work else {
            // Born, and not started yet; or idle.
            return if kind == Kind::Start { Next::Phase(Phase::Start) } else { Next::Turns };
        };
        if kind == Kind::Phase {
            // SAFETY: this is the runner. While it is polled the phase says there what it waits for.
            unsafe { *self.cell.own.pending.get() = Pending::Handler };
        }
        match suspended.as_mut().poll(cx) {
            Poll::Ready(handled) => {
                *work = None;
                if self.cell.head().is_ordered() {
                    self.cell.head().forget_sleep();
                }
                Next::Done(kind, handled)
            }
            Poll::Pending => self.wait(kind, cx),
        }
    }

    /// What is suspended waits; unless it has to be cut off.
    fn wait(&self, kind: Kind, cx: &mut Context<'_>) -> Next {
        if kind == Kind::Phase {
            // SAFETY: this is the runner.
            return Next::Wait(unsafe { *self.cell.own.pending.get() });
        }
        let head = self.cell.head();
        if head.is_ordered()
            && let Poll::Ready(cut) = cut_off(head, cx)
            && self.is_cut_short()
        {
            return Next::Phase(Phase::Cut(cut));
        }
        Next::Wait(Pending::Handler)
    }

    #[inline(never)]
    fn rare(&self, step: Step<A::Message>, run: &mut Running<'_>) -> Next {
        // SAFETY: this is the runner, between two turns.
        let engine = unsafe { self.engine() };
        match step {
            Step::Handle(_) => unreachable!("handled where it came up"),
            // SAFETY: the engine stays where it is, and only the future touches it before it is dropped.
            Step::Trace(message) => unsafe { self.begin(Kind::Message, || engine.handle_traced(message), run) },
            // SAFETY: the engine stays where it is, and only the future touches it before it is dropped.
            Step::Signal(signal) => unsafe { self.begin(Kind::Signal, || engine.signal(signal), run) },
            Step::Stop => Next::Phase(Phase::Stop),
            Step::Fail(error) => Next::Phase(Phase::Failed(error)),
        }
    }

    #[inline(never)]
    fn rarely(&self, next: Next, run: &mut Running<'_>) -> Next {
        // SAFETY: this is the runner, and nothing is suspended.
        let engine = unsafe { self.engine() };
        match next {
            Next::Phase(Phase::Start) => {
                // SAFETY: before the first poll nothing is suspended; what panics here is a failure to start.
                unsafe { *self.cell.own.kind.get() = Kind::Start };
                match engine.prepare() {
                    // SAFETY: the engine stays where it is, and only the future touches it before it is dropped.
                    Ok(()) => unsafe { self.begin(Kind::Start, || engine.start(), run) },
                    Err(error) => Next::Phase(Phase::Failed(error)),
                }
            }
            Next::Phase(phase) => {
                // SAFETY: as above. While it is polled it says in `pending` what it waits for.
                unsafe {
                    *self.cell.own.pending.get() = Pending::Handler;
                    self.begin(Kind::Phase, || engine.phase(phase), run)
                }
            }
            Next::Done(Kind::Start, handled) => match engine.started(handled) {
                Ok(Flow::On) => Next::Turns,
                Ok(Flow::Stop) => Next::Phase(Phase::Stop),
                Err(error) => Next::Phase(Phase::Failed(error)),
            },
            Next::Done(Kind::Message, handled) => match engine.handled(handled) {
                Ok(Flow::On) => Next::Turns,
                Ok(Flow::Stop) => Next::Phase(Phase::Stop),
                Err(error) => Next::Phase(Phase::Failed(error)),
            },
            Next::Done(Kind::Signal, handled) => match engine.signalled(handled) {
                Ok(Flow::On) => Next::Turns,
                Ok(Flow::Stop) => Next::Phase(Phase::Stop),
                Err(error) => Next::Phase(Phase::Failed(error)),
            },
            Next::Done(Kind::Phase, outcome) => match outcome {
                Ok(Behavior::Stopped) => Next::Wait(Pending::Ended),
                _ if engine.is_starting() => Next::Phase(Phase::Start),
                _ => Next::Turns,
            },
            other => other,
        }
    }

    /// What a panic leads to; `None` if it was not the actor's own.
    #[cold]
    fn after_panic(&self, panic: Box<dyn Any + Send>) -> Option<Phase> {
        let message = panic_text(&*panic);
        discard::caught(|| drop(panic));
        // SAFETY: this is the runner, and the stack below has been unwound.
        let (kind, work) = unsafe { (*self.cell.own.kind.get(), (*self.work.get()).take()) };
        if kind == Kind::Phase {
            error!(path = %self.cell.head().path(), panic = message, "an actor's own loop panicked");
            discard::caught(|| drop(work));
            return None;
        }
        discard::caught(|| drop(work));
        Some(Phase::Failed(Panicked { message }.into()))
    }
}

impl<M: Send + 'static> CellRef<M> {
    /// Lets go of the engine and of all it holds, unless somebody runs it at this moment.
    pub(crate) fn abandon_own(&self) {
        self.head().abandoned.store(true, Ordering::SeqCst);
        let mut wake = self.queue().notify();
        if self.head().pin().is_some() {
            return self.schedule(wake); // what it has may not leave its thread
        }
        if self.own.adrift.swap(false, Ordering::SeqCst) {
            wake = Wake::Schedule;
        }
        if let Some(right) = self.right(wake) {
            right.let_go_of();
        }
    }

    /// Somebody has what the actor awaits.
    fn wake(&self) {
        let wake = self.queue().notify();
        self.schedule(wake);
    }
}

/// Wakes the actor; borrows the count of `hint`.
#[inline(always)]
fn borrowed_waker<M: Send + 'static>(hint: &Hint) -> ManuallyDrop<Waker> {
    let raw = RawWaker::new(hint.as_ptr().cast(), &WakerOf::<M>::TABLE);
    // SAFETY: the table keeps the contract of wakers: counts go with clones, and waking is done from any thread. This one
    // is never dropped, and lives no longer than the hint, which the caller sees to.
    ManuallyDrop::new(unsafe { Waker::from_raw(raw) })
}

/// Wakers of actors with messages of a type.
struct WakerOf<M>(PhantomData<M>);

impl<M: Send + 'static> WakerOf<M> {
    const TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: the waker has a count, so the actor is alive; the clone gets one of its own.
            let _ = Hint::clone(&*unsafe { Self::borrow(data) }).into_raw();
            RawWaker::new(data, &Self::TABLE)
        },
        |data| {
            // SAFETY: the waker's own count, which is given up here.
            let hint = unsafe { Hint::from_raw(NonNull::new_unchecked(data.cast_mut().cast())) };
            Self::wake(&hint);
            discard::caught(|| drop(hint));
        },
        // SAFETY: the waker has a count, so the actor is alive.
        |data| Self::wake(&*unsafe { Self::borrow(data) }),
        |data| {
            // SAFETY: the waker's own count, which is given up here.
            let hint = unsafe { Hint::from_raw(NonNull::new_unchecked(data.cast_mut().cast())) };
            discard::caught(|| drop(hint));
        },
    );

    /// # Safety
    /// The actor is alive for as long as the result.
    unsafe fn borrow(data: *const ()) -> ManuallyDrop<Hint> {
        // SAFETY: not dropped, so no count is given up; never null.
        ManuallyDrop::new(unsafe { Hint::from_raw(NonNull::new_unchecked(data.cast_mut().cast())) })
    }

    fn wake(hint: &Hint) {
        CellRef::<M>::of(hint).wake();
    }
}

/// What came through the mailbox.
pub(crate) enum Popped<'a, M> {
    Message(Lying<'a, M>),
    Until(Lying<'a, M>, Tick),
    Other(Lying<'a, Envelope<M>>),
}

/// The actor's own hold on its mailbox. See the module's documentation.
pub(crate) struct Owner<M> {
    mailbox: Receiver<Envelope<M>, Internal<M>>,
    one: PhantomData<fn(M) -> M>,
}

impl<M: Send + 'static> Owner<M> {
    /// For a cell that never had an actor.
    pub(crate) fn of_nobody() -> Self {
        // SAFETY: nobody runs that cell, so whoever made it is as good as the runner until others know it.
        Self { mailbox: unsafe { Receiver::new() }, one: PhantomData }
    }

    /// Whether the runtime itself has sent something.
    #[inline(always)]
    pub(crate) fn has_internal(&mut self, cell: &Cell<M>) -> bool {
        self.mailbox.has_internal(cell.queue())
    }

    /// The next of what the runtime itself sent.
    pub(crate) fn next_internal(&mut self, cell: &Cell<M>) -> Option<Internal<M>> {
        self.mailbox.next_internal(cell.queue())
    }

    /// The next message.
    #[inline(always)]
    pub(crate) fn pop(&mut self, cell: &Cell<M>) -> Option<(Envelope<M>, Note)> {
        self.mailbox.pop_in_place(cell.queue()).map(|(envelope, note)| (envelope.take(), note))
    }

    /// As [`pop`](Self::pop), where it lies.
    #[inline(always)]
    pub(crate) fn pop_in_place<'a>(&'a mut self, cell: &'a Cell<M>) -> Option<Popped<'a, M>> {
        let (envelope, note) = self.mailbox.pop_in_place(cell.queue())?;
        let Envelope::Message(message) = envelope.look() else {
            return Some(Popped::Other(envelope));
        };
        let message = NonNull::from(message);
        // SAFETY: that is where it lies in the envelope.
        let message = unsafe { envelope.part(message) };
        Some(match deadline(note) {
            None => Popped::Message(message),
            Some(deadline) => Popped::Until(message, deadline),
        })
    }

    /// Whether there is no message, not even one that is just being pushed.
    pub(crate) fn is_empty(&mut self, cell: &Cell<M>) -> bool {
        self.mailbox.is_empty(cell.queue())
    }

    /// Puts what was taken from the runtime's lane back, before all else.
    pub(crate) fn put_back(&mut self, cell: &Cell<M>, items: VecDeque<Internal<M>>) {
        self.mailbox.put_back_internal(cell.queue(), items);
    }

    /// Refuses messages from now on; returns those that were accepted and not handled, oldest first.
    pub(crate) fn close(&mut self, cell: &Cell<M>) -> VecDeque<Envelope<M>> {
        self.mailbox.close(cell.queue())
    }

    /// Refuses everything from now on; returns what was never handled, oldest first.
    pub(crate) fn end(&mut self, cell: &Cell<M>) -> (VecDeque<Envelope<M>>, VecDeque<Internal<M>>) {
        self.mailbox.end(cell.queue())
    }

    /// Waits for the runtime's lane alone, while messages stay where they are. For phases of the engine.
    pub(crate) fn poll_internal(&mut self, cell: &Cell<M>) -> Poll<Internal<M>> {
        // SAFETY: whoever has the owner is the runner, which itself looks at this only between two polls.
        let pending = unsafe { &mut *cell.own.pending.get() };
        match self.next_internal(cell) {
            Some(item) => {
                *pending = Pending::Handler;
                Poll::Ready(item)
            }
            None => {
                *pending = Pending::Between;
                Poll::Pending
            }
        }
    }
}
