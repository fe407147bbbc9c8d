//! One connection this node makes: dials, shakes hands, and writes what waits until it breaks or is to end.

use super::{
    attempts::NotConnected,
    hub::{Hub, Taken},
    line::Line,
    security::Certified,
};
use crate::{
    member::{Address, UniqueAddress},
    remote::{
        connection::shake_hands,
        dropped::DropReason,
        frame,
        handshake::{HANDSHAKE_WITHIN, Handshake, Kind, Peer},
        message::{LARGE, Unwritten},
        transport::{ByteStream, Lane},
    },
    seams::Seams,
};
use bytes::{Buf, BytesMut};
use std::{io, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long an attempt to connect may take, the handshake not counted.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection that is to end may take to say so.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A buffer that has grown beyond it is not kept.
const KEPT_MAX: usize = 256 * 1024;

/// How a connection ended.
enum End {
    /// It is to end.
    Stopped,
    /// With so many frames that may not have arrived.
    Broken { lost: usize },
}

/// From the attempt to the end.
pub(super) async fn run(hub: Arc<Hub>, to: Address, life: Option<u64>, lane: Lane, line: Arc<Line>) {
    let connected = tokio::select! {
        biased;
        () = line.stopped() => return,
        connected = connect(&hub, &to, life, lane) => connected,
    };
    match connected {
        Err(error) => hub.not_connected(&to, life, lane, error, &line),
        Ok((mut stream, peer)) => {
            if hub.connected(&peer, &line)
                && let End::Broken { lost } = write(&hub, &peer.node, lane, &line, &mut stream).await
            {
                return hub.disconnected(&peer.node, lane, &line, lost);
            }
            let _ = hub.seams.clock.timeout(CLOSE_WITHIN, stream.shutdown()).await;
        }
    }
}

/// Dials this node's own address; what whoever answers says, if it is somebody else. That names both.
pub(super) async fn other_at_own_address(hub: &Arc<Hub>) -> Option<String> {
    let answer = connect(hub, &hub.introduction.node.address, None, Lane::Control).await;
    // It refuses this node in any case: itself for its uid.
    match answer.err()? {
        NotConnected::Handshake(refusal) if refusal.is_refusal() && !refusal.is_for(Kind::SameUid) => {
            Some(refusal.to_string())
        }
        _ => None,
    }
}

async fn connect(
    hub: &Arc<Hub>,
    to: &Address,
    life: Option<u64>,
    lane: Lane,
) -> Result<(ByteStream, Peer), NotConnected> {
    let Seams { clock, transport, .. } = &hub.seams;
    let dialled = clock.timeout(DIAL_WITHIN, transport.dial(to.clone(), lane)).await;
    let stream = dialled.map_err(|_| NotConnected::Silence)?.map_err(NotConnected::Nobody)?;
    let until = clock.now() + HANDSHAKE_WITHIN;
    let secured = clock.timeout(HANDSHAKE_WITHIN, hub.security.dialled(stream, to)).await;
    let (mut stream, certificate) = secured.map_err(|_| NotConnected::TlsSilence)?.map_err(NotConnected::Tls)?;
    let (me, prover) = (Arc::clone(&hub.introduction), hub.security.prover());
    let (handshake, hello) = Handshake::dial(me, prover, to.clone(), life, lane, until);
    let judge = Certified { hub, certificate };
    // What the other side says after its welcome is nothing: it has a connection of its own for that.
    let met = shake_hands(&mut stream, handshake, Some(hello), &judge, clock).await;
    let (peer, _) = met.map_err(NotConnected::Handshake)?;
    Ok((stream, peer))
}

async fn write(hub: &Arc<Hub>, node: &UniqueAddress, lane: Lane, line: &Arc<Line>, stream: &mut ByteStream) -> End {
    let stopped = line.stopped();
    tokio::pin!(stopped);
    let mut batch = Vec::new();
    let (mut buffer, mut spare) = (BytesMut::new(), Vec::new());
    let mut is_flushed = true;
    loop {
        match hub.take(&node.address, lane, line, &mut batch, &mut spare) {
            Taken::Over => return End::Stopped,
            Taken::Some => {
                let lost = batch.iter().map(|frames| frames.sent_once(lane)).sum();
                tokio::select! {
                    biased;
                    () = &mut stopped => {
                        hub.dropped_outside(&node.address, DropReason::Broken, lost);
                        return End::Stopped;
                    }
                    written = write_batch(stream, lane, &mut batch, &mut buffer, &mut spare) => if written.is_err() {
                        return End::Broken { lost };
                    },
                }
                is_flushed = false;
            }
            Taken::Nothing => {
                hub.sent.notify_waiters();
                let waits = async {
                    if !is_flushed {
                        stream.flush().await?;
                    }
                    // The other side says nothing here: whatever comes is the end.
                    let mut byte = [0];
                    tokio::select! {
                        biased;
                        () = line.woken() => Ok(()),
                        read = stream.read(&mut byte) => read.and(Err(io::ErrorKind::ConnectionAborted.into())),
                    }
                };
                tokio::select! {
                    biased;
                    () = &mut stopped => return End::Stopped,
                    woken = waits => if io::Result::is_err(&woken) {
                        return End::Broken { lost: 0 };
                    },
                }
                is_flushed = true;
            }
        }
    }
}

/// As few writes as possible: one for frames that lie in a buffer, and one for all other small frames up to the first large
/// one or the next buffer.
async fn write_batch(
    stream: &mut ByteStream,
    lane: Lane,
    batch: &mut Vec<Unwritten>,
    buffer: &mut BytesMut,
    spare: &mut Vec<u8>,
) -> io::Result<()> {
    for frames in batch.drain(..) {
        match frames {
            Unwritten::Many { bytes, .. } => {
                write_all(stream, buffer, &bytes[..]).await?;
                if spare.capacity() == 0 {
                    *spare = bytes;
                }
            }
            Unwritten::One { head, body } if body.len() < LARGE => {
                frame::encode(lane.frame_max(), &[&head, &body], buffer).map_err(io::Error::other)?;
            }
            Unwritten::One { head, body } => {
                let size = head.len() + body.len();
                frame::encode_header(lane.frame_max(), size, buffer).map_err(io::Error::other)?;
                buffer.extend_from_slice(&head);
                write_all(stream, buffer, body).await?;
            }
        }
    }
    write_all(stream, buffer, &[][..]).await?;
    if buffer.capacity() > KEPT_MAX {
        *buffer = BytesMut::new();
    }
    Ok(())
}

/// Writes what is in `buffer`, and then `body`.
async fn write_all(stream: &mut ByteStream, buffer: &mut BytesMut, body: impl Buf) -> io::Result<()> {
    if buffer.is_empty() && !body.has_remaining() {
        return Ok(());
    }
    let mut all = Buf::chain(&buffer[..], body);
    stream.write_all_buf(&mut all).await?;
    buffer.clear();
    Ok(())
}
