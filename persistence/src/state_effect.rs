//! [`StateEffect`]: what a command to a durable state leads to. Persist first, then reply, run, stop.

use crate::{AppendError, BoxFuture, CodecError, DurableState, ReplyOnce, chained::Chain};
use actors::{ActorContext, ReplyTo};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

/// What the command handler of a [`DurableState`] decides: one primary effect, then others in the order they are chained.
///
/// # Ordering
/// Chained effects run after the state is durable, in order, at most once, and never in recovery. If the write fails none
/// of them runs, except for [`then_reply_outcome`](Self::then_reply_outcome): any other `ReplyTo` among them is dropped,
/// which ends its ask with `NoReply`. If the process dies between write and effect, it does not run later.
#[must_use = "an effect does nothing unless the command handler returns it"]
pub struct StateEffect<D: DurableState> {
    pub(crate) primary: StatePrimary<D>,
    pub(crate) chained: Chain<D::Command, D::State>,
    pub(crate) answer: Option<Result<Bytes, CodecError>>, // kept with the state, for repetitions of the command
}

pub(crate) enum StatePrimary<D: DurableState> {
    None,
    Persist(D::State),
    Delete,
    Stash(D::Command),
    Unhandled,
    Later(BoxFuture<'static, StateEffect<D>>),
}

impl<D: DurableState> StateEffect<D> {
    /// Stores `state` in the place of the one before it.
    pub fn persist(state: D::State) -> Self {
        Self::of(StatePrimary::Persist(state))
    }

    /// Takes the stored state away; the entity goes on with the default one. Its revision is kept and grows.
    pub fn delete() -> Self {
        Self::of(StatePrimary::Delete)
    }

    /// Stores nothing.
    pub fn none() -> Self {
        Self::of(StatePrimary::None)
    }

    /// Stores nothing and answers.
    pub fn reply<T: Send + 'static>(reply_to: ReplyTo<T>, answer: T) -> Self {
        Self::none().then_reply(reply_to, move |_| answer)
    }

    /// The command means nothing in this state; it is counted and published as unhandled.
    pub fn unhandled() -> Self {
        Self::of(StatePrimary::Unhandled)
    }

    /// Stops the entity; what waits in its mailbox becomes dead letters.
    pub fn stop() -> Self {
        Self::none().then_stop()
    }

    /// Holds `command` back until [`then_unstash_all`](Self::then_unstash_all). What is held is lost when the entity
    /// stops or the process dies. When the stash is full the command is dropped, which tells an asker so.
    pub fn stash(command: D::Command) -> Self {
        Self::of(StatePrimary::Stash(command))
    }

    /// Awaits `decision`, then does what it says, then what is chained here. Other commands wait meanwhile, so the state
    /// is still the same then.
    ///
    /// It has [`asynchronous_timeout`](crate::DurableStateBehavior::asynchronous_timeout): after that it is dropped, and
    /// the command has no effect. What the future has done by then is done.
    pub fn asynchronous(decision: impl Future<Output = Self> + Send + 'static) -> Self {
        Self::of(StatePrimary::Later(decision.boxed()))
    }

    /// Then calls `run` with the new state.
    pub fn then_run(mut self, run: impl FnOnce(&D::State, &mut ActorContext<D::Command>) + Send + 'static) -> Self {
        self.chained.run(run);
        self
    }

    /// Then answers with what `make` finds in the new state.
    pub fn then_reply<T: Send + 'static>(
        mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&D::State) -> T + Send + 'static,
    ) -> Self {
        self.chained.reply(reply_to, make);
        self
    }

    /// Then answers with what `make` finds in the state after the write, and in the revision stored: with it a caller can
    /// [wait](crate::Projections::wait_until) until a projection has seen what was just written.
    pub fn then_reply_at<T: Send + 'static>(
        mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&D::State, u64) -> T + Send + 'static,
    ) -> Self {
        self.chained.reply_at(reply_to, make);
        self
    }

    /// Then answers in any case: with what `make` finds in the new state, or with what it says about the write's failure.
    ///
    /// [`AppendError::Unknown`] is no failure to tell a caller of as such: the state may be stored.
    pub fn then_reply_outcome<T: Send + 'static>(
        mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(Result<&D::State, &AppendError>) -> T + Send + 'static,
    ) -> Self {
        self.chained.reply_outcome(reply_to, make);
        self
    }

    /// Then answers a command with an id. The answer is stored with the state, so it is needed before; where nothing is
    /// stored it is remembered until the entity stops, or stored with the next state.
    ///
    /// An answer that cannot be encoded rejects the write.
    pub fn then_reply_once<T>(mut self, reply_to: ReplyOnce<T>, answer: T) -> Self
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        self.answer = Some(reply_to.encode(&answer));
        self.chained.run(move |_, _| reply_to.tell(answer));
        self
    }

    /// Then stops the entity; nothing chained after this runs.
    pub fn then_stop(mut self) -> Self {
        self.chained.stop();
        self
    }

    /// Then brings all stashed commands back, in order, before anything newer.
    pub fn then_unstash_all(mut self) -> Self {
        self.chained.unstash_all();
        self
    }

    /// The state this effect would store, for tests of a command handler; a deletion has none.
    #[must_use]
    pub fn state(&self) -> Option<&D::State> {
        match &self.primary {
            StatePrimary::Persist(state) => Some(state),
            _ => None,
        }
    }

    /// Whether this effect would take the stored state away, for tests of a command handler.
    #[must_use]
    pub fn deletes(&self) -> bool {
        matches!(self.primary, StatePrimary::Delete)
    }

    fn of(primary: StatePrimary<D>) -> Self {
        Self { primary, chained: Chain::default(), answer: None }
    }
}
