//! gRPC's length-prefixed messages, without copying where a message arrives in one piece.

use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::bufread::{GzDecoder, GzEncoder};
use futures_util::Stream;
use http_body::Body;
use tonic::{Code, Status};

use crate::frontend::body::BodyError;

const HEADER: usize = 5;

/// From this size on copying a payload behind its prefix costs more than a frame of its own.
const UNCOPIED_MIN: usize = 16 * 1024;

/// The messages of a request body.
pub(super) struct MessageReader<B> {
    body: B,
    /// What the last frame of the body has left.
    chunk: Bytes,
    /// The start of a message that did not come in one frame; empty otherwise.
    partial: BytesMut,
    gzip: bool,
    message_max: usize,
    ended: bool,
}

impl<B> MessageReader<B> {
    /// Reads `body`, whose messages may be compressed when `gzip` is set.
    pub(super) fn new(body: B, gzip: bool, message_max: usize) -> Self {
        let (chunk, partial) = (Bytes::new(), BytesMut::new());
        Self { body, chunk, partial, gzip, message_max, ended: false }
    }

    /// The next message, if what has been read so far has one.
    fn decode(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty() {
            if let Some(length) = self.checked_length(&self.chunk)?
                && self.chunk.len() - HEADER >= length
            {
                let compressed = self.chunk[0] == 1;
                self.chunk.advance(HEADER);
                let message = self.chunk.split_to(length);
                return self.finished(compressed, message).map(Some);
            }
            self.partial.extend_from_slice(&self.chunk);
            self.chunk.clear();
            return Ok(None);
        }
        self.fill_to(HEADER);
        let Some(length) = self.checked_length(&self.partial)? else {
            return Ok(None);
        };
        self.fill_to(HEADER + length);
        if self.partial.len() < HEADER + length {
            return Ok(None);
        }
        let compressed = self.partial[0] == 1;
        self.partial.advance(HEADER);
        let message = self.partial.split().freeze();
        self.finished(compressed, message).map(Some)
    }

    /// Moves bytes over until the partial message has `length`, as far as there are any. Grows with
    /// what has arrived, never by what a header claims.
    fn fill_to(&mut self, length: usize) {
        let missing = length.saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
    }

    fn checked_length(&self, data: &[u8]) -> Result<Option<usize>, Status> {
        let Some((flag, rest)) = data.split_first() else {
            return Ok(None);
        };
        if *flag > 1 {
            return Err(Status::internal(format!("message has the invalid compression flag {flag}")));
        }
        let Some(length) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.message_max {
            return Err(too_large("request", length, self.message_max));
        }
        Ok(Some(length))
    }

    fn finished(&self, compressed: bool, message: Bytes) -> Result<Bytes, Status> {
        match (compressed, self.gzip) {
            (false, _) => Ok(message),
            (true, true) => decompress(&message, self.message_max),
            (true, false) => Err(Status::internal("message is compressed, but grpc-encoding is not set")),
        }
    }
}

impl<B> Stream for MessageReader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.ended {
            match this.decode() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(status) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(status)));
                }
            }
            let frame = if this.body.is_end_stream() { None } else { ready!(Pin::new(&mut this.body).poll_frame(cx)) };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.chunk = data;
                    }
                }
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(broken(error.into()))));
                }
                None => {
                    this.ended = true;
                    if !this.partial.is_empty() {
                        let status = Status::internal("the request ends in the middle of a message");
                        return Poll::Ready(Some(Err(status)));
                    }
                }
            }
        }
        Poll::Ready(None)
    }
}

/// A message on the wire: in one piece, or the prefix and then the payload as it came.
pub(crate) struct Framed {
    pub(crate) first: Bytes,
    pub(crate) rest: Option<Bytes>,
}

/// `payload` with its prefix, compressed when that is asked for.
pub(super) fn encode(payload: Bytes, gzip: bool, message_max: usize) -> Result<Framed, Status> {
    let length = payload.len();
    if length > message_max {
        return Err(too_large("reply", length, message_max));
    }
    if gzip {
        return Ok(Framed { first: compress(&payload)?, rest: None });
    }
    let whole = length < UNCOPIED_MIN;
    let mut first = BytesMut::with_capacity(if whole { HEADER + length } else { HEADER });
    first.put_u8(0);
    first.put_u32(length as u32);
    if whole {
        first.put_slice(&payload);
    }
    Ok(Framed { first: first.freeze(), rest: (!whole).then_some(payload) })
}

