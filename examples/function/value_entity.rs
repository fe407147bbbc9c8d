//! Value entities: the whole state in, the whole state out.

use proto::Any;
use proto::cloudstate::valueentity::value_entity_server::ValueEntity as Protocol;
use proto::cloudstate::valueentity::value_entity_stream_in::Message;
use proto::cloudstate::valueentity::{
    ValueEntityAction, ValueEntityDelete, ValueEntityReply, ValueEntityStreamIn, ValueEntityStreamOut,
    ValueEntityUpdate, value_entity_action, value_entity_stream_out,
};
use proto::cloudstate::{Command, Failure};
use tonic::{Request, Response, Status, Streaming};

use super::server::{Factories, missing_init};
use super::stream::{self, Session};
use super::{Answer, Refused};

/// The logic of one entity.
pub trait ValueEntity: Send + 'static {
    /// Decides what `command` does to the value, which is absent until the first update and after a deletion.
    ///
    /// # Errors
    ///
    /// When the command cannot be carried out; the caller gets the reason.
    fn handle(&self, command: &Command, value: Option<&Any>) -> Result<Effect, Refused>;
}

/// What a command does.
#[derive(Debug, Default, PartialEq)]
pub struct Effect {
    /// What becomes of the value.
    pub change: Change,
    /// What the caller gets.
    pub answer: Answer,
}

/// What becomes of the value.
#[derive(Debug, Default, PartialEq)]
pub enum Change {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is this from now on.
    Update(Any),
    /// There is none from now on.
    Delete,
}

/// Value entity services by name.
pub(super) type Services = Factories<dyn ValueEntity>;

#[tonic::async_trait]
impl Protocol for Services {
    type handleStream = stream::Out<Entity>;

    async fn handle(
        &self,
        request: Request<Streaming<ValueEntityStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        Ok(Response::new(stream::run(request.into_inner(), Entity::Unborn(self.clone()))))
    }
}

/// The protocol's side of one entity.
pub(super) enum Entity {
    /// It is not known yet which.
    Unborn(Services),
    /// It was told who it is.
    Active { logic: Box<dyn ValueEntity>, value: Option<Any> },
}

impl Session for Entity {
    type In = ValueEntityStreamIn;
    type Out = ValueEntityStreamOut;

    fn receive(&mut self, message: ValueEntityStreamIn) -> Result<Vec<ValueEntityStreamOut>, Refused> {
        match (&mut *self, message.message) {
            (Self::Unborn(services), Some(Message::Init(init))) => {
                let logic = services.make(&init.service_name, &init.entity_id)?;
                *self = Self::Active { logic, value: init.state.and_then(|state| state.value) };
                Ok(Vec::new())
            }
            (Self::Active { logic, value }, Some(Message::Command(command))) => {
                let reply = command_handled(logic.as_ref(), value, &command);
                Ok(vec![ValueEntityStreamOut { message: Some(value_entity_stream_out::Message::Reply(reply)) }])
            }
            (Self::Active { .. }, Some(Message::Init(_))) => Err(Refused("a second init".to_owned())),
            (Self::Unborn(_), Some(_)) => Err(missing_init()),
            (_, None) => Err(Refused("an empty message".to_owned())),
        }
    }

    fn failure(failure: Failure) -> ValueEntityStreamOut {
        ValueEntityStreamOut { message: Some(value_entity_stream_out::Message::Failure(failure)) }
    }
}

fn command_handled(logic: &dyn ValueEntity, value: &mut Option<Any>, command: &Command) -> ValueEntityReply {
    let Effect { change, answer } = logic
        .handle(command, value.as_ref())
        .unwrap_or_else(|Refused(reason)| Effect { change: Change::Keep, answer: Answer::fail(reason) });
    let action = match change {
        Change::Update(new) if !answer.failed() => {
            *value = Some(new.clone());
            Some(value_entity_action::Action::Update(ValueEntityUpdate { value: Some(new) }))
        }
        Change::Delete if !answer.failed() => {
            *value = None;
            Some(value_entity_action::Action::Delete(ValueEntityDelete {}))
        }
        _ => None,
    };
    let (client_action, side_effects) = answer.of_entity(command.id);
    ValueEntityReply {
        command_id: command.id,
        client_action,
        side_effects,
        state_action: action.map(|action| ValueEntityAction { action: Some(action) }),
    }
}
