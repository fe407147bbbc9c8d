//! Routers: who gets what, and what happens when somebody comes or goes.

mod group;
mod logic;
mod pool;
mod threads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, Behavior, BoxError, Handled, Mailbox, PoolRouter, Props, ReplyTo, SupervisorStrategy,
};

const SECOND: Duration = Duration::from_secs(1);

/// Who handled what, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(String, u64)>>>);

impl Log {
    /// All entries since the last call.
    fn read(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// As [`read`](Log::read), by who it was.
    fn by_worker(&self) -> BTreeMap<String, Vec<u64>> {
        let mut jobs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        self.read().into_iter().for_each(|(worker, job)| jobs.entry(worker).or_default().push(job));
        jobs
    }

    /// As [`by_worker`](Log::by_worker), in short.
    fn text(&self) -> String {
        let jobs = self.by_worker().into_iter().map(|(worker, jobs)| format!("{worker}{jobs:?}"));
        jobs.collect::<Vec<_>>().join(" ")
    }
}

enum Work {
    Job(u64),
    /// Keeps the worker busy that long.
    Hold(Duration),
    Who(ReplyTo<String>),
    Fail,
    Stop,
}

struct Worker(Log);

impl Actor for Worker {
    type Message = Work;

    async fn receive(&mut self, ctx: &mut ActorContext<Work>, work: Work) -> Handled {
        match work {
            Work::Job(job) => self.0.0.lock().unwrap().push((ctx.path().name().to_owned(), job)),
            Work::Hold(during) => ctx.clock().sleep(during).await,
            Work::Who(reply_to) => reply_to.tell(ctx.path().name().to_owned()),
            Work::Fail => return Err(BoxError::from("told to fail")),
            Work::Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}

fn workers(size: usize, log: &Log) -> PoolRouter<Worker> {
    workers_with(size, log, Mailbox::default(), SupervisorStrategy::stop())
}

fn workers_with(size: usize, log: &Log, mailbox: Mailbox, strategy: SupervisorStrategy) -> PoolRouter<Worker> {
    let log = log.clone();
    PoolRouter::new(size, move || {
        let log = log.clone();
        Props::new(move || Worker(log.clone())).mailbox(mailbox).supervise(strategy.clone())
    })
}

fn dead_letters(kit: &TestKit) -> u64 {
    kit.system().event_stream().dead_letters_total()
}
