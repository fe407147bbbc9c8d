//! A worker that fails, under supervision: its reference and the rows that wait survive, its state is made anew.
//!
//! `cargo run -p examples --example supervised_import`

use std::time::Duration;

use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Mailbox, Props, ReplyTo, Signal, SupervisorStrategy,
};

/// Adds up rows; a row that is no number is a failure.
struct Importer {
    total: u64,
}

enum ImporterMessage {
    Row(String),
    Total(ReplyTo<u64>),
}

impl Actor for Importer {
    type Message = ImporterMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            ImporterMessage::Row(row) => self.total += row.parse::<u64>()?, // a failure: the strategy decides
            ImporterMessage::Total(reply_to) => reply_to.tell(self.total),
        }
        Ok(Behavior::Same)
    }

    #[expect(clippy::print_stdout, reason = "an example shows what happens")]
    async fn on_signal(&mut self, _ctx: &mut ActorContext<Self::Message>, signal: Signal) -> Handled {
        if let Signal::PreRestart = signal {
            println!("a row was bad: {} is lost with this life", self.total);
        }
        Ok(Behavior::Same)
    }
}

fn start(system: &ActorSystem) -> ActorRef<ImporterMessage> {
    let props = Props::new(|| Importer { total: 0 })
        .supervise(
            SupervisorStrategy::restart_with_backoff(Duration::from_millis(100), Duration::from_secs(10))
                .with_limit(5, Duration::from_secs(60)),
        )
        .mailbox(Mailbox::bounded(10_000));
    system.spawn("importer", props)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows its result")]
async fn main() -> anyhow::Result<()> {
    let system = ActorSystem::new("import");
    let importer = start(&system);

    for row in ["40", "2", "forty-two", "17", "4"] {
        importer.send(ImporterMessage::Row(row.to_owned())).await?; // waits when ten thousand rows wait already
    }
    let total = importer.ask(ImporterMessage::Total, Duration::from_secs(5)).await?;
    println!("the life after it counted {total}");

    system.terminate().await;
    Ok(())
}
