//! `floor-sched` and its variants: actors smaller than a task, on a scheduler
//! of their own. Being scheduled is a flag in the queue's tail word.
//!
//! * `floor-sched` runs its workers as two tokio tasks ("carriers").
//! * `floor-threads` runs them as two threads of their own that have entered
//!   the tokio runtime.
//! * `floor-boxed` is `floor-sched` with every message in a boxed closure, as
//!   an untyped mailbox would have it.
//! * `floor-async` is `floor-sched` with actors that are async blocks, started
//!   when they are spawned.
//! * `floor-inline` is `floor-async`, except that whoever asks a sleeping actor
//!   runs it on the spot.
//! * `floor-threads-inline` is `floor-inline` on threads.
//!
//! Left out: actors may wait for messages only, panics are not caught, and an
//! actor stops when its last address goes or by itself.

mod cell;
mod pool;

use std::future::Future;
use std::marker::PhantomData;

use futures_util::FutureExt;

use self::cell::{Address, Handle, Receiver};
use self::pool::Sender;
use super::reply::{self, ReplyTo};
use crate::body::{Body, Sky, SkyMsg};
use crate::framework::{Flavor, Framework, Slot};

pub trait Variant: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    const THREADS: bool = false;
    const ASYNC: bool = false;
    const INLINE: bool = false;
    type Msg: Message<Floor<Self>>;
}

macro_rules! variant {
    ($variant:ident, $name:literal, $msg:ty $(, $option:ident)*) => {
        pub struct $variant;

        impl Variant for $variant {
            const NAME: &'static str = $name;
            $(const $option: bool = true;)*
            type Msg = $msg;
        }
    };
}

variant!(Carriers, "floor-sched", Typed);
variant!(Threads, "floor-threads", Typed, THREADS);
variant!(Boxing, "floor-boxed", Boxed<Floor<Boxing>>);
variant!(Asynchronous, "floor-async", Typed, ASYNC);
variant!(Inline, "floor-inline", Typed, ASYNC, INLINE);
variant!(ThreadsInline, "floor-threads-inline", Typed, THREADS, ASYNC, INLINE);

/// What is in the mailbox.
pub trait Message<F: Framework>: Send + 'static {
    fn tell(msg: u64) -> Self;
    fn ask(msg: u64, reply: ReplyTo) -> Self;
    fn deliver(self, body: &mut Body<F>);
}

pub enum Typed {
    Tell(u64),
    Ask(u64, ReplyTo),
}

impl<F: Framework> Message<F> for Typed {
    #[inline]
    fn tell(msg: u64) -> Self {
        Typed::Tell(msg)
    }

    #[inline]
    fn ask(msg: u64, reply: ReplyTo) -> Self {
        Typed::Ask(msg, reply)
    }

    #[inline]
    fn deliver(self, body: &mut Body<F>) {
        match self {
            Typed::Tell(msg) => body.on_tell(msg),
            Typed::Ask(msg, reply) => reply.send(body.on_ask(msg)),
        }
    }
}

pub struct Boxed<F: Framework>(Box<dyn FnOnce(&mut Body<F>) + Send>);

impl<F: Framework> Message<F> for Boxed<F> {
    fn tell(msg: u64) -> Self {
        Boxed(Box::new(move |body| body.on_tell(msg)))
    }

    fn ask(msg: u64, reply: ReplyTo) -> Self {
        Boxed(Box::new(move |body| reply.send(body.on_ask(msg))))
    }

    fn deliver(self, body: &mut Body<F>) {
        (self.0)(body)
    }
}

impl<V: Variant> Handle<V::Msg> for Body<Floor<V>> {
    const SELF_KEPT: bool = false;

    #[inline]
    fn handle(&mut self, msg: V::Msg, _: &Address<V::Msg>) -> bool {
        msg.deliver(self);
        false
    }
}

impl<V: Variant> Handle<SkyMsg> for Sky<Floor<V>> {
    const SELF_KEPT: bool = true;

    fn handle(&mut self, msg: SkyMsg, me: &Address<SkyMsg>) -> bool {
        let done = self.on(me, msg).now_or_never();
        done.expect("spawning does not wait")
    }
}

pub struct Floor<V>(PhantomData<V>);

impl<V: Variant> Framework for Floor<V> {
    const NAME: &'static str = V::NAME;
    const MAILBOX: &'static str = "unbounded";

    type Ref = Address<V::Msg>;
    type Sky = Address<SkyMsg>;

    fn block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        if V::THREADS { pool::on_threads(flavor, driver) } else { pool::on_carriers(flavor, driver) }
    }

    async fn spawn(mut body: Body<Self>, _: Slot) -> Self::Ref {
        if V::ASYNC {
            cell::spawn_async(|mut mailbox: Receiver<V::Msg>| async move {
                while let Some(msg) = mailbox.next().await {
                    msg.deliver(&mut body);
                }
            })
        } else {
            cell::spawn(body)
        }
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.push(V::Msg::tell(msg), Sender::GoesOn);
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        let (tx, rx) = reply::pair();
        if V::INLINE {
            to.push_and_run(V::Msg::ask(msg, tx));
        } else {
            to.push(V::Msg::ask(msg, tx), Sender::Waits);
        }
        rx.await
    }

    fn stop(to: Self::Ref) {
        drop(to);
    }

    async fn spawn_sky(sky: Sky<Self>, _: Option<Slot>) -> Self::Sky {
        cell::spawn(sky)
    }

    fn tell_sky(to: &Self::Sky, msg: SkyMsg) {
        to.push(msg, Sender::GoesOn);
    }
}
