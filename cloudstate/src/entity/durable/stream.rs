//! The stream of one entity to the user function.

use std::sync::Arc;
use std::time::Duration;

use actors::Clock;
use persistence::JournalError;
use tokio::sync::mpsc;

use super::protocol::Protocol;
use super::slow_store;
use super::state::ActivationError;
use crate::entity::handle;
use crate::user_function::{Link, LinkError};

/// Our side of the stream; dropping it half-closes the stream.
#[derive(Debug)]
pub struct Outbound<M> {
    /// Boxed: the channel keeps room for many messages, and most streams are idle.
    sender: mpsc::Sender<Box<M>>,
    clock: Clock,
    stall_timeout: Duration,
}

/// The function has ended its side or the stream broke: nothing can be sent any more.
#[derive(Debug)]
pub(super) struct Ended;

impl<M> Outbound<M> {
    /// Sends one message, waiting for the function to have taken earlier ones, but not for ever: an
    /// activation that stands still holds one of the few places for recoveries.
    pub(crate) async fn send(&self, message: M) -> Result<(), ActivationError> {
        self.within(self.sender.send(Box::new(message))).await
    }

    /// Waits until there is room for one more message.
    pub(crate) async fn room(&self) -> Result<(), ActivationError> {
        self.within(async { self.sender.reserve().await.map(drop) }).await
    }

    /// Reads from the store, but not for ever.
    pub(crate) async fn limited<T>(
        &self,
        read: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, ActivationError> {
        let read = self.clock.timeout(self.stall_timeout, read).await.map_err(slow_store)?;
        read.map_err(|error| ActivationError::Recovery(error.to_string()))
    }

    async fn within<E>(&self, taken: impl Future<Output = Result<(), E>>) -> Result<(), ActivationError> {
        match self.clock.timeout(self.stall_timeout, taken).await {
            Ok(taken) => taken.map_err(|_| ActivationError::Ended),
            Err(elapsed) => {
                Err(ActivationError::Unreachable(format!("the user function does not read its stream: {elapsed}")))
            }
        }
    }

    /// Sends one message if there is room, which there is whenever the function owes us an answer
    /// to all we sent.
    pub(super) fn try_send(&self, message: M) -> Result<(), Ended> {
        self.sender.try_send(Box::new(message)).map_err(|_| Ended)
    }
}

/// Opens a stream on `link`; at most `outbound_max` messages wait for the function to take them. The
/// second part drives it: it hands each message of the function to `deliver`, and completes when the
/// function has ended its side or the stream broke. Dropping it resets the stream.
pub(super) async fn open<P, D, F>(
    link: &Arc<Link>,
    clock: Clock,
    outbound_max: usize,
    stall_timeout: Duration,
    deliver: D,
) -> Result<(Outbound<P::In>, impl Future<Output = ()> + Send + use<P, D, F>), LinkError>
where
    P: Protocol,
    D: Fn(P::Out) -> F + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let channel = link.channel().await?;
    let (sender, receiver) = mpsc::channel(outbound_max);
    let caller = handle::caller(channel.clone(), link);
    let drive = async move {
        // The stream takes its place on the connection until it is over.
        let _place = channel;
        // The response headers may come only with the first reply, so nothing may wait for them.
        let mut inbound = match handle::handle::<P::In, P::Out>(caller, P::PATH, receiver).await {
            Ok(inbound) => inbound,
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
    Ok((Outbound { sender, clock, stall_timeout }, drive))
}
