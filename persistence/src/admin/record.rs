//! [`Record`]: all that a store holds, row by row, in no store's own form.

use crate::Offset;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One thing that a store holds.
///
/// The serde form is what `cloudstate store export` writes: one field that names the kind, bytes as base64. Fields may be
/// added to it with a default; one that changes its meaning needs a new version of the whole format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// Which places were given out.
    Places(PlacesRecord),
    /// Who may write to a shard.
    Owner(OwnerRecord),
    /// How far a consumer is.
    Projection(ProjectionRecord),
    /// What a consumer has given up on.
    Parked(ParkedRecord),
    /// An entity, before anything of it.
    Entity(EntityRecord),
    /// An event.
    Event(EventRecord),
    /// A snapshot.
    Snapshot(SnapshotRecord),
    /// A state.
    State(StateRecord),
}

/// Which places were given out; before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacesRecord {
    /// The highest place that an event ever had, be it deleted.
    pub events: Offset,
}

/// Who may write to a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerRecord {
    /// Type of the shard's entities.
    pub entity_type: String,
    /// `0..SLICES`.
    pub shard: u16,
    /// Epoch with which the shard was claimed as a whole; 0 if never.
    pub epoch: u64,
    /// The highest epoch with which any of its entities was claimed alone.
    pub entity_epoch_max: u64,
    /// Who claimed it, as far as it was noted.
    pub owner: String,
}

/// How far a consumer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionRecord {
    /// The consumer group.
    pub group: String,
    /// What it reads.
    pub source: String,
    /// How often it was taken over.
    pub epoch: u64,
    /// Everything up to here is done or parked.
    pub offset: Offset,
    /// Whether it is to wait until it is resumed.
    #[serde(default)]
    pub paused: bool,
}

/// What a consumer has given up on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkedRecord {
    /// The consumer group.
    pub group: String,
    /// What it reads.
    pub source: String,
    /// The event's place.
    pub offset: Offset,
    /// Whose event.
    pub id: String,
    /// Its sequence number.
    pub seq_nr: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
    /// When it was parked, ms since 1970.
    pub time_ms: u64,
    /// Whether it is to be tried again.
    pub replay: bool,
}

/// An entity, contents apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityRecord {
    /// Its name.
    pub id: String,
    /// Epoch with which it was claimed itself; 0 if never.
    pub epoch: u64,
    /// The highest sequence number ever used.
    pub highest_seq: u64,
    /// Events up to this one are deleted.
    pub deleted_to: u64,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRecord {
    /// Whose event.
    pub id: String,
    /// From 1, without holes.
    pub seq_nr: u64,
    /// Its place in commit order.
    pub offset: Offset,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Wall clock of the writer, ms since 1970.
    pub time_ms: u64,
    /// On the first event of a batch: the batch's id.
    #[serde(with = "hex", default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<u128>,
    /// Says how to read `payload`: a type with its version, or a type URL.
    pub manifest: String,
    /// The event.
    #[serde(with = "base64_bytes")]
    pub payload: Bytes,
    /// What travels beside it.
    #[serde(with = "base64_option", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Bytes>,
    /// By which it can be found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRecord {
    /// Whose.
    pub id: String,
    /// The last event in it.
    pub seq_nr: u64,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Wall clock of the writer, ms since 1970.
    pub time_ms: u64,
    /// Says how to read `payload`.
    pub manifest: String,
    /// The snapshot.
    #[serde(with = "base64_bytes")]
    pub payload: Bytes,
    /// What travels beside it.
    #[serde(with = "base64_option", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Bytes>,
}

/// A state, or that it was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRecord {
    /// Whose.
    pub id: String,
    /// How often it was written.
    pub revision: u64,
    /// The place of its last change among those of all states.
    pub offset: Offset,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Wall clock of the writer, ms since 1970.
    pub time_ms: u64,
    /// The last write's id.
    #[serde(with = "hex")]
    pub batch_id: Option<u128>,
    /// Says how to read `payload`; none when the state was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The state; none when it was deleted.
    #[serde(with = "base64_option", default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Bytes>,
    /// What travels beside it, or what a deletion was told to keep.
    #[serde(with = "base64_option", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Bytes>,
    /// By which it can be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// How many of each there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Owners of shards.
    pub owners: u64,
    /// Projections.
    pub projections: u64,
    /// Parked events.
    pub parked: u64,
    /// Entities.
    pub entities: u64,
    /// Events.
    pub events: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// States, deleted ones included.
    pub states: u64,
}

impl Record {
    /// Bytes it is made of, about.
    pub(crate) fn weight(&self) -> usize {
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        128 + match self {
            Self::Event(event) => event.payload.len() + optional(&event.meta),
            Self::Snapshot(snapshot) => snapshot.payload.len() + optional(&snapshot.meta),
            Self::State(state) => optional(&state.payload) + optional(&state.meta),
            _ => 0,
        }
    }
}

impl Totals {
    /// Counts `record`.
    pub fn count(&mut self, record: &Record) {
        let counter = match record {
            Record::Places(_) => return,
            Record::Owner(_) => &mut self.owners,
            Record::Projection(_) => &mut self.projections,
            Record::Parked(_) => &mut self.parked,
            Record::Entity(_) => &mut self.entities,
            Record::Event(_) => &mut self.events,
            Record::Snapshot(_) => &mut self.snapshots,
            Record::State(_) => &mut self.states,
        };
        *counter += 1;
    }
}

mod base64_bytes {
    use base64::prelude::{BASE64_STANDARD, Engine};
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(&*text).map(Bytes::from).map_err(D::Error::custom)
    }
}

mod base64_option {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Wrapped(#[serde(with = "super::base64_bytes")] Bytes);

    #[expect(clippy::ref_option, reason = "serde hands it over so")]
    pub(super) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::base64_bytes::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|Wrapped(bytes)| bytes))
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    #[expect(clippy::ref_option, reason = "serde hands it over so")]
    pub(super) fn serialize<S: Serializer>(id: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.collect_str(&format_args!("{id:032x}")),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
        let parse = |text: Cow<'de, str>| u128::from_str_radix(&text, 16).map_err(D::Error::custom);
        text.map(parse).transpose()
    }
}
