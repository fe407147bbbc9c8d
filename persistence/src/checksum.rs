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
        Self(Sum::after(0).sized(id.as_str().as_bytes()).end())
    }
}

impl Checked<'_> {
    pub(crate) fn crc(&self) -> i64 {
        self.crc_after(IdChecksum::of(self.id))
    }

    /// As [`crc`](Checked::crc), given that of the row's own id.
    pub(crate) fn crc_after(&self, IdChecksum(crc): IdChecksum) -> i64 {
        let mut sum = Sum::after(crc);
        sum.number(self.seq_nr).number(self.epoch).number(self.time_ms).optional(self.batch_id);
        i64::from(sum.sized(self.manifest.as_bytes()).sized(self.payload).optional(self.meta).end())
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
        let mut sum = Sum::after(0);
        sum.sized(self.id.as_str().as_bytes());
        sum.number(self.revision).number(self.epoch).number(self.change).number(self.time_ms);
        sum.sized(self.batch_id).optional(self.manifest.map(str::as_bytes)).optional(self.payload);
        i64::from(sum.optional(self.meta).end())
    }
}

/// A checksum of bytes as they come. Small pieces are taken together: each call of the sum itself has its price.
struct Sum {
    crc: u32,
    small: [u8; SMALL],
    len: usize,
}

const SMALL: usize = 120;

impl Sum {
    fn after(crc: u32) -> Self {
        Self { crc, small: [0; SMALL], len: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        if bytes.len() > SMALL - self.len {
            self.crc = crc32c::crc32c_append(self.crc, &self.small[..self.len]);
            self.len = 0;
            if bytes.len() > SMALL {
                self.crc = crc32c::crc32c_append(self.crc, bytes);
                return self;
            }
        }
        self.small[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    fn number(&mut self, number: i64) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes(&(bytes.len() as u64).to_le_bytes()).bytes(bytes)
    }

    fn optional(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.bytes(&[1]).sized(bytes),
            None => self.bytes(&[0]),
        }
    }

    fn end(&self) -> u32 {
        crc32c::crc32c_append(self.crc, &self.small[..self.len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However bytes are split, their sum is that of all of them.
        #[test]
        fn pieces_sum_up_as_the_whole(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut sum = Sum::after(0);
            for piece in &pieces {
                sum.bytes(piece);
            }
            prop_assert_eq!(sum.end(), crc32c::crc32c(&pieces.concat()));
        }

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
