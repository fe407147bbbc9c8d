//! How messages are compared: whole, after leaving out what the suite leaves open.

use std::fmt::Debug;

use proto::Any;
use proto::cloudstate::action::{ActionCommand, ActionResponse, action_response};
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{
    CrdtDelta, CrdtStateAction, CrdtStreamIn, CrdtStreamOut, GSetDelta, OrMapDelta, OrMapEntryDelta, OrSetDelta,
    crdt_state_action, crdt_stream_in, crdt_stream_out,
};
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut};
use proto::cloudstate::valueentity::{ValueEntityStreamIn, ValueEntityStreamOut};
use proto::cloudstate::{EntitySpec, ProxyInfo, UserFunctionError};
use proto::model::tck as model;
use tonic_reflection::pb::v1alpha::ServerReflectionResponse;

/// A message of the protocol as the suite compares it.
pub trait Compared: prost::Message + Clone + PartialEq + Debug + Default + 'static {
    /// Its full name, by which a failure shows its fields.
    const NAME: &'static str;

    /// The message without what the suite leaves open.
    #[must_use]
    fn comparable(self) -> Self {
        self
    }
}

macro_rules! compared_whole {
    ($($message:ty: $name:literal,)+) => { $(impl Compared for $message { const NAME: &'static str = $name; })+ };
}

compared_whole! {
    ProxyInfo: "cloudstate.ProxyInfo",
    EntitySpec: "cloudstate.EntitySpec",
    UserFunctionError: "cloudstate.UserFunctionError",
    (): "google.protobuf.Empty",
    EventSourcedStreamIn: "cloudstate.eventsourced.EventSourcedStreamIn",
    EventSourcedStreamOut: "cloudstate.eventsourced.EventSourcedStreamOut",
    ValueEntityStreamIn: "cloudstate.valueentity.ValueEntityStreamIn",
    ValueEntityStreamOut: "cloudstate.valueentity.ValueEntityStreamOut",
    model::action::Response: "cloudstate.tck.model.action.Response",
    model::crdt::Response: "cloudstate.tck.model.crdt.Response",
    model::Response: "cloudstate.tck.model.Response",
    model::valueentity::Response: "cloudstate.tck.model.valueentity.Response",
    ServerReflectionResponse: "grpc.reflection.v1alpha.ServerReflectionResponse",
}

/// Compared without metadata.
impl Compared for ActionCommand {
    const NAME: &'static str = "cloudstate.action.ActionCommand";

    fn comparable(self) -> Self {
        Self { metadata: None, ..self }
    }
}

/// Compared without metadata.
impl Compared for ActionResponse {
    const NAME: &'static str = "cloudstate.action.ActionResponse";

    fn comparable(mut self) -> Self {
        match &mut self.response {
            Some(action_response::Response::Reply(reply)) => reply.metadata = None,
            Some(action_response::Response::Forward(forward)) => forward.metadata = None,
            Some(action_response::Response::Failure(_)) | None => {}
        }
        for effect in &mut self.side_effects {
            effect.metadata = None;
        }
        self
    }
}

/// Compared with sorted sequences in deltas.
impl Compared for CrdtStreamIn {
    const NAME: &'static str = "cloudstate.crdt.CrdtStreamIn";

    fn comparable(mut self) -> Self {
        match &mut self.message {
            Some(crdt_stream_in::Message::Init(init)) => init.delta.iter_mut().for_each(sort),
            Some(crdt_stream_in::Message::Delta(delta)) => sort(delta),
            _ => {}
        }
        self
    }
}

/// Compared with sorted sequences in deltas.
impl Compared for CrdtStreamOut {
    const NAME: &'static str = "cloudstate.crdt.CrdtStreamOut";

    fn comparable(mut self) -> Self {
        match &mut self.message {
            Some(crdt_stream_out::Message::Reply(reply)) => sort_update(reply.state_action.as_mut()),
            Some(crdt_stream_out::Message::StreamCancelledResponse(response)) => {
                sort_update(response.state_action.as_mut());
            }
            _ => {}
        }
        self
    }
}

fn sort_update(action: Option<&mut CrdtStateAction>) {
    if let Some(CrdtStateAction { action: Some(crdt_state_action::Action::Update(delta)), .. }) = action {
        sort(delta);
    }
}

fn sort(delta: &mut CrdtDelta) {
    match &mut delta.delta {
        Some(Delta::Gset(GSetDelta { added })) => sort_values(added),
        Some(Delta::Orset(OrSetDelta { removed, added, .. })) => {
            sort_values(removed);
            sort_values(added);
        }
        Some(Delta::Ormap(OrMapDelta { removed, updated, added, .. })) => {
            sort_values(removed);
            sort_entries(updated);
            sort_entries(added);
        }
        _ => {}
    }
}

fn sort_values(values: &mut [Any]) {
    values.sort_by(|one, other| order(one).cmp(&order(other)));
}

fn sort_entries(entries: &mut [OrMapEntryDelta]) {
    entries.sort_by(|one, other| one.key.as_ref().map(order).cmp(&other.key.as_ref().map(order)));
    entries.iter_mut().filter_map(|entry| entry.delta.as_mut()).for_each(sort);
}

fn order(value: &Any) -> (&str, &[u8]) {
    (&value.type_url, &value.value)
}
