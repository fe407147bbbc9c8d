//! The `crc` column of the SQL stores: CRC-32C over everything a row says about an event, snapshot or state.
//!
//! Tags are not part of it. They are an index, by which readers select: those of events are in a table of their own, and
//! that of a deleted state is taken over by the database, whose writer does not know it. A damaged tag can hide an event
//! or a state from who reads by that tag, and never changes what it says.

use crate::PersistenceId;

/// What the checksum covers. Lengths are part of it, so that bytes cannot move from one field to the next.
pub(crate) struct Checked<'a> {
    pub(crate) id: &'a PersistenceId,
    pub(crate) seq_nr: i64,
    pub(crate) epoch: i64,
    pub(crate) time_ms: i64,
    pub(crate) batch_id: Option<&'a [u8]>,
    pub(crate) manifest: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) meta: Option<&'a [u8]>,
}

/// Of an id alone, with which each checksum of its rows begins: a replay computes it once.
#[derive(Clone, Copy)]
pub(crate) struct IdChecksum(u32);

impl IdChecksum {
    pub(crate) fn of(id: &PersistenceId) -> Self {
        Self(sized(0, id.as_str().as_bytes()))
    }
}

impl Checked<'_> {
    pub(crate) fn crc(&self) -> i64 {
        self.crc_after(IdChecksum::of(self.id))
    }

    /// As [`crc`](Checked::crc), given that of the row's own id.
    pub(crate) fn crc_after(&self, IdChecksum(mut crc): IdChecksum) -> i64 {
        let mut numbers = [0; 24];
        for (place, number) in numbers.chunks_exact_mut(8).zip([self.seq_nr, self.epoch, self.time_ms]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        crc = crc32c::crc32c_append(crc, &numbers);
        crc = optional(crc, self.batch_id);
        crc = sized(crc, self.manifest.as_bytes());
        crc = sized(crc, self.payload);
        i64::from(optional(crc, self.meta))
    }
}

/// As [`Checked`], for a row of `state`. Without manifest and payload it says that the state was deleted.
pub(crate) struct CheckedState<'a> {
    pub(crate) id: &'a PersistenceId,
    pub(crate) revision: i64,
    pub(crate) epoch: i64,
    pub(crate) change: i64,
    pub(crate) batch_id: &'a [u8],
    pub(crate) time_ms: i64,
    pub(crate) manifest: Option<&'a str>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) meta: Option<&'a [u8]>,
}

impl CheckedState<'_> {
    pub(crate) fn crc(&self) -> i64 {
        let mut crc = sized(0, self.id.as_str().as_bytes());
        for number in [self.revision, self.epoch, self.change, self.time_ms] {
            crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
        }
        crc = sized(crc, self.batch_id);
        crc = optional(crc, self.manifest.map(str::as_bytes));
        crc = optional(crc, self.payload);
        i64::from(optional(crc, self.meta))
    }
}

fn sized(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &(bytes.len() as u64).to_le_bytes()), bytes)
}

fn optional(crc: u32, bytes: Option<&[u8]>) -> u32 {
    match bytes {
        Some(bytes) => sized(crc32c::crc32c_append(crc, &[1]), bytes),
        None => crc32c::crc32c_append(crc, &[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every bit of every field counts, and so does where a field ends.
        #[test]
        fn any_changed_field_changes_the_checksum(
            payload in proptest::collection::vec(any::<u8>(), 1..64),
            meta in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8)),
            bit in any::<usize>(),
        ) {
            let id = PersistenceId::of("w", "1");
            let row = |payload: &[u8], meta: Option<&[u8]>, seq_nr| {
                Checked { id: &id, seq_nr, epoch: 1, time_ms: 2, batch_id: None, manifest: "m/1", payload, meta }.crc()
            };
            let good = row(&payload, meta.as_deref(), 7);
            let mut flipped = payload.clone();
            let bit = bit % (flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(row(&flipped, meta.as_deref(), 7), good);
            prop_assert_ne!(row(&payload, meta.as_deref(), 8), good);
            let (last, rest) = payload.split_last().unwrap();
            let moved = [&[*last][..], meta.as_deref().unwrap_or_default()].concat();
            prop_assert_ne!(row(rest, Some(&moved), 7), good);
        }
    }
}
