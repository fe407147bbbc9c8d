//! [`Tcp`]: the [`Transport`] of real networks: TCP for streams, UDP on the same port for datagrams.

use super::transport::{
    BoxFuture, ByteStream, DATAGRAM_MAX, Lane, Listener, ReceiveDatagrams, SendDatagrams, Transport, check_datagram,
};
use crate::member::Address;
use actors::{Clock, Tick};
use bytes::Bytes;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    runtime::Handle,
};

/// A connection that is silent for so long is asked whether it is still there, …
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
/// … that often, …
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// … and so many times before it is broken.
const KEEPALIVE_TIMES: u32 = 3;

/// What was sent and not confirmed by the other machine for so long breaks a connection.
#[cfg(target_os = "linux")]
const UNCONFIRMED_FOR: Duration = Duration::from_secs(20);

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;

/// Bytes of datagrams that wait to be received: a burst of gossip from many nodes.
const DATAGRAMS_WAITING: usize = 1024 * 1024;

/// How long a name stands for the number it stood for.
const NAME_LASTS: Duration = Duration::from_secs(10);

/// Names that are remembered.
const NAMES_MAX: usize = 4096;

/// What keeps strangers out of the cluster's port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Nothing: fit for loopback.
    #[default]
    None,
    /// Mutual TLS, or a ring of keys.
    Credentials,
    /// Nothing, and somebody wrote out that this is meant: `insecure = true`.
    WrittenOff,
}

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// Anybody could join.
    #[error(
        "{0} can be reached from other machines and nothing keeps strangers out: set `tls` (mutual TLS) or `key_ring`, \
         or write `insecure = true`"
    )]
    Unprotected(SocketAddr),
    #[error("{address} cannot be bound: {error}")]
    Io { address: SocketAddr, error: io::Error },
}

/// TCP and UDP of one port. Dropped, it takes no more connections; those that stand remain.
#[derive(Debug)]
pub(crate) struct Tcp {
    listener: Arc<TcpListener>,
    datagrams: Arc<UdpSocket>,
    names: Arc<Names>,
    address: SocketAddr,
}

impl Tcp {
    /// Binds `address`, where others may reach this node by another name. With port 0 there is a free one:
    /// [`address`](Self::address) tells which.
    ///
    /// # Errors
    /// The port is taken, or not protected.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O.
    pub(crate) fn bind(address: SocketAddr, protection: Protection, clock: Clock) -> Result<Self, BindError> {
        check_protection(address, protection)?;
        let bound = || {
            let listener = bind_both(address)?;
            let address = listener.0.local_addr()?;
            Ok((TcpListener::from_std(listener.0)?, UdpSocket::from_std(listener.1)?, address))
        };
        let (listener, datagrams, address) = bound().map_err(|error| BindError::Io { address, error })?;
        let names = Arc::new(Names { clock, known: Mutex::default() });
        Ok(Self { listener: Arc::new(listener), datagrams: Arc::new(datagrams), names, address })
    }

    /// What was bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn check_protection(address: SocketAddr, protection: Protection) -> Result<(), BindError> {
    let is_loopback = match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(ip.is_loopback(), |ip| ip.is_loopback()),
        IpAddr::V4(ip) => ip.is_loopback(),
    };
    match protection {
        Protection::None if !is_loopback => Err(BindError::Unprotected(address)),
        _ => Ok(()),
    }
}

/// A free port of TCP may be taken in UDP: then another is tried.
fn bind_both(address: SocketAddr) -> io::Result<(std::net::TcpListener, std::net::UdpSocket)> {
    let mut attempts = if address.port() == 0 { 16 } else { 1 };
    loop {
        attempts -= 1;
        let listener = socket(address, Type::STREAM, Protocol::TCP)?;
        // After a crash the port may be bound at once, though connections of the life before linger.
        #[cfg(unix)]
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(listener);
        let datagrams = socket(address, Type::DGRAM, Protocol::UDP)?;
        datagrams.set_recv_buffer_size(DATAGRAMS_WAITING)?;
        match datagrams.bind(&listener.local_addr()?.into()) {
            Ok(()) => return Ok((listener, datagrams.into())),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Small frames at once, and a dead machine is noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_TIMES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNCONFIRMED_FOR))?;
    Ok(())
}

