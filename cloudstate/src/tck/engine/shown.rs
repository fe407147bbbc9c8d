//! Messages as text for a failure: one line, with payloads decoded as far as their types are known.

use std::fmt::Write;
use std::sync::LazyLock;

use prost::bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};

use super::Compared;

/// The protocol's files and the model's.
static TYPES: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for set in [proto::FILE_DESCRIPTOR_SET, proto::model::FILE_DESCRIPTOR_SET] {
        // Without its descriptors a message is shown as the code sees it.
        let _ = pool.decode_file_descriptor_set(set);
    }
    pool
});

/// `message` in one line.
pub fn shown<M: Compared>(message: &M) -> String {
    let decoded = decoded(M::NAME, message.encode_to_vec().into());
    decoded.map_or_else(|| format!("{message:?}"), |fields| braced(&fields))
}

fn decoded(name: &str, bytes: Bytes) -> Option<DynamicMessage> {
    DynamicMessage::decode(TYPES.get_message_by_name(name)?, bytes).ok()
}

fn braced(message: &DynamicMessage) -> String {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        return any(message);
    }
    let mut text = String::from("{");
    for (field, value) in message.fields() {
        let separator = if text.len() == 1 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{}: {}", field.name(), one(value));
    }
    text + "}"
}

fn one(value: &Value) -> String {
    match value {
        Value::Message(message) => braced(message),
        Value::List(values) => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
        Value::Bytes(bytes) => quoted(bytes),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// `TypeName{fields}`, or the type's address and the bytes when it is not one of the model's.
fn any(message: &DynamicMessage) -> String {
    let url = message.get_field_by_name("type_url").map(|url| url.as_str().unwrap_or_default().to_owned());
    let url = url.unwrap_or_default();
    let bytes = message.get_field_by_name("value").and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
    match url.strip_prefix("type.googleapis.com/").and_then(|name| decoded(name, bytes.clone())) {
        Some(inner) => format!("{}{}", inner.descriptor().full_name(), braced(&inner)),
        None => format!("{url}({})", quoted(&bytes)),
    }
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}
