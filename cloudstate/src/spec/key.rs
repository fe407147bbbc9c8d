//! Which entity a request is for: the entity key, read off the wire.

use std::sync::Arc;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::error::SpecError;
use super::wire::{Fields, WireValue};

/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// The fields of a request message that together are the key of an entity.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct EntityKey {
    fields: Arc<[KeyField]>,
}

/// Why a request has no usable key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The message has no key fields at all.
    #[error("the request message has no field marked as entity_key")]
    NoFields,
    /// All key fields are empty.
    #[error("entity key must not be empty: set field {field}")]
    Empty {
        /// The field, or all of them joined by commas.
        field: String,
    },
    /// Longer than [`KEY_BYTES_MAX`].
    #[error("entity key in field {field} has {length} bytes, more than the {KEY_BYTES_MAX} allowed")]
    TooLong {
        /// The field, or all of them joined by commas.
        field: String,
        /// Length of the whole key.
        length: usize,
    },
    /// It holds the character NUL, which not every store can keep in an id.
    #[error("entity key in field {field} must not contain the character NUL: leave it out")]
    Nul {
        /// The field.
        field: String,
    },
    /// The payload is not a valid message.
    #[error("request is not a valid protobuf message: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
}

impl EntityKey {
    /// The key made of `fields` of `message`, which are in declaration order.
    ///
    /// # Errors
    /// [`SpecError::KeyType`] for a field without a text form.
    pub fn new(fields: &[FieldDescriptor]) -> Result<Self, SpecError> {
        fields.iter().map(KeyField::new).collect::<Result<_, _>>().map(|fields| Self { fields })
    }

    /// Whether there is no key field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Form, name and number of every key field, for comparison and messages.
    pub fn describe(&self) -> String {
        let fields = self.fields.iter().map(|field| format!("{} {} = {}", field.kind.name(), field.name, field.number));
        fields.collect::<Vec<_>>().join(", ")
    }

    /// The key of the request `payload`, of which only the key fields are read.
    ///
    /// One field: its text. Several: their texts joined by `-`. An unset field counts as its default.
    pub fn extract(&self, payload: &[u8]) -> Result<String, KeyError> {
        let key = match &*self.fields {
            [] => return Err(KeyError::NoFields),
            [field] => field.text(last_value(payload, field.number)?)?,
            fields => return self.join(payload, fields),
        };
        if key.is_empty() {
            return Err(KeyError::Empty { field: self.names() });
        }
        self.bounded(key)
    }

    fn join(&self, payload: &[u8], fields: &[KeyField]) -> Result<String, KeyError> {
        let mut key = String::new();
        let mut empty = true;
        for (index, field) in fields.iter().enumerate() {
            let text = field.text(last_value(payload, field.number)?)?;
            empty &= text.is_empty();
            if index > 0 {
                key.push('-');
            }
            key.push_str(&text);
        }
        if empty {
            return Err(KeyError::Empty { field: self.names() });
        }
        self.bounded(key)
    }

    fn bounded(&self, key: String) -> Result<String, KeyError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong { field: self.names(), length: key.len() });
        }
        Ok(key)
    }

    fn names(&self) -> String {
        self.fields.iter().map(|field| &*field.name).collect::<Vec<_>>().join(", ")
    }
}

/// Numbers of the key fields of `message` marked in `marked`, in declaration order.
pub(super) fn in_declaration_order(
    message: &MessageDescriptor,
    marked: impl Fn(&FieldDescriptor) -> bool,
) -> Vec<FieldDescriptor> {
    let mut fields: Vec<_> = message.fields().filter(marked).collect();
    fields.sort_by_key(|field| field.path().last().copied());
    fields
}

#[derive(Clone, Debug, PartialEq)]
struct KeyField {
    number: u32,
    name: Arc<str>,
    kind: KeyKind,
}

#[derive(Clone, Debug, PartialEq)]
enum KeyKind {
    Text,
    /// `int32`, `uint32`: shown signed, as every proxy before did.
    Int32,
    Int64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Bool,
    Float,
    Double,
    Enum(EnumDescriptor),
}

impl KeyKind {
    fn name(&self) -> &'static str {
        match self {
            KeyKind::Text => "string",
            KeyKind::Int32 => "int32",
            KeyKind::Int64 => "int64",
            KeyKind::Sint32 => "sint32",
            KeyKind::Sint64 => "sint64",
            KeyKind::Fixed32 => "fixed32",
            KeyKind::Fixed64 => "fixed64",
            KeyKind::Bool => "bool",
            KeyKind::Float => "float",
            KeyKind::Double => "double",
            KeyKind::Enum(_) => "enum",
        }
    }
}

