//! MessagePack within limits: how deep values nest, and that each claimed length is there.
//!
//! A reader makes room by what a list claims to hold. So the bytes are walked once before anything is read from them: each
//! item that is claimed must be there, and none may nest deeper than [`DEPTH_MAX`]. The walk holds a stack of fixed size and
//! allocates nothing. What is read then takes as much room as its items do as values: for a byte each, and up to a mebibyte
//! per list before its first item is read, which is serde's own bound.

use serde::{Serialize, de::DeserializeOwned};
use std::io;

/// How deep lists and maps may nest.
pub(crate) const DEPTH_MAX: usize = 100;

/// Why bytes are no value, or a value no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// It could take the stack away.
    #[error("values nest deeper than {DEPTH_MAX}")]
    TooDeep,
    /// It would have room made for nothing.
    #[error("a length claims more than there is")]
    TooShort,
    /// They are more than one value.
    #[error("{0} bytes follow the value")]
    TooLong(usize),
    /// It is no MessagePack.
    #[error("0xc1 is no marker of MessagePack")]
    Reserved,
    /// Well-formed, but not a value of this type.
    #[error("{0}")]
    Other(String),
    /// Its bytes were counted to the end and not kept.
    #[error("{size} bytes, more than the {max} allowed")]
    TooLarge {
        /// How many they are.
        size: usize,
        /// How many they may be.
        max: usize,
    },
}

impl PackError {
    /// Another reason, for people: what a [`WireMessage`](crate::WireMessage) finds by itself.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}

/// `value` with the names of its fields, so that fields may be added.
///
/// # Errors
/// It takes more than `max` bytes, which are counted and not kept; or `Serialize` refuses.
#[cfg(test)]
pub(crate) fn write<T: Serialize + ?Sized>(value: &T, max: usize) -> Result<Vec<u8>, PackError> {
    let mut bytes = Vec::new();
    let mut packer = Packer::new(&mut bytes, max);
    packer.value(value)?;
    packer.end()?;
    Ok(bytes)
}

/// Where the bytes of a message go: at the end of what is there, and not beyond a limit.
#[derive(Debug)]
pub struct Packer<'a> {
    bytes: &'a mut Vec<u8>,
    size: usize,
    max: usize,
}

impl<'a> Packer<'a> {
    /// Appends `max` bytes to `bytes` at most.
    pub(crate) fn new(bytes: &'a mut Vec<u8>, max: usize) -> Self {
        Self { bytes, size: 0, max }
    }

    /// Writes `value` as MessagePack with the names of its fields. To be called once, if [`Unpacker::value`] is to read it.
    ///
    /// # Errors
    /// `Serialize` refuses. That it is too large is found at the end, when it is known how large.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        let mut serializer = rmp_serde::Serializer::new(self).with_struct_map();
        value.serialize(&mut serializer).map_err(|error| PackError::Other(error.to_string()))
    }

    /// How many bytes still go in.
    pub(crate) fn room(&self) -> usize {
        self.max.saturating_sub(self.size)
    }

    /// Whether it all went in.
    pub(crate) fn end(self) -> Result<(), PackError> {
        let Self { size, max, .. } = self;
        if size > max { Err(PackError::TooLarge { size, max }) } else { Ok(()) }
    }
}

/// Keeps as many bytes as may be, and counts the others.
impl io::Write for Packer<'_> {
    #[inline]
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.size = self.size.saturating_add(part.len());
        if self.size <= self.max {
            self.bytes.extend_from_slice(part);
        }
        Ok(part.len())
    }

    /// All of it goes in at once: markers are written by the byte, and need no loop around that.
    #[inline]
    fn write_all(&mut self, part: &[u8]) -> io::Result<()> {
        self.write(part).map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of a message.
#[derive(Clone, Copy, Debug)]
pub struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The one value that [`Packer::value`] wrote.
    ///
    /// # Errors
    /// They are no MessagePack, break a limit, or are no `T`.
    pub fn value<T: DeserializeOwned>(self) -> Result<T, PackError> {
        read(self.0)
    }

    /// As they are, for another format.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The value in `bytes`, all of which belong to it.
///
/// # Errors
/// They are no MessagePack, break a limit, or are no `T`.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PackError> {
    check(bytes)?;
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    // The walk has counted. This is for what a type adds that is no list: a chain of newtypes.
    deserializer.set_max_depth(4 * DEPTH_MAX);
    T::deserialize(&mut deserializer).map_err(|error| PackError::Other(error.to_string()))
}

/// Whether `bytes` are one whole value within the limits.
pub(crate) fn check(bytes: &[u8]) -> Result<(), PackError> {
    let mut rest = bytes;
    // Values still to come, per open list; the first is the value itself.
    let mut open = [0_u64; DEPTH_MAX + 1];
    open[0] = 1;
    let mut depth = 0;
    loop {
        while open[depth] == 0 {
            if depth == 0 {
                return if rest.is_empty() { Ok(()) } else { Err(PackError::TooLong(rest.len())) };
            }
            depth -= 1;
        }
        open[depth] -= 1;
        let (skip, items) = head(&mut rest)?;
        rest = usize::try_from(skip).ok().and_then(|skip| rest.get(skip..)).ok_or(PackError::TooShort)?;
        if items > 0 {
            depth += 1;
            *open.get_mut(depth).ok_or(PackError::TooDeep)? = items;
        }
    }
}

