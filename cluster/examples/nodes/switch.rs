//! [`Switch`]: joins namespaces, and delays, loses, doubles and holds what it carries, as it is told.
//!
//! It sees IP packets, so whatever the kernels do about them they do: segments of streams get lost like datagrams and are
//! sent again, connections wait ever longer for what does not come. The simulator's network does so to datagrams alone.

use crate::{line, net::Way};
use anyhow::Context;
use cluster::testkit::NetFaults;
use parking_lot::{Condvar, Mutex};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt,
    fs::File,
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

/// What a stream that stands still may have under way, in packets each way; what is more gets lost.
const HELD_MAX: usize = 4096;

/// See the module's documentation. Clones are the same one. It ends with the program.
#[derive(Clone)]
pub(crate) struct Switch(Arc<(Mutex<State>, Condvar)>);

struct State {
    wires: BTreeMap<usize, Arc<File>>,
    ways: BTreeMap<Way, Line>,
    faults: NetFaults,
    rng: ChaCha8Rng,
    /// By when it is to arrive.
    under_way: BinaryHeap<Reverse<Packet>>,
    connections: BTreeSet<Connection>,
    broken: BTreeSet<Connection>,
    carried: Carried,
}

/// One way between two nodes.
#[derive(Default)]
struct Line {
    cut: bool,
    stalled: bool,
    held: Vec<(Duration, Vec<u8>)>,
    /// When the last segment of a stream arrives: the next does not overtake it.
    last: Duration,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    at: Duration,
    number: u64,
    came: Duration,
    to: usize,
    bytes: Vec<u8>,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    number: u64,
    pub(crate) offered: u64,
    pub(crate) arrived: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) cut: u64,
    pub(crate) held: u64,
    pub(crate) broken: u64,
    delays: Duration,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number: _, offered, arrived, lost, doubled, cut, held, broken, .. } = self;
        let delay = self.delays.as_secs_f64() * 1000.0 / (*arrived).max(1) as f64;
        write!(
            f,
            "{offered} packets: {arrived} arrived, after {delay:.1} ms on average, {lost} lost, {doubled} doubled, {cut} cut off, \
             {held} held, {broken} of broken connections"
        )
    }
}

impl Switch {
    /// One that joins nothing yet and does no harm. What it does by chance it draws from `seed`.
    pub(crate) fn start(seed: u64) -> Self {
        let state = State {
            wires: BTreeMap::new(),
            ways: BTreeMap::new(),
            faults: NetFaults { delay_ms: (0, 0), ..NetFaults::NONE },
            rng: ChaCha8Rng::seed_from_u64(seed),
            under_way: BinaryHeap::new(),
            connections: BTreeSet::new(),
            broken: BTreeSet::new(),
            carried: Carried::default(),
        };
        let switch = Self(Arc::new((Mutex::new(state), Condvar::new())));
        let delivers = switch.clone();
        std::thread::spawn(move || delivers.deliver());
        switch
    }

    /// What is sent to `node` is written to `wire`, what it sends read from there.
    pub(crate) fn plug(&self, node: usize, wire: File) -> anyhow::Result<()> {
        let mut reads = wire.try_clone().context("cannot open a TUN device twice")?;
        self.0.0.lock().wires.insert(node, Arc::new(wire));
        let switch = self.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            // An error: the device is gone, with its namespace.
            while let Ok(count) = reads.read(&mut buffer) {
                switch.take(node, &buffer[..count]);
            }
        });
        Ok(())
    }

    pub(crate) fn unplug(&self, node: usize) {
        self.0.0.lock().wires.remove(&node);
    }

    /// What goes wrong by itself from now on, of what a switch can do: delay, loss and duplicates.
    pub(crate) fn set_faults(&self, faults: NetFaults) {
        self.0.0.lock().faults = faults;
    }

    pub(crate) fn cut(&self, way: Way, cut: bool) {
        self.0.0.lock().ways.entry(way).or_default().cut = cut;
    }

    /// Streams stand still this way, or go on: what they carry and their ends. That something arrived is still told, so the
    /// other way goes on.
    pub(crate) fn stall(&self, way: Way, stalled: bool) {
        let state = &mut *self.0.0.lock();
        let line = state.ways.entry(way).or_default();
        line.stalled = stalled;
        if !stalled {
            for (came, bytes) in std::mem::take(&mut line.held) {
                state.send(way, came, bytes, true);
            }
            self.0.1.notify_one();
        }
    }

    /// Nothing is cut or stands still.
    pub(crate) fn heal(&self) {
        let ways: Vec<Way> = self.0.0.lock().ways.keys().copied().collect();
        for way in ways {
            self.cut(way, false);
            self.stall(way, false);
        }
    }

    /// Breaks all connections between the two: whoever next sends something over one is told so.
    pub(crate) fn reset(&self, one: usize, two: usize) {
        let state = &mut *self.0.0.lock();
        let between = |of: &Connection| of.ends.map(|(node, _)| node) == [one.min(two), one.max(two)];
        let (broken, whole) = std::mem::take(&mut state.connections).into_iter().partition(between);
        state.connections = whole;
        let broken: BTreeSet<Connection> = broken;
        state.broken.extend(broken);
    }

    pub(crate) fn carried(&self) -> Carried {
        self.0.0.lock().carried
    }

    fn take(&self, from: usize, bytes: &[u8]) {
        // Anything else than IPv4 to a node is the kernels' talk to whoever may be there.
        let Some(to) = node_in(bytes, 16) else { return };
        let state = &mut *self.0.0.lock();
        if !state.wires.contains_key(&from) {
            return;
        }
        state.carried.offered += 1;
        let segment = Segment::of(bytes);
        let line = state.ways.entry((from, to)).or_default();
        if line.cut {
            state.carried.cut += 1;
            return;
        }
        let now = line::now();
        if let Some(segment) = &segment {
            let connection = segment.connection(from, to);
            if segment.begins() {
                state.broken.remove(&connection);
            }
            if state.broken.contains(&connection) {
                state.carried.broken += 1;
                if let Some(reset) = segment.reset() {
                    state.put(from, now, now, reset);
                }
                self.0.1.notify_one();
                return;
            }
            state.connections.insert(connection);
        }
        if line.stalled && segment.as_ref().is_some_and(Segment::carries) {
            if line.held.len() < HELD_MAX {
                line.held.push((now, bytes.to_vec()));
                state.carried.held += 1;
            }
            return;
        }
        state.send((from, to), now, bytes.to_vec(), segment.is_some());
        self.0.1.notify_one();
    }

    fn deliver(&self) -> ! {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        loop {
            let rest = state.under_way.peek().map(|next| next.0.at.saturating_sub(line::now()));
            match rest {
                None => changed.wait(&mut state),
                Some(rest) if rest > Duration::ZERO => drop(changed.wait_for(&mut state, rest)),
                Some(_) => state.write_next(),
            }
        }
    }
}

