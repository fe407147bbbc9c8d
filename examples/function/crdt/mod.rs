//! Entities whose state is replicated to all nodes: a command changes the value where it arrives.

mod counters;
mod data;
mod element;
mod map;
mod scalars;
mod session;
mod sets;

#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod tests;

use proto::cloudstate::crdt::crdt_server::Crdt as Protocol;
use proto::cloudstate::crdt::{CrdtStreamIn, CrdtWriteConsistency};
use proto::cloudstate::{Command, SideEffect};
use tonic::{Request, Response, Status, Streaming};

pub use counters::{GCounter, PNCounter};
pub use data::Data;
pub use map::ORMap;
pub use scalars::{Flag, LWWRegister, Vote};
pub use sets::{GSet, ORSet};

use super::server::Factories;
use super::{Answer, Refused, stream};

/// The logic of one entity. There is one of these on every node on which the entity is used.
pub trait Crdt: Send + 'static {
    /// The value before anybody has changed it.
    fn create(&self) -> Data;

    /// Carries out `command` by changing `data`. Of a command that fails nothing remains.
    ///
    /// # Errors
    ///
    /// When the command cannot be carried out; the caller gets the reason.
    fn handle(&mut self, command: &Command, data: &mut Data) -> Result<Effect, Refused>;

    /// The value has changed, here or elsewhere: what the caller of `open`, a streamed command that was kept
    /// open, gets.
    fn changed(&mut self, open: &Command, data: &Data) -> Option<Message> {
        let _ = (open, data);
        None
    }

    /// The caller of `open`, a streamed command that was kept open, has gone away. The value may be changed once more.
    fn cancelled(&mut self, open: &Command, data: &mut Data) -> Cancelled {
        let _ = (open, data);
        Cancelled::default()
    }
}

/// What a command does besides changing the value.
#[derive(Debug, Default)]
pub struct Effect {
    /// What the caller gets.
    pub answer: Answer,
    /// Whether more answers follow; only for streamed commands.
    pub keep_open: bool,
    /// Whether the entity ends here, for good and on all nodes.
    pub delete: bool,
    /// How many nodes must know of the change before the caller gets its answer.
    pub consistency: CrdtWriteConsistency,
}

impl From<Answer> for Effect {
    fn from(answer: Answer) -> Self {
        Self { answer, ..Self::default() }
    }
}

/// A further answer to a streamed command.
#[derive(Debug, Default)]
pub struct Message {
    /// What the caller gets.
    pub answer: Answer,
    /// Whether it was the last one.
    pub end: bool,
}

/// What follows from a caller's going away.
#[derive(Debug, Default)]
pub struct Cancelled {
    /// Calls to other services.
    pub side_effects: Vec<SideEffect>,
    /// How many nodes must know of the change.
    pub consistency: CrdtWriteConsistency,
}

/// CRDT services by name.
pub(super) type Services = Factories<dyn Crdt>;

#[tonic::async_trait]
impl Protocol for Services {
    type handleStream = stream::Out<session::Entity>;

    async fn handle(&self, request: Request<Streaming<CrdtStreamIn>>) -> Result<Response<Self::handleStream>, Status> {
        Ok(Response::new(stream::run(request.into_inner(), session::Entity::new(self.clone()))))
    }
}
