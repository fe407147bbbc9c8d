//! What event-sourced and value entities have in common, and where they differ.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use persistence::{Answered, AppendError, CommandWindow, Fence, PersistenceId, WindowLimits};
use proto::Any;
use proto::cloudstate::{Command, Failure, SideEffect, client_action};

use super::kept::KeptSnapshots;
use super::state::ActivationError;
use super::stream::Outbound;
use crate::telemetry::EntityMetrics;

/// Who an entity is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Full name of its service.
    pub service: Arc<str>,
    /// Its id within the service.
    pub entity_id: Arc<str>,
    /// Its id in the store.
    pub id: PersistenceId,
}

/// The texts that callers get, which the protocol fixes for each kind of entity.
#[derive(Debug)]
pub struct Words {
    /// A reply that nobody asked for.
    pub reply: &'static str,
    /// The function failed the stream.
    pub failure: &'static str,
    /// A message that is none.
    pub message: &'static str,
    /// The function ended the stream.
    pub termination: &'static str,
    /// For those who waited behind the command that went wrong.
    pub terminated: &'static str,
    /// The store could not be read.
    pub recovery: &'static str,
    /// What a reply stores, in the plural.
    pub stored: &'static str,
}

/// A message of the user function.
#[derive(Debug)]
pub enum FromFunction<C> {
    /// The answer to a command.
    Reply(Box<Reply<C>>),
    /// The function gives the stream up.
    Failure(Failure),
    /// What no function may send; the text says what it was.
    Invalid(&'static str),
}

/// The answer to a command.
#[derive(Debug)]
pub struct Reply<C> {
    /// The command that it answers.
    pub command_id: i64,
    /// What is to happen for the caller.
    pub action: Option<client_action::Action>,
    /// Further calls that the function wants to be made.
    pub side_effects: Vec<SideEffect>,
    /// What is to be stored first.
    pub change: Option<C>,
    /// The state after the change, to be kept as well.
    pub snapshot: Option<Any>,
    /// The function's state is ahead of what is stored: it has to be told it anew.
    pub restart: bool,
    /// A mistake of the function in this reply that does no harm.
    pub mistake: Option<&'static str>,
}

/// What a reply changes in the store.
pub trait Change: Debug + Send + 'static {
    /// By how much the entity's position in the store grows.
    fn steps(&self) -> u64;
    /// Sizes of the parts that are stored, in bytes, type URLs included.
    fn sizes(&self) -> impl Iterator<Item = usize>;
}

/// A change on its way to the store.
#[derive(Debug)]
pub struct Write<C> {
    /// The change.
    pub change: C,
    /// The entity's position in the store before it: a sequence number or a revision.
    pub after: u64,
    /// The claim of this process on the entity.
    pub fence: Fence,
    /// Wall clock, milliseconds since 1970.
    pub time_ms: u64,
    /// The command that it answers, if that has a key, and what is answered: stored in the same write.
    pub answered: Option<Answered>,
    /// All commands with a key that are known after it; empty unless [`Protocol::WINDOW_IN_WRITES`].
    pub window: Vec<Answered>,
}

/// A snapshot to keep.
pub struct Saving {
    /// The last event in it.
    pub position: u64,
    /// The state, as the function made it.
    pub snapshot: Any,
    /// The commands with a key that led to it.
    pub window: Vec<Answered>,
    /// The claim of this process on the entity.
    pub fence: Fence,
    /// Wall clock, milliseconds since 1970.
    pub time_ms: u64,
    /// What this life of the entity knows of its snapshots.
    pub kept: Arc<Mutex<KeptSnapshots>>,
    /// Counts what fails.
    pub metrics: EntityMetrics,
}

/// One kind of entity with its store.
pub trait Protocol: Clone + Send + Sync + 'static {
    /// A message towards the user function.
    type In: prost::Message + 'static;
    /// A message of the user function.
    type Out: prost::Message + Default + 'static;
    /// What a reply stores.
    type Change: Change;
    /// What has been read before the stream is opened.
    type Beginning: Send;

    /// The texts of this kind.
    const WORDS: Words;

    /// How many commands with a key an entity knows.
    const WINDOW: WindowLimits;

    /// Whether each write takes the place of the one before it, and so has to say all that is known.
    const WINDOW_IN_WRITES: bool;

    /// The path of the protocol's stream.
    const PATH: &str;

    /// A command as a message of the stream.
    fn command(command: Command) -> Self::In;

    /// What the function says with a message.
    fn read(message: Self::Out) -> FromFunction<Self::Change>;

    /// Reads what has to be known before the stream is opened.
    fn begin(
        &self,
        entity: &Identity,
        metrics: &EntityMetrics,
    ) -> impl Future<Output = Result<Self::Beginning, ActivationError>> + Send;

    /// Sends the stream's first messages; answers the entity's position in the store, and fills `window` with the
    /// commands with a key that were carried out before.
    fn replay(
        &self,
        entity: &Identity,
        beginning: Self::Beginning,
        outbound: &Outbound<Self::In>,
        metrics: &EntityMetrics,
        window: &mut CommandWindow,
    ) -> impl Future<Output = Result<u64, ActivationError>> + Send;

    /// Stores a change. Writes that are asked for in order are carried out in order; one that follows a
    /// write that failed fails too.
    fn write(&self, entity: &Identity, write: Write<Self::Change>) -> BoxFuture<'static, Result<(), AppendError>>;

    /// Keeps a snapshot, and gives up older ones once it is stored; nobody waits for it.
    fn save_snapshot(&self, entity: &Identity, saving: Saving) -> BoxFuture<'static, ()>;
}
