//! [`ChildSpec`]: how a supervisor makes a child, restarts it and stops it.

use std::fmt;
use std::time::Duration;

use super::SupervisorMessage;
use super::child_ref::{AnyChildRef, ChildRef};
use super::state::RestartKind;
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::context::{ActorContext, SpawnError};
use crate::path::ActorPath;
use crate::props::Props;

/// How long a child may take to stop unless its spec says otherwise.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How a [`Supervisor`](super::Supervisor) makes a child, restarts it and stops it.
#[must_use = "a spec does nothing until it is given to a supervisor"]
pub struct ChildSpec<A: Actor> {
    name: String,
    make: Box<dyn FnMut() -> Props<A> + Send>,
    kind: RestartKind,
    stop_within: Option<Duration>,
    child: ChildRef<A::Message>,
    /// The last incarnation.
    incarnation: Option<ActorRef<A::Message>>,
}

impl<A: Actor> ChildSpec<A> {
    /// A permanent child named `name`; `make` makes an actor or [`Props`] for each incarnation.
    ///
    /// What the props say about failures comes first: only an actor that stops is the supervisor's business.
    pub fn new<P: Into<Props<A>>>(name: impl Into<String>, mut make: impl FnMut() -> P + Send + 'static) -> Self {
        Self {
            name: name.into(),
            make: Box::new(move || make().into()),
            kind: RestartKind::Permanent,
            stop_within: Some(STOP_WITHIN),
            child: ChildRef::new(),
            incarnation: None,
        }
    }

    /// Which ends of this child call for a restart. Default: [`RestartKind::Permanent`].
    pub fn restart(mut self, kind: RestartKind) -> Self {
        self.kind = kind;
        self
    }

    /// How long this child and all below it may take to stop; then those that have not are killed, as
    /// [`Props::stop_limit`] has it. Default: five seconds. Takes the place of what the props say.
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.stop_within = Some(limit);
        self
    }

    /// This child may take as long to stop as it needs. For supervisors, whose own children have limits.
    pub fn stop_unlimited(mut self) -> Self {
        self.stop_within = None;
        self
    }

    /// A reference that follows this child from one incarnation to the next.
    pub fn child_ref(&self) -> ChildRef<A::Message> {
        self.child.clone()
    }

    /// Makes `child` the reference that follows this child. One spec at a time may have it. Where the supervisor itself
    /// restarts, the reference says [`ChildOver`](super::ChildOver) in between.
    pub fn referred_by(mut self, child: &ChildRef<A::Message>) -> Self {
        self.child = child.clone();
        self
    }
}

impl<A: Actor> fmt::Debug for ChildSpec<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("restart", &self.kind)
            .field("stop_within", &self.stop_within)
            .finish_non_exhaustive()
    }
}

/// A spec and what came of it, whatever the child's messages are.
pub(super) trait Child: Send {
    fn name(&self) -> &str;
    fn kind(&self) -> RestartKind;
    fn reference(&self) -> AnyChildRef;
    fn start(&mut self, ctx: &mut ActorContext<SupervisorMessage>) -> Result<ActorPath, SpawnError>;
    fn stop(&mut self, ctx: &mut ActorContext<SupervisorMessage>);
    /// Nobody is there now; `over`: and nobody is going to be.
    fn gone(&self, over: bool);
}

impl<A: Actor> Child for ChildSpec<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> RestartKind {
        self.kind
    }

    fn reference(&self) -> AnyChildRef {
        AnyChildRef::new(self.child.clone())
    }

    fn start(&mut self, ctx: &mut ActorContext<SupervisorMessage>) -> Result<ActorPath, SpawnError> {
        let mut props = (self.make)();
        if let Some(limit) = self.stop_within {
            props = props.stop_limit(limit);
        }
        let child = ctx.try_spawn(&self.name, props)?;
        ctx.watch(&child);
        let path = child.path().clone();
        self.child.taken_by(child.clone());
        self.incarnation = Some(child);
        Ok(path)
    }

    fn stop(&mut self, ctx: &mut ActorContext<SupervisorMessage>) {
        if let Some(child) = &self.incarnation {
            self.child.vacate(); // who asks from now on waits for the next
            ctx.stop(child);
        }
    }

    fn gone(&self, over: bool) {
        if over { self.child.close() } else { self.child.vacate() }
    }
}

impl<A: Actor> Drop for ChildSpec<A> {
    fn drop(&mut self) {
        self.child.close();
    }
}
