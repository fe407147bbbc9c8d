//! [`stand_in`]: a reference to an actor elsewhere.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::parcel::{Parcel, Slot, Unmade};
use crate::actor_ref::{ActorRef, Recipient, Sending, Stopped as ActorStopped, TryTellError};
use crate::block_queue::Refusal;
use crate::cell::{Control, Head, Name, Rare};
use crate::cell_ref::{CellRef, ControlRef};
use crate::envelope::Question;
use crate::event_stream::DeadLetterReason;
use crate::nobody::Nobody;
use crate::path::ActorPath;
use crate::system::ActorSystem;

/// Room for one message that was waited for; what it is, is the library's. Given back when dropped.
pub type Room = Box<dyn Any + Send>;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room at this moment.
    Full,
    /// The actor has stopped for good.
    Stopped,
}

/// An actor elsewhere, as the library that connects the systems reaches it.
pub trait RemoteActor: Send + Sync + 'static {
    /// Sends the message in `parcel`; it must not block. With `room` it comes from [`ActorRef::send`].
    ///
    /// # Errors
    /// There is no room for it, or nobody to take it: it is still in `parcel`, and nothing of it was sent. That it cannot be
    /// written, for instance, is [`Parcel::undelivered`] and no error.
    fn try_tell(&self, parcel: Parcel<'_>, room: Option<Room>) -> Result<(), Refused>;

    /// Waits for room for one message. Those who wait get room in the order they came. Cancel safe.
    ///
    /// # Errors
    /// The actor has stopped for good.
    fn reserve(&self) -> Pin<Box<dyn Future<Output = Result<Room, Stopped>> + Send + '_>>;

    /// Somebody came or went who wants to hear of the actor's end: [`Handle::is_watched`] says whether anybody does now. Called
    /// after each change, by any thread: to be looked at under a lock of the library's, so that the last look wins.
    fn audience_changed(&self, actor: &Handle);

    /// Itself.
    fn as_any(&self) -> &dyn Any;
}

/// The actor has stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// The name of an actor elsewhere: `system_uid` and `uid` tell it from all other incarnations, `text` is for people.
pub fn path(system_uid: u64, uid: u64, text: &str) -> ActorPath {
    ActorPath::elsewhere(system_uid, uid, text)
}

/// A reference to an actor elsewhere, as seen from `system`. Two are equal when their paths are.
///
/// It behaves as one to an actor of `system` does; what is refused becomes a dead letter of `system`.
///
/// With it comes what finds it again as long as somebody has a reference.
pub fn stand_in<M: Send + 'static>(
    system: &ActorSystem,
    path: ActorPath,
    remote: Arc<dyn RemoteActor>,
) -> (ActorRef<M>, WeakStandIn) {
    let cell = cell::<M>(system, path, Some(remote.clone()));
    let stand_in = Arc::new(StandIn { cell, remote });
    let erased: Arc<dyn Erased> = stand_in.clone();
    (ActorRef::stand_in(stand_in), WeakStandIn(Arc::downgrade(&erased)))
}

/// A reference to an actor that has stopped: for one that is not found any more.
pub fn stopped<M: Send + 'static>(system: &ActorSystem, path: ActorPath) -> ActorRef<M> {
    let cell = cell::<M>(system, path, None);
    end::<M>(&cell.clone().into());
    ActorRef::local(cell)
}

fn cell<M: Send + 'static>(system: &ActorSystem, path: ActorPath, remote: Option<Arc<dyn RemoteActor>>) -> CellRef<M> {
    let header = Nobody::<M>::header(path.uid());
    let elsewhere = Elsewhere { key: path.key(), remote, end: end::<M> };
    let rare = Some(Rare::of_elsewhere(elsewhere));
    let head = Head::new(header, system, system.roots(), 0, Name::Elsewhere, None, rare);
    head.set_path(path);
    // A cell that nobody runs, and that takes no message: it is there to be named and watched.
    Nobody::cell(head, 0)
}

/// Refuses messages from now on, and tells those who watch.
fn end<M: Send + 'static>(control: &ControlRef) {
    if let Some(cell) = control.downcast::<M>() {
        cell.queue().shut();
        cell.head().end(None);
    }
}

