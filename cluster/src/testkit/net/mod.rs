//! [`SimNet`]: a network of simulated hosts. All that happens on it follows from a seed and the order of calls.
//!
//! # Model
//! A *host* has an address and is on or off; at most one *life* of a process runs on it, and holds its [`Transport`]. Each
//! direction between two hosts is a *link*, which may be cut. Datagrams and bytes of streams take time; what
//! [`NetFaults`] does to them is drawn for each.
//!
//! A cut loses datagrams. What goes over a stream is held back and sent again until it arrives, as TCP does; connections are
//! neither made nor refused meanwhile. A process that ends breaks its connections; a host without power breaks nothing:
//! others learn of it when the host is back and answers that it knows nothing of them.
//!
//! A life that is over reaches nobody: whatever it still does, in destructors for instance, has no effect.

mod alarm;
mod connection;
mod datagrams;
mod faults;
mod streams;
#[cfg(test)]
mod tests;
mod topology;

pub use faults::NetFaults;

use self::{
    connection::Connection,
    datagrams::{Inbox, SimReceiver, SimSender},
    streams::{Backlog, SimListener},
    topology::Link,
};
use super::{draw::Draw, trace::Trace};
use crate::{
    member::Address,
    remote::transport::{BoxFuture, ByteStream, Lane, Listener, ReceiveDatagrams, SendDatagrams, Transport},
};
use actors::{Clock, Tick};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// All hosts and links. Clones are the same network.
#[derive(Clone)]
pub(crate) struct SimNet(Arc<Inner>);

struct Inner {
    /// That of the world, which no node has.
    clock: Clock,
    trace: Trace,
    /// Something that a connection may wait for has changed.
    changed: Notify,
    state: Mutex<State>,
    /// Bytes of streams, and pieces they were written in: apart, as connections are locked within the state.
    streamed: [AtomicU64; 2],
}

struct State {
    hosts: Vec<Host>,
    by_address: BTreeMap<Address, usize>,
    /// By sender, then receiver.
    links: Vec<Vec<Link>>,
    connections: Vec<Weak<Mutex<Connection>>>,
    faults: Arc<NetFaults>,
    draw: Draw,
    carried: Carried,
}

/// How much a network has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) datagrams: u64,
    pub(crate) lost: u64,
    pub(crate) connections: u64,
    /// Of datagrams and streams, without what a real network adds.
    pub(crate) bytes: u64,
    /// Pieces that were written to streams.
    pub(crate) writes: u64,
}

struct Host {
    number: SocketAddr,
    power: bool,
    /// 0: no process runs there.
    life: u64,
    lives: u64,
    inbox: Arc<Mutex<Inbox>>,
    backlog: Arc<Mutex<Backlog>>,
    /// Datagrams, and attempts to connect.
    sent: u64,
    /// Ends of connections that nobody serves.
    mutes: Vec<ByteStream>,
}

impl SimNet {
    pub(crate) fn new(clock: Clock, draw: Draw, trace: Trace) -> Self {
        let state = State {
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            links: Vec::new(),
            connections: Vec::new(),
            faults: Arc::default(),
            draw,
            carried: Carried::default(),
        };
        Self(Arc::new(Inner {
            clock,
            trace,
            changed: Notify::new(),
            state: Mutex::new(state),
            streamed: Default::default(),
        }))
    }

    /// Another host, on, without a process. Returns its number, from 0.
    pub(crate) fn add(&self, address: Address) -> usize {
        let state = &mut *self.0.state.lock();
        let host = state.hosts.len();
        let number = SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + host as u32), address.port()));
        let (inbox, backlog, mutes) = Default::default();
        state.hosts.push(Host { number, power: true, life: 0, lives: 0, inbox, backlog, sent: 0, mutes });
        state.by_address.insert(address, host);
        state.links.iter_mut().for_each(|links| links.push(Link::default()));
        state.links.push((0..=host).map(|_| Link::default()).collect());
        host
    }

    /// A process begins there, which this is the door of.
    pub(crate) fn start(&self, host: usize) -> Arc<dyn Transport> {
        let state = &mut *self.0.state.lock();
        let there = &mut state.hosts[host];
        there.power = true;
        there.lives += 1;
        there.life = there.lives;
        there.inbox.lock().forget_until(self.0.clock.now());
        let door = Door { net: self.clone(), host, life: there.life };
        state.refresh(self.0.clock.now());
        self.0.changed.notify_waiters();
        Arc::new(door)
    }

    /// The process there ends; or the host loses its `power`, so that nobody is told.
    pub(crate) fn stop(&self, host: usize, power: bool) {
        let state = &mut *self.0.state.lock();
        state.hosts[host].power = power;
        state.hosts[host].life = 0;
        let mutes = std::mem::take(&mut state.hosts[host].mutes);
        let untaken = std::mem::take(&mut *state.hosts[host].backlog.lock());
        for connection in state.connections.iter().filter_map(Weak::upgrade) {
            connection.lock().end_of(host);
        }
        state.refresh(self.0.clock.now());
        drop((mutes, untaken));
    }

    pub(crate) fn set_faults(&self, faults: NetFaults) {
        let state = &mut *self.0.state.lock();
        state.faults = Arc::new(faults);
        state.refresh(self.0.clock.now());
        self.0.changed.notify_waiters();
    }

    /// How often the host sent a datagram or tried to connect, in all lives.
    pub(crate) fn sent(&self, host: usize) -> u64 {
        self.0.state.lock().hosts[host].sent
    }

    pub(crate) fn carried(&self) -> Carried {
        let [bytes, writes] = self.0.streamed.each_ref().map(|count| count.load(Ordering::Relaxed));
        let carried = self.0.state.lock().carried;
        Carried { bytes: carried.bytes + bytes, writes, ..carried }
    }

    fn note(&self, node: usize, word: &'static str, numbers: [u64; 2]) {
        self.0.trace.note(millis(self.0.clock.now()), node, word, numbers);
    }
}

pub(super) fn millis(at: Tick) -> u64 {
    at.since_start().as_millis() as u64
}

impl State {
    fn is_alive(&self, host: usize, life: u64) -> bool {
        self.hosts[host].life == life
    }
}

/// The door of one life.
#[derive(Clone)]
struct Door {
    net: SimNet,
    host: usize,
    life: u64,
}

impl Transport for Door {
    fn datagrams(&self) -> (Arc<dyn SendDatagrams>, Box<dyn ReceiveDatagrams>) {
        (Arc::new(SimSender(self.clone())), Box::new(SimReceiver::new(self.clone())))
    }

    fn dial(&self, to: Address, lane: Lane) -> BoxFuture<'static, io::Result<ByteStream>> {
        Box::pin(self.clone().connect(to, lane))
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(SimListener::new(self.clone()))
    }
}
