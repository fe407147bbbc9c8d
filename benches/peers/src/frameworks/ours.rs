//! `actors`, as anyone uses it: its public interface, its defaults, nothing tuned.
//!
//! The mailbox is the default one, bounded; where a workload sends more than fits without waiting, the actor's props say
//! `Mailbox::unbounded()` and the sender stays with `tell`, as with every other library. [`Bounded`] keeps the bound
//! and has those senders wait with `send`. An ask has a time limit, as it must; no other library's has one here.

use std::cell::OnceCell;
use std::sync::RwLock;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Mailbox, Props, ReplyTo};

use crate::body::{Body, Reaction, Sky, SkyMsg};
use crate::framework::{Flavor, Framework, Slot, tokio_block_on};

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// With the mailbox of the default, unless it would overflow.
pub struct Ours;

/// With the mailbox of the default, always: who floods waits for room.
pub struct Bounded;

/// The system of this run, for threads that have not looked yet.
static SYSTEM: RwLock<Option<ActorSystem>> = RwLock::new(None);

thread_local! {
    /// What a program would hand to whoever spawns; without it a lock would be part of the price of a spawn.
    static HERE: OnceCell<ActorSystem> = const { OnceCell::new() };
}

fn with_system<T>(f: impl FnOnce(&ActorSystem) -> T) -> T {
    let look = || SYSTEM.read().expect("not poisoned").clone().expect("a run has a system");
    HERE.with(|here| f(here.get_or_init(look)))
}

/// Runs the driver on a fresh runtime with a fresh system. The measured part ends before the system does.
fn block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    std::thread::spawn(move || {
        // A thread of its own: with one worker this is the thread that runs the actors, and it must not know the
        // system of the run before.
        tokio_block_on(flavor, async move {
            *SYSTEM.write().expect("not poisoned") = Some(ActorSystem::new("contest"));
            driver.await
        })
    })
    .join()
    .expect("the run")
}

pub struct Cell<F: Framework>(Body<F>);

pub enum Msg {
    Tell(u64),
    Ask(u64, ReplyTo<u64>),
    Stop,
}

impl<F: Framework> Actor for Cell<F> {
    type Message = Msg;

    async fn receive(&mut self, _: &mut ActorContext<Msg>, msg: Msg) -> Handled {
        match msg {
            Msg::Tell(msg) => self.0.on_tell(msg),
            Msg::Ask(msg, reply_to) => reply_to.tell(self.0.on_ask(msg)),
            Msg::Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}

pub struct SkyCell(Sky<Ours>);

impl Actor for SkyCell {
    type Message = SkyMsg;

    async fn receive(&mut self, ctx: &mut ActorContext<SkyMsg>, msg: SkyMsg) -> Handled {
        match self.0.react(msg) {
            Reaction::Split(parts) => {
                for part in parts.starts() {
                    let child = ctx.spawn_anonymous(SkyCell(Sky::below(ctx.this().clone())));
                    child.tell(part);
                }
                Ok(Behavior::Same)
            }
            Reaction::Wait => Ok(Behavior::Same),
            Reaction::Done => Ok(Behavior::Stopped),
        }
    }
}

impl Framework for Ours {
    const NAME: &'static str = "actors";
    const MAILBOX: &'static str = "bounded(65536), unbounded where flooded";

    type Ref = ActorRef<Msg>;
    type Sky = ActorRef<SkyMsg>;

    fn block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        block_on(flavor, driver)
    }

    async fn spawn(body: Body<Self>, _: Slot) -> Self::Ref {
        if body.expects() <= Mailbox::DEFAULT_CAPACITY as u64 {
            return with_system(|system| system.spawn_anonymous(Cell(body)));
        }
        // The workload waits for the sum: nothing runs away.
        let props = Props::from(Cell(body)).mailbox(Mailbox::unbounded());
        with_system(|system| system.spawn_anonymous(props))
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.tell(Msg::Tell(msg));
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        to.ask(|reply_to| Msg::Ask(msg, reply_to), ANSWER_WITHIN).await.expect("alive")
    }

    fn stop(to: Self::Ref) {
        to.tell(Msg::Stop);
    }

    async fn spawn_sky(sky: Sky<Self>, _: Option<Slot>) -> Self::Sky {
        with_system(|system| system.spawn_anonymous(SkyCell(sky)))
    }

    fn tell_sky(to: &Self::Sky, msg: SkyMsg) {
        to.tell(msg);
    }
}

impl Framework for Bounded {
    const NAME: &'static str = "actors-send";
    const MAILBOX: &'static str = "bounded(65536), send";
    const BOUNDED: bool = true;

    type Ref = ActorRef<Msg>;
    type Sky = ();

    fn block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        block_on(flavor, driver)
    }

    async fn spawn(body: Body<Self>, _: Slot) -> Self::Ref {
        with_system(|system| system.spawn_anonymous(Cell(body)))
    }

    fn tell(to: &Self::Ref, msg: u64) {
        to.tell(Msg::Tell(msg));
    }

    async fn send(to: &Self::Ref, msg: u64) {
        assert!(to.send(Msg::Tell(msg)).await.is_ok(), "alive");
    }

    async fn ask(to: &Self::Ref, msg: u64) -> u64 {
        to.ask(|reply_to| Msg::Ask(msg, reply_to), ANSWER_WITHIN).await.expect("alive")
    }

    fn stop(to: Self::Ref) {
        to.tell(Msg::Stop);
    }
}
