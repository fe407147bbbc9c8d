//! A transport whose calls can be reset while their requests are still being sent.
//!
//! Ending the stream of requests would be a half-close, which tells the function that the client has sent
//! everything. So the body of the request fails instead, and the stream is reset with `CANCEL`.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;

use crate::user_function::Channel;

/// Resets its call when it is dropped, if requests are still being sent then.
pub(super) struct Guard {
    reset: CancellationToken,
    _on_drop: DropGuard,
}

impl Guard {
    /// Cancelling it resets the call.
    pub(super) fn token(&self) -> CancellationToken {
        self.reset.clone()
    }
}

/// A [`Channel`] for one call.
#[derive(Clone)]
pub(super) struct Resettable {
    channel: Channel,
    reset: CancellationToken,
}

impl Resettable {
    pub(super) fn new(channel: Channel) -> (Self, Guard) {
        let reset = CancellationToken::new();
        (Self { channel, reset: reset.clone() }, Guard { reset: reset.clone(), _on_drop: reset.drop_guard() })
    }
}

impl tower_service::Service<Request<Body>> for Resettable {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = <Channel as tower_service::Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (reset, place) = (Box::pin(self.reset.clone().cancelled_owned()), self.channel.clone());
        let request = request.map(|body| Body::new(RequestBody { body: Some(body), reset, _place: place }));
        self.channel.call(request)
    }
}

struct RequestBody {
    /// `None` after a reset, so that the client's requests are let go of at once.
    body: Option<Body>,
    reset: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The stream takes its place on the connection until its last request is sent, or it has been reset.
    _place: Channel,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // First, so that a client that never stops sending is no reason to go on.
        if this.reset.as_mut().poll(cx).is_pending() {
            return Pin::new(body).poll_frame(cx);
        }
        this.body = None;
        Poll::Ready(Some(Err(Status::from_error(Box::new(h2::Error::from(Reason::CANCEL))))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