/// What the head of a stand-in's cell has in addition.
pub(crate) struct Elsewhere {
    pub(crate) key: u128,
    /// `None`: it has stopped before this was made.
    pub(super) remote: Option<Arc<dyn RemoteActor>>,
    end: fn(&ControlRef),
}

/// The audience of `target` has changed: if it is elsewhere, the library that knows it must hear of that.
pub(crate) fn audience_changed(target: &ControlRef) {
    if let Some(Elsewhere { remote: Some(remote), .. }) = target.head().elsewhere() {
        remote.audience_changed(&Handle(target.clone()));
    }
}

/// An actor elsewhere, as its stand-in is seen by the library that knows it. Keeps the stand-in. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Handle(ControlRef);

impl Handle {
    /// Of a reference to an actor elsewhere, made by [`stand_in`] itself and not by [`ActorRef::map`] of one.
    pub fn of<M: Send + 'static>(actor: &ActorRef<M>) -> Option<Self> {
        actor.as_stand_in().map(|stand_in| stand_in.handle())
    }

    /// The actor has ended, or can never be heard of again: messages are refused from now on, and those who watch are told,
    /// once. Again it does nothing.
    pub fn end(&self) {
        if let Some(elsewhere) = self.0.head().elsewhere() {
            (elsewhere.end)(&self.0);
        }
    }

    /// Whether it was said that the actor has ended.
    pub fn has_ended(&self) -> bool {
        self.0.is_closed()
    }

    /// Whether anybody wants to hear of the actor's end.
    pub fn is_watched(&self) -> bool {
        self.0.head().is_watched()
    }

    /// A reference to it, if its messages are of this type.
    pub fn actor_ref<M: Send + 'static>(&self) -> Option<ActorRef<M>> {
        let remote = self.0.head().elsewhere()?.remote.clone()?;
        let cell = self.0.downcast::<M>()?;
        Some(ActorRef::stand_in(Arc::new(StandIn { cell, remote })))
    }

    /// What was given to [`stand_in`].
    pub fn remote(&self) -> Option<&Arc<dyn RemoteActor>> {
        self.0.head().elsewhere()?.remote.as_ref()
    }

    pub(super) fn control(&self) -> &dyn Control {
        &*self.0
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(self.0.head().path()).finish()
    }
}

/// A stand-in that goes when nobody has a reference to it any more.
#[derive(Clone)]
pub struct WeakStandIn(Weak<dyn Erased>);

impl WeakStandIn {
    /// Of a reference to an actor elsewhere, made by [`stand_in`] itself and not by [`ActorRef::map`] of one.
    pub fn of<M: Send + 'static>(actor: &ActorRef<M>) -> Option<Self> {
        let stand_in: Arc<dyn Erased> = actor.arc_stand_in()?;
        Some(Self(Arc::downgrade(&stand_in)))
    }

    /// A reference, if there are others still and its messages are of this type. To be dropped outside of locks that
    /// [`RemoteActor`]'s destructor takes, as the next one.
    pub fn upgrade<M: Send + 'static>(&self) -> Option<ActorRef<M>> {
        let stand_in = self.0.upgrade()?.into_any().downcast::<StandIn<M>>().ok()?;
        Some(ActorRef::stand_in(stand_in))
    }

    /// As [`upgrade`](Self::upgrade), whatever the messages are.
    pub fn handle(&self) -> Option<Handle> {
        self.0.upgrade().map(|stand_in| stand_in.handle())
    }

    /// Whether it was said that the actor has ended, or nobody has a reference any more.
    pub fn has_ended(&self) -> bool {
        self.0.upgrade().is_none_or(|stand_in| stand_in.has_ended())
    }

    /// Whether both are of one stand-in.
    pub fn is(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }

    /// Whether nobody has a reference any more.
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl fmt::Debug for WeakStandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakStandIn")
    }
}

