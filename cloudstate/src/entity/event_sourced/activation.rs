//! Bringing an entity to life: snapshot and events out of the store, into a new stream.

use std::sync::Arc;
use std::time::Duration;

use persistence::{Journal, PersistenceId, RawEvent, RawSnapshot, Recovery, ReplayLimit, SnapshotStore};
use proto::Any;
use proto::cloudstate::eventsourced::{
    EventSourcedEvent, EventSourcedInit, EventSourcedSnapshot, event_sourced_stream_in::Message,
};

use tokio::sync::Semaphore;

use super::state::ActivationError;
use super::stream::{Ended, Outbound};
use crate::telemetry::EntityMetrics;
use crate::user_function::{Link, UserFunction};

/// Events and bytes read from the store at once; the next page is read when this one has been sent.
const PAGE: ReplayLimit = ReplayLimit { events: 256, bytes: 1024 * 1024 };

/// What an activation needs to know.
#[derive(Clone)]
pub(super) struct Activation {
    pub(super) service: Arc<str>,
    pub(super) entity_id: Arc<str>,
    pub(super) id: PersistenceId,
    pub(super) journal: Arc<dyn Journal<RawEvent>>,
    pub(super) snapshots: Arc<dyn SnapshotStore<RawSnapshot>>,
    pub(super) function: UserFunction,
    pub(super) connect_within: Duration,
    pub(super) outbound_max: usize,
    pub(super) stall_timeout: Duration,
    pub(super) recoveries: Arc<Semaphore>,
    pub(super) metrics: EntityMetrics,
}

/// What has been read before the stream is opened.
pub(super) struct Beginning {
    recovery: Recovery,
    snapshot: Option<EventSourcedSnapshot>,
    from: u64,
}

fn failed(error: impl std::fmt::Display) -> ActivationError {
    ActivationError::Recovery(error.to_string())
}

impl Activation {
    /// A link to the user function, waiting for one that is restarting.
    pub(super) async fn link(&self) -> Result<Arc<Link>, ActivationError> {
        self.function.link(self.connect_within).await.map_err(|error| ActivationError::Unreachable(error.to_string()))
    }

    /// Reads the latest snapshot.
    pub(super) async fn begin(&self) -> Result<Beginning, ActivationError> {
        let stored = self.snapshots.load(self.id.clone(), u64::MAX).await.map_err(failed)?;
        let mut recovery = Recovery::new(self.id.clone());
        recovery.snapshot(stored.as_ref().map(|stored| (stored.seq_nr, stored.epoch)));
        let from = stored.as_ref().map_or(1, |stored| stored.seq_nr + 1);
        if let Some(stored) = &stored {
            self.metrics.snapshot_loaded(stored.snapshot.payload.len() as u64);
        }
        let snapshot = stored.map(|stored| EventSourcedSnapshot {
            snapshot_sequence: stored.seq_nr.cast_signed(),
            snapshot: Some(Any { type_url: stored.snapshot.manifest.to_string(), value: stored.snapshot.payload }),
        });
        Ok(Beginning { recovery, snapshot, from })
    }

    /// Sends init and all events; answers the highest sequence number. Waits for the function to
    /// take what was sent before it reads on.
    pub(super) async fn replay(&self, beginning: Beginning, outbound: &Outbound) -> Result<u64, ActivationError> {
        let Beginning { mut recovery, snapshot, mut from } = beginning;
        let init = EventSourcedInit {
            service_name: self.service.to_string(),
            entity_id: self.entity_id.to_string(),
            snapshot,
        };
        self.taken(outbound.send(Message::Init(init))).await?;
        loop {
            let page = self.journal.replay(self.id.clone(), from, u64::MAX, PAGE).await.map_err(failed)?;
            if page.is_empty() {
                break;
            }
            let bytes = page.iter().map(|stored| stored.event.payload.len() as u64).sum();
            self.metrics.events_loaded(page.len() as u64, bytes);
            for stored in page {
                recovery.event(stored.seq_nr, stored.epoch).map_err(failed)?;
                from = stored.seq_nr + 1;
                let event = EventSourcedEvent {
                    sequence: stored.seq_nr.cast_signed(),
                    payload: Some(Any { type_url: stored.event.manifest.to_string(), value: stored.event.payload }),
                };
                self.taken(outbound.send(Message::Event(event))).await?;
            }
        }
        let highest = self.journal.highest_seq(self.id.clone()).await.map_err(failed)?;
        let highest_seq = recovery.finish(highest).map_err(failed)?.highest_seq;
        // The first command is sent without waiting, so there must be room for it.
        self.taken(outbound.room()).await?;
        Ok(highest_seq)
    }

    /// Waits until the function has taken enough for one more message, but not for ever: an activation that stands
    /// still holds one of the few places for recoveries.
    async fn taken(&self, sent: impl Future<Output = Result<(), Ended>>) -> Result<(), ActivationError> {
        match self.function.clock().timeout(self.stall_timeout, sent).await {
            Ok(sent) => sent.map_err(|Ended| ActivationError::Ended),
            Err(elapsed) => {
                Err(ActivationError::Unreachable(format!("the user function does not read its log: {elapsed}")))
            }
        }
    }
}
