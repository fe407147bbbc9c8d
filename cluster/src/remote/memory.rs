//! [`MemoryNetwork`]: a [`Transport`] per node within one process. Each direction of a link has a delay and can be cut.
//!
//! A cut loses datagrams, lets new connections wait, and holds back what goes over those that stand: once healed it
//! arrives, as over TCP. [`reset`](MemoryNetwork::reset) breaks connections.

use super::transport::{
    BoxFuture, ByteStream, Lane, Listener, ReceiveDatagrams, SendDatagrams, Transport, check_datagram,
};
use crate::member::Address;
use actors::{Clock, Sleep, Tick};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, mpsc},
};

/// Bytes under way in one direction of a connection.
const WINDOW: usize = 64 * 1024;

/// Datagrams that wait to be received.
const DATAGRAMS_WAITING: usize = 1024;

/// All links between nodes.
#[derive(Clone)]
pub(crate) struct MemoryNetwork {
    clock: Clock,
    state: Arc<Mutex<State>>,
    healed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<Address, Node>,
    delays: BTreeMap<(Address, Address), Duration>,
    cuts: BTreeSet<(Address, Address)>,
    pipes: Vec<(Address, Address, std::sync::Weak<Mutex<Pipe>>)>,
}

struct Node {
    number: SocketAddr,
    connections: mpsc::Sender<(ByteStream, SocketAddr)>,
    datagrams: mpsc::Sender<(Tick, Bytes, SocketAddr)>,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    under_way: VecDeque<(Tick, Bytes)>,
    size: usize,
    closed: bool,
    reset: bool,
    cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl MemoryNetwork {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), healed: Arc::default() }
    }

    /// The door of the node at `address`. A node that was there before is gone.
    pub(crate) fn node(&self, address: Address) -> MemoryTransport {
        let (connections, accepts) = mpsc::channel(16);
        let (datagrams, receives) = mpsc::channel(DATAGRAMS_WAITING);
        let mut state = self.state.lock();
        let number = SocketAddr::from((Ipv4Addr::from(0x7f01_0001 + state.nodes.len() as u32), address.port()));
        state.nodes.insert(address.clone(), Node { number, connections, datagrams });
        drop(state);
        let (accepts, receives) =
            (Arc::new(tokio::sync::Mutex::new(accepts)), Arc::new(tokio::sync::Mutex::new(receives)));
        MemoryTransport { network: self.clone(), address, accepts, receives }
    }

    /// What goes from `from` to `to` takes so long.
    pub(crate) fn delay(&self, from: &Address, to: &Address, delay: Duration) {
        self.state.lock().delays.insert((from.clone(), to.clone()), delay);
    }

    /// Nothing gets from `from` to `to`, until it is healed.
    pub(crate) fn cut(&self, from: &Address, to: &Address) {
        self.set_cut(from, to, true);
    }

    /// As before the cut.
    pub(crate) fn heal(&self, from: &Address, to: &Address) {
        self.set_cut(from, to, false);
        self.healed.notify_waiters();
    }

    /// How long there and back takes; none while one of the two is cut.
    fn round_trip(&self, from: &Address, to: &Address) -> Option<Duration> {
        let state = self.state.lock();
        let is_whole = !state.is_cut(from, to) && !state.is_cut(to, from);
        is_whole.then(|| state.delay(from, to) + state.delay(to, from))
    }

    fn set_cut(&self, from: &Address, to: &Address, cut: bool) {
        let mut state = self.state.lock();
        let link = (from.clone(), to.clone());
        if cut {
            state.cuts.insert(link)
        } else {
            state.cuts.remove(&link)
        };
        state.each_pipe(from, to, |pipe| pipe.cut = cut);
    }

    /// Breaks all connections between the two.
    pub(crate) fn reset(&self, one: &Address, two: &Address) {
        let mut state = self.state.lock();
        state.each_pipe(one, two, |pipe| pipe.reset = true);
        state.each_pipe(two, one, |pipe| pipe.reset = true);
    }
}

impl State {
    fn each_pipe(&mut self, from: &Address, to: &Address, change: impl Fn(&mut Pipe)) {
        self.pipes.retain(|(.., pipe)| pipe.strong_count() > 0);
        for pipe in
            self.pipes.iter().filter(|pipe| pipe.0 == *from && pipe.1 == *to).filter_map(|pipe| pipe.2.upgrade())
        {
            let mut pipe = pipe.lock();
            change(&mut pipe);
            pipe.wake();
        }
    }

    fn delay(&self, from: &Address, to: &Address) -> Duration {
        self.delays.get(&(from.clone(), to.clone())).copied().unwrap_or_default()
    }

    fn is_cut(&self, from: &Address, to: &Address) -> bool {
        self.cuts.contains(&(from.clone(), to.clone()))
    }
}

/// One node's door.
pub(crate) struct MemoryTransport {
    network: MemoryNetwork,
    address: Address,
    accepts: Shared<(ByteStream, SocketAddr)>,
    receives: Shared<(Tick, Bytes, SocketAddr)>,
}

type Shared<T> = Arc<tokio::sync::Mutex<mpsc::Receiver<T>>>;

impl Transport for MemoryTransport {
    fn datagrams(&self) -> (Arc<dyn SendDatagrams>, Box<dyn ReceiveDatagrams>) {
        let sender = MemoryDatagrams { network: self.network.clone(), from: self.address.clone() };
        let receiver =
            MemoryReceiver { clock: self.network.clock.clone(), receives: Arc::clone(&self.receives), next: None };
        (Arc::new(sender), Box::new(receiver))
    }

