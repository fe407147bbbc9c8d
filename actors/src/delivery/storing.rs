//! How a controller uses its durable queue: one message at a time before it is sent, confirmations lazily beside that,
//! each request with a time limit and a number of attempts.

use std::collections::BTreeSet;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::durable_queue::{DurableProducerQueue, Fenced, QueueFuture, QueueState, StoredMessage};
use super::protocol::Payload;
use super::settings::DurableQueueSettings;
use crate::actor::BoxError;
use crate::ask::ReplyTo;
use crate::clock::Clock;

/// The wait after a first attempt that failed early; each further one doubles it, up to the time a request may take.
const PAUSE_MIN: Duration = Duration::from_millis(100);

pub(super) struct Storing<T> {
    queue: Arc<dyn DurableProducerQueue<T>>,
    settings: DurableQueueSettings,
    clock: Clock,
    phase: Phase<T>,
    epoch: u64,
    unconfirmed: BTreeSet<u64>,
    /// Confirmed, and not yet said to the queue.
    confirmed: Vec<u64>,
    /// Said to the queue, and not yet stored.
    confirming: Option<Tried<Vec<u64>>>,
}

enum Phase<T> {
    Loading { attempt: u32 },
    Idle,
    Storing(Tried<Pending<T>>),
}

struct Tried<R> {
    request: R,
    attempt: u32,
}

/// A message that waits until it is stored.
struct Pending<T> {
    stored: StoredMessage<T>,
    payloads: Vec<Payload<T>>,
    reply_to: Option<ReplyTo<u64>>,
}

/// What the controller carries out, in order.
pub(super) enum StoringStep<T> {
    /// Run beside the controller; its outcome goes to [`Storing::done`].
    Run(Pin<Box<dyn Future<Output = StoringDone<T>> + Send>>),
    Loaded(QueueState<T>),
    /// The message may be sent.
    Stored {
        payloads: Vec<Payload<T>>,
        reply_to: Option<ReplyTo<u64>>,
    },
}

pub(super) struct StoringDone<T>(Outcome<T>);

enum Outcome<T> {
    Loaded(Result<QueueState<T>, BoxError>),
    Stored(Result<(), BoxError>),
    Confirmed(Result<(), BoxError>),
}

/// The durable queue did not answer in time, or refused, as often as it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the durable queue could not {request}, tried {attempts} times (`durable_queue.attempts`): {error}")]
pub struct DurableQueueError {
    /// What was asked.
    pub request: &'static str,
    /// How often.
    pub attempts: u32,
    /// The last failure.
    pub error: BoxError,
}

type Steps<T> = Vec<StoringStep<T>>;

