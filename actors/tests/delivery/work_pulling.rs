//! Workers that pull: each job is done, whoever dies, and nobody gets more than it asked for.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actors::delivery::{
    ConsumerController, ConsumerControllerMessage, ConsumerControllerProps, ConsumerSettings, Delivery,
    InMemoryProducerQueue, RequestNext, WorkPullingController, WorkPullingControllerMessage, WorkPullingSettings,
    WorkerStats,
};
use actors::testkit::{TestKit, TestProbe};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Props, ServiceKey, SupervisorStrategy};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::site::{Crash, Site};
use super::wire::{Faults, Gauge, Wire, WireMessage};

type Job = u64;
/// How often each job was done, and by how many different workers.
type Done = Arc<Mutex<BTreeMap<Job, Vec<u64>>>>;

struct Foreman {
    last: Job,
}

impl Actor for Foreman {
    type Message = RequestNext<Job>;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, next: RequestNext<Job>) -> Handled {
        let job = next.seq_nr();
        if job <= self.last {
            next.send(job);
        }
        Ok(Behavior::Same)
    }
}

struct Worker {
    name: u64,
    done: Done,
}

enum WorkerMessage {
    Job(Delivery<Job>),
    Finished(Delivery<Job>),
}

impl Actor for Worker {
    type Message = WorkerMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<WorkerMessage>, message: WorkerMessage) -> Handled {
        match message {
            WorkerMessage::Job(delivery) => {
                let work = Duration::from_millis(100 + 37 * **delivery.message() % 400);
                ctx.timers().start_single("work", work, WorkerMessage::Finished(delivery));
            }
            WorkerMessage::Finished(delivery) => {
                self.done.lock().entry(**delivery.message()).or_default().push(self.name);
                delivery.confirm();
            }
        }
        Ok(Behavior::Same)
    }
}

/// A worker with its controller. It stops for good when it crashes, unless it is `supervised`.
fn worker(
    kit: &TestKit,
    name: u64,
    done: &Done,
    supervised: bool,
    props: ConsumerControllerProps<Job>,
    wire: Option<ActorRef<WireMessage<Job>>>,
) -> ActorRef<Crash> {
    let done = done.clone();
    let props = Props::setup(move |ctx| {
        let controller = ctx.spawn("controller", props.clone());
        if let Some(wire) = &wire {
            wire.tell(WireMessage::ConsumerIs(controller.map(ConsumerControllerMessage::FromProducer)));
        }
        let worker = ctx.spawn("worker", Worker { name, done: done.clone() });
        controller.tell(ConsumerControllerMessage::Start { deliver_to: worker.map(WorkerMessage::Job) });
        Site
    });
    let strategy = if supervised { SupervisorStrategy::restart() } else { SupervisorStrategy::stop() };
    kit.spawn(format!("worker-{name}"), props.supervise(strategy))
}

type Controller = ActorRef<WorkPullingControllerMessage<Job>>;

fn stats(kit: &TestKit, controller: &Controller) -> WorkerStats {
    let asked = controller.ask(WorkPullingControllerMessage::GetWorkerStats, Duration::from_secs(1));
    kit.block_on(asked).unwrap()
}

#[test]
fn each_job_is_done_over_any_wire_whoever_dies() {
    for seed in 0..60 {
        let kit = TestKit::new();
        let mut random = SmallRng::seed_from_u64(seed);
        let (jobs, done) = (30, Done::default());
        let controller = WorkPullingController::props("jobs", WorkPullingSettings::default());
        let controller = kit.spawn("controller", controller);
        let foreman = kit.spawn("foreman", Foreman { last: jobs });
        controller.tell(WorkPullingControllerMessage::Start { producer: foreman });
        let workers: Vec<_> = (0..4)
            .map(|name| {
                // Each worker has a wire of its own. The end of a worker without supervision is seen through its
                // wire's end, as it is through that of a connection.
                let faults = Faults { delay_ms: 300, ..Faults::of_seed(seed * 10 + name) };
                let wire = kit.spawn(format!("wire-{name}"), Wire::props(seed, faults, Gauge::default()));
                wire.tell(WireMessage::ProducerIs(controller.map(WorkPullingControllerMessage::FromWorker)));
                let props = ConsumerController::props(ConsumerSettings::default())
                    .register_to(wire.map(WireMessage::ToProducer));
                (worker(&kit, name, &done, name % 2 == 0, props, Some(wire.clone())), wire)
            })
            .collect();
        for (site, wire) in &workers[1..] {
            kit.advance(Duration::from_millis(random.random_range(0..3_000)));
            site.tell(Crash);
            kit.settle();
            if site.is_stopped() {
                wire.tell(WireMessage::Cut);
            }
        }

        for _ in 0..200 {
            kit.advance(Duration::from_secs(30));
            if stats(&kit, &controller).with_workers + stats(&kit, &controller).waiting == 0 {
                break;
            }
        }

        let done = done.lock();
        assert!(done.keys().copied().eq(1..=jobs), "seed {seed}: {done:?}");
        assert_eq!(stats(&kit, &controller), WorkerStats { workers: 2, waiting: 0, with_workers: 0 }, "seed {seed}");
    }
}

