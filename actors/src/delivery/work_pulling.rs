//! [`WorkPullingController`]: one producer, any number of workers, each gets what it asks for.
//!
//! [`WorkPullingState`] decides, without I/O; this actor carries its decisions out, and puts the durable queue in
//! between where there is one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::chunk::Chunking;
use super::consumer::ConsumerControllerMessage;
use super::durable_queue::StoredMessage;
use super::producer::cut;
use super::props::WorkPullingControllerProps;
use super::protocol::{Incarnation, Payload, SequencedMessage, ToProducer};
use super::request_next::{Replies, RequestNext, SendNext};
use super::settings::WorkPullingSettings;
use super::storing::{Storing, StoringDone, StoringStep, chunks_of};
use super::work_pulling_state::{Answer, Job, WorkEffect, WorkPullingState, WorkerId};
use crate::actor::{Actor, Behavior, Handled};
use crate::actor_ref::ActorRef;
use crate::ask::ReplyTo;
use crate::context::ActorContext;
use crate::path::ActorPath;
use crate::receptionist::{Listing, ServiceKey};

/// One producer's end of links to any number of workers; see the [module](super) for what it promises.
///
/// Each worker is a [`ConsumerController`](super::ConsumerController). It registers itself, or is found under a
/// [`service`](WorkPullingControllerProps::service). A worker serves one such controller. This one stops when its
/// producer does.
pub struct WorkPullingController<T> {
    id: Arc<str>,
    settings: WorkPullingSettings,
    chunking: Option<Chunking<T>>,
    service: Option<ServiceKey<ConsumerControllerMessage<T>>>,
    state: WorkPullingState<T>,
    workers: BTreeMap<WorkerId, Worker<T>>,
    by_path: BTreeMap<ActorPath, WorkerId>,
    by_link: HashMap<Incarnation, WorkerId>,
    producer: Option<ActorRef<RequestNext<T>>>,
    /// The number of the next job.
    next: u64,
    replies: Replies,
    storing: Option<Storing<T>>,
    /// What came while the queue was being loaded or an earlier job stored: more than one only after restarts.
    early: VecDeque<SendNext<T>>,
    send_to: ActorRef<SendNext<T>>,
    answer_to: ActorRef<ToProducer<T>>,
}

struct Worker<T> {
    receive_at: ActorRef<SequencedMessage<T>>,
    incarnation: Incarnation,
    resend_first: String, // the key of its timer
    /// Found under the service key, and gone when it is no longer listed.
    listed: bool,
}

/// What a [`WorkPullingController`] understands.
pub enum WorkPullingControllerMessage<T> {
    /// The producer is there: it is told a [`RequestNext`] while there is demand or room in the buffer. Said again, it
    /// is asked again.
    Start {
        /// Who produces. The controller stops when it does.
        producer: ActorRef<RequestNext<T>>,
    },
    /// From a worker's controller.
    FromWorker(ToProducer<T>),
    /// How many there are of what.
    GetWorkerStats(ReplyTo<WorkerStats>),
    #[doc(hidden)]
    Send(SendNext<T>),
    #[doc(hidden)]
    Internal(Internal<T>),
}

/// What a [`WorkPullingController`] has to do with at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStats {
    /// Workers.
    pub workers: usize,
    /// Messages that wait for a worker with demand.
    pub waiting: usize,
    /// Messages that were sent to a worker and are not confirmed.
    pub with_workers: usize,
}

#[doc(hidden)]
pub struct Internal<T>(Event<T>);

enum Event<T> {
    FirstOverdue(WorkerId),
    WorkerEnded(WorkerId),
    Listed(Listing<ConsumerControllerMessage<T>>),
    ProducerEnded,
    Stored(StoringDone<T>),
}

type Message<T> = WorkPullingControllerMessage<T>;

fn internal<T>(event: Event<T>) -> Message<T> {
    WorkPullingControllerMessage::Internal(Internal(event))
}

