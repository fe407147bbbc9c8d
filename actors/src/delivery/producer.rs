//! [`ProducerController`]: one producer's end of a link to one consumer.
//!
//! [`ProducerState`] decides about numbers, window and what is sent again, without I/O; this actor carries it out, and
//! puts the durable queue in between where there is one.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::Chunking;
use super::durable_queue::{QueueState, StoredMessage};
use super::producer_state::{ProducerEffect, ProducerState};
use super::props::ProducerControllerProps;
use super::protocol::{Incarnation, Payload, SequencedMessage, ToProducer};
use super::request_next::{Replies, RequestNext, SendNext};
use super::settings::ProducerSettings;
use super::storing::{Storing, StoringDone, StoringStep, chunks_of};
use crate::actor::{Actor, Behavior, BoxError, Handled};
use crate::actor_ref::ActorRef;
use crate::ask::ReplyTo;
use crate::context::ActorContext;

const RESEND_FIRST: &str = "resend first";

/// One producer's end of a link to one consumer; see the [module](super) for what it promises.
///
/// It asks the producer for one message at a time, numbers it, keeps it until the consumer has confirmed it, and sends
/// it again when it is lost. It stops when its producer does.
pub struct ProducerController<T> {
    id: Arc<str>,
    settings: ProducerSettings,
    chunking: Option<Chunking<T>>,
    incarnation: Incarnation,
    state: ProducerState<T>,
    consumer: Option<ActorRef<SequencedMessage<T>>>,
    producer: Option<ActorRef<RequestNext<T>>>,
    replies: Replies,
    storing: Option<Storing<T>>,
    /// Who registered while the queue was being loaded.
    registered: Option<(ActorRef<SequencedMessage<T>>, Incarnation)>,
    /// What came while the queue was being loaded or an earlier message stored; a producer has one request at a time,
    /// so there is more than one message only if it, or this actor, was restarted.
    early: VecDeque<SendNext<T>>,
    send_to: ActorRef<SendNext<T>>,
    answer_to: ActorRef<ToProducer<T>>,
}

/// What a [`ProducerController`] understands.
pub enum ProducerControllerMessage<T> {
    /// The producer is there: whenever there is demand it is told a [`RequestNext`]. Said again, by its next life for
    /// instance, it is asked again.
    Start {
        /// Who produces. The controller stops when it does.
        producer: ActorRef<RequestNext<T>>,
    },
    /// There is a consumer, where its controller does not register itself: its answers tell the rest.
    ConnectTo {
        /// Its controller.
        consumer: ActorRef<SequencedMessage<T>>,
    },
    /// From the consumer's controller.
    FromConsumer(ToProducer<T>),
    #[doc(hidden)]
    Send(SendNext<T>),
    #[doc(hidden)]
    Internal(Internal<T>),
}

#[doc(hidden)]
pub struct Internal<T>(Event<T>);

enum Event<T> {
    ResendFirst,
    ProducerEnded,
    Stored(StoringDone<T>),
}

