//! ractor: a tokio task per actor, four channels (two oneshots, two unbounded
//! mpsc) selected over per message, messages boxed as `dyn Any`.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};

use crate::body::{Body, Sky, SkyMsg};
use crate::framework::{Framework, Slot};

pub struct Ractor;

pub struct Cell;

pub enum Msg {
    Tell(u64),
    Ask(u64, RpcReplyPort<u64>),
}

impl Actor for Cell {
    type Msg = Msg;
    type State = Body<Ractor>;
    type Arguments = Body<Ractor>;

    async fn pre_start(&self, _: ActorRef<Msg>, body: Body<Ractor>) -> Result<Body<Ractor>, ActorProcessingErr> {
        Ok(body)
    }

    async fn handle(&self, _: ActorRef<Msg>, msg: Msg, body: &mut Body<Ractor>) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Tell(msg) => body.on_tell(msg),
            Msg::Ask(msg, reply) => {
                let _ = reply.send(body.on_ask(msg));
            }
        }
        Ok(())
    }
}

pub struct SkyCell;

impl Actor for SkyCell {
    type Msg = SkyMsg;
    type State = Sky<Ractor>;
    type Arguments = Sky<Ractor>;

    async fn pre_start(&self, _: ActorRef<SkyMsg>, sky: Sky<Ractor>) -> Result<Sky<Ractor>, ActorProcessingErr> {
        Ok(sky)
    }

    async fn handle(&self, me: ActorRef<SkyMsg>, msg: SkyMsg, sky: &mut Sky<Ractor>) -> Result<(), ActorProcessingErr> {
        if sky.on(&me, msg).await {
            me.stop(None);
        }
        Ok(())
    }
}

impl Framework for Ractor {
    const NAME: &'static str = "ractor";
    const MAILBOX: &'static str = "unbounded";

    type Ref = ActorRef<Msg>;
    type Sky = ActorRef<SkyMsg>;

    async fn spawn(body: Body<Self>, _: Slot) -> Self::Ref {
        Actor::spawn(None, Cell, body).await.expect("spawned").0
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.cast(Msg::Tell(msg)).expect("alive");
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        call!(to, Msg::Ask, msg).expect("alive")
    }

    fn stop(to: Self::Ref) {
        to.stop(None);
    }

    async fn spawn_sky(sky: Sky<Self>, _: Option<Slot>) -> Self::Sky {
        Actor::spawn(None, SkyCell, sky).await.expect("spawned").0
    }

    fn tell_sky(to: &Self::Sky, msg: SkyMsg) {
        to.cast(msg).expect("alive");
    }
}
