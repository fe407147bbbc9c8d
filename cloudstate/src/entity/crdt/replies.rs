//! The way of a streamed command's elements from the entity to the client.
//!
//! ```text
//!            at most 100                              1
//!   entity ──▶ elements ──▶ side effects, forwards ──▶ client
//! ```
//!
//! What an element sets off is carried out in a task of its own, so a slow client holds up neither the entity nor the
//! side effects of elements that it never takes.

use std::sync::Arc;

use parking_lot::Mutex;
use proto::cloudstate::{SideEffect, client_action};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::call::{CallError, Replies, Reply};
use crate::router::{Origin, Router};

/// Elements that wait for a client; one more fails its stream.
pub const ELEMENTS_MAX: usize = 100;

/// Where the elements of one streamed command go. When all clones are dropped the client's stream ends, after what is in it.
#[derive(Clone, Debug)]
pub struct Sink {
    elements: mpsc::Sender<Element>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Element {
    effects: Vec<SideEffect>,
    action: Option<client_action::Action>,
}

#[derive(Debug, Default)]
struct Shared {
    /// With what the stream ends, unless all is well.
    error: Mutex<Option<CallError>>,
    /// The error does not wait for the elements before it.
    abort: CancellationToken,
    /// The client takes no more.
    gone: CancellationToken,
}

impl Sink {
    /// Whether there is no room for one more element.
    pub fn is_full(&self) -> bool {
        self.elements.capacity() == 0
    }

    /// Adds an element; the entity has made sure that there is room.
    pub fn push(&self, effects: Vec<SideEffect>, action: Option<client_action::Action>) {
        if self.elements.try_send(Element { effects, action }).is_err() {
            tracing::debug!("an element came after the end of its stream");
        }
    }

    /// Ends the stream with an error, after what is in it.
    pub fn fail(self, error: CallError) {
        self.shared.error.lock().get_or_insert(error);
    }

    /// Ends the stream with an error at once.
    pub fn abort(self, error: CallError) {
        self.shared.error.lock().get_or_insert(error);
        self.shared.abort.cancel();
    }

    /// Completes when the client takes no more elements.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.gone.clone().cancelled_owned()
    }
}

/// The task between a [`Sink`] and its client.
pub(super) struct Pump {
    elements: mpsc::Receiver<Element>,
    shared: Arc<Shared>,
    out: mpsc::Sender<Result<Reply, CallError>>,
}

/// A sink, the replies that come of it, and the task between them, which has to be run.
pub(super) fn channel() -> (Sink, Pump, Replies) {
    let (elements, received) = mpsc::channel(ELEMENTS_MAX);
    let (out, replies) = mpsc::channel(1);
    let shared = Arc::new(Shared::default());
    let pump = Pump { elements: received, shared: shared.clone(), out };
    (Sink { elements, shared }, pump, Box::pin(ReceiverStream::new(replies)))
}

/// Nobody listens any more, or the stream has had its error.
struct Over;

impl Pump {
    /// Whether the entity has let go of its end.
    #[cfg(test)]
    pub(super) fn is_ending(&self) -> bool {
        self.elements.sender_strong_count() == 0
    }

