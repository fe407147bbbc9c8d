//! Passing one call on to the user function while recording it.

use std::fmt::Debug;
use std::future::Future;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, Streaming};

use super::record::{Recorder, Recorders};

/// Messages in flight per direction; more wait, as on the wire.
const IN_FLIGHT_MAX: usize = 16;

/// What the proxy is answered with.
pub(super) type Answers<O> = ReceiverStream<Result<O, Status>>;

/// Relays a call whose requests are streamed; `open` makes the call to the user function.
///
/// Answers at once: a function sends its response headers only with its first reply, so both ways run beside each
/// other and nobody waits for headers. Each message is recorded before it is passed on.
pub(super) fn relay<I, O, F>(
    requests: Streaming<I>,
    recorders: Recorders<I, O>,
    open: impl FnOnce(ReceiverStream<I>) -> F,
) -> Answers<O>
where
    I: Clone + Debug + Send + 'static,
    O: Clone + Debug + Send + 'static,
    F: Future<Output = Result<Response<Streaming<O>>, Status>> + Send + 'static,
{
    let Recorders { input, output } = recorders;
    let (forward, forwarded) = mpsc::channel(IN_FLIGHT_MAX);
    let (answer, answers) = mpsc::channel(IN_FLIGHT_MAX);
    let reset = CancellationToken::new();
    tokio::spawn(pass_requests(requests, input, forward, reset.clone()));
    tokio::spawn(pass_answers(open(ReceiverStream::new(forwarded)), output, answer, reset));
    ReceiverStream::new(answers)
}

/// Relays a call with one request and streamed answers.
pub(super) fn relay_answers<O, F>(output: Recorder<O>, call: F) -> Answers<O>
where
    O: Clone + Debug + Send + 'static,
    F: Future<Output = Result<Response<Streaming<O>>, Status>> + Send + 'static,
{
    let (answer, answers) = mpsc::channel(IN_FLIGHT_MAX);
    tokio::spawn(pass_answers(call, output, answer, CancellationToken::new()));
    ReceiverStream::new(answers)
}

/// Relays streamed requests that get one answer: the requests to hand to the user function.
pub(super) fn relay_requests<I>(requests: Streaming<I>, input: Recorder<I>) -> ReceiverStream<I>
where
    I: Clone + Debug + Send + 'static,
{
    let (forward, forwarded) = mpsc::channel(IN_FLIGHT_MAX);
    tokio::spawn(pass_requests(requests, input, forward, CancellationToken::new()));
    ReceiverStream::new(forwarded)
}

/// Records the only answer of a call.
pub(super) async fn one_answer<O: Clone>(
    output: Recorder<O>,
    call: impl Future<Output = Result<Response<O>, Status>>,
) -> Result<Response<O>, Status> {
    match call.await {
        Ok(answer) => {
            output.message(answer.get_ref().clone());
            output.completed();
            Ok(Response::new(answer.into_inner()))
        }
        Err(status) => {
            output.failed(status.clone());
            Err(status)
        }
    }
}

async fn pass_requests<I: Clone>(
    mut requests: Streaming<I>,
    input: Recorder<I>,
    forward: mpsc::Sender<I>,
    reset: CancellationToken,
) {
    loop {
        match requests.message().await {
            Ok(Some(message)) => {
                input.message(message.clone());
                // The function may have ended its side already; what the proxy still sends is recorded all the same.
                let _ = forward.send(message).await;
            }
            Ok(None) => return input.completed(),
            Err(status) => {
                input.failed(status);
                return reset.cancel();
            }
        }
    }
}

async fn pass_answers<O: Clone>(
    call: impl Future<Output = Result<Response<Streaming<O>>, Status>>,
    output: Recorder<O>,
    answer: mpsc::Sender<Result<O, Status>>,
    reset: CancellationToken,
) {
    let pass = async {
        let mut answers = call.await?.into_inner();
        while let Some(message) = answers.message().await? {
            output.message(message.clone());
            // A proxy that hung up is noticed below.
            let _ = answer.send(Ok(message)).await;
        }
        Ok(())
    };
    // Dropping the call resets it: the user function sees what the proxy did.
    let end = tokio::select! {
        end = pass => end,
        // While its side was open, or after it had half-closed.
        () = reset.cancelled() => Err(Status::cancelled("the proxy reset the stream")),
        () = answer.closed() => Err(Status::cancelled("the proxy does not wait for the end of the stream")),
    };
    match end {
        Ok(()) => output.completed(),
        Err(status) => {
            output.failed(status.clone());
            let _ = answer.send(Err(status)).await;
        }
    }
}
