//! Messages as proto3 JSON, with the values that a CloudState `Any` may hold.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage, SerializeOptions, Value};
use serde_json::Value as Json;

use crate::spec::JSON_VALUE;

const JSON_TYPE: &str = "json.cloudstate.io/";
const ANY: &str = "google.protobuf.Any";

/// Deeper JSON is refused before it is parsed.
const DEPTH_MAX: usize = 64;

/// Defaults included, everything else as the standard mapping has it.
const OPTIONS: SerializeOptions = SerializeOptions::new().skip_default_fields(false);

/// Reads a message of the type `descriptor`.
///
/// # Errors
/// What is wrong, at which field and position.
pub(super) fn decode(descriptor: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, String> {
    if depth(json) > DEPTH_MAX {
        return Err(format!("JSON is nested deeper than {DEPTH_MAX} levels"));
    }
    if contains(json, JSON_TYPE.as_bytes()) {
        return decode_with_json_values(descriptor, json);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(descriptor.clone(), &mut deserializer);
    match message.and_then(|message| deserializer.end().map(|()| message)) {
        Ok(message) => Ok(message),
        Err(error) => Err(located(descriptor, json, error)),
    }
}

/// Writes `message`.
///
/// # Errors
/// When it has an `Any` of a type that nobody described, or a timestamp out of range.
pub(super) fn encode(message: &DynamicMessage, payload: &[u8]) -> Result<Bytes, String> {
    if contains(payload, JSON_TYPE.as_bytes()) {
        return encode_with_json_values(message.clone());
    }
    let mut json = Vec::with_capacity(128);
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &OPTIONS)
        .map_err(|error| error.to_string())?;
    Ok(json.into())
}

/// Parses again, with the path to the place of the error. Slower, so only when there is one.
fn located(descriptor: &MessageDescriptor, json: &[u8], error: serde_json::Error) -> String {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let again = DynamicMessage::deserialize(descriptor.clone(), tracked);
    let path = track.path().to_string();
    if again.is_ok() || path == "." || path == "?" {
        return error.to_string();
    }
    format!("field {path}: {error}")
}

/// JSON in an `Any` has no descriptor. It is read as a message that holds its text, marked by a
/// second type name behind the first.
fn decode_with_json_values(descriptor: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, String> {
    let mut json: Json = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    mark_json_values(&mut json);
    let mut message = DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| error.to_string())?;
    walk_any(&mut message, &mut |type_url| {
        type_url.strip_suffix(JSON_VALUE).map(|url| url.trim_end_matches('/').to_owned())
    });
    Ok(message)
}

fn encode_with_json_values(mut message: DynamicMessage) -> Result<Bytes, String> {
    walk_any(&mut message, &mut |type_url| type_url.starts_with(JSON_TYPE).then(|| format!("{type_url}/{JSON_VALUE}")));
    let mut json =
        message.serialize_with_options(serde_json::value::Serializer, &OPTIONS).map_err(|error| error.to_string())?;
    unmark_json_values(&mut json);
    serde_json::to_vec(&json).map(Bytes::from).map_err(|error| error.to_string())
}

fn mark_json_values(json: &mut Json) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(mark_json_values),
        Json::Object(fields) => match fields.get("@type") {
            Some(Json::String(type_url)) if type_url.starts_with(JSON_TYPE) => {
                let type_url = format!("{type_url}/{JSON_VALUE}");
                let value = fields.remove("value").unwrap_or_default();
                fields.insert("@type".to_owned(), Json::String(type_url));
                fields.insert("value".to_owned(), Json::String(STANDARD.encode(value.to_string())));
            }
            _ => fields.values_mut().for_each(mark_json_values),
        },
        _ => {}
    }
}

fn unmark_json_values(json: &mut Json) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(unmark_json_values),
        Json::Object(fields) => {
            let marked = fields.get("@type").and_then(Json::as_str).and_then(|url| url.strip_suffix(JSON_VALUE));
            if let Some(type_url) = marked.map(|url| url.trim_end_matches('/').to_owned()) {
                fields.insert("@type".to_owned(), Json::String(type_url));
                let text = fields.get("value").and_then(Json::as_str).unwrap_or_default();
                let text = STANDARD.decode(text).unwrap_or_default();
                // Bytes that are no JSON stay what they are: base64.
                if let Ok(value) = serde_json::from_slice(&text) {
                    fields.insert("value".to_owned(), value);
                }
            } else {
                fields.values_mut().for_each(unmark_json_values);
            }
        }
        _ => {}
    }
}

/// Gives every `Any` in `message` the type URL that `rename` says, if it says one.
fn walk_any(message: &mut DynamicMessage, rename: &mut impl FnMut(&str) -> Option<String>) {
    if message.descriptor().full_name() == ANY {
        if let Some(Value::String(type_url)) = message.get_field_by_number_mut(1)
            && let Some(renamed) = rename(type_url)
        {
            *type_url = renamed;
        }
        return;
    }
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(inner) => walk_any(inner, rename),
            Value::List(items) => items.iter_mut().filter_map(Value::as_message_mut).for_each(|m| walk_any(m, rename)),
            Value::Map(items) => items.values_mut().filter_map(Value::as_message_mut).for_each(|m| walk_any(m, rename)),
            _ => {}
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// How deep the brackets outside of strings nest.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
