//! actix: actors are tasks of single-threaded arbiters; the mailbox is a
//! Vyukov queue of boxed envelopes with a message counter and an atomic waker.
//!
//! On several workers the actors and clients are spread over as many arbiters by their
//! [`Slot`], neighbours together.

use std::future::Future;
use std::sync::RwLock;

use actix::prelude::*;
use futures_util::FutureExt;

use crate::body::{Body, Sky, SkyMsg};
use crate::framework::{Flavor, Framework, Slot};

pub struct Actix;

static ARBITERS: RwLock<Vec<ArbiterHandle>> = RwLock::new(Vec::new());

fn arbiter(slot: Slot) -> ArbiterHandle {
    let arbiters = ARBITERS.read().expect("not poisoned");
    arbiters[slot.bucket(arbiters.len())].clone()
}

pub struct Cell(Body<Actix>);

impl Actor for Cell {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
pub struct Tell(u64);

#[derive(Message)]
#[rtype(result = "u64")]
pub struct Ask(u64);

#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Handler<Tell> for Cell {
    type Result = ();

    fn handle(&mut self, msg: Tell, _: &mut Context<Self>) {
        self.0.on_tell(msg.0);
    }
}

impl Handler<Ask> for Cell {
    type Result = u64;

    fn handle(&mut self, msg: Ask, _: &mut Context<Self>) -> u64 {
        self.0.on_ask(msg.0)
    }
}

impl Handler<Stop> for Cell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

pub struct SkyCell(Sky<Actix>);

#[derive(Message)]
#[rtype(result = "()")]
pub struct SkyTell(SkyMsg);

impl Actor for SkyCell {
    type Context = Context<Self>;
}

impl Handler<SkyTell> for SkyCell {
    type Result = ();

    fn handle(&mut self, msg: SkyTell, ctx: &mut Context<Self>) {
        let me = ctx.address();
        let done = self.0.on(&me, msg.0).now_or_never();
        if done.expect("spawning does not wait") {
            ctx.stop();
        }
    }
}

impl Framework for Actix {
    const NAME: &'static str = "actix";
    const MAILBOX: &'static str = "do_send, unbounded";

    type Ref = Addr<Cell>;
    type Sky = Addr<SkyCell>;

    fn block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        System::new().block_on(async move {
            let arbiters = match flavor {
                Flavor::Multi(arbiters) => (0..arbiters).map(|_| Arbiter::new().handle()).collect(),
                Flavor::Current => vec![Arbiter::current()],
            };
            *ARBITERS.write().expect("not poisoned") = arbiters;
            driver.await
        })
    }

    fn task<T, Fut>(slot: Slot, task: Fut) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let (tx, rx) = tokio::sync::oneshot::channel();
        arbiter(slot).spawn(async move {
            let _ = tx.send(task.await);
        });
        async move { rx.await.expect("client task") }
    }

    async fn spawn(body: Body<Self>, slot: Slot) -> Self::Ref {
        Cell::start_in_arbiter(&arbiter(slot), |_| Cell(body))
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.do_send(Tell(msg));
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        to.send(Ask(msg)).await.expect("alive")
    }

    fn stop(to: Self::Ref) {
        to.do_send(Stop);
    }

    async fn spawn_sky(sky: Sky<Self>, slot: Option<Slot>) -> Self::Sky {
        match slot {
            Some(slot) => SkyCell::start_in_arbiter(&arbiter(slot), |_| SkyCell(sky)),
            None if System::is_registered() && Arbiter::try_current().is_some() => SkyCell(sky).start(),
            None => unreachable!("the driver runs on an arbiter"),
        }
    }

    fn tell_sky(to: &Self::Sky, msg: SkyMsg) {
        to.do_send(SkyTell(msg));
    }
}