/// Takes a marker and the length after it: how many bytes belong to it, and how many values.
fn head(rest: &mut &[u8]) -> Result<(u64, u64), PackError> {
    let marker = take(rest, 1)? as u8;
    Ok(match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
        0x80..=0x8f => (0, 2 * u64::from(marker & 0x0f)),
        0x90..=0x9f => (0, u64::from(marker & 0x0f)),
        0xa0..=0xbf => (u64::from(marker & 0x1f), 0),
        0xc1 => return Err(PackError::Reserved),
        0xc4 | 0xd9 => (take(rest, 1)?, 0),
        0xc5 | 0xda => (take(rest, 2)?, 0),
        0xc6 | 0xdb => (take(rest, 4)?, 0),
        // An extension has a byte for its type as well.
        0xc7 => (take(rest, 1)? + 1, 0),
        0xc8 => (take(rest, 2)? + 1, 0),
        0xc9 => (take(rest, 4)? + 1, 0),
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        0xd4..=0xd8 => (1 + (1 << (marker - 0xd4)), 0),
        0xdc => (0, take(rest, 2)?),
        0xdd => (0, take(rest, 4)?),
        0xde => (0, 2 * take(rest, 2)?),
        0xdf => (0, 2 * take(rest, 4)?),
    })
}

/// A number of so many bytes, the highest first.
fn take(rest: &mut &[u8], bytes: usize) -> Result<u64, PackError> {
    let (number, after) = rest.split_at_checked(bytes).ok_or(PackError::TooShort)?;
    *rest = after;
    Ok(number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Value {
        Nothing,
        Number(i64),
        Float(f64),
        Text(String),
        Many(Vec<Value>),
        Named { map: BTreeMap<String, Value>, maybe: Option<u8>, big: u64, truth: bool },
    }

    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xc0);
        bytes
    }

    #[test]
    fn values_may_nest_so_deep_and_no_deeper() {
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert_eq!(check(&nested(DEPTH_MAX + 1)), Err(PackError::TooDeep));
        assert_eq!(check(&nested(200_000)), Err(PackError::TooDeep));
    }

    #[test]
    fn a_list_claims_no_more_than_there_is() {
        assert_eq!(check(&[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]), Err(PackError::TooShort), "items");
        assert_eq!(check(&[0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0]), Err(PackError::TooShort), "pairs");
        assert_eq!(check(&[0xdb, 0xff, 0xff, 0xff, 0xff, 0xc0]), Err(PackError::TooShort), "text");
        assert_eq!(check(&[0xc9, 0xff, 0xff, 0xff, 0xff, 0xc0]), Err(PackError::TooShort), "extension");
        assert_eq!(check(&[]), Err(PackError::TooShort));
        assert_eq!(check(&[0xc1]), Err(PackError::Reserved));
        assert_eq!(check(&[0xc0, 0xc0]), Err(PackError::TooLong(1)));
    }

    #[test]
    fn what_is_too_large_is_told_with_its_size() {
        let text = "a".repeat(1000);
        let size = write(&text, 2000).unwrap().len();
        assert_eq!(write(&text, size).map(|bytes| bytes.len()), Ok(size));
        assert_eq!(write(&text, size - 1), Err(PackError::TooLarge { size, max: size - 1 }));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nothing),
            any::<i64>().prop_map(Value::Number),
            (-1e9..1e9).prop_map(Value::Float),
            ".{0,40}".prop_map(Value::Text),
        ];
        leaf.prop_recursive(6, 60, 20, |inner| {
            let map = proptest::collection::btree_map(".{0,4}", inner.clone(), 0..20);
            prop_oneof![
                proptest::collection::vec(inner, 0..20).prop_map(Value::Many),
                (map, any::<Option<u8>>(), any::<u64>(), any::<bool>())
                    .prop_map(|(map, maybe, big, truth)| Value::Named { map, maybe, big, truth }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_written_passes_and_is_read_as_it_was(value in value()) {
            let bytes = write(&value, 1 << 20).unwrap();
            prop_assert_eq!(check(&bytes), Ok(()));
            prop_assert_eq!(read::<Value>(&bytes).unwrap(), value);
            for cut in 0..bytes.len() {
                prop_assert!(check(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), value in value(), at: usize) {
            let _ = (check(&bytes), read::<Value>(&bytes));
            let mut broken = write(&value, 1 << 20).unwrap();
            let at = at % broken.len();
            bytes.truncate(4);
            broken.splice(at..at, bytes);
            let _ = (check(&broken), read::<Value>(&broken));
        }
    }
}
