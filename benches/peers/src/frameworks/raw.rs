//! What most libraries stand on: a task that owns the state and a channel it reads from, without any library around.

use tokio::sync::{mpsc, oneshot};

use crate::body::{Body, Sky, SkyMsg};
use crate::framework::{Framework, Slot};

pub enum Msg {
    Tell(u64),
    Ask(u64, oneshot::Sender<u64>),
}

#[inline]
fn handle<F: Framework>(body: &mut Body<F>, msg: Msg) {
    match msg {
        Msg::Tell(msg) => body.on_tell(msg),
        Msg::Ask(msg, reply) => {
            let _ = reply.send(body.on_ask(msg));
        }
    }
}

/// `tokio::sync::mpsc`, unbounded, one message per `recv`: the reference all
/// ratios are taken to.
pub struct TokioUnbounded;

impl Framework for TokioUnbounded {
    const NAME: &'static str = "tokio-mpsc";
    const MAILBOX: &'static str = "unbounded";

    type Ref = mpsc::UnboundedSender<Msg>;
    type Sky = mpsc::UnboundedSender<SkyMsg>;

    async fn spawn(mut body: Body<Self>, _: Slot) -> Self::Ref {
        let (tx, mut rx) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(msg) = rx.recv().await {
                handle(&mut body, msg);
            }
        });
        tx
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.send(Msg::Tell(msg)).expect("alive");
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        let (tx, rx) = oneshot::channel();
        to.send(Msg::Ask(msg, tx)).expect("alive");
        rx.await.expect("replies")
    }

    fn stop(to: Self::Ref) {
        drop(to);
    }

    async fn spawn_sky(sky: Sky<Self>, _: Option<Slot>) -> Self::Sky {
        start_sky(sky)
    }

    fn tell_sky(to: &Self::Sky, msg: SkyMsg) {
        to.send(msg).expect("alive");
    }
}

fn start_sky(mut sky: Sky<TokioUnbounded>) -> mpsc::UnboundedSender<SkyMsg> {
    let (tx, mut rx) = mpsc::unbounded_channel();
    let me = tx.clone();
    tokio::spawn(async move {
        while let Some(msg) = rx.recv().await {
            if sky.on(&me, msg).await {
                break;
            }
        }
    });
    tx
}

/// The same channel with a bound, whose senders wait for room: what `actors-send` and `kameo-bounded` stand beside.
pub struct TokioBounded;

impl Framework for TokioBounded {
    const NAME: &'static str = "tokio-bounded";
    const MAILBOX: &'static str = "bounded(1024)";
    const BOUNDED: bool = true;
    const SKYNET: bool = false;

    type Ref = mpsc::Sender<Msg>;
    type Sky = ();

    async fn spawn(mut body: Body<Self>, _: Slot) -> Self::Ref {
        let (tx, mut rx) = mpsc::channel(1_024);
        tokio::spawn(async move {
            while let Some(msg) = rx.recv().await {
                handle(&mut body, msg);
            }
        });
        tx
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.try_send(Msg::Tell(msg)).expect("alive and roomy");
    }

    async fn send(to: &Self::Ref, msg: u64) {
        to.send(Msg::Tell(msg)).await.expect("alive");
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        let (tx, rx) = oneshot::channel();
        to.send(Msg::Ask(msg, tx)).await.expect("alive");
        rx.await.expect("replies")
    }

    fn stop(to: Self::Ref) {
        drop(to);
    }
}
