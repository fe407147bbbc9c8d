//! An actor in one allocation: what its addresses use (queue tail, count of
//! addresses, link to its code) and after it what only its own code uses.

use std::cell::UnsafeCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::super::queue::{Head, Park, Tail};
use super::pool::{Sender, schedule};

/// Messages an actor may handle before others get their turn.
const BUDGET: u32 = 128;
/// Looks at a claimed but empty slot before giving way.
const SPINS: u32 = 64;

/// What became of an actor that was run.
pub enum After {
    /// Asleep or gone: not the worker's any more.
    Parked,
    /// Has more to do.
    Again,
}

struct Code {
    run: unsafe fn(NonNull<Header>) -> After,
    destroy: unsafe fn(NonNull<Header>),
}

#[repr(C)]
struct Header {
    code: &'static Code,
}

#[repr(C)]
struct Shared<M> {
    header: Header,
    tail: Tail<M>,
    addresses: AtomicUsize,
}

#[repr(C)]
struct Cell<M, O> {
    shared: Shared<M>,
    own: UnsafeCell<O>,
}

/// An actor's place in a run queue. There is at most one per actor, and whoever
/// holds it is the actor's only consumer.
#[derive(Clone, Copy)]
pub struct Run(NonNull<Header>);

// SAFETY: cells are made of `Send` parts.
unsafe impl Send for Run {}

impl Run {
    #[inline]
    pub fn run(self) -> After {
        // SAFETY: a scheduled cell is alive.
        unsafe { (self.0.as_ref().code.run)(self.0) }
    }
}

/// Typed by the message alone, one pointer wide.
pub struct Address<M>(NonNull<Shared<M>>);

// SAFETY: an address only pushes and counts.
unsafe impl<M: Send> Send for Address<M> {}
unsafe impl<M: Send> Sync for Address<M> {}

impl<M> Address<M> {
    #[inline]
    fn shared(&self) -> &Shared<M> {
        // SAFETY: addresses keep the cell alive.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub fn push(&self, msg: M, sender: Sender) {
        if self.shared().tail.push(msg) {
            schedule(Run(self.0.cast()), sender);
        }
    }

    /// Pushes, and if that found the actor asleep runs it here and now.
    #[inline]
    pub fn push_and_run(&self, msg: M) {
        if self.shared().tail.push(msg) {
            let run = Run(self.0.cast());
            if let After::Again = run.run() {
                schedule(run, Sender::GoesOn);
            }
        }
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        self.shared().addresses.fetch_add(1, Relaxed);
        Address(self.0)
    }
}

impl<M> Drop for Address<M> {
    fn drop(&mut self) {
        // The last address hands the cell to the worker that has it or, when
        // it is asleep, to this thread.
        let shared = self.shared();
        if shared.addresses.fetch_sub(1, AcqRel) == 1 && shared.tail.close() {
            // SAFETY: nobody else knows the cell any more.
            unsafe { (shared.header.code.destroy)(self.0.cast()) }
        }
    }
}

fn make<M, O>(code: &'static Code, asleep: bool, addresses: usize, own: O) -> NonNull<Cell<M, O>> {
    NonNull::from(Box::leak(Box::new(Cell {
        shared: Shared { header: Header { code }, tail: Tail::new(asleep), addresses: AtomicUsize::new(addresses) },
        own: UnsafeCell::new(own),
    })))
}

// ------------------------------------------------------- plain handlers

/// Handles messages in a plain function.
pub trait Handle<M>: Send + Sized + 'static {
    /// Whether the actor lives until it stops itself, addresses or not.
    const SELF_KEPT: bool;

    /// True to stop.
    fn handle(&mut self, msg: M, me: &Address<M>) -> bool;
}

struct Plain<M, H> {
    head: Head<M>,
    handler: Option<H>,
}

impl<M: Send + 'static, H: Handle<M>> Plain<M, H> {
    const CODE: Code = Code { run: Self::run, destroy: Self::destroy };

    unsafe fn run(header: NonNull<Header>) -> After {
        let ptr = header.cast::<Cell<M, Self>>();
        // SAFETY: the caller holds the only `Run`, so `own` is ours.
        unsafe {
            let shared = &ptr.as_ref().shared;
            let own = &mut *ptr.as_ref().own.get();
            // Lent to the handler, which may clone it, as long as there is one
            // that counts.
            let me = ManuallyDrop::new(Address(ptr.cast()));
            let mut left = BUDGET;
            let mut spins = SPINS;
            loop {
                if let Some(msg) = own.head.pop(&shared.tail) {
                    if let Some(handler) = &mut own.handler
                        && handler.handle(msg, &me)
                    {
                        own.handler = None;
                        if H::SELF_KEPT {
                            drop(Address::<M>(ptr.cast()));
                        }
                    }
                    left -= 1;
                    if left == 0 {
                        return After::Again;
                    }
                    continue;
                }
                match own.head.park(&shared.tail) {
                    Park::Asleep => return After::Parked,
                    Park::Closed => {
                        Self::destroy(header);
                        return After::Parked;
                    }
                    Park::Busy if spins > 0 => {
                        spins -= 1;
                        std::hint::spin_loop();
                    }
                    Park::Busy => return After::Again,
                }
            }
        }
    }

    unsafe fn destroy(header: NonNull<Header>) {
        let ptr = header.cast::<Cell<M, Self>>();
        // SAFETY: the caller is the last to know the cell.
        unsafe {
            let cell = ptr.as_ref();
            (*cell.own.get()).head.clear(&cell.shared.tail);
            drop(Box::from_raw(ptr.as_ptr()));
        }
    }
}