impl<T: Send + Sync + 'static> Storing<T> {
    pub(super) fn new(queue: Arc<dyn DurableProducerQueue<T>>, settings: DurableQueueSettings, clock: Clock) -> Self {
        Self {
            queue,
            settings,
            clock,
            phase: Phase::Loading { attempt: 1 },
            epoch: 0,
            unconfirmed: BTreeSet::new(),
            confirmed: Vec::new(),
            confirming: None,
        }
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::Loading { .. })
    }

    /// No message can be taken now.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    pub(super) fn load(&self) -> Steps<T> {
        self.load_after(Duration::ZERO)
    }

    fn load_after(&self, pause: Duration) -> Steps<T> {
        vec![self.run(pause, self.queue.load(), Outcome::Loaded)]
    }

    /// Stores a message; it comes back in a step once it may be sent. Only while not busy.
    pub(super) fn store(
        &mut self,
        stored: StoredMessage<T>,
        payloads: Vec<Payload<T>>,
        reply_to: Option<ReplyTo<u64>>,
    ) -> Steps<T> {
        let request = self.queue.store_sent(self.epoch, stored.clone());
        self.phase = Phase::Storing(Tried { request: Pending { stored, payloads, reply_to }, attempt: 1 });
        vec![self.run(Duration::ZERO, request, Outcome::Stored)]
    }

    pub(super) fn confirmed_up_to(&mut self, seq_nr: u64) -> Steps<T> {
        let above = self.unconfirmed.split_off(&(seq_nr + 1));
        self.confirmed.extend(std::mem::replace(&mut self.unconfirmed, above));
        self.confirm_next()
    }

    pub(super) fn confirmed(&mut self, seq_nr: u64) -> Steps<T> {
        if self.unconfirmed.remove(&seq_nr) {
            self.confirmed.push(seq_nr);
        }
        self.confirm_next()
    }

    fn confirm_next(&mut self) -> Steps<T> {
        if self.confirming.is_some() || self.confirmed.is_empty() {
            return Vec::new();
        }
        let seq_nrs = std::mem::take(&mut self.confirmed);
        let request = self.queue.store_confirmed(self.epoch, seq_nrs.clone());
        self.confirming = Some(Tried { request: seq_nrs, attempt: 1 });
        vec![self.run(Duration::ZERO, request, Outcome::Confirmed)]
    }

    pub(super) fn done(&mut self, done: StoringDone<T>) -> Result<Steps<T>, DurableQueueError> {
        match done.0 {
            Outcome::Loaded(Ok(state)) => {
                self.epoch = state.epoch;
                self.unconfirmed = state.unconfirmed.iter().map(|stored| stored.seq_nr).collect();
                self.phase = Phase::Idle;
                Ok(vec![StoringStep::Loaded(state)])
            }
            Outcome::Loaded(Err(error)) => {
                let attempt = if let Phase::Loading { attempt } = self.phase { attempt } else { 1 };
                let pause = self.pause("load", attempt, error)?;
                self.phase = Phase::Loading { attempt: attempt + 1 };
                Ok(self.load_after(pause))
            }
            Outcome::Stored(outcome) => self.stored(outcome),
            Outcome::Confirmed(outcome) => {
                let Some(Tried { request, attempt }) = self.confirming.take() else { return Ok(Vec::new()) };
                let Err(error) = outcome else { return Ok(self.confirm_next()) };
                let pause = self.pause("store confirmations", attempt, error)?;
                let again = self.queue.store_confirmed(self.epoch, request.clone());
                self.confirming = Some(Tried { request, attempt: attempt + 1 });
                Ok(vec![self.run(pause, again, Outcome::Confirmed)])
            }
        }
    }

    fn stored(&mut self, outcome: Result<(), BoxError>) -> Result<Steps<T>, DurableQueueError> {
        let Phase::Storing(Tried { request, attempt }) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return Ok(Vec::new());
        };
        let Err(error) = outcome else {
            self.unconfirmed.insert(request.stored.seq_nr);
            let Pending { payloads, reply_to, .. } = request;
            return Ok(vec![StoringStep::Stored { payloads, reply_to }]);
        };
        let pause = self.pause("store a message", attempt, error)?;
        let again = self.queue.store_sent(self.epoch, request.stored.clone());
        self.phase = Phase::Storing(Tried { request, attempt: attempt + 1 });
        Ok(vec![self.run(pause, again, Outcome::Stored)])
    }

    /// How long to wait before the next attempt, if there is one.
    fn pause(&self, request: &'static str, attempt: u32, error: BoxError) -> Result<Duration, DurableQueueError> {
        if attempt >= self.settings.attempts.get() || error.is::<Fenced>() {
            return Err(DurableQueueError { request, attempts: attempt, error });
        }
        Ok((PAUSE_MIN * 2_u32.saturating_pow(attempt - 1)).min(self.settings.request_timeout))
    }

    fn run<R: Send + 'static>(
        &self,
        pause: Duration,
        request: QueueFuture<R>,
        outcome: impl FnOnce(Result<R, BoxError>) -> Outcome<T> + Send + 'static,
    ) -> StoringStep<T> {
        let (clock, within) = (self.clock.clone(), self.settings.request_timeout);
        StoringStep::Run(Box::pin(async move {
            if !pause.is_zero() {
                clock.sleep(pause).await;
            }
            let result = clock.timeout(within, request).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
            StoringDone(outcome(result))
        }))
    }
}

impl<T> QueueState<T> {
    /// The number with which a link begins that sends the unconfirmed messages.
    ///
    /// # Errors
    /// When their numbers have gaps or do not lead to the next one: they are not of one link, or something is lost.
    pub(super) fn first_of_link(&self) -> Result<u64, BoxError> {
        let mut expected = self.unconfirmed.first().map_or(self.next, StoredMessage::first_seq_nr);
        let first = expected;
        for stored in &self.unconfirmed {
            if stored.first_seq_nr() != expected {
                let text = format!("the durable queue lacks message {expected}: {} follows", stored.first_seq_nr());
                return Err(text.into());
            }
            expected = stored.seq_nr + 1;
        }
        if expected == self.next && first > 0 {
            return Ok(first);
        }
        Err(format!("the durable queue lacks message {expected}: the next is {}", self.next).into())
    }
}

pub(super) fn chunks_of<T>(payloads: &[Payload<T>]) -> NonZeroU64 {
    NonZeroU64::new(payloads.len() as u64).unwrap_or(NonZeroU64::MIN)
}
