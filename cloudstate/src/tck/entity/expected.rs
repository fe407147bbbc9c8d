//! An expected reply of an entity.

use proto::cloudstate::client_action::Action;
use proto::cloudstate::{ClientAction, Failure, Forward, Reply, SideEffect};

use super::{Kind, packed, request};

/// A whole reply, apart from the id of its command.
#[derive(Debug, Clone)]
pub struct Expected<K: Kind> {
    /// What the client gets.
    pub answer: Answer<K>,
    /// What the kind's replies have besides.
    pub effect: K::Effect,
    side_effects: Vec<SideEffect>,
}

/// What a reply has for the client.
#[derive(Debug, Clone)]
pub enum Answer<K: Kind> {
    /// A reply.
    Reply(K::Response),
    /// A forward to the second service's `Call`.
    Forward {
        /// The entity it goes to.
        id: String,
    },
    /// A failure.
    Failure {
        /// Its text.
        text: String,
        /// Whether the entity is to be started anew.
        restart: bool,
    },
    /// No client action.
    Nothing,
}

impl<K: Kind> Expected<K> {
    /// A reply, a forward or a failure alone.
    #[must_use]
    pub fn new(answer: Answer<K>) -> Self {
        Self { answer, effect: K::Effect::default(), side_effects: Vec::new() }
    }

    /// `eff(ids)`: side effects on the second service's `Call`.
    #[must_use]
    pub fn eff<const N: usize>(self, ids: [&str; N]) -> Self {
        self.side_effects(&ids, false)
    }

    /// `eff!(ids)`: synchronous ones.
    #[must_use]
    pub fn eff_sync<const N: usize>(self, ids: [&str; N]) -> Self {
        self.side_effects(&ids, true)
    }

    fn side_effects(mut self, ids: &[&str], synchronous: bool) -> Self {
        self.side_effects.extend(ids.iter().map(|id| side_effect::<K>(id, synchronous)));
        self
    }

    /// The message that answers command `id`.
    #[must_use]
    pub fn message(self, id: i64) -> K::Out {
        let action = self.answer.client_action(id);
        K::reply(id, action, self.side_effects, self.effect)
    }
}

impl<K: Kind> Answer<K> {
    /// As a client action in the answer to command `id`.
    #[must_use]
    pub fn client_action(self, id: i64) -> Option<ClientAction> {
        let action = match self {
            Self::Reply(response) => {
                Action::Reply(Reply { payload: Some(packed::<K>("Response", &response)), metadata: None })
            }
            Self::Forward { id } => Action::Forward(Forward {
                service_name: K::TWO.to_owned(),
                command_name: "Call".to_owned(),
                payload: Some(request::<K>(&id, [])),
                metadata: None,
            }),
            Self::Failure { text, restart } => Action::Failure(Failure { command_id: id, description: text, restart }),
            Self::Nothing => return None,
        };
        Some(ClientAction { action: Some(action) })
    }
}

/// A side effect on the second service's `Call`.
pub(in crate::tck) fn side_effect<K: Kind>(id: &str, synchronous: bool) -> SideEffect {
    SideEffect {
        service_name: K::TWO.to_owned(),
        command_name: "Call".to_owned(),
        payload: Some(request::<K>(id, [])),
        synchronous,
        metadata: None,
    }
}

/// `fwd(id)`.
#[must_use]
pub fn fwd<K: Kind>(id: &str) -> Expected<K> {
    Expected::new(Answer::Forward { id: id.to_owned() })
}

/// `f(text)`, without restart.
#[must_use]
pub fn f<K: Kind>(text: &str) -> Expected<K> {
    Expected::new(Answer::Failure { text: text.to_owned(), restart: false })
}

/// `f(text)` with a request to restart the entity.
#[must_use]
pub fn f_restart<K: Kind>(text: &str) -> Expected<K> {
    Expected::new(Answer::Failure { text: text.to_owned(), restart: true })
}

/// A reply without client action.
#[must_use]
pub fn nothing<K: Kind>() -> Expected<K> {
    Expected::new(Answer::Nothing)
}
