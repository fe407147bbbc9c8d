//! Asking: one question at a time, and 256 askers over 16 actors, beside a task with a oneshot per question.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a bench is a program")]

use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, ReplyTo};
use benches::runtime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

struct Successor;

enum SuccessorMessage {
    Of(u64, ReplyTo<u64>),
}

impl Actor for Successor {
    type Message = SuccessorMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        let SuccessorMessage::Of(number, reply_to) = msg;
        reply_to.tell(number + 1);
        Ok(Behavior::Same)
    }
}

type Question = (u64, oneshot::Sender<u64>);
type Bare = mpsc::Sender<Question>;

/// The actor without the actor: a task, a channel, a oneshot per question.
fn spawn_bare() -> Bare {
    let (ask, mut questions) = mpsc::channel::<Question>(1_024);
    tokio::spawn(async move {
        while let Some((number, reply_to)) = questions.recv().await {
            let _ = reply_to.send(number + 1); // an asker that gave up is no concern here
        }
    });
    ask
}

/// Somewhere to send a number to and get the next one back.
trait Asked: Clone + Send + Sync + 'static {
    fn successor(&self, number: u64) -> impl Future<Output = u64> + Send;
}

impl Asked for ActorRef<SuccessorMessage> {
    async fn successor(&self, number: u64) -> u64 {
        self.ask(|reply_to| SuccessorMessage::Of(number, reply_to), ANSWER_WITHIN).await.expect("an answer")
    }
}

impl Asked for Bare {
    async fn successor(&self, number: u64) -> u64 {
        let (reply_to, answer) = oneshot::channel();
        self.send((number, reply_to)).await.expect("it listens");
        answer.await.expect("an answer")
    }
}

/// Like an actor's ask, this one ends in time.
#[derive(Clone)]
struct InTime(Bare);

impl Asked for InTime {
    async fn successor(&self, number: u64) -> u64 {
        timeout(ANSWER_WITHIN, self.0.successor(number)).await.expect("in time")
    }
}

fn ask(c: &mut Criterion) {
    let runtime = runtime();
    let _inside = runtime.enter();
    let system = ActorSystem::new("ask");
    for (name, askers, asked, each) in [("one at a time", 1, 1, 10_000), ("256 askers, 16 asked", 256, 16, 100)] {
        let mut group = c.benchmark_group(format!("ask, {name}"));
        group.throughput(Throughput::Elements(askers as u64 * each));
        let actors: Vec<_> = (0..asked).map(|_| system.spawn_anonymous(Successor)).collect();
        let tasks: Vec<_> = (0..asked).map(|_| spawn_bare()).collect();
        let in_time: Vec<_> = tasks.iter().cloned().map(InTime).collect();
        group.bench_function("actor", |b| b.iter(|| ask_all(&runtime, askers, each, &actors)));
        group.bench_function("tokio task, oneshot", |b| b.iter(|| ask_all(&runtime, askers, each, &tasks)));
        group.bench_function("tokio task, oneshot, timeout", |b| b.iter(|| ask_all(&runtime, askers, each, &in_time)));
    }
    runtime.block_on(system.terminate());
}

/// `askers` tasks ask `each` questions one after another, spread over all of `asked`; returns when all are answered.
fn ask_all<A: Asked>(runtime: &Runtime, askers: usize, each: u64, asked: &[A]) {
    let ask = |asker: usize| {
        let asked = asked.to_vec();
        runtime.spawn(async move {
            let mut sum = 0;
            for number in 0..each {
                sum += asked[(asker + number as usize) % asked.len()].successor(number).await;
            }
            sum
        })
    };
    for asking in (0..askers).map(ask).collect::<Vec<_>>() {
        let sum = runtime.block_on(asking).expect("no asker panics");
        assert_eq!(sum, each * (each + 1) / 2, "wrong answers");
    }
}

criterion_group!(benches, ask);
criterion_main!(benches);
