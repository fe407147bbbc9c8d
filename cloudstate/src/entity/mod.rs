//! Entities: one protocol a file or folder, each a translation between a stream to the user function and an actor.

pub mod action;
pub mod crdt;
pub mod durable;
pub mod event_sourced;
mod handle;
pub mod places;
pub mod region;
pub mod value;

#[cfg(test)]
mod region_tests;

use std::sync::Arc;

use actors::{ReplyTo, Tick};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use persistence::CommandId;
use proto::cloudstate::Metadata;

use crate::call::{CallError, Replies, Reply, Requests};
use crate::entity::crdt::Sink;
use crate::router::Caller;
use crate::spec::MethodSpec;

/// What the caller of a command gets: a reply, nothing, or an error.
pub type Answer = Result<Option<Reply>, CallError>;

/// Serves the commands of one service, whatever its kind.
pub trait Component: Send + Sync + 'static {
    /// Carries out a command of which one reply is wanted; of several replies the first is taken.
    ///
    /// # Cancel safety
    /// Dropping the future means that nobody waits for the answer any more. What the user function has
    /// been given is still carried out.
    fn unary(&self, command: Command) -> BoxFuture<'static, Answer>;

    /// Carries out a command with any number of replies; ready when it is known that there will be
    /// replies, or that it failed. Dropping the stream cancels the command for the caller.
    fn streamed(&self, command: Command) -> BoxFuture<'static, Result<Replies, CallError>>;

    /// The sidecar is about to stop: replies without an end are ended now, so that nobody waits for them.
    fn end_streams(&self) {}

    /// Takes no more commands, finishes what is under way, lets go of the user function.
    fn drain(&self) -> BoxFuture<'static, ()>;
}

/// One command for a [`Component`].
#[derive(Debug)]
pub struct Command {
    /// The method that was called.
    pub method: Arc<MethodSpec>,
    /// The type URL that the payloads go under: that of the method's input type, unless the payload is
    /// an event for a method that takes any.
    pub type_url: Arc<str>,
    /// The request messages.
    pub requests: Requests,
    /// Metadata that came with the call, for those kinds of services that are given it.
    pub metadata: Metadata,
    /// Names the command, if its caller does; entities with a store carry it out once.
    pub command_id: Option<CommandId>,
    /// When the caller stops waiting.
    pub deadline: Option<Tick>,
    /// When the command was received.
    pub received_at: Tick,
    /// Through which forwards and side effects the command came.
    pub caller: Caller,
}

/// One command on its way to an entity.
#[derive(Debug)]
pub struct EntityCommand {
    /// The method that was called.
    pub method: Arc<MethodSpec>,
    /// The type URL that the payload goes under.
    pub type_url: Arc<str>,
    /// The request message as it was on the wire.
    pub payload: Bytes,
    /// Names the command, if its caller does.
    pub command_id: Option<CommandId>,
    /// When the caller stops waiting: a command that is still queued then is not started.
    pub deadline: Option<Tick>,
    /// When the command was received.
    pub received_at: Tick,
    /// Through which forwards and side effects the command came.
    pub caller: Caller,
    /// Whom to answer.
    pub reply_to: ReplyTo<Answer>,
    /// Where the elements of a streamed answer go. Then `reply_to` only learns that there will be replies, or that
    /// the command failed.
    pub replies: Option<Sink>,
}
