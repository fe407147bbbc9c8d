//! [`AcknowledgedSink`]: an actor as the end of a stream that says when it has dealt with an element.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesOrdered, Stream};
use futures_util::{Sink, SinkExt};

use super::ActorSink;
use crate::actor_ref::ActorRef;
use crate::ask::{Ask, AskError, ReplyTo};

/// A `futures` sink whose elements an actor acknowledges, each with a `ReplyTo<()>` it is told together with the element.
///
/// The sink is ready while fewer elements than agreed wait for their acknowledgement, those acknowledged out of order
/// included; flushing and closing wait until all are acknowledged. That wait has no limit of its own: put it under
/// [`Clock::timeout`](crate::Clock::timeout) where the actor may keep silent.
///
/// # Ordering
/// Elements arrive in order.
///
/// # Cancel safety
/// As [`ActorSink`]: a dropped future of `send` or `flush` loses nothing while the sink lives on. Dropping the sink gives
/// up the acknowledgements; elements that were sent stay sent.
///
/// # Errors
/// An [`AskError`] once an element can no longer be acknowledged: [`AskError::Stopped`], or [`AskError::NoReply`] when
/// the actor dropped its `ReplyTo`, by failing for instance. It ends the sink: every later call returns it again. The
/// first [`acknowledged`](AcknowledgedSink::acknowledged) elements are dealt with, of the next ones it is not known.
///
/// ```
/// use actors::{AcknowledgedSink, ActorSystem, Behavior, BoxError, FnActor, ReplyTo};
/// use futures_util::{SinkExt, StreamExt, stream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let written = FnActor::new(Vec::new(), |written, _ctx, (line, done): (&str, ReplyTo<()>)| {
///     written.push(line); // to a disk, say
///     done.tell(());
///     Ok(Behavior::Same)
/// });
/// let writer = ActorSystem::new("guide").spawn("writer", written);
///
/// // At most eight lines are on their way at any time.
/// let mut sink = AcknowledgedSink::new(writer, 8, |line, done| (line, done));
/// sink.send_all(&mut stream::iter(["a", "b", "c"]).map(Ok)).await?;
/// assert_eq!(sink.acknowledged(), 3);
/// # Ok(())
/// # }
/// ```
#[must_use = "a sink does nothing until it is given elements"]
pub struct AcknowledgedSink<M, F> {
    sink: ActorSink<M>,
    wrap: F,
    unacknowledged: FuturesOrdered<Ask<()>>,
    at_most: usize,
    acknowledged: u64,
    failed: Option<AskError>,
}

/// Messages and functions are moved, never pinned.
impl<M, F> Unpin for AcknowledgedSink<M, F> {}

impl<M: Send + 'static, F> AcknowledgedSink<M, F> {
    /// A sink that ends in `actor`, with `at_most` elements unacknowledged at any time; `wrap` makes the message of an
    /// element and the place for its acknowledgement.
    ///
    /// # Panics
    /// When `at_most` is zero: such a sink could never take an element.
    pub fn new<T>(actor: ActorRef<M>, at_most: usize, wrap: F) -> Self
    where
        F: FnMut(T, ReplyTo<()>) -> M,
    {
        assert!(at_most > 0, "AcknowledgedSink: `at_most` must be at least 1");
        let unacknowledged = FuturesOrdered::new();
        Self { sink: ActorSink::new(actor), wrap, unacknowledged, at_most, acknowledged: 0, failed: None }
    }

    /// The actor it ends in.
    pub fn actor_ref(&self) -> &ActorRef<M> {
        self.sink.actor_ref()
    }

    /// How many elements are acknowledged, counted from the first up to one that is not.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Sends the element held back for want of room, if there is one.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        let sent = ready!(self.sink.poll_flush_unpin(cx));
        Poll::Ready(sent.map_err(|_| self.fail(AskError::Stopped)))
    }

    /// Takes the acknowledgements that are there; ready when none is still out.
    fn poll_acknowledged(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        if let Some(error) = self.failed {
            return Poll::Ready(Err(error));
        }
        while let Some(outcome) = ready!(Pin::new(&mut self.unacknowledged).poll_next(cx)) {
            match outcome {
                Ok(()) => self.acknowledged += 1,
                Err(error) => return Poll::Ready(Err(self.fail(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_all_acknowledged(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        // Also while an element waits for room: an acknowledgement that will not come is known before that.
        if let Poll::Ready(Err(error)) = self.poll_acknowledged(cx) {
            return Poll::Ready(Err(error));
        }
        ready!(self.poll_sent(cx))?;
        self.poll_acknowledged(cx)
    }

    fn fail(&mut self, error: AskError) -> AskError {
        *self.failed.get_or_insert(error)
    }
}

impl<T, M, F> Sink<T> for AcknowledgedSink<M, F>
where
    M: Send + 'static,
    F: FnMut(T, ReplyTo<()>) -> M,
{
    type Error = AskError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        if let Poll::Ready(Err(error)) = self.poll_acknowledged(cx) {
            return Poll::Ready(Err(error));
        }
        ready!(self.poll_sent(cx))?;
        if self.unacknowledged.len() < self.at_most { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn start_send(mut self: Pin<&mut Self>, element: T) -> Result<(), AskError> {
        let this = &mut *self;
        let (reply_to, ask) = ReplyTo::channel();
        let message = (this.wrap)(element, reply_to);
        match this.sink.start_send_unpin(message) {
            Ok(()) => {
                this.unacknowledged.push_back(ask);
                Ok(())
            }
            Err(_) => Err(this.fail(AskError::Stopped)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        self.poll_all_acknowledged(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), AskError>> {
        self.poll_all_acknowledged(cx)
    }
}

impl<M: Send + 'static, F> fmt::Debug for AcknowledgedSink<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcknowledgedSink")
            .field("actor", self.actor_ref())
            .field("acknowledged", &self.acknowledged)
            .field("unacknowledged", &self.unacknowledged.len())
            .finish()
    }
}
