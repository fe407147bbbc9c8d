use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Mailbox, Props, ReplyTo, SupervisorStrategy,
};
use std::time::Duration;

pub struct Importer {
    total: u64,
}

pub enum ImporterMessage {
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
}

pub fn start(system: &ActorSystem) -> ActorRef<ImporterMessage> {
    let props = Props::new(|| Importer { total: 0 })
        .supervise(
            SupervisorStrategy::restart_with_backoff(Duration::from_millis(100), Duration::from_secs(10))
                .with_limit(5, Duration::from_secs(60)),
        )
        .mailbox(Mailbox::bounded(10_000));
    system.spawn("importer", props)
}

#[test]
fn a_bad_row_costs_the_state_but_not_the_reference() {
    let kit = actors::testkit::TestKit::new();
    let importer = start(kit.system());
    let total = || kit.block_on(importer.ask(ImporterMessage::Total, Duration::from_secs(5)));

    importer.tell(ImporterMessage::Row("40".into()));
    assert_eq!(total(), Ok(40));
    importer.tell(ImporterMessage::Row("forty".into()));
    importer.tell(ImporterMessage::Row("2".into()));
    assert_eq!(total(), Ok(2));
}
