//! Actors that hold a thread: real ones, because that is the point.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, ActorState, ActorSystem, Behavior, Handled, ReplyTo, TurnStuck};

const WITHIN: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(5);

/// Blocks its thread until the test lets it go on.
struct Blocks;

impl Actor for Blocks {
    type Message = Receiver<()>;

    async fn receive(&mut self, _ctx: &mut ActorContext<Receiver<()>>, let_go: Receiver<()>) -> Handled {
        let _ = let_go.recv();
        Ok(Behavior::Same)
    }
}

/// Has two children that block.
struct Parent;

impl Actor for Parent {
    type Message = ReplyTo<Vec<ActorRef<Receiver<()>>>>;

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, reply_to: Self::Message) -> Handled {
        reply_to.tell(["one", "other"].map(|name| ctx.spawn(name, Blocks)).into());
        Ok(Behavior::Same)
    }
}

#[derive(Default)]
struct Ear(Vec<TurnStuck>);

enum Heard {
    Event(TurnStuck),
    All(ReplyTo<Vec<TurnStuck>>),
}

impl Actor for Ear {
    type Message = Heard;

    async fn receive(&mut self, _ctx: &mut ActorContext<Heard>, message: Heard) -> Handled {
        match message {
            Heard::Event(event) => self.0.push(event),
            Heard::All(reply_to) => reply_to.tell(self.0.clone()),
        }
        Ok(Behavior::Same)
    }
}

fn listening(system: &ActorSystem) -> ActorRef<Heard> {
    let ear = system.spawn("ear", Ear::default());
    system.event_stream().subscribe(&ear.map(Heard::Event));
    ear
}

/// What has been published once it is `count` events. No timer: perhaps no thread is free for one.
async fn heard(ear: &ActorRef<Heard>, count: usize) -> Vec<TurnStuck> {
    loop {
        let events = ear.ask(Heard::All, WITHIN).await.unwrap();
        if events.len() >= count {
            return events;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn block(actor: &ActorRef<Receiver<()>>) -> Sender<()> {
    let (let_go, blocked) = channel();
    actor.tell(blocked);
    let_go
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_the_top_is_named_once_per_turn() {
    let system = ActorSystem::builder("dog").watchdog(LIMIT).start();
    let ear = listening(&system);
    let actor = system.spawn("blocks", Blocks);
    for turn in 1..=2 {
        let let_go = block(&actor);
        let events = heard(&ear, turn).await;
        assert_eq!(events.len(), turn);
        let event = events.last().unwrap();
        assert_eq!((&event.actor, event.actor_type), (actor.path(), std::any::type_name::<Blocks>()));
        assert!(event.age >= LIMIT);
        let tree = system.tree().await;
        let node = tree.find("/user/blocks").unwrap();
        assert_eq!(node.state, ActorState::Running);
        assert!(node.turn_age.unwrap() >= LIMIT, "{tree}");
        drop(let_go);
        // A further message must not come in the same run.
        while system.tree().await.find("/user/blocks").unwrap().state != ActorState::Idle {}
    }
    system.terminate().await;
}

/// Both threads of the runtime are held up by actors below an idle one: they are named all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_further_down_are_named_though_no_thread_is_free() {
    let system = ActorSystem::builder("dog").watchdog(LIMIT).start();
    let ear = listening(&system);
    let parent = system.spawn("parent", Parent);
    let children = parent.ask(|reply_to| reply_to, WITHIN).await.unwrap();
    let held: Vec<_> = children.iter().map(block).collect();
    let mut paths: Vec<_> = heard(&ear, 2).await.into_iter().map(|event| event.actor.to_string()).collect();
    paths.sort();
    assert_eq!(paths, ["/user/parent/one", "/user/parent/other"]);
    drop(held);
    system.terminate().await;
}
