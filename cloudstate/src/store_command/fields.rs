//! The fields of a protobuf message whose type nobody knows, by number.

use std::fmt::Write;

use crate::spec::wire::{Fields, WireValue};

/// Messages inside messages that are looked into.
const DEPTH_MAX: usize = 12;

/// The fields, such as `1: "apple" 2: 5 3: {1: 7}`; `None` when the bytes are no message.
pub(super) fn by_number(message: &[u8]) -> Option<String> {
    let mut text = String::new();
    write_fields(message, DEPTH_MAX, &mut text)?;
    Some(text)
}

fn write_fields(message: &[u8], depth: usize, text: &mut String) -> Option<()> {
    let mut fields = Fields::new(message);
    let mut between = "";
    while let Some((number, value)) = fields.next_field().ok()? {
        let _ = write!(text, "{between}{number}: ");
        match value {
            WireValue::Varint(value) => write!(text, "{value}").ok()?,
            WireValue::Fixed64(value) => write!(text, "{}", f64::from_bits(value)).ok()?,
            WireValue::Fixed32(value) => write!(text, "{}", f32::from_bits(value)).ok()?,
            WireValue::Bytes(bytes) => write_bytes(bytes, depth, text),
            WireValue::Group => return None,
        }
        between = " ";
    }
    Some(())
}

/// Text that is one; else a message if it may be one; else bytes.
fn write_bytes(bytes: &[u8], depth: usize, text: &mut String) {
    if let Some(readable) = readable(bytes) {
        let _ = write!(text, "{readable:?}");
        return;
    }
    let before = text.len();
    text.push('{');
    if depth > 0 && write_fields(bytes, depth - 1, text).is_some() {
        text.push('}');
        return;
    }
    text.truncate(before);
    let _ = write!(text, "x'{}'", hex(bytes));
}

/// The bytes as text, unless no person would have written it.
pub(super) fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let strange = |it: char| it.is_control() && !matches!(it, '\n' | '\r' | '\t') || it == '\u{fffd}';
    (!text.chars().any(strange)).then_some(text)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use proto::Any;

    #[test]
    fn text_numbers_and_messages_inside_are_told_apart() {
        let inner = Any { type_url: String::new(), value: vec![1, 0xff].into() };
        let message = Any { type_url: "apple".to_owned(), value: inner.encode_to_vec().into() };
        assert_eq!(by_number(&message.encode_to_vec()).unwrap(), "1: \"apple\" 2: {2: x'01ff'}");
        assert_eq!(by_number(&[0x08, 0x96, 0x01]).unwrap(), "1: 150");
        assert_eq!(by_number(b"").unwrap(), "");
    }

    #[test]
    fn what_is_no_message_is_not_shown_as_one() {
        assert_eq!(by_number(b"{\"a\":1}"), None);
        assert_eq!(by_number(&[0x0a, 0x05, 1]), None, "cut short");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = by_number(&bytes);
            prop_assert_eq!(hex(&bytes).len(), bytes.len() * 2);
        }
    }
}
