//! [`Supervisor`]: an actor that starts its children in order and restarts them as a group. [`State`] decides.

mod child_ref;
mod spec;
mod state;

use std::fmt;
use std::time::Duration;

use tracing::{error, warn};

pub use self::child_ref::{AnyChildRef, ChildOver, ChildRef};
pub use self::spec::ChildSpec;
pub use self::state::{GroupStrategy, RestartKind};

use self::spec::Child;
use self::state::{Effect, End, Intensity, State, Status};
use crate::actor::{Actor, Behavior, Handled, Signal};
use crate::ask::ReplyTo;
use crate::context::ActorContext;
use crate::path::ActorPath;

const INTENSITY: Intensity = Intensity { max: 3, within: Duration::from_secs(5) };

/// Starts its children in order and restarts them as a group.
///
/// [`SupervisorStrategy`](crate::SupervisorStrategy) restarts an actor in place and knows nothing of others. A supervisor
/// is for actors that depend on each other: it makes new incarnations of them, in the order of their specs, after all of
/// the old ones have ended.
///
/// ```
/// use actors::{Actor, ActorContext, ActorSystem, Behavior, BoxError, ChildSpec, GroupStrategy, Handled, Supervisor};
/// use std::time::Duration;
///
/// struct Ledger;
/// struct Teller;
///
/// impl Actor for Ledger {
///     type Message = u64;
///     async fn receive(&mut self, _ctx: &mut ActorContext<u64>, _cents: u64) -> Handled {
///         Ok(Behavior::Same)
///     }
/// }
///
/// impl Actor for Teller {
///     type Message = &'static str;
///     async fn receive(&mut self, _ctx: &mut ActorContext<&'static str>, _who: &'static str) -> Handled {
///         Ok(Behavior::Same)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let system = ActorSystem::new("bank");
/// let teller = ChildSpec::new("teller", || Teller).stop_within(Duration::from_secs(2));
/// let teller_ref = teller.child_ref(); // follows the teller from one incarnation to the next
/// let supervisor = Supervisor::new(GroupStrategy::RestForOne) // a teller is worth nothing without this very ledger
///     .child(ChildSpec::new("ledger", || Ledger))
///     .child(teller)
///     .intensity(5, Duration::from_secs(30));
/// system.spawn("bank", supervisor);
/// teller_ref.ready().await?.tell("next, please");
/// system.terminate().await;
/// assert!(teller_ref.current().is_none());
/// # Ok(())
/// # }
/// ```
///
/// # What restarts
///
/// - A child whose end calls for a restart ([`RestartKind`]) takes its group along ([`GroupStrategy`]): those still
///   running stop in reverse order, one after the other; when *every* member has ended, all but the temporary ones are
///   made anew in order. Starting is not waited for: what is told to a child before it has started waits in its mailbox.
/// - Members that fail while their group stops are no further reason. One that is no member is: the group widens.
/// - More than `max` restarts within the window ([`Supervisor::intensity`]): all children stop in reverse order, then the
///   supervisor fails with [`RestartsExhausted`], for its own parent to decide on. One restart of a group counts once.
/// - A supervisor is an actor: nest them by [`ChildSpec::new`] with a closure that makes one, and
///   [`ChildSpec::stop_unlimited`].
///
/// # How it stops
///
/// In reverse order of start, one child after the other, each within its own limit; whether its parent stops it, the
/// system ends or it is told to [`Shutdown`](SupervisorMessage::Shutdown).
///
/// Spawned as a value it stops on failure; a supervisor that is to restart itself is spawned from
/// [`Props::new`](crate::Props::new), whose factory makes all specs anew.
#[must_use = "a supervisor does nothing until it is spawned"]
pub struct Supervisor {
    strategy: GroupStrategy,
    intensity: Intensity,
    children: Vec<Supervised>,
    state: State,
}

