//! Every method of the user function as HTTP endpoints with JSON, as `google.api.http` describes them.

mod field;
mod json;
mod path;
mod request;
mod response;
mod route;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tonic::Code;

use super::admission::Ticket;
use super::body::{BodyError, FrontBody};
use super::deadline::Deadline;
use super::{Inner, metadata, service};
use crate::call::{Call, CallError, Requests};
use crate::frontend::serving::Serving;
use crate::idempotency;
use crate::spec::EntityType;

use response::Writer;
pub(super) use route::Routes;
use route::{Found, Match};

const HTTP_BODY: &str = "google.api.HttpBody";

/// A request that is not carried out, and what its client is told.
struct Refusal {
    status: StatusCode,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn bad_request(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Bad Request: {text}"))
    }

    /// The gRPC code that it counts as.
    fn code(&self) -> Code {
        match self.status {
            StatusCode::BAD_REQUEST => Code::InvalidArgument,
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            _ => Code::ResourceExhausted,
        }
    }
}

/// Serves one HTTP request; `None` when no endpoint is known for its path.
pub(super) async fn call<B>(front: &Arc<Inner>, mut parts: Parts, body: B) -> Option<Response<FrontBody>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let serving = match front.serving() {
        Ok(serving) => serving,
        Err(reason) => return Some(refused(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason))),
    };
    let path = std::mem::take(&mut parts.uri);
    let found = match serving.routes.find(&parts.method, path.path()) {
        // What may be asked of a resource by GET may be asked about by HEAD.
        Ok(Found::OtherMethods(others)) if parts.method == Method::HEAD && others.contains(&Method::GET) => {
            serving.routes.find(&Method::GET, path.path())
        }
        found => found,
    };
    let route = match found {
        Ok(Found::Match(route)) => route,
        Ok(Found::OtherMethods(methods)) if parts.method == Method::OPTIONS => {
            return Some(options(methods));
        }
        Ok(Found::OtherMethods(_) | Found::Nothing) => return None,
        Err(problem) => return Some(refused(Refusal::bad_request(problem))),
    };
    parts.uri = path.clone();
    let head = parts.method == Method::HEAD;
    let response = carry_out(front, &serving, route, parts, body).await.unwrap_or_else(refused);
    Some(if head { response.map(|_| FrontBody::empty()) } else { response })
}

async fn carry_out<B>(
    front: &Arc<Inner>,
    serving: &Serving,
    route: Match<'_>,
    parts: Parts,
    body: B,
) -> Result<Response<FrontBody>, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let admitted = front.admit().map_err(|status| Refusal::new(StatusCode::TOO_MANY_REQUESTS, status.message()))?;
    let ticket = Ticket::measured(admitted, &route.endpoint.metrics, &front.clock);
    let settings = &front.settings;
    let relay_timeout = route.endpoint.method.relay_timeout.unwrap_or(settings.relay_timeout);
    let deadline = Deadline::unary(&front.clock, None, relay_timeout, settings.deadline_max);
    let call = match prepare(front, &route, &parts, body, deadline).await {
        Ok(call) => call,
        Err(refusal) => {
            ticket.finish(refusal.code());
            return Err(refusal);
        }
    };
    Ok(if call.method.server_streaming {
        stream_replies(serving, &route, &parts, call, ticket).await
    } else {
        one_reply(front, serving, &route, call, deadline, ticket).await
    })
}

/// The call that the request stands for.
async fn prepare<B>(
    front: &Inner,
    route: &Match<'_>,
    parts: &Parts,
    body: B,
    deadline: Deadline,
) -> Result<Call, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let method = route.endpoint.method.clone();
    let metadata = if method.entity_type == EntityType::Action {
        let max = front.settings.metadata_max;
        metadata::from_headers(&parts.headers, max).ok_or_else(|| {
            let text = format!("request headers are larger than {max} bytes");
            Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)
        })?
    } else {
        // Commands of stateful entities carry none.
        Default::default()
    };
    let body = deadline
        .run(&front.clock, whole_body(body, front.settings.message_in_max))
        .await
        .map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time"))??;
    // By what was sent, not by the message made of it, whose maps come in any order.
    let contents = [parts.uri.path().as_bytes(), parts.uri.query().unwrap_or_default().as_bytes(), &body];
    let command_id = idempotency::of_headers(&parts.headers, &method, &contents)
        .map_err(|error| Refusal::bad_request(error.to_string()))?;
    let payload = request::message(route, parts, body)?;
    let requests = if method.client_streaming {
        Requests::Many(futures_util::stream::iter([Ok(payload)]).boxed())
    } else {
        Requests::One(payload)
    };
    // A stream of replies may stay open for hours.
    let deadline = if method.server_streaming { None } else { deadline.at() };
    Ok(Call { method, metadata, command_id, deadline, requests })
}

async fn one_reply(
    front: &Inner,
    serving: &Serving,
    route: &Match<'_>,
    call: Call,
    deadline: Deadline,
    ticket: Ticket,
) -> Response<FrontBody> {
    let answer = deadline.run(&front.clock, serving.dispatch.dispatch_unary(call)).await;
    let answer = answer.unwrap_or_else(|exceeded| Err(exceeded.into()));
    let answer = answer.and_then(|reply| response::unary(&Writer::new(route), reply));
    ticket.finish(answer.as_ref().map_or_else(CallError::code, |_| Code::Ok));
    answer.unwrap_or_else(|error| response::failure(&error))
}

async fn stream_replies(
    serving: &Serving,
    route: &Match<'_>,
    parts: &Parts,
    call: Call,
    ticket: Ticket,
) -> Response<FrontBody> {
    // The first reply is awaited, so that a call that fails at once has the status of its failure.
    let started = async {
        let mut replies = serving.dispatch.dispatch(call).await?;
        let first = replies.next().await.transpose()?;
        Ok::<_, CallError>((first, replies))
    };
    match started.await {
        Ok((first, replies)) => stream::response(Writer::new(route), &parts.headers, first, replies, ticket),
        Err(error) => {
            ticket.finish(error.code());
            response::failure(&error)
        }
    }
}

async fn whole_body<B>(body: B, max: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request body is larger than the limit of {max} bytes"),
        )),
        Err(error) => Err(Refusal::bad_request(format!("the request body broke off: {error}"))),
    }
}

fn refused(refusal: Refusal) -> Response<FrontBody> {
    service::plain(refusal.status, refusal.text)
}

/// The answer to a plain OPTIONS request: what the path is good for.
fn options(mut methods: Vec<Method>) -> Response<FrontBody> {
    if methods.contains(&Method::GET) {
        methods.push(Method::HEAD);
    }
    methods.push(Method::OPTIONS);
    let mut names: Vec<_> = methods.iter().map(Method::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let mut response = service::plain(StatusCode::NO_CONTENT, "");
    if let Ok(allow) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