fn compress(payload: &[u8]) -> Result<Bytes, Status> {
    let mut packed = vec![0; HEADER];
    GzEncoder::new(payload, Compression::fast())
        .read_to_end(&mut packed)
        .map_err(|error| Status::internal(format!("reply cannot be compressed: {error}")))?;
    packed[0] = 1;
    let length = (packed.len() - HEADER) as u32;
    packed[1..HEADER].copy_from_slice(&length.to_be_bytes());
    Ok(packed.into())
}

/// The limit holds for what comes out, so a small message cannot unpack to a large one.
fn decompress(message: &[u8], message_max: usize) -> Result<Bytes, Status> {
    let mut unpacked = Vec::new();
    GzDecoder::new(message)
        .take(message_max as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| Status::internal(format!("message is not valid gzip: {error}")))?;
    if unpacked.len() > message_max {
        return Err(Status::resource_exhausted(format!(
            "request message is larger than the limit of {message_max} bytes"
        )));
    }
    Ok(unpacked.into())
}

fn too_large(what: &str, length: usize, message_max: usize) -> Status {
    Status::resource_exhausted(format!(
        "{what} message of {length} bytes is larger than the limit of {message_max} bytes"
    ))
}

/// A body that breaks off: a status from a layer in front, or a client that is gone.
fn broken(error: BodyError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(error) => Status::new(Code::Cancelled, format!("request was broken off: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::StreamExt;
    use http_body::Frame;
    use proptest::prelude::*;

    use super::*;

    struct Chunks(VecDeque<Bytes>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
        }
    }

    fn read(chunks: Vec<Bytes>, gzip: bool) -> Vec<Result<Bytes, Code>> {
        let reader = MessageReader::new(Chunks(chunks.into()), gzip, 1000);
        let messages = reader.map(|message| message.map_err(|status| status.code()));
        futures_util::FutureExt::now_or_never(messages.collect()).expect("never pending")
    }

    fn encoded(message: &[u8], gzip: bool) -> Bytes {
        let framed = encode(Bytes::copy_from_slice(message), gzip, usize::MAX).expect("no limit");
        [framed.first, framed.rest.unwrap_or_default()].concat().into()
    }

    #[test]
    fn a_large_payload_is_not_copied() {
        let payload = Bytes::from(vec![7; UNCOPIED_MIN]);
        let framed = encode(payload.clone(), false, usize::MAX).expect("no limit");
        assert_eq!(framed.first, [&[0][..], &(UNCOPIED_MIN as u32).to_be_bytes()].concat());
        assert_eq!(framed.rest.map(|rest| rest.as_ptr()), Some(payload.as_ptr()));
    }

    proptest! {
        /// However the transport cuts the bytes, the messages come out as they went in.
        #[test]
        fn messages_survive_any_cutting(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..8),
            cut in 1usize..50,
        ) {
            let mut wire = Vec::new();
            for (message, gzip) in &messages {
                wire.extend_from_slice(&encoded(message, *gzip));
            }
            let chunks = wire.chunks(cut).map(Bytes::copy_from_slice).collect();
            let expected: Vec<_> = messages.into_iter().map(|(message, _)| Ok(Bytes::from(message))).collect();
            prop_assert_eq!(read(chunks, true), expected);
        }

        #[test]
        fn nothing_that_arrives_makes_it_panic(wire in prop::collection::vec(any::<u8>(), 0..64), cut in 1usize..10) {
            read(wire.chunks(cut).map(Bytes::copy_from_slice).collect(), true);
        }
    }

    #[test]
    fn limits_hold_before_anything_is_allocated_and_after_unpacking() {
        let claims_too_much = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(read(vec![claims_too_much], false), [Err(Code::ResourceExhausted)]);
        let bomb = encoded(&vec![0; 100_000], true);
        assert!(bomb.len() < 1000);
        assert_eq!(read(vec![bomb], true), [Err(Code::ResourceExhausted)]);
    }

    #[test]
    fn a_message_cut_short_is_an_error() {
        assert_eq!(read(vec![Bytes::from_static(&[0, 0, 0, 0, 9, 1])], false), [Err(Code::Internal)]);
    }
}
