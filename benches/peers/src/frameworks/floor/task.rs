//! `floor-task`: the block queue in front of one tokio task per actor. The
//! task drains in batches and is woken only by the push that finds it asleep.
//!
//! Left out: the waker may be registered only once (a spawned task's never
//! changes), and there is no way to stop but to drop every address.

use std::cell::UnsafeCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::task::{Context, Poll, Waker};

use super::queue::{Head, Park, Tail};
use super::reply::{self, ReplyTo};
use crate::body::{Body, Sky, SkyMsg};
use crate::framework::{Framework, Slot};

pub struct FloorTask;

pub enum Msg {
    Tell(u64),
    Ask(u64, ReplyTo),
}

/// Messages handled before the task lets others run.
const BUDGET: u32 = 128;
/// Looks at a claimed but empty slot before yielding.
const SPINS: u32 = 64;

pub struct Shared<M> {
    tail: Tail<M>,
    waker: UnsafeCell<Option<Waker>>,
    addresses: AtomicUsize,
}

// SAFETY: the waker is written before the first sleep and read by whoever
// clears the sleep flag.
unsafe impl<M: Send> Sync for Shared<M> {}

impl<M> Shared<M> {
    #[inline]
    fn push(&self, msg: M) {
        if self.tail.push(msg) {
            self.wake();
        }
    }

    fn wake(&self) {
        // SAFETY: the flag was set after the waker.
        if let Some(waker) = unsafe { &*self.waker.get() } {
            waker.wake_by_ref();
        }
    }
}

pub struct Address<M>(Arc<Shared<M>>);

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        self.0.addresses.fetch_add(1, Relaxed);
        Address(self.0.clone())
    }
}

impl<M> Drop for Address<M> {
    fn drop(&mut self) {
        if self.0.addresses.fetch_sub(1, AcqRel) == 1 && self.0.tail.close() {
            self.0.wake();
        }
    }
}

pub trait Handle<M>: Send + Unpin + 'static {
    /// Whether the actor lives until it stops itself, addresses or not.
    const SELF_KEPT: bool;

    /// Handles a message; true to stop.
    fn handle(&mut self, msg: M, me: &Arc<Shared<M>>) -> bool;
}

impl Handle<Msg> for Body<FloorTask> {
    const SELF_KEPT: bool = false;

    #[inline]
    fn handle(&mut self, msg: Msg, _: &Arc<Shared<Msg>>) -> bool {
        match msg {
            Msg::Tell(msg) => self.on_tell(msg),
            Msg::Ask(msg, reply) => reply.send(self.on_ask(msg)),
        }
        false
    }
}

impl Handle<SkyMsg> for Sky<FloorTask> {
    const SELF_KEPT: bool = true;

    fn handle(&mut self, msg: SkyMsg, me: &Arc<Shared<SkyMsg>>) -> bool {
        me.addresses.fetch_add(1, Relaxed);
        let me = Address(me.clone());
        use futures_util::FutureExt;
        let done = self.on(&me, msg).now_or_never();
        done.expect("spawning does not wait")
    }
}

struct Task<M, H> {
    shared: Arc<Shared<M>>,
    head: Head<M>,
    handler: H,
}

impl<M: Send + 'static, H: Handle<M>> Future for Task<M, H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // SAFETY: this task is the queue's only consumer, and awake.
        unsafe {
            let waker = &mut *this.shared.waker.get();
            if waker.is_none() {
                *waker = Some(cx.waker().clone());
            }
            let mut left = BUDGET;
            let mut spins = SPINS;
            loop {
                if let Some(msg) = this.head.pop(&this.shared.tail) {
                    if this.handler.handle(msg, &this.shared) {
                        return Poll::Ready(());
                    }
                    left -= 1;
                    if left == 0 {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    continue;
                }
                match this.head.park(&this.shared.tail) {
                    Park::Asleep => return Poll::Pending,
                    Park::Closed => return Poll::Ready(()),
                    Park::Busy if spins > 0 => {
                        spins -= 1;
                        std::hint::spin_loop();
                    }
                    Park::Busy => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<M, H> Drop for Task<M, H> {
    fn drop(&mut self) {
        // SAFETY: a push that is still going on would be a use after free
        // here; the benchmarks end after the last message.
        unsafe {
            // The waker owns a reference to the task that is going away.
            *self.shared.waker.get() = None;
            self.head.clear(&self.shared.tail);
        }
    }
}

fn start<M: Send + 'static, H: Handle<M>>(handler: H) -> Address<M> {
    let shared = Arc::new(Shared {
        tail: Tail::new(false),
        waker: UnsafeCell::new(None),
        addresses: AtomicUsize::new(if H::SELF_KEPT { 2 } else { 1 }),
    });
    tokio::spawn(Task { shared: shared.clone(), head: Head::new(), handler });
    Address(shared)
}

impl Framework for FloorTask {
    const NAME: &'static str = "floor-task";
    const MAILBOX: &'static str = "unbounded";

    type Ref = Address<Msg>;
    type Sky = Address<SkyMsg>;

    async fn spawn(body: Body<Self>, _: Slot) -> Self::Ref {
        start(body)
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.0.push(Msg::Tell(msg));
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        let (tx, rx) = reply::pair();
        to.0.push(Msg::Ask(msg, tx));
        rx.await
    }

    fn stop(to: Self::Ref) {
        drop(to);
    }

    async fn spawn_sky(sky: Sky<Self>, _: Option<Slot>) -> Self::Sky {
        start(sky)
    }

    fn tell_sky(to: &Self::Sky, msg: SkyMsg) {
        to.0.push(msg);
    }
}
