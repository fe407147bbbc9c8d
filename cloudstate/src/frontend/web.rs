//! gRPC-Web: gRPC for browsers, over HTTP/1.1 and HTTP/2, with the trailers in the body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame};
use tonic::Status;

use super::Inner;
use super::body::{BodyError, FrontBody};
use super::grpc::{self, GRPC_STATUS};

/// Marks the frame that carries trailers.
const TRAILERS: u8 = 0x80;

/// How the frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Binary,
    /// Base64.
    Text,
}

impl Encoding {
    /// The encoding of a request whose content type is `application/grpc` followed by `rest`.
    pub(super) fn of_content_type(rest: &[u8]) -> Option<Self> {
        let (encoding, rest) = match rest.strip_prefix(b"-web-text") {
            Some(rest) => (Encoding::Text, rest),
            None => (Encoding::Binary, rest.strip_prefix(b"-web")?),
        };
        matches!(rest.first(), None | Some(b'+' | b';' | b' ')).then_some(encoding)
    }

    /// What the client wants back: text if it says so, else as it sent.
    fn of_accept(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
        let text = |range: &str| range.trim_start().starts_with("application/grpc-web-text");
        accept.split(',').any(text).then_some(Encoding::Text)
    }

    /// The content type of the response, with the `+word` of the request.
    fn content_type(self, request: Option<&HeaderValue>) -> HeaderValue {
        let request = request.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = request.split(';').next().unwrap_or_default().trim();
        let word = media_type.split_once('+').map(|(_, word)| format!("+{word}")).unwrap_or_default();
        let text = if self == Encoding::Text { "-text" } else { "" };
        HeaderValue::from_str(&format!("application/grpc-web{text}{word}"))
            .unwrap_or_else(|_| HeaderValue::from_static("application/grpc-web"))
    }
}

/// Serves one gRPC-Web call.
pub(super) async fn call<B>(front: &Arc<Inner>, parts: Parts, body: B, encoding: Encoding) -> Response<FrontBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let answer = Encoding::of_accept(&parts.headers).unwrap_or(encoding);
    let content_type = answer.content_type(parts.headers.get(header::CONTENT_TYPE));
    let response = match encoding {
        Encoding::Binary => grpc::call(front, parts, body).await,
        Encoding::Text => grpc::call(front, parts, TextRequest::new(body)).await,
    };
    let (mut head, body) = response.into_parts();
    head.headers.insert(header::CONTENT_TYPE, content_type);
    // A status in the headers moves to the body as well: a page of another origin sees headers only
    // where CORS lets it.
    let status_only = head.headers.contains_key(&GRPC_STATUS).then(|| status_headers(&head.headers));
    let body = WebResponse { body, trailers: status_only, text: answer == Encoding::Text };
    Response::from_parts(head, FrontBody::stream(body))
}

/// Base64 as it arrives, in any pieces, each a run of whole groups with its own padding.
struct TextRequest<B> {
    body: B,
    rest: BytesMut,
}

impl<B> TextRequest<B> {
    fn new(body: B) -> Self {
        Self { body, rest: BytesMut::new() }
    }

    fn decode(&mut self, data: &[u8]) -> Result<Bytes, Status> {
        self.rest.extend(data.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let whole = self.rest.len() / 4 * 4;
        let groups = self.rest.split_to(whole);
        let mut decoded = Vec::with_capacity(whole / 4 * 3);
        // Padding ends a run; what follows starts the next.
        for run in groups.chunks_exact(4).collect::<Vec<_>>().split_inclusive(|group| group[3] == b'=') {
            STANDARD
                .decode_vec(run.concat(), &mut decoded)
                .map_err(|error| Status::internal(format!("request body is not valid base64: {error}")))?;
        }
        Ok(decoded.into())
    }
}

impl<B> Body for TextRequest<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) else {
                let rest = std::mem::take(&mut this.rest);
                return Poll::Ready((!rest.is_empty()).then(|| {
                    Err(Status::internal("request body is base64 that ends in the middle of a group").into())
                }));
            };
            let Ok(data) = frame.map_err(Into::into)?.into_data() else {
                continue;
            };
            let decoded = this.decode(&data)?;
            if !decoded.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(decoded))));
            }
        }
    }
}

/// A gRPC response whose trailers are one last frame of the body.
struct WebResponse {
    body: FrontBody,
    trailers: Option<HeaderMap>,
    text: bool,
}

impl WebResponse {
    fn data(&self, data: Bytes) -> Frame<Bytes> {
        Frame::data(if self.text { STANDARD.encode(&data).into() } else { data })
    }
}

impl Body for WebResponse {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()? {
            Some(frame) => match frame.into_data() {
                Ok(data) => this.data(data),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => this.data(trailers_frame(&trailers)),
                    Err(_) => return Poll::Ready(None),
                },
            },
            None => match this.trailers.take() {
                Some(trailers) => this.data(trailers_frame(&trailers)),
                None => return Poll::Ready(None),
            },
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none() && self.body.is_end_stream()
    }
}

fn status_headers(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("grpc-"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn trailers_frame(trailers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    for (name, value) in trailers {
        lines.put_slice(name.as_str().as_bytes());
        lines.put_slice(b": ");
        lines.put_slice(value.as_bytes());
        lines.put_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(5 + lines.len());
    frame.put_u8(TRAILERS);
    frame.put_u32(lines.len() as u32);
    frame.put_slice(&lines);
    frame.freeze()
}
