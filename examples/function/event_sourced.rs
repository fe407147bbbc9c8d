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

#[cfg(test)]
mod tests {
    use proto::cloudstate::eventsourced::EventSourcedSnapshot;

    use super::*;
    use crate::function::{Function, Served, primitive_string as text};

    /// Remembers names of commands; `Fail` emits an event and fails all the same, `Both` emits two.
    #[derive(Default)]
    struct Names(Vec<Any>);

    impl EventSourced for Names {
        fn handle(&self, command: &Command) -> Result<Effect, Refused> {
            let event = text(&command.name);
            Ok(match command.name.as_str() {
                "Fail" => Effect { events: vec![event], answer: Answer::fail("as asked") },
                "Both" => Effect { events: vec![event.clone(), event], answer: Answer::default() },
                _ => Effect { events: vec![event], answer: Answer::default() },
            })
        }

        fn apply(&mut self, event: &Any) -> Result<(), Refused> {
            self.0.push(event.clone());
            Ok(())
        }

        fn restore(&mut self, snapshot: &Any) -> Result<(), Refused> {
            self.apply(snapshot)
        }

        fn snapshot(&self) -> Option<(NonZeroU64, Any)> {
            Some((NonZeroU64::new(3)?, text(&self.0.len().to_string())))
        }
    }

    #[test]
    fn an_answer_that_fails_takes_its_events_back() {
        let mut entity = entity(None);
        let failed = command(&mut entity, "Fail");
        assert_eq!((failed.events.len(), failed.snapshot), (0, None));
        let Entity::Active { sequence, .. } = entity else { panic!("it was told who it is") };
        assert_eq!(sequence, 0);
    }

    #[test]
    fn a_snapshot_is_taken_when_its_number_is_reached_or_passed() {
        let mut entity = entity(None);
        let taken = ["One", "Both", "Both", "Both"].map(|name| command(&mut entity, name).snapshot);
        assert_eq!(taken, [None, Some(text("3")), None, Some(text("7"))]);
    }

    #[test]
    fn events_are_counted_on_from_the_snapshot() {
        let mut entity = entity(Some(EventSourcedSnapshot { snapshot_sequence: 4, snapshot: Some(text("four")) }));
        let event = EventSourcedEvent { sequence: 5, payload: Some(text("five")) };
        assert_eq!(entity.receive(message(Message::Event(event))), Ok(Vec::new()));
        assert!(command(&mut entity, "Six").snapshot.is_some());
    }

    fn entity(snapshot: Option<EventSourcedSnapshot>) -> Entity {
        let function = Function::new("test", &[]).event_sourced(Served::new("Names", "names"), |_| Names::default());
        let init = EventSourcedInit { service_name: "Names".to_owned(), entity_id: "one".to_owned(), snapshot };
        let mut entity = Entity::Unborn(function.event_sourced);
        assert_eq!(entity.receive(message(Message::Init(init))), Ok(Vec::new()));
        entity
    }

    fn command(entity: &mut Entity, name: &str) -> EventSourcedReply {
        let command = Command { id: 1, name: name.to_owned(), ..Command::default() };
        let out = entity.receive(message(Message::Command(command))).expect("a reply").remove(0);
        match out.message {
            Some(event_sourced_stream_out::Message::Reply(reply)) => reply,
            other => panic!("a reply, not {other:?}"),
        }
    }

    fn message(message: Message) -> EventSourcedStreamIn {
        EventSourcedStreamIn { message: Some(message) }
    }
}