    /// Carries out what the elements say and hands their replies on; returns when the stream is over. When `stopping`
    /// is cancelled the stream ends after what is in it.
    pub(super) async fn run(self, router: &Arc<Router>, origin: Origin, stopping: CancellationToken) {
        let Self { mut elements, shared, out } = self;
        // However this ends, the entity learns that nobody takes elements any more.
        let _gone = shared.gone.clone().drop_guard();
        let delivered = async {
            loop {
                let element = tokio::select! {
                    biased;
                    () = out.closed() => return Err(Over),
                    element = elements.recv() => element,
                    () = stopping.cancelled() => {
                        while let Ok(element) = elements.try_recv() {
                            deliver(router, &origin, element, &out).await?;
                        }
                        return Err(Over);
                    }
                };
                match element {
                    Some(element) => deliver(router, &origin, element, &out).await?,
                    None => break,
                }
            }
            let error = shared.error.lock().take();
            if let Some(error) = error {
                let _ = out.send(Err(error)).await;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            outcome = delivered => {
                if outcome.is_ok() {
                    return;
                }
            }
            () = shared.abort.cancelled() => {
                let error = shared.error.lock().take();
                if let Some(error) = error {
                    let _ = out.send(Err(error)).await;
                }
            }
        }
        shared.gone.cancel();
        drop(out);
        // Nobody listens any more, but what the function wants to be done is done.
        while let Some(Element { effects, .. }) = elements.recv().await {
            let done = router.finish(&origin, effects, None).await;
            if let Err(error) = done {
                tracing::debug!(%error, "side effect of a cancelled stream failed");
            }
        }
    }
}

async fn deliver(
    router: &Arc<Router>,
    origin: &Origin,
    Element { effects, action }: Element,
    out: &mpsc::Sender<Result<Reply, CallError>>,
) -> Result<(), Over> {
    let replies = router.finish(origin, effects, action).await;
    let mut replies = match replies {
        Ok(replies) => replies,
        Err(error) => {
            let _ = out.send(Err(error)).await;
            return Err(Over);
        }
    };
    loop {
        let reply = tokio::select! {
            biased;
            () = out.closed() => return Err(Over),
            reply = replies.next() => reply,
        };
        let Some(reply) = reply else { return Ok(()) };
        let answer = reply.map(Some);
        router.check_reply(&origin.method, &answer);
        let failed = answer.is_err();
        if let Some(reply) = answer.transpose() {
            out.send(reply).await.map_err(|_| Over)?;
        }
        if failed {
            return Err(Over);
        }
    }
}

#[cfg(test)]
mod tests {
    use actors::Clock;
    use proto::Any;
    use proto::cloudstate::Reply as FunctionReply;
    use tonic::Code;

    use super::*;
    use crate::router::{Caller, RouterSettings};
    use crate::user_function::{Endpoint, UserFunction};

    fn router() -> Arc<Router> {
        let endpoint = Endpoint { host: "nowhere".to_owned(), port: 1, message_size_max: 1 };
        let function = UserFunction::new(endpoint, Clock::tokio());
        let effects_timeout = std::time::Duration::from_secs(1);
        let settings = RouterSettings { hops_max: 1, asynchronous_max: 1, effects_timeout, under_way_max: 1 };
        Router::new(function, Clock::tokio(), settings)
    }

    fn reply() -> Option<client_action::Action> {
        let payload = Some(Any::default());
        Some(client_action::Action::Reply(FunctionReply { payload, metadata: None }))
    }

    /// The pump runs; the stopping token is the second part.
    fn started() -> (Sink, Replies, CancellationToken) {
        let (sink, pump, replies) = channel();
        let stopping = CancellationToken::new();
        let method = crate::entity::crdt::state_tests::method();
        let origin = Origin { method, caller: Caller::client(), command_id: None, deadline: None };
        let token = stopping.clone();
        tokio::spawn(async move { pump.run(&router(), origin, token).await });
        (sink, replies, stopping)
    }

    async fn fill(sink: &Sink) {
        while !sink.is_full() {
            sink.push(Vec::new(), reply());
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn elements_come_before_the_error_that_ends_the_stream() {
        let (sink, mut replies, _stopping) = started();
        sink.push(Vec::new(), reply());
        sink.push(Vec::new(), reply());
        sink.fail(CallError::Failure("over".to_owned()));
        assert!(replies.next().await.is_some_and(|reply| reply.is_ok()));
        assert!(replies.next().await.is_some_and(|reply| reply.is_ok()));
        assert_eq!(replies.next().await.expect("an error").expect_err("an error").message(), "over");
        assert!(replies.next().await.is_none());
    }

    #[tokio::test]
    async fn an_overflow_fails_the_stream_without_the_elements_that_wait() {
        let (sink, mut replies, _stopping) = started();
        fill(&sink).await;
        let gone = sink.gone();
        sink.abort(CallError::status(Code::ResourceExhausted, "too slow"));
        let mut taken = 0;
        let error = loop {
            match replies.next().await.expect("an element or the error") {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert!(taken < ELEMENTS_MAX / 2, "{taken} of them had been on their way");
        gone.await;
    }

    #[tokio::test]
    async fn the_entity_learns_that_the_client_has_left() {
        let (sink, replies, _stopping) = started();
        drop(replies);
        sink.gone().await;
    }

    #[tokio::test]
    async fn a_stream_that_is_stopped_ends_after_what_is_in_it() {
        let (sink, mut replies, stopping) = started();
        sink.push(Vec::new(), reply());
        sink.push(Vec::new(), reply());
        stopping.cancel();
        let mut taken = 0;
        while let Some(reply) = replies.next().await {
            reply.expect("no error");
            taken += 1;
        }
        assert_eq!(taken, 2);
        sink.gone().await;
    }
}
