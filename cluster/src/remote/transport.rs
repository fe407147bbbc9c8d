//! [`Transport`]: the door to the network. What is decided behind it is the same over a real network and a simulated one.

use crate::member::Address;
use bytes::Bytes;
use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of a datagram.
pub(crate) const DATAGRAM_MAX: usize = 1400;

/// Connections between two nodes that do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// System messages, heartbeats, membership: never behind messages of users.
    Control,
    /// Messages of users.
    Ordinary,
    /// Messages for recipients that are known to get large ones.
    Large,
}

impl Lane {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Control, Self::Ordinary, Self::Large];

    /// Bytes of a frame.
    pub(crate) fn frame_max(self) -> usize {
        match self {
            Self::Control | Self::Ordinary => 256 * 1024,
            Self::Large => 2 * 1024 * 1024,
        }
    }
}

/// A future behind a pointer.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes both ways, in order, until it breaks. Closed when dropped.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Any stream.
pub(crate) type ByteStream = Box<dyn Stream>;

/// One node's door to the network.
pub(crate) trait Transport: Send + Sync + 'static {
    /// Both ends of the node's datagrams. Asked for twice, the two share what comes in.
    fn datagrams(&self) -> (Arc<dyn SendDatagrams>, Box<dyn ReceiveDatagrams>);

    /// A connection to the node at `to`. The lane goes along for who shapes traffic: the other node learns of it by the
    /// handshake. Cancel safe.
    ///
    /// It has no time limit of its own: an address that swallows everything is waited for as long as the network does.
    ///
    /// # Errors
    /// Nobody takes connections there, or the name stands for nothing.
    fn dial(&self, to: Address, lane: Lane) -> BoxFuture<'static, io::Result<ByteStream>>;

    /// Takes the connections of others. Asked for twice, the two share them.
    fn listen(&self) -> Box<dyn Listener>;
}

/// Takes connections.
pub(crate) trait Listener: Send {
    /// The next one, and where it comes from: for logs and counts, for it proves nothing. Cancel safe.
    ///
    /// # Errors
    /// This one failed, or there is no room for any: call again, after a while.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(ByteStream, SocketAddr)>>;
}

/// Sends datagrams. Any of them may be lost, doubled, or overtaken by another.
pub(crate) trait SendDatagrams: Send + Sync {
    /// Sends `datagram`, or loses it where there is no room for it. Cancel safe.
    ///
    /// # Errors
    /// It has more than [`DATAGRAM_MAX`] bytes, the name stands for nothing, or the network refuses it.
    fn send(&self, to: Address, datagram: Bytes) -> BoxFuture<'_, io::Result<()>>;
}

/// Receives datagrams.
pub(crate) trait ReceiveDatagrams: Send {
    /// The next one of at most [`DATAGRAM_MAX`] bytes, larger ones are dropped; and where it comes from, which proves
    /// nothing. Cancel safe.
    ///
    /// # Errors
    /// As the network says; call again.
    fn receive(&mut self) -> BoxFuture<'_, io::Result<(Bytes, SocketAddr)>>;
}

/// A datagram that is too large is refused before it is sent.
pub(crate) fn check_datagram(datagram: &[u8]) -> io::Result<()> {
    if datagram.len() > DATAGRAM_MAX {
        let text = format!("a datagram of {} bytes, more than {DATAGRAM_MAX}", datagram.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}
