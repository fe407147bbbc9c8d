//! [`DurableStateBehavior`]: how a [`DurableState`] entity becomes an actor.

use crate::{
    Adapted, Codec, DurableState, RawState, StateStore, WindowLimits, WithCommands,
    adapted::Plain,
    common::{Common, Spawning, common_settings},
    durable_state_actor::DurableStateActor,
};
use actors::Props;
use std::sync::Arc;

/// Makes an actor of a [`DurableState`] entity; spawn it as it is.
///
/// # Ordering
/// One command at a time: while a state is written, or the entity recovers, further commands wait in the mailbox, 4096
/// of them unless [`mailbox`](Self::mailbox) says otherwise. A stop waits for the write that is under way.
///
/// # Failures
/// Those of [`EventSourcedBehavior`](crate::EventSourcedBehavior), with one difference: where another writer has stored a
/// state after a write of unknown outcome, nobody can know any more what became of that write.
pub struct DurableStateBehavior<D: DurableState> {
    setup: Arc<StateSetup<D>>,
    spawning: Spawning,
}

/// What all lives of one entity share.
pub(crate) struct StateSetup<D: DurableState> {
    pub(crate) entity: D,
    pub(crate) store: Arc<dyn StateStore<WithCommands<D::State>>>,
    pub(crate) common: Common<D::Command>,
}

/// Answers together that are stored with each state, in bytes.
const WINDOW_BYTES: usize = 64 << 10;

impl<D: DurableState> DurableStateBehavior<D> {
    /// The entity over a store of its states. It claims the right to write each time it starts.
    pub fn new(entity: D, store: impl StateStore<D::State>) -> Self {
        Self::with_commands(entity, Plain(store))
    }

    /// The entity over a store of bytes: with room for the answers to commands with an id.
    pub fn adapted(entity: D, store: impl StateStore<RawState>, codec: impl Codec<D::State>) -> Self {
        Self::with_commands(entity, Adapted::new(store, codec))
    }

    /// The entity over a store of states [`WithCommands`]: what [`adapted`](Self::adapted) makes of one of bytes.
    pub fn with_commands(entity: D, store: impl StateStore<WithCommands<D::State>>) -> Self {
        let window = WindowLimits { bytes: WINDOW_BYTES, reply_bytes: WINDOW_BYTES / 4, ..WindowLimits::default() };
        let setup = StateSetup { entity, store: Arc::new(store), common: Common::new(window) };
        Self { setup: Arc::new(setup), spawning: Spawning::default() }
    }

    common_settings! {
        StateSetup<D>,
        effect = "StateEffect",
        window = "How much of the past answers repeated commands; see [`DurableState::once`]. It is stored with each state. Default: that of [`WindowLimits`](crate::WindowLimits), but 64 KiB in all and 16 KiB an answer."
    }
}

impl<D: DurableState> From<DurableStateBehavior<D>> for Props<DurableStateActor<D>> {
    fn from(behavior: DurableStateBehavior<D>) -> Self {
        let DurableStateBehavior { setup, spawning: Spawning { strategy, mailbox } } = behavior;
        Self::new(move || DurableStateActor::new(Arc::clone(&setup))).supervise(strategy).mailbox(mailbox)
    }
}
