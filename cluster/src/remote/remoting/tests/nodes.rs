//! Nodes for tests, and what they heard.

use super::super::{Receivers, Remoting, RemotingSettings};
use crate::{
    member::{Address, UniqueAddress},
    remote::{
        association::Ended,
        door::{Channel, Receiver, Remote},
        dropped::DropReason,
        memory::MemoryNetwork,
        tcp::{Protection, Tcp},
        transport::{BoxFuture, ByteStream, Lane, Listener, ReceiveDatagrams, SendDatagrams, Transport},
        wire::Registry,
    },
    rng::Rng,
    seams::{Seams, Spawner},
};
use actors::Clock;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
    sync::Notify,
};

/// What one node heard, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Message { from: u64, lane: Lane, system: bool, body: Bytes },
    Began(u64),
    Link(u64, bool),
    Ended(u64, Ended),
    CutOffBy(u64),
    Dropped(DropReason, usize),
}

/// Writes down what it hears.
#[derive(Default)]
pub(super) struct Ear {
    heard: Mutex<Vec<Heard>>,
    more: Notify,
}

impl Ear {
    fn hear(&self, heard: Heard) {
        self.heard.lock().push(heard);
        self.more.notify_waiters();
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    /// Waits until what was heard is enough.
    pub(super) async fn until(&self, enough: impl Fn(&[Heard]) -> bool) {
        loop {
            let more = self.more.notified();
            if enough(&self.heard.lock()) {
                return;
            }
            more.await;
        }
    }

    /// The numbers that came as messages.
    pub(super) fn numbers(&self, is_system: bool) -> Vec<u32> {
        numbers(&self.heard.lock(), is_system)
    }
}

/// See [`Ear::numbers`].
pub(super) fn numbers(heard: &[Heard], is_system: bool) -> Vec<u32> {
    let number = |heard: &Heard| match heard {
        Heard::Message { system, body, .. } if *system == is_system => {
            Some(u32::from_be_bytes(body[..4].try_into().unwrap()))
        }
        _ => None,
    };
    heard.iter().filter_map(number).collect()
}

impl Receiver for Ear {
    fn deliver(&self, from: &UniqueAddress, lane: Lane, system: bool, body: Bytes) {
        self.hear(Heard::Message { from: from.uid, lane, system, body });
    }

    fn began(&self, node: &UniqueAddress) {
        self.hear(Heard::Began(node.uid));
    }

    fn link(&self, peer: &UniqueAddress, works: bool) {
        self.hear(Heard::Link(peer.uid, works));
    }

    fn ended(&self, node: &UniqueAddress, why: &Ended) {
        self.hear(Heard::Ended(node.uid, why.clone()));
    }

    fn quarantined(&self, by: &UniqueAddress) {
        self.hear(Heard::CutOffBy(by.uid));
    }

    fn dropped(&self, _: &Address, reason: DropReason, count: usize) {
        self.hear(Heard::Dropped(reason, count));
    }
}

/// One node.
pub(super) struct Node {
    pub(super) remoting: Arc<Remoting>,
    pub(super) ear: Arc<Ear>,
    pub(super) me: UniqueAddress,
}

impl Node {
    pub(super) fn start(me: UniqueAddress, transport: Arc<dyn Transport>, clock: &Clock) -> Self {
        let here = || Arc::new(Handle::current()) as Arc<dyn Spawner>;
        Self::start_on(me, transport, clock, [here(), here()])
    }

    /// With spawners for the control lane and for the others.
    pub(super) fn start_on(
        me: UniqueAddress,
        transport: Arc<dyn Transport>,
        clock: &Clock,
        spawners: [Arc<dyn Spawner>; 2],
    ) -> Self {
        let settings = RemotingSettings { cluster: "shop".into(), ..RemotingSettings::default() };
        Self::start_with(me, settings, transport, clock, spawners)
    }

    fn start_with(
        me: UniqueAddress,
        settings: RemotingSettings,
        transport: Arc<dyn Transport>,
        clock: &Clock,
        [control, ordinary]: [Arc<dyn Spawner>; 2],
    ) -> Self {
        let ear = Arc::new(Ear::default());
        let seams = Seams { clock: clock.clone(), transport, control, ordinary, rng: Arc::new(Rng::seeded(me.uid)) };
        let receivers = Receivers::from([(Channel::Actors, Arc::clone(&ear) as Arc<dyn Receiver>)]);
        let remoting = Remoting::start(me.clone(), settings, Registry::default(), seams, receivers);
        Self { remoting, ear, me }
    }

