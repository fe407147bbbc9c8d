use super::turnstile::{Turnstile, TurnstileMessage};
use actors::{Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, BoxError, Handled, Props, ReplyTo};
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(1);

pub struct Kiosk {
    gate: ActorRef<TurnstileMessage>,
    waiting: u32,
}

pub enum KioskMessage {
    Visitor,
    Waiting(ReplyTo<u32>),
    #[doc(hidden)]
    Answered(Answered), // sealed: its field is private, so only this module can send it
}
pub struct Answered(Result<bool, AskError>);

impl Actor for Kiosk {
    type Message = KioskMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            KioskMessage::Visitor => {
                let enter = |reply_to| TurnstileMessage::Enter { reply_to };
                ctx.ask(&self.gate, enter, ANSWER_WITHIN, |answer| KioskMessage::Answered(Answered(answer)));
            }
            KioskMessage::Answered(Answered(Ok(true))) => {}
            KioskMessage::Answered(Answered(Ok(false) | Err(_))) => self.waiting += 1,
            KioskMessage::Waiting(reply_to) => reply_to.tell(self.waiting),
        }
        Ok(Behavior::Same)
    }
}

pub async fn open(system: &ActorSystem) -> Result<u32, BoxError> {
    let props = Props::setup(|ctx| Kiosk { gate: ctx.spawn("gate", Turnstile::new(1)), waiting: 0 });
    let kiosk = system.spawn("kiosk", props);
    kiosk.tell(KioskMessage::Visitor);
    Ok(kiosk.ask(KioskMessage::Waiting, ANSWER_WITHIN).await?) // a one-field variant is its own constructor
}

#[test]
fn the_second_visitor_waits() {
    let kit = actors::testkit::TestKit::new();
    let system = kit.system().clone();
    let waiting = kit.block_on(async move {
        let waiting = open(&system).await?;
        Ok::<u32, BoxError>(waiting)
    });
    assert_eq!(waiting.unwrap(), 0);
}