impl<T: Send + Sync + 'static> WorkPullingController<T> {
    /// A controller for the producer `producer_id`; workers see that name.
    ///
    /// What is not confirmed is lost when this controller fails, unless there is a
    /// [`durable_queue`](WorkPullingControllerProps::durable_queue).
    pub fn props(producer_id: impl Into<Arc<str>>, settings: WorkPullingSettings) -> WorkPullingControllerProps<T> {
        WorkPullingControllerProps { id: producer_id.into(), settings, chunking: None, service: None, queue: None }
    }

    pub(super) fn new(props: &WorkPullingControllerProps<T>, ctx: &mut ActorContext<Message<T>>) -> Self {
        Self {
            id: props.id.clone(),
            settings: props.settings.clone(),
            chunking: props.chunking.clone(),
            service: props.service.clone(),
            state: WorkPullingState::new(props.settings.buffer.get()),
            workers: BTreeMap::new(),
            by_path: BTreeMap::new(),
            by_link: HashMap::new(),
            producer: None,
            next: 1,
            replies: Replies::default(),
            storing: props
                .queue
                .clone()
                .map(|queue| Storing::new(queue, props.settings.producer.durable_queue.clone(), ctx.clock().clone())),
            early: VecDeque::new(),
            send_to: ctx.this().map(WorkPullingControllerMessage::Send),
            answer_to: ctx.this().map(WorkPullingControllerMessage::FromWorker),
        }
    }

    fn is_storing(&self) -> bool {
        self.storing.as_ref().is_some_and(Storing::is_busy)
    }

    fn worker_says(&mut self, ctx: &mut ActorContext<Message<T>>, message: ToProducer<T>) -> Handled {
        let (link, answer) = match message {
            ToProducer::Register { consumer, incarnation } => return self.registered(ctx, consumer, incarnation),
            ToProducer::Request(request) => (request.producer, Answer::Request(request)),
            ToProducer::Resend(resend) => (resend.producer, Answer::Resend(resend)),
            ToProducer::Ack(ack) => (ack.producer, Answer::Ack(ack)),
        };
        match self.by_link.get(&link) {
            Some(worker) => self.answered(ctx, *worker, answer),
            None => Ok(Behavior::Same), // taken for dead: its jobs are with others
        }
    }

    /// A worker says that it is there. It may be known, in an earlier life.
    fn registered(
        &mut self,
        ctx: &mut ActorContext<Message<T>>,
        receive_at: ActorRef<SequencedMessage<T>>,
        life: Incarnation,
    ) -> Handled {
        let known = self.by_path.get(receive_at.path()).copied();
        let worker = match known {
            Some(worker) => worker,
            None => self.hire(ctx, receive_at, false)?,
        };
        self.answered(ctx, worker, Answer::Register(life))
    }

    fn hire(
        &mut self,
        ctx: &mut ActorContext<Message<T>>,
        receive_at: ActorRef<SequencedMessage<T>>,
        listed: bool,
    ) -> Result<WorkerId, crate::BoxError> {
        let incarnation = Incarnation::new(ctx.system());
        let system = ctx.system().clone();
        let (id, effects) = self.state.hire(incarnation, &mut || system.random());
        ctx.watch_with(&receive_at, internal(Event::WorkerEnded(id)));
        self.by_path.insert(receive_at.path().clone(), id);
        self.by_link.insert(incarnation, id);
        let resend_first = format!("resend first to {id}");
        self.workers.insert(id, Worker { receive_at, incarnation, resend_first, listed });
        self.perform(ctx, effects)?;
        self.keep_first_timer(ctx, id);
        Ok(id)
    }

    fn dismiss(&mut self, ctx: &mut ActorContext<Message<T>>, id: WorkerId) -> Handled {
        let Some(worker) = self.workers.remove(&id) else { return Ok(Behavior::Same) };
        ctx.unwatch(&worker.receive_at);
        ctx.timers().cancel(&worker.resend_first);
        self.by_path.remove(worker.receive_at.path());
        self.by_link.remove(&worker.incarnation);
        let system = ctx.system().clone();
        let effects = self.state.dismiss(id, &mut || system.random());
        self.perform(ctx, effects)
    }

    /// Hires who is new on the list and dismisses who is not on it any more.
    fn listed(
        &mut self,
        ctx: &mut ActorContext<Message<T>>,
        listing: &Listing<ConsumerControllerMessage<T>>,
    ) -> Handled {
        let gone = |worker: &Worker<T>| {
            worker.listed && listing.all_instances().iter().all(|listed| listed.path() != worker.receive_at.path())
        };
        let gone: Vec<_> = self.workers.iter().filter(|(_, worker)| gone(worker)).map(|(id, _)| *id).collect();
        for id in gone {
            self.dismiss(ctx, id)?;
        }
        for worker in listing.instances() {
            match self.by_path.get(worker.path()).and_then(|id| self.workers.get_mut(id)) {
                Some(known) => known.listed = true,
                None => {
                    self.hire(ctx, worker.map(ConsumerControllerMessage::FromProducer), true)?;
                }
            }
        }
        Ok(Behavior::Same)
    }

    fn answered(&mut self, ctx: &mut ActorContext<Message<T>>, worker: WorkerId, answer: Answer) -> Handled {
        let system = ctx.system().clone();
        let effects = self.state.answered(worker, answer, &mut || system.random());
        self.perform(ctx, effects)?;
        self.keep_first_timer(ctx, worker);
        Ok(Behavior::Same)
    }

    fn take_job(&mut self, ctx: &mut ActorContext<Message<T>>, next: SendNext<T>) -> Handled {
        if self.is_storing() {
            self.early.push_back(next);
            return Ok(Behavior::Same);
        }
        let payloads = cut(self.chunking.as_ref(), &next.message)?;
        if let Some(storing) = &mut self.storing {
            let chunks = chunks_of(&payloads[..1]); // each link cuts it anew: here it is one
            let stored = StoredMessage { seq_nr: self.next, chunks, qualifier: "".into(), message: next.message };
            run(ctx, storing.store(stored, payloads, next.reply_to));
            return Ok(Behavior::Same);
        }
        self.submit(ctx, payloads, next.reply_to)
    }

    fn submit(
        &mut self,
        ctx: &mut ActorContext<Message<T>>,
        payloads: Vec<Payload<T>>,
        reply_to: Option<ReplyTo<u64>>,
    ) -> Handled {
        let number = self.next;
        self.next += 1;
        let ack = reply_to.is_some();
        if let Some(reply_to) = reply_to {
            self.replies.insert(number, reply_to);
        }
        let system = ctx.system().clone();
        let effects = self.state.submit(Job { number, payloads, ack }, &mut || system.random());
        self.perform(ctx, effects)
    }

    /// The queue has done something: it was loaded, or a job is stored and may be given out.
    fn stored(&mut self, ctx: &mut ActorContext<Message<T>>, steps: Vec<StoringStep<T>>) -> Handled {
        for step in steps {
            match step {
                StoringStep::Run(_) => run(ctx, vec![step]),
                StoringStep::Loaded(loaded) => {
                    for stored in &loaded.unconfirmed {
                        self.next = stored.seq_nr;
                        self.submit(ctx, cut(self.chunking.as_ref(), &stored.message)?, None)?;
                    }
                    self.next = loaded.next;
                    let system = ctx.system().clone();
                    let effects = self.state.ask_again(&mut || system.random());
                    self.perform(ctx, effects)?;
                }
                StoringStep::Stored { payloads, reply_to } => {
                    self.submit(ctx, payloads, reply_to)?;
                }
            }
        }
        while !self.is_storing()
            && let Some(next) = self.early.pop_front()
        {
            self.take_job(ctx, next)?;
        }
        Ok(Behavior::Same)
    }

    /// The one place where effects are carried out.
    fn perform(&mut self, ctx: &mut ActorContext<Message<T>>, effects: Vec<WorkEffect<T>>) -> Handled {
        for effect in effects {
            match effect {
                WorkEffect::Send { worker: id, seq_nr, first, kept } => {
                    if let Some(worker) = self.workers.get(&id) {
                        worker.receive_at.tell(SequencedMessage {
                            producer_id: self.id.clone(),
                            incarnation: worker.incarnation,
                            seq_nr,
                            first,
                            ack: kept.ack,
                            payload: kept.payload,
                            producer: self.answer_to.clone(),
                        });
                    }
                    if first {
                        self.keep_first_timer(ctx, id);
                    }
                }
                WorkEffect::Done { number, lost } => {
                    self.replies.one_confirmed(number, lost);
                    if let Some(storing) = &mut self.storing {
                        run(ctx, storing.confirmed(number));
                    }
                }
                WorkEffect::RequestNext => self.request_next(),
            }
        }
        Ok(Behavior::Same)
    }

    fn request_next(&self) {
        if let Some(producer) = &self.producer
            && !self.is_storing()
        {
            producer.tell(RequestNext {
                send_to: self.send_to.clone(),
                producer_id: self.id.clone(),
                seq_nr: self.next,
                confirmed: self.next - 1 - (self.state.waiting() + self.state.with_workers()) as u64,
                confirm_timeout: self.settings.producer.confirm_timeout,
            });
        }
    }

    fn keep_first_timer(&self, ctx: &mut ActorContext<Message<T>>, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let key = &worker.resend_first;
        match (self.state.awaits_first(id), ctx.timers().is_active(key)) {
            (true, false) => {
                let interval = self.settings.producer.resend_first_interval;
                ctx.timers().start_with_fixed_delay(key.clone(), interval, move || internal(Event::FirstOverdue(id)));
            }
            (false, true) => ctx.timers().cancel(key),
            _ => {}
        }
    }
}

