//! Typed actors: supervision, ask, timers, stash, death watch.

mod actor;
mod actor_ref;
mod ask;
mod ask_chain;
mod cell;
mod clock;
mod context;
mod discard;
mod engine;
mod event_stream;
mod guardian;
mod mailbox;
mod panic_text;
mod path;
mod props;
mod queue;
mod shutdown;
mod spawn;
mod stash;
mod supervision;
mod system;
pub mod testkit;
mod timers;

pub use actor::{Actor, Behavior, BoxError, DeathPact, Handled, Panicked, Signal};
pub use actor_ref::{ActorRef, Stopped, TryTellError};
pub use ask::{Ask, AskError, ReplyTo};
pub use clock::{Clock, Elapsed, Sleep, Tick};
pub use context::{ActorContext, SpawnError};
pub use event_stream::{
    ActorRestarted, DeadLetter, DeadLetterReason, EventStream, StopForced, UnhandledMessage,
};
pub use mailbox::Mailbox;
pub use path::ActorPath;
pub use props::Props;
pub use shutdown::{CoordinatedShutdown, Phase, PhaseBegun, ShutdownReport, TaskFailure};
pub use stash::{StashBuffer, StashFull};
pub use supervision::SupervisorStrategy;
pub use system::{ActorSystem, ActorSystemBuilder};
pub use timers::{MissedTicks, Timers};
