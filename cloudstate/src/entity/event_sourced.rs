//! Event-sourced entities: events and snapshots are stored byte for byte as the user function sent them
//! (CloudState protocol, event sourced entities).

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use persistence::{
    Answered, Append, AppendError, CodecError, CommandWindow, Journal, JournalError, PersistenceId, RawEvent,
    RawSnapshot, Recovery, RecoveryError, ReplayLimit, SnapshotSearch, SnapshotStore, StoredSnapshot, WindowLimits,
    decode_answered, decode_window, encode_answered, encode_window,
};
use proto::Any;
use proto::cloudstate::eventsourced::{
    EventSourcedEvent, EventSourcedInit, EventSourcedReply, EventSourcedSnapshot, EventSourcedStreamIn,
    EventSourcedStreamOut, event_sourced_stream_in as stream_in, event_sourced_stream_out as stream_out,
};
use proto::cloudstate::{Command, client_action};

use super::durable::{
    ActivationError, Change, Conflict, FromFunction, Identity, LookBack, Outbound, Protocol, Reply, Saving, Words,
    Write, settled,
};
use crate::telemetry::EntityMetrics;

/// Events and bytes read from the store at once; the next page is read when this one has been sent.
const PAGE: ReplayLimit = ReplayLimit { events: 256, bytes: 1024 * 1024 };

/// The protocol `cloudstate.eventsourced.EventSourced` and its store.
#[derive(Clone)]
pub struct EventSourced {
    /// Where events are kept.
    pub journal: Arc<dyn Journal<RawEvent>>,
    /// Where snapshots are kept.
    pub snapshots: Arc<dyn SnapshotStore<RawSnapshot>>,
    /// How many of an entity, the newest.
    pub snapshots_kept: NonZeroUsize,
}

impl std::fmt::Debug for EventSourced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventSourced")
    }
}

/// The events of one reply.
#[derive(Debug)]
pub struct Events(Vec<Any>);

impl Events {
    /// In the order in which they are stored.
    #[cfg(test)]
    pub(super) fn events(&self) -> impl Iterator<Item = &Any> {
        self.0.iter()
    }
}

impl Change for Events {
    fn steps(&self) -> u64 {
        self.0.len() as u64
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|event| event.type_url.len() + event.value.len())
    }
}

/// What has been read before the stream is opened.
pub struct Beginning {
    recovery: Recovery,
    snapshot: Option<EventSourcedSnapshot>,
    answered: Vec<Answered>,
    from: u64,
    /// Why snapshots could not be asked for, if that is so: then all events are replayed.
    unread: Option<JournalError>,
}

impl Protocol for EventSourced {
    type In = EventSourcedStreamIn;
    type Out = EventSourcedStreamOut;
    type Change = Events;
    type Beginning = Beginning;

    const WORDS: Words = Words {
        reply: "Unexpected entity reply",
        failure: "Unexpected entity failure",
        message: "Unexpected entity message",
        termination: "Unexpected entity termination",
        terminated: "Entity terminated",
        recovery: "Error recovering event log",
        stored: "events",
    };

    const WINDOW: WindowLimits =
        WindowLimits { ids: 1_000, age: Duration::from_secs(600), bytes: 1 << 20, reply_bytes: 64 << 10 };

    const WINDOW_IN_WRITES: bool = false;

    const PATH: &str = "/cloudstate.eventsourced.EventSourced/handle";

    fn command(command: Command) -> Self::In {
        message(stream_in::Message::Command(command))
    }

    fn read(message: Self::Out) -> FromFunction<Events> {
        match message.message {
            Some(stream_out::Message::Reply(reply)) => FromFunction::Reply(Box::new(read(reply))),
            Some(stream_out::Message::Failure(failure)) => FromFunction::Failure(failure),
            None => FromFunction::Invalid("an empty stream message"),
        }
    }

