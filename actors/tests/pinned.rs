//! Actors with a thread of their own: real threads, because they are the point.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ThreadId};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorSystem, Behavior, BoxError, Handled, LocalActor, Props, ReplyTo, Signal,
    SupervisorStrategy,
};

const WITHIN: Duration = Duration::from_secs(60);

thread_local! {
    /// Says that its thread ends.
    static LAST: RefCell<Option<Says>> = const { RefCell::new(None) };
}

/// Says on which thread it was dropped.
struct Says(Sender<ThreadId>);

impl Drop for Says {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

struct Blocks;

enum BlocksMessage {
    Until(Receiver<()>, ReplyTo<bool>),
    Thread(ReplyTo<ThreadId>),
    Sleep(ReplyTo<()>),
    SayWhenOver(Sender<ThreadId>),
    Fail,
}

impl Actor for Blocks {
    type Message = BlocksMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<BlocksMessage>, message: BlocksMessage) -> Handled {
        match message {
            BlocksMessage::Until(let_go, reply_to) => reply_to.tell(let_go.recv_timeout(WITHIN).is_ok()),
            BlocksMessage::Thread(reply_to) => reply_to.tell(thread::current().id()),
            BlocksMessage::Sleep(reply_to) => {
                ctx.clock().sleep(Duration::from_millis(1)).await;
                reply_to.tell(());
            }
            BlocksMessage::SayWhenOver(over) => LAST.set(Some(Says(over))),
            BlocksMessage::Fail => return Err(BoxError::from("broken")),
        }
        Ok(Behavior::Same)
    }
}

fn restarting() -> Props<Blocks> {
    Props::new(|| Blocks).supervise(SupervisorStrategy::restart())
}

/// The runtime has one thread. Were it the pinned actor's too, nobody would let it go.
#[tokio::test]
async fn while_it_blocks_the_others_go_on() {
    let system = ActorSystem::new("pinned");
    let pinned = system.spawn("pinned", restarting().pinned());
    let (let_go, blocked) = channel();
    let answer = pinned.ask(|reply_to| BlocksMessage::Until(blocked, reply_to), WITHIN);
    let answer = tokio::spawn(answer); // which polls it, as whoever runs an actor he asks would
    tokio::task::yield_now().await;
    let other = system.spawn("other", restarting());
    let home = other.ask(BlocksMessage::Thread, WITHIN).await.unwrap();
    assert_eq!(home, thread::current().id());
    let_go.send(()).unwrap();
    assert!(answer.await.unwrap().unwrap(), "it was let go");
    pinned.ask(BlocksMessage::Sleep, WITHIN).await.expect("its thread has timers");
    system.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_thread_is_the_same_over_restarts_and_ends_with_it() {
    let system = ActorSystem::new("pinned");
    let pinned = system.spawn("pinned", restarting().pinned());
    let own = pinned.ask(BlocksMessage::Thread, WITHIN).await.unwrap();
    let (over, is_over) = channel();
    pinned.tell(BlocksMessage::SayWhenOver(over));
    for _ in 0..3 {
        pinned.tell(BlocksMessage::Fail);
        assert_eq!(pinned.ask(BlocksMessage::Thread, WITHIN).await, Ok(own));
    }
    assert!(is_over.try_recv().is_err());
    system.terminate().await;
    assert_eq!(is_over.recv_timeout(WITHIN), Ok(own));
}

/// Its state stays on its thread, which the compiler would not have it leave.
struct Local {
    handled: Rc<RefCell<u32>>,
    _says: Says,
}

enum LocalMessage {
    Count(ReplyTo<(u32, ThreadId)>),
    Fail,
    Hang(ReplyTo<()>),
}

impl LocalActor for Local {
    type Message = LocalMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<LocalMessage>, message: LocalMessage) -> Handled {
        let handled = self.handled.clone();
        tokio::task::yield_now().await; // an `Rc` is held over it
        *handled.borrow_mut() += 1;
        match message {
            LocalMessage::Count(reply_to) => reply_to.tell((*handled.borrow(), thread::current().id())),
            LocalMessage::Fail => return Err(BoxError::from("broken")),
            LocalMessage::Hang(reply_to) => {
                reply_to.tell(());
                std::future::pending().await
            }
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<LocalMessage>, signal: Signal) -> Handled {
        assert!(matches!(signal, Signal::PreRestart | Signal::PostStop));
        Ok(Behavior::Same)
    }
}

fn local(dropped: Sender<ThreadId>) -> Props<actors::Local<Local>> {
    Props::local(move |_| Local { handled: Rc::default(), _says: Says(dropped.clone()) })
        .supervise(SupervisorStrategy::restart())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_state_is_made_used_and_dropped_on_one_thread() {
    let system = ActorSystem::new("pinned");
    let (dropped, is_dropped) = channel();
    let actor = system.spawn("local", local(dropped));
    let (_, own) = actor.ask(LocalMessage::Count, WITHIN).await.unwrap();
    assert_eq!(actor.ask(LocalMessage::Count, WITHIN).await, Ok((2, own)));
    actor.tell(LocalMessage::Fail);
    assert_eq!(actor.ask(LocalMessage::Count, WITHIN).await, Ok((1, own)), "a state of the next life");
    assert_eq!(is_dropped.recv_timeout(WITHIN), Ok(own));
    let tree = system.tree().await;
    assert_eq!(tree.find("/user/local").unwrap().actor_type, std::any::type_name::<Local>());
    system.terminate().await;
    assert_eq!(is_dropped.recv_timeout(WITHIN), Ok(own));
}

/// The runtime goes away under a system with a handler that is suspended.
#[test]
fn a_local_state_stays_at_home_even_when_nobody_ends_it_in_order() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (dropped, is_dropped) = channel();
    let own = runtime.block_on(async {
        let system = ActorSystem::new("pinned");
        let actor = system.spawn("local", local(dropped));
        let (_, own) = actor.ask(LocalMessage::Count, WITHIN).await.unwrap();
        actor.ask(LocalMessage::Hang, WITHIN).await.unwrap();
        own
    });
    drop(runtime);
    assert_eq!(is_dropped.recv_timeout(WITHIN), Ok(own));
}

#[test]
fn in_a_kit_it_runs_on_the_tests_own_thread() {
    let kit = TestKit::new();
    let (dropped, is_dropped) = channel();
    let actor = kit.spawn("local", local(dropped));
    let home = thread::current().id();
    assert_eq!(kit.block_on(actor.ask(LocalMessage::Count, WITHIN)), Ok((1, home)));
    let pinned = kit.spawn("pinned", restarting().pinned());
    assert_eq!(kit.block_on(pinned.ask(BlocksMessage::Thread, WITHIN)), Ok(home));
    kit.block_on(kit.system().terminate());
    assert_eq!(is_dropped.try_recv(), Ok(home));
}
