//! Bringing a CRDT entity to life: the replicated value out of the replicator, and a stream for it.

use std::sync::Arc;
use std::time::Duration;

use actors::{ActorRef, Clock};
use proto::cloudstate::crdt::CrdtStreamOut;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tracing::Instrument;

use super::stream::{self, Outbound};
use super::{Event, Internal};
use crate::call::CallError;
use crate::crdt::Crdt;
use crate::entity::places::{Place, StreamPlaces};
use crate::entity::region::{EntityMessage, Passivate};
use crate::replicator::{GetError, Notice, ReadConsistency, Replicator};
use crate::user_function::{LinkError, UserFunction};

/// What an activation needs to know.
#[derive(Clone)]
pub(super) struct Activation {
    pub(super) key: Arc<str>,
    pub(super) replicator: Replicator,
    pub(super) function: UserFunction,
    pub(super) clock: Clock,
    pub(super) connect_within: Duration,
    pub(super) read_within: Duration,
    pub(super) place_within: Duration,
    pub(super) places: StreamPlaces,
    pub(super) passivate: Passivate,
}

/// An open stream into which nothing has been sent yet, and what is to be said first.
#[derive(Debug)]
pub(super) struct Activated {
    pub(super) place: Option<Place>,
    pub(super) outbound: Outbound,
    pub(super) reader: AbortOnDropHandle<()>,
    pub(super) follower: AbortOnDropHandle<()>,
    pub(super) value: Option<Arc<Crdt>>,
}

type This = ActorRef<EntityMessage<Internal>>;

impl Activation {
    /// Reads the replicated value and opens a stream; `None` if the key is deleted: then the function is not bothered.
    pub(super) async fn run(&self, generation: u64, this: This) -> Result<Option<Box<Activated>>, CallError> {
        let waited = self.clock.timeout(self.place_within, self.places.take(self.passivate.clone())).await;
        let place = waited.map_err(|_| {
            let max = self.places.max().unwrap_or_default();
            let text = format!(
                "all {max} entity streams of the user function are in use (entity-streams-max); try again later"
            );
            CallError::status(Code::ResourceExhausted, text)
        })?;
        // Before the value is read: nothing that happens from now on is missed.
        let follower = self.follow(generation, this.clone());
        let read_by = self.clock.now() + self.read_within;
        let read = self.replicator.get(&self.key, ReadConsistency::Majority, read_by);
        let (value, link) = tokio::join!(read, self.function.link(self.connect_within));
        let value = match value {
            Ok(value) | Err(GetError::NotReached(value)) => value,
            Err(GetError::Deleted) => return Ok(None),
        };
        let unreachable = |error: LinkError| CallError::status(Code::Unavailable, error.to_string());
        let link = link.map_err(unreachable)?;
        let reader_of = this.clone();
        let deliver = move |message: CrdtStreamOut| {
            let event = Event::Received { generation, message: Box::new(message) };
            let this = reader_of.clone();
            async move { this.send(EntityMessage::Internal(Internal(event))).await.is_ok() }
        };
        let (outbound, drive) = stream::open(&link, deliver).await.map_err(unreachable)?;
        let read = async move {
            let how = drive.await;
            // The entity has stopped when this fails: there is nobody to tell.
            let _ = this.send(EntityMessage::Internal(Internal(Event::Ended { generation, how }))).await;
        };
        let reader = AbortOnDropHandle::new(tokio::spawn(read.in_current_span()));
        Ok(Some(Box::new(Activated { place, outbound, reader, follower, value })))
    }

    /// Tells the entity that the value, or the membership, has changed. Not of what: by the time it looks there may be more.
    fn follow(&self, generation: u64, this: This) -> AbortOnDropHandle<()> {
        let mut subscription = self.replicator.subscribe(&self.key);
        let mut members = self.replicator.members();
        let follow = async move {
            loop {
                let event = tokio::select! {
                    notice = subscription.next() => match notice {
                        Notice::Changed(_) => Event::Changed { generation },
                        Notice::Deleted => Event::KeyDeleted { generation },
                    },
                    Ok(()) = members.changed() => Event::Members(members.borrow_and_update().clone()),
                };
                if this.send(EntityMessage::Internal(Internal(event))).await.is_err() {
                    return;
                }
            }
        };
        AbortOnDropHandle::new(tokio::spawn(follow.in_current_span()))
    }
}
