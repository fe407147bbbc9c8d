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
use tonic::{Code, Status};

use crate::call::{Call, CallError, Reply, Requests};
use crate::frontend::admission::Admitted;
use crate::frontend::body::{BodyError, FrontBody};
use crate::frontend::deadline::Deadline;
use crate::frontend::serving::{Serving, Target};
use crate::frontend::{Inner, metadata, reflection};
use crate::spec::{EntityType, MethodSpec};

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
        Target::Method(method) => {
            let exchange = Exchange { front, serving: &serving, wire, admitted };
            if method.client_streaming || method.server_streaming {
                exchange.streamed(method, &parts.headers, reader).await
            } else {
                exchange.unary(method, &parts.headers, reader).await
            }
        }
        Target::Reflection(version) => {
            let answers = reflection::answers(version, serving.clone(), reader);
            let replies = ReplyStream::new(front, None, answers.boxed(), wire.encoding(front), admitted);
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
    admitted: Admitted,
}

impl Exchange<'_> {
    async fn unary<B>(
        self,
        method: &Arc<MethodSpec>,
        headers: &HeaderMap,
        reader: MessageReader<B>,
    ) -> Result<Response<FrontBody>, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let Self { front, serving, wire, admitted: _admitted } = self;
        let settings = &front.settings;
        let deadline = Deadline::unary(&front.clock, wire.timeout, settings.relay_timeout, settings.deadline_max);
        let metadata = call_metadata(front, method, headers)?;
        let work = async {
            let request = only_message(reader).await?;
            let requests = Requests::One(request);
            let call = Call { method: method.clone(), metadata, deadline: deadline.at(), requests };
            Ok::<_, CallError>(serving.dispatch.dispatch_unary(call).await?)
        };
        let reply = deadline.run(&front.clock, work).await??;
        let Some(reply) = reply else {
            return Ok(wire.response(FrontBody::message(None, status::ok_trailers()), None));
        };
        let gzip = wire.gzip_out && reply.payload.len() >= settings.compression_min;
        let data = frame::encode(&reply.payload, gzip, settings.message_out_max)?;
        let body = FrontBody::message(Some(data), status::ok_trailers());
        Ok(Wire { gzip_out: gzip, ..wire }.response(body, Some(&reply)))
    }

    async fn streamed<B>(
        self,
        method: &Arc<MethodSpec>,
        headers: &HeaderMap,
        reader: MessageReader<B>,
    ) -> Result<Response<FrontBody>, Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let Self { front, serving, wire, admitted } = self;
        let deadline = Deadline::streamed(&front.clock, wire.timeout);
        let metadata = call_metadata(front, method, headers)?;
        let work = async {
            let requests = if method.client_streaming {
                Requests::Many(reader.map(|message| message.map_err(CallError::from)).boxed())
            } else {
                Requests::One(only_message(reader).await?)
            };
            let call = Call { method: method.clone(), metadata, deadline: deadline.at(), requests };
            let mut replies = serving.dispatch.dispatch(call).await?;
            // Headers go out with the first reply, since they carry its metadata.
            let first = replies.next().await.transpose()?;
            Ok::<_, CallError>((first, replies))
        };
        let (first, replies) = deadline.run(&front.clock, work).await??;
        let headers_of = first.clone();
        let replies = ReplyStream::new(front, first, replies, wire.encoding(front), admitted);
        let replies = replies.with_deadline(deadline);
        Ok(wire.response(FrontBody::stream(replies), headers_of.as_ref()))
    }
}

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
