//! Who waits for whom: enough to see that an ask has come back to an actor that cannot answer it.
//!
//! An ask made inside a handler carries a [`Link`] to the receiver. When the receiver, handling that very message,
//! awaits an ask to an actor further up the chain, and that actor still awaits its own ask, nobody can move: the ask
//! fails with [`AskError::Cycle`](crate::AskError::Cycle). Independent chains are left to the time limit.
//!
//! A link of an actor elsewhere stands in a chain for what that system knows: whoever connects the systems asks there.

use std::any::{Any, type_name};
use std::iter;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::cell::Head;
use crate::cell_ref::ControlRef;
use crate::clock::{Clock, Tick};
use crate::event_stream::DeadLetterReason;
use crate::reply_slot::Circle;
use crate::scheduler;

/// The actor that is running on this thread, if any.
#[derive(Clone)]
pub(crate) struct Turn(ControlRef);

impl Turn {
    pub(crate) fn current() -> Option<Self> {
        scheduler::current(|running| running.cloned()).and_then(ControlRef::of).map(Self)
    }

    pub(crate) fn head(&self) -> &Head {
        self.0.head()
    }

    /// Counts messages to this actor that are dropped in its turn.
    pub(crate) fn dead_letters<M>(&self, count: usize, reason: DeadLetterReason) {
        for _ in 0..count {
            self.head().system().event_stream().dead_letter(self.head().path(), type_name::<M>(), reason);
        }
    }

    /// The smaller of `deadline`, which is in `clock`, and that of the ask whose message this actor handles.
    fn inherited(&self, clock: &Clock, deadline: Tick) -> Tick {
        let handled = self.head().deadline();
        if handled == Tick::NEVER {
            return deadline;
        }
        let own = self.head().system().clock();
        // Moments of another system's clock are compared by what is left of them.
        let handled = if own.is(clock) { handled } else { clock.now() + (handled - own.now()) };
        deadline.min(handled)
    }

    fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn number(&self) -> u64 {
        self.head().turn()
    }
}

/// The smaller of `deadline`, which is in `clock`, and that of the ask that is being handled on this thread, if any.
pub(crate) fn inherited(clock: &Clock, deadline: Tick) -> Tick {
    Turn::current().map_or(deadline, |turn| turn.inherited(clock, deadline))
}

/// One ask made inside a handler.
pub(crate) struct Link {
    asker: Asker,
    /// The ask behind the message in whose handling this one was made. Given up with this ask: nobody waits through it
    /// any more, and a chain of asks is as long as those that wait.
    cause: Mutex<Option<Arc<Link>>>,
    /// Until when the asker waits, by the clock of the actor asked.
    deadline: Tick,
    over: AtomicBool,
    state: Mutex<LinkState>,
}

enum Asker {
    Here(Turn),
    /// In another system; what the library that connects the two knows of it.
    Elsewhere(Arc<dyn Any + Send + Sync>),
}

impl Asker {
    fn here(&self) -> Option<&Turn> {
        match self {
            Self::Here(turn) => Some(turn),
            Self::Elsewhere(_) => None,
        }
    }
}

#[derive(Default)]
struct LinkState {
    /// The routee that was given the question, where a router was asked.
    went_to: Option<u128>,
    /// The ask, once the asker's handler is suspended on it, and the number of that turn.
    awaited: Option<(u64, Returning)>,
    /// Asks that came back to the asker and would close a cycle as soon as it awaits.
    returning: Vec<Returning>,
    /// The actor asked is elsewhere, and behind this ask: told each time the asker awaits it.
    across: Option<Arc<dyn Across>>,
}

/// An ask of an actor elsewhere that may go in a circle.
pub(crate) trait Across: Send + Sync {
    /// Its asker's handler is suspended on it.
    fn awaited(&self);
}

/// An ask that can be told that it went in a circle.
#[derive(Clone)]
pub(crate) enum Returning {
    Here(Circle),
    /// Of another system, which is told by a call.
    Elsewhere(Arc<dyn Fn() + Send + Sync>),
}

impl Returning {
    fn fail_with_cycle(&self) {
        match self {
            Self::Here(circle) => circle.fail(),
            Self::Elsewhere(tell) => tell(),
        }
    }

    /// Whether its asker can go on, as far as is known here.
    fn is_answered(&self) -> bool {
        match self {
            Self::Here(circle) => circle.is_answered(),
            Self::Elsewhere(_) => false,
        }
    }
}

impl Link {
    /// A link for an ask made right now, of an actor whose system has that clock, if it is made inside a handler. The ask ends
    /// with the one that is being handled at the latest.
    pub(crate) fn for_ask_made_here(clock: &Clock, deadline: Tick) -> Option<Arc<Self>> {
        let asker = Turn::current()?;
        let deadline = asker.inherited(clock, deadline);
        let cause = asker.head().cause().filter(|cause| !cause.is_over());
        let (cause, over) = (Mutex::new(cause), AtomicBool::new(false));
        Some(Arc::new(Self { asker: Asker::Here(asker), cause, deadline, over, state: Mutex::default() }))
    }

