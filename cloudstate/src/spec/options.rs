//! Options of fields and methods, read by extension number from the bytes of the descriptor.
//!
//! Never by name: a descriptor set may carry a differently named copy of an extension, one of
//! another type under the same number, or none at all.

use std::collections::HashMap;

use prost::{DecodeError, Message};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use proto::google::api::HttpRule;

use super::descriptors::RawFile;
use super::error::SpecError;
use super::wire::{Fields, WireValue};

const ENTITY_KEY: u32 = 1080;
const LEGACY_ENTITY_KEY: u32 = 50002;
const EVENTING: u32 = 1081;
const HTTP: u32 = 72_295_728;

const MESSAGE_FIELD: u32 = 2;
const FIELD_NUMBER: u32 = 3;
const FIELD_OPTIONS: u32 = 8;
const METHOD_OPTIONS: u32 = 4;

/// The option `cloudstate.eventing` of a method.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Eventing {
    /// Where the method's requests come from, beside clients: its `in`.
    pub input: Option<EventInput>,
    /// Where its replies go, beside the client: its `out`.
    pub output: Option<EventOutput>,
}

/// `in` of the option `cloudstate.eventing`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventInput {
    /// Which of several independent consumers the method belongs to; empty for that of its service.
    pub consumer_group: String,
    /// What is read; `None` when the option does not say.
    pub source: Option<EventSource>,
}

/// `out` of the option `cloudstate.eventing`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventOutput {
    /// Where to publish; `None` when the option does not say.
    pub destination: Option<EventDestination>,
}

/// What an event consumer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// A topic of a broker.
    Topic(String),
    /// The events of an event sourced entity, by persistence id.
    EventLog(String),
}

/// Where replies are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventDestination {
    /// A topic of a broker.
    Topic(String),
}

/// How a field is marked as an entity key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyMark {
    /// Option 1080.
    Current,
    /// Option 50002, of the older dialect.
    Legacy,
}

/// Which fields of `message` are marked as keys, by number. Found in one pass over its descriptor.
pub(super) fn key_marks(file: &RawFile, message: &MessageDescriptor) -> Result<HashMap<u32, KeyMark>, SpecError> {
    let malformed = |reason: String| SpecError::Option {
        option: "cloudstate.entity_key",
        place: message.full_name().to_owned(),
        reason,
    };
    let mut marks = HashMap::new();
    let descriptor = descriptor_at(file, message.path()).map_err(malformed)?;
    for field in Fields::new(descriptor).all_bytes(MESSAGE_FIELD).map_err(|e| malformed(e.to_string()))? {
        let (number, mark) = key_mark(field).map_err(|error| malformed(error.to_string()))?;
        if let Some(mark) = mark {
            marks.insert(number, mark);
        }
    }
    Ok(marks)
}

/// The number and the mark of the field that the serialised `FieldDescriptorProto` describes.
fn key_mark(field: &[u8]) -> Result<(u32, Option<KeyMark>), DecodeError> {
    let (mut field_number, mut current, mut legacy) = (0, false, false);
    let mut parts = Fields::new(field);
    while let Some((part, value)) = parts.next_field()? {
        match (part, value) {
            (FIELD_NUMBER, WireValue::Varint(number)) => field_number = number as u32,
            (FIELD_OPTIONS, WireValue::Bytes(options)) => {
                let mut options = Fields::new(options);
                while let Some((option, value)) = options.next_field()? {
                    match (option, value) {
                        (ENTITY_KEY, WireValue::Varint(on)) => current = on != 0,
                        (LEGACY_ENTITY_KEY, WireValue::Varint(on)) => legacy = on != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let mark = match (current, legacy) {
        (true, _) => Some(KeyMark::Current),
        (false, true) => Some(KeyMark::Legacy),
        (false, false) => None,
    };
    Ok((field_number, mark))
}

pub(super) fn http_rule(file: &RawFile, method: &MethodDescriptor) -> Result<Option<HttpRule>, SpecError> {
    let Some(bytes) = method_option(file, method, HTTP, "google.api.http")? else {
        return Ok(None);
    };
    HttpRule::decode(&*bytes).map(Some).map_err(|error| SpecError::Option {
        option: "google.api.http",
        place: method.full_name().to_owned(),
        reason: error.to_string(),
    })
}

/// The option `cloudstate.eventing` of `method`.
pub(super) fn eventing(file: &RawFile, method: &MethodDescriptor) -> Result<Option<Eventing>, SpecError> {
    let Some(bytes) = method_option(file, method, EVENTING, "cloudstate.eventing")? else {
        return Ok(None);
    };
    let malformed = |reason: String| SpecError::Option {
        option: "cloudstate.eventing",
        place: method.full_name().to_owned(),
        reason,
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|error| malformed(error.to_string()));
    let mut eventing = Eventing::default();
    let mut fields = Fields::new(&bytes);
    while let Some((number, value)) = fields.next_field().map_err(|e| malformed(e.to_string()))? {
        let WireValue::Bytes(inner) = value else {
            continue;
        };
        let mut inner = Fields::new(inner);
        match number {
            1 => eventing.input = Some(eventing.input.take().unwrap_or_default()),
            2 => eventing.output = Some(eventing.output.take().unwrap_or_default()),
            _ => continue,
        }
        while let Some((field, value)) = inner.next_field().map_err(|e| malformed(e.to_string()))? {
            let WireValue::Bytes(value) = value else {
                continue;
            };
            match (number, field, &mut eventing) {
                (1, 1, Eventing { input: Some(input), .. }) => input.consumer_group = text(value)?,
                (1, 2, Eventing { input: Some(input), .. }) => input.source = Some(EventSource::Topic(text(value)?)),
                (1, 3, Eventing { input: Some(input), .. }) => input.source = Some(EventSource::EventLog(text(value)?)),
                (2, 1, Eventing { output: Some(output), .. }) => {
                    output.destination = Some(EventDestination::Topic(text(value)?));
                }
                _ => {}
            }
        }
    }
    Ok(Some(eventing))
}

/// The value of a message-typed option. Several occurrences merge, so they are put together.
fn method_option(
    file: &RawFile,
    method: &MethodDescriptor,
    number: u32,
    option: &'static str,
) -> Result<Option<Vec<u8>>, SpecError> {
    let malformed = |reason: String| SpecError::Option { option, place: method.full_name().to_owned(), reason };
    let mut merged: Option<Vec<u8>> = None;
    let descriptor = descriptor_at(file, method.path()).map_err(malformed)?;
    for options in Fields::new(descriptor).all_bytes(METHOD_OPTIONS).map_err(|e| malformed(e.to_string()))? {
        for value in Fields::new(options).all_bytes(number).map_err(|e| malformed(e.to_string()))? {
            merged.get_or_insert_default().extend_from_slice(value);
        }
    }
    Ok(merged)
}

/// The descriptor at `path`: pairs of field number and index, as in `google.protobuf.SourceCodeInfo`.
fn descriptor_at<'a>(file: &'a RawFile, path: &[i32]) -> Result<&'a [u8], String> {
    let mut descriptor: &[u8] = &file.bytes;
    for step in path.chunks_exact(2) {
        let all = Fields::new(descriptor).all_bytes(step[0] as u32).map_err(|e| e.to_string())?;
        descriptor = all.get(step[1] as usize).ok_or("descriptor not found")?;
    }
    Ok(descriptor)
}