impl KeyField {
    fn new(field: &FieldDescriptor) -> Result<Self, SpecError> {
        let refuse = |problem: &str| {
            Err(SpecError::KeyType { field: field.full_name().to_owned(), problem: problem.to_owned() })
        };
        if field.is_map() {
            return refuse("is a map");
        }
        if field.is_list() {
            return refuse("is repeated");
        }
        let kind = match field.kind() {
            Kind::String => KeyKind::Text,
            Kind::Int32 | Kind::Uint32 => KeyKind::Int32,
            Kind::Int64 | Kind::Uint64 => KeyKind::Int64,
            Kind::Sint32 => KeyKind::Sint32,
            Kind::Sint64 => KeyKind::Sint64,
            Kind::Fixed32 | Kind::Sfixed32 => KeyKind::Fixed32,
            Kind::Fixed64 | Kind::Sfixed64 => KeyKind::Fixed64,
            Kind::Bool => KeyKind::Bool,
            Kind::Float => KeyKind::Float,
            Kind::Double => KeyKind::Double,
            Kind::Enum(values) => KeyKind::Enum(values),
            Kind::Bytes => return refuse("has type bytes"),
            Kind::Message(_) => return refuse("is a message"),
        };
        Ok(Self { number: field.number(), name: field.name().into(), kind })
    }

    fn text(&self, value: Option<WireValue<'_>>) -> Result<String, KeyError> {
        let wrong = || {
            let reason = format!("field {} has the wrong wire type", self.name);
            Err(KeyError::Malformed { reason })
        };
        let text = match (&self.kind, value) {
            (KeyKind::Text, None) => String::new(),
            (KeyKind::Text, Some(WireValue::Bytes(bytes))) => match std::str::from_utf8(bytes) {
                Ok(text) if text.contains('\0') => return Err(KeyError::Nul { field: self.name.to_string() }),
                Ok(text) => text.to_owned(),
                Err(_) => {
                    let reason = format!("field {} is not UTF-8", self.name);
                    return Err(KeyError::Malformed { reason });
                }
            },
            (KeyKind::Bool, None) => "false".to_owned(),
            (KeyKind::Bool, Some(WireValue::Varint(n))) => (n != 0).to_string(),
            (KeyKind::Enum(values), None) => values.default_value().name().to_owned(),
            (KeyKind::Enum(values), Some(WireValue::Varint(n))) => enum_text(values, n as i32),
            (KeyKind::Float, None) | (KeyKind::Double, None) => "0.0".to_owned(),
            (KeyKind::Float, Some(WireValue::Fixed32(n))) => float_text(f32::from_bits(n)),
            (KeyKind::Double, Some(WireValue::Fixed64(n))) => double_text(f64::from_bits(n)),
            (_, None) => "0".to_owned(),
            (KeyKind::Int32, Some(WireValue::Varint(n))) => (n as i32).to_string(),
            (KeyKind::Int64, Some(WireValue::Varint(n))) => (n as i64).to_string(),
            (KeyKind::Sint32, Some(WireValue::Varint(n))) => zigzag(u64::from(n as u32)).to_string(),
            (KeyKind::Sint64, Some(WireValue::Varint(n))) => zigzag(n).to_string(),
            (KeyKind::Fixed32, Some(WireValue::Fixed32(n))) => (n as i32).to_string(),
            (KeyKind::Fixed64, Some(WireValue::Fixed64(n))) => (n as i64).to_string(),
            _ => return wrong(),
        };
        Ok(text)
    }
}

/// A singular field may be on the wire more than once; the last one counts.
fn last_value(payload: &[u8], number: u32) -> Result<Option<WireValue<'_>>, KeyError> {
    let mut fields = Fields::new(payload);
    let mut last = None;
    loop {
        match fields.next_field() {
            Ok(None) => return Ok(last),
            Ok(Some((field, value))) if field == number => last = Some(value),
            Ok(Some(_)) => {}
            Err(error) => {
                return Err(KeyError::Malformed { reason: error.to_string() });
            }
        }
    }
}

fn zigzag(n: u64) -> i64 {
    ((n >> 1) as i64) ^ -((n & 1) as i64)
}

fn enum_text(values: &EnumDescriptor, number: i32) -> String {
    match values.get_value(number) {
        Some(value) => value.name().to_owned(),
        None => number.to_string(),
    }
}

fn float_text(value: f32) -> String {
    java_text(f64::from(value), format!("{value:?}"), format!("{value:E}"))
}

fn double_text(value: f64) -> String {
    java_text(value, format!("{value:?}"), format!("{value:E}"))
}

/// Floats read as on the JVM, where entity ids of existing stores were made: `1.0`, `1.0E10`.
fn java_text(value: f64, plain: String, scientific: String) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return plain;
    }
    match scientific.split_once('E') {
        Some((mantissa, _)) if mantissa.contains('.') => scientific,
        Some((mantissa, exponent)) => format!("{mantissa}.0E{exponent}"),
        None => scientific,
    }
}
