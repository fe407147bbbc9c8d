//! [`Home`]: an actor of this node by what it is known as, looked for at each message.

use super::{frame::To, shared::Shared};
use actors::{
    DeadLetterReason,
    remote::{Handle, Parcel, Refused, RemoteActor, Room, Stopped},
};
use std::{
    any::Any,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
};

/// See the module's documentation.
pub(super) struct Home {
    pub(super) shared: Weak<Shared>,
    pub(super) name: Arc<str>,
}

impl Home {
    /// Of what stands for a well-known actor of this node.
    pub(super) fn of(remote: &Arc<dyn RemoteActor>) -> Option<&Self> {
        remote.as_any().downcast_ref()
    }
}

impl RemoteActor for Home {
    fn try_tell(&self, parcel: Parcel<'_>, _room: Option<Room>) -> Result<(), Refused> {
        let shared = self.shared.upgrade().ok_or(Refused::Stopped)?;
        match shared.exports.find(To::Name(&self.name)) {
            Some((_, actor)) => parcel.forward(&actor),
            None => {
                parcel.undelivered(DeadLetterReason::Stopped);
                Ok(())
            }
        }
    }

    fn reserve(&self) -> Pin<Box<dyn Future<Output = Result<Room, Stopped>> + Send + '_>> {
        Box::pin(async { Ok(Box::new(()) as Room) })
    }

    fn audience_changed(&self, actor: &Handle) {
        let Some(shared) = self.shared.upgrade().filter(|_| actor.is_watched()) else { return };
        let Some((_, named)) = shared.exports.find(To::Name(&self.name)) else { return actor.end() };
        let (terminated, actor) = (named.terminated(), actor.clone());
        shared.seams.ordinary.spawn(Box::pin(async move {
            terminated.await;
            actor.end();
        }));
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
