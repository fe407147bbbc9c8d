use actors::{Actor, ActorContext, ActorRef, Behavior, Handled};
use std::time::Duration;

pub struct Heartbeat {
    peer: ActorRef<u64>,
    beats: u64,
}

pub enum HeartbeatMessage {
    Beat,
    Pause,
}

impl Actor for Heartbeat {
    type Message = HeartbeatMessage;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        ctx.timers().start_with_fixed_delay("beat", Duration::from_secs(1), || HeartbeatMessage::Beat);
        ctx.timers().start_single("pause", Duration::from_millis(2_500), HeartbeatMessage::Pause);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            HeartbeatMessage::Beat => {
                self.beats += 1;
                self.peer.tell(self.beats);
            }
            HeartbeatMessage::Pause => ctx.timers().cancel("beat"),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn beats_each_second_until_paused() {
    let kit = actors::testkit::TestKit::new(); // one thread, a clock that moves only when told
    let mut peer = kit.probe();
    kit.spawn("heartbeat", Heartbeat { peer: peer.actor_ref(), beats: 0 });

    kit.advance(Duration::from_secs(60));

    assert_eq!(peer.drain(), [1, 2]);
}
