//! Typed actors: supervision, ask, timers, stash, death watch.
//!
//! An actor is a struct that holds state and an enum that lists what it understands. One handler runs at a time, with
//! `&mut self`, so the state needs no lock; others know the actor only by an [`ActorRef`] typed by the enum.
//!
//! ```
//! use actors::{Actor, ActorContext, ActorSystem, Behavior, BoxError, Handled, ReplyTo};
//! use std::time::Duration;
//!
//! struct Counter {
//!     total: u64,
//! }
//!
//! enum CounterMessage {
//!     Add(u64),
//!     Total(ReplyTo<u64>),
//! }
//!
//! impl Actor for Counter {
//!     type Message = CounterMessage;
//!
//!     async fn receive(&mut self, _ctx: &mut ActorContext<CounterMessage>, message: CounterMessage) -> Handled {
//!         match message {
//!             CounterMessage::Add(number) => self.total += number,
//!             CounterMessage::Total(reply_to) => reply_to.tell(self.total),
//!         }
//!         Ok(Behavior::Same)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let system = ActorSystem::new("guide");
//! let counter = system.spawn("counter", Counter { total: 0 });
//! counter.tell(CounterMessage::Add(40));
//! counter.tell(CounterMessage::Add(2));
//! let total = counter.ask(CounterMessage::Total, Duration::from_secs(1)).await?;
//! assert_eq!(total, 42);
//! system.terminate().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Four verbs
//!
//! | verb | waits | when it cannot deliver |
//! |---|---|---|
//! | [`tell`](ActorRef::tell) | never | a dead letter: counted, published, sampled in the log |
//! | [`try_tell`](ActorRef::try_tell) | never | the message comes back: `Full` or `Stopped` |
//! | [`send`](ActorRef::send) | for room | the message comes back: `Stopped` |
//! | [`ask`](ActorRef::ask) | for the answer, never past its limit | an [`AskError`] as soon as it is certain |
//!
//! The same four on every reference: plain, mapped, adapted, or of a test probe. Inside an actor,
//! [`ActorContext::ask`] brings the answer back as a message instead of holding the mailbox up.
//!
//! # Delivery and order
//!
//! - At most once: a message is handled, or counted as dropped with exactly one [`DeadLetterReason`], or handed back.
//! - Messages of one task to one actor keep their order, across restarts too. Nothing is promised between two senders.
//! - Signals, timers, answers and results of piped futures have a lane of their own: they overtake messages, need no room
//!   in the mailbox and are never refused. The end of a watched actor does not overtake what that actor said before.
//! - Mailboxes hold 65,536 messages unless [`Props::mailbox`] says otherwise.
//! - No message is boxed on its way to a local actor; an ask makes one allocation, for the answer.
//!
//! # Lives
//!
//! A reference names an incarnation: path and number. It keeps nothing alive; the parent owns the actor. A handler that
//! returns an error or panics has failed, and the strategy given to [`Props::supervise`] decides: stop (the default),
//! resume, or restart, which runs the factory again under the same reference, with the same mailbox and watchers. The
//! message that failed is gone, unless [`Props::on_failed_message`] has it redelivered or parked. A state that panicked is
//! dropped and never used again.
//!
//! - Failure, restart: timers, tied tasks and pending asks end; [`Signal::PreRestart`]; children stop and are awaited; the
//!   delay passes; the factory runs; what waits is served.
//! - Stop: from the moment somebody stops it the actor takes no messages; the one in hand is handled to its end; what
//!   waits becomes dead letters, and who asked learns; children stop and are awaited; [`Signal::PostStop`]; the name is
//!   free; watchers learn.
//! - Other ends: [`drain`](ActorContext::drain) has the actor handle what waits first, for so long;
//!   [`stop_within`](ActorContext::stop_within) and [`kill`](ActorContext::kill) do not wait for a handler that is stuck.
//!
//! # Many for one, and who is who
//!
//! A [`PoolRouter`] spreads messages over workers of its own, a [`GroupRouter`] over those registered under a
//! [`ServiceKey`]; either is an [`ActorRef`] like any other. The [`Receptionist`] tells who is registered where.
//!
//! # Time and tests
//!
//! Time comes from the system's [`Clock`] alone. [`testkit::TestKit`] runs a system on one thread in virtual time, so a
//! test of an hour takes a millisecond and goes the same way each time. [`testkit::BehaviorTestKit`] runs one actor alone,
//! handler by handler, and shows what it did as values.
//!
//! # What is not here
//!
//! This crate knows nothing of networks, disks or wire formats.

mod actor;
mod actor_ref;
mod ask;
mod ask_chain;
mod asks;
mod block_queue;
mod cell;
mod clock;
mod context;
pub mod delivery;
mod discard;
mod ending;
mod engine;
mod envelope;
mod event_stream;
mod failed_message;
mod fn_actor;
mod fsm;
mod guardian;
mod ignore;
mod mailbox;
mod orders;
mod own;
mod panic_text;
mod parked;
mod path;
mod props;
mod receptionist;
mod reply_slot;
mod router;
mod scheduler;
mod shutdown;
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

pub use actor::{Actor, Behavior, BoxError, DeathPact, Handled, Panicked, Signal};
pub use actor_ref::{ActorRef, Stopped, TryTellError};
pub use ask::{Ask, AskError, ReplyTo};
pub use asks::{
    AskAll, AskFirst, AskHedged, AskWithStatus, AskWithStatusError, NotEnoughAnswers, StatusError, ask_all, ask_first,
    ask_hedged,
};
pub use clock::{Clock, Elapsed, Sleep, Tick};
pub use context::{ActorContext, SpawnError};
pub use event_stream::{
    ActorKilled, ActorRestarted, DeadLetter, DeadLetterReason, EventStream, StopForced, SuppressedDeadLetter,
    UnhandledMessage,
};
pub use failed_message::FailedMessage;
pub use fn_actor::FnActor;
pub use fsm::{Fsm, StateTimeout};
pub use mailbox::Mailbox;
pub use parked::{ParkedMessage, ParkingLot, ReplayError};
pub use path::ActorPath;
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
