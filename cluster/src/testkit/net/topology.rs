//! Links, and what is done to them.

use super::{SimNet, State, connection::Connection};
use actors::Tick;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// Datagrams that are kept to come once more.
const PAST_MAX: usize = 16;

/// One direction between two hosts.
#[derive(Default)]
pub(super) struct Link {
    /// Nothing passes.
    pub(super) cut: bool,
    /// Nothing of streams passes.
    pub(super) stalled: bool,
    /// Milliseconds on top of those of all links.
    pub(super) lag_ms: u64,
    /// Until when it has a bad time, and whether datagrams get lost then.
    pub(super) bad: Option<(Tick, bool)>,
    past: VecDeque<Bytes>,
    /// How many frames of the ordinary lane may have been lost with connections.
    pub(super) lost: Arc<AtomicU64>,
}

impl Link {
    pub(super) fn remember(&mut self, datagram: &Bytes) {
        if self.past.len() == PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(datagram.clone());
    }

    pub(super) fn past(&self) -> &VecDeque<Bytes> {
        &self.past
    }
}

impl SimNet {
    /// Nothing sent from `from` to `to` passes, until it is healed.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.change(from, to, "cut", |link| link.cut = true);
    }

    pub(crate) fn heal(&self, from: usize, to: usize) {
        self.change(from, to, "healed", |link| link.cut = false);
    }

    /// Streams stand still in this direction, until they go on; datagrams pass.
    pub(crate) fn stall(&self, from: usize, to: usize, stalled: bool) {
        self.change(from, to, if stalled { "stalled" } else { "flows" }, |link| link.stalled = stalled);
    }

    /// What passes takes so much longer.
    pub(crate) fn lag(&self, from: usize, to: usize, lag_ms: u64) {
        self.change(from, to, "lag", |link| link.lag_ms = lag_ms);
    }

    /// No link is cut or stalled or slow any more.
    pub(crate) fn heal_all(&self) {
        let state = &mut *self.0.state.lock();
        for link in state.links.iter_mut().flatten() {
            (link.cut, link.stalled, link.lag_ms, link.bad) = (false, false, 0, None);
        }
        state.refresh(self.0.clock.now());
        self.0.changed.notify_waiters();
        self.note(0, "all healed", [0, 0]);
    }

    /// Breaks all connections between the two.
    pub(crate) fn reset(&self, one: usize, two: usize) {
        let state = self.0.state.lock();
        for connection in state.connections.iter().filter_map(Weak::upgrade) {
            let mut connection = connection.lock();
            if connection.hosts == [one, two] || connection.hosts == [two, one] {
                connection.reset();
            }
        }
        self.note(one, "reset", [two as u64, 0]);
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.0.state.lock().links[from][to].cut
    }

    pub(crate) fn is_stalled(&self, from: usize, to: usize) -> bool {
        self.0.state.lock().links[from][to].stalled
    }

    /// How many frames of the ordinary lane from `from` to `to` may have been lost with connections so far.
    pub(crate) fn lost(&self, from: usize, to: usize) -> u64 {
        self.0.state.lock().links[from][to].lost.load(Ordering::Relaxed)
    }

    fn change(&self, from: usize, to: usize, word: &'static str, change: impl FnOnce(&mut Link)) {
        let state = &mut *self.0.state.lock();
        change(&mut state.links[from][to]);
        state.refresh(self.0.clock.now());
        self.0.changed.notify_waiters();
        self.note(from, word, [to as u64, 0]);
    }
}

impl State {
    /// Has all connections know how things stand.
    pub(super) fn refresh(&mut self, now: Tick) {
        self.connections.retain(|connection| connection.strong_count() > 0);
        for connection in self.connections.iter().filter_map(Weak::upgrade) {
            self.tell(&mut connection.lock(), now);
        }
    }

    /// A connection was made; it is told how things stand. The others know.
    pub(super) fn add(&mut self, connection: &Arc<Mutex<Connection>>, now: Tick) {
        if self.connections.len() == self.connections.capacity() {
            self.connections.retain(|connection| connection.strong_count() > 0);
        }
        self.connections.push(Arc::downgrade(connection));
        self.carried.connections += 1;
        self.tell(&mut connection.lock(), now);
    }

    fn tell(&self, connection: &mut Connection, now: Tick) {
        let [one, two] = connection.hosts;
        for (side, [from, to]) in [[one, two], [two, one]].into_iter().enumerate() {
            let link = &self.links[from][to];
            connection.set_held(side, link.cut || link.stalled, now);
            connection.set_lag(side, link.lag_ms);
        }
        let passes = |from: usize, to: usize| self.hosts[from].power && !self.links[from][to].cut;
        connection.set_answers([passes(one, two) && passes(two, one); 2]);
        connection.set_faults(&self.faults);
    }
}
