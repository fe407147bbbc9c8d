//! Entities: one protocol a file, each a translation between a stream to the user function and an actor.

pub mod event_sourced;
pub mod region;

use std::sync::Arc;

use actors::{ReplyTo, Tick};
use bytes::Bytes;

use crate::call::{CallError, Reply};
use crate::router::Caller;
use crate::spec::MethodSpec;

/// What the caller of a command gets: a reply, nothing, or an error.
pub type Answer = Result<Option<Reply>, CallError>;

/// One command on its way to an entity.
#[derive(Debug)]
pub struct EntityCommand {
    /// The method that was called.
    pub method: Arc<MethodSpec>,
    /// The request message as it was on the wire.
    pub payload: Bytes,
    /// When the caller stops waiting: a command that is still queued then is not started.
    pub deadline: Option<Tick>,
    /// When the command was received.
    pub received_at: Tick,
    /// Through which forwards and side effects the command came.
    pub caller: Caller,
    /// Whom to answer.
    pub reply_to: ReplyTo<Answer>,
}