    async fn begin(&self, entity: &Identity, metrics: &EntityMetrics) -> Result<Beginning, ActivationError> {
        let (newest, unread) = match self.newest_readable_snapshot(&entity.id).await {
            Ok(newest) => (newest, None),
            Err(error) => {
                tracing::warn!(%error, "snapshots cannot be read, replaying all events");
                metrics.snapshots_unread();
                (None, Some(error))
            }
        };
        let (stored, answered) = newest.unzip();
        let mut recovery = Recovery::new(entity.id.clone());
        recovery.snapshot(stored.as_ref().map(|stored| (stored.seq_nr, stored.epoch)));
        let from = recovery.next_seq();
        if let Some(stored) = &stored {
            metrics.snapshot_loaded(stored.snapshot.payload.len() as u64);
        }
        let snapshot = stored.map(|stored| EventSourcedSnapshot {
            snapshot_sequence: stored.seq_nr.cast_signed(),
            snapshot: Some(Any { type_url: stored.snapshot.manifest.to_string(), value: stored.snapshot.payload }),
        });
        Ok(Beginning { recovery, snapshot, answered: answered.unwrap_or_default(), from, unread })
    }

    async fn replay(
        &self,
        entity: &Identity,
        beginning: Beginning,
        outbound: &Outbound<Self::In>,
        metrics: &EntityMetrics,
        window: &mut CommandWindow,
    ) -> Result<u64, ActivationError> {
        let Beginning { mut recovery, snapshot, answered, mut from, unread } = beginning;
        // Without the snapshot that could not be asked for, the log need not begin at its beginning.
        let not_believed = |error: RecoveryError| unread.as_ref().map_or_else(|| failed(error), failed);
        window.extend(answered);
        let init = EventSourcedInit {
            service_name: entity.service.to_string(),
            entity_id: entity.entity_id.to_string(),
            snapshot,
        };
        outbound.send(message(stream_in::Message::Init(init))).await?;
        loop {
            let page = outbound.limited(self.journal.replay(entity.id.clone(), from, u64::MAX, PAGE)).await?;
            if page.is_empty() {
                break;
            }
            let bytes = page.iter().map(|stored| stored.event.payload.len() as u64).sum();
            metrics.events_loaded(page.len() as u64, bytes);
            for stored in page {
                recovery.event(stored.seq_nr, stored.epoch).map_err(not_believed)?;
                from = stored.seq_nr + 1;
                if let Some(meta) = &stored.event.meta {
                    window.extend(decode_answered(meta, stored.time_ms).map_err(failed)?);
                }
                let event = EventSourcedEvent {
                    sequence: stored.seq_nr.cast_signed(),
                    payload: Some(Any { type_url: stored.event.manifest.to_string(), value: stored.event.payload }),
                };
                outbound.send(message(stream_in::Message::Event(event))).await?;
            }
        }
        let highest = outbound.limited(self.journal.highest_seq(entity.id.clone())).await?;
        Ok(recovery.finish(highest).map_err(not_believed)?.highest_seq)
    }

    fn write(&self, entity: &Identity, write: Write<Events>) -> BoxFuture<'static, Result<(), AppendError>> {
        let Write { change: Events(events), after, fence, time_ms, answered, .. } = write;
        let mut meta = answered.as_ref().map(encode_answered);
        let append = Append {
            id: entity.id.clone(),
            expected_seq: after + 1,
            fence,
            batch_id: rand::random(),
            events: events.into_iter().map(|event| stored_event(event, meta.take())).collect(),
            tags: Vec::new(),
            time_ms,
        };
        let journal = self.journal.clone();
        settled(Conflict::Settles, move || journal.append(append.clone()))
    }

    fn save_snapshot(&self, entity: &Identity, saving: Saving) -> BoxFuture<'static, ()> {
        let Saving { position, snapshot, window, fence, time_ms, kept, metrics } = saving;
        let meta = encode_window(&window);
        let raw = RawSnapshot { manifest: Arc::from(snapshot.type_url), payload: snapshot.value, meta };
        let (id, snapshots, keep) = (entity.id.clone(), self.snapshots.clone(), self.snapshots_kept);
        let saved = snapshots.save(id.clone(), position, fence.clone(), time_ms, raw);
        async move {
            if let Err(error) = saved.await {
                tracing::warn!(position, %error, "snapshot could not be saved, recovery will replay more events");
                return metrics.snapshot_failed();
            }
            kept.lock().saved(position);
            let look_back = kept.lock().look_back(keep);
            let found = match look_back {
                Some(look_back) => older(&*snapshots, &id, look_back).await.map(Some),
                None => Ok(None),
            };
            let superfluous = match found {
                Ok(found) => {
                    let mut kept = kept.lock();
                    found.into_iter().for_each(|found| kept.found(found));
                    kept.superfluous(keep)
                }
                Err(error) => {
                    tracing::warn!(position, %error, "older snapshots cannot be read, they are kept for now");
                    return metrics.snapshots_not_deleted();
                }
            };
            let Some(superfluous) = superfluous else { return };
            if let Err(error) = snapshots.delete(id, superfluous, fence).await {
                tracing::warn!(position, %error, "older snapshots could not be deleted, they are kept for now");
                metrics.snapshots_not_deleted();
            }
        }
        .boxed()
    }
}

