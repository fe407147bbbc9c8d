//! The stream of one CRDT entity to the user function.

use std::sync::Arc;

use proto::cloudstate::crdt::{CrdtStreamIn, CrdtStreamOut, crdt_stream_in};
use tokio::sync::mpsc;

use super::state::Ended;
use crate::entity::handle;
use crate::user_function::{Link, LinkError};

/// Messages that may wait for the function to take them: more than commands and cancellations that may be with it.
const OUTBOUND_MAX: usize = 4096;

/// The path of the protocol's stream.
const PATH: &str = "/cloudstate.crdt.Crdt/handle";

/// Our side of the stream; dropping it half-closes the stream.
#[derive(Debug)]
pub(super) struct Outbound(mpsc::Sender<Box<CrdtStreamIn>>);

/// The function does not take what is sent to it.
#[derive(Debug)]
pub(super) struct Stalled;

impl Outbound {
    /// Sends one message. Into a stream that has ended it goes nowhere; the reader has said so.
    pub(super) fn send(&self, message: crdt_stream_in::Message) -> Result<(), Stalled> {
        match self.0.try_send(Box::new(CrdtStreamIn { message: Some(message) })) {
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
    let caller = handle::caller(channel.clone(), link);
    let drive = async move {
        // The stream takes its place on the connection until it is over.
        let _place = channel;
        let refused = |status: tonic::Status| {
            tracing::debug!(code = ?status.code(), message = status.message(), "entity stream broke");
            Ended::Failed
        };
        // The response headers may come only with the first reply, so nothing may wait for them.
        let mut inbound = match handle::handle::<CrdtStreamIn, CrdtStreamOut>(caller, PATH, receiver).await {
            Ok(inbound) => inbound,
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
