//! Value entities: one value each, stored byte for byte as the user function sent it (CloudState protocol,
//! value entities).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use persistence::{
    Answered, AppendError, CommandWindow, DeleteState, PutState, RawState, StateStore, WindowLimits, decode_window,
    encode_window,
};
use proto::Any;
use proto::cloudstate::Command;
use proto::cloudstate::valueentity::{
    ValueEntityInit, ValueEntityInitState, ValueEntityReply, ValueEntityStreamIn, ValueEntityStreamOut,
    value_entity_action as state_action, value_entity_stream_in as stream_in, value_entity_stream_out as stream_out,
};

use super::durable::{
    ActivationError, Change, Conflict, FromFunction, Identity, Outbound, Protocol, Reply, Saving, Words, Write, settled,
};
use crate::telemetry::EntityMetrics;

/// The protocol `cloudstate.valueentity.ValueEntity` and its store.
#[derive(Clone)]
pub struct ValueEntity {
    /// Where values are kept.
    pub states: Arc<dyn StateStore<RawState>>,
}

impl std::fmt::Debug for ValueEntity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ValueEntity")
    }
}

/// What a reply does to the value.
#[derive(Debug)]
pub enum ValueChange {
    /// It is this one now.
    Update(Any),
    /// There is none any more.
    Delete,
}

impl Change for ValueChange {
    fn steps(&self) -> u64 {
        1
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        match self {
            Self::Update(value) => Some(value.type_url.len() + value.value.len()).into_iter(),
            Self::Delete => None.into_iter(),
        }
    }
}

/// What has been read before the stream is opened.
#[derive(Debug, Default)]
pub struct Beginning {
    revision: u64,
    value: Option<Any>,
    answered: Vec<Answered>,
}

impl Protocol for ValueEntity {
    type In = ValueEntityStreamIn;
    type Out = ValueEntityStreamOut;
    type Change = ValueChange;
    type Beginning = Beginning;

    const WORDS: Words = Words {
        reply: "Unexpected Value entity reply",
        failure: "Unexpected Value entity failure",
        message: "Unexpected Value entity failure",
        termination: "Unexpected Value entity termination",
        terminated: "Value entity terminated",
        recovery: "Error reading the value entity's state",
        stored: "changes",
    };

    // Stored with each value, so smaller than that of a log.
    const WINDOW: WindowLimits =
        WindowLimits { ids: 1_000, age: Duration::from_secs(600), bytes: 64 << 10, reply_bytes: 16 << 10 };

    const WINDOW_IN_WRITES: bool = true;

    const PATH: &str = "/cloudstate.valueentity.ValueEntity/handle";

    fn command(command: Command) -> Self::In {
        message(stream_in::Message::Command(command))
    }

    fn read(message: Self::Out) -> FromFunction<ValueChange> {
        match message.message {
            Some(stream_out::Message::Reply(reply)) => read(reply),
            Some(stream_out::Message::Failure(failure)) => FromFunction::Failure(failure),
            None => FromFunction::Invalid("an empty stream message"),
        }
    }

    async fn begin(&self, entity: &Identity, metrics: &EntityMetrics) -> Result<Beginning, ActivationError> {
        let failed = |error: persistence::JournalError| ActivationError::Recovery(error.to_string());
        let Some(stored) = self.states.load(entity.id.clone()).await.map_err(failed)? else {
            return Ok(Beginning::default());
        };
        if let Some(state) = &stored.state {
            metrics.snapshot_loaded(state.payload.len() as u64);
        }
        let kept = stored.state.as_ref().map_or(stored.marker.as_ref(), |state| state.meta.as_ref());
        let answered = decode_window(kept).map_err(|error| ActivationError::Recovery(error.to_string()))?;
        let value = stored.state.map(|state| Any { type_url: state.manifest.to_string(), value: state.payload });
        Ok(Beginning { revision: stored.revision, value, answered })
    }

    async fn replay(
        &self,
        entity: &Identity,
        Beginning { revision, value, answered }: Beginning,
        outbound: &Outbound<Self::In>,
        _metrics: &EntityMetrics,
        window: &mut CommandWindow,
    ) -> Result<u64, ActivationError> {
        window.extend(answered);
        let init = ValueEntityInit {
            service_name: entity.service.to_string(),
            entity_id: entity.entity_id.to_string(),
            // Present with and without a value.
            state: Some(ValueEntityInitState { value }),
        };
        outbound.send(message(stream_in::Message::Init(init))).await?;
        Ok(revision)
    }

    fn write(&self, entity: &Identity, write: Write<ValueChange>) -> BoxFuture<'static, Result<(), AppendError>> {
        let Write { change, after: expected_revision, fence, time_ms, window, .. } = write;
        let window = encode_window(&window);
        let (id, batch_id) = (entity.id.clone(), rand::random());
        match change {
            ValueChange::Update(Any { type_url, value }) => {
                let state = RawState { manifest: Arc::from(type_url), payload: value, meta: window };
                let put = PutState { id, expected_revision, fence, batch_id, time_ms, state, tag: None };
                let states = self.states.clone();
                settled(Conflict::SaysNothing, move || states.upsert(put.clone()))
            }
            ValueChange::Delete => {
                let delete = DeleteState { id, expected_revision, fence, batch_id, time_ms, marker: window };
                let states = self.states.clone();
                settled(Conflict::SaysNothing, move || states.delete(delete.clone()))
            }
        }
    }

    fn save_snapshot(&self, _: &Identity, _: Saving) -> BoxFuture<'static, ()> {
        // A value is all there is; replies of value entities carry no snapshot.
        std::future::ready(()).boxed()
    }
}

fn message(message: stream_in::Message) -> ValueEntityStreamIn {
    ValueEntityStreamIn { message: Some(message) }
}

/// The client action does not influence the state action, and `restart` means nothing here.
fn read(reply: ValueEntityReply) -> FromFunction<ValueChange> {
    let ValueEntityReply { command_id, client_action, side_effects, state_action } = reply;
    let change = match state_action {
        None => None,
        Some(action) => match action.action {
            Some(state_action::Action::Update(update)) => match update.value {
                Some(value) => Some(ValueChange::Update(value)),
                None => return FromFunction::Invalid("an update without a value"),
            },
            Some(state_action::Action::Delete(_)) => Some(ValueChange::Delete),
            None => return FromFunction::Invalid("an empty state action"),
        },
    };
    FromFunction::Reply(Box::new(Reply {
        command_id,
        action: client_action.and_then(|it| it.action),
        side_effects,
        change,
        snapshot: None,
        restart: false,
        mistake: None,
    }))
}