trait Erased: Send + Sync {
    fn handle(&self) -> Handle;
    fn has_ended(&self) -> bool;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

pub(crate) struct StandIn<M> {
    cell: CellRef<M>,
    remote: Arc<dyn RemoteActor>,
}

impl<M> StandIn<M> {
    pub(crate) fn remote(&self) -> &Arc<dyn RemoteActor> {
        &self.remote
    }
}

impl<M: Send + 'static> Erased for StandIn<M> {
    fn handle(&self) -> Handle {
        Handle(self.cell.clone().into())
    }

    fn has_ended(&self) -> bool {
        self.cell.is_closed()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// For a message that is made before it is offered.
fn there_already<M>() -> M {
    unreachable!("a message is made once")
}

/// How long a message waits that had room with its actor, and none on the way.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

impl<M: Send + 'static> StandIn<M> {
    pub(crate) fn try_tell(&self, message: M, question: Option<Question>) -> Result<(), TryTellError<M>> {
        let mut slot = Unmade { make: there_already, made: Some(message) };
        self.offer(&mut slot, question, None).map_err(|refusal| {
            let message = slot.made.take().expect("what is refused is neither taken nor gone");
            match refusal {
                Refusal::Full => TryTellError::Full(message),
                Refusal::Stopped => TryTellError::Stopped(message),
            }
        })
    }

    pub(crate) async fn send(&self, message: M) -> Result<(), ActorStopped<M>> {
        let mut slot = Unmade { make: there_already, made: Some(message) };
        let sent = self.wait_and_offer(&mut slot).await;
        sent.map_err(|_| ActorStopped(slot.made.take().expect("what is refused is neither taken nor gone")))
    }

    async fn wait_and_offer<F: FnMut() -> M>(&self, slot: &mut Unmade<F, M>) -> Result<(), Refusal> {
        loop {
            if self.cell.is_closed() {
                return Err(Refusal::Stopped);
            }
            let room = self.remote.reserve().await.map_err(|Stopped| Refusal::Stopped)?;
            match self.offer(slot, None, Some(room)) {
                Err(Refusal::Full) => self.cell.head().system().clock().sleep(AGAIN_AFTER).await,
                sent => return sent,
            }
        }
    }

    fn offer(&self, slot: &mut dyn Slot, question: Option<Question>, room: Option<Room>) -> Result<(), Refusal> {
        if self.cell.is_closed() {
            return Err(Refusal::Stopped);
        }
        let parcel = Parcel { slot, to: &self.cell, handle: &|| self.handle(), question };
        self.remote.try_tell(parcel, room).map_err(|refused| match refused {
            Refused::Full => Refusal::Full,
            Refused::Stopped => Refusal::Stopped,
        })
    }
}

impl<M: Send + 'static> Recipient<M> for StandIn<M> {
    fn control(&self) -> &dyn Control {
        &self.cell
    }

    fn control_arc(&self) -> ControlRef {
        self.cell.clone().into()
    }

    fn try_tell_with(&self, make: &mut dyn FnMut() -> M, question: Option<Question>) -> Result<(), Refusal> {
        let mut slot = Unmade { make, made: None };
        match self.offer(&mut slot, question, None) {
            // Whoever made it of another message cannot have that back.
            Err(refusal) if slot.made.is_some() => {
                let reason = match refusal {
                    Refusal::Full => DeadLetterReason::MailboxFull,
                    Refusal::Stopped => DeadLetterReason::Stopped,
                };
                slot.undelivered(&self.cell, reason);
                Ok(())
            }
            offered => offered,
        }
    }

    fn send_with<'a>(&'a self, make: &'a mut (dyn FnMut() -> M + Send)) -> Sending<'a> {
        Box::pin(async move {
            let mut slot = Unmade { make, made: None };
            match self.wait_and_offer(&mut slot).await {
                Err(_) if slot.made.is_some() => {
                    slot.undelivered(&self.cell, DeadLetterReason::Stopped);
                    Ok(())
                }
                sent => sent,
            }
        })
    }

    fn as_stand_in(&self) -> Option<&StandIn<M>> {
        Some(self)
    }

    fn into_stand_in(self: Arc<Self>) -> Option<Arc<StandIn<M>>> {
        Some(self)
    }
}
