//! [`Peer`]: one life of another node, as far as actors know those there.

use super::{
    frame::{self, Kind, Numbered},
    rows::Rows,
    shared::Shared,
    slots::Slots,
    stub::Target,
    watching::{Watched, Watching},
    window::Window,
};
use crate::{
    member::UniqueAddress,
    remote::{
        door::{Channel, Remote},
        dropped::DropReason,
        transport::Lane,
        wire::Agreement,
    },
};
use actors::{
    Tick, TraceContext,
    remote::{AskLink, Handle, Message, WeakStandIn},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    any::TypeId,
    collections::{BTreeMap, VecDeque},
    sync::{
        OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Messages that wait until it is known how they are written.
pub(super) const WAITING_MAX: usize = 3072;

/// See the module's documentation.
pub(super) struct Peer {
    pub(super) node: UniqueAddress,
    pub(super) shared: Weak<Shared>,
    agreement: OnceLock<Agreement>,
    /// Messages are written at once. Once set it stays.
    flowing: AtomicBool,
    over: AtomicBool,
    pub(super) waiting: Mutex<Waiting>,
    /// Asks that wait for an answer from there.
    pub(super) slots: Mutex<Slots>,
    /// What stands here for actors there.
    stand_ins: Mutex<BTreeMap<Target, Vec<(TypeId, WeakStandIn)>>>,
    /// Actors there whose end is waited for here.
    pub(super) watching: Mutex<Watching>,
    /// Actors here whose end is waited for there.
    pub(super) watched: Mutex<Watched>,
    /// Messages of `send` on their way to actors there, by the number of the window.
    windows: Mutex<BTreeMap<u64, Window>>,
    /// Messages of `send` from there.
    pub(super) rows: Mutex<Rows>,
    /// How many of `rows` have messages that wait.
    busy: AtomicUsize,
}

/// What waits until it is known how it is written.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) queue: VecDeque<Kept>,
    /// Somebody sends what waits.
    pub(super) draining: bool,
}

/// One message that waits.
pub(super) struct Kept {
    pub(super) to: Handle,
    pub(super) message: Message,
    pub(super) deadline: Option<Tick>,
    pub(super) link: Option<AskLink>,
    pub(super) trace: Option<TraceContext>,
    pub(super) numbered: Option<Numbered>,
}

impl Peer {
    pub(super) fn new(node: UniqueAddress, shared: Weak<Shared>) -> Self {
        Self {
            node,
            shared,
            agreement: OnceLock::new(),
            flowing: AtomicBool::new(false),
            over: AtomicBool::new(false),
            waiting: Mutex::default(),
            slots: Mutex::default(),
            stand_ins: Mutex::default(),
            watching: Mutex::default(),
            watched: Mutex::default(),
            windows: Mutex::default(),
            rows: Mutex::default(),
            busy: AtomicUsize::new(0),
        }
    }

    /// What can pass, once it is known.
    pub(super) fn agreement(&self, remote: &dyn Remote) -> Option<&Agreement> {
        if self.agreement.get().is_none()
            && let Some(agreement) = remote.agreement(&self.node)
        {
            let _ = self.agreement.set(agreement);
        }
        self.agreement.get()
    }

    pub(super) fn is_flowing(&self) -> bool {
        self.flowing.load(Ordering::Acquire)
    }

    /// From now on messages are written at once. With the lock of what waits in hand, and nothing waiting.
    pub(super) fn flow(&self) {
        self.flowing.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// `true` for the first who says so.
    pub(super) fn set_over(&self) -> bool {
        !self.over.swap(true, Ordering::AcqRel)
    }

    /// Notes how many of `rows` have messages that wait.
    pub(super) fn set_busy(&self, busy: usize) {
        self.busy.store(busy, Ordering::Release);
    }

    /// Whether messages from there wait for room in this one's mailbox.
    pub(super) fn is_busy(&self, id: u64) -> bool {
        self.busy.load(Ordering::Acquire) > 0 && self.rows.lock().is_busy(id)
    }

    /// A window hears from now on what is through.
    pub(super) fn open_window(&self, window: &Window) {
        self.windows.lock().insert(window.row(), window.clone());
    }

    pub(super) fn close_window(&self, window: &Window) {
        let closed = self.windows.lock().remove(&window.row());
        drop(closed); // outside the lock
    }

    /// So many of a window's messages are through.
    pub(super) fn granted(&self, numbered: Numbered) {
        let window = self.windows.lock().get(&numbered.row).cloned();
        window.iter().for_each(|window| window.granted(numbered));
    }

    pub(super) fn send(&self, remote: &dyn Remote, lane: Lane, frame: impl Into<Bytes>) {
        remote.send(&self.node.address, Some(self.node.uid), Channel::Actors, lane, frame.into());
    }

    pub(super) fn try_send(&self, remote: &dyn Remote, lane: Lane, frame: &[u8]) -> Result<(), DropReason> {
        remote.try_send(&self.node.address, Some(self.node.uid), Channel::Actors, lane, frame)
    }

    /// Has whoever is there shake hands.
    pub(super) fn greet(&self, remote: &dyn Remote) -> Result<(), DropReason> {
        self.try_send(remote, Lane::Ordinary, &frame::numbers(Kind::Hello, []))
    }

    /// Whether there are messages that wait until it was met.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.lock().queue.is_empty()
    }

    pub(super) fn send_system(&self, remote: &dyn Remote, frame: impl Into<Bytes>) {
        remote.send_system(&self.node, Channel::Actors, frame.into());
    }

    /// Shows `with` what stands for actors there, with the lock in hand.
    pub(super) fn with_stand_ins<R>(
        &self,
        with: impl FnOnce(&mut BTreeMap<Target, Vec<(TypeId, WeakStandIn)>>) -> R,
    ) -> R {
        with(&mut self.stand_ins.lock())
    }

    /// What stands for this one.
    pub(super) fn handles_of(&self, target: &Target) -> Vec<Handle> {
        let known = |stand_ins: &mut BTreeMap<Target, Vec<(TypeId, WeakStandIn)>>| {
            stand_ins.get(target).into_iter().flatten().filter_map(|(_, weak)| weak.handle()).collect()
        };
        self.with_stand_ins(known)
    }

    /// What stands for any actor there.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.with_stand_ins(|known| known.values().flatten().filter_map(|(_, weak)| weak.handle()).collect())
    }

    /// Nobody has this one's reference any more, or nobody had at a moment.
    pub(super) fn released(&self, target: &Target) {
        self.with_stand_ins(|known| {
            if let Some(of_target) = known.get_mut(target) {
                of_target.retain(|(_, weak)| !weak.is_gone());
                if of_target.is_empty() {
                    known.remove(target);
                }
            }
        });
    }

    /// How many actors there are stood for here.
    #[cfg(test)]
    pub(super) fn stand_ins_len(&self) -> usize {
        self.stand_ins.lock().len()
    }
}
