//! `EventSourcedTckModel`: a text made of the values emitted. `EventSourcedTwo`: what it calls.
//! `EventSourcedConfigured`: soon out of memory.

use std::num::NonZeroU64;
use std::time::Duration;

use prost::Message;
use proto::Any;
use proto::cloudstate::Command;
use proto::model::tck::request_action::Action;
use proto::model::tck::{Persisted, Request, Response};

use crate::function::event_sourced::{Effect, EventSourced};
use crate::function::{Answer, Function, Refused, Served, call, effect, pack, unpack};

const MODEL: Served = Served::new("cloudstate.tck.model.EventSourcedTckModel", "event-sourced-tck-model");
const TWO: Served = Served::new("cloudstate.tck.model.EventSourcedTwo", "event-sourced-tck-model-two");
const CONFIGURED: Served = Served::new("cloudstate.tck.model.EventSourcedConfigured", "event-sourced-configured")
    .passivated_after(Duration::from_millis(100));

/// A snapshot is taken whenever this many events have come together.
const SNAPSHOT_EVERY: NonZeroU64 = NonZeroU64::new(5).expect("not zero");

/// Adds the services of this module.
pub(super) fn serve(function: Function) -> Function {
    function
        .event_sourced(MODEL, |_| Text::default())
        .event_sourced(TWO, |_| Empty)
        .event_sourced(CONFIGURED, |_| Empty)
}

#[derive(Default)]
struct Text(String);

impl EventSourced for Text {
    fn handle(&self, command: &Command) -> Result<Effect, Refused> {
        let mut events = Vec::new();
        let mut text = self.0.clone();
        let mut forward = None;
        let mut side_effects = Vec::new();
        for action in unpack::<Request>(command)?.actions.into_iter().filter_map(|action| action.action) {
            match action {
                Action::Emit(emit) => {
                    text.push_str(&emit.value);
                    events.push(persisted(emit.value));
                }
                Action::Forward(to) => forward = Some(two(to.id)),
                Action::Effect(to) => side_effects.push(effect(two(to.id), to.synchronous)),
                Action::Fail(fail) => return Err(Refused(fail.message)),
            }
        }
        let answer = forward.map_or_else(|| Answer::reply(response(text)), Answer::forward);
        Ok(Effect { events, answer: answer.with_effects(side_effects) })
    }

    fn apply(&mut self, event: &Any) -> Result<(), Refused> {
        self.0.push_str(&value(event)?);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Any) -> Result<(), Refused> {
        self.0 = value(snapshot)?;
        Ok(())
    }

    fn snapshot(&self) -> Option<(NonZeroU64, Any)> {
        Some((SNAPSHOT_EVERY, persisted(self.0.clone())))
    }
}

/// Answers, and that is all.
struct Empty;

impl EventSourced for Empty {
    fn handle(&self, _: &Command) -> Result<Effect, Refused> {
        Ok(Effect { events: Vec::new(), answer: Answer::reply(response(String::new())) })
    }

    fn apply(&mut self, event: &Any) -> Result<(), Refused> {
        Err(Refused(format!("an entity without events was sent {}", event.type_url)))
    }

    fn restore(&mut self, snapshot: &Any) -> Result<(), Refused> {
        self.apply(snapshot)
    }
}

fn persisted(value: String) -> Any {
    pack("cloudstate.tck.model.Persisted", &Persisted { value })
}

fn value(any: &Any) -> Result<String, Refused> {
    if any.type_url != "type.googleapis.com/cloudstate.tck.model.Persisted" {
        return Err(Refused(format!("neither event nor snapshot: [{}]", any.type_url)));
    }
    Ok(Persisted::decode(any.value.clone()).map_err(|error| Refused(format!("Persisted: {error}")))?.value)
}

fn response(message: String) -> Any {
    pack("cloudstate.tck.model.Response", &Response { message })
}

fn two(id: String) -> proto::cloudstate::Forward {
    let request = Request { id, actions: Vec::new() };
    call(TWO.service(), "Call", pack("cloudstate.tck.model.Request", &request))
}
