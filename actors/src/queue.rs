//! The mailbox's machinery: a bounded lane for messages and an unbounded one for what the runtime itself sends.
//!
//! Both lanes sit behind one short lock. The actor takes all waiting messages at once by swapping buffers, so under
//! load it locks once per batch, not once per message; a sender wakes the actor only when it sleeps.
//!
//! Invariant: messages accepted and not yet handed to the actor never exceed the bound, the batch in the actor's hands
//! included; only adapted messages may use the extra room set aside for them. Notices of ends are not counted.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::ask_chain::Link;
use crate::cell::Ended;

/// Buffers larger than this many slots are given back when the actor has nothing to do.
const SLOTS_KEPT_IDLE: usize = 64;

/// A message on its way.
pub(crate) enum Envelope<M> {
    Message(M),
    /// Part of an ask made inside another actor's handler.
    Asked(M, Arc<Link>),
    /// Came through a message adapter, whose function runs in the receiver's turn.
    Adapted(Box<dyn FnOnce() -> M + Send>),
    /// An actor has ended. In this lane because the notice must not overtake what that actor said before.
    Ended(Box<Ended>),
}

impl<M> Envelope<M> {
    pub(crate) fn new(message: M, link: Option<Arc<Link>>) -> Self {
        match link {
            None => Self::Message(message),
            Some(link) => Self::Asked(message, link),
        }
    }
}

/// Which room a message may use.
#[derive(Clone, Copy)]
pub(crate) enum Room {
    Ordinary,
    /// Twice the bound: a full mailbox must not keep an actor from the answers it waits for.
    Adapted,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Stopped,
}

/// Keeps what one side writes often off the cache line the other side works on.
#[repr(align(64))]
struct OwnLine<T>(T);

pub(crate) struct Queue<M, I> {
    state: Mutex<State<M, I>>,
    flags: OwnLine<Flags>,
    /// What is left of the batch the actor took. Written by the actor alone.
    unhandled: OwnLine<AtomicUsize>,
}

struct Flags {
    internal: AtomicBool, // the internal lane has something
    waiting: AtomicBool,  // somebody waits for room
    capacity: usize,
}

struct State<M, I> {
    messages: VecDeque<Envelope<M>>,
    internal: VecDeque<I>,
    waker: Option<Waker>, // present only while the actor sleeps
    taken: usize,         // upper bound of `unhandled`
    notices: usize,       // how many of `messages` are ends, which take no room
    reserved: usize,
    waiters: VecDeque<Arc<Waiter>>,
    closed: bool, // no more messages
    ended: bool,  // no more of anything
}

struct Waiter(Mutex<Waiting>);

enum Waiting {
    Asleep(Option<Waker>),
    Granted,
    Refused,
    /// The grant was used or given back.
    Over,
}