impl<T: Send + Sync + 'static> ProducerController<T> {
    /// A controller for the producer `producer_id`, which tells it from others; the consumer sees it.
    ///
    /// What is not confirmed is lost when this controller fails, unless there is a
    /// [`durable_queue`](ProducerControllerProps::durable_queue).
    pub fn props(producer_id: impl Into<Arc<str>>, settings: ProducerSettings) -> ProducerControllerProps<T> {
        ProducerControllerProps { id: producer_id.into(), settings, chunking: None, consumer: None, queue: None }
    }

    pub(super) fn new(
        props: &ProducerControllerProps<T>,
        ctx: &mut ActorContext<ProducerControllerMessage<T>>,
    ) -> Self {
        let incarnation = Incarnation::new(ctx.system());
        Self {
            id: props.id.clone(),
            settings: props.settings.clone(),
            chunking: props.chunking.clone(),
            incarnation,
            state: ProducerState::new(incarnation, 1),
            consumer: props.consumer.clone(),
            producer: None,
            replies: Replies::default(),
            storing: props
                .queue
                .clone()
                .map(|queue| Storing::new(queue, props.settings.durable_queue.clone(), ctx.clock().clone())),
            registered: None,
            early: VecDeque::new(),
            send_to: ctx.this().map(ProducerControllerMessage::Send),
            answer_to: ctx.this().map(ProducerControllerMessage::FromConsumer),
        }
    }

    fn take_message(&mut self, ctx: &mut ActorContext<ProducerControllerMessage<T>>, next: SendNext<T>) -> Handled {
        if self.storing.as_ref().is_some_and(Storing::is_busy) {
            self.early.push_back(next);
            return Ok(Behavior::Same);
        }
        let payloads = cut(self.chunking.as_ref(), &next.message)?;
        if let Some(storing) = &mut self.storing {
            let chunks = chunks_of(&payloads);
            let seq_nr = self.state.next() + chunks.get() - 1;
            let stored = StoredMessage { seq_nr, chunks, qualifier: "".into(), message: next.message };
            run(ctx, storing.store(stored, payloads, next.reply_to));
            return Ok(Behavior::Same);
        }
        self.push(ctx, payloads, next.reply_to)
    }

    fn push(
        &mut self,
        ctx: &mut ActorContext<ProducerControllerMessage<T>>,
        payloads: Vec<Payload<T>>,
        reply_to: Option<ReplyTo<u64>>,
    ) -> Handled {
        let seq_nr = self.state.next() + payloads.len() as u64 - 1;
        let ack = reply_to.is_some();
        if let Some(reply_to) = reply_to {
            self.replies.insert(seq_nr, reply_to);
        }
        let effects = self.state.push(payloads, ack);
        self.perform(ctx, effects)
    }

    /// The queue has done something: it was loaded, or a message is stored and may be sent.
    fn stored(&mut self, ctx: &mut ActorContext<ProducerControllerMessage<T>>, steps: Vec<StoringStep<T>>) -> Handled {
        for step in steps {
            match step {
                StoringStep::Run(request) => run(ctx, vec![StoringStep::Run(request)]),
                StoringStep::Loaded(loaded) => self.loaded(ctx, loaded)?,
                StoringStep::Stored { payloads, reply_to } => {
                    self.push(ctx, payloads, reply_to)?;
                }
            }
        }
        while !self.storing.as_ref().is_some_and(Storing::is_busy)
            && let Some(next) = self.early.pop_front()
        {
            self.take_message(ctx, next)?;
        }
        Ok(Behavior::Same)
    }

    fn loaded(
        &mut self,
        ctx: &mut ActorContext<ProducerControllerMessage<T>>,
        loaded: QueueState<T>,
    ) -> Result<(), BoxError> {
        self.state = ProducerState::new(self.incarnation, loaded.first_of_link()?);
        for stored in &loaded.unconfirmed {
            let payloads = cut_again(self.chunking.as_ref(), stored)?;
            self.state.push(payloads, true); // nobody is connected yet: nothing to carry out
        }
        self.connect(ctx)?;
        if let Some((consumer, incarnation)) = self.registered.take() {
            self.answered(ctx, ToProducer::Register { consumer, incarnation })?;
        }
        Ok(())
    }

    fn connect(&mut self, ctx: &mut ActorContext<ProducerControllerMessage<T>>) -> Handled {
        if self.consumer.is_none() || self.is_loading() {
            return Ok(Behavior::Same);
        }
        let effects = self.state.connect();
        self.perform(ctx, effects)
    }

    fn is_loading(&self) -> bool {
        self.storing.as_ref().is_some_and(Storing::is_loading)
    }

    fn answered(&mut self, ctx: &mut ActorContext<ProducerControllerMessage<T>>, message: ToProducer<T>) -> Handled {
        if self.is_loading() {
            if let ToProducer::Register { consumer, incarnation } = message {
                self.registered = Some((consumer, incarnation));
            }
            return Ok(Behavior::Same); // the rest was said to an earlier life
        }
        let effects = match message {
            ToProducer::Register { consumer, incarnation } => {
                let effects = self.state.register(incarnation);
                if !effects.is_empty() || self.consumer.is_none() {
                    self.consumer = Some(consumer);
                }
                effects
            }
            ToProducer::Request(request) => self.state.request(request),
            ToProducer::Resend(resend) => self.state.resend(resend),
            ToProducer::Ack(ack) => self.state.ack(ack),
        };
        self.perform(ctx, effects)
    }

    /// The one place where effects are carried out.
    fn perform(
        &mut self,
        ctx: &mut ActorContext<ProducerControllerMessage<T>>,
        effects: Vec<ProducerEffect<T>>,
    ) -> Handled {
        for effect in effects {
            match effect {
                ProducerEffect::Send { seq_nr, first, kept } => {
                    if let Some(consumer) = &self.consumer {
                        consumer.tell(SequencedMessage {
                            producer_id: self.id.clone(),
                            incarnation: self.incarnation,
                            seq_nr,
                            first,
                            ack: kept.ack,
                            payload: kept.payload,
                            producer: self.answer_to.clone(),
                        });
                    }
                }
                ProducerEffect::Confirmed { up_to, exactly } => {
                    self.replies.confirmed(up_to, exactly);
                    if let Some(storing) = &mut self.storing {
                        run(ctx, storing.confirmed_up_to(up_to));
                    }
                }
                ProducerEffect::RequestNext => self.request_next(),
            }
        }
        self.keep_first_timer(ctx);
        Ok(Behavior::Same)
    }

    fn request_next(&self) {
        if let Some(producer) = &self.producer {
            producer.tell(RequestNext {
                send_to: self.send_to.clone(),
                producer_id: self.id.clone(),
                seq_nr: self.state.next(),
                confirmed: self.state.confirmed(),
                confirm_timeout: self.settings.confirm_timeout,
            });
        }
    }

    fn keep_first_timer(&self, ctx: &mut ActorContext<ProducerControllerMessage<T>>) {
        match (self.state.awaits_first(), ctx.timers().is_active(RESEND_FIRST)) {
            (true, false) => {
                ctx.timers().start_with_fixed_delay(RESEND_FIRST, self.settings.resend_first_interval, || {
                    ProducerControllerMessage::Internal(Internal(Event::ResendFirst))
                });
            }
            (false, true) => ctx.timers().cancel(RESEND_FIRST),
            _ => {}
        }
    }
}