struct Supervised {
    spec: Box<dyn Child>,
    /// The incarnation that has not ended.
    path: Option<ActorPath>,
    starts: u64,
    /// What the last incarnation to end failed with.
    cause_of_end: Option<String>,
    last_failure: Option<String>,
}

/// What a [`Supervisor`] understands.
#[derive(Debug)]
#[non_exhaustive]
pub enum SupervisorMessage {
    /// All children in the order of their specs.
    WhichChildren(ReplyTo<Vec<ChildStatus>>),
    /// A reference that follows the child of that name; `None` when there is no such spec.
    Child {
        /// The name in the spec.
        name: String,
        /// Gets the answer.
        reply_to: ReplyTo<Option<AnyChildRef>>,
    },
    /// Stops the children in reverse order, each within its limit, then the supervisor.
    Shutdown,
}

/// How a supervised child fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildStatus {
    /// The name in its spec.
    pub name: String,
    /// Which of its ends call for a restart.
    pub restart: RestartKind,
    /// The incarnation that has not ended; `None` between two incarnations and after the last.
    pub path: Option<ActorPath>,
    /// How many incarnations have been started.
    pub starts: u64,
    /// What the last incarnation that failed said.
    pub last_failure: Option<String>,
}

/// A supervisor's children needed more restarts than it allows. Its children have stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {max} restarts within {within:?}; the last child to end was `{child}`: {}",
    cause.as_deref().unwrap_or("it stopped by itself")
)]
pub struct RestartsExhausted {
    /// The child whose end was one too many.
    pub child: String,
    /// What it failed with; `None` when it stopped by itself.
    pub cause: Option<String>,
    /// How many restarts are allowed,
    pub max: u32,
    /// within how long.
    pub within: Duration,
}

/// A supervisor restarts a group of its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRestarted {
    /// The supervisor.
    pub supervisor: ActorPath,
    /// The child whose end was the reason.
    pub child: String,
    /// What it failed with; `None` when it stopped by itself.
    pub cause: Option<String>,
    /// Those started anew, in order.
    pub started: Vec<String>,
}

impl Supervisor {
    /// A supervisor without children, which allows three restarts within five seconds.
    pub fn new(strategy: GroupStrategy) -> Self {
        Self { strategy, intensity: INTENSITY, children: Vec::new(), state: State::new(strategy, INTENSITY, []) }
    }

    /// Adds a child behind those there are: it starts after them and stops before them.
    ///
    /// # Panics
    /// When the name is empty or another child has it.
    pub fn child<A: Actor>(mut self, spec: ChildSpec<A>) -> Self {
        let name = Child::name(&spec);
        assert!(!name.is_empty(), "a supervised child needs a name");
        assert!(
            self.children.iter().all(|child| child.spec.name() != name),
            "two specs of one supervisor are named `{name}`; choose another name for one of them"
        );
        self.children.push(Supervised {
            spec: Box::new(spec),
            path: None,
            starts: 0,
            cause_of_end: None,
            last_failure: None,
        });
        self
    }

    /// How many restarts within how long are still normal; with one more the supervisor gives up. Default: three within
    /// five seconds. With none, the first end that calls for a restart is one too many.
    ///
    /// # Panics
    /// When `within` is zero: no two restarts would ever fall into one window.
    pub fn intensity(mut self, max: u32, within: Duration) -> Self {
        assert!(within > Duration::ZERO, "intensity: the window must be longer than zero");
        self.intensity = Intensity { max, within };
        self
    }

    fn perform(&mut self, ctx: &mut ActorContext<SupervisorMessage>, effects: Vec<Effect>) -> Handled {
        for effect in effects {
            match effect {
                Effect::Start(index) => {
                    let child = &mut self.children[index];
                    child.starts += 1;
                    child.path = Some(child.spec.start(ctx)?);
                }
                Effect::Stop(index) => self.children[index].spec.stop(ctx),
                Effect::Finish(End::ShutDown) => return Ok(Behavior::Stopped),
                Effect::Finish(End::GaveUp(index)) => return Err(self.exhausted(index).into()),
            }
        }
        Ok(Behavior::Same)
    }

