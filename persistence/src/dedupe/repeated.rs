//! What a command is to its entity: new, or carried out before.

use super::{CommandId, CommandWindow, Found, Once};
use crate::PersistenceId;

/// What is known of a command.
pub(crate) enum Repeated {
    /// It is to be carried out; with its id, if it has one.
    No(Option<CommandId>),
    /// It was, and has been answered as it was then.
    Answered,
    /// Its id is that of another one, and it is not carried out.
    Reused(CommandId),
}

/// Answers a command that was carried out before. `once` is the part of it that knows its id.
pub(crate) fn repeated(
    entity: impl FnOnce() -> PersistenceId,
    commands: &CommandWindow,
    once: Option<&mut dyn Once>,
    now_ms: u64,
) -> Repeated {
    let Some(once) = once else { return Repeated::No(None) };
    let id = once.command_id().clone();
    match commands.find(&id, now_ms) {
        Found::New => Repeated::No(Some(id)),
        Found::Answered(reply) => {
            metrics::counter!("persistence_commands_repeated_total").increment(1);
            if let Err(error) = once.answer_again(reply) {
                tracing::warn!(entity = %entity(), command = id.as_str(), %error, "repeated command cannot be answered");
            }
            Repeated::Answered
        }
        Found::Reused => {
            tracing::warn!(entity = %entity(), command = id.as_str(), "command dropped: its id is that of another one");
            Repeated::Reused(id)
        }
    }
}
