//! [`AskLink`]: who waits for whom, across systems.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use crate::ask_chain::{Across, Link, Returning};
use crate::clock::Tick;

/// Asks that may wait to be told of one circle from elsewhere.
const RETURNING_MAX: usize = 64;

/// An ask that was made in the handling of a message and may be awaited there, with those behind it. Cheap to clone.
///
/// Once an actor awaits one further up the chain that awaits its own ask, nobody can move. Within one system that is seen;
/// across systems the library that connects them carries the chain along and asks where it leads to.
#[derive(Clone)]
pub struct AskLink(Arc<Link>);

/// As [`AskLink`], and does not keep the asker.
#[derive(Clone)]
pub struct WeakAskLink(Weak<Link>);

impl AskLink {
    /// Of an ask that came from elsewhere and waits until `deadline`, by this system's clock. `known` is what the library knows
    /// of it; `cause` is the ask of an actor here that is behind it.
    pub fn from_elsewhere(known: Arc<dyn Any + Send + Sync>, deadline: Tick, cause: Option<Self>) -> Self {
        Self(Link::from_elsewhere(known, deadline, cause.map(|cause| cause.0)))
    }

    pub(super) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.0
    }

    /// What is known of those in the chain that came from elsewhere, the latest first.
    pub fn elsewhere(&self) -> impl Iterator<Item = Arc<dyn Any + Send + Sync>> {
        self.0.clone().chain().filter_map(|link| link.elsewhere().cloned())
    }

    /// The [key](super::AnyActorRef::key) of the routee that has the question, where a router was asked.
    pub fn routed_to(&self) -> Option<u128> {
        self.0.routed_to()
    }

    /// Whether the actor of that [key](super::AnyActorRef::key) made an ask of the chain.
    pub fn is_behind(&self, actor: u128) -> bool {
        self.0.clone().chain().any(|link| link.is_of(actor))
    }

    /// The actor asked made an ask of the chain itself: `awaited` is called, then and in any later turn, when the asker's handler
    /// is suspended on this ask; at once if it is now.
    pub fn may_circle(&self, awaited: impl Fn() + Send + Sync + 'static) {
        self.0.may_circle(Arc::new(Awaited(awaited)));
    }

    /// Whether the actor of that key awaits its ask of the chain now. If it has one that it does not await yet, `circle` is
    /// called once it does; of more than 64 that wait for this the others are not.
    pub fn is_awaited_by(&self, actor: u128, circle: impl Fn() + Send + Sync + 'static) -> bool {
        self.0.clone().awaited_by(actor, &Returning::Elsewhere(Arc::new(circle)), RETURNING_MAX)
    }

    /// Ends the ask with [`AskError::Cycle`](crate::AskError::Cycle), if its asker awaits it now.
    pub fn fail_with_cycle(&self) {
        self.0.fail_with_cycle();
    }

    /// The ask is answered: nobody waits through it any more.
    pub fn over(&self) {
        self.0.over();
    }

    /// For tables.
    pub fn downgrade(&self) -> WeakAskLink {
        WeakAskLink(Arc::downgrade(&self.0))
    }
}

impl WeakAskLink {
    /// The link, if anybody waits for the answer.
    pub fn upgrade(&self) -> Option<AskLink> {
        self.0.upgrade().filter(|link| !link.is_over()).map(AskLink)
    }
}

struct Awaited<F>(F);

impl<F: Fn() + Send + Sync> Across for Awaited<F> {
    fn awaited(&self) {
        self.0();
    }
}

impl fmt::Debug for AskLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AskLink")
    }
}

impl fmt::Debug for WeakAskLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakAskLink")
    }
}
