//! The body of a streamed HTTP response: server-sent events, lines of JSON, or raw bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame};
use tonic::Code;

use super::response::{JSON, Writer, failure};
use crate::call::{CallError, Replies, Reply};
use crate::frontend::admission::Ticket;
use crate::frontend::body::{BodyError, FrontBody};
use crate::frontend::metadata;

/// How the elements are set apart.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    /// `data: <json>` and an empty line.
    Events,
    /// `<json>` and a line break.
    Lines,
    /// The data of `google.api.HttpBody`.
    Raw,
}

struct StreamBody {
    writer: Writer,
    format: Format,
    first: Option<Reply>,
    /// `None` once all is said; dropping the replies cancels the call.
    replies: Option<Replies>,
    /// What the body breaks off with, once what came before it has been sent.
    broken: Option<CallError>,
    ticket: Option<Ticket>,
}

/// The response to a call with any number of replies, of which the first has been awaited.
pub(super) fn response(
    writer: Writer,
    request: &HeaderMap,
    first: Option<Reply>,
    replies: Replies,
    ticket: Ticket,
) -> Response<FrontBody> {
    let format = if writer.is_raw() {
        Format::Raw
    } else if accepts_events(request) {
        Format::Events
    } else {
        Format::Lines
    };
    let content_type = match format {
        Format::Events => HeaderValue::from_static("text/event-stream"),
        Format::Lines => JSON,
        Format::Raw => match raw_content_type(&writer, first.as_ref()) {
            Ok(content_type) => content_type,
            Err(error) => {
                ticket.finish(error.code());
                return failure(&error);
            }
        },
    };
    let reply_metadata = first.as_ref().and_then(|reply| reply.metadata.clone());
    let body = StreamBody { writer, format, first, replies: Some(replies), broken: None, ticket: Some(ticket) };
    let mut response = Response::new(FrontBody::stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if format == Format::Events {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    if let Some(reply_metadata) = reply_metadata {
        metadata::to_headers(&reply_metadata, headers);
    }
    response
}

impl StreamBody {
    fn framed(&self, reply: &Reply) -> Result<Bytes, CallError> {
        let data = self.writer.write(&reply.payload)?.data;
        let mut framed = BytesMut::with_capacity(data.len() + 8);
        match self.format {
            Format::Raw => return Ok(data),
            Format::Lines => {
                framed.put_slice(&data);
                framed.put_u8(b'\n');
            }
            Format::Events => {
                framed.put_slice(b"data: ");
                framed.put_slice(&data);
                framed.put_slice(b"\n\n");
            }
        }
        Ok(framed.freeze())
    }

    fn end(&mut self, code: Code) {
        self.replies = None;
        if let Some(ticket) = self.ticket.take() {
            ticket.finish(code);
        }
    }

    /// Events can say what went wrong; elsewhere the body breaks off, so that nobody takes what
    /// came so far for all of it.
    fn failed(&mut self, error: CallError) -> Option<Frame<Bytes>> {
        self.end(error.code());
        if self.format != Format::Events {
            self.broken = Some(error);
            return None;
        }
        let text = error.message().replace(['\r', '\n'], " ");
        Some(Frame::data(Bytes::from(format!("event: error\ndata: {text}\n\n"))))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        let Some(replies) = &mut this.replies else {
            return Poll::Ready(None);
        };
        let reply = match this.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(replies.poll_next_unpin(cx)),
        };
        Poll::Ready(match reply.map(|reply| this.framed(&reply?)) {
            Some(Ok(data)) => Some(Ok(Frame::data(data))),
            Some(Err(error)) => match this.failed(error) {
                Some(last) => Some(Ok(last)),
                None => {
                    // The server drops what it has not flushed when a body fails: let it flush first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            },
            None => {
                this.end(Code::Ok);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.replies.is_none() && self.broken.is_none()
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// What the reply's metadata says, or the first body itself, or plain bytes.
fn raw_content_type(writer: &Writer, first: Option<&Reply>) -> Result<HeaderValue, CallError> {
    let by_metadata = metadata::text(first.and_then(|reply| reply.metadata.as_ref()), "content-type")
        .and_then(|text| HeaderValue::from_str(text).ok());
    let by_body = || match first {
        Some(reply) => writer.write(&reply.payload).map(|written| written.content_type),
        None => Ok(None),
    };
    let content_type = match by_metadata {
        Some(content_type) => Some(content_type),
        None => by_body()?,
    };
    Ok(content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")))
}
