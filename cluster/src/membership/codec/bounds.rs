//! Whether bytes may be decoded: protobuf makes room for as many values as the bytes claim, and a value takes more room than
//! the two bytes that it can be written in. So all are counted before any is read.

/// What a message may hold.
pub(super) struct Shape(pub(super) &'static [Field]);

/// One of its fields that can come more than once, or that holds others.
pub(super) struct Field {
    pub(super) tag: u64,
    pub(super) holds: Holds,
    /// In all of the message of the highest level.
    pub(super) most: usize,
}

pub(super) enum Holds {
    /// A message of its own.
    Message(&'static Shape),
    /// A text, or bytes.
    Text,
    /// Numbers of eight bytes.
    Fixed,
    /// Numbers of a byte or more.
    Varint,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutOfBounds {
    #[error("it ends amid a field, or is no message at all")]
    NoFields,
    #[error("there is more of field {0} than any honest message has")]
    TooMany(u64),
}

/// Fields that are not in the shape: of a later release.
const UNKNOWN_MAX: usize = 256;

/// Checks `bytes`, which are one message of this shape. Fields that stand alone can come again, and cost nothing then.
///
/// # Errors
/// They are none, or hold too much.
pub(super) fn check(shape: &'static Shape, bytes: &[u8]) -> Result<(), OutOfBounds> {
    Check { counts: Vec::new(), unknown: 0 }.message(shape, bytes)
}

struct Check {
    /// By the place of the field in the program: shapes are values that never move.
    counts: Vec<(*const Field, usize)>,
    unknown: usize,
}

impl Check {
    fn message(&mut self, shape: &'static Shape, mut bytes: &[u8]) -> Result<(), OutOfBounds> {
        while !bytes.is_empty() {
            let key = varint(&mut bytes).ok_or(OutOfBounds::NoFields)?;
            let tag = key >> 3;
            let inner = skip(key & 7, &mut bytes).ok_or(OutOfBounds::NoFields)?;
            let Some(field) = shape.0.iter().find(|field| field.tag == tag) else {
                // Numbers make no room; a text that is not known is not kept.
                if matches!(key & 7, 2) {
                    self.unknown += 1;
                    if self.unknown > UNKNOWN_MAX {
                        return Err(OutOfBounds::TooMany(tag));
                    }
                }
                continue;
            };
            let count = match (&field.holds, inner) {
                (Holds::Fixed, Some(packed)) => packed.len() / 8,
                (Holds::Varint, Some(packed)) => packed.iter().filter(|byte| **byte < 0x80).count(),
                _ => 1,
            };
            self.count(field, count)?;
            if let (Holds::Message(shape), Some(inner)) = (&field.holds, inner) {
                self.message(shape, inner)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, field: &'static Field, more: usize) -> Result<(), OutOfBounds> {
        let at = self.counts.iter().position(|(known, _)| std::ptr::eq(*known, field)).unwrap_or_else(|| {
            self.counts.push((field, 0));
            self.counts.len() - 1
        });
        self.counts[at].1 += more;
        if self.counts[at].1 > field.most { Err(OutOfBounds::TooMany(field.tag)) } else { Ok(()) }
    }
}

/// What a field holds, if that has a length.
fn skip<'a>(kind: u64, bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = match kind {
        0 => {
            varint(bytes)?;
            return Some(None);
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (inner, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((kind == 2).then_some(inner))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let end = bytes.iter().take(10).position(|byte| *byte < 0x80)?;
    let (number, rest) = bytes.split_at(end + 1);
    *bytes = rest;
    Some(number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)))
}
