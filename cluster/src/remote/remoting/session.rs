//! [`Session`]: one life of another node, from when it is met until it is over.
//!
//! Invariant: the receivers hear of a life, then get its messages, then hear that it is over; whichever tasks say so.

use crate::{
    member::UniqueAddress,
    remote::{transport::Lane, wire::Agreement},
};
use parking_lot::Mutex;
use std::sync::OnceLock;
use tokio::sync::{MutexGuard, Notify};

/// One life that was met.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) node: UniqueAddress,
    agreement: OnceLock<Agreement>,
    gate: Mutex<Gate>,
    changed: Notify,
    turns: [tokio::sync::Mutex<()>; 3],
}

#[derive(Debug, Default)]
struct Gate {
    has_begun: bool,
    is_over: bool,
    delivering: usize,
}

impl Session {
    pub(super) fn new(node: UniqueAddress) -> Self {
        Self {
            node,
            agreement: OnceLock::new(),
            gate: Mutex::default(),
            changed: Notify::new(),
            turns: Default::default(),
        }
    }

    /// What can pass, once there was a handshake.
    pub(super) fn agreement(&self) -> Option<Agreement> {
        self.agreement.get().cloned()
    }

    /// There was a handshake. Types are the same all its life: later ones say nothing new.
    /// Says whether this is the first.
    pub(super) fn agree(&self, agreement: Agreement) -> bool {
        self.agreement.set(agreement).is_ok()
    }

    /// All receivers have heard of it.
    pub(super) fn begin(&self) {
        self.gate.lock().has_begun = true;
        self.changed.notify_waiters();
    }

    /// Nothing more is to be delivered.
    pub(super) fn end(&self) {
        self.gate.lock().is_over = true;
        self.changed.notify_waiters();
    }

    /// Waits until messages may be delivered; `false`: they never may again.
    pub(super) async fn begun(&self) -> bool {
        self.until(|gate| gate.has_begun || gate.is_over).await;
        !self.gate.lock().is_over
    }

    /// Waits, after [`end`](Self::end), until nobody delivers any more.
    pub(super) async fn quiet(&self) {
        self.until(|gate| gate.delivering == 0).await;
    }

    /// Messages are being delivered until this is dropped; none: they may not be any more.
    pub(super) fn deliver(&self) -> Option<Delivering<'_>> {
        let mut gate = self.gate.lock();
        (!gate.is_over).then(|| {
            gate.delivering += 1;
            Delivering(self)
        })
    }

    /// Waits until the connection before has delivered all it will. Cancel safe.
    pub(super) async fn turn(&self, lane: Lane) -> MutexGuard<'_, ()> {
        self.turns[lane as usize].lock().await
    }

    async fn until(&self, holds: impl Fn(&Gate) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(&self.gate.lock()) {
                return;
            }
            changed.await;
        }
    }
}

/// See [`Session::deliver`].
pub(super) struct Delivering<'a>(&'a Session);

impl Drop for Delivering<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate.lock();
        gate.delivering -= 1;
        let is_last = gate.is_over && gate.delivering == 0;
        drop(gate);
        if is_last {
            self.0.changed.notify_waiters();
        }
    }
}
