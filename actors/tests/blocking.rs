//! Work that blocks beside an actor.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorSystem, AskError, Behavior, BlockingFull, BoxError, Handled, Props, ReplyTo,
    SupervisorStrategy,
};

use crate::script::{Diary, Order, Scripted};

const WITHIN: Duration = Duration::from_secs(60);

fn restarting(diary: &Diary) -> Props<Scripted> {
    let made = diary.clone();
    Props::new(move || Scripted::new("it", &made)).supervise(SupervisorStrategy::restart())
}

#[test]
fn in_a_kit_the_result_comes_back_as_a_message_on_the_tests_own_thread() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", restarting(&diary));
    actor.tell(Order::run(|_, ctx| {
        let work = || std::thread::current().id();
        let home = work();
        ctx.spawn_blocking(work, move |id| Order::note(format!("at home: {}", id == home))).unwrap();
    }));
    kit.settle();
    assert_eq!(diary.read(), ["it started", "it at home: true"]);
}

#[test]
fn a_panic_in_the_work_fails_the_actor() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", restarting(&diary));
    actor.tell(Order::run(|_, ctx| ctx.spawn_blocking(|| panic!("in the work"), |()| Order::Stop).unwrap()));
    kit.settle();
    assert_eq!(diary.read(), ["it started", "it dropped", "it started"]);
}

#[test]
fn an_actor_has_so_much_of_it_and_not_more() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", restarting(&diary));
    actor.tell(Order::run(|this, ctx| {
        let full = (0..2_000).find_map(|count| {
            let refused = ctx.spawn_blocking(|| (), |()| Order::Stop).err()?;
            Some((count, refused))
        });
        this.note(format!("{full:?}"));
    }));
    kit.settle();
    assert_eq!(diary.read()[1], format!("it {:?}", Some((1_024, BlockingFull { limit: 1_024 }))));
}

/// Does work that blocks until the test lets it go on.
struct Worker;

enum WorkerMessage {
    Work(Work, ReplyTo<&'static str>),
    Done(Output, ReplyTo<&'static str>),
    Ping(ReplyTo<()>),
    Fail,
}

struct Work {
    begun: Sender<()>,
    let_go: Receiver<()>,
    output_dropped: Sender<()>,
}

/// Says when it is dropped.
struct Output(Sender<()>);

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Actor for Worker {
    type Message = WorkerMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<WorkerMessage>, message: WorkerMessage) -> Handled {
        match message {
            WorkerMessage::Work(Work { begun, let_go, output_dropped }, reply_to) => {
                let work = move || {
                    let _ = begun.send(());
                    let _ = let_go.recv_timeout(WITHIN);
                    Output(output_dropped)
                };
                ctx.spawn_blocking(work, |output| WorkerMessage::Done(output, reply_to))?;
            }
            WorkerMessage::Done(output, reply_to) => {
                drop(output);
                reply_to.tell("done");
            }
            WorkerMessage::Ping(reply_to) => reply_to.tell(()),
            WorkerMessage::Fail => return Err(BoxError::from("broken")),
        }
        Ok(Behavior::Same)
    }
}

/// One thread: were the work done on it, nobody would answer before the work is done.
#[tokio::test]
async fn the_actor_serves_while_the_work_blocks() {
    let system = ActorSystem::new("blocking");
    let worker = system.spawn("worker", Worker);
    let ((begun, _), (go, let_go), (output_dropped, _)) = (channel(), channel(), channel());
    let work = Work { begun, let_go, output_dropped };
    let done = worker.ask(|reply_to| WorkerMessage::Work(work, reply_to), WITHIN);
    worker.ask(WorkerMessage::Ping, WITHIN).await.unwrap();
    go.send(()).expect("the work waits for it still");
    assert_eq!(done.await, Ok("done"));
    system.terminate().await;
}

#[tokio::test]
async fn what_comes_out_after_the_life_is_over_is_dropped() {
    let system = ActorSystem::new("blocking");
    let worker = system.spawn("worker", Props::new(|| Worker).supervise(SupervisorStrategy::restart()));
    let ((begun, has_begun), (go, let_go), (output_dropped, is_dropped)) = (channel(), channel(), channel());
    let work = Work { begun, let_go, output_dropped };
    let done = worker.ask(|reply_to| WorkerMessage::Work(work, reply_to), WITHIN);
    worker.ask(WorkerMessage::Ping, WITHIN).await.unwrap();
    while has_begun.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    worker.tell(WorkerMessage::Fail);
    worker.ask(WorkerMessage::Ping, WITHIN).await.unwrap();
    go.send(()).expect("the work cannot be interrupted");
    // Its output is nobody's.
    while is_dropped.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(done.await, Err(AskError::NoReply));
    system.terminate().await;
}

/// Twenty pieces of work, the first of which wait until sixteen are inside.
#[tokio::test]
async fn sixteen_run_side_by_side() {
    #[derive(Default)]
    struct Gate {
        inside: Mutex<usize>,
        changed: Condvar,
        most: AtomicUsize,
    }
    let system = ActorSystem::new("blocking");
    let diary = Diary::default();
    let gate = Arc::new(Gate::default());
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let actor = system.spawn("actor", Scripted::new("it", &diary));
    let shared = gate.clone();
    actor.tell(Order::run(move |_, ctx| {
        for _ in 0..20 {
            let (gate, done) = (shared.clone(), done.clone());
            let work = move || {
                let mut inside = gate.inside.lock().unwrap();
                *inside += 1;
                gate.most.fetch_max(*inside, Ordering::Relaxed);
                gate.changed.notify_all();
                // Once sixteen have been inside nobody waits any more.
                let all = |_: &mut usize| gate.most.load(Ordering::Relaxed) < 16;
                let (mut inside, _) = gate.changed.wait_timeout_while(inside, WITHIN, all).unwrap();
                *inside -= 1;
                done.send(()).unwrap();
            };
            ctx.spawn_blocking(work, |()| Order::note("done")).unwrap();
        }
    }));
    for _ in 0..20 {
        finished.recv().await.unwrap();
    }
    assert_eq!(gate.most.load(Ordering::Relaxed), 16);
    system.terminate().await;
}
