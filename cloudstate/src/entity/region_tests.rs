//! Regions as their users see them, with entities that do nothing.

use std::sync::Arc;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled};
use bytes::Bytes;
use tonic::Code;

use super::durable::state_tests::{method, now};
use super::region::{EntityFactory, EntityMessage, Passivate, Region, RegionMessage};
use super::{Answer, EntityCommand};
use crate::router::Caller;

const SOON: Duration = Duration::from_secs(10);

struct Idle;

impl Actor for Idle {
    type Message = EntityMessage<()>;

    async fn receive(&mut self, _: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            EntityMessage::Command(command) => command.reply_to.tell(Ok(None)),
            EntityMessage::Stop => return Ok(Behavior::Stopped),
            EntityMessage::Internal(()) => {}
        }
        Ok(Behavior::Same)
    }
}

impl EntityFactory for Idle {
    type Internal = ();
    type Entity = Idle;

    fn create(&self, _: &Arc<str>, _: Passivate) -> Idle {
        Idle
    }
}

async fn deliver(region: &ActorRef<RegionMessage>) -> Answer {
    let command = |reply_to| EntityCommand {
        method: method(),
        type_url: method().input_type_url.clone(),
        payload: Bytes::new(),
        command_id: None,
        deadline: None,
        received_at: now(),
        caller: Caller::client(),
        reply_to,
        replies: None,
    };
    let deliver = |reply_to| RegionMessage::Deliver { id: Arc::from("ada"), command: Box::new(command(reply_to)) };
    region.ask(deliver, SOON).await.expect("answered")
}

#[tokio::test]
async fn a_region_that_was_drained_takes_no_more_commands() {
    let system = ActorSystem::new("regions");
    let region = system.spawn("region", Region::new(Idle, 4));
    assert_eq!(deliver(&region).await.expect("served"), None);
    for _ in 0..2 {
        region.ask(|reply_to| RegionMessage::Drain { reply_to }, SOON).await.expect("drained");
        assert_eq!(region.ask(RegionMessage::Count, SOON).await.expect("counted"), 0);
        assert_eq!(deliver(&region).await.expect_err("too late").code(), Code::Unavailable);
    }
}