/// The controller, and a test that plays the producer.
fn controller(kit: &TestKit, buffer: usize) -> (Controller, TestProbe<RequestNext<Job>>) {
    let settings = WorkPullingSettings { buffer: NonZeroUsize::new(buffer).unwrap(), ..WorkPullingSettings::default() };
    let controller = kit.spawn("controller", WorkPullingController::props("jobs", settings));
    let asked = kit.probe();
    controller.tell(WorkPullingControllerMessage::Start { producer: asked.actor_ref() });
    (controller, asked)
}

fn send_while_asked(asked: &mut TestProbe<RequestNext<Job>>) -> u64 {
    let mut sent = 0;
    while let Some(next) = asked.drain().pop() {
        let job = next.seq_nr();
        next.send(job);
        sent += 1;
    }
    sent
}

#[test]
fn without_workers_as_many_jobs_are_taken_as_the_buffer_holds() {
    let kit = TestKit::new();
    let (controller, mut asked) = controller(&kit, 10);
    assert_eq!(send_while_asked(&mut asked), 10);
    assert_eq!(stats(&kit, &controller), WorkerStats { workers: 0, waiting: 10, with_workers: 0 });
    kit.advance(Duration::from_secs(100));

    let done = Done::default();
    worker(&kit, 1, &done, false, ConsumerController::props(ConsumerSettings::default()).worker_of(&controller), None);
    kit.advance(Duration::from_secs(10));

    assert_eq!(done.lock().len(), 10);
    assert!(!asked.drain().is_empty(), "there is room again");
}

#[test]
fn workers_are_found_by_their_service_key_and_share_the_work() {
    let kit = TestKit::new();
    let key = ServiceKey::new("jobs");
    let props = WorkPullingController::props("jobs", WorkPullingSettings::default()).service(key.clone());
    let controller = kit.spawn("controller", props);
    let foreman = kit.spawn("foreman", Foreman { last: 300 });
    controller.tell(WorkPullingControllerMessage::Start { producer: foreman });
    let done = Done::default();
    let sites: Vec<_> = (0..3)
        .map(|name| {
            let props = ConsumerController::props(ConsumerSettings::default()).service(key.clone());
            worker(&kit, name, &done, false, props, None)
        })
        .collect();
    kit.advance(Duration::from_secs(10));
    assert_eq!(stats(&kit, &controller).workers, 3);
    sites[0].tell(Crash);
    kit.advance(Duration::from_secs(120));

    assert_eq!(stats(&kit, &controller), WorkerStats { workers: 2, waiting: 0, with_workers: 0 });
    let done = done.lock();
    assert!(done.keys().copied().eq(1..=300));
    for name in 0..3 {
        let share = done.values().filter(|by| by.contains(&name)).count();
        assert!(share > 10, "worker {name} did {share} of 300");
    }
}

#[test]
fn a_confirmed_job_answers_whoever_waits_also_when_its_first_worker_died() {
    let kit = TestKit::new();
    let (controller, mut asked) = controller(&kit, 10);
    let props = || ConsumerController::props(ConsumerSettings::default()).worker_of(&controller);
    let mut dying = kit.probe::<Delivery<Job>>();
    let dying_controller = kit.system().spawn_anonymous(props());
    dying_controller.tell(ConsumerControllerMessage::Start { deliver_to: dying.actor_ref() });
    let answer = asked.expect_message().send_confirmed(7_u64);
    assert_eq!(**dying.expect_message().message(), 7);
    drop(dying);
    let done = Done::default();
    worker(&kit, 2, &done, false, props(), None);
    assert_eq!(kit.block_on(answer), Ok(1));
    assert_eq!(done.lock()[&7], [2]);
}

#[test]
fn a_controller_that_crashes_gives_out_again_what_its_durable_queue_holds() {
    let kit = TestKit::new();
    let queue = InMemoryProducerQueue::new();
    let key = ServiceKey::new("jobs");
    let done = Done::default();
    let lives = {
        let (queue, key) = (queue.clone(), key.clone());
        Props::setup(move |ctx| {
            let props = WorkPullingController::props("jobs", WorkPullingSettings::default());
            let controller = ctx.spawn("controller", props.service(key.clone()).durable_queue(queue.clone()));
            let foreman = ctx.spawn("foreman", Foreman { last: 50 });
            controller.tell(WorkPullingControllerMessage::Start { producer: foreman });
            Site
        })
    };
    let site = kit.spawn("site", lives.supervise(SupervisorStrategy::restart()));
    for name in 0..2 {
        let props = ConsumerController::props(ConsumerSettings::default()).service(key.clone());
        worker(&kit, name, &done, false, props, None);
    }
    kit.advance(Duration::from_secs(2));
    site.tell(Crash);
    kit.advance(Duration::from_secs(2));
    site.tell(Crash);
    kit.advance(Duration::from_secs(120));

    assert!(done.lock().keys().copied().eq(1..=50));
    assert_eq!(queue.unconfirmed(), 0);
}

#[test]
fn a_setting_that_cannot_work_fails_at_the_start() {
    let kit = TestKit::new();
    let mut settings = WorkPullingSettings::default();
    settings.producer.resend_first_interval = Duration::ZERO;
    let controller = kit.spawn("controller", WorkPullingController::<Job>::props("jobs", settings));
    kit.settle();
    assert!(controller.is_stopped());
}
