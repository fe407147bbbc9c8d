//! Every method of the user function as a gRPC method, by its bytes: messages are framed, counted
//! and handed on, never decoded.

mod frame;
mod status;
mod stream;
mod timeout;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body;
use persistence::CommandId;
use tonic::{Code, Status};

use crate::call::{Call, CallError, Reply, Requests};
use crate::frontend::admission::Ticket;
use crate::frontend::body::{BodyError, FrontBody};
use crate::frontend::deadline::Deadline;
use crate::frontend::serving::{Serving, Target};
use crate::frontend::{FrontendSettings, Inner, metadata, reflection};
use crate::idempotency;
use crate::spec::{EntityType, MethodSpec};

pub(super) use frame::Framed;
use frame::MessageReader;
pub(super) use status::{GRPC_CONTENT_TYPE, GRPC_STATUS, trailers_only};
use stream::ReplyStream;

const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Serves one gRPC call.
pub(super) async fn call<B>(front: &Arc<Inner>, parts: Parts, body: B) -> Response<FrontBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    match accept(front, parts, body).await {
        Ok(response) => response,
        Err(status) => trailers_only(&status),
    }
}

async fn accept<B>(front: &Arc<Inner>, parts: Parts, body: B) -> Result<Response<FrontBody>, Status>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let serving = front.serving().map_err(Status::unavailable)?;
    let admitted = front.admit()?;
    let wire = Wire::read(front, &parts.headers)?;
    let reader = MessageReader::new(body, wire.gzip_in, front.settings.message_in_max);
    match serving.target(parts.uri.path()) {
        Target::Method(endpoint) => {
            let method = &endpoint.method;
            let ticket = Ticket::measured(admitted, &endpoint.metrics, &front.clock);
            let exchange = Exchange { front, serving: &serving, wire, ticket };
            if method.server_streaming {
                exchange.many_replies(method, &parts.headers, reader).await
            } else {
                exchange.one_reply(method, &parts.headers, reader).await
            }
        }
        Target::Reflection(version) => {
            let answers = reflection::answers(version, serving.clone(), reader);
            let replies =
                ReplyStream::new(front, None, answers.boxed(), wire.encoding(front), Ticket::unmeasured(admitted));
            let replies = replies.with_deadline(Deadline::streamed(&front.clock, wire.timeout));
            Ok(wire.response(FrontBody::stream(replies), None))
        }
        Target::UnknownMethod(text) => Err(Status::unimplemented(text)),
    }
}

struct Exchange<'a> {
    front: &'a Arc<Inner>,
    serving: &'a Serving,
    wire: Wire,
    ticket: Ticket,
}

impl Exchange<'_> {
    async fn one_reply<B>(
        self,
        method: &Arc<MethodSpec>,
        headers: &HeaderMap,
        reader: MessageReader<B>,
    ) -> Result<Response<FrontBody>, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let Self { front, serving, wire, ticket } = self;
        let settings = &front.settings;
        let relay_timeout = method.relay_timeout.unwrap_or(settings.relay_timeout);
        let deadline = if method.client_streaming {
            Deadline::streamed(&front.clock, wire.timeout)
        } else {
            Deadline::unary(&front.clock, wire.timeout, relay_timeout, settings.deadline_max)
        };
        let work = async {
            let metadata = call_metadata(front, method, headers)?;
            let requests = requests(method, reader).await?;
            let command_id = command_id(method, headers, &requests)?;
            let call = Call { method: method.clone(), metadata, command_id, deadline: deadline.at(), requests };
            serving.dispatch.dispatch_unary(call).await
        };
        let answer = deadline.run(&front.clock, work).await;
        let answer = answer.and_then(|reply| wire.single_response(settings, reply?));
        ticket.finish(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answer
    }

    async fn many_replies<B>(
        self,
        method: &Arc<MethodSpec>,
        headers: &HeaderMap,
        reader: MessageReader<B>,
    ) -> Result<Response<FrontBody>, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let Self { front, serving, wire, ticket } = self;
        let deadline = Deadline::streamed(&front.clock, wire.timeout);
        let work = async {
            let metadata = call_metadata(front, method, headers)?;
            // Replies may come for hours, but the one request they answer may not take that long.
            let settings = &front.settings;
            let relay_timeout = method.relay_timeout.unwrap_or(settings.relay_timeout);
            let arrival = Deadline::unary(&front.clock, wire.timeout, relay_timeout, settings.deadline_max);
            let requests = arrival.run(&front.clock, requests(method, reader)).await??;
            let command_id = command_id(method, headers, &requests)?;
            let call = Call { method: method.clone(), metadata, command_id, deadline: deadline.at(), requests };
            let mut replies = serving.dispatch.dispatch(call).await?;
            // Headers go out with the first reply, since they carry its metadata; a client that has been let in and that
            // nobody has anything to say to is not kept waiting for them.
            let first = front.clock.timeout(HEADERS_WITHIN, replies.next()).await.ok().flatten().transpose()?;
            Ok::<_, CallError>((first, replies))
        };
        match deadline.run(&front.clock, work).await.and_then(|started| Ok(started?)) {
            Ok((first, replies)) => {
                let headers_of = first.clone();
                let replies = ReplyStream::new(front, first, replies, wire.encoding(front), ticket);
                let body = FrontBody::stream(replies.with_deadline(deadline));
                Ok(wire.response(body, headers_of.as_ref()))
            }
            Err(status) => {
                ticket.finish(status.code());
                Err(status)
            }
        }
    }
}

