//! The stream of one CRDT entity to the user function.

use std::sync::Arc;

use proto::cloudstate::crdt::crdt_client::CrdtClient;
use proto::cloudstate::crdt::{CrdtStreamIn, CrdtStreamOut, crdt_stream_in};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::state::Ended;
use crate::user_function::{Link, LinkError};

/// Messages that may wait for the function to take them: more than commands and cancellations that may be with it.
const OUTBOUND_MAX: usize = 4096;

/// Our side of the stream; dropping it half-closes the stream.
#[derive(Debug)]
pub(super) struct Outbound(mpsc::Sender<CrdtStreamIn>);

/// The function does not take what is sent to it.
#[derive(Debug)]
pub(super) struct Stalled;

impl Outbound {
    /// Sends one message. Into a stream that has ended it goes nowhere; the reader has said so.
    pub(super) fn send(&self, message: crdt_stream_in::Message) -> Result<(), Stalled> {
        match self.0.try_send(CrdtStreamIn { message: Some(message) }) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Stalled),
        }
    }
}

/// Opens a stream on `link`. The second part drives it: it hands each message of the function to `deliver`, and completes
/// when the function has ended its side or the stream broke. Dropping it resets the stream.
pub(super) async fn open<D, F>(
    link: &Arc<Link>,
    deliver: D,
) -> Result<(Outbound, impl Future<Output = Ended> + Send + use<D, F>), LinkError>
where
    D: Fn(CrdtStreamOut) -> F + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let channel = link.channel().await?;
    let (sender, receiver) = mpsc::channel(OUTBOUND_MAX);
    let mut client =
        CrdtClient::with_origin(channel.clone(), link.origin()).max_decoding_message_size(link.message_size_max());
    let drive = async move {
        // The stream takes its place on the connection until it is over.
        let _place = channel;
        let refused = |status: tonic::Status| {
            tracing::debug!(code = ?status.code(), message = status.message(), "entity stream broke");
            Ended::Failed
        };
        // The response headers may come only with the first reply, so nothing may wait for them.
        let mut inbound = match client.handle(ReceiverStream::new(receiver)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return refused(status),
        };
        loop {
            match inbound.message().await {
                Ok(Some(message)) => {
                    if !deliver(message).await {
                        return Ended::Completed;
                    }
                }
                Ok(None) => return Ended::Completed,
                Err(status) => return refused(status),
            }
        }
    };
    Ok((Outbound(sender), drive))
}
