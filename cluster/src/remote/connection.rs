//! What carries a handshake and frames over a stream. It decides nothing.

use super::{
    frame::{self, FrameDecoder, FrameError},
    handshake::{Effect, HANDSHAKE_MAX, Handshake, HandshakeError, Input, Peer},
    lives::Standings,
};
use actors::Clock;
use bytes::{Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why no frame comes any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

/// The next frame; none once the other side has ended between two. Cancel safe: what was read stays in `decoder`.
///
/// # Errors
/// The connection broke, or what comes over it are no frames: close it.
pub(crate) async fn read_frame<S>(stream: &mut S, decoder: &mut FrameDecoder) -> Result<Option<Bytes>, ReadError>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(frame) = decoder.next()? {
            return Ok(Some(frame));
        }
        if stream.read_buf(&mut decoder.room()).await? == 0 {
            decoder.end()?;
            return Ok(None);
        }
    }
}

/// Makes a handshake: with its first frame, `hello`, on the side that connected. `lives` are those that are over, as they
/// are when asked. Returns with the peer what to read on with; frames may have come already.
///
/// # Cancel safety
/// Not cancel safe: drop the stream too.
///
/// # Errors
/// The two do not talk to each other: close the connection. The other side was told.
pub(crate) async fn shake_hands<S>(
    stream: &mut S,
    mut handshake: Handshake,
    hello: Option<Bytes>,
    lives: &dyn Standings,
    clock: &Clock,
) -> Result<(Peer, FrameDecoder), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = FrameDecoder::new(HANDSHAKE_MAX);
    let until = handshake.due().unwrap_or_else(|| clock.now());
    if let Some(hello) = hello
        && let Err(error) = send(stream, &hello, until, clock).await
    {
        // Whoever hung up may have said why before.
        let said = clock.timeout(until - clock.now(), read_frame(stream, &mut decoder)).await;
        return Err(match said {
            Ok(Err(ReadError::Io(error))) => tls_error(&error).unwrap_or(HandshakeError::Closed),
            _ => error,
        });
    }
    loop {
        let input = tokio::select! {
            biased;
            read = read_frame(stream, &mut decoder) => match read {
                Ok(Some(frame)) => Input::Frame(frame),
                Err(ReadError::Io(error)) if let Some(error) = tls_error(&error) => return Err(error),
                Ok(None) | Err(ReadError::Io(_)) => Input::Closed,
                Err(ReadError::Frame(error)) => return Err(HandshakeError::Malformed(error.to_string())),
            },
            () = clock.sleep_until(until) => Input::Time,
        };
        for effect in handshake.step(input, lives, clock.now()) {
            match effect {
                Effect::Send(frame) => send(stream, &frame, until, clock).await?,
                Effect::Done(peer) => {
                    decoder.set_max(peer.lane.frame_max());
                    return Ok((peer, decoder));
                }
                Effect::Failed(error) => {
                    // What was sent last says why: it is not to be lost. The other side may be gone already.
                    let _ = clock.timeout(until - clock.now(), stream.shutdown()).await;
                    return Err(error);
                }
            }
        }
    }
}

/// By TLS 1.3 whoever connects hears that its certificate was not taken only when it reads.
fn tls_error(error: &io::Error) -> Option<HandshakeError> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(HandshakeError::Tls(error.to_string()))
}

async fn send<S>(stream: &mut S, frame: &[u8], until: actors::Tick, clock: &Clock) -> Result<(), HandshakeError>
where
    S: AsyncWrite + Unpin,
{
    let mut bytes = BytesMut::new();
    frame::encode(HANDSHAKE_MAX, &[frame], &mut bytes).map_err(|error| HandshakeError::Malformed(error.to_string()))?;
    let written = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    match clock.timeout(until - clock.now(), written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(HandshakeError::Closed),
        Err(_) => Err(HandshakeError::TimedOut),
    }
}
