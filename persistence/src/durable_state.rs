//! [`DurableState`]: an entity that keeps its last state and no history.

use crate::{Once, PersistenceId, PersistenceSignal, StateEffect};
use actors::ActorContext;
use std::sync::Arc;

/// An entity whose state is stored as it is: each write takes the place of the one before it.
///
/// What led to the state is not kept. Where that matters, be an [`EventSourced`](crate::EventSourced) entity.
///
/// ```
/// use actors::{ActorSystem, ReplyTo};
/// use persistence::{DurableState, DurableStateBehavior, InMemoryStateStore, PersistenceId, StateEffect};
/// use std::time::Duration;
///
/// struct Profile;
///
/// enum ProfileCommand {
///     Rename(String, ReplyTo<String>),
///     Forget,
///     Name(ReplyTo<String>),
/// }
///
/// impl DurableState for Profile {
///     type Command = ProfileCommand;
///     type State = String;
///
///     fn persistence_id(&self) -> PersistenceId {
///         PersistenceId::of("profile", "ada")
///     }
///
///     fn handle_command(&self, name: &String, command: ProfileCommand) -> StateEffect<Self> {
///         match command {
///             ProfileCommand::Rename(name, reply_to) => {
///                 StateEffect::persist(name).then_reply(reply_to, |name: &String| format!("hello {name}"))
///             }
///             ProfileCommand::Forget => StateEffect::delete(),
///             ProfileCommand::Name(reply_to) => StateEffect::reply(reply_to, name.clone()),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), actors::AskError> {
/// let system = ActorSystem::new("guide");
/// let profile = system.spawn("ada", DurableStateBehavior::new(Profile, InMemoryStateStore::default()));
/// let within = Duration::from_secs(3);
/// let greeting = profile.ask(|reply_to| ProfileCommand::Rename("Ada".into(), reply_to), within).await?;
/// assert_eq!(greeting, "hello Ada");
/// profile.tell(ProfileCommand::Forget);
/// assert_eq!(profile.ask(ProfileCommand::Name, within).await?, "");
/// # Ok(())
/// # }
/// ```
pub trait DurableState: Send + Sync + Sized + 'static {
    /// What it is asked to do.
    type Command: Send + 'static;
    /// What is stored; its default is the state before the first write and after a deletion. Cloned once per write.
    type State: Default + Clone + Send + 'static;

    /// The name under which the state is stored; the same for ever.
    fn persistence_id(&self) -> PersistenceId;

    /// Decides what a command leads to. Must not have effects of its own: they belong into the [`StateEffect`], where they
    /// wait for the state to be durable.
    fn handle_command(&self, state: &Self::State, command: Self::Command) -> StateEffect<Self>;

    /// The part of a command that says which one it is, for commands that are to be carried out once however often they
    /// are sent; see [`EventSourced::once`](crate::EventSourced::once). The answers are stored with each state, and a
    /// deletion keeps them. Needs a store of bytes: [`DurableStateBehavior::adapted`](crate::DurableStateBehavior::adapted).
    fn once<'c>(&self, command: &'c mut Self::Command) -> Option<&'c mut dyn Once> {
        let _ = command;
        None
    }

    /// The tag to store with `state`, by which readers may select it; none by default.
    fn tag(&self, state: &Self::State) -> Option<Arc<str>> {
        let _ = state;
        None
    }

    /// Hears of recoveries and failed writes; timers may be started here.
    fn on_signal(&self, state: &Self::State, ctx: &mut ActorContext<Self::Command>, signal: &PersistenceSignal) {
        let _ = (state, ctx, signal);
    }
}
