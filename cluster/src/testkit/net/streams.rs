//! Streams: how connections are made, taken and used.

use super::{
    Door,
    alarm::Alarm,
    connection::{Connection, Read},
    millis,
};
use crate::{
    member::Address,
    remote::transport::{BoxFuture, ByteStream, Lane, Listener},
    testkit::trace::print_of,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Connections that wait to be taken. More are refused.
const BACKLOG_MAX: usize = 128;

/// How long the kernel tries to connect.
const GIVES_UP_AFTER: Duration = Duration::from_secs(130);

/// Connections that wait to be taken.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<(ByteStream, SocketAddr)>,
    taker: Option<Waker>,
}

/// What becomes of an attempt.
enum Fate {
    Stands,
    Mute,
    Refused,
    Unheard,
}

impl Door {
    pub(super) async fn connect(self, to: Address, lane: Lane) -> io::Result<ByteStream> {
        let net = self.net.clone();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (to, fate) = {
            let state = &mut *net.0.state.lock();
            let to = state.by_address.get(&to).copied().ok_or(io::ErrorKind::NotFound)?;
            state.hosts[self.host].sent += 1;
            let (faults, draw) = (&state.faults, &mut state.draw);
            let fate = if draw.per_mille(faults.black_holes) {
                Fate::Unheard
            } else if draw.per_mille(faults.refusals) {
                Fate::Refused
            } else if draw.per_mille(faults.mutes) {
                Fate::Mute
            } else {
                Fate::Stands
            };
            (to, fate)
        };
        let gives_up = net.0.clock.now() + GIVES_UP_AFTER;
        net.note(self.host, "dials", [to as u64, lane as u64]);
        loop {
            let changed = net.0.changed.notified();
            let is_heard = !matches!(fate, Fate::Unheard) || self.black_holes_are_over();
            let Some(delay) = self.round_trip(to).filter(|_| is_heard) else {
                if net.0.clock.timeout(gives_up - net.0.clock.now(), changed).await.is_err() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                continue;
            };
            net.0.clock.sleep(delay).await;
            if self.round_trip(to).is_some() {
                break;
            }
        }
        if matches!(fate, Fate::Refused) {
            return Err(refused());
        }
        let now = net.0.clock.now();
        let state = &mut *net.0.state.lock();
        if !state.is_alive(self.host, self.life) || state.hosts[to].life == 0 {
            net.note(self.host, "refused", [to as u64, 0]);
            return Err(refused());
        }
        let draw = state.draw.split();
        let lost = if lane == Lane::Ordinary { state.links[self.host][to].lost.clone() } else { Arc::default() };
        let connection = Connection::new([self.host, to], now, state.faults.clone(), draw, lost);
        let connection = Arc::new(Mutex::new(connection));
        state.add(&connection, now);
        let end = |door: Door, side| SimStream { door, connection: connection.clone(), side, alarm: Alarm::default() };
        let there = Door { host: to, life: state.hosts[to].life, net: net.clone() };
        let (mine, theirs) = (end(self.clone(), 0), end(there, 1));
        let number = state.hosts[self.host].number;
        if matches!(fate, Fate::Mute) {
            // Taken by nobody, and there until the process ends.
            state.hosts[to].mutes.push(Box::new(theirs));
        } else {
            let mut backlog = state.hosts[to].backlog.lock();
            if backlog.waiting.len() >= BACKLOG_MAX {
                connection.lock().reset();
                return Err(refused());
            }
            backlog.waiting.push_back((Box::new(theirs), number));
            backlog.taker.take().into_iter().for_each(Waker::wake);
        }
        net.note(self.host, "connected", [to as u64, lane as u64]);
        Ok(Box::new(mine))
    }

    fn black_holes_are_over(&self) -> bool {
        self.net.0.state.lock().faults.black_holes == 0
    }

    /// How long there and back takes; none while one of the two is cut, or the host is off.
    fn round_trip(&self, to: usize) -> Option<Duration> {
        let state = &mut *self.net.0.state.lock();
        let links = [&state.links[self.host][to], &state.links[to][self.host]];
        let passes = state.hosts[to].power && links.iter().all(|link| !link.cut);
        let lag: u64 = links.iter().map(|link| link.lag_ms).sum();
        let (least, most) = state.faults.delay_ms;
        passes.then(|| Duration::from_millis(lag + state.draw.between(2 * u64::from(least), 2 * u64::from(most))))
    }
}

pub(super) struct SimListener(Door);

impl SimListener {
    pub(super) fn new(door: Door) -> Self {
        Self(door)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(ByteStream, SocketAddr)>> {
        let state = self.0.net.0.state.lock();
        if !state.is_alive(self.0.host, self.0.life) {
            return Poll::Pending;
        }
        let backlog = &mut *state.hosts[self.0.host].backlog.lock();
        if let Some(next) = backlog.waiting.pop_front() {
            return Poll::Ready(Ok(next));
        }
        backlog.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(ByteStream, SocketAddr)>> {
        Box::pin(poll_fn(|cx| self.poll(cx)))
    }
}

/// One end of a connection, in one life.
pub(super) struct SimStream {
    door: Door,
    connection: Arc<Mutex<Connection>>,
    side: usize,
    alarm: Alarm,
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let clock = &this.door.net.0.clock;
        loop {
            let read = this.connection.lock().read(this.side, buffer, clock.now(), cx.waker())?;
            match read {
                Read::Some | Read::End => return Poll::Ready(Ok(())),
                Read::Later(None) => return Poll::Pending,
                Read::Later(Some(due)) => {
                    if this.alarm.poll(clock, due, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let net = &self.door.net.0;
        let now = net.clock.now();
        let mut connection = self.connection.lock();
        let Some(taken) = connection.write(self.side, bytes, now, cx.waker())? else { return Poll::Pending };
        let to = connection.hosts[1 - self.side] as u64;
        net.streamed[0].fetch_add(taken as u64, Ordering::Relaxed);
        net.streamed[1].fetch_add(1, Ordering::Relaxed);
        net.trace.note(millis(now), self.door.host, "bytes", [to, print_of(&bytes[..taken])]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.lock().close(self.side, self.door.net.0.clock.now());
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.connection.lock().drop_end(self.side, self.door.net.0.clock.now());
    }
}
