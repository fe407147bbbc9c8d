//! Telling: messages from one and from eight tasks to one actor, beside a task that reads the same from a channel.

#![allow(missing_docs, reason = "a bench is a program")]

use std::hint::black_box;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Mailbox, Props, ReplyTo};
use benches::runtime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

const MESSAGES: u64 = 100_000;
const ROOM: usize = 1_024;
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Adder {
    sum: u64,
}

enum AdderMessage {
    Add(u64),
    /// Answers the sum and starts again from zero.
    Take(ReplyTo<u64>),
}

impl Actor for Adder {
    type Message = AdderMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            AdderMessage::Add(number) => self.sum += black_box(number),
            AdderMessage::Take(reply_to) => reply_to.tell(std::mem::take(&mut self.sum)),
        }
        Ok(Behavior::Same)
    }
}

enum BareMessage {
    Add(u64),
    Take(oneshot::Sender<u64>),
}

/// What the actor is, for a task that reads a channel.
#[derive(Default)]
struct BareAdder {
    sum: u64,
}

impl BareAdder {
    fn receive(&mut self, message: BareMessage) {
        match message {
            BareMessage::Add(number) => self.sum += black_box(number),
            BareMessage::Take(reply_to) => reply_to.send(std::mem::take(&mut self.sum)).expect("the bench waits"),
        }
    }
}

/// Somewhere to send numbers to, and to fetch their sum from.
trait Sum: Clone + Send + 'static {
    fn add(&self, number: u64) -> impl Future<Output = ()> + Send;
    fn take(&self) -> impl Future<Output = u64> + Send;
}

/// An actor that is told.
#[derive(Clone)]
struct Told(ActorRef<AdderMessage>);

impl Sum for Told {
    async fn add(&self, number: u64) {
        self.0.tell(AdderMessage::Add(number));
    }

    async fn take(&self) -> u64 {
        self.0.ask(AdderMessage::Take, ANSWER_WITHIN).await.expect("an answer")
    }
}

/// An actor whose mailbox has a bound: the sender waits for room.
#[derive(Clone)]
struct Sent(ActorRef<AdderMessage>);

impl Sum for Sent {
    async fn add(&self, number: u64) {
        assert!(self.0.send(AdderMessage::Add(number)).await.is_ok(), "it has stopped");
    }

    async fn take(&self) -> u64 {
        self.0.ask(AdderMessage::Take, ANSWER_WITHIN).await.expect("an answer")
    }
}

impl Sum for mpsc::UnboundedSender<BareMessage> {
    async fn add(&self, number: u64) {
        assert!(self.send(BareMessage::Add(number)).is_ok(), "it has stopped");
    }

    async fn take(&self) -> u64 {
        let (reply_to, sum) = oneshot::channel();
        assert!(self.send(BareMessage::Take(reply_to)).is_ok(), "it has stopped");
        sum.await.expect("an answer")
    }
}

impl Sum for mpsc::Sender<BareMessage> {
    async fn add(&self, number: u64) {
        assert!(self.send(BareMessage::Add(number)).await.is_ok(), "it has stopped");
    }

    async fn take(&self) -> u64 {
        let (reply_to, sum) = oneshot::channel();
        assert!(self.send(BareMessage::Take(reply_to)).await.is_ok(), "it has stopped");
        sum.await.expect("an answer")
    }
}

fn tell(c: &mut Criterion) {
    let runtime = runtime();
    let _inside = runtime.enter();
    let system = ActorSystem::new("tell");
    // Nothing runs away: the bench waits for the sum of one round before it sends the next.
    let unbounded = system.spawn("unbounded", Props::new(Adder::default).mailbox(Mailbox::unbounded()));
    let (channel, mut inbox) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut adder = BareAdder::default();
        while let Some(message) = inbox.recv().await {
            adder.receive(message);
        }
    });
    compare(c, &runtime, "tell", &Told(unbounded), &channel);

    let bounded = system.spawn("bounded", Props::new(Adder::default).mailbox(Mailbox::bounded(ROOM)));
    let (channel, mut inbox) = mpsc::channel(ROOM);
    tokio::spawn(async move {
        let mut adder = BareAdder::default();
        while let Some(message) = inbox.recv().await {
            adder.receive(message);
        }
    });
    compare(c, &runtime, "send, room for 1024", &Sent(bounded), &channel);
    runtime.block_on(system.terminate());
}

fn compare(c: &mut Criterion, runtime: &Runtime, verb: &str, actor: &impl Sum, channel: &impl Sum) {
    for senders in [1, 8] {
        let mut group = c.benchmark_group(format!("{verb}, {senders} sending"));
        group.throughput(Throughput::Elements(MESSAGES));
        group.bench_function("actor", |b| b.iter(|| send_all(runtime, senders, actor)));
        group.bench_function("bare tokio channel", |b| b.iter(|| send_all(runtime, senders, channel)));
    }
}

/// `senders` tasks share [`MESSAGES`] between them; returns when all have been added up.
fn send_all<S: Sum>(runtime: &Runtime, senders: u64, to: &S) {
    let each = MESSAGES / senders;
    let send = |_| {
        let to = to.clone();
        runtime.spawn(async move {
            for number in 0..each {
                to.add(number).await;
            }
        })
    };
    let sending: Vec<_> = (0..senders).map(send).collect();
    let sum = runtime.block_on(async {
        for task in sending {
            task.await.expect("no sender panics");
        }
        to.take().await
    });
    assert_eq!(sum, senders * (each * (each - 1) / 2), "messages lost");
}

criterion_group!(benches, tell);
criterion_main!(benches);