/// How long the headers of streamed replies wait for the first reply.
const HEADERS_WITHIN: Duration = Duration::from_millis(250);

/// What the headers of a call say about its framing.
#[derive(Clone, Copy)]
struct Wire {
    gzip_in: bool,
    gzip_out: bool,
    timeout: Option<Duration>,
}

impl Wire {
    fn read(front: &Inner, headers: &HeaderMap) -> Result<Self, Status> {
        let gzip_in = match headers.get(GRPC_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => false,
            Some(b"gzip") => true,
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let text = format!("grpc-encoding [{other}] is not supported; use identity or gzip");
                let mut status = Status::new(Code::Unimplemented, text);
                let accepted = tonic::metadata::MetadataValue::from_static("identity,gzip");
                status.metadata_mut().insert(GRPC_ACCEPT_ENCODING, accepted);
                return Err(status);
            }
        };
        let accepts_gzip =
            |value: &HeaderValue| value.as_bytes().split(|byte| *byte == b',').any(|name| name.trim_ascii() == b"gzip");
        let gzip_out =
            front.settings.compression_min < usize::MAX && headers.get(GRPC_ACCEPT_ENCODING).is_some_and(accepts_gzip);
        let timeout = headers.get(GRPC_TIMEOUT).and_then(|value| timeout::parse(value.to_str().ok()?));
        Ok(Self { gzip_in, gzip_out, timeout })
    }

    fn encoding(&self, front: &Inner) -> stream::Encoding {
        let compression_min = self.gzip_out.then_some(front.settings.compression_min);
        stream::Encoding { compression_min, message_max: front.settings.message_out_max }
    }

    /// The response to a call with one reply, or none.
    fn single_response(
        mut self,
        settings: &FrontendSettings,
        reply: Option<Reply>,
    ) -> Result<Response<FrontBody>, Status> {
        let Some(reply) = reply else {
            return Ok(self.response(FrontBody::message(None, status::ok_trailers()), None));
        };
        self.gzip_out &= reply.payload.len() >= settings.compression_min;
        let framed = frame::encode(reply.payload.clone(), self.gzip_out, settings.message_out_max)?;
        Ok(self.response(FrontBody::message(Some(framed), status::ok_trailers()), Some(&reply)))
    }

    fn response(&self, body: FrontBody, reply: Option<&Reply>) -> Response<FrontBody> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
        if self.gzip_out {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(metadata) = reply.and_then(|reply| reply.metadata.as_ref()) {
            metadata::to_headers(metadata, headers);
        }
        response
    }
}

async fn requests<B>(method: &MethodSpec, reader: MessageReader<B>) -> Result<Requests, Status>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    Ok(if method.client_streaming {
        Requests::Many(reader.map(|message| message.map_err(CallError::from)).boxed())
    } else {
        Requests::One(only_message(reader).await?)
    })
}

/// The request of a method that takes exactly one.
async fn only_message<B>(mut reader: MessageReader<B>) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let Some(message) = reader.next().await.transpose()? else {
        return Err(Status::unimplemented("the method takes exactly one request message, none was sent"));
    };
    if reader.next().await.transpose()?.is_some() {
        return Err(Status::unimplemented("the method takes exactly one request message, more were sent"));
    }
    Ok(message)
}

/// The name that the caller gives to its call, so that it can be sent again.
fn command_id(method: &MethodSpec, headers: &HeaderMap, requests: &Requests) -> Result<Option<CommandId>, Status> {
    let Requests::One(payload) = requests else { return Ok(None) };
    idempotency::of_headers(headers, method, &[payload]).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The metadata of a call. Commands of stateful entities carry none, so none is made for them.
fn call_metadata(
    front: &Inner,
    method: &MethodSpec,
    headers: &HeaderMap,
) -> Result<proto::cloudstate::Metadata, Status> {
    if method.entity_type != EntityType::Action {
        return Ok(Default::default());
    }
    let max = front.settings.metadata_max;
    metadata::from_headers(headers, max)
        .ok_or_else(|| Status::resource_exhausted(format!("request metadata is larger than {max} bytes")))
}
