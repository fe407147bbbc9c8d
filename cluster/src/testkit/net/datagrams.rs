//! Datagrams: each is lost, late, doubled or damaged by itself.

use super::{Door, State, alarm::Alarm, millis};
use crate::{
    member::Address,
    remote::transport::{BoxFuture, ReceiveDatagrams, SendDatagrams, check_datagram},
    testkit::trace::print_of,
};
use actors::Tick;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Datagrams on their way to a host or waiting there. More are lost.
const WAITING_MAX: usize = 2048;

/// The longest bad time of a link, and how late datagrams are in it, in milliseconds.
const BAD_MAX_MS: u64 = 2000;

/// What is on its way to a host.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: BTreeMap<(Tick, u64), (Bytes, SocketAddr)>,
    next: u64,
    reader: Option<Waker>,
}

impl Inbox {
    fn put(&mut self, due: Tick, datagram: Bytes, from: SocketAddr) -> bool {
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        self.next += 1;
        let is_first = self.waiting.first_key_value().is_none_or(|((first, _), _)| due < *first);
        self.waiting.insert((due, self.next), (datagram, from));
        if is_first {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        true
    }

    /// What arrived while nobody was there.
    pub(super) fn forget_until(&mut self, now: Tick) {
        self.waiting = self.waiting.split_off(&(now, u64::MAX));
        self.reader = None;
    }
}

pub(super) struct SimSender(pub(super) Door);

impl SendDatagrams for SimSender {
    fn send(&self, to: Address, datagram: Bytes) -> BoxFuture<'_, io::Result<()>> {
        let sent = check_datagram(&datagram).map(|()| self.0.send(&to, &datagram));
        Box::pin(std::future::ready(sent))
    }
}

impl Door {
    fn send(&self, to: &Address, datagram: &Bytes) {
        let now = self.net.0.clock.now();
        let state = &mut *self.net.0.state.lock();
        let Some(to) = state.by_address.get(to).copied().filter(|_| state.is_alive(self.host, self.life)) else {
            return;
        };
        state.carried.datagrams += 1;
        state.carried.bytes += datagram.len() as u64;
        state.hosts[self.host].sent += 1;
        self.net.0.trace.note(millis(now), self.host, "datagram", [to as u64, print_of(datagram)]);
        state.carry(self.host, to, datagram, now);
    }
}

impl State {
    fn carry(&mut self, from: usize, to: usize, datagram: &Bytes, now: Tick) {
        let (faults, draw, link) = (&self.faults, &mut self.draw, &mut self.links[from][to]);
        if faults.replays > 0 {
            link.remember(datagram);
        }
        let begins = draw.per_mille(faults.bursts);
        if begins {
            let until = now + Duration::from_millis(draw.between(50, BAD_MAX_MS));
            link.bad = Some((until, draw.per_mille(500)));
        }
        let bad = link.bad.filter(|(until, _)| now < *until).map(|(_, loses)| loses);
        if link.cut || bad == Some(true) || draw.per_mille(faults.loss) {
            self.carried.lost += 1;
            return;
        }
        let mut copies = vec![datagram.clone()];
        if draw.per_mille(faults.duplicates) {
            copies.push(datagram.clone());
        }
        if draw.per_mille(faults.replays) {
            copies.push(link.past()[draw.index(link.past().len())].clone());
        }
        let number = self.hosts[from].number;
        for mut copy in copies {
            if draw.per_mille(faults.truncations) {
                copy.truncate(draw.index(copy.len().max(1)));
            }
            if draw.per_mille(faults.flips) && !copy.is_empty() {
                let mut bytes = copy.to_vec();
                let bit = draw.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                copy = bytes.into();
            }
            let late = if bad == Some(false) { draw.below(BAD_MAX_MS) } else { 0 };
            let (least, most) = faults.delay_ms;
            let delay = draw.between(least.into(), most.into()) + link.lag_ms + late;
            let inbox = &self.hosts[to].inbox;
            if !inbox.lock().put(now + Duration::from_millis(delay), copy, number) {
                self.carried.lost += 1;
            }
        }
    }
}

pub(super) struct SimReceiver {
    door: Door,
    alarm: Alarm,
}

impl SimReceiver {
    pub(super) fn new(door: Door) -> Self {
        Self { door, alarm: Alarm::default() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Bytes, SocketAddr)>> {
        let clock = &self.door.net.0.clock;
        loop {
            let now = clock.now();
            let inbox = {
                let state = self.door.net.0.state.lock();
                if !state.is_alive(self.door.host, self.door.life) {
                    return Poll::Pending;
                }
                state.hosts[self.door.host].inbox.clone()
            };
            let due = {
                let inbox = &mut *inbox.lock();
                match inbox.waiting.first_entry() {
                    Some(first) if first.key().0 <= now => return Poll::Ready(Ok(first.remove())),
                    first => {
                        let due = first.map(|first| first.key().0);
                        inbox.reader = Some(cx.waker().clone());
                        due
                    }
                }
            };
            let Some(due) = due else { return Poll::Pending };
            if self.alarm.poll(clock, due, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl ReceiveDatagrams for SimReceiver {
    fn receive(&mut self) -> BoxFuture<'_, io::Result<(Bytes, SocketAddr)>> {
        Box::pin(poll_fn(|cx| self.poll(cx)))
    }
}
