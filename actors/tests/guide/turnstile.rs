use actors::{Actor, ActorContext, Behavior, Handled, ReplyTo};

/// Lets at most `capacity` visitors in at once.
pub struct Turnstile {
    capacity: u32,
    inside: u32, // invariant: inside <= capacity
}

#[derive(Debug)]
pub enum TurnstileMessage {
    /// Answers `true` when the visitor was let in.
    Enter {
        reply_to: ReplyTo<bool>,
    },
    Leave,
    Inside(ReplyTo<u32>),
    Close,
}

impl Turnstile {
    pub fn new(capacity: u32) -> Self {
        Self { capacity, inside: 0 }
    }
}

impl Actor for Turnstile {
    type Message = TurnstileMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            TurnstileMessage::Enter { reply_to } => {
                let admitted = self.inside < self.capacity;
                self.inside += u32::from(admitted);
                reply_to.tell(admitted);
            }
            TurnstileMessage::Leave => self.inside = self.inside.saturating_sub(1),
            TurnstileMessage::Inside(reply_to) => reply_to.tell(self.inside),
            TurnstileMessage::Close => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn admits_as_many_as_fit() {
    let kit = actors::testkit::TestKit::new();
    let gate = kit.spawn("gate", Turnstile::new(1));
    let second = std::time::Duration::from_secs(1);
    let enter = |reply_to| TurnstileMessage::Enter { reply_to };

    assert_eq!(kit.block_on(gate.ask(enter, second)), Ok(true));
    assert_eq!(kit.block_on(gate.ask(enter, second)), Ok(false));
    gate.tell(TurnstileMessage::Leave);
    assert_eq!(kit.block_on(gate.ask(TurnstileMessage::Inside, second)), Ok(0));
    gate.tell(TurnstileMessage::Close);
    assert_eq!(kit.block_on(gate.ask(enter, second)), Err(actors::AskError::Stopped));
}
