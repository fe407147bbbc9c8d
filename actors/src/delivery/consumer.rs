//! [`ConsumerController`]: one consumer's end of a link to one producer.
//!
//! [`ConsumerState`] decides, without I/O; this actor carries its decisions out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::consumer_state::{Arrival, ConsumerEffect, ConsumerState};
use super::props::ConsumerControllerProps;
use super::protocol::{Incarnation, SequencedMessage, ToProducer};
use super::settings::ConsumerSettings;
use crate::actor::{Actor, Behavior, Handled};
use crate::actor_ref::ActorRef;
use crate::context::ActorContext;
use crate::receptionist::ServiceKey;

const RETRY: &str = "retry";
const REGISTER: &str = "register";
/// How often a controller registers until something comes.
const REGISTER_INTERVAL: Duration = Duration::from_secs(1);

/// One consumer's end of a link to one producer; see the [module](super) for what it promises.
///
/// It puts messages in order, asks for those that are missing, and hands them to the consumer one at a time. It stops
/// when its consumer does. If another producer, or another life of the same, comes, it takes that one's place.
pub struct ConsumerController<T> {
    settings: ConsumerSettings,
    producer: Option<ActorRef<ToProducer<T>>>,
    service: Option<ServiceKey<ConsumerControllerMessage<T>>>,
    consumer: Option<ActorRef<Delivery<T>>>,
    state: ConsumerState<T, ActorRef<ToProducer<T>>>,
    receive_at: ActorRef<SequencedMessage<T>>,
    confirm_to: ActorRef<Confirmed>,
}

/// What a [`ConsumerController`] understands. With the feature `serde`, what comes from other controllers travels.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "T: serde::Serialize + Send + Sync + 'static",
        deserialize = "T: serde::Deserialize<'de> + Send + Sync + 'static"
    ))
)]
pub enum ConsumerControllerMessage<T> {
    /// The consumer is there. Said again, by its next life for instance, what it has not confirmed is delivered again.
    Start {
        /// Who consumes. The controller stops when it does.
        deliver_to: ActorRef<Delivery<T>>,
    },
    /// Registers with a producer's controller from now on, instead of the one in the props.
    RegisterTo {
        /// The producer's controller, or something in front of it.
        producer: ActorRef<ToProducer<T>>,
    },
    /// From the producer's controller.
    FromProducer(SequencedMessage<T>),
    /// The consumer has finished; [`Delivery::confirm`] says it.
    #[cfg_attr(feature = "serde", serde(skip))]
    Confirmed(Confirmed),
    #[doc(hidden)]
    #[cfg_attr(feature = "serde", serde(skip))]
    Internal(Internal),
}

/// That a consumer has finished with a message. Only [`Delivery::confirm`] can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    producer: Incarnation,
    seq_nr: u64,
}

#[doc(hidden)]
pub struct Internal(Event);

enum Event {
    Retry,
    Register,
    ConsumerEnded,
}

impl<T: Send + Sync + 'static> ConsumerController<T> {
    /// A controller that waits for a producer.
    pub fn props(settings: ConsumerSettings) -> ConsumerControllerProps<T> {
        ConsumerControllerProps { settings, chunking: None, producer: None, service: None }
    }

    pub(super) fn new(
        props: &ConsumerControllerProps<T>,
        ctx: &mut ActorContext<ConsumerControllerMessage<T>>,
    ) -> Self {
        let me = Incarnation::new(ctx.system());
        Self {
            settings: props.settings.clone(),
            producer: props.producer.clone(),
            service: props.service.clone(),
            consumer: None,
            state: ConsumerState::new(me, props.settings.clone(), props.chunking.clone()),
            receive_at: ctx.this().map(ConsumerControllerMessage::FromProducer),
            confirm_to: ctx.this().map(ConsumerControllerMessage::Confirmed),
        }
    }

    fn register(&self) {
        if let Some(producer) = &self.producer {
            let consumer = self.receive_at.clone();
            producer.tell(ToProducer::Register { consumer, incarnation: self.state.me() });
        }
    }

    /// Registers now and then again until something comes.
    fn keep_registering(&self, ctx: &mut ActorContext<ConsumerControllerMessage<T>>) {
        self.register();
        ctx.timers().start_with_fixed_delay(REGISTER, REGISTER_INTERVAL, || {
            ConsumerControllerMessage::Internal(Internal(Event::Register))
        });
    }

    /// The one place where effects are carried out.
    fn perform(
        &self,
        ctx: &mut ActorContext<ConsumerControllerMessage<T>>,
        effects: Vec<ConsumerEffect<T, ActorRef<ToProducer<T>>>>,
    ) -> Handled {
        for effect in effects {
            match effect {
                ConsumerEffect::Request { to, request } => to.tell(ToProducer::Request(request)),
                ConsumerEffect::Resend { to, resend } => to.tell(ToProducer::Resend(resend)),
                ConsumerEffect::Ack { to, ack } => to.tell(ToProducer::Ack(ack)),
                ConsumerEffect::Deliver { producer_id, incarnation, seq_nr, message } => {
                    if let Some(consumer) = &self.consumer {
                        let confirmed = Confirmed { producer: incarnation, seq_nr };
                        let confirm_to = self.confirm_to.clone();
                        consumer.tell(Delivery { message, producer_id, confirmed, confirm_to });
                    }
                }
                ConsumerEffect::RetryAfter(delay) => retry_after(ctx, delay),
            }
        }
        Ok(Behavior::Same)
    }
}