    fn ended(
        &mut self,
        ctx: &mut ActorContext<SupervisorMessage>,
        path: &ActorPath,
        failure: Option<String>,
    ) -> Handled {
        let Some(index) = self.children.iter().position(|child| child.path.as_ref() == Some(path)) else {
            return Ok(Behavior::Same);
        };
        let child = &mut self.children[index];
        child.path = None;
        child.cause_of_end.clone_from(&failure);
        child.last_failure = failure.clone().or(child.last_failure.take());
        let effects = self.state.ended(index, failure.is_some(), ctx.clock().now());
        for (index, child) in self.children.iter().enumerate().filter(|(_, child)| child.path.is_none()) {
            child.spec.gone(self.state.status(index) == Status::Over);
        }
        self.note(ctx, index, failure, &effects);
        self.perform(ctx, effects)
    }

    fn note(&self, ctx: &ActorContext<SupervisorMessage>, index: usize, cause: Option<String>, effects: &[Effect]) {
        let started: Vec<String> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Start(index) => Some(self.children[*index].spec.name().to_owned()),
                _ => None,
            })
            .collect();
        let child = self.children[index].spec.name().to_owned();
        if !started.is_empty() {
            metrics::counter!("actors_group_restarts_total").increment(1);
            warn!(child, ?cause, ?started, "supervised group restarts");
            let supervisor = ctx.path().clone();
            ctx.system().event_stream().publish(GroupRestarted { supervisor, child, cause, started });
        }
    }

    fn exhausted(&self, index: usize) -> RestartsExhausted {
        let Intensity { max, within } = self.intensity;
        let child = &self.children[index];
        let exhausted =
            RestartsExhausted { child: child.spec.name().to_owned(), cause: child.last_failure.clone(), max, within };
        error!(error = %exhausted, "supervisor gives up");
        exhausted
    }

    fn status_of_all(&self) -> Vec<ChildStatus> {
        let status = |child: &Supervised| ChildStatus {
            name: child.spec.name().to_owned(),
            restart: child.spec.kind(),
            path: child.path.clone(),
            starts: child.starts,
            last_failure: child.last_failure.clone(),
        };
        self.children.iter().map(status).collect()
    }
}

impl Actor for Supervisor {
    type Message = SupervisorMessage;

    async fn started(&mut self, ctx: &mut ActorContext<SupervisorMessage>) -> Handled {
        ctx.stop_children_in_reverse();
        let kinds = self.children.iter().map(|child| child.spec.kind());
        self.state = State::new(self.strategy, self.intensity, kinds);
        let effects = self.state.start();
        self.perform(ctx, effects)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<SupervisorMessage>, message: SupervisorMessage) -> Handled {
        match message {
            SupervisorMessage::WhichChildren(reply_to) => reply_to.tell(self.status_of_all()),
            SupervisorMessage::Child { name, reply_to } => {
                let child = self.children.iter().find(|child| child.spec.name() == name);
                reply_to.tell(child.map(|child| child.spec.reference()));
            }
            SupervisorMessage::Shutdown => {
                let effects = self.state.shut_down();
                return self.perform(ctx, effects);
            }
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<SupervisorMessage>, signal: Signal) -> Handled {
        match signal {
            Signal::Terminated(path) => self.ended(ctx, &path, None),
            Signal::ChildFailed { child, cause } => self.ended(ctx, &child, Some(cause.to_string())),
            _ => Ok(Behavior::Unhandled),
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.children.iter().map(|child| child.spec.name()).collect();
        f.debug_struct("Supervisor")
            .field("strategy", &self.strategy)
            .field("intensity", &self.intensity)
            .field("children", &names)
            .finish_non_exhaustive()
    }
}
