//! Three painters pull fences from one foreman. One of them dies over its second fence: another paints it.
//!
//! `cargo run -p examples --example work_pulling`

use std::time::Duration;

use actors::delivery::{
    ConsumerController, ConsumerControllerMessage, ConsumerSettings, Delivery, RequestNext, WorkPullingController,
    WorkPullingControllerMessage, WorkPullingSettings,
};
use actors::{Actor, ActorContext, ActorSystem, AskError, Behavior, Handled, Props, ReplyTo, ServiceKey};

const FENCES: u64 = 12;

/// A fence to paint, by its number.
struct Fence(u64);

/// Hands out fences and counts those that are done.
struct Foreman {
    painted: u64,
    reply_to: Option<ReplyTo<u64>>,
}

enum ForemanMessage {
    Next(RequestNext<Fence>),
    Painted(Result<u64, AskError>),
    AllPainted(ReplyTo<u64>),
}

impl Actor for Foreman {
    type Message = ForemanMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            ForemanMessage::Next(next) if next.seq_nr() > FENCES => drop(next), // nothing more to ask for
            ForemanMessage::Next(next) => {
                let fence = Fence(next.seq_nr());
                ctx.pipe_to_self(next.send_confirmed(fence), ForemanMessage::Painted);
            }
            ForemanMessage::Painted(fence) => {
                fence?;
                self.painted += 1;
            }
            ForemanMessage::AllPainted(reply_to) => self.reply_to = Some(reply_to),
        }
        if self.painted == FENCES
            && let Some(reply_to) = self.reply_to.take()
        {
            reply_to.tell(self.painted);
        }
        Ok(Behavior::Same)
    }
}

/// Paints one fence after the other.
struct Painter {
    name: &'static str,
    /// Dies over this one: the number of the fence among its own.
    dies_at: Option<u64>,
}

impl Actor for Painter {
    type Message = Delivery<Fence>;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        // Its controller registers under the key, and stops when the painter does.
        let controller = ConsumerController::props(ConsumerSettings::default()).service(painters());
        let controller = ctx.system().spawn(format!("{}-s-controller", self.name), controller);
        controller.tell(ConsumerControllerMessage::Start { deliver_to: ctx.this().clone() });
        Ok(Behavior::Same)
    }

    #[expect(clippy::print_stdout, reason = "an example shows what happens")]
    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, delivery: Delivery<Fence>) -> Handled {
        let fence = delivery.message().0;
        if self.dies_at == Some(delivery.seq_nr()) {
            println!("{} falls off the ladder over fence {fence}", self.name);
            return Ok(Behavior::Stopped); // not confirmed: it goes to somebody else
        }
        ctx.clock().sleep(Duration::from_millis(20)).await;
        println!("{} has painted fence {fence}", self.name);
        delivery.confirm();
        Ok(Behavior::Same)
    }
}

fn painters() -> ServiceKey<ConsumerControllerMessage<Fence>> {
    ServiceKey::new("painters")
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows its result")]
async fn main() -> anyhow::Result<()> {
    let system = ActorSystem::new("painting");
    for (name, dies_at) in [("ann", None), ("ben", None), ("huck", Some(2))] {
        system.spawn(name, Props::new(move || Painter { name, dies_at }));
    }

    let controller = WorkPullingController::props("fences", WorkPullingSettings::default()).service(painters());
    let controller = system.spawn("fences", controller);
    let foreman = system.spawn("foreman", Foreman { painted: 0, reply_to: None });
    controller.tell(WorkPullingControllerMessage::Start { producer: foreman.map(ForemanMessage::Next) });

    let painted = foreman.ask(ForemanMessage::AllPainted, Duration::from_secs(30)).await?;
    println!("{painted} fences are painted");

    system.terminate().await;
    Ok(())
}