    /// The next life at its address.
    pub(super) fn restarts(&self, network: &MemoryNetwork, clock: &Clock, uid: u64) -> Self {
        let me = UniqueAddress { uid, ..self.me.clone() };
        Self::start(me.clone(), Arc::new(network.node(me.address)), clock)
    }

    /// To whoever is there.
    pub(super) fn send(&self, to: &Node, lane: Lane, body: impl Into<Bytes>) {
        self.remoting.send(&to.me.address, None, Channel::Actors, lane, body.into());
    }

    pub(super) fn send_system(&self, to: &Node, body: impl Into<Bytes>) {
        self.remoting.send_system(&to.me, Channel::Actors, body.into());
    }
}

/// Two nodes, of uids 1 and 2, over a network in memory.
pub(super) fn two_in_memory() -> (MemoryNetwork, Clock, [Node; 2]) {
    two_in_memory_with(0, |_| RemotingSettings { cluster: "shop".into(), ..RemotingSettings::default() })
}

/// With settings by uid.
pub(super) fn two_in_memory_with(
    wall_ms: u64,
    settings: impl Fn(u64) -> RemotingSettings,
) -> (MemoryNetwork, Clock, [Node; 2]) {
    let clock = Clock::paused(&Handle::current(), wall_ms);
    let network = MemoryNetwork::new(clock.clone());
    let node = |name: &str, uid| {
        let me = UniqueAddress { address: name.parse().unwrap(), uid };
        let transport = Arc::new(network.node(me.address.clone()));
        Node::start_with(me, settings(uid), transport, &clock, [(); 2].map(|()| Arc::new(Handle::current()) as _))
    };
    let nodes = [node("one:1", 1), node("two:2", 2)];
    (network, clock, nodes)
}

/// A door to real sockets, and who is behind it.
pub(super) fn over_tcp(uid: u64, clock: &Clock) -> (Tcp, UniqueAddress) {
    let tcp = Tcp::bind("127.0.0.1:0".parse().unwrap(), Protection::None, clock.clone()).unwrap();
    let me = UniqueAddress { address: tcp.address().to_string().parse().unwrap(), uid };
    (tcp, me)
}

/// Two nodes, of uids 1 and 2, over sockets that can be cut.
pub(super) fn two_over_tcp() -> (Shears, Clock, [Node; 2]) {
    let clock = Clock::tokio();
    let shears = Shears::default();
    let node = |uid| {
        let (tcp, me) = over_tcp(uid, &clock);
        Node::start(me, Arc::new(CanBeCut { inner: tcp, shears: shears.clone() }), &clock)
    };
    let nodes = [node(1), node(2)];
    (shears, clock, nodes)
}

/// Cuts connections.
#[derive(Clone, Default)]
pub(super) struct Shears(Arc<Mutex<(usize, Vec<Waker>)>>);

impl Shears {
    /// All connections that were made so far break.
    pub(super) fn cut(&self) {
        let mut cuts = self.0.lock();
        cuts.0 += 1;
        cuts.1.drain(..).for_each(Waker::wake);
    }
}

struct CanBeCut<T> {
    inner: T,
    shears: Shears,
}

impl<T: Transport> Transport for CanBeCut<T> {
    fn datagrams(&self) -> (Arc<dyn SendDatagrams>, Box<dyn ReceiveDatagrams>) {
        self.inner.datagrams()
    }

    fn dial(&self, to: Address, lane: Lane) -> BoxFuture<'static, io::Result<ByteStream>> {
        let (dialled, shears) = (self.inner.dial(to, lane), self.shears.clone());
        Box::pin(async move {
            let made_at = shears.0.lock().0;
            Ok(Box::new(CutStream { inner: dialled.await?, made_at, shears }) as ByteStream)
        })
    }

    fn listen(&self) -> Box<dyn Listener> {
        self.inner.listen()
    }
}

struct CutStream {
    inner: ByteStream,
    made_at: usize,
    shears: Shears,
}

impl CutStream {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut cuts = self.shears.0.lock();
        if cuts.0 > self.made_at {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        cuts.1.push(cx.waker().clone());
        Ok(())
    }
}

impl AsyncRead for CutStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
