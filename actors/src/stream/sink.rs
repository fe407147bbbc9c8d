//! [`ActorSink`]: an actor as the end of a stream.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Sink;

use crate::actor_ref::{ActorRef, Stopped, TryTellError};

/// A `futures` sink whose elements are told to an actor, as [`ActorRef::send`] does: when the mailbox is full the sink is
/// not ready until there is room.
///
/// An element that was sent is in the mailbox; whether it is handled is not known. Who wants to know uses an
/// [`AcknowledgedSink`](crate::AcknowledgedSink). Closing the sink sends what it holds; the actor is not stopped.
///
/// # Ordering
/// Elements arrive in order. Between sinks, and between a sink and other senders, nothing is promised.
///
/// # Cancel safety
/// The sink holds one element at most, one for which there was no room; the next call of any method sends it as soon as
/// there is. So a future of `SinkExt::send` or `send_all` that is dropped loses nothing while the sink lives on. Dropping
/// the sink drops that element; `flush` or `close` before.
///
/// # Errors
/// [`Stopped`] with the element once the actor has terminated for good; a restart is not an error.
///
/// ```
/// use actors::{ActorSink, ActorSystem, Behavior, BoxError, FnActor, Mailbox, Props, ReplyTo};
/// use futures_util::{SinkExt, StreamExt, stream};
///
/// enum SumMessage {
///     Add(u64),
///     Total(ReplyTo<u64>),
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let sum = || {
///     FnActor::new(0, |total, _ctx, message| {
///         match message {
///             SumMessage::Add(number) => *total += number,
///             SumMessage::Total(reply_to) => reply_to.tell(*total),
///         }
///         Ok(Behavior::Same)
///     })
/// };
/// let sum = ActorSystem::new("guide").spawn("sum", Props::new(sum).mailbox(Mailbox::bounded(10)));
///
/// let mut sink = ActorSink::new(sum.map(SumMessage::Add));
/// sink.send_all(&mut stream::iter(1..=100).map(Ok)).await?; // ninety more than fit into the mailbox
/// let (reply_to, total) = ReplyTo::channel();
/// sum.send(SumMessage::Total(reply_to)).await?;
/// assert_eq!(total.await?, 5050);
/// # Ok(())
/// # }
/// ```
#[must_use = "a sink does nothing until it is given elements"]
pub struct ActorSink<M> {
    actor: ActorRef<M>,
    sending: Option<Sending<M>>,
}

/// The element there was no room for.
type Sending<M> = Pin<Box<dyn Future<Output = Result<(), Stopped<M>>> + Send>>;

impl<M: Send + 'static> ActorSink<M> {
    /// A sink that ends in `actor`.
    pub fn new(actor: ActorRef<M>) -> Self {
        Self { actor, sending: None }
    }

    /// The actor it ends in.
    pub fn actor_ref(&self) -> &ActorRef<M> {
        &self.actor
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<M>>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        let sent = ready!(sending.as_mut().poll(cx));
        drop(mem::take(&mut self.sending));
        Poll::Ready(sent)
    }
}

impl<M: Send + 'static> Sink<M> for ActorSink<M> {
    type Error = Stopped<M>;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<M>>> {
        self.poll_sent(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: M) -> Result<(), Stopped<M>> {
        assert!(
            self.sending.is_none(),
            "start_send: a sink takes an element only after `poll_ready` said that it is ready"
        );
        match self.actor.try_tell(message) {
            Ok(()) => {}
            Err(TryTellError::Stopped(message)) => return Err(Stopped(message)),
            Err(TryTellError::Full(message)) => {
                let actor = self.actor.clone();
                self.sending = Some(Box::pin(async move { actor.send(message).await }));
            }
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<M>>> {
        self.poll_sent(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<M>>> {
        self.poll_sent(cx)
    }
}

impl<M: Send + 'static> fmt::Debug for ActorSink<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorSink").field("actor", &self.actor).field("waits", &self.sending.is_some()).finish()
    }
}
