//! What the caller gets, and what else is to be called.

use proto::Any;
use proto::cloudstate::client_action::Action;
use proto::cloudstate::{ClientAction, Failure, Forward, Reply, SideEffect};

/// The answer to a command.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What the caller gets; nothing at all is for streamed commands only.
    pub action: Option<Action>,
    /// Calls to other services of this function, made before the caller gets its answer.
    pub side_effects: Vec<SideEffect>,
}

impl Answer {
    /// The caller gets `payload`.
    pub fn reply(payload: Any) -> Self {
        Self { action: Some(Action::Reply(Reply { payload: Some(payload), metadata: None })), side_effects: Vec::new() }
    }

    /// The caller gets the error `description`.
    pub fn fail(description: impl Into<String>) -> Self {
        let failure = Failure { description: description.into(), ..Failure::default() };
        Self { action: Some(Action::Failure(failure)), side_effects: Vec::new() }
    }

    /// The caller gets what the service called by `forward` answers.
    pub fn forward(forward: Forward) -> Self {
        Self { action: Some(Action::Forward(forward)), side_effects: Vec::new() }
    }

    /// The same answer after these calls.
    #[must_use]
    pub fn with_effects(mut self, side_effects: impl IntoIterator<Item = SideEffect>) -> Self {
        self.side_effects.extend(side_effects);
        self
    }

    /// Whether the command failed.
    pub fn failed(&self) -> bool {
        matches!(self.action, Some(Action::Failure(_)))
    }

    /// As an entity sends it: a failure names its command and has no side effects.
    pub fn of_entity(self, command_id: i64) -> (Option<ClientAction>, Vec<SideEffect>) {
        match self.action {
            Some(Action::Failure(failure)) => {
                let action = Action::Failure(Failure { command_id, ..failure });
                (Some(ClientAction { action: Some(action) }), Vec::new())
            }
            action => (action.map(|action| ClientAction { action: Some(action) }), self.side_effects),
        }
    }
}

/// A call of `command` at another service of this function, as a forward.
pub fn call(service: &str, command: &str, payload: Any) -> Forward {
    Forward {
        service_name: service.to_owned(),
        command_name: command.to_owned(),
        payload: Some(payload),
        metadata: None,
    }
}

/// The same call as a side effect; `synchronous` ones are waited for before the answer is given.
pub fn effect(call: Forward, synchronous: bool) -> SideEffect {
    let Forward { service_name, command_name, payload, metadata } = call;
    SideEffect { service_name, command_name, payload, synchronous, metadata }
}
