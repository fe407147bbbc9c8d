//! The body of every response, with the short ones kept off the heap.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::grpc::Framed;

/// What can go wrong while a body is sent.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response body of the front end.
pub struct FrontBody(Kind);

enum Kind {
    /// All of it, or nothing.
    Whole(Option<Bytes>),
    /// One gRPC message, if any, and the trailers.
    Message { data: Option<Bytes>, rest: Option<Bytes>, trailers: Option<Box<HeaderMap>> },
    /// As it comes.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl FrontBody {
    pub(super) fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    pub(super) fn whole(data: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(data.into()).filter(|data| !data.is_empty())))
    }

    pub(super) fn message(framed: Option<Framed>, trailers: HeaderMap) -> Self {
        let (data, rest) = framed.map_or((None, None), |framed| (Some(framed.first), framed.rest));
        Self(Kind::Message { data, rest, trailers: Some(Box::new(trailers)) })
    }

    pub(super) fn stream(body: impl Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(body)))
    }
}

impl Body for FrontBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Kind::Message { data, rest, trailers } => Poll::Ready(match data.take().or_else(|| rest.take()) {
                Some(data) => Some(Ok(Frame::data(data))),
                None => trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))),
            }),
            Kind::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(data) => data.is_none(),
            Kind::Message { data, rest, trailers } => data.is_none() && rest.is_none() && trailers.is_none(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            // No exact size: a `content-length` has no place beside trailers.
            Kind::Message { .. } => SizeHint::default(),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for FrontBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Kind::Whole(_) => "FrontBody::Whole",
            Kind::Message { .. } => "FrontBody::Message",
            Kind::Stream(_) => "FrontBody::Stream",
        })
    }
}
