//! Which of the protocols a request speaks.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;

use super::body::{BodyError, FrontBody};
use super::{Frontend, Inner, cors, grpc, http as http_api, web};

const PROBE: &str = "k-network-probe";

/// A [`Frontend`] as a tower service.
#[derive(Clone, Debug)]
pub struct FrontendService {
    frontend: Frontend,
}

impl FrontendService {
    pub(super) fn new(frontend: Frontend) -> Self {
        Self { frontend }
    }
}

impl<B> tower_service::Service<Request<B>> for FrontendService
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    type Response = Response<FrontBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let frontend = self.frontend.clone();
        Box::pin(async move { Ok(frontend.handle(request).await) })
    }
}

/// What the content type of a request says it is.
enum Protocol {
    Grpc,
    GrpcWeb(web::Encoding),
    /// A gRPC dialect that is not spoken here.
    OtherGrpc,
    Http,
}

impl Protocol {
    fn of(version: Version, method: &Method, headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        let Some(rest) = content_type.and_then(|value| value.strip_prefix(b"application/grpc")) else {
            return Protocol::Http;
        };
        if let Some(encoding) = web::Encoding::of_content_type(rest) {
            return if method == Method::POST { Protocol::GrpcWeb(encoding) } else { Protocol::Http };
        }
        match rest {
            b"" | b"+proto" if version == Version::HTTP_2 => Protocol::Grpc,
            [] | [b';', ..] if version == Version::HTTP_2 => Protocol::Grpc,
            _ if version == Version::HTTP_2 => Protocol::OtherGrpc,
            _ => Protocol::Http,
        }
    }
}

pub(super) async fn handle<B>(front: &Arc<Inner>, request: Request<B>) -> Response<FrontBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let protocol = Protocol::of(request.version(), request.method(), request.headers());
    if let Protocol::Grpc = protocol {
        let (parts, body) = request.into_parts();
        return grpc::call(front, parts, body).await;
    }
    // Everything else is no hot path, so its future is kept out of that of a gRPC call.
    Box::pin(handle_other(front, protocol, request)).await
}

async fn handle_other<B>(front: &Arc<Inner>, protocol: Protocol, request: Request<B>) -> Response<FrontBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let origin = cors::allowed_origin(&front.settings.cors, request.headers());
    if cors::is_preflight(request.method(), request.headers()) {
        return cors::preflight(origin, request.headers());
    }
    let (parts, body) = request.into_parts();
    let mut response = match protocol {
        Protocol::GrpcWeb(encoding) => web::call(front, parts, body, encoding).await,
        Protocol::OtherGrpc => {
            plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "use application/grpc or application/grpc+proto")
        }
        Protocol::Http | Protocol::Grpc => {
            let probe = parts.headers.get(PROBE).cloned();
            match (http_api::call(front, parts, body).await, probe) {
                (Some(response), _) => response,
                (None, Some(value)) if value == "queue" => plain(StatusCode::OK, "queue"),
                (None, Some(value)) => {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    plain(StatusCode::BAD_REQUEST, format!("unexpected probe header value: {value}"))
                }
                (None, None) => {
                    let mut response = Response::new(FrontBody::empty());
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    response
                }
            }
        }
    };
    cors::allow(origin, response.headers_mut());
    response
}

/// A response of plain text. One that may go better later says when to try again.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::whole(text.into()));
    *response.status_mut() = status;
    let text_plain = ::http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text_plain);
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, ::http::HeaderValue::from_static("1"));
    }
    response
}