impl<T: Send + Sync + 'static> Actor for WorkPullingController<T> {
    type Message = WorkPullingControllerMessage<T>;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        self.settings.validate()?;
        if let Some(storing) = &self.storing {
            run(ctx, storing.load());
        }
        if let Some(service) = &self.service {
            let listed = ctx.this().map(|listing| internal(Event::Listed(listing)));
            ctx.system().receptionist().subscribe(service, &listed);
        }
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, message: Self::Message) -> Handled {
        match message {
            WorkPullingControllerMessage::Start { producer } => {
                if let Some(before) = self.producer.take() {
                    ctx.unwatch(&before);
                }
                ctx.watch_with(&producer, internal(Event::ProducerEnded));
                self.producer = Some(producer);
                let system = ctx.system().clone();
                let effects = self.state.ask_again(&mut || system.random());
                self.perform(ctx, effects)
            }
            WorkPullingControllerMessage::FromWorker(message) => self.worker_says(ctx, message),
            WorkPullingControllerMessage::GetWorkerStats(reply_to) => {
                reply_to.tell(WorkerStats {
                    workers: self.state.workers(),
                    waiting: self.state.waiting(),
                    with_workers: self.state.with_workers(),
                });
                Ok(Behavior::Same)
            }
            WorkPullingControllerMessage::Send(next) => self.take_job(ctx, next),
            WorkPullingControllerMessage::Internal(Internal(event)) => match event {
                Event::FirstOverdue(id) => self.answered(ctx, id, Answer::FirstOverdue),
                Event::WorkerEnded(id) => self.dismiss(ctx, id),
                Event::Listed(listing) => self.listed(ctx, &listing),
                Event::ProducerEnded => Ok(Behavior::Stopped),
                Event::Stored(done) => {
                    let steps = match &mut self.storing {
                        Some(storing) => storing.done(done)?,
                        None => Vec::new(),
                    };
                    self.stored(ctx, steps)
                }
            },
        }
    }
}

/// Runs requests to the durable queue beside the controller.
fn run<T: Send + Sync + 'static>(ctx: &mut ActorContext<Message<T>>, steps: Vec<StoringStep<T>>) {
    for step in steps {
        if let StoringStep::Run(request) = step {
            ctx.pipe_to_self(request, |done| internal(Event::Stored(done)));
        }
    }
}
