//! Message adapters: references through which others talk to an actor in their own words.

use std::sync::Arc;

use super::ActorContext;
use crate::actor_ref::{ActorRef, Recipient, Sending};
use crate::block_queue::{Refusal, Room};
use crate::cell::Control;
use crate::cell_ref::{CellRef, ControlRef};
use crate::envelope::Question;
use crate::envelope::{Envelope, Letter};
use crate::testkit::Effect;

impl<M: Send + 'static> ActorContext<M> {
    /// A reference to this actor for messages of type `R`; `adapt` turns each into this actor's own, in this actor's
    /// turn: a panic in it fails this actor.
    ///
    /// Any number of adapters may exist; they live as long as the actor, restarts included. Adapted messages keep
    /// their order with plain ones from the same sender, and their deadlines if they were asked. When the mailbox is full for those, as much room again is
    /// left for adapted ones. Each costs one allocation; [`ActorRef::map`] costs none but runs in the sender's turn.
    pub fn message_adapter<R: Send + 'static>(&self, adapt: impl Fn(R) -> M + Send + Sync + 'static) -> ActorRef<R> {
        self.record(|| Effect::MessageAdapter { message_type: std::any::type_name::<R>() });
        ActorRef::other(Adapter { cell: self.cell().clone(), adapt: Arc::new(adapt) })
    }
}

struct Adapter<M, F> {
    cell: CellRef<M>,
    adapt: Arc<F>,
}

impl<M: Send + 'static, F> Adapter<M, F> {
    fn letter<R>(&self, message: R, question: Option<Question>) -> Letter<M>
    where
        R: Send + 'static,
        F: Fn(R) -> M + Send + Sync + 'static,
    {
        let adapt = self.adapt.clone();
        Envelope::Adapted(Box::new(move || Letter::new(adapt(message), question))).into()
    }
}

impl<M, R, F> Recipient<R> for Adapter<M, F>
where
    M: Send + 'static,
    R: Send + 'static,
    F: Fn(R) -> M + Send + Sync + 'static,
{
    fn control(&self) -> &dyn Control {
        &self.cell
    }

    fn control_arc(&self) -> ControlRef {
        self.cell.clone().into()
    }

    fn try_tell_with(&self, make: &mut dyn FnMut() -> R, question: Option<Question>) -> Result<(), Refusal> {
        self.cell.try_deliver_with(Room::Adapted, || self.letter(make(), question))
    }

    fn send_with<'a>(&'a self, make: &'a mut (dyn FnMut() -> R + Send)) -> Sending<'a> {
        Box::pin(async move {
            match self.cell.try_deliver_with(Room::Adapted, || self.letter(make(), None)) {
                Err(Refusal::Full) => self.cell.deliver_with(|| self.letter(make(), None)).await,
                done => done,
            }
        })
    }
}