/// An actor that does nothing until it gets a message.
pub fn spawn<M: Send + 'static, H: Handle<M>>(handler: H) -> Address<M> {
    let own = Plain { head: Head::<M>::new(), handler: Some(handler) };
    let addresses = if H::SELF_KEPT { 2 } else { 1 };
    Address(make::<M, _>(&Plain::<M, H>::CODE, true, addresses, own).cast())
}

// ------------------------------------------------------- async handlers

/// The mailbox as an async actor sees it.
struct Mailbox<M> {
    shared: NonNull<Shared<M>>,
    head: Head<M>,
    /// Messages the actor may still take in this run.
    left: u32,
    stalled: Stalled,
}

/// Why [`Next`] was pending.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stalled {
    Empty,
    Budget,
    /// Empty for good; the next poll says so.
    Closed,
}

/// A pointer to the mailbox that lives next to the future.
pub struct Receiver<M>(NonNull<Mailbox<M>>);

// SAFETY: used only by whoever holds the cell's `Run`.
unsafe impl<M: Send> Send for Receiver<M> {}

impl<M> Receiver<M> {
    /// The next message; none when there can be none any more.
    pub fn next(&mut self) -> Next<'_, M> {
        Next(self)
    }
}

pub struct Next<'a, M>(&'a mut Receiver<M>);

impl<M> Future for Next<'_, M> {
    type Output = Option<M>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<M>> {
        // SAFETY: polled only from `run`, which does not touch the mailbox
        // while it polls.
        unsafe {
            let mailbox = self.0.0.as_mut();
            if mailbox.stalled == Stalled::Closed {
                return Poll::Ready(None);
            }
            if mailbox.left == 0 {
                mailbox.stalled = Stalled::Budget;
                return Poll::Pending;
            }
            match mailbox.head.pop(&mailbox.shared.as_ref().tail) {
                Some(msg) => {
                    mailbox.left -= 1;
                    Poll::Ready(Some(msg))
                }
                None => {
                    // Going to sleep is up to `run`: the moment the flag is
                    // set, another thread may poll the future.
                    mailbox.stalled = Stalled::Empty;
                    Poll::Pending
                }
            }
        }
    }
}

struct Async<M, F> {
    mailbox: Mailbox<M>,
    future: F,
}

impl<M: Send + 'static, F: Future<Output = ()> + Send + 'static> Async<M, F> {
    const CODE: Code = Code { run: Self::run, destroy: Self::destroy };

    unsafe fn run(header: NonNull<Header>) -> After {
        let ptr = header.cast::<Cell<M, Self>>();
        // SAFETY: the caller holds the only `Run`; the future never moves.
        unsafe {
            let own = ptr.as_ref().own.get();
            (*own).mailbox.left = BUDGET;
            let waker = ManuallyDrop::new(Waker::new(header.as_ptr().cast(), &WAKER));
            let mut cx = Context::from_waker(&waker);
            let mut spins = SPINS;
            loop {
                let future = Pin::new_unchecked(&mut (*own).future);
                if future.poll(&mut cx).is_ready() {
                    Self::destroy(header);
                    return After::Parked;
                }
                // An actor that waits for something else would have to be told
                // from one that waits for messages here.
                let mailbox = &mut (*own).mailbox;
                if mailbox.stalled == Stalled::Budget {
                    return After::Again;
                }
                match mailbox.head.park(&ptr.as_ref().shared.tail) {
                    Park::Asleep => return After::Parked,
                    Park::Closed => mailbox.stalled = Stalled::Closed,
                    Park::Busy if spins > 0 => {
                        spins -= 1;
                        std::hint::spin_loop();
                    }
                    Park::Busy => return After::Again,
                }
            }
        }
    }

    unsafe fn destroy(header: NonNull<Header>) {
        let ptr = header.cast::<Cell<M, Self>>();
        // SAFETY: the caller is the last to know the cell.
        unsafe {
            let cell = ptr.as_ref();
            (*cell.own.get()).mailbox.head.clear(&cell.shared.tail);
            drop(Box::from_raw(ptr.as_ptr()));
        }
    }
}

static WAKER: RawWakerVTable = {
    fn refuse(_: *const ()) {
        unimplemented!("the prototype's actors wait for messages only")
    }
    fn refuse_clone(_: *const ()) -> RawWaker {
        unimplemented!("the prototype's actors wait for messages only")
    }
    RawWakerVTable::new(refuse_clone, refuse, refuse, |_| {})
};

/// An actor that is an async block; it is scheduled at once, to run up to its
/// first wait.
pub fn spawn_async<M, F>(start: impl FnOnce(Receiver<M>) -> F) -> Address<M>
where
    M: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    // The future needs to know where its mailbox is, so the cell comes first.
    let cell = Box::<Cell<M, Async<M, F>>>::new_uninit();
    let ptr = NonNull::from(Box::leak(cell)).cast::<Cell<M, Async<M, F>>>();
    // SAFETY: every field is written before the cell is shared.
    unsafe {
        let own: *mut Async<M, F> = UnsafeCell::raw_get(&raw const (*ptr.as_ptr()).own);
        (&raw mut (*ptr.as_ptr()).shared).write(Shared {
            header: Header { code: &Async::<M, F>::CODE },
            tail: Tail::new(false),
            addresses: AtomicUsize::new(1),
        });
        (&raw mut (*own).mailbox).write(Mailbox {
            shared: ptr.cast(),
            head: Head::new(),
            left: 0,
            stalled: Stalled::Empty,
        });
        let receiver = Receiver(NonNull::new_unchecked(&raw mut (*own).mailbox));
        (&raw mut (*own).future).write(start(receiver));
    }
    schedule(Run(ptr.cast()), Sender::GoesOn);
    Address(ptr.cast())
}