impl<M, I> Queue<M, I> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                messages: VecDeque::new(),
                internal: VecDeque::new(),
                waker: None,
                taken: 0,
                notices: 0,
                reserved: 0,
                waiters: VecDeque::new(),
                closed: false,
                ended: false,
            }),
            flags: OwnLine(Flags { internal: AtomicBool::new(false), waiting: AtomicBool::new(false), capacity }),
            unhandled: OwnLine(AtomicUsize::new(0)),
        }
    }

    pub(crate) fn push(&self, envelope: Envelope<M>, room: Room) -> Result<(), (Refusal, Envelope<M>)> {
        let mut state = self.state.lock();
        if let Err(refusal) = self.room(&mut state, room) {
            return Err((refusal, envelope));
        }
        state.messages.push_back(envelope);
        wake(state);
        Ok(())
    }

    /// Sets room for one message aside; `Permit::push` cannot fail for want of it.
    pub(crate) fn try_reserve(&self, room: Room) -> Result<Permit<'_, M, I>, Refusal> {
        let mut state = self.state.lock();
        self.room(&mut state, room)?;
        state.reserved += 1;
        Ok(Permit { queue: self })
    }

    /// Waits, first come first served, until there is room. `Err` means no message is ever taken again.
    pub(crate) async fn reserve(&self) -> Result<Permit<'_, M, I>, ()> {
        let Some(waiter) = ({
            let mut state = self.state.lock();
            match self.room(&mut state, Room::Ordinary) {
                Ok(()) if state.waiters.is_empty() => {
                    state.reserved += 1;
                    None
                }
                Err(Refusal::Stopped) => return Err(()),
                Ok(()) | Err(Refusal::Full) => {
                    let waiter = Arc::new(Waiter(Mutex::new(Waiting::Asleep(None))));
                    state.waiters.push_back(waiter.clone());
                    self.flags.0.waiting.store(true, Ordering::SeqCst);
                    // The actor may have made room just before, and have looked for waiters too early to see this one.
                    // Each side writes first and then reads, so at least one of them sees the other.
                    self.grant(&mut state);
                    Some(waiter)
                }
            }
        }) else {
            return Ok(Permit { queue: self });
        };
        let place = Place { queue: self, waiter };
        poll_fn(|cx| place.poll(cx)).await
    }

    /// Hands something of the runtime's own to the actor. `false` once it has ended.
    pub(crate) fn push_internal(&self, item: I) -> bool {
        let mut state = self.state.lock();
        if state.ended {
            return false;
        }
        state.internal.push_back(item);
        self.flags.0.internal.store(true, Ordering::Release);
        wake(state);
        true
    }

    /// Puts a notice behind the messages that are there. Never refused for want of room; dropped once it has ended.
    pub(crate) fn push_ended(&self, ended: Ended) {
        let mut state = self.state.lock();
        if !state.ended {
            state.messages.push_back(Envelope::Ended(Box::new(ended)));
            state.notices += 1;
            wake(state);
        }
    }

    /// How many messages wait; a moment later it may be another number.
    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        state.messages.len() - state.notices + self.unhandled.0.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    fn room(&self, state: &mut State<M, I>, room: Room) -> Result<(), Refusal> {
        if state.closed {
            return Err(Refusal::Stopped);
        }
        let capacity = match room {
            Room::Ordinary => self.flags.0.capacity,
            Room::Adapted => self.flags.0.capacity.saturating_mul(2),
        };
        let waiting = state.messages.len() - state.notices + state.reserved;
        if waiting + state.taken >= capacity {
            state.taken = self.unhandled.0.load(Ordering::SeqCst);
            if waiting + state.taken >= capacity {
                return Err(Refusal::Full);
            }
        }
        Ok(())
    }

    /// Gives free room to those who wait for it, in order.
    fn grant(&self, state: &mut State<M, I>) {
        while !state.waiters.is_empty() && self.room(state, Room::Ordinary).is_ok() {
            let Some(waiter) = state.waiters.pop_front() else {
                break;
            };
            let mut waiting = waiter.0.lock();
            if let Waiting::Asleep(waker) = &mut *waiting {
                let waker = waker.take();
                *waiting = Waiting::Granted;
                state.reserved += 1;
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
        self.flags.0.waiting.store(!state.waiters.is_empty(), Ordering::SeqCst);
    }
}

fn wake<M, I>(mut state: parking_lot::MutexGuard<'_, State<M, I>>) {
    let waker = state.waker.take();
    drop(state); // the actor may run on this very thread's queue next: do not make it wait for the lock
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Room for one message.
pub(crate) struct Permit<'a, M, I> {
    queue: &'a Queue<M, I>,
}

impl<M, I> Permit<'_, M, I> {
    /// Fails only when the actor closed its mailbox meanwhile.
    pub(crate) fn push(self, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        let queue = self.queue;
        mem::forget(self);
        let mut state = queue.state.lock();
        state.reserved -= 1;
        if state.closed {
            return Err(envelope);
        }
        state.messages.push_back(envelope);
        wake(state);
        Ok(())
    }
}

impl<M, I> Drop for Permit<'_, M, I> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.reserved -= 1;
        self.queue.grant(&mut state);
    }
}

/// A place in the line of those who wait for room; leaving the line early gives up what was granted.
struct Place<'a, M, I> {
    queue: &'a Queue<M, I>,
    waiter: Arc<Waiter>,
}

impl<'a, M, I> Place<'a, M, I> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Permit<'a, M, I>, ()>> {
        let mut waiting = self.waiter.0.lock();
        match &mut *waiting {
            Waiting::Asleep(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Waiting::Granted => {
                *waiting = Waiting::Over;
                Poll::Ready(Ok(Permit { queue: self.queue }))
            }
            Waiting::Refused | Waiting::Over => Poll::Ready(Err(())),
        }
    }
}

impl<M, I> Drop for Place<'_, M, I> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let before = mem::replace(&mut *self.waiter.0.lock(), Waiting::Over);
        match before {
            Waiting::Asleep(_) => state.waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter)),
            Waiting::Granted => {
                state.reserved -= 1;
                self.queue.grant(&mut state);
            }
            Waiting::Refused | Waiting::Over => {}
        }
    }
}

