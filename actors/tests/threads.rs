//! Real threads: what virtual time on one of them cannot show.

use std::time::Duration;

use actors::{
    Actor, ActorContext, ActorSystem, Ask, Behavior, BoxError, Handled, Mailbox, Props, ReplyTo, SupervisorStrategy,
};

const SENDERS: usize = 4;
const EACH: u64 = 20_000;
const WITHIN: Duration = Duration::from_secs(60);

/// Checks that each sender's numbers come in order; fails now and then.
struct InOrder {
    last: [u64; SENDERS],
    handled: u64,
}

enum Numbered {
    From(usize, u64),
    Fail,
    Handled(ReplyTo<u64>),
}

impl Actor for InOrder {
    type Message = Numbered;

    async fn receive(&mut self, _ctx: &mut ActorContext<Numbered>, message: Numbered) -> Handled {
        match message {
            Numbered::From(sender, number) => {
                assert_eq!(number, self.last[sender] + 1, "of sender {sender}");
                self.last[sender] = number;
                self.handled += 1;
            }
            Numbered::Fail => return Err(BoxError::from("now and then")),
            Numbered::Handled(reply_to) => reply_to.tell(self.handled),
        }
        Ok(Behavior::Same)
    }
}

/// Four tasks send through a mailbox of 64 while the actor fails and resumes: nothing is lost, each order is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn order_and_number_survive_contention_backpressure_and_failures() {
    let system = ActorSystem::new("threads");
    let props = Props::new(|| InOrder { last: [0; SENDERS], handled: 0 })
        .supervise(SupervisorStrategy::resume())
        .mailbox(Mailbox::bounded(64));
    let actor = system.spawn("in-order", props);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let actor = actor.clone();
            tokio::spawn(async move {
                for number in 1..=EACH {
                    actor.send(Numbered::From(sender, number)).await.unwrap();
                    if number % 1_000 == 0 {
                        actor.send(Numbered::Fail).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(ask_until_room(&actor).await, SENDERS as u64 * EACH);
    system.terminate().await;
    assert_eq!(system.event_stream().dead_letters_total(), 0);
}

async fn ask_until_room(actor: &actors::ActorRef<Numbered>) -> u64 {
    let (reply_to, answer) = ReplyTo::channel();
    actor.send(Numbered::Handled(reply_to)).await.unwrap();
    answer.await.unwrap()
}

/// Messages told while the actor stops are handled or counted, never lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_concurrent_stop_loses_no_count() {
    for _ in 0..50 {
        let system = ActorSystem::new("threads");
        let handled = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let actor = system.spawn("counts", Counts { handled: handled.clone() });
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let actor = actor.clone();
                tokio::spawn(async move {
                    for number in 0..200 {
                        actor.tell(sender == 0 && number == 100);
                        if number % 16 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        system.terminate().await;
        let counted = system.event_stream().dead_letters_total();
        let handled = handled.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(handled + counted, SENDERS as u64 * 200);
    }
}

/// Counts what it handles; `true` makes it stop.
struct Counts {
    handled: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Actor for Counts {
    type Message = bool;

    async fn receive(&mut self, _ctx: &mut ActorContext<bool>, stop: bool) -> Handled {
        self.handled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(if stop { Behavior::Stopped } else { Behavior::Same })
    }
}

/// Asks from many tasks while the actor stops: each ends with an answer or the reason, none waits for its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn asks_across_a_stop_all_end_long_before_their_time() {
    for _ in 0..50 {
        let system = ActorSystem::new("threads");
        let actor = system.spawn("in-order", InOrder { last: [0; SENDERS], handled: 0 });
        let askers: Vec<_> = (0..SENDERS)
            .map(|asker| {
                let actor = actor.clone();
                tokio::spawn(async move {
                    for number in 0..50 {
                        if asker == 0 && number == 25 {
                            actor.tell(Numbered::Fail); // stops it
                        }
                        match actor.ask(Numbered::Handled, WITHIN).await {
                            Ok(0) | Err(actors::AskError::Stopped) => {}
                            other => panic!("{other:?}"),
                        }
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.await.unwrap();
        }
    }
}

/// Room for one; holds a message until it is let go.
struct Holds;

enum Hold {
    Until(Ask<()>),
    Answer(ReplyTo<()>),
}

impl Actor for Holds {
    type Message = Hold;

    async fn receive(&mut self, _ctx: &mut ActorContext<Hold>, message: Hold) -> Handled {
        match message {
            Hold::Until(let_go) => let_go.await?,
            Hold::Answer(reply_to) => reply_to.tell(()),
        }
        Ok(Behavior::Same)
    }
}

/// The actor takes its only message in the very moment in which the next sender finds no room: that sender has to get
/// the room, because the actor waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_made_while_a_sender_begins_to_wait_is_not_missed() {
    let system = ActorSystem::new("threads");
    let actor = system.spawn("holds", Props::new(|| Holds).mailbox(Mailbox::bounded(1)));
    // Sends from outside the runtime's threads, which so run the actor at the same time.
    // A machine that has much to do has fewer rounds: each is some switches of threads.
    let enough = system.clock().now() + WITHIN / 60;
    for round in 0..10_000_u32 {
        if round > 500 && system.clock().now() > enough {
            break;
        }
        let (let_go, wait) = ReplyTo::channel();
        actor.send(Hold::Until(wait)).await.unwrap();
        for _ in 0..(round % 512) * 4 {
            std::hint::spin_loop();
        }
        let (reply_to, answer) = ReplyTo::channel();
        let sent = system.clock().timeout(WITHIN / 10, actor.send(Hold::Answer(reply_to))).await;
        sent.expect("nobody else wants the room").unwrap();
        let_go.tell(());
        answer.await.unwrap();
    }
}

/// Lives as long as its actor.
struct Held(std::sync::Arc<()>);

impl Actor for Held {
    type Message = ();

    async fn receive(&mut self, ctx: &mut ActorContext<()>, (): ()) -> Handled {
        ctx.spawn_anonymous(Held(self.0.clone()));
        std::future::pending::<()>().await;
        Ok(Behavior::Same)
    }
}

/// A runtime that ends takes its actors along, those that wait and those in the middle of a handler, with their children.
#[test]
fn nothing_an_actor_holds_outlives_its_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let held = std::sync::Arc::new(());
    let system = {
        let _entered = runtime.enter();
        ActorSystem::new("threads")
    };
    for number in 0..4 {
        let actor = system.spawn_anonymous(Held(held.clone()));
        if number % 2 == 0 {
            actor.tell(());
        }
    }
    while std::sync::Arc::strong_count(&held) < 7 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
    drop(system);
}
