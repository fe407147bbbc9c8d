//! `ValueEntityTckModel`: the text it was updated to. `ValueEntityTwo`: what it calls.
//! `ValueEntityConfigured`: soon out of memory.

use std::time::Duration;

use prost::Message;
use proto::Any;
use proto::cloudstate::Command;
use proto::model::tck::valueentity::request_action::Action;
use proto::model::tck::valueentity::{Persisted, Request, Response};

use crate::function::value_entity::{Change, Effect, ValueEntity};
use crate::function::{Answer, Function, Refused, Served, call, effect, pack, unpack};

const MODEL: Served = Served::new("cloudstate.tck.model.valueentity.ValueEntityTckModel", "value-entity-tck-model");
const TWO: Served = Served::new("cloudstate.tck.model.valueentity.ValueEntityTwo", "value-entity-tck-model-two");
const CONFIGURED: Served =
    Served::new("cloudstate.tck.model.valueentity.ValueEntityConfigured", "value-entity-configured")
        .passivated_after(Duration::from_millis(100));

/// Adds the services of this module.
pub(super) fn serve(function: Function) -> Function {
    function.value_entity(MODEL, |_| Text).value_entity(TWO, |_| Empty).value_entity(CONFIGURED, |_| Empty)
}

struct Text;

impl ValueEntity for Text {
    fn handle(&self, command: &Command, value: Option<&Any>) -> Result<Effect, Refused> {
        let mut text = value.map(persisted_value).transpose()?.unwrap_or_default();
        let mut change = Change::Keep;
        let mut forward = None;
        let mut side_effects = Vec::new();
        for action in unpack::<Request>(command)?.actions.into_iter().filter_map(|action| action.action) {
            match action {
                Action::Update(update) => {
                    text.clone_from(&update.value);
                    let value = Persisted { value: update.value };
                    change = Change::Update(pack("cloudstate.tck.model.valueentity.Persisted", &value));
                }
                Action::Delete(_) => {
                    text.clear();
                    change = Change::Delete;
                }
                Action::Forward(to) => forward = Some(two(to.id)),
                Action::Effect(to) => side_effects.push(effect(two(to.id), to.synchronous)),
                Action::Fail(fail) => return Err(Refused(fail.message)),
            }
        }
        let answer = forward.map_or_else(|| Answer::reply(response(text)), Answer::forward);
        Ok(Effect { change, answer: answer.with_effects(side_effects) })
    }
}

/// Answers, and that is all.
struct Empty;

impl ValueEntity for Empty {
    fn handle(&self, _: &Command, _: Option<&Any>) -> Result<Effect, Refused> {
        Ok(Effect { change: Change::Keep, answer: Answer::reply(response(String::new())) })
    }
}

fn persisted_value(any: &Any) -> Result<String, Refused> {
    Ok(Persisted::decode(any.value.clone()).map_err(|error| Refused(format!("Persisted: {error}")))?.value)
}

fn response(message: String) -> Any {
    pack("cloudstate.tck.model.valueentity.Response", &Response { message })
}

fn two(id: String) -> proto::cloudstate::Forward {
    let request = Request { id, actions: Vec::new() };
    call(TWO.service(), "Call", pack("cloudstate.tck.model.valueentity.Request", &request))
}
