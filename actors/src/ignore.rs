//! References that drop all they are told.

use crate::actor_ref::{ActorRef, Recipient, Sending};
use crate::block_queue::Refusal;
use crate::cell::{Control, Head, Name};
use crate::cell_ref::{CellRef, ControlRef};
use crate::envelope::Question;
use crate::nobody::Nobody;
use crate::system::ActorSystem;

/// What the one incarnation of a system's nobody is called; ordinary ones are counted from below.
const NOBODY_UID: u64 = u64::MAX;

impl ActorSystem {
    /// A reference that drops all it is told: for a protocol that wants a reference where nobody cares for the answer.
    ///
    /// It never terminates, has room always, and what it drops is no dead letter. An ask of it ends at once with
    /// [`AskError::NoReply`](crate::AskError::NoReply). All of one system are equal, whatever their messages are. Its
    /// counterpart for one answer is [`ReplyTo::ignore`](crate::ReplyTo::ignore).
    pub fn ignore_ref<M: Send + 'static>(&self) -> ActorRef<M> {
        let header = Nobody::<()>::header(NOBODY_UID);
        let head = Head::new(header, self, self.roots(), 0, Name::Given("ignore".into()), None, None);
        // A cell that nobody runs: it is there to be named and watched.
        let cell = Nobody::cell(head, 1);
        ActorRef::other(Ignore { cell })
    }
}

impl<M: Send + 'static> ActorRef<M> {
    /// As [`ActorSystem::ignore_ref`].
    pub fn ignore(system: &ActorSystem) -> Self {
        system.ignore_ref()
    }
}

struct Ignore {
    cell: CellRef<()>,
}

impl<M: Send + 'static> Recipient<M> for Ignore {
    fn control(&self) -> &dyn Control {
        &self.cell
    }

    fn control_arc(&self) -> ControlRef {
        self.cell.clone().into()
    }

    fn try_tell_with(&self, make: &mut dyn FnMut() -> M, _question: Option<Question>) -> Result<(), Refusal> {
        drop(make());
        Ok(())
    }

    fn send_with<'a>(&'a self, make: &'a mut (dyn FnMut() -> M + Send)) -> Sending<'a> {
        Box::pin(async move {
            drop(make());
            Ok(())
        })
    }
}
