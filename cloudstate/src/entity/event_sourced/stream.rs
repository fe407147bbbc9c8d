//! The stream of one entity to the user function.

use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut, event_sourced_stream_in};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::user_function::Link;

/// Our side of the stream; dropping it half-closes the stream.
#[derive(Debug)]
pub(super) struct Outbound(mpsc::Sender<EventSourcedStreamIn>);

/// The function has ended its side or the stream broke: nothing can be sent any more.
#[derive(Debug)]
pub(super) struct Ended;

impl Outbound {
    /// Sends one message, waiting for the function to have taken earlier ones.
    pub(super) async fn send(&self, message: event_sourced_stream_in::Message) -> Result<(), Ended> {
        self.0.send(EventSourcedStreamIn { message: Some(message) }).await.map_err(|_| Ended)
    }

    /// Waits until there is room for one more message.
    pub(super) async fn room(&self) -> Result<(), Ended> {
        self.0.reserve().await.map(drop).map_err(|_| Ended)
    }

    /// Sends one message if there is room, which there is whenever the function owes us an answer
    /// to all we sent.
    pub(super) fn try_send(&self, message: event_sourced_stream_in::Message) -> Result<(), Ended> {
        self.0.try_send(EventSourcedStreamIn { message: Some(message) }).map_err(|_| Ended)
    }
}

/// Opens a stream on `link`; at most `outbound_max` messages wait for the function to take them. The second part drives it: it hands each message of the function to
/// `deliver`, and completes when the function has ended its side or the stream broke. Dropping it
/// resets the stream.
pub(super) async fn open<D, F>(
    link: &Link,
    outbound_max: usize,
    deliver: D,
) -> Result<(Outbound, impl Future<Output = ()> + Send + use<D, F>), crate::user_function::LinkError>
where
    D: Fn(EventSourcedStreamOut) -> F + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let channel = link.channel().await?;
    let mut client =
        EventSourcedClient::with_origin(channel, link.origin()).max_decoding_message_size(link.message_size_max());
    let (sender, receiver) = mpsc::channel(outbound_max);
    let drive = async move {
        // The response headers may come only with the first reply, so nothing may wait for them.
        let mut inbound = match client.handle(ReceiverStream::new(receiver)).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                tracing::debug!(code = ?status.code(), message = status.message(), "entity stream was refused");
                return;
            }
        };
        loop {
            match inbound.message().await {
                Ok(Some(message)) => {
                    if !deliver(message).await {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(code = ?status.code(), message = status.message(), "entity stream broke");
                    return;
                }
            }
        }
    };
    Ok((Outbound(sender), drive))
}
