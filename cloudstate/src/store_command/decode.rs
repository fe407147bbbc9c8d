//! [`Decoder`]: payloads as people can read them.

use std::path::Path;

use bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

use super::StoreCommandError;
use super::fields::{by_number, hex, readable};
use crate::spec::{self, wire};

/// Type URLs of JSON text, which is field 1 of a message.
const JSON_TYPE: &str = "json.cloudstate.io/";

/// Knows the types of payloads.
pub(super) struct Decoder {
    pool: DescriptorPool,
}

/// What a payload says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoded {
    /// A value whose type is known.
    Json(Value),
    /// A message of an unknown type, field by field.
    Fields(String),
    /// Text.
    Text(String),
    /// Anything else.
    Hex(String),
}

impl Decoder {
    /// Knows the types in the file `descriptors`, besides those that everybody knows.
    pub(super) fn new(descriptors: Option<&Path>) -> Result<Self, StoreCommandError> {
        let set = match descriptors {
            Some(path) => std::fs::read(path).map_err(StoreCommandError::file(path))?,
            None => Vec::new(),
        };
        let wrong = |error: spec::SpecError| StoreCommandError::Descriptors {
            path: descriptors.unwrap_or(Path::new("")).to_owned(),
            reason: error.to_string(),
        };
        Ok(Self { pool: spec::pool_of(&Bytes::from(set)).map_err(wrong)? })
    }

    pub(super) fn decode(&self, manifest: &str, payload: &[u8]) -> Decoded {
        let known = self.json(manifest, payload).map(Decoded::Json);
        // A type URL promises a message.
        let fields = || if manifest.contains('/') { by_number(payload).map(Decoded::Fields) } else { None };
        let text = || readable(payload).map(|text| Decoded::Text(text.to_owned()));
        known.or_else(fields).or_else(text).unwrap_or_else(|| Decoded::Hex(hex(payload)))
    }

    fn json(&self, manifest: &str, payload: &[u8]) -> Option<Value> {
        if manifest.starts_with(JSON_TYPE) {
            let text = wire::Fields::new(payload).all_bytes(1).ok()?;
            return serde_json::from_slice(text.last()?).ok();
        }
        let (_, name) = manifest.rsplit_once('/')?;
        let message = DynamicMessage::decode(self.pool.get_message_by_name(name)?, payload).ok()?;
        serde_json::to_value(message).ok()
    }
}

impl Decoded {
    /// For a line of JSON.
    pub(super) fn into_json(self) -> Value {
        match self {
            Self::Json(value) => value,
            Self::Fields(text) | Self::Text(text) | Self::Hex(text) => Value::String(text),
        }
    }
}

impl std::fmt::Display for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(value) => write!(f, "{value}"),
            Self::Fields(text) | Self::Text(text) if text.is_empty() => f.write_str("(empty)"),
            Self::Fields(text) | Self::Text(text) => f.write_str(text),
            Self::Hex(text) => write!(f, "x'{text}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn decoder() -> Decoder {
        Decoder::new(None).unwrap()
    }

    #[test]
    fn primitives_and_json_are_known_to_everybody() {
        let text = decoder().decode("p.cloudstate.io/string", &"apple".to_owned().encode_to_vec());
        assert_eq!(text.to_string(), r#"{"value":"apple"}"#);
        let json = decoder().decode("json.cloudstate.io/Item", &br#"{"n":1}"#.to_vec().encode_to_vec());
        assert_eq!(json, Decoded::Json(serde_json::json!({ "n": 1 })));
    }

    #[test]
    fn unknown_types_are_shown_by_their_fields_and_other_bytes_as_they_are() {
        let payload = proto::Any { type_url: "apple".into(), value: Bytes::new() }.encode_to_vec();
        assert_eq!(decoder().decode("type.googleapis.com/shop.Item", &payload).to_string(), r#"1: "apple""#);
        assert_eq!(decoder().decode("added/1", b"grapes").to_string(), "grapes");
        assert_eq!(decoder().decode("added/1", &[0, 0xff]).to_string(), "x'00ff'");
        assert_eq!(decoder().decode("type.googleapis.com/shop.Item", b"").to_string(), "(empty)");
    }

    #[test]
    fn a_file_with_descriptors_makes_its_messages_json() {
        let folder = tempfile::tempdir().unwrap();
        let source = "syntax = \"proto3\"; package shop; message Item { string name = 1; int32 quantity = 2; }";
        std::fs::write(folder.path().join("shop.proto"), source).unwrap();
        let set = protox::compile(["shop.proto"], [folder.path()]).unwrap();
        let file = folder.path().join("shop.desc");
        std::fs::write(&file, set.encode_to_vec()).unwrap();
        let decoder = Decoder::new(Some(&file)).unwrap();
        let shown = decoder.decode("type.googleapis.com/shop.Item", &[0x0a, 1, b'x', 0x10, 3]);
        assert_eq!(shown.to_string(), r#"{"name":"x","quantity":3}"#);

        std::fs::write(&file, "no descriptors").unwrap();
        let refused = Decoder::new(Some(&file)).err().unwrap().to_string();
        assert!(refused.contains("--descriptors") && refused.contains("--include_imports"), "{refused}");
    }
}
