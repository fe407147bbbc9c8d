//! A stream into an actor.

use std::pin::pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tokio::sync::Semaphore;

use crate::cell_ref::CellRef;
use crate::context::ActorContext;
use crate::envelope::{Envelope, Streamed};

impl<M: Send + 'static> ActorContext<M> {
    /// Runs `stream` beside this actor and delivers what `map` makes of each element, in order, and what `on_end` returns
    /// after the last.
    ///
    /// At most `at_most` elements are on their way: the stream is asked for another one only when one of them has been
    /// handled, to the end of its handler. They wait in the mailbox among all other messages and for room there, so a
    /// stream that never ends keeps nobody out.
    ///
    /// The stream ends with this life, as the future of [`pipe_to_self`](ActorContext::pipe_to_self) does: when the actor
    /// restarts or stops it is dropped at its next await point, and elements that were not handled yet are dropped too. A
    /// panic in it or in one of the functions, which run beside this actor, fails this actor.
    ///
    /// # Panics
    /// When `at_most` is zero, which fails this actor.
    ///
    /// ```
    /// use actors::{Actor, ActorContext, ActorSystem, Behavior, BoxError, Handled, ReplyTo};
    /// use futures_util::stream;
    ///
    /// /// Adds up what comes and answers once that is all.
    /// struct Sum {
    ///     total: u64,
    ///     reply_to: Option<ReplyTo<u64>>,
    /// }
    ///
    /// enum SumMessage {
    ///     Number(u64),
    ///     End,
    /// }
    ///
    /// impl Actor for Sum {
    ///     type Message = SumMessage;
    ///
    ///     async fn started(&mut self, ctx: &mut ActorContext<SumMessage>) -> Handled {
    ///         ctx.pipe_stream_to_self(stream::iter(1..=100), 8, SumMessage::Number, || SumMessage::End);
    ///         Ok(Behavior::Same)
    ///     }
    ///
    ///     async fn receive(&mut self, _ctx: &mut ActorContext<SumMessage>, message: SumMessage) -> Handled {
    ///         match message {
    ///             SumMessage::Number(number) => self.total += number,
    ///             SumMessage::End => {
    ///                 if let Some(reply_to) = self.reply_to.take() {
    ///                     reply_to.tell(self.total);
    ///                 }
    ///             }
    ///         }
    ///         Ok(Behavior::Same)
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let (reply_to, total) = ReplyTo::channel();
    /// ActorSystem::new("guide").spawn("sum", Sum { total: 0, reply_to: Some(reply_to) });
    /// assert_eq!(total.await?, 5050);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pipe_stream_to_self<T: Send + 'static>(
        &mut self,
        stream: impl Stream<Item = T> + Send + 'static,
        at_most: usize,
        mut map: impl FnMut(T) -> M + Send + 'static,
        on_end: impl FnOnce() -> M + Send + 'static,
    ) {
        assert!(at_most > 0, "pipe_stream_to_self: `at_most` must be at least 1");
        let places = Arc::new(Semaphore::new(at_most.min(Semaphore::MAX_PERMITS)));
        let (cell, life) = (self.cell().clone(), self.life);
        self.spawn_task(async move {
            let mut stream = pin!(stream);
            while let Ok(place) = places.clone().acquire_owned().await {
                match stream.next().await {
                    Some(element) => deliver(&cell, Streamed { life, message: map(element), place }).await,
                    None => return deliver(&cell, Streamed { life, message: on_end(), place }).await,
                }
            }
        });
    }
}

/// Waits for room; when the actor has stopped there is nobody left to tell.
async fn deliver<M: Send + 'static>(cell: &CellRef<M>, streamed: Streamed<M>) {
    let envelope = Envelope::Streamed(Box::new(streamed));
    if cell.foyer().is_some() {
        cell.deliver_past_foyer(envelope);
    } else if let Ok(permit) = cell.queue().reserve().await {
        cell.deliver(permit, envelope.into());
    }
}