/// The actor's end: what it has taken from its queue and not handled yet. There is one per queue.
pub(crate) struct Receiver<M, I> {
    batch: VecDeque<Envelope<M>>,
    /// How many of `batch` are ends.
    notices: usize,
    internal: VecDeque<I>,
}

impl<M, I> Receiver<M, I> {
    pub(crate) fn new() -> Self {
        Self { batch: VecDeque::new(), notices: 0, internal: VecDeque::new() }
    }

    /// The next of what the runtime itself sent; costs one relaxed load when there is nothing.
    pub(crate) fn next_internal(&mut self, queue: &Queue<M, I>) -> Option<I> {
        if self.internal.is_empty() && queue.flags.0.internal.load(Ordering::Acquire) {
            let mut state = queue.state.lock();
            mem::swap(&mut state.internal, &mut self.internal);
            queue.flags.0.internal.store(false, Ordering::Release);
        }
        self.internal.pop_front()
    }

    /// The next message of the batch at hand; does not look for a new batch.
    pub(crate) fn next_message(&mut self, queue: &Queue<M, I>) -> Option<Envelope<M>> {
        let envelope = self.batch.pop_front()?;
        if self.notices > 0 && matches!(envelope, Envelope::Ended(_)) {
            self.notices -= 1;
        }
        queue.unhandled.0.store(self.batch.len() - self.notices, Ordering::SeqCst);
        if queue.flags.0.waiting.load(Ordering::SeqCst) {
            queue.grant(&mut queue.state.lock());
        }
        Some(envelope)
    }

    /// Takes all that waits; `Pending` when there is nothing in either lane, and the next sender wakes `cx`.
    ///
    /// Called with an empty batch only.
    pub(crate) fn poll_batch(&mut self, queue: &Queue<M, I>, cx: &mut Context<'_>) -> Poll<()> {
        debug_assert!(self.batch.is_empty());
        let mut state = queue.state.lock();
        mem::swap(&mut state.messages, &mut self.batch);
        self.notices = mem::take(&mut state.notices);
        state.taken = self.batch.len() - self.notices;
        queue.unhandled.0.store(state.taken, Ordering::Relaxed);
        if !state.waiters.is_empty() {
            queue.grant(&mut state);
        }
        if !self.batch.is_empty() || !state.internal.is_empty() {
            return Poll::Ready(());
        }
        if state.messages.capacity() + self.batch.capacity() > SLOTS_KEPT_IDLE {
            state.messages = VecDeque::new();
            self.batch = VecDeque::new();
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for the internal lane alone, while messages stay where they are.
    pub(crate) fn poll_internal(&mut self, queue: &Queue<M, I>, cx: &mut Context<'_>) -> Poll<I> {
        if let Some(item) = self.next_internal(queue) {
            return Poll::Ready(item);
        }
        let mut state = queue.state.lock();
        match state.internal.pop_front() {
            Some(item) => Poll::Ready(item),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Puts what was taken from the internal lane back, before all else.
    pub(crate) fn put_back(&mut self, mut items: VecDeque<I>) {
        items.append(&mut self.internal);
        self.internal = items;
    }

    /// Refuses messages from now on and returns those that were accepted and not handled, oldest first. The internal
    /// lane stays open.
    pub(crate) fn close(&mut self, queue: &Queue<M, I>) -> VecDeque<Envelope<M>> {
        let mut state = queue.state.lock();
        state.closed = true;
        let mut messages = mem::take(&mut self.batch);
        messages.extend(mem::take(&mut state.messages)); // with its buffer: references may outlive this
        self.notices = 0;
        state.notices = 0;
        for waiter in mem::take(&mut state.waiters) {
            if let Waiting::Asleep(Some(waker)) = mem::replace(&mut *waiter.0.lock(), Waiting::Refused) {
                waker.wake();
            }
        }
        messages
    }

    /// Refuses everything from now on and returns what was never handled, oldest first.
    pub(crate) fn end(&mut self, queue: &Queue<M, I>) -> (VecDeque<Envelope<M>>, VecDeque<I>) {
        let mut messages = self.close(queue);
        let mut state = queue.state.lock();
        state.ended = true;
        state.waker = None;
        messages.extend(mem::take(&mut state.messages)); // notices of ends that came in between
        let mut internal = mem::take(&mut self.internal);
        internal.extend(mem::take(&mut state.internal));
        (messages, internal)
    }
}
