//! Event sourced entities: a command decides on events, events make the state.

use std::num::NonZeroU64;

use proto::Any;
use proto::cloudstate::eventsourced::event_sourced_server::EventSourced as Protocol;
use proto::cloudstate::eventsourced::event_sourced_stream_in::Message;
use proto::cloudstate::eventsourced::{
    EventSourcedEvent, EventSourcedInit, EventSourcedReply, EventSourcedStreamIn, EventSourcedStreamOut,
    event_sourced_stream_out,
};
use proto::cloudstate::{Command, Failure};
use tonic::{Request, Response, Status, Streaming};

use super::server::{Factories, missing_init};
use super::stream::{self, Session};
use super::{Answer, Refused};

/// The logic of one entity.
pub trait EventSourced: Send + 'static {
    /// Decides what `command` does. The state is left alone: only events change it.
    ///
    /// # Errors
    ///
    /// When the command cannot be carried out; the caller gets the reason.
    fn handle(&self, command: &Command) -> Result<Effect, Refused>;

    /// Changes the state by an event, one that was just decided on or one of long ago.
    ///
    /// # Errors
    ///
    /// When it is no event of this entity.
    fn apply(&mut self, event: &Any) -> Result<(), Refused>;

    /// Starts from a snapshot.
    ///
    /// # Errors
    ///
    /// When it is no snapshot of this entity.
    fn restore(&mut self, snapshot: &Any) -> Result<(), Refused>;

    /// The state as a snapshot, to be taken every so many events; none is taken by default.
    fn snapshot(&self) -> Option<(NonZeroU64, Any)> {
        None
    }
}

/// What a command does.
#[derive(Debug, Default, PartialEq)]
pub struct Effect {
    /// What happened; stored before the caller gets its answer.
    pub events: Vec<Any>,
    /// What the caller gets.
    pub answer: Answer,
}

/// Event sourced services by name.
pub(super) type Services = Factories<dyn EventSourced>;

#[tonic::async_trait]
impl Protocol for Services {
    type handleStream = stream::Out<Entity>;

    async fn handle(
        &self,
        request: Request<Streaming<EventSourcedStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        Ok(Response::new(stream::run(request.into_inner(), Entity::Unborn(self.clone()))))
    }
}

/// The protocol's side of one entity.
pub(super) enum Entity {
    /// It is not known yet which.
    Unborn(Services),
    /// It was told who it is.
    Active { logic: Box<dyn EventSourced>, sequence: u64 },
}

impl Session for Entity {
    type In = EventSourcedStreamIn;
    type Out = EventSourcedStreamOut;

    fn receive(&mut self, message: EventSourcedStreamIn) -> Result<Vec<EventSourcedStreamOut>, Refused> {
        match (&mut *self, message.message) {
            (Self::Unborn(services), Some(Message::Init(init))) => {
                *self = Self::born(services.make(&init.service_name, &init.entity_id)?, init)?;
                Ok(Vec::new())
            }
            (Self::Active { logic, sequence }, Some(Message::Event(EventSourcedEvent { sequence: at, payload }))) => {
                logic.apply(&payload.unwrap_or_default())?;
                *sequence = at.unsigned_abs();
                Ok(Vec::new())
            }
            (Self::Active { logic, sequence }, Some(Message::Command(command))) => {
                let reply = command_handled(logic.as_mut(), sequence, &command)?;
                let message = Some(event_sourced_stream_out::Message::Reply(reply));
                Ok(vec![EventSourcedStreamOut { message }])
            }
            (Self::Active { .. }, Some(Message::Init(_))) => Err(Refused("a second init".to_owned())),
            (Self::Unborn(_), Some(_)) => Err(missing_init()),
            (_, None) => Err(Refused("an empty message".to_owned())),
        }
    }

    fn failure(failure: Failure) -> EventSourcedStreamOut {
        EventSourcedStreamOut { message: Some(event_sourced_stream_out::Message::Failure(failure)) }
    }
}

impl Entity {
    fn born(mut logic: Box<dyn EventSourced>, init: EventSourcedInit) -> Result<Self, Refused> {
        let mut sequence = 0;
        if let Some(taken) = init.snapshot {
            logic.restore(&taken.snapshot.unwrap_or_default())?;
            sequence = taken.snapshot_sequence.unsigned_abs();
        }
        Ok(Self::Active { logic, sequence })
    }
}

fn command_handled(
    logic: &mut dyn EventSourced,
    sequence: &mut u64,
    command: &Command,
) -> Result<EventSourcedReply, Refused> {
    let mut effect = logic
        .handle(command)
        .unwrap_or_else(|Refused(reason)| Effect { events: Vec::new(), answer: Answer::fail(reason) });
    if effect.answer.failed() {
        effect.events.clear();
    }
    let before = *sequence;
    for event in &effect.events {
        logic.apply(event)?;
        *sequence += 1;
    }
    let snapshot = match logic.snapshot() {
        Some((every, snapshot)) if *sequence / every > before / every => Some(snapshot),
        _ => None,
    };
    let (client_action, side_effects) = effect.answer.of_entity(command.id);
    Ok(EventSourcedReply { command_id: command.id, client_action, side_effects, events: effect.events, snapshot })
}
