//! The smallest actor: it counts.
//!
//! `cargo run -p examples --example counter`

use std::time::Duration;

use actors::{Actor, ActorContext, ActorSystem, Behavior, Handled, ReplyTo};

/// Counts what it is told.
struct Counter {
    total: u64,
}

enum CounterMessage {
    Add(u64),
    Total(ReplyTo<u64>),
}

impl Actor for Counter {
    type Message = CounterMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            CounterMessage::Add(number) => self.total += number,
            CounterMessage::Total(reply_to) => reply_to.tell(self.total),
        }
        Ok(Behavior::Same)
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows its result")]
async fn main() -> anyhow::Result<()> {
    let system = ActorSystem::new("counter");
    let counter = system.spawn("counter", Counter { total: 0 });

    for number in 1..=100 {
        counter.tell(CounterMessage::Add(number));
    }
    let total = counter.ask(CounterMessage::Total, Duration::from_secs(1)).await?;
    println!("1 + 2 + … + 100 = {total}");

    system.terminate().await;
    Ok(())
}
