//! What is inside an `Any`.

use prost::Message;
use proto::Any;
use proto::cloudstate::Command;

/// Why a command or a message of the protocol cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl Refused {
    /// A method that the service does not have.
    pub fn unknown_command(name: &str) -> Self {
        Self(format!("there is no command named [{name}]"))
    }
}

const STRING: &str = "p.cloudstate.io/string";
const JSON: &str = "json.cloudstate.io/";

/// `message` as `type.googleapis.com/<name>`.
pub fn pack<M: Message>(name: &str, message: &M) -> Any {
    Any::pack(name, message)
}

/// The message in the payload of `command`.
///
/// # Errors
///
/// When there is none, or its bytes are not of this type.
pub fn unpack<M: Message + Default>(command: &Command) -> Result<M, Refused> {
    let payload = command.payload.as_ref().ok_or_else(|| Refused(format!("{} has no payload", command.name)))?;
    M::decode(payload.value.clone()).map_err(|error| Refused(format!("payload of {}: {error}", command.name)))
}

/// Text as an element of a set or a key of a map; these are compared byte by byte, so nothing but the field is in it.
pub fn primitive_string(text: &str) -> Any {
    Any { type_url: STRING.to_owned(), value: text.to_owned().encode_to_vec().into() }
}

/// The text in `any`.
///
/// # Errors
///
/// When it is not a primitive string.
pub fn unpack_primitive_string(any: &Any) -> Result<String, Refused> {
    if any.type_url != STRING {
        return Err(Refused(format!("expected [{STRING}] but was [{}]", any.type_url)));
    }
    String::decode(any.value.clone()).map_err(|error| Refused(format!("{STRING}: {error}")))
}

/// A JSON document as `json.cloudstate.io/<kind>`.
pub fn json(kind: &str, document: &serde_json::Value) -> Any {
    Any { type_url: format!("{JSON}{kind}"), value: document.to_string().encode_to_vec().into() }
}

/// The JSON document in `any`.
///
/// # Errors
///
/// When it is not JSON.
pub fn unpack_json(any: &Any) -> Result<serde_json::Value, Refused> {
    if !any.type_url.starts_with(JSON) {
        return Err(Refused(format!("expected [{JSON}…] but was [{}]", any.type_url)));
    }
    let refused = |error: &dyn std::fmt::Display| Refused(format!("{}: {error}", any.type_url));
    let text = String::decode(any.value.clone()).map_err(|error| refused(&error))?;
    serde_json::from_str(&text).map_err(|error| refused(&error))
}