    fn dial(&self, to: Address, _lane: Lane) -> BoxFuture<'static, io::Result<ByteStream>> {
        let (network, from) = (self.network.clone(), self.address.clone());
        Box::pin(async move {
            let delay = loop {
                let healed = network.healed.notified();
                if let Some(delay) = network.round_trip(&from, &to) {
                    break delay;
                }
                healed.await;
            };
            network.clock.sleep(delay).await;
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (mine, theirs, number, connections) = {
                let mut state = network.state.lock();
                let there = Arc::new(Mutex::new(Pipe { cut: state.is_cut(&from, &to), ..Pipe::default() }));
                let back = Arc::new(Mutex::new(Pipe { cut: state.is_cut(&to, &from), ..Pipe::default() }));
                state.pipes.retain(|(.., pipe)| pipe.strong_count() > 0);
                state.pipes.push((from.clone(), to.clone(), Arc::downgrade(&there)));
                state.pipes.push((to.clone(), from.clone(), Arc::downgrade(&back)));
                let end = |read: &Arc<_>, write: &Arc<_>, from: &Address, to: &Address| MemoryStream {
                    clock: network.clock.clone(),
                    delay: state.delay(from, to),
                    read: Arc::clone(read),
                    write: Arc::clone(write),
                    sleep: None,
                };
                let (mine, theirs) = (end(&back, &there, &from, &to), end(&there, &back, &to, &from));
                let number = state.nodes.get(&from).ok_or_else(refused)?.number;
                (mine, theirs, number, state.nodes.get(&to).ok_or_else(refused)?.connections.clone())
            };
            connections.send((Box::new(theirs) as ByteStream, number)).await.map_err(|_| refused())?;
            Ok(Box::new(mine) as ByteStream)
        })
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(MemoryListener(Arc::clone(&self.accepts)))
    }
}

struct MemoryListener(Shared<(ByteStream, SocketAddr)>);

impl Listener for MemoryListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(ByteStream, SocketAddr)>> {
        Box::pin(async move { self.0.lock().await.recv().await.ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }
}

/// One end of a connection.
struct MemoryStream {
    clock: Clock,
    delay: Duration,
    read: Arc<Mutex<Pipe>>,
    write: Arc<Mutex<Pipe>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for MemoryStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let due = {
                let pipe = &mut *self.read.lock();
                pipe.reader = Some(cx.waker().clone());
                if pipe.reset {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                if pipe.cut {
                    return Poll::Pending;
                }
                let now = self.clock.now();
                match pipe.under_way.front_mut() {
                    None if pipe.closed => return Poll::Ready(Ok(())),
                    None => return Poll::Pending,
                    Some((due, bytes)) if *due <= now => {
                        let part = bytes.split_to(bytes.len().min(buffer.remaining()));
                        buffer.put_slice(&part);
                        if bytes.is_empty() {
                            pipe.under_way.pop_front();
                        }
                        pipe.size -= part.len();
                        pipe.writer.take().into_iter().for_each(Waker::wake);
                        return Poll::Ready(Ok(()));
                    }
                    Some((due, _)) => *due,
                }
            };
            let clock = self.clock.clone();
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(clock.sleep_until(due)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.write.lock();
        if pipe.reset || pipe.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let part = &bytes[..bytes.len().min(WINDOW - pipe.size)];
        if part.is_empty() && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.under_way.push_back((self.clock.now() + self.delay, Bytes::copy_from_slice(part)));
        pipe.size += part.len();
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.write.lock();
        pipe.closed = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        for pipe in [&self.read, &self.write] {
            let mut pipe = pipe.lock();
            pipe.closed = true;
            pipe.wake();
        }
    }
}

struct MemoryDatagrams {
    network: MemoryNetwork,
    from: Address,
}

impl SendDatagrams for MemoryDatagrams {
    fn send(&self, to: Address, datagram: Bytes) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            check_datagram(&datagram)?;
            let state = self.network.state.lock();
            if let (Some(from), Some(there)) = (state.nodes.get(&self.from), state.nodes.get(&to))
                && !state.is_cut(&self.from, &to)
            {
                let due = self.network.clock.now() + state.delay(&self.from, &to);
                // No room: lost.
                let _ = there.datagrams.try_send((due, datagram, from.number));
            }
            Ok(())
        })
    }
}

struct MemoryReceiver {
    clock: Clock,
    receives: Shared<(Tick, Bytes, SocketAddr)>,
    /// It came, and is not due: kept here, so that nothing is lost when a call is dropped.
    next: Option<(Tick, Bytes, SocketAddr)>,
}

impl ReceiveDatagrams for MemoryReceiver {
    fn receive(&mut self) -> BoxFuture<'_, io::Result<(Bytes, SocketAddr)>> {
        Box::pin(async move {
            if self.next.is_none() {
                self.next = self.receives.lock().await.recv().await;
            }
            let due = self.next.as_ref().map(|(due, ..)| *due).ok_or(io::ErrorKind::NotConnected)?;
            self.clock.sleep_until(due).await;
            self.next.take().map(|(_, bytes, from)| (bytes, from)).ok_or_else(|| io::ErrorKind::NotConnected.into())
        })
    }
}