fn retry_after<T: Send + Sync + 'static>(ctx: &mut ActorContext<ConsumerControllerMessage<T>>, delay: Duration) {
    ctx.timers().start_single(RETRY, delay, ConsumerControllerMessage::Internal(Internal(Event::Retry)));
}

impl<T: Send + Sync + 'static> Actor for ConsumerController<T> {
    type Message = ConsumerControllerMessage<T>;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        self.settings.validate()?;
        retry_after(ctx, self.settings.resend_interval_min);
        if self.producer.is_some() {
            self.keep_registering(ctx);
        }
        if let Some(service) = &self.service {
            ctx.system().receptionist().register(service, ctx.this());
        }
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, message: Self::Message) -> Handled {
        let effects = match message {
            ConsumerControllerMessage::Start { deliver_to } => {
                if let Some(before) = self.consumer.take() {
                    ctx.unwatch(&before);
                }
                ctx.watch_with(&deliver_to, ConsumerControllerMessage::Internal(Internal(Event::ConsumerEnded)));
                self.consumer = Some(deliver_to);
                self.state.start()
            }
            ConsumerControllerMessage::RegisterTo { producer } => {
                self.producer = Some(producer);
                self.keep_registering(ctx);
                return Ok(Behavior::Same);
            }
            ConsumerControllerMessage::FromProducer(sequenced) => {
                let arrival = Arrival {
                    producer_id: sequenced.producer_id,
                    incarnation: sequenced.incarnation,
                    seq_nr: sequenced.seq_nr,
                    first: sequenced.first,
                    ack: sequenced.ack,
                    payload: sequenced.payload,
                    address: sequenced.producer,
                };
                let effects = self.state.arrived(arrival)?;
                if self.state.is_linked() {
                    ctx.timers().cancel(REGISTER);
                }
                effects
            }
            ConsumerControllerMessage::Confirmed(Confirmed { producer, seq_nr }) => {
                self.state.confirmed(producer, seq_nr)
            }
            ConsumerControllerMessage::Internal(Internal(event)) => match event {
                Event::Retry => {
                    if self.state.is_idle() {
                        self.register(); // a later life of the producer's controller knows nobody
                    }
                    self.state.retry()
                }
                Event::Register => {
                    self.register();
                    return Ok(Behavior::Same);
                }
                Event::ConsumerEnded => return Ok(Behavior::Stopped),
            },
        };
        self.perform(ctx, effects)
    }
}

/// One message for the consumer, who confirms it once its business is done; the next comes after that.
///
/// Dropped unconfirmed, nothing more comes until the consumer says `Start` again; then it is delivered again.
#[must_use = "the next message comes after this one is confirmed"]
pub struct Delivery<T> {
    message: Arc<T>,
    producer_id: Arc<str>,
    confirmed: Confirmed,
    confirm_to: ActorRef<Confirmed>,
}

impl<T> Delivery<T> {
    /// The message.
    pub fn message(&self) -> &Arc<T> {
        &self.message
    }

    /// Who produced it.
    pub fn producer_id(&self) -> &str {
        &self.producer_id
    }

    /// Its number; of a message that came in chunks, the last one's. Delivered again after a crash of the consumer, it
    /// has the same number.
    pub fn seq_nr(&self) -> u64 {
        self.confirmed.seq_nr
    }

    /// The business is done: the producer may forget the message. Never blocks.
    pub fn confirm(self) {
        self.confirm_to.tell(self.confirmed);
    }
}

impl<T> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("producer_id", &self.producer_id)
            .field("seq_nr", &self.seq_nr())
            .finish_non_exhaustive()
    }
}
