//! Who waits for whom: enough to see that an ask has come back to an actor that cannot answer it.
//!
//! An ask made inside a handler carries a [`Link`] to the receiver. When the receiver, handling that very message,
//! awaits an ask to an actor further up the chain, and that actor still awaits its own ask, nobody can move: the ask
//! fails with [`AskError::Cycle`](crate::AskError::Cycle). Independent chains are left to the time limit.

use std::any::type_name;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::cell::Head;
use crate::cell_ref::ControlRef;
use crate::clock::{Clock, Tick};
use crate::event_stream::DeadLetterReason;
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
    asker: Turn,
    /// The ask behind the message in whose handling this one was made. Given up with this ask: nobody waits through it
    /// any more, and a chain of asks is as long as those that wait.
    cause: Mutex<Option<Arc<Link>>>,
    /// Until when the asker waits, by the clock of the actor asked.
    deadline: Tick,
    over: AtomicBool,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    /// The routee that was given the question, where a router was asked.
    went_to: Option<u128>,
    /// The ask, once the asker's handler is suspended on it, and the number of that turn.
    awaited: Option<(u64, Arc<dyn Returning>)>,
    /// Asks that came back to the asker and would close a cycle as soon as it awaits.
    returning: Vec<Arc<dyn Returning>>,
}

/// An ask that can be told that it went in a circle.
pub(crate) trait Returning: Send + Sync {
    fn fail_with_cycle(&self);
    /// Whether its asker can go on.
    fn is_answered(&self) -> bool;
}

impl Link {
    /// A link for an ask of an actor in `clock` made right now, if it is made inside a handler. The ask ends with the one
    /// that is being handled at the latest.
    pub(crate) fn for_ask_made_here(target: &ControlRef, deadline: Tick) -> Option<Arc<Self>> {
        let asker = Turn::current()?;
        let clock = target.head().system().clock();
        let deadline = asker.inherited(clock, deadline);
        let cause = asker.head().cause().filter(|cause| !cause.is_over());
        let (cause, over) = (Mutex::new(cause), AtomicBool::new(false));
        Some(Arc::new(Self { asker, cause, deadline, over, state: Mutex::default() }))
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
    pub(crate) fn awaits(&self, target: u128, ask: &Arc<dyn Returning>) -> bool {
        // Piped to another task the ask blocks nobody.
        if !Turn::current().is_some_and(|turn| turn.is(&self.asker)) {
            return false;
        }
        let target = self.state.lock().went_to.unwrap_or(target);
        if self.asker.head().key() == target {
            return true;
        }
        let returning = {
            let mut state = self.state.lock();
            self.asker.head().awaits();
            state.awaited = Some((self.asker.number(), ask.clone()));
            mem::take(&mut state.returning)
        };
        returning.iter().for_each(|ask| ask.fail_with_cycle());

        let mut cause = self.cause();
        while let Some(link) = cause {
            if link.asker.head().key() == target {
                let mut state = link.state.lock();
                match &state.awaited {
                    Some((_, awaited)) if awaited.is_answered() => {}
                    Some((turn, _)) if *turn == link.asker.number() => return true,
                    // Sent but not awaited yet, or put aside: whoever comes second closes the circle.
                    Some(_) | None => state.returning.push(ask.clone()),
                }
            }
            cause = link.cause();
        }
        false
    }

    /// Whether the turn in which this ask was awaited, if any, is over: awaited now it is awaited anew.
    pub(crate) fn is_new_turn(&self) -> bool {
        self.state.lock().awaited.as_ref().is_none_or(|(turn, _)| *turn != self.asker.number())
    }

    fn cause(&self) -> Option<Arc<Self>> {
        self.cause.lock().clone()
    }

    fn is_over(&self) -> bool {
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
