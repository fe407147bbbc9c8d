//! Reads single fields off the protobuf wire, without decoding the message around them.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The value of one field as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WireValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    /// Deprecated, and never a field that anyone here asks for.
    Group,
}

/// The fields of a serialised message in wire order.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field and its number; `None` at the end.
    pub(crate) fn next_field(&mut self) -> Result<Option<(u32, WireValue<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = decode_key(&mut self.rest)?;
        let value = match wire_type {
            WireType::Varint => WireValue::Varint(decode_varint(&mut self.rest)?),
            WireType::SixtyFourBit => WireValue::Fixed64(u64::from_le_bytes(self.array()?)),
            WireType::ThirtyTwoBit => WireValue::Fixed32(u32::from_le_bytes(self.array()?)),
            WireType::LengthDelimited => WireValue::Bytes(self.delimited()?),
            WireType::StartGroup | WireType::EndGroup => {
                skip_field(wire_type, number, &mut self.rest, DecodeContext::default())?;
                WireValue::Group
            }
        };
        Ok(Some((number, value)))
    }

    /// Every length-delimited value of the field `number`, in order.
    pub(crate) fn all_bytes(mut self, number: u32) -> Result<Vec<&'a [u8]>, DecodeError> {
        let mut found = Vec::new();
        while let Some((field, value)) = self.next_field()? {
            match value {
                WireValue::Bytes(bytes) if field == number => found.push(bytes),
                _ => {}
            }
        }
        Ok(found)
    }

    fn delimited(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = decode_varint(&mut self.rest)?;
        let length = usize::try_from(length).map_err(|_| truncated())?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// prost keeps its constructors to itself; a varint cut short is the same complaint.
fn truncated() -> DecodeError {
    decode_varint(&mut &[0x80u8][..]).expect_err("a varint cut short")
}
