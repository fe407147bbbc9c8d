//! What a full mailbox must not stop, and adapters.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, AskError, Behavior, Handled, Mailbox, Props, ReplyTo, Signal, TryTellError,
};

const SECOND: Duration = Duration::from_secs(1);

/// Asks `oracle`, then naps; room for one message.
struct Napper {
    oracle: ActorRef<ReplyTo<u32>>,
    told: ActorRef<String>,
}

enum NapperMessage {
    AskThenNap,
    Answer(Result<u32, AskError>),
    Text(String),
    Adapter(ReplyTo<ActorRef<u32>>),
}

impl Actor for Napper {
    type Message = NapperMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<NapperMessage>, message: NapperMessage) -> Handled {
        match message {
            NapperMessage::AskThenNap => {
                ctx.ask(&self.oracle, |reply_to| reply_to, SECOND * 60, NapperMessage::Answer);
                ctx.timers().start_single("timer", SECOND, NapperMessage::Text("timer".to_owned()));
                ctx.pipe_to_self(async { "piped".to_owned() }, NapperMessage::Text);
                ctx.clock().sleep(SECOND * 2).await;
            }
            NapperMessage::Answer(answer) => self.told.tell(format!("answer {answer:?}")),
            NapperMessage::Text(text) => self.told.tell(text),
            NapperMessage::Adapter(reply_to) => {
                reply_to.tell(ctx.message_adapter(|number: u32| NapperMessage::Text(format!("adapted {number}"))));
            }
        }
        Ok(Behavior::Same)
    }
}

struct Oracle;

impl Actor for Oracle {
    type Message = ReplyTo<u32>;

    async fn receive(&mut self, _ctx: &mut ActorContext<ReplyTo<u32>>, reply_to: ReplyTo<u32>) -> Handled {
        reply_to.tell(42);
        Ok(Behavior::Same)
    }
}

fn napper(kit: &TestKit, told: ActorRef<String>, room: usize) -> ActorRef<NapperMessage> {
    let oracle = kit.spawn("oracle", Oracle);
    let props = Props::new(move || Napper { oracle: oracle.clone(), told: told.clone() });
    kit.spawn("napper", props.mailbox(Mailbox::bounded(room)))
}

#[test]
fn answers_results_and_timers_need_no_room_in_the_mailbox() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let napper = napper(&kit, probe.actor_ref(), 1);
    napper.tell(NapperMessage::AskThenNap);
    kit.settle();
    napper.tell(NapperMessage::Text("fills the mailbox".to_owned()));
    assert!(napper.try_tell(NapperMessage::Text(String::new())).is_err());
    kit.advance(SECOND * 2);
    let mut read = probe.drain();
    read.sort();
    assert_eq!(read, ["answer Ok(42)", "fills the mailbox", "piped", "timer"]);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

#[test]
fn adapted_messages_keep_their_order_with_plain_ones_and_have_room_of_their_own() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let napper = napper(&kit, probe.actor_ref(), 2);
    let adapter = kit.block_on(napper.ask(NapperMessage::Adapter, SECOND)).unwrap();
    assert!(adapter.path() == napper.path());

    adapter.tell(1);
    napper.tell(NapperMessage::Text("two".to_owned()));
    assert!(napper.try_tell(NapperMessage::Text("no room".to_owned())).is_err());
    adapter.tell(3);
    adapter.tell(4);
    assert_eq!(adapter.try_tell(5), Err(TryTellError::Full(5)));
    assert_eq!(probe.drain(), ["adapted 1", "two", "adapted 3", "adapted 4"]);
}

#[test]
fn a_bound_counts_what_the_actor_has_taken_but_not_handled() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let napper = napper(&kit, probe.actor_ref(), 3);
    napper.tell(NapperMessage::AskThenNap);
    napper.tell(NapperMessage::Text("1".to_owned()));
    napper.tell(NapperMessage::Text("2".to_owned()));
    kit.settle(); // takes all three, naps over the first
    assert!(napper.try_tell(NapperMessage::Text("3".to_owned())).is_ok());
    assert!(napper.try_tell(NapperMessage::Text("4".to_owned())).is_err());
    kit.advance(SECOND * 2);
    assert!(probe.drain().contains(&"3".to_owned()));
}

#[test]
#[should_panic(expected = "mailbox capacity must be at least 1")]
fn a_mailbox_without_room_is_a_mistake() {
    let _ = Mailbox::bounded(0);
}

/// Watches a child that ends after half a second, and naps for a second over each message.
struct Nursing;

impl Actor for Nursing {
    type Message = bool;

    async fn receive(&mut self, ctx: &mut ActorContext<bool>, spawn: bool) -> Handled {
        if spawn {
            for _ in 0..3 {
                let child = ctx.spawn_anonymous(Mayfly);
                ctx.watch(&child);
            }
        }
        ctx.clock().sleep(SECOND).await;
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<bool>, _signal: Signal) -> Handled {
        Ok(Behavior::Same)
    }
}

struct Mayfly;

impl Actor for Mayfly {
    type Message = ();

    async fn started(&mut self, ctx: &mut ActorContext<()>) -> Handled {
        ctx.clock().sleep(SECOND / 2).await;
        Ok(Behavior::Stopped)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Ok(Behavior::Same)
    }
}

#[test]
fn the_ends_of_children_take_no_room_in_the_mailbox() {
    let kit = TestKit::new();
    let actor = kit.spawn("actor", Props::new(|| Nursing).mailbox(Mailbox::bounded(1)));
    actor.tell(true);
    kit.advance(SECOND / 4);
    assert_eq!(actor.try_tell(false), Ok(()));
    kit.advance(SECOND / 2);
    assert_eq!(actor.try_tell(false), Err(TryTellError::Full(false)), "the message, then three ends");
    kit.advance(SECOND / 2);
    // It naps over the message; what it took with that are the ends.
    assert_eq!(actor.try_tell(false), Ok(()));
    assert_eq!(actor.try_tell(false), Err(TryTellError::Full(false)));

    kit.advance(SECOND * 3);
    actor.tell(true);
    kit.advance(SECOND * 3 / 4);
    assert_eq!(actor.try_tell(false), Ok(()), "nothing waits but three ends");
    assert_eq!(actor.try_tell(false), Err(TryTellError::Full(false)));
}
