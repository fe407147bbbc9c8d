//! What [`StoreAdmin`](super::StoreAdmin) answers about a store and an entity, contents apart.

use crate::{Offset, PersistenceId};
use serde::{Serialize, Serializer};

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreInfo {
    /// `sqlite`, `postgres` or `memory`.
    pub backend: &'static str,
    /// The database file or address.
    pub place: String,
    /// Version of the tables; 0 where there are none.
    pub schema_version: i64,
    /// Grows with every restore that was adopted; 0 where offsets need none.
    pub generation: u32,
    /// The number of the process that has the store open for writing, where that can be told.
    pub writer: Option<u32>,
    /// Bytes on disk.
    pub sizes: StoreSizes,
    /// Entities, whether they have events, a state, or were only claimed.
    pub entities: u64,
    /// Events that are not deleted.
    pub events: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// States that are not deleted.
    pub states: u64,
    /// The place in commit order of the newest event.
    pub highest_offset: Offset,
    /// When the oldest event that is left was written, ms since 1970.
    pub oldest_event_ms: Option<u64>,
    /// When the newest event was written, ms since 1970.
    pub newest_event_ms: Option<u64>,
    /// By entity type, in the order of their names.
    pub types: Vec<TypeInfo>,
    /// Consumers of events and states, by group and source.
    pub projections: Vec<ProjectionInfo>,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreSizes {
    /// The tables and their indexes.
    pub database: u64,
    /// The write-ahead log beside them.
    pub log: u64,
    /// Of `database`, what is free for new rows.
    pub free: u64,
}

/// What there is of one type of entities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeInfo {
    /// The part of the persistence ids before the `|`.
    pub entity_type: String,
    /// Entities.
    pub entities: u64,
    /// Events that are not deleted.
    pub events: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// States that are not deleted.
    pub states: u64,
}

/// How far a consumer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProjectionInfo {
    /// The consumer group.
    pub group: String,
    /// What it reads.
    pub source: String,
    /// Everything up to this offset is done or parked.
    pub offset: Offset,
    /// How often it was taken over.
    pub epoch: u64,
    /// Whether it is to wait until it is resumed.
    pub paused: bool,
    /// Events or states of its source behind that offset; `None` where this store cannot tell, since the offset or the
    /// source is of another one.
    pub behind: Option<u64>,
    /// Whether there are more than `behind`: no more were counted.
    pub behind_more: bool,
    /// When the first of them was written, ms since 1970.
    pub behind_since_ms: Option<u64>,
    /// Events or states it has given up on.
    pub parked: u64,
}

/// Which entities to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityQuery {
    /// Only of this type.
    pub entity_type: Option<String>,
    /// Only those that begin so: the entity id where the type is given, else the whole persistence id.
    pub prefix: String,
    /// Only those after this one.
    pub after: Option<PersistenceId>,
    /// At most so many.
    pub limit: usize,
}

/// One entity in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntitySummary {
    /// Its name.
    #[serde(serialize_with = "as_text")]
    pub id: PersistenceId,
    /// The highest sequence number ever used; 0 for none.
    pub highest_seq: u64,
    /// Events up to this one are deleted.
    pub deleted_to: u64,
    /// Its newest snapshot.
    pub snapshot_seq: Option<u64>,
    /// The revision of its state.
    pub revision: Option<u64>,
}

/// What is known of one entity beside its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntityHead {
    /// Its name.
    #[serde(serialize_with = "as_text")]
    pub id: PersistenceId,
    /// The slice, and so the shard, it belongs to.
    pub slice: u16,
    /// The highest sequence number ever used; 0 for none.
    pub highest_seq: u64,
    /// Events up to this one are deleted.
    pub deleted_to: u64,
    /// Epoch with which it was claimed itself; 0 if never.
    pub epoch: u64,
    /// Epoch with which its shard was claimed; 0 if never. The higher of the two is needed to write.
    pub shard_epoch: u64,
    /// Who claimed the shard, as far as it was noted.
    pub shard_owner: String,
    /// When its last event was written, ms since 1970.
    pub last_event_ms: Option<u64>,
    /// Its snapshots, newest first; the 100 newest.
    pub snapshots: Vec<SnapshotSummary>,
    /// Its state, where it keeps one instead of a history.
    pub state: Option<StateSummary>,
}

/// A snapshot, contents apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotSummary {
    /// The last event in it.
    pub seq_nr: u64,
    /// Epoch of its writer.
    pub epoch: u64,
    /// When it was written, ms since 1970.
    pub time_ms: u64,
    /// Bytes of its payload.
    pub bytes: u64,
}

/// A state, contents apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StateSummary {
    /// How often it was written.
    pub revision: u64,
    /// Epoch of its writer.
    pub epoch: u64,
    /// When it was written, ms since 1970.
    pub time_ms: u64,
    /// Bytes of its payload; `None` when it was deleted.
    pub bytes: Option<u64>,
}

fn as_text<S: Serializer>(id: &PersistenceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

impl EntityQuery {
    /// What the persistence ids begin with.
    pub(crate) fn full_prefix(&self) -> String {
        match &self.entity_type {
            Some(entity_type) => format!("{entity_type}|{}", self.prefix),
            None => self.prefix.clone(),
        }
    }
}

impl StoreInfo {
    /// Adds up what is known by type.
    pub(crate) fn add_up(mut self, types: Vec<TypeInfo>) -> Self {
        let sum = |of: fn(&TypeInfo) -> u64| types.iter().map(of).sum();
        self.entities = sum(|it| it.entities);
        self.events = sum(|it| it.events);
        self.snapshots = sum(|it| it.snapshots);
        self.states = sum(|it| it.states);
        self.types = types;
        self
    }
}