impl<T: Send + Sync + 'static> Actor for ProducerController<T> {
    type Message = ProducerControllerMessage<T>;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        self.settings.validate()?;
        if let Some(storing) = &self.storing {
            run(ctx, storing.load());
        }
        self.connect(ctx)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, message: Self::Message) -> Handled {
        match message {
            ProducerControllerMessage::Start { producer } => {
                if let Some(before) = self.producer.take() {
                    ctx.unwatch(&before);
                }
                ctx.watch_with(&producer, ProducerControllerMessage::Internal(Internal(Event::ProducerEnded)));
                self.producer = Some(producer);
                if self.storing.as_ref().is_some_and(Storing::is_busy) {
                    return Ok(Behavior::Same); // asked once that is done
                }
                let effects = self.state.ask_again();
                self.perform(ctx, effects)
            }
            ProducerControllerMessage::ConnectTo { consumer } => {
                self.consumer = Some(consumer);
                self.connect(ctx)
            }
            ProducerControllerMessage::FromConsumer(message) => self.answered(ctx, message),
            ProducerControllerMessage::Send(next) => self.take_message(ctx, next),
            ProducerControllerMessage::Internal(Internal(event)) => match event {
                Event::ResendFirst => {
                    let effects = self.state.resend_first();
                    self.perform(ctx, effects)
                }
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

pub(super) fn cut<T: 'static>(chunking: Option<&Chunking<T>>, message: &Arc<T>) -> Result<Vec<Payload<T>>, BoxError> {
    match chunking {
        Some(chunking) => Ok(chunking.cut(message)?),
        None => Ok(vec![Payload::Whole(message.clone())]),
    }
}

/// A stored message in the pieces whose numbers it has.
pub(super) fn cut_again<T: 'static>(
    chunking: Option<&Chunking<T>>,
    stored: &StoredMessage<T>,
) -> Result<Vec<Payload<T>>, BoxError> {
    match chunking {
        _ if stored.chunks.get() == 1 => Ok(vec![Payload::Whole(stored.message.clone())]),
        Some(chunking) => Ok(chunking.cut_into(&stored.message, stored.chunks)?),
        None => Err(format!(
            "message {} was stored as {} chunks; give the props of its controller the same `Chunking`",
            stored.seq_nr, stored.chunks
        )
        .into()),
    }
}

/// Runs requests to the durable queue beside the controller.
fn run<T: Send + Sync + 'static>(ctx: &mut ActorContext<ProducerControllerMessage<T>>, steps: Vec<StoringStep<T>>) {
    for step in steps {
        if let StoringStep::Run(request) = step {
            ctx.pipe_to_self(request, |done| ProducerControllerMessage::Internal(Internal(Event::Stored(done))));
        }
    }
}
