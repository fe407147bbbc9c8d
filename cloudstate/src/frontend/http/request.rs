//! The request message of an HTTP call, from its path, query and body.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::route::Match;
use super::{HTTP_BODY, Refusal, field, json};
use crate::spec::Body as BodyRule;

/// The serialised input message for `route`.
pub(super) fn message(route: &Match<'_>, parts: &Parts, body: Bytes) -> Result<Bytes, Refusal> {
    let input = &route.endpoint.method.input;
    let query = parts.uri.query().unwrap_or_default();
    let mut message = match &route.binding.body {
        BodyRule::Message => whole(input, &parts.headers, body)?,
        BodyRule::Discarded => queried(input, query)?,
        BodyRule::Field(field) => {
            let mut message = queried(input, query)?;
            set_body_field(&mut message, field, &parts.headers, body)?;
            message
        }
    };
    for (path, text) in route.binding.variables.iter().zip(&route.captures) {
        // The body has the last word on its own field, the path on all others.
        if let BodyRule::Field(field) = &route.binding.body
            && path.first() == Some(field)
        {
            continue;
        }
        field::set(&mut message, path, text).map_err(Refusal::bad_request)?;
    }
    Ok(Bytes::from(message.encode_to_vec()))
}

fn queried(input: &MessageDescriptor, query: &str) -> Result<DynamicMessage, Refusal> {
    let mut message = DynamicMessage::new(input.clone());
    field::set_query(&mut message, query).map_err(Refusal::bad_request)?;
    Ok(message)
}

fn whole(input: &MessageDescriptor, headers: &HeaderMap, body: Bytes) -> Result<DynamicMessage, Refusal> {
    if input.full_name() == HTTP_BODY {
        return Ok(raw(input, headers, body));
    }
    require_json(headers)?;
    json::decode(input, &body).map_err(Refusal::bad_request)
}

fn set_body_field(
    message: &mut DynamicMessage,
    field: &FieldDescriptor,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<(), Refusal> {
    if let Kind::Message(inner) = field.kind()
        && inner.full_name() == HTTP_BODY
    {
        message.set_field(field, Value::Message(raw(&inner, headers, body)));
        return Ok(());
    }
    require_json(headers)?;
    if let Kind::Message(inner) = field.kind() {
        let inner = json::decode(&inner, &body)
            .map_err(|problem| Refusal::bad_request(format!("body field {}: {problem}", field.name())))?;
        message.set_field(field, Value::Message(inner));
        return Ok(());
    }
    // A scalar has no decoder of its own: it is read as the one field of a message.
    let mut wrapped = format!("{{\"{}\":", field.json_name()).into_bytes();
    wrapped.extend_from_slice(&body);
    wrapped.push(b'}');
    let mut holder = json::decode(field.parent_message(), &wrapped)
        .map_err(|problem| Refusal::bad_request(format!("body field {}: {problem}", field.name())))?;
    if let Some(value) = holder.take_field(field) {
        message.set_field(field, value);
    }
    Ok(())
}

/// A `google.api.HttpBody` that takes the request body as it is.
fn raw(descriptor: &MessageDescriptor, headers: &HeaderMap, body: Bytes) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    message.set_field_by_name("content_type", Value::String(content_type.unwrap_or_default().to_owned()));
    message.set_field_by_name("data", Value::Bytes(body));
    message
}

fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let found = content_type.unwrap_or("none");
    Err(Refusal::bad_request(format!("the content type must be application/json, not {found}")))
}
