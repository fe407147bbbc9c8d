//! The stream of one entity: messages in, messages out, an error ends it.

use proto::cloudstate::Failure;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Refused;

/// Messages that may wait for the connection. A slow sidecar stops the entity, not the other way round.
const OUT_MAX: usize = 16;

/// What the protocol's side of one entity does with a message; a plain state machine.
pub trait Session: Send + 'static {
    /// What the sidecar sends.
    type In: Send + 'static;
    /// What the entity sends.
    type Out: Send + 'static;

    /// The next message. A refusal ends the stream: the entity's state is no longer what the sidecar thinks it is.
    ///
    /// # Errors
    ///
    /// When the message breaks the protocol.
    fn receive(&mut self, message: Self::In) -> Result<Vec<Self::Out>, Refused>;

    /// A failure of the stream itself.
    fn failure(failure: Failure) -> Self::Out;
}

/// What the entity sends.
pub type Out<S> = ReceiverStream<Result<<S as Session>::Out, Status>>;

/// Runs `session` until the sidecar closes its side, and then closes ours.
pub fn run<S: Session>(mut messages: Streaming<S::In>, mut session: S) -> Out<S> {
    let (out, received) = mpsc::channel(OUT_MAX);
    // Ends with the stream: either side closing it ends the loop.
    tokio::spawn(async move {
        while let Ok(Some(message)) = messages.message().await {
            let (answers, ended) = match session.receive(message) {
                Ok(answers) => (answers, false),
                Err(Refused(description)) => (vec![S::failure(Failure { description, ..Failure::default() })], true),
            };
            for answer in answers {
                if out.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            if ended {
                return;
            }
        }
    });
    ReceiverStream::new(received)
}
