//! Requests as columns: what the statements of a batch take.

use super::session::Parameter;
use crate::{
    Append, Fence, FenceScope, PersistenceId, RawEvent, RawSnapshot, RawState,
    checksum::{Checked, CheckedState},
    state::StateWrite,
};
use bytes::{BufMut, BytesMut};
use std::{error::Error, fmt::Write, sync::Arc};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A batch id in a column of type `uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchId(pub(crate) u128);

/// What every request under a fence has.
#[derive(Default)]
pub(crate) struct Fences<'a> {
    n: Vec<i32>,
    ids: Vec<&'a str>,
    types: Vec<&'a str>,
    slices: Vec<i32>,
    of_shard: Vec<bool>,
    epochs: Vec<i64>,
}

#[derive(Default)]
pub(crate) struct Appends<'a> {
    fences: Fences<'a>,
    expected: Vec<i64>,
    batch_ids: Vec<BatchId>,
    time_ms: Vec<i64>,
    event_n: Vec<i32>,
    places: Vec<i32>,
    tags: Vec<String>,
    rows: Contents<'a>,
}

#[derive(Default)]
pub(crate) struct States<'a> {
    fences: Fences<'a>,
    expected: Vec<i64>,
    batch_ids: Vec<BatchId>,
    time_ms: Vec<i64>,
    manifests: Vec<Option<&'a str>>,
    payloads: Vec<Option<&'a [u8]>>,
    metas: Vec<Option<&'a [u8]>>,
    crcs: Vec<i64>,
    tags: Vec<Option<&'a str>>,
}

#[derive(Default)]
pub(crate) struct Snapshots<'a> {
    fences: Fences<'a>,
    seq_nrs: Vec<i64>,
    time_ms: Vec<i64>,
    rows: Contents<'a>,
}

#[derive(Default)]
pub(crate) struct Deletions<'a> {
    fences: Fences<'a>,
    up_to: Vec<i64>,
}

#[derive(Default)]
struct Contents<'a> {
    manifests: Vec<&'a str>,
    payloads: Vec<&'a [u8]>,
    metas: Vec<Option<&'a [u8]>>,
    crcs: Vec<i64>,
}

impl<'a> Fences<'a> {
    fn push(&mut self, n: usize, id: &'a PersistenceId, fence: &Fence) {
        self.n.push(n as i32);
        self.ids.push(id.as_str());
        self.types.push(id.entity_type());
        self.slices.push(i32::from(id.slice()));
        self.of_shard.push(matches!(fence.scope, FenceScope::Shard { .. }));
        self.epochs.push(clamped(fence.epoch));
    }

    fn parameters(&self) -> [Parameter<'_>; 6] {
        [&self.n, &self.ids, &self.types, &self.slices, &self.of_shard, &self.epochs]
    }
}

impl<'a> Appends<'a> {
    pub(crate) fn push(&mut self, n: usize, append: &'a Append<RawEvent>) {
        self.fences.push(n, &append.id, &append.fence);
        self.expected.push(clamped(append.expected_seq));
        self.batch_ids.push(BatchId(append.batch_id));
        self.time_ms.push(clamped(append.time_ms));
        for (event, place) in append.events.iter().zip(0_i32..) {
            self.event_n.push(n as i32);
            self.places.push(place);
            self.tags.push(array_literal(append.tags.get(place as usize).map_or(&[], Vec::as_slice)));
            self.rows.push_event(append, event, place);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fences.n.is_empty()
    }

    pub(crate) fn parameters<'b>(&'b self, generation: &'b i32) -> Vec<Parameter<'b>> {
        let mut all = self.fences.parameters().to_vec();
        all.extend([&self.expected as Parameter<'b>, &self.batch_ids, &self.time_ms, generation]);
        all.extend([&self.event_n as Parameter<'b>, &self.places]);
        all.extend(self.rows.parameters());
        all.push(&self.tags);
        all
    }
}

impl<'a> States<'a> {
    pub(crate) fn push(&mut self, n: usize, write: &'a StateWrite<RawState>) {
        self.fences.push(n, &write.id, &write.fence);
        self.expected.push(clamped(write.expected_revision));
        self.batch_ids.push(BatchId(write.batch_id));
        self.time_ms.push(clamped(write.time_ms));
        let state = write.state.as_ref();
        let checked = CheckedState {
            id: &write.id,
            revision: clamped(write.expected_revision).saturating_add(1),
            epoch: clamped(write.fence.epoch),
            change: 0, // the server numbers changes
            batch_id: &write.batch_id.to_be_bytes(),
            time_ms: clamped(write.time_ms),
            manifest: state.map(|state| &*state.manifest),
            payload: state.map(|state| &*state.payload),
            meta: state.map_or(write.marker.as_deref(), |state| state.meta.as_deref()),
        };
        self.crcs.push(checked.crc());
        self.tags.push(write.tag.as_deref());
        self.manifests.push(state.map(|state| &*state.manifest));
        self.payloads.push(state.map(|state| &*state.payload));
        self.metas.push(state.map_or(write.marker.as_deref(), |state| state.meta.as_deref()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fences.n.is_empty()
    }

    pub(crate) fn parameters<'b>(&'b self, generation: &'b i32) -> Vec<Parameter<'b>> {
        let mut all = self.fences.parameters().to_vec();
        all.extend([&self.expected as Parameter<'b>, &self.batch_ids, &self.time_ms, &self.manifests]);
        all.extend([&self.payloads as Parameter<'b>, &self.metas, &self.crcs, &self.tags, generation]);
        all
    }
}

impl<'a> Snapshots<'a> {
    pub(crate) fn push(
        &mut self,
        n: usize,
        id: &'a PersistenceId,
        seq_nr: u64,
        fence: &Fence,
        time_ms: u64,
        snapshot: &'a RawSnapshot,
    ) {
        self.fences.push(n, id, fence);
        self.seq_nrs.push(clamped(seq_nr));
        self.time_ms.push(clamped(time_ms));
        let meta = snapshot.meta.as_deref();
        let checked = Checked {
            id,
            seq_nr: clamped(seq_nr),
            epoch: clamped(fence.epoch),
            time_ms: clamped(time_ms),
            batch_id: None,
            manifest: &snapshot.manifest,
            payload: &snapshot.payload,
            meta,
        };
        self.rows.push(&snapshot.manifest, &snapshot.payload, meta, checked.crc());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fences.n.is_empty()
    }

    pub(crate) fn parameters(&self) -> Vec<Parameter<'_>> {
        let mut all = self.fences.parameters().to_vec();
        all.extend([&self.seq_nrs as Parameter<'_>, &self.time_ms]);
        all.extend(self.rows.parameters());
        all
    }
}

impl<'a> Deletions<'a> {
    pub(crate) fn push(&mut self, n: usize, id: &'a PersistenceId, up_to: u64, fence: &Fence) {
        self.fences.push(n, id, fence);
        self.up_to.push(clamped(up_to));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fences.n.is_empty()
    }

    pub(crate) fn parameters(&self) -> Vec<Parameter<'_>> {
        let mut all = self.fences.parameters().to_vec();
        all.push(&self.up_to);
        all
    }
}

impl<'a> Contents<'a> {
    /// The event at this place of `append`.
    fn push_event(&mut self, append: &'a Append<RawEvent>, event: &'a RawEvent, place: i32) {
        self.push(&event.manifest, &event.payload, event.meta.as_deref(), checksum(append, event, place));
    }

    fn push(&mut self, manifest: &'a str, payload: &'a [u8], meta: Option<&'a [u8]>, crc: i64) {
        self.manifests.push(manifest);
        self.payloads.push(payload);
        self.metas.push(meta);
        self.crcs.push(crc);
    }

    fn parameters(&self) -> [Parameter<'_>; 4] {
        [&self.manifests, &self.payloads, &self.metas, &self.crcs]
    }
}

/// Of the event at this place of `append`.
pub(crate) fn checksum(append: &Append<RawEvent>, event: &RawEvent, place: i32) -> i64 {
    let batch_id = append.batch_id.to_be_bytes();
    let checked = Checked {
        id: &append.id,
        seq_nr: clamped(append.expected_seq).saturating_add(i64::from(place)),
        epoch: clamped(append.fence.epoch),
        time_ms: clamped(append.time_ms),
        batch_id: (place == 0).then_some(&batch_id[..]),
        manifest: &event.manifest,
        payload: &event.payload,
        meta: event.meta.as_deref(),
    };
    checked.crc()
}

/// `BIGINT` counts to 2^63 - 1; no number of ours comes near it, but a caller's bound may.
pub(crate) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A text array as text: an array of arrays must not have rows of different lengths.
pub(crate) fn array_literal(texts: &[Arc<str>]) -> String {
    let mut literal = String::from("{");
    for (n, text) in texts.iter().enumerate() {
        literal.push_str(if n == 0 { "\"" } else { ",\"" });
        for letter in text.chars() {
            if matches!(letter, '"' | '\\') {
                literal.push('\\');
            }
            let _ = literal.write_char(letter);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

impl ToSql for BatchId {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_u128(self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

impl FromSql<'_> for BatchId {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(u128::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }
}

/// The number of a transaction, as a server counts them over its whole life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransactionId(pub(crate) u64);

impl FromSql<'_> for TransactionId {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(u64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::XID8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_quoted_whatever_they_hold() {
        assert_eq!(array_literal(&[]), "{}");
        let tags = ["plain", "", "NULL", "a,b{c}", "quote\"d", "back\\slash"].map(Arc::from);
        assert_eq!(array_literal(&tags), r#"{"plain","","NULL","a,b{c}","quote\"d","back\\slash"}"#);
    }
}
