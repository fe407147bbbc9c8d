//! Asks from inside an actor: the answer comes back as a message.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::ActorContext;
use crate::actor_ref::ActorRef;
use crate::ask::{AskError, ReplyTo};
use crate::cell_ref::CellRef;
use crate::clock::Tick;
use crate::discard;
use crate::envelope::{Internal, Question};
use crate::port::{Port, Ported};
use crate::testkit::Effect;
use crate::trace::Carried;

/// When an ask times out; the number tells asks of one moment apart.
type Deadline = (Tick, u64);

impl<M: Send + 'static> ActorContext<M> {
    /// Until when whoever asked the message in hand waits for the answer, by the system's clock. `None` when it was not
    /// asked, was asked or forwarded inside an actor whose system has another clock, or was put aside in between by other means
    /// than [`stash`](ActorContext::stash). Of a question asked outside of actors a moment more than some 73 years after the
    /// clock began is none either.
    ///
    /// At that moment the asker gives up: an actor that answers with what it has by then sets its timer a little earlier.
    ///
    /// Whatever is asked while the message is handled ends no later: of the asks of a chain the deadline of the first
    /// holds for all. What is started beside the actor, such as a request to another machine, can be given it by hand.
    ///
    /// A question whose time is over before the actor comes to it is not handled. For that the actor looks at the clock
    /// when it comes back to its mailbox from a handler that awaited or from behind other actors, and now and then in a
    /// long row of messages, so a question may slip through that has expired in the moments since.
    pub fn deadline(&self) -> Option<Tick> {
        Some(self.head().deadline()).filter(|deadline| *deadline != Tick::NEVER)
    }

    /// Sends the question `make` returns to `target` without waiting: `map` turns the outcome into a message to this
    /// actor, in this actor's turn, `within` at the latest.
    ///
    /// There is exactly one such message, unless this life ends first: a later life does not get it. The time is bounded
    /// by [`deadline`](ActorContext::deadline) too.
    pub fn ask<N, R>(
        &mut self,
        target: &ActorRef<N>,
        make: impl FnOnce(ReplyTo<R>) -> N,
        within: Duration,
        map: impl FnOnce(Result<R, AskError>) -> M + Send + 'static,
    ) where
        N: Send + 'static,
        R: Send + 'static,
    {
        self.record(|| Effect::AskSent { target: target.path().clone(), within });
        let at = self.clock().now() + within;
        let at = at.min(self.head().deadline());
        // A moment of this system's clock says nothing to another.
        let question = target.system().clock().is(self.clock()).then_some(Question::Until(at));
        let carried = Carried::from(self.head());
        let map = move |outcome| {
            carried.arrive();
            map(outcome)
        };
        let asker = self.cell().clone();
        let deadline = self.extras().asks.next_key(at);
        let slot =
            Ported::new(AnswerSlot { asker, deadline, life: self.life, state: Mutex::new(AnswerState::Waiting(map)) });
        self.extras().asks.pending.insert(deadline, slot.clone());
        target.question(make(ReplyTo::new(slot)), question);
    }
}

/// The asks of one life that have no answer yet, by deadline.
pub(crate) struct PendingAsks<M> {
    pending: BTreeMap<Deadline, Arc<dyn PendingAnswer<M>>>,
    asked: u64,
}

impl<M> Default for PendingAsks<M> {
    fn default() -> Self {
        Self { pending: BTreeMap::new(), asked: 0 }
    }
}

impl<M> PendingAsks<M> {
    fn next_key(&mut self, at: Tick) -> Deadline {
        self.asked += 1;
        (at, self.asked)
    }

    pub(crate) fn next_deadline(&self) -> Option<Tick> {
        self.pending.first_key_value().map(|((at, _), _)| *at)
    }

    /// The message of an ask whose time is over.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<M> {
        while self.next_deadline()? <= now {
            let (_, ask) = self.pending.pop_first()?;
            // `None`: the answer came in time and waits in the internal lane.
            if let Some(message) = ask.time_out() {
                return Some(message);
            }
        }
        None
    }

    /// The message of an ask that was answered.
    pub(crate) fn answered(&mut self, ask: &dyn PendingAnswer<M>, life: u32) -> Option<M> {
        self.pending.remove(&ask.deadline());
        if ask.life() == life { ask.take() } else { None }
    }

    pub(crate) fn clear_caught(&mut self) {
        for ask in mem::take(&mut self.pending).into_values() {
            discard::caught(|| {
                ask.give_up();
                drop(ask);
            });
        }
    }
}

/// One ask, seen from the actor that asked.
pub(crate) trait PendingAnswer<M>: Send + Sync {
    fn deadline(&self) -> Deadline;
    fn life(&self) -> u32;
    /// The message for the answer that came.
    fn take(&self) -> Option<M>;
    /// The message for a time-out, unless the answer is here already.
    fn time_out(&self) -> Option<M>;
    fn give_up(&self);
}

struct AnswerSlot<M, R, F> {
    asker: CellRef<M>,
    deadline: Deadline,
    life: u32,
    state: Mutex<AnswerState<R, F>>,
}

enum AnswerState<R, F> {
    Waiting(F),
    Answered(F, Result<R, AskError>),
    Over,
}

impl<M, R, F> Port<R> for AnswerSlot<M, R, F>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Result<R, AskError>) -> M + Send + 'static,
{
    fn complete(this: Arc<Ported<R, Self>>, outcome: Result<R, AskError>) {
        let mut state = this.state.lock();
        match mem::replace(&mut *state, AnswerState::Over) {
            AnswerState::Waiting(map) => *state = AnswerState::Answered(map, outcome),
            AnswerState::Answered(..) | AnswerState::Over => return, // late: nobody waits
        }
        drop(state);
        let asker = this.asker.clone();
        asker.push_internal(Internal::Answer(this));
    }

    fn is_closed(&self) -> bool {
        matches!(*self.state.lock(), AnswerState::Over)
    }
}

impl<M, R, F> PendingAnswer<M> for Ported<R, AnswerSlot<M, R, F>>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Result<R, AskError>) -> M + Send + 'static,
{
    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn life(&self) -> u32 {
        self.life
    }

    fn take(&self) -> Option<M> {
        let state = mem::replace(&mut *self.state.lock(), AnswerState::Over);
        match state {
            AnswerState::Answered(map, outcome) => Some(map(outcome)),
            AnswerState::Waiting(_) | AnswerState::Over => None,
        }
    }

    fn time_out(&self) -> Option<M> {
        let mut state = self.state.lock();
        match mem::replace(&mut *state, AnswerState::Over) {
            AnswerState::Waiting(map) => {
                drop(state);
                Some(map(Err(AskError::Timeout)))
            }
            answered @ AnswerState::Answered(..) => {
                *state = answered;
                None
            }
            AnswerState::Over => None,
        }
    }

    fn give_up(&self) {
        let state = mem::replace(&mut *self.state.lock(), AnswerState::Over);
        drop(state);
    }
}