/// Snapshots that cannot be read and are passed over, when older ones are looked for.
const UNREADABLE_MAX: usize = 64;

/// The numbers of older snapshots that can be read.
async fn older(
    snapshots: &dyn SnapshotStore<RawSnapshot>,
    id: &PersistenceId,
    LookBack { mut up_to, wanted }: LookBack,
) -> Result<Vec<u64>, JournalError> {
    let mut found = Vec::with_capacity(wanted);
    for _ in 0..wanted + UNREADABLE_MAX {
        let number = match snapshots.load(id.clone(), up_to).await {
            Ok(None) => break,
            Ok(Some(stored)) => {
                found.push(stored.seq_nr);
                stored.seq_nr
            }
            Err(JournalError::Damaged { seq_nr, .. } | JournalError::Undecodable { seq_nr, .. }) if seq_nr <= up_to => {
                seq_nr
            }
            Err(error) => return Err(error),
        };
        match number.checked_sub(1) {
            Some(below) if found.len() < wanted => up_to = below,
            _ => break,
        }
    }
    Ok(found)
}

impl EventSourced {
    /// The newest snapshot, or the newest before those that are damaged, with the answers kept in it.
    async fn newest_readable_snapshot(
        &self,
        id: &PersistenceId,
    ) -> Result<Option<(StoredSnapshot<RawSnapshot>, Vec<Answered>)>, JournalError> {
        let mut search = SnapshotSearch::default();
        while let Some(max_seq) = search.max_seq() {
            let loaded = self.snapshots.load(id.clone(), max_seq).await;
            match loaded.and_then(|loaded| loaded.map(|stored| with_answers(id, stored)).transpose()) {
                Err(error) if error.is_permanent() => {
                    tracing::warn!(%id, %error, "snapshot is unreadable, falling back to an older one");
                    search.unreadable(&error);
                }
                answer => return answer,
            }
        }
        Ok(None)
    }
}

fn with_answers(
    id: &PersistenceId,
    stored: StoredSnapshot<RawSnapshot>,
) -> Result<(StoredSnapshot<RawSnapshot>, Vec<Answered>), JournalError> {
    match decode_window(stored.snapshot.meta.as_ref()) {
        Ok(answered) => Ok((stored, answered)),
        Err(CodecError(reason)) => {
            let manifest = stored.snapshot.manifest.to_string();
            Err(JournalError::Undecodable { id: id.clone(), seq_nr: stored.seq_nr, manifest, reason })
        }
    }
}

fn message(message: stream_in::Message) -> EventSourcedStreamIn {
    EventSourcedStreamIn { message: Some(message) }
}

fn read(reply: EventSourcedReply) -> Reply<Events> {
    let EventSourcedReply { command_id, client_action, side_effects, events, mut snapshot } = reply;
    let action = client_action.and_then(|it| it.action);
    // Events of a failed command are not kept. A function that has emitted some is ahead of its log,
    // whether it says so or not, and has to be replayed to.
    let restart = match &action {
        Some(client_action::Action::Failure(failure)) => failure.restart || !events.is_empty(),
        _ => false,
    };
    let pointless = events.is_empty() && snapshot.take_if(|_| !restart).is_some();
    Reply {
        command_id,
        action,
        side_effects,
        change: (!events.is_empty()).then_some(Events(events)),
        snapshot,
        restart,
        mistake: pointless.then_some("a snapshot without events is ignored"),
    }
}

fn stored_event(event: Any, meta: Option<Bytes>) -> RawEvent {
    RawEvent { manifest: Arc::from(event.type_url), payload: event.value, meta }
}

fn failed(error: impl std::fmt::Display) -> ActivationError {
    ActivationError::Recovery(error.to_string())
}
