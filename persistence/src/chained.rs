//! [`Chain`]: what follows a command's write, the same for all kinds of entity.

use crate::AppendError;
use actors::{ActorContext, Behavior, ReplyTo, StashBuffer};

/// Effects in the order they were chained; `C` is the entity's command, `S` its state.
pub(crate) struct Chain<C, S>(Vec<Chained<C, S>>);

enum Chained<C, S> {
    Run(Run<C, S>),
    Answer(Answer<S>),
    Numbered(Numbered<S>),
    UnstashAll,
    Snapshot,
    Stop,
}

type Run<C, S> = Box<dyn FnOnce(&S, &mut ActorContext<C>) + Send>;
type Numbered<S> = Box<dyn FnOnce(&S, u64) + Send>;
type Answer<S> = Box<dyn FnOnce(Result<&S, &AppendError>) + Send>;

/// What the effects lead to.
pub(crate) struct Performed {
    pub(crate) behavior: Behavior,
    /// A snapshot was asked for.
    pub(crate) snapshot: bool,
}

impl<C: Send + 'static, S> Chain<C, S> {
    pub(crate) fn run(&mut self, run: impl FnOnce(&S, &mut ActorContext<C>) + Send + 'static) {
        self.0.push(Chained::Run(Box::new(run)));
    }

    pub(crate) fn reply<T: Send + 'static>(
        &mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&S) -> T + Send + 'static,
    ) {
        self.run(move |state, _| reply_to.tell(make(state)));
    }

    pub(crate) fn reply_at<T: Send + 'static>(
        &mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&S, u64) -> T + Send + 'static,
    ) {
        self.0.push(Chained::Numbered(Box::new(move |state, number| reply_to.tell(make(state, number)))));
    }

    pub(crate) fn reply_outcome<T: Send + 'static>(
        &mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(Result<&S, &AppendError>) -> T + Send + 'static,
    ) {
        self.0.push(Chained::Answer(Box::new(move |outcome| reply_to.tell(make(outcome)))));
    }

    pub(crate) fn stop(&mut self) {
        self.0.push(Chained::Stop);
    }

    pub(crate) fn unstash_all(&mut self) {
        self.0.push(Chained::UnstashAll);
    }

    pub(crate) fn snapshot(&mut self) {
        self.0.push(Chained::Snapshot);
    }

    /// All effects of `self`, then those of `other`.
    pub(crate) fn then(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self
    }

    /// Performs all effects after a write that succeeded, or where there was none; `number` is the last one stored.
    pub(crate) fn perform(
        self,
        state: &S,
        number: u64,
        ctx: &mut ActorContext<C>,
        stash: &mut StashBuffer<C>,
    ) -> Performed {
        let mut performed = Performed { behavior: Behavior::Same, snapshot: false };
        for effect in self.0 {
            match effect {
                Chained::Run(run) => run(state, ctx),
                Chained::Answer(answer) => answer(Ok(state)),
                Chained::Numbered(answer) => answer(state, number),
                Chained::UnstashAll => ctx.unstash_all(stash),
                Chained::Snapshot => performed.snapshot = true,
                Chained::Stop => {
                    performed.behavior = Behavior::Stopped;
                    break;
                }
            }
        }
        performed
    }

    /// Tells those who want to know that the write failed; the other effects are dropped.
    pub(crate) fn write_failed(self, error: &AppendError) {
        for effect in self.0 {
            match effect {
                Chained::Answer(answer) => answer(Err(error)),
                // What follows a stop would not have run after a write either.
                Chained::Stop => return,
                Chained::Run(_) | Chained::Numbered(_) | Chained::UnstashAll | Chained::Snapshot => {}
            }
        }
    }
}

impl<C, S> Default for Chain<C, S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The outcome of a write is unknown, so the entity's state is not to be believed any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("persisting failed: {0}")]
pub struct PersistFailed(pub AppendError);

impl PersistFailed {
    /// For an entity that is asked to go on although it has no state.
    pub(crate) fn not_recovered() -> Self {
        Self(AppendError::Unavailable { reason: "the entity has no state to go on from".to_owned() })
    }
}