impl State {
    /// Has chance decide what becomes of it.
    fn send(&mut self, way: Way, came: Duration, bytes: Vec<u8>, in_order: bool) {
        let NetFaults { delay_ms, loss, duplicates, .. } = self.faults;
        if self.rng.random_range(0..1000) < loss {
            self.carried.lost += 1;
            return;
        }
        let twice = self.rng.random_range(0..1000) < duplicates;
        self.carried.doubled += u64::from(twice);
        for _ in 0..=u8::from(twice) {
            let delay = self.rng.random_range(delay_ms.0 * 1000..=delay_ms.1 * 1000);
            let mut at = line::now() + Duration::from_micros(delay.into());
            if in_order {
                let last = &mut self.ways.entry(way).or_default().last;
                at = at.max(*last);
                *last = at;
            }
            self.put(way.1, came, at, bytes.clone());
        }
    }

    fn put(&mut self, to: usize, came: Duration, at: Duration, bytes: Vec<u8>) {
        self.carried.number += 1;
        self.under_way.push(Reverse(Packet { at, number: self.carried.number, came, to, bytes }));
    }

    fn write_next(&mut self) {
        let Some(Reverse(packet)) = self.under_way.pop() else { return };
        // Where nobody is it arrives nowhere.
        let wire = self.wires.get(&packet.to);
        if wire.is_some_and(|wire| (&**wire).write_all(&packet.bytes).is_ok()) {
            self.carried.arrived += 1;
            self.carried.delays += line::now() - packet.came;
        }
    }
}

/// A connection: nodes and ports, the lower first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Connection {
    ends: [(usize, u16); 2],
}

/// A TCP segment in its IPv4 packet.
struct Segment<'a> {
    packet: &'a [u8],
    tcp: &'a [u8],
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl<'a> Segment<'a> {
    fn of(packet: &'a [u8]) -> Option<Self> {
        let tcp = packet.get(usize::from(packet[0] & 15) * 4..)?;
        (packet[9] == 6 && tcp.len() >= 20).then_some(Self { packet, tcp })
    }

    fn flags(&self) -> u8 {
        self.tcp[13]
    }

    fn begins(&self) -> bool {
        self.flags() & (SYN | ACK) == SYN
    }

    /// Whether it has something of the stream, or its end.
    fn carries(&self) -> bool {
        self.tcp.len() > usize::from(self.tcp[12] >> 4) * 4 || self.flags() & FIN != 0
    }

    fn connection(&self, from: usize, to: usize) -> Connection {
        let port = |at: usize| u16::from_be_bytes([self.tcp[at], self.tcp[at + 1]]);
        let mut ends = [(from, port(0)), (to, port(2))];
        ends.sort_unstable();
        Connection { ends }
    }

    /// What the other end would answer if it knew of no such connection. Nothing, if this ends it.
    fn reset(&self) -> Option<Vec<u8>> {
        if self.flags() & (RST | ACK) != ACK {
            return None;
        }
        let mut answer = vec![0; 40];
        answer[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
        answer[12..16].copy_from_slice(&self.packet[16..20]);
        answer[16..20].copy_from_slice(&self.packet[12..16]);
        answer[20..22].copy_from_slice(&self.tcp[2..4]);
        answer[22..24].copy_from_slice(&self.tcp[..2]);
        // What whoever sent this waits for next.
        answer[24..28].copy_from_slice(&self.tcp[8..12]);
        (answer[32], answer[33]) = (0x50, RST);
        let header = checksum(&answer[..20]);
        answer[10..12].copy_from_slice(&header);
        let pseudo: Vec<u8> =
            answer[12..20].iter().copied().chain([0, 6, 0, 20]).chain(answer[20..].to_vec()).collect();
        answer[36..38].copy_from_slice(&checksum(&pseudo));
        Some(answer)
    }
}

/// That of IP and TCP, over an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Which node the address at that place in an IPv4 packet is of.
fn node_in(packet: &[u8], at: usize) -> Option<usize> {
    let [10, 77, 0, node @ 1..=254] = *packet.get(at..at + 4)? else { return None };
    (packet[0] >> 4 == 4).then_some(node.into())
}
