//! Replies and failures as HTTP responses.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};
use proto::google::api::HttpBody;
use serde_json::value::RawValue;
use tonic::Code;

use super::route::Match;
use super::{HTTP_BODY, json};
use crate::call::{CallError, Reply};
use crate::frontend::body::FrontBody;
use crate::frontend::{metadata, service};
use crate::spec::ResponseBody;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How the replies of one call are written.
pub(super) struct Writer {
    output: prost_reflect::MessageDescriptor,
    field: Option<FieldDescriptor>,
}

/// One reply, written.
pub(super) struct Written {
    pub(super) content_type: Option<HeaderValue>,
    pub(super) data: Bytes,
}

impl Writer {
    pub(super) fn new(route: &Match<'_>) -> Self {
        let field = match &route.binding.response_body {
            ResponseBody::Message => None,
            ResponseBody::Field(field) => Some(field.clone()),
        };
        Self { output: route.endpoint.method.output.clone(), field }
    }

    /// Whether replies are `google.api.HttpBody` and go out as they are.
    pub(super) fn is_raw(&self) -> bool {
        match &self.field {
            None => self.output.full_name() == HTTP_BODY,
            Some(field) => {
                !field.is_list() && matches!(field.kind(), Kind::Message(message) if message.full_name() == HTTP_BODY)
            }
        }
    }

    /// Writes one reply.
    ///
    /// # Errors
    /// `INTERNAL`: the user function's reply is no message of its type, or has no JSON form.
    pub(super) fn write(&self, payload: &Bytes) -> Result<Written, CallError> {
        if self.field.is_none() && self.is_raw() {
            return raw(payload.clone());
        }
        let message = DynamicMessage::decode(self.output.clone(), payload.clone()).map_err(|error| {
            let name = self.output.full_name();
            CallError::status(Code::Internal, format!("the reply is not a valid {name}: {error}"))
        })?;
        let data = match &self.field {
            None => json::encode(&message, payload),
            Some(field) if self.is_raw() => match message.get_field(field).as_ref() {
                Value::Message(body) => return raw(body.encode_to_vec().into()),
                _ => Ok(Bytes::new()),
            },
            Some(field) => field_json(message, field, payload),
        };
        let data =
            data.map_err(|error| CallError::status(Code::Internal, format!("the reply has no JSON form: {error}")))?;
        Ok(Written { content_type: Some(JSON), data })
    }
}

/// The response to a call with one reply, or none.
pub(super) fn unary(writer: &Writer, reply: Option<Reply>) -> Result<Response<FrontBody>, CallError> {
    let Some(reply) = reply else {
        return Ok(if writer.is_raw() {
            service::plain(StatusCode::NO_CONTENT, "")
        } else {
            whole(Some(JSON), Bytes::from_static(b"{}"))
        });
    };
    let written = writer.write(&reply.payload)?;
    let mut response = whole(written.content_type, written.data);
    if let Some(metadata) = &reply.metadata {
        metadata::to_headers(metadata, response.headers_mut());
    }
    Ok(response)
}

/// The response to a call that failed: the bare text, and the status that its code stands for.
pub(super) fn failure(error: &CallError) -> Response<FrontBody> {
    service::plain(status_of(error.code()), error.message())
}

fn whole(content_type: Option<HeaderValue>, data: Bytes) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::whole(data));
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

fn raw(payload: Bytes) -> Result<Written, CallError> {
    let body = HttpBody::decode(payload)
        .map_err(|error| CallError::status(Code::Internal, format!("the reply is not a valid {HTTP_BODY}: {error}")))?;
    let content_type = match body.content_type.as_str() {
        "" => None,
        text => Some(
            HeaderValue::from_str(text)
                .map_err(|_| CallError::status(Code::Internal, "the reply's content_type is no legal header value"))?,
        ),
    };
    Ok(Written { content_type, data: body.data })
}

/// The JSON of one field: written with its message and cut out, so that every kind of field has
/// exactly the form that it has inside.
fn field_json(mut message: DynamicMessage, field: &FieldDescriptor, payload: &[u8]) -> Result<Bytes, String> {
    let mut holder = DynamicMessage::new(field.parent_message().clone());
    let value = message.take_field(field).unwrap_or_else(|| Value::default_value_for_field(field));
    holder.set_field(field, value);
    let json = json::encode(&holder, payload)?;
    let fields: std::collections::HashMap<&str, &RawValue> =
        serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    match fields.get(field.json_name()) {
        Some(value) => Ok(Bytes::copy_from_slice(value.get().as_bytes())),
        None => Ok(Bytes::from_static(b"null")),
    }
}

/// The HTTP status that stands for a gRPC code, as `google.rpc.Code` documents it.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // nginx's "client closed request"; nobody is left to read it.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
