//! What travels to an actor: [`Envelope`] in the lane for messages, [`Internal`] in the runtime's own.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::ask_chain::Link;
use crate::cell::Ended;
use crate::clock::Tick;
use crate::context::ask::PendingAnswer;
use crate::inspect::Probe;

/// A message on its way.
pub(crate) enum Envelope<M> {
    Message(M),
    /// Asked by somebody who waits until then.
    Until(M, Tick),
    /// Part of an ask made inside another actor's handler. Boxed, so that it does not make every message larger.
    Asked(Box<(M, Arc<Link>)>),
    /// Came through a message adapter, whose function runs in the receiver's turn and makes a message, asked or not, of it.
    Adapted(Box<dyn FnOnce() -> Self + Send>),
    /// An element of a stream that the actor handles.
    Streamed(Box<Streamed<M>>),
    /// An actor has ended. In this lane because the notice must not overtake what that actor said before.
    Ended(Box<Ended>),
    /// Measures how long messages wait.
    Inspect(Box<Probe>),
    /// The message waits in the [`Foyer`](crate::foyer::Foyer).
    Held,
}

impl<M> Envelope<M> {
    #[inline]
    pub(crate) fn new(message: M, question: Option<Question>) -> Self {
        match question {
            None => Self::Message(message),
            Some(Question::Until(deadline)) => Self::Until(message, deadline),
            Some(Question::Link(link)) => Self::Asked(Box::new((message, link))),
        }
    }
}

/// What is behind a message that was asked. In the clock of the actor it goes to.
#[derive(Clone)]
pub(crate) enum Question {
    /// Nobody waits for the answer after that moment.
    Until(Tick),
    /// Asked inside a handler that may await the answer. The link knows the moment.
    Link(Arc<Link>),
}

impl Question {
    pub(crate) fn deadline(&self) -> Tick {
        match self {
            Self::Until(deadline) => *deadline,
            Self::Link(link) => link.deadline(),
        }
    }
}

/// An element of a stream that the actor handles.
pub(crate) struct Streamed<M> {
    /// The life that wanted it.
    pub(crate) life: u32,
    pub(crate) message: M,
    /// Given back once the message was handled, or dropped; then the next element is pulled.
    pub(crate) place: OwnedSemaphorePermit,
}

/// What the runtime itself sends to an actor: its own lane, never refused.
pub(crate) enum Internal<M> {
    /// The parent wants this actor to stop.
    Stop,
    /// The parent wants this actor to stop once it has handled what waits, or when the time has come.
    Drain {
        until: Tick,
    },
    /// Frees the child's place and name. The signal, if it is watched, comes as [`Envelope::Ended`].
    ChildEnded(Place),
    /// Somebody looks at the system.
    Inspect(Box<Probe>),
    Answer(Arc<dyn PendingAnswer<M>>),
    /// Outcome of a tied task of the given life.
    Piped {
        life: u32,
        make: Box<dyn FnOnce() -> M + Send>,
    },
    TaskPanicked {
        life: u32,
        message: String,
    },
}

/// Which of its parent's children an actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the parent keeps it; taken again once the child has ended.
    pub(crate) slot: u32,
    /// Which incarnation.
    pub(crate) uid: u64,
}
