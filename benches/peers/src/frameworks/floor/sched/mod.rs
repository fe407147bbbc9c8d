//! Actors smaller than a task, on a scheduler of their own. Being scheduled is a flag in the queue's tail word; the workers
//! are tokio tasks ("carriers").
//!
//! * `floor-async` has actors that are async blocks, started when they are spawned.
//! * `floor-inline` is the same, except that whoever asks a sleeping actor runs it on the spot.
//!
//! Left out: actors may wait for messages only, panics are not caught, and an actor stops when its last address goes or
//! by itself.

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
    /// Whether who asks runs the actor asked.
    const INLINE: bool;
}

pub struct Asynchronous;

impl Variant for Asynchronous {
    const NAME: &'static str = "floor-async";
    const INLINE: bool = false;
}

pub struct Inline;

impl Variant for Inline {
    const NAME: &'static str = "floor-inline";
    const INLINE: bool = true;
}

/// What is in the mailbox.
pub enum Msg {
    Tell(u64),
    Ask(u64, ReplyTo),
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

    type Ref = Address<Msg>;
    type Sky = Address<SkyMsg>;

    fn block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        pool::on_carriers(flavor, driver)
    }

    async fn spawn(mut body: Body<Self>, _: Slot) -> Self::Ref {
        cell::spawn_async(|mut mailbox: Receiver<Msg>| async move {
            while let Some(msg) = mailbox.next().await {
                match msg {
                    Msg::Tell(msg) => body.on_tell(msg),
                    Msg::Ask(msg, reply) => reply.send(body.on_ask(msg)),
                }
            }
        })
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.push(Msg::Tell(msg), Sender::GoesOn);
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        let (tx, rx) = reply::pair();
        if V::INLINE {
            to.push_and_run(Msg::Ask(msg, tx));
        } else {
            to.push(Msg::Ask(msg, tx), Sender::Waits);
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
