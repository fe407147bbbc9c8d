//! Group 11, "verifying proxy test: event log subscriptions": an entity emits an event, and the proxy hands it to the
//! action that has subscribed to the entity's log.
//!
//! The ids are the protocol's own: they contain a colon, and come back as the event's subject.

use anyhow::{Result, bail, ensure};
use proto::Any;
use proto::cloudstate::Reply;
use proto::cloudstate::action::action_response::Response as Answer;
use proto::cloudstate::action::{ActionCommand, ActionResponse};
use proto::cloudstate::eventsourced::event_sourced_stream_in::Message as In;
use proto::cloudstate::eventsourced::event_sourced_stream_out::Message as Out;
use proto::cloudstate::eventsourced::{EventSourcedInit, EventSourcedReply, EventSourcedStreamIn};
use proto::model::tck::eventlogeventing::emit_event_request::Event;
use proto::model::tck::eventlogeventing::event_sourced_entity_one_client::EventSourcedEntityOneClient;
use proto::model::tck::eventlogeventing::event_sourced_entity_two_client::EventSourcedEntityTwoClient;
use proto::model::tck::eventlogeventing::process_step::Step;
use proto::model::tck::eventlogeventing::{
    EmitEventRequest, EventOne, Forward, JsonEvent, ProcessStep, Reply as ReplyStep, Response,
};

use super::engine::{ActionMethod, Call, Recorded, Tck, expect_one, shown};
use super::suite::{Test, test};

const SUBSCRIBER: &str = "cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel";
const ENTITY_ONE: &str = "cloudstate.tck.model.eventlogeventing.EventSourcedEntityOne";
const ENTITY_TWO: &str = "cloudstate.tck.model.eventlogeventing.EventSourcedEntityTwo";

/// The services without which the group is pending.
pub(super) const SERVICES: &[&str] = &[SUBSCRIBER];

pub(super) const TESTS: &[Test] = &[
    test!("consume an event", consume),
    test!("forward a consumed event", forward),
    test!("process json events", json),
];

async fn consume(tck: &mut Tck) -> Result<()> {
    let id = "eventlogeventing:1";
    let event = event(Step::Reply(ReplyStep { message: "some message".to_owned() }));
    emit(tck, id, event.clone()).await?;
    emitted(tck, ENTITY_ONE, id).await?;
    let mut call = subscriber(tck).await?;
    consumes(&mut call, &event).await?;
    call.output.expect(response(id, "some message")).await
}

async fn forward(tck: &mut Tck) -> Result<()> {
    let id = "eventlogeventing:2";
    let event = event(Step::Forward(Forward { message: "some message".to_owned() }));
    emit(tck, id, event.clone()).await?;
    emitted(tck, ENTITY_ONE, id).await?;
    let mut call = subscriber(tck).await?;
    consumes(&mut call, &event).await?;
    let answer = call.output.message().await?;
    let forwards = matches!(answer.response, Some(Answer::Forward(_)));
    ensure!(forwards, "from the user function:\n  expected a forward\n  seen     {}", shown(&answer));

    let target = subscriber(tck).await?.input.message().await?;
    let seen = &target.name;
    ensure!(seen == "Effect", "method of the forward's target:\n  expected Effect\n  seen     {seen}");
    Ok(())
}

async fn json(tck: &mut Tck) -> Result<()> {
    let (id, message) = ("eventlogeventing:3", "some json message");
    let mut client = EventSourcedEntityTwoClient::new(tck.proxy.clone());
    let request = JsonEvent { id: id.to_owned(), message: message.to_owned() };
    expect_one(client.emit_json_event(request), ()).await?;
    let reply = emitted(tck, ENTITY_TWO, id).await?;
    let types: Vec<_> = reply.events.iter().map(|event| event.type_url.as_str()).collect();
    let one_of_json = matches!(types[..], [only] if only.starts_with("json.cloudstate.io/"));
    ensure!(one_of_json, "types of the events:\n  expected one json.cloudstate.io/…\n  seen     {types:?}");
    subscriber(tck).await?.output.expect(response(id, message)).await
}

/// `EmitEvent(id, event) ⇒ {}`.
async fn emit(tck: &Tck, id: &str, event: EventOne) -> Result<()> {
    let mut client = EventSourcedEntityOneClient::new(tck.proxy.clone());
    let request = EmitEventRequest { id: id.to_owned(), event: Some(Event::EventOne(event)) };
    expect_one(client.emit_event(request), ()).await
}

fn event(step: Step) -> EventOne {
    EventOne { step: Some(ProcessStep { step: Some(step) }) }
}

/// A new stream of the entity with `init`, a command and a reply, which is returned.
async fn emitted(tck: &mut Tck, service: &str, id: &str) -> Result<EventSourcedReply> {
    let mut stream = match tck.interceptor.call().await? {
        Call::EventSourced(stream) => stream,
        other => bail!("expected a new event sourced stream, seen {}", other.describe()),
    };
    let (service_name, entity_id) = (service.to_owned(), id.to_owned());
    let init = EventSourcedInit { service_name, entity_id, snapshot: None };
    stream.input.expect(EventSourcedStreamIn { message: Some(In::Init(init)) }).await?;
    let input = stream.input.message().await?;
    let is_command = matches!(input.message, Some(In::Command(_)));
    ensure!(is_command, "towards the user function:\n  expected a command\n  seen     {}", shown(&input));
    let output = stream.output.message().await?;
    match output.message {
        Some(Out::Reply(reply)) => Ok(reply),
        _ => bail!("from the user function:\n  expected a reply\n  seen     {}", shown(&output)),
    }
}

/// The head of the interceptor's queue is a `handleUnary`.
async fn subscriber(tck: &mut Tck) -> Result<Recorded<ActionCommand, ActionResponse>> {
    match tck.interceptor.call().await? {
        Call::Action(ActionMethod::Unary, call) => Ok(call),
        other => bail!("expected a unary call of an action, seen {}", other.describe()),
    }
}

async fn consumes(call: &mut Recorded<ActionCommand, ActionResponse>, event: &EventOne) -> Result<()> {
    let command = call.input.message().await?;
    let same = command.payload.as_ref() == Some(&packed("EventOne", event));
    ensure!(same, "payload of the subscriber's call:\n  expected {event:?}\n  seen     {}", shown(&command));
    Ok(())
}

fn response(id: &str, message: &str) -> ActionResponse {
    let response = Response { id: id.to_owned(), message: message.to_owned() };
    let reply = Reply { payload: Some(packed("Response", &response)), metadata: None };
    ActionResponse { response: Some(Answer::Reply(reply)), side_effects: Vec::new() }
}

fn packed(name: &str, message: &impl prost::Message) -> Any {
    Any::pack(&format!("cloudstate.tck.model.eventlogeventing.{name}"), message)
}
