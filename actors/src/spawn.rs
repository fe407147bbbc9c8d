//! From [`Props`] to a running actor.

use std::sync::Arc;

use tracing::{Instrument, info_span};

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::ask_chain::{InTurn, Turn};
use crate::cell::{Cell, Control, Head, Parent};
use crate::engine::Engine;
use crate::path::ActorPath;
use crate::props::Props;
use crate::queue::Receiver;
use crate::system::ActorSystem;

/// Where a child is born: under whom, and who is told of its end.
pub(crate) struct Nursery {
    system: ActorSystem,
    parent_path: ActorPath,
    parent: Arc<dyn Parent>,
}

impl Nursery {
    pub(crate) fn new(system: ActorSystem, parent_path: ActorPath, parent: Arc<dyn Parent>) -> Self {
        Self { system, parent_path, parent }
    }

    /// Makes the child known through `register`, then starts it.
    pub(crate) fn raise<A: Actor>(
        self,
        name: &str,
        props: Props<A>,
        register: impl FnOnce(Arc<dyn Control>),
    ) -> Arc<Cell<A::Message>> {
        let path = self.parent_path.child(self.system.next_uid(), name);
        let head = Head::new(path.clone(), self.system.clone(), props.stop_timeout);
        let cell = Arc::new(Cell::new(head, props.mailbox.capacity()));
        register(cell.clone());
        let turn = Turn::new(path.clone(), self.system.clone());
        let engine = Engine::new(cell.clone(), self.parent, turn.clone(), props);
        let span = info_span!("actor", %path);
        self.system.runtime().spawn(InTurn::new(turn, engine.run()).instrument(span));
        cell
    }

    /// A reference to an actor that never lived.
    pub(crate) fn stillborn<A: Actor>(self, name: &str) -> ActorRef<A::Message> {
        let path = self.parent_path.child(self.system.next_uid(), name);
        let cell = Arc::new(Cell::new(Head::new(path, self.system, None), 0));
        Receiver::new().end(cell.queue());
        cell.head().end(None);
        ActorRef::local(cell)
    }
}
