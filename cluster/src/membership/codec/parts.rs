//! Messages in parts that fit in frames, and back.
//!
//! # On the wire
//! A part is: 1 and the whole message; or 2, the number of the message among those of its sender (4 bytes), which part of
//! it this is (2) and how many there are (2), then its bytes. Parts of one message come in order; if one is missing the
//! message is lost, as any may be.

use super::MESSAGE_MAX;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

const WHOLE: u8 = 1;
const PART: u8 = 2;
const PART_HEAD: usize = 1 + 4 + 2 + 2;

/// Messages that are put together at a time, and their bytes.
const OPEN_MAX: usize = 64;
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a part was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPart {
    /// It is none.
    Malformed,
    /// One before it is missing.
    Missing,
    /// There is no room.
    Crowded,
}

/// Splits messages.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    sent: u32,
}

impl Splitter {
    /// `message` in parts of at most `most` bytes; none if it is longer than any may be.
    pub(crate) fn split(&mut self, message: &Bytes, most: usize) -> Option<Vec<Bytes>> {
        let head = |kind: u8, room: usize| {
            let mut part = BytesMut::with_capacity(room);
            part.put_u8(kind);
            part
        };
        if message.len() < most {
            let mut whole = head(WHOLE, 1 + message.len());
            whole.put_slice(message);
            return Some(vec![whole.freeze()]);
        }
        if message.len() > MESSAGE_MAX || most <= PART_HEAD {
            return None;
        }
        let pieces = message.chunks(most - PART_HEAD);
        let count = u16::try_from(pieces.len()).ok()?;
        self.sent = self.sent.wrapping_add(1);
        let part = |(place, piece): (u16, &[u8])| {
            let mut part = head(PART, PART_HEAD + piece.len());
            part.put_u32(self.sent);
            part.put_u16(place);
            part.put_u16(count);
            part.put_slice(piece);
            part.freeze()
        };
        Some((0..).zip(pieces).map(part).collect())
    }
}

/// Puts parts together, by sender.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    open: BTreeMap<u64, Open>,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    number: u32,
    next: u16,
    count: u16,
    bytes: BytesMut,
}

impl Assembly {
    /// Takes a part from the life with this uid: the message, once it is whole.
    ///
    /// # Errors
    /// It is dropped, and with it what came before of the same message.
    pub(crate) fn take(&mut self, from: u64, mut part: Bytes) -> Result<Option<Bytes>, NoPart> {
        match part.try_get_u8() {
            Ok(WHOLE) => return Ok(Some(part)),
            Ok(PART) if part.len() >= PART_HEAD - 1 => {}
            _ => return Err(NoPart::Malformed),
        }
        let (number, place, count) = (part.get_u32(), part.get_u16(), part.get_u16());
        if place >= count || count < 2 || part.is_empty() {
            self.forget(from);
            return Err(NoPart::Malformed);
        }
        let mut open = match self.forget(from) {
            _ if place == 0 => Open { number, next: 0, count, bytes: BytesMut::new() },
            Some(open) if open.number == number && open.next == place && open.count == count => open,
            _ => return Err(NoPart::Missing),
        };
        let size = open.bytes.len() + part.len();
        if size > MESSAGE_MAX {
            return Err(NoPart::Malformed);
        }
        if self.open.len() >= OPEN_MAX || self.bytes + size > BYTES_MAX {
            return Err(NoPart::Crowded);
        }
        open.bytes.put(part);
        open.next += 1;
        if open.next == open.count {
            return Ok(Some(open.bytes.freeze()));
        }
        self.bytes += open.bytes.len();
        self.open.insert(from, open);
        Ok(None)
    }

    /// Nothing more comes from there.
    pub(crate) fn end(&mut self, from: u64) {
        self.forget(from);
    }

    fn forget(&mut self, from: u64) -> Option<Open> {
        let open = self.open.remove(&from)?;
        self.bytes -= open.bytes.len();
        Some(open)
    }
}
