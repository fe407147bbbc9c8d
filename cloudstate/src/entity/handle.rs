//! The call `handle`, which is an entity's stream in every protocol that has streams.
//!
//! It is the generated one but for its buffers, which are small: they stay with every stream that is open, and most
//! streams are idle.

use std::marker::PhantomData;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec};
use tonic::{Request, Status, Streaming};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::user_function::{Channel, Link};

/// Bytes that a stream's buffers begin with; they grow with the messages.
const BUFFER: usize = 512;

/// Encoded bytes after which a stream's turn is over.
const YIELD_AFTER: usize = 32 * 1024;

/// Who can call `handle` once, on `channel`.
pub(super) fn caller(channel: Channel, link: &Link) -> Grpc<Channel> {
    Grpc::with_origin(channel, link.origin()).max_decoding_message_size(link.message_size_max())
}

/// Calls `handle` at `path`. What is sent comes boxed: a channel keeps room for many messages.
pub(super) async fn handle<I, O>(
    mut caller: Grpc<Channel>,
    path: &'static str,
    messages: mpsc::Receiver<Box<I>>,
) -> Result<Streaming<O>, Status>
where
    I: Message + 'static,
    O: Message + Default + 'static,
{
    caller.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let messages = Request::new(ReceiverStream::new(messages).map(|message: Box<I>| *message));
    let codec = StreamCodec::<I, O>::default();
    Ok(caller.streaming(messages, PathAndQuery::from_static(path), codec).await?.into_inner())
}

/// The codec of one stream.
#[derive(Debug)]
struct StreamCodec<I, O>(PhantomData<fn(I) -> O>);

impl<I, O> Default for StreamCodec<I, O> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<I, O> Codec for StreamCodec<I, O>
where
    I: Message + 'static,
    O: Message + Default + 'static,
{
    type Encode = I;
    type Decode = O;
    type Encoder = ProstEncoder<I>;
    type Decoder = ProstDecoder<O>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<I, O>::raw_encoder(BufferSettings::new(BUFFER, YIELD_AFTER))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<I, O>::raw_decoder(BufferSettings::new(BUFFER, YIELD_AFTER))
    }
}
