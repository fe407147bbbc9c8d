//! The body of a streamed response: replies as they come, then the status.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actors::Clock;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::{Code, Status};

use super::frame::Framed;
use super::{frame, status};
use crate::call::{Replies, Reply};
use crate::frontend::Inner;
use crate::frontend::admission::Ticket;
use crate::frontend::body::BodyError;
use crate::frontend::deadline::Deadline;

/// How replies are framed.
#[derive(Clone, Copy)]
pub(super) struct Encoding {
    /// Replies at least this long are compressed; `None`: none are.
    pub(super) compression_min: Option<usize>,
    /// Larger ones end the call.
    pub(super) message_max: usize,
}

/// Replies of one call, and its place among the calls being served.
pub(super) struct ReplyStream {
    clock: Clock,
    first: Option<Reply>,
    /// The payload of a reply whose prefix has been sent.
    rest: Option<Bytes>,
    /// `None` once the trailers are out; dropping the replies cancels the call.
    replies: Option<Replies>,
    encoding: Encoding,
    expiry: Option<(BoxFuture<'static, ()>, Status)>,
    ticket: Option<Ticket>,
}

impl ReplyStream {
    pub(super) fn new(
        front: &Arc<Inner>,
        first: Option<Reply>,
        replies: Replies,
        encoding: Encoding,
        ticket: Ticket,
    ) -> Self {
        let clock = front.clock.clone();
        Self { clock, first, rest: None, replies: Some(replies), encoding, expiry: None, ticket: Some(ticket) }
    }

    pub(super) fn with_deadline(mut self, deadline: Deadline) -> Self {
        if let Some(at) = deadline.at() {
            let clock = self.clock.clone();
            let expiry: BoxFuture<'static, ()> = Box::pin(async move { clock.sleep_until(at).await });
            self.expiry = Some((expiry, deadline.exceeded()));
        }
        self
    }

    fn end(&mut self, code: Code, trailers: HeaderMap) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.replies = None;
        self.expiry = None;
        if let Some(ticket) = self.ticket.take() {
            ticket.finish(code);
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn framed(&self, reply: Reply) -> Result<Framed, Status> {
        let length = reply.payload.len();
        let gzip = self.encoding.compression_min.is_some_and(|min| length >= min);
        frame::encode(reply.payload, gzip, self.encoding.message_max)
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Reply, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        // First, so that a stream that is always ready ends in time as well.
        if let Some((expiry, exceeded)) = &mut self.expiry
            && expiry.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(exceeded.clone())));
        }
        let Some(replies) = &mut self.replies else {
            return Poll::Ready(None);
        };
        replies.poll_next_unpin(cx).map(|reply| reply.map(|reply| reply.map_err(Status::from)))
    }
}

impl Body for ReplyStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.replies.is_none() {
            return Poll::Ready(None);
        }
        if let Some(rest) = this.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        match ready!(this.poll_reply(cx)) {
            Some(Ok(reply)) => match this.framed(reply) {
                Ok(Framed { first, rest }) => {
                    this.rest = rest;
                    Poll::Ready(Some(Ok(Frame::data(first))))
                }
                Err(too_large) => this.end(too_large.code(), status::trailers(&too_large)),
            },
            Some(Err(failed)) => this.end(failed.code(), status::trailers(&failed)),
            None => this.end(Code::Ok, status::ok_trailers()),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.replies.is_none()
    }
}
