//! Fields of a request from text: path variables and query parameters.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Sets the field at the end of `path` to `text`, in place of what it had.
///
/// # Errors
/// A sentence that names the field.
pub(super) fn set(message: &mut DynamicMessage, path: &[FieldDescriptor], text: &str) -> Result<(), String> {
    let Some((field, parents)) = path.split_last() else {
        return Ok(());
    };
    let value = value(field, text).map_err(|problem| format!("field {}: {problem}", name(path)))?;
    innermost(message, parents).set_field(field, value);
    Ok(())
}

/// Applies the query string `query`: names are dotted paths of field names or JSON names, a
/// repeated field may come several times.
///
/// # Errors
/// A sentence that names the parameter.
pub(super) fn set_query(message: &mut DynamicMessage, query: &str) -> Result<(), String> {
    let mut seen: Vec<Vec<u32>> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let name = form_decoded(name)?;
        let text = form_decoded(text)?;
        let path = resolve(&prost_reflect::ReflectMessage::descriptor(message), &name)?;
        let Some((field, parents)) = path.split_last() else {
            continue;
        };
        let value = value(field, &text).map_err(|problem| format!("parameter {name}: {problem}"))?;
        let target = innermost(message, parents);
        if field.is_list() {
            if let Value::List(items) = target.get_field_mut(field) {
                items.push(value);
            }
            continue;
        }
        let numbers: Vec<u32> = path.iter().map(FieldDescriptor::number).collect();
        if seen.contains(&numbers) {
            return Err(format!("parameter {name}: given more than once, but the field is not repeated"));
        }
        seen.push(numbers);
        target.set_field(field, value);
    }
    Ok(())
}

fn resolve(message: &MessageDescriptor, name: &str) -> Result<Vec<FieldDescriptor>, String> {
    let mut message = message.clone();
    let mut path = Vec::new();
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        let field = message
            .get_field_by_name(part)
            .or_else(|| message.get_field_by_json_name(part))
            .ok_or_else(|| format!("parameter {name}: {} has no field {part}", message.full_name()))?;
        if field.is_map() {
            return Err(format!("parameter {name}: a map cannot be set by a query parameter"));
        }
        if parts.peek().is_some() {
            let Kind::Message(inner) = field.kind() else {
                return Err(format!("parameter {name}: field {part} is no message"));
            };
            if field.is_list() {
                return Err(format!("parameter {name}: field {part} is repeated"));
            }
            message = inner;
        }
        path.push(field);
    }
    Ok(path)
}

fn innermost<'a>(message: &'a mut DynamicMessage, parents: &[FieldDescriptor]) -> &'a mut DynamicMessage {
    parents.iter().fold(message, |message, field| {
        match message.get_field_mut(field) {
            Value::Message(inner) => inner,
            // Every parent of a path was checked to be a singular message.
            other => unreachable!("{} is {other:?}", field.full_name()),
        }
    })
}

fn value(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let no = |kind: &str| format!("{text:?} is no {kind}");
    Ok(match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32(text.parse().map_err(|_| no("signed 32 bit integer"))?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Value::I64(text.parse().map_err(|_| no("signed 64 bit integer"))?)
        }
        Kind::Uint32 | Kind::Fixed32 => Value::U32(text.parse().map_err(|_| no("unsigned 32 bit integer"))?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(text.parse().map_err(|_| no("unsigned 64 bit integer"))?),
        Kind::Float => Value::F32(text.parse().map_err(|_| no("number"))?),
        Kind::Double => Value::F64(text.parse().map_err(|_| no("number"))?),
        Kind::Bool if text.eq_ignore_ascii_case("true") => Value::Bool(true),
        Kind::Bool if text.eq_ignore_ascii_case("false") => Value::Bool(false),
        Kind::Bool => return Err(no("bool (true or false)")),
        Kind::Bytes => {
            let bytes = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text));
            Value::Bytes(Bytes::from(bytes.map_err(|_| no("base64"))?))
        }
        Kind::Enum(values) => match values.get_value_by_name(text) {
            Some(value) => Value::EnumNumber(value.number()),
            None => Value::EnumNumber(text.parse().map_err(|_| no(&format!("value of {}", values.full_name())))?),
        },
        Kind::Message(message) => Value::Message(well_known(&message, text)?),
    })
}

/// Timestamps, wrappers and such, whose JSON is a single value.
fn well_known(message: &MessageDescriptor, text: &str) -> Result<DynamicMessage, String> {
    let name = message.full_name();
    let quoted = match name {
        "google.protobuf.Timestamp"
        | "google.protobuf.Duration"
        | "google.protobuf.FieldMask"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => true,
        "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.Int32Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.BoolValue" => false,
        _ => {
            return Err(format!("the message {name} cannot be set by text; set its fields"));
        }
    };
    let json = if quoted { serde_json::Value::String(text.to_owned()).to_string() } else { text.to_owned() };
    super::json::decode(message, json.as_bytes()).map_err(|_| format!("{text:?} is no {name}"))
}

/// Query strings are form encoded: a plus sign is a blank.
fn form_decoded(text: &str) -> Result<String, String> {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| "the query string is not UTF-8".to_owned())
}

fn name(path: &[FieldDescriptor]) -> String {
    path.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}
