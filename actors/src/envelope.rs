//! What travels to an actor: [`Envelope`] in the lane for messages, [`Internal`] in the runtime's own.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::ask_chain::Link;
use crate::block_queue::Note;
use crate::cell::Ended;
use crate::clock::Tick;
use crate::context::ask::PendingAnswer;
use crate::inspect::Probe;

/// A message on its way.
pub(crate) enum Envelope<M> {
    /// Asked by somebody who waits for so long as its [`Note`] says, if that says so.
    Message(M),
    /// Part of an ask made inside another actor's handler. Boxed, so that it does not make every message larger.
    Asked(Box<(M, Arc<Link>)>),
    /// Came through a message adapter, whose function runs in the receiver's turn and makes a message, asked or not, of it.
    Adapted(Box<dyn FnOnce() -> Letter<M> + Send>),
    /// An element of a stream that the actor handles.
    Streamed(Box<Streamed<M>>),
    /// An actor has ended. In this lane because the notice must not overtake what that actor said before.
    Ended(Box<Ended>),
    /// Measures how long messages wait.
    Inspect(Box<Probe>),
    /// The message waits in the [`Foyer`](crate::foyer::Foyer).
    Held,
}

/// An envelope and its note.
pub(crate) struct Letter<M> {
    pub(crate) envelope: Envelope<M>,
    pub(crate) note: Note,
}

impl<M> Letter<M> {
    #[inline]
    pub(crate) fn new(message: M, question: Option<Question>) -> Self {
        match question {
            None => Envelope::Message(message).into(),
            Some(Question::Until(deadline)) => Self { envelope: Envelope::Message(message), note: until(deadline) },
            Some(Question::Link(link)) => Envelope::Asked(Box::new((message, link))).into(),
        }
    }
}

impl<M> From<Envelope<M>> for Letter<M> {
    fn from(envelope: Envelope<M>) -> Self {
        Self { envelope, note: Note::NONE }
    }
}

/// What goes with a message whose asker waits until then. A moment some 73 years from the clock's first one is as good as never.
#[inline(always)]
pub(crate) fn until(deadline: Tick) -> Note {
    Note::new(deadline.nanos().saturating_add(1))
}

/// Until when the asker of a message with this note waits, if somebody does.
#[inline(always)]
pub(crate) fn deadline(note: Note) -> Option<Tick> {
    match note.number() {
        0 => None,
        Note::MAX => Some(Tick::NEVER),
        number => Some(Tick::from_nanos(number - 1)),
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

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_until_when_and_whether_anybody_waits() {
        assert_eq!(deadline(Note::NONE), None);
        for moment in [0, 1, 7, 1 << 60, Note::MAX - 2] {
            assert_eq!(deadline(until(Tick::from_nanos(moment))), Some(Tick::from_nanos(moment)));
        }
        for late in [Tick::NEVER, Tick::from_nanos(u64::MAX - 1), Tick::from_nanos(Note::MAX - 1)] {
            assert_eq!(deadline(until(late)), Some(Tick::NEVER), "some 73 years are as good as for ever");
        }
    }
}
