//! Tests of actors: one thread, virtual time, the same run each time.
//!
//! | | what runs | what the test sees |
//! |---|---|---|
//! | [`TestKit`] | a whole system | what actors say to a [`TestProbe`], what they log ([`LogProbe`]) |
//! | [`BehaviorTestKit`] | one actor, handler by handler | [`Effect`]s, what it told whom, its state |
//!
//! ```
//! use actors::testkit::TestKit;
//! use actors::{Actor, ActorContext, ActorRef, Behavior, Handled};
//! use std::time::Duration;
//!
//! /// Passes on what it hears, a second later.
//! struct Echo {
//!     to: ActorRef<String>,
//! }
//!
//! impl Actor for Echo {
//!     type Message = String;
//!
//!     async fn receive(&mut self, ctx: &mut ActorContext<String>, call: String) -> Handled {
//!         ctx.clock().sleep(Duration::from_secs(1)).await;
//!         self.to.tell(call);
//!         Ok(Behavior::Same)
//!     }
//! }
//!
//! let kit = TestKit::strict(); // an actor left alive fails the test
//! let mut probe = kit.probe();
//! let echo = kit.spawn("echo", Echo { to: probe.actor_ref() });
//! echo.tell("hello".into());
//! probe.expect_no_message(Duration::from_millis(999));
//! probe.expect_message_eq("hello".into());
//! kit.stop(&echo);
//! ```

mod behavior;
mod effect;
mod ground;
mod inbox;
mod kit;
mod leaks;
mod logs;
mod observed;
mod probe;
mod seeds;

pub use self::behavior::BehaviorTestKit;
pub(crate) use self::effect::Recorder;
pub use self::effect::{Effect, TimerKind};
pub use self::kit::TestKit;
pub use self::logs::{LogEvent, LogProbe};
pub use self::probe::{FishingOutcome, TestProbe};

/// No other actor has this number.
const PROBES_UID: u64 = 0;
const PROBES_LIVE: &str = "a kit's probes are never told to stop as a whole";
