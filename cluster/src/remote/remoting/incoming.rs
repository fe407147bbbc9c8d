//! Connections that other nodes make: they are taken, shake hands, and are read until they break or are to end.

use super::{
    admission::Place,
    attempts::NotConnected,
    hub::{Hub, Phase},
    line::Line,
    security::Certified,
    session::Session,
};
use crate::remote::{
    connection::shake_hands,
    dropped::DropReason,
    frame::FrameDecoder,
    handshake::{HANDSHAKE_WITHIN, Handshake, Peer},
    transport::{ByteStream, Lane, Listener},
};
use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};
use tokio::io::AsyncReadExt;
use tracing::debug;

/// How long nobody is let in after that failed: there was no room, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection over which nothing came for so long is closed. The node that made it does so after half of it.
const SILENT_FOR: Duration = Duration::from_secs(10 * 60);

/// Takes connections until the node closes.
pub(super) async fn listen(hub: Arc<Hub>, mut listener: Box<dyn Listener>) {
    let mut closed = pin!(hub.reached(Phase::Closed));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closed => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Beyond what may be at the door it is closed at once.
            Ok((stream, from)) => {
                if let Some(place) = hub.admission.admit(from.ip()) {
                    hub.spawn(Lane::Control, welcome(Arc::clone(&hub), stream, from.ip(), place));
                }
            }
            Err(_) => tokio::select! {
                biased;
                () = &mut closed => return,
                () = hub.seams.clock.sleep(PAUSE) => {}
            },
        }
    }
}

async fn welcome(hub: Arc<Hub>, stream: ByteStream, from: IpAddr, place: Place) {
    let shaken = tokio::select! {
        biased;
        () = hub.reached(Phase::Closed) => return,
        shaken = shaken(&hub, stream) => shaken,
    };
    let (mut stream, peer, mut decoder) = match shaken {
        Ok(shaken) => shaken,
        // Strangers could fill a log.
        Err(reason) => return debug!(%from, %reason, "a connection is not taken"),
    };
    let (line, welcomed) = (Arc::new(Line::default()), hub.seams.clock.now());
    let mut session = hub.accepted(&peer, None, &line);
    if session.is_none() && answers(&hub, &mut stream, &mut decoder).await {
        session = hub.accepted(&peer, Some(welcomed), &line);
    }
    drop(place);
    let Some(session) = session else {
        return debug!(node = %peer.node, lane = ?peer.lane, "a connection is closed: it is over, or was not heard of again");
    };
    let lane = peer.lane;
    let connection = Incoming { hub: Arc::clone(&hub), session, lane, line, stream, decoder };
    hub.spawn(lane, connection.run());
}

/// Whether anything comes after the handshake: it was sent by somebody who had heard the last word of that.
async fn answers(hub: &Hub, stream: &mut ByteStream, decoder: &mut FrameDecoder) -> bool {
    if !decoder.is_empty() {
        return true;
    }
    let mut room = decoder.room();
    tokio::select! {
        biased;
        () = hub.reached(Phase::Closed) => false,
        read = hub.seams.clock.timeout(HANDSHAKE_WITHIN, stream.read_buf(&mut room)) => matches!(read, Ok(Ok(1..))),
    }
}

async fn shaken(hub: &Arc<Hub>, stream: ByteStream) -> Result<(ByteStream, Peer, FrameDecoder), NotConnected> {
    let clock = &hub.seams.clock;
    let until = clock.now() + HANDSHAKE_WITHIN;
    let secured = clock.timeout(HANDSHAKE_WITHIN, hub.security.accepted(stream)).await;
    let (mut stream, certificate) = secured.map_err(|_| NotConnected::TlsSilence)?.map_err(NotConnected::Tls)?;
    let handshake = Handshake::accept(Arc::clone(&hub.introduction), hub.security.prover(), until);
    let judge = Certified { hub, certificate };
    let shaken = shake_hands(&mut stream, handshake, None, &judge, clock).await;
    let (peer, decoder) = shaken.map_err(NotConnected::Handshake)?;
    Ok((stream, peer, decoder))
}

/// A connection that a life made.
struct Incoming {
    hub: Arc<Hub>,
    session: Arc<Session>,
    lane: Lane,
    line: Arc<Line>,
    stream: ByteStream,
    decoder: FrameDecoder,
}

impl Incoming {
    async fn run(mut self) {
        let (session, line) = (Arc::clone(&self.session), Arc::clone(&self.line));
        tokio::select! {
            biased;
            () = line.stopped() => {}
            () = async {
                // One connection of a lane after another, and none before the receivers have heard of the life.
                let _turn = session.turn(self.lane).await;
                if session.begun().await {
                    self.read().await;
                }
            } => {}
        }
        self.hub.unaccepted(&session.node, self.lane, &line);
    }

    /// Until it breaks or ends. Dropped at any time, nothing is delivered in part.
    async fn read(&mut self) {
        let clock = self.hub.seams.clock.clone();
        let mut last = clock.now();
        let mut silent = pin!(clock.sleep_until(last + SILENT_FOR));
        let receivers = self.hub.receivers();
        let (mut frames, mut deliveries) = (Vec::new(), Vec::new());
        loop {
            let from = &self.session.node;
            let whole = if self.lane == Lane::Control { 0 } else { self.decoder.whole() };
            if whole > 0 {
                let Some(delivering) = self.session.deliver() else { return };
                self.hub.pass_on(&receivers, from, self.lane, self.decoder.frames(whole));
                drop(delivering);
                self.decoder.consume(whole);
                last = clock.now();
            }
            let broken = loop {
                match self.decoder.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            if !frames.is_empty() {
                let Some(delivering) = self.session.deliver() else { return };
                self.hub.arrived(from, self.lane, &mut frames, &mut deliveries);
                self.hub.deliver(&receivers, from, self.lane, &mut deliveries);
                drop(delivering);
                last = clock.now();
            }
            if broken {
                // What follows cannot be trusted; what came before was whole.
                return self.hub.dropped_outside(&self.session.node.address, DropReason::Malformed, 1);
            }
            let mut room = self.decoder.room();
            tokio::select! {
                biased;
                read = self.stream.read_buf(&mut room) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                () = &mut silent => {
                    if last + SILENT_FOR <= clock.now() {
                        return;
                    }
                    silent.as_mut().reset(last + SILENT_FOR);
                }
            }
        }
    }
}