impl Transport for Tcp {
    fn datagrams(&self) -> (Arc<dyn SendDatagrams>, Box<dyn ReceiveDatagrams>) {
        let sender = DatagramSender { socket: Arc::clone(&self.datagrams), names: Arc::clone(&self.names) };
        let receiver =
            DatagramReceiver { socket: Arc::clone(&self.datagrams), buffer: Box::new([0; DATAGRAM_MAX + 1]) };
        (Arc::new(sender), Box::new(receiver))
    }

    fn dial(&self, to: Address, _lane: Lane) -> BoxFuture<'static, io::Result<ByteStream>> {
        Box::pin(async move {
            let mut failed = None;
            for address in tokio::net::lookup_host((to.host(), to.port())).await? {
                match connect(address).await {
                    Ok(stream) => return Ok(Box::new(Homing::new(stream)) as ByteStream),
                    Err(error) => failed = Some(error),
                }
            }
            Err(failed.unwrap_or_else(|| no_such_name(&to)))
        })
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(TcpConnections(Arc::clone(&self.listener)))
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let stream = socket.connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

fn no_such_name(address: &Address) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{:?} stands for no address", address.host()))
}

/// A stream that is driven by the runtime of whoever uses it.
///
/// All connections come in on the control thread, as nothing is known of them before the handshake; those of other lanes go
/// on elsewhere, and their traffic must not wake that thread.
struct Homing {
    /// None only if moving it failed.
    stream: Option<TcpStream>,
    home: tokio::runtime::Id,
}

impl Homing {
    fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), home: Handle::current().id() }
    }

    fn at_home(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let here = Handle::current().id();
        if here != self.home
            && let Some(stream) = self.stream.take()
        {
            self.stream = Some(TcpStream::from_std(stream.into_std()?)?);
            self.home = here;
        }
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Homing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.at_home()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Homing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.at_home()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.at_home()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.at_home()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.at_home()?.poll_shutdown(cx)
    }
}

struct TcpConnections(Arc<TcpListener>);

impl Listener for TcpConnections {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(ByteStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            tune(&stream)?;
            Ok((Box::new(Homing::new(stream)) as ByteStream, from))
        })
    }
}

struct DatagramSender {
    socket: Arc<UdpSocket>,
    names: Arc<Names>,
}

impl SendDatagrams for DatagramSender {
    fn send(&self, to: Address, datagram: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            check_datagram(&datagram)?;
            let to = self.names.number_of(&to).await?;
            match self.socket.try_send_to(&datagram, to) {
                // No room: lost, as any datagram may be.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                _ => Ok(()),
            }
        })
    }
}

struct DatagramReceiver {
    socket: Arc<UdpSocket>,
    /// One byte more than may come: what fills it was too large.
    buffer: Box<[u8; DATAGRAM_MAX + 1]>,
}

impl ReceiveDatagrams for DatagramReceiver {
    fn receive(&mut self) -> BoxFuture<'_, io::Result<(Bytes, SocketAddr)>> {
        Box::pin(async move {
            loop {
                let (size, from) = self.socket.recv_from(&mut self.buffer[..]).await?;
                if size <= DATAGRAM_MAX {
                    return Ok((Bytes::copy_from_slice(&self.buffer[..size]), from));
                }
            }
        })
    }
}

/// Which numbers names stand for, for a while: no datagram waits for a name it had a moment ago.
#[derive(Debug)]
struct Names {
    clock: Clock,
    known: Mutex<BTreeMap<Address, (SocketAddr, Tick)>>,
}

impl Names {
    async fn number_of(&self, address: &Address) -> io::Result<SocketAddr> {
        if let Ok(ip) = address.host().parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, address.port()));
        }
        let now = self.clock.now();
        if let Some((number, until)) = self.known.lock().get(address)
            && *until > now
        {
            return Ok(*number);
        }
        let mut numbers = tokio::net::lookup_host((address.host(), address.port())).await?;
        let number = numbers.next().ok_or_else(|| no_such_name(address))?;
        let mut known = self.known.lock();
        if known.len() >= NAMES_MAX {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() < NAMES_MAX {
            known.insert(address.clone(), (number, now + NAME_LASTS));
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_must_be_protected() {
        let binds = |address: &str, protection| check_protection(address.parse().unwrap(), protection);
        for loopback in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(binds(loopback, Protection::None).is_ok(), "{loopback}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            let told = binds(open, Protection::None).unwrap_err().to_string();
            assert!(["tls", "key_ring", "insecure = true"].iter().all(|setting| told.contains(setting)), "{told}");
            assert!(binds(open, Protection::Credentials).is_ok() && binds(open, Protection::WrittenOff).is_ok());
        }
    }
}
