#![doc = include_str!("../GUIDE.md")]

mod actor;
mod actor_ref;
mod ask;
mod ask_chain;
mod asks;
mod audience;
mod block_queue;
mod cell;
mod cell_ref;
mod clock;
mod context;
pub mod delivery;
mod discard;
mod ending;
mod engine;
mod envelope;
mod event_stream;
mod extension;
mod failed_message;
mod first_poll;
mod fn_actor;
mod foyer;
mod fsm;
mod gate;
mod guardian;
mod ignore;
mod inspect;
mod intercept;
mod lazy;
mod lineage;
mod mailbox;
mod memory;
mod nobody;
mod orders;
mod own;
mod panic_text;
mod parked;
mod path;
mod pinned;
mod port;
mod prefetch;
mod props;
mod receptionist;
pub mod remote;
mod repeat;
mod reply_slot;
mod router;
mod scheduler;
mod shutdown;
#[cfg(all(test, actors_shuttle))]
mod shuttle_runs;
#[cfg(test)]
mod sizes;
mod spawn;
mod stash;
mod stream;
mod supervision;
mod supervisor;
mod sync;
mod system;
pub mod testkit;
mod timers;
mod trace;
mod watchdog;

pub use actor::{Actor, Behavior, BoxError, DeathPact, Handled, Panicked, Signal};
pub use actor_ref::{ActorRef, Stopped, TryTellError};
pub use ask::{Ask, AskError, ReplyTo};
pub use asks::{
    AskAll, AskFirst, AskHedged, AskWithStatus, AskWithStatusError, NotEnoughAnswers, StatusError, ask_all, ask_first,
    ask_hedged,
};
pub use audience::Terminated;
pub use clock::{Clock, Drift, Elapsed, Sleep, Tick};
pub use context::{ActorContext, BlockingFull, SpawnError};
pub use event_stream::{
    ActorKilled, ActorRestarted, DeadLetter, DeadLetterReason, EventStream, StopForced, SuppressedDeadLetter,
    UnhandledMessage,
};
pub use failed_message::FailedMessage;
pub use fn_actor::FnActor;
pub use fsm::{Fsm, StateTimeout};
pub use gate::{Admission, Gate};
pub use inspect::{ActorNode, ActorState, ActorTree, TreeOptions};
pub use intercept::{Intercepted, Interceptor, MessageOutcome};
pub use mailbox::Mailbox;
pub use parked::{ParkedMessage, ParkingLot, ReplayError};
pub use path::ActorPath;
pub use pinned::{Local, LocalActor};
pub use props::Props;
pub use receptionist::{Listing, Receptionist, Registration, Registrations, ServiceKey};
pub use router::{GroupRouter, PoolRef, PoolRouter, RoutingLogic, key_hash};
pub use shutdown::{
    CoordinatedShutdown, Phase, PhaseBegun, ShutdownOverBudget, ShutdownReason, ShutdownReport, ShutdownTask,
    TaskFailure,
};
pub use stash::{StashBuffer, StashFull};
pub use stream::{AcknowledgedSink, ActorSink, ActorSource, Overflow};
pub use supervision::SupervisorStrategy;
pub use supervisor::{
    AnyChildRef, ChildOver, ChildRef, ChildSpec, ChildStatus, GroupRestarted, GroupStrategy, RestartKind,
    RestartsExhausted, Supervisor, SupervisorMessage,
};
pub use system::{ActorSystem, ActorSystemBuilder};
pub use timers::{MissedTicks, Timers};
pub use trace::{InTrace, TraceContext, TraceContextError, TraceState, Tracing};
pub use watchdog::TurnStuck;

/// Pages whose programs compile and run too.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/FROM_AKKA.md")]
    struct FromAkka;
}
