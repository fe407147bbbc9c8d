//! [`Stub`]: how an actor of another node is reached.

use super::{
    frame::{Numbered, To},
    peer::Peer,
    window::{Place, Reserve, Window},
};
use crate::remote::transport::Lane;
use actors::{
    TraceContext,
    remote::{Handle, Parcel, Refused, RemoteActor, Room, Stopped},
};
use parking_lot::Mutex;
use std::{
    any::Any,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// An actor, as the node it lives on finds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Id(u64),
    Name(Arc<str>),
}

impl Target {
    pub(super) fn to(&self) -> To<'_> {
        match self {
            Self::Id(id) => To::Id(*id),
            Self::Name(name) => To::Name(name),
        }
    }
}

/// See the module's documentation.
pub(super) struct Stub {
    pub(super) peer: Arc<Peer>,
    pub(super) target: Target,
    pub(super) lane: Lane,
    /// Where the type of its messages was found among those that travel.
    pub(super) type_at: AtomicUsize,
    /// The number under which its end is waited for.
    pub(super) watch: Mutex<Option<u64>>,
    pub(super) window: Window,
    /// The window hears what is through.
    has_window: AtomicBool,
}

impl Stub {
    pub(super) fn new(peer: Arc<Peer>, target: Target, lane: Lane, row: u64) -> Self {
        Self {
            peer,
            target,
            lane,
            type_at: AtomicUsize::new(usize::MAX),
            watch: Mutex::new(None),
            window: Window::new(row),
            has_window: AtomicBool::new(false),
        }
    }

    /// Of what stands for an actor of another node.
    pub(super) fn of(remote: &Arc<dyn RemoteActor>) -> Option<&Self> {
        remote.as_any().downcast_ref()
    }

    fn tell(&self, parcel: Parcel<'_>, numbered: impl FnOnce() -> Option<Numbered>) -> Result<(), Refused> {
        let shared = self.peer.shared.upgrade().ok_or(Refused::Stopped)?;
        let remote = shared.remote().ok_or(Refused::Stopped)?;
        if self.peer.is_over() {
            return Err(Refused::Stopped);
        }
        let trace = TraceContext::current();
        if self.peer.is_flowing() || shared.flows(&self.peer, &*remote) {
            shared.write(&*remote, self, parcel, trace, numbered())
        } else {
            shared.keep(&*remote, self, parcel, trace, numbered)
        }
    }
}

impl RemoteActor for Stub {
    fn try_tell(&self, parcel: Parcel<'_>, room: Option<Room>) -> Result<(), Refused> {
        let place = room.and_then(|room| room.downcast::<Place>().ok());
        self.tell(parcel, || place.map(|place| place.take()))
    }

    fn reserve(&self) -> Pin<Box<dyn Future<Output = Result<Room, Stopped>> + Send + '_>> {
        Box::pin(async move {
            if !self.has_window.swap(true, Ordering::AcqRel) {
                self.peer.open_window(&self.window);
            }
            let waits = || {
                if let Some(shared) = self.peer.shared.upgrade() {
                    shared.starves(self);
                }
            };
            let place = Reserve::new(&self.window, waits).await.map_err(|_| Stopped)?;
            Ok(Box::new(place) as Room)
        })
    }

    fn audience_changed(&self, actor: &Handle) {
        if let Some(shared) = self.peer.shared.upgrade() {
            shared.audience_changed(self, actor);
        } else {
            actor.end();
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if *self.has_window.get_mut() {
            self.peer.close_window(&self.window);
        }
        self.peer.released(&self.target);
    }
}
