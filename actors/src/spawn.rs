//! From [`Props`] to a running actor.

use std::any::Any;
use std::fmt;

use tracing::info_span;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::block_queue::Wake;
use crate::cell::{Head, Name, Parent, Rare};
use crate::cell_ref::{CellRef, ControlRef};
use crate::foyer::Foyer;
use crate::nobody::Nobody;
use crate::orders::Limits;
use crate::own::Whole;
use crate::path::encode_name;
use crate::pinned::{Pin, ThreadEnd};
use crate::props::{Factory, Props};
use crate::system::ActorSystem;
use crate::trace::{Tracer, Tracing};

/// Where a child is born: under whom, and who is told of its end.
pub(crate) struct Nursery<'a> {
    system: &'a ActorSystem,
    parent: Parent,
}

impl<'a> Nursery<'a> {
    pub(crate) fn new(system: &'a ActorSystem, parent: Parent) -> Self {
        Self { system, parent }
    }

    /// Makes the child and makes it known through `register`. The caller has it begin, if that is what the answer says.
    pub(crate) fn raise<A: Actor>(
        self,
        name: Name,
        slot: u32,
        mut props: Props<A>,
        register: impl FnOnce(ControlRef),
    ) -> (CellRef<A::Message>, Wake) {
        let uid = self.system.next_uid();
        let span = info_span!("actor", path = %Unborn { parent: &self.parent, name: &name });
        let tracing = props.tracing.or_else(|| self.inherited_tracing());
        let foyer = Foyer::for_mailbox(props.mailbox, props.scale.take().map(|scale| *scale), tracing.is_some());
        let foyer = foyer.map(|foyer| Box::new(foyer) as Box<dyn Any + Send + Sync>);
        let capacity = if foyer.is_some() { 0 } else { props.mailbox.capacity() };
        let (pin, thread) =
            if props.pinned && !self.system.is_simulated() { pin(&name, &mut props) } else { (None, None) };
        let limits = Limits::new(props.stop_timeout, props.stop_limit);
        let rare = Rare::new(span, pin, foyer, tracing.map(Tracer::new), props.actor_type);
        let head = Head::new(Whole::<A>::header(uid), self.system, self.parent, slot, name, limits, rare);
        let (cell, wake) = Whole::spawn(head, capacity, props, thread);
        register(cell.clone().into());
        (cell, wake)
    }

    /// What the system says, for actors that are not of its infrastructure.
    fn inherited_tracing(&self) -> Option<Tracing> {
        self.system.tracing().filter(|_| !self.parent.path().as_str().starts_with("/system"))
    }

    /// A reference to an actor that never lived.
    pub(crate) fn stillborn<A: Actor>(self, name: &str) -> ActorRef<A::Message> {
        let header = Nobody::<A::Message>::header(self.system.next_uid());
        let head = Head::new(header, self.system, self.parent, 0, Name::Given(name.into()), None, None);
        ActorRef::local(Nobody::stillborn(head))
    }
}

/// A thread for an actor. One that gets none fails to start.
fn pin<A: Actor>(name: &Name, props: &mut Props<A>) -> (Option<Pin>, Option<ThreadEnd>) {
    match name.with(Pin::start) {
        Ok((pin, end)) => (Some(pin), Some(end)),
        Err(error) => {
            let text = format!("there is no thread for a pinned actor: {error}");
            props.factory = Factory::Build(Box::new(move |_| Err(text.clone().into())));
            (None, None)
        }
    }
}

/// The path an actor is going to have, for those who want to read it.
struct Unborn<'a> {
    parent: &'a Parent,
    name: &'a Name,
}

impl fmt::Display for Unborn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.with(|name| write!(f, "{}/{}", self.parent.path(), encode_name(name)))
    }
}
