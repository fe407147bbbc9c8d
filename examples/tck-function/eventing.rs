//! Two entities whose events are read by an action: `EventSourcedEntityOne` and `EventSourcedEntityTwo`
//! emit them, as protobuf and as JSON, and `EventLogSubscriberModel` is called with each of them.

use prost::Message;
use proto::Any;
use proto::cloudstate::action::ActionCommand;
use proto::cloudstate::{Command, Metadata, metadata_entry};
use proto::model::tck::eventlogeventing::emit_event_request::Event;
use proto::model::tck::eventlogeventing::process_step::Step;
use proto::model::tck::eventlogeventing::{
    EffectRequest, EmitEventRequest, EventOne, EventTwo, JsonEvent, ProcessStep, Response,
};

use crate::function::action::Action;
use crate::function::event_sourced::{Effect, EventSourced};
use crate::function::{Answer, Function, Refused, Served, call, json, pack, unpack, unpack_json};

const SUBSCRIBER: &str = "cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel";
const ONE: Served = Served::new("cloudstate.tck.model.eventlogeventing.EventSourcedEntityOne", "eventlogeventing-one");
const TWO: Served = Served::new("cloudstate.tck.model.eventlogeventing.EventSourcedEntityTwo", "eventlogeventing-two");

/// Adds the services of this module.
pub(super) fn serve(function: Function) -> Function {
    function
        .action(SUBSCRIBER, Subscriber)
        .event_sourced(ONE, |_| Emitter(protobuf_event))
        .event_sourced(TWO, |_| Emitter(json_event))
}

/// Has no state: its events are for others.
struct Emitter(fn(&Command) -> Result<Any, Refused>);

impl EventSourced for Emitter {
    fn handle(&self, command: &Command) -> Result<Effect, Refused> {
        Ok(Effect { events: vec![(self.0)(command)?], answer: Answer::reply(pack("google.protobuf.Empty", &())) })
    }

    fn apply(&mut self, _: &Any) -> Result<(), Refused> {
        Ok(())
    }

    fn restore(&mut self, _: &Any) -> Result<(), Refused> {
        Ok(())
    }
}

fn protobuf_event(command: &Command) -> Result<Any, Refused> {
    match unpack::<EmitEventRequest>(command)?.event {
        Some(Event::EventOne(event)) => Ok(pack("cloudstate.tck.model.eventlogeventing.EventOne", &event)),
        Some(Event::EventTwo(event)) => Ok(pack("cloudstate.tck.model.eventlogeventing.EventTwo", &event)),
        None => Err(Refused("event_one or event_two must be set".to_owned())),
    }
}

fn json_event(command: &Command) -> Result<Any, Refused> {
    let event: JsonEvent = unpack(command)?;
    Ok(json("JsonEvent", &serde_json::json!({ "message": event.message })))
}

struct Subscriber;

impl Action for Subscriber {
    fn unary(&self, command: &ActionCommand) -> Result<Answer, Refused> {
        match command.name.as_str() {
            "ProcessEventOne" => Ok(step(subject(command)?, decode::<EventOne>(command)?.step)),
            "ProcessAnyEvent" => {
                let event = unpack_json(&command.payload.clone().unwrap_or_default())?;
                let message =
                    event["message"].as_str().ok_or_else(|| Refused("the event has no message".to_owned()))?;
                Ok(Answer::reply(response(subject(command)?, message.to_owned())))
            }
            "Effect" => {
                let EffectRequest { id, message } = decode(command)?;
                Ok(Answer::reply(response(id, message)))
            }
            other => Err(Refused::unknown_command(other)),
        }
    }

    fn streamed_out(&self, command: &ActionCommand) -> Result<Vec<Answer>, Refused> {
        match command.name.as_str() {
            "ProcessEventTwo" => {
                let subject = subject(command)?;
                let steps = decode::<EventTwo>(command)?.step;
                Ok(steps.into_iter().map(|todo| step(subject.clone(), Some(todo))).collect())
            }
            other => Err(Refused::unknown_command(other)),
        }
    }
}

fn step(id: String, step: Option<ProcessStep>) -> Answer {
    match step.and_then(|step| step.step) {
        Some(Step::Reply(reply)) => Answer::reply(response(id, reply.message)),
        Some(Step::Forward(forward)) => {
            let request = EffectRequest { id, message: forward.message };
            let payload = pack("cloudstate.tck.model.eventlogeventing.EffectRequest", &request);
            Answer::forward(call(SUBSCRIBER, "Effect", payload))
        }
        None => Answer::default(),
    }
}

/// The entity that emitted the event: the subject among the event's attributes.
fn subject(command: &ActionCommand) -> Result<String, Refused> {
    let Metadata { entries } = command.metadata.clone().unwrap_or_default();
    let subject = entries.into_iter().find(|entry| entry.key.eq_ignore_ascii_case("ce-subject"));
    match subject.and_then(|entry| entry.value) {
        Some(metadata_entry::Value::StringValue(subject)) => Ok(subject),
        _ => Err(Refused(format!("{}: the event has no ce-subject", command.name))),
    }
}

fn decode<M: Message + Default>(command: &ActionCommand) -> Result<M, Refused> {
    let payload = command.payload.clone().unwrap_or_default();
    M::decode(payload.value).map_err(|error| Refused(format!("{}: {error}", command.name)))
}

fn response(id: String, message: String) -> Any {
    pack("cloudstate.tck.model.eventlogeventing.Response", &Response { id, message })
}
