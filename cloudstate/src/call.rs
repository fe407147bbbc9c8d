//! One call of a client, as it travels from the front end to whoever carries it out.
//!
//! The front end knows transports, [`Dispatch`] knows entities; this is all they know of each other.
//! Payloads are the bytes of the method's input or output message, never decoded on the way.

use std::sync::Arc;

use actors::Tick;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use persistence::CommandId;
use proto::cloudstate::Metadata;
use tonic::{Code, Status};

use crate::spec::{KeyError, MethodSpec};

/// A call of a method that the user function serves.
#[derive(Debug)]
pub struct Call {
    /// The method called; its service is `method.service`.
    pub method: Arc<MethodSpec>,
    /// Headers of the request, without pseudo, hop-by-hop and transport-owned ones, in order. Empty for methods of
    /// stateful entities, whose commands carry none.
    pub metadata: Metadata,
    /// Names the call, if the caller does: it may be sent again under the same name. Of account for methods of
    /// event-sourced and value entities.
    pub command_id: Option<CommandId>,
    /// When the caller gives up. The front end answers for itself then and drops the call;
    /// whoever queues a call drops it unstarted once this is past.
    pub deadline: Option<Tick>,
    /// The request messages.
    pub requests: Requests,
}

/// The request messages of a [`Call`].
pub enum Requests {
    /// Exactly one, for methods without client streaming.
    One(Bytes),
    /// As many as the client sends, for methods with client streaming. An error ends the stream.
    Many(BoxStream<'static, Result<Bytes, CallError>>),
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Requests::One(payload) => write!(f, "One({} bytes)", payload.len()),
            Requests::Many(_) => f.write_str("Many(..)"),
        }
    }
}

impl Requests {
    /// The messages as a stream, whatever the shape of the call.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes, CallError>> {
        match self {
            Requests::One(payload) => futures_util::stream::once(std::future::ready(Ok(payload))).boxed(),
            Requests::Many(stream) => stream,
        }
    }
}

/// One reply message. A reply without payload is no element of the stream of replies at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The serialised output message.
    pub payload: Bytes,
    /// The type URL the user function gave it.
    pub type_url: Arc<str>,
    /// What the user function wants to tell the client beside the message. Only that of the first
    /// reply reaches a client, as response headers.
    pub metadata: Option<Metadata>,
}

/// The replies of a call, in order. Dropping the stream cancels the call.
pub type Replies = BoxStream<'static, Result<Reply, CallError>>;

/// Why a call failed.
#[derive(Clone, Debug)]
pub enum CallError {
    /// The user function refused the command, with its own text: gRPC `UNKNOWN` with the text,
    /// HTTP 500 with the bare text.
    Failure(String),
    /// Anything else, with a status of its own (code, message, details and trailers).
    Status(Status),
}

impl CallError {
    /// A failure with `code` and `message`.
    pub fn status(code: Code, message: impl Into<String>) -> Self {
        CallError::Status(Status::new(code, message))
    }

    /// The status code a gRPC client sees.
    pub fn code(&self) -> Code {
        match self {
            CallError::Failure(_) => Code::Unknown,
            CallError::Status(status) => status.code(),
        }
    }

    /// The text a client sees.
    pub fn message(&self) -> &str {
        match self {
            CallError::Failure(text) => text,
            CallError::Status(status) => status.message(),
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Failure(text) => f.write_str(text),
            CallError::Status(status) => write!(f, "{:?}: {}", status.code(), status.message()),
        }
    }
}

impl std::error::Error for CallError {}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        CallError::Status(status)
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failure(text) => Status::unknown(text),
            CallError::Status(status) => status,
        }
    }
}

impl From<KeyError> for CallError {
    fn from(error: KeyError) -> Self {
        CallError::Status(Status::invalid_argument(error.to_string()))
    }
}

/// Carries calls out: to entities, to actions, wherever the method's entity type says.
///
/// The front end has checked that the method is served and that the request is well framed, not
/// that the payload is a valid message or has a key.
pub trait Dispatch: Send + Sync + 'static {
    /// Starts `call`; ready when it is known that there will be replies, or that it failed.
    ///
    /// # Cancel safety
    /// Dropping the future or the returned stream cancels the call for the caller. A command that
    /// an entity has already been given is still carried out.
    fn dispatch(&self, call: Call) -> BoxFuture<'static, Result<Replies, CallError>>;

    /// As [`Dispatch::dispatch`] for a method with one reply: `None` when the user function
    /// answered without a payload. Replies after the first are dropped.
    fn dispatch_unary(&self, call: Call) -> BoxFuture<'static, Result<Option<Reply>, CallError>> {
        let replies = self.dispatch(call);
        Box::pin(async move { replies.await?.next().await.transpose() })
    }
}