    /// A link for an ask of an actor in another system, with what is known of it there and the ask of this one behind it.
    pub(crate) fn from_elsewhere(
        known: Arc<dyn Any + Send + Sync>,
        deadline: Tick,
        cause: Option<Arc<Self>>,
    ) -> Arc<Self> {
        let (cause, over) = (Mutex::new(cause), AtomicBool::new(false));
        Arc::new(Self { asker: Asker::Elsewhere(known), cause, deadline, over, state: Mutex::default() })
    }

    pub(crate) fn deadline(&self) -> Tick {
        self.deadline
    }

    /// A router has given the question to the actor of that key.
    pub(crate) fn went_to(&self, routee: u128) {
        self.state.lock().went_to = Some(routee);
    }

    /// Called when this ask has no answer yet and its future is polled.
    ///
    /// Returns `true` if `target`, which is a [`Head::key`], can never answer because it waits, in the end, for this very ask.
    pub(crate) fn awaits(&self, target: u128, ask: &Returning) -> bool {
        // Piped to another task the ask blocks nobody.
        let Some(asker) = self.asker.here().filter(|asker| Turn::current().is_some_and(|turn| turn.is(asker))) else {
            return false;
        };
        let target = self.routed_to().unwrap_or(target);
        if asker.head().key() == target {
            return true;
        }
        let (returning, across) = {
            let mut state = self.state.lock();
            asker.head().awaits();
            state.awaited = Some((asker.number(), ask.clone()));
            (mem::take(&mut state.returning), state.across.clone())
        };
        returning.iter().for_each(|ask| ask.fail_with_cycle());
        if let Some(across) = across {
            across.awaited();
        }
        self.cause().is_some_and(|cause| cause.awaited_by(target, ask, usize::MAX))
    }

    /// Whether `target` awaits its ask in this chain right now. If it has one and does not, `ask` is told when it comes to
    /// that; unless so many wait for that already.
    pub(crate) fn awaited_by(self: Arc<Self>, target: u128, ask: &Returning, returning_max: usize) -> bool {
        self.chain().filter(|link| link.is_of(target)).any(|link| {
            let mut state = link.state.lock();
            match &state.awaited {
                Some((_, awaited)) if awaited.is_answered() => return false,
                Some((turn, _)) if link.is_turn(*turn) => return true,
                // Sent but not awaited yet, or put aside: whoever comes second closes the circle.
                Some(_) | None => {}
            }
            if state.returning.len() < returning_max {
                state.returning.push(ask.clone());
            }
            false
        })
    }

    /// This one, and what is behind it.
    pub(crate) fn chain(self: Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        iter::successors(Some(self), |link| link.cause())
    }

    /// Whether that actor asks.
    pub(crate) fn is_of(&self, asker: u128) -> bool {
        self.asker.here().is_some_and(|turn| turn.head().key() == asker)
    }

    /// The routee that was given the question, where a router was asked.
    pub(crate) fn routed_to(&self) -> Option<u128> {
        self.state.lock().went_to
    }

    /// What is known of an ask that came from elsewhere.
    pub(crate) fn elsewhere(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        match &self.asker {
            Asker::Here(_) => None,
            Asker::Elsewhere(known) => Some(known),
        }
    }

    /// The ask may go in a circle: `across` is told when the asker awaits it, at once if it does now.
    pub(crate) fn may_circle(&self, across: Arc<dyn Across>) {
        let mut state = self.state.lock();
        state.across = Some(across.clone());
        let is_awaited = self.waiting(&state).is_some();
        drop(state);
        if is_awaited {
            across.awaited();
        }
    }

    /// The ask goes in a circle. Who does not await it now is not told.
    pub(crate) fn fail_with_cycle(&self) {
        let waiting = self.waiting(&self.state.lock());
        if let Some(ask) = waiting {
            ask.fail_with_cycle();
        }
    }

    /// The ask, if the asker is suspended on it right now.
    fn waiting(&self, state: &LinkState) -> Option<Returning> {
        let (turn, ask) = state.awaited.as_ref()?;
        (self.is_turn(*turn) && !ask.is_answered()).then(|| ask.clone())
    }

    fn is_turn(&self, turn: u64) -> bool {
        self.asker.here().is_some_and(|asker| asker.number() == turn)
    }

    /// Whether the turn in which this ask was awaited, if any, is over: awaited now it is awaited anew.
    pub(crate) fn is_new_turn(&self) -> bool {
        self.state.lock().awaited.as_ref().is_none_or(|(turn, _)| !self.is_turn(*turn))
    }

    fn cause(&self) -> Option<Arc<Self>> {
        self.cause.lock().clone()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The ask is answered, or given up.
    pub(crate) fn over(&self) {
        self.over.store(true, Ordering::Release);
        let over = mem::take(&mut *self.state.lock());
        let cause = self.cause.lock().take();
        drop((over, cause)); // outside the locks
    }
}
