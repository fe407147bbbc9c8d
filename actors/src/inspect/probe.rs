//! [`Probe`]: a question that lies in an actor's queue until it is answered, and who listens for the answer.
//!
//! Invariant: in each lane of an actor lies at most one probe, and it is in [`Inspector::pending`] exactly as long. Whoever
//! has something to ask while it lies there listens for its answer.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::look::Listener;
use crate::cell_ref::ControlRef;
use crate::clock::Tick;

/// Where a probe lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// The runtime's own: answered before the next message.
    Internal,
    /// That of messages: answered when it has come through the mailbox.
    Messages,
}

/// The questions that have no answer yet, of one system.
#[derive(Default)]
pub(crate) struct Inspector {
    pending: Mutex<HashMap<(u64, Lane), Pending>>, // by the actor's uid
}

struct Pending {
    since: Tick,
    listeners: Vec<(Weak<Listener>, usize)>,
}

/// What is in the actor's queue. Dropped unanswered it says that the actor is gone.
pub(crate) struct Probe {
    inspector: Arc<Inspector>,
    uid: u64,
    lane: Lane,
    answered: bool,
}

/// What an actor says about itself.
#[derive(Clone)]
pub(crate) enum Answer {
    /// To a probe in the runtime's lane.
    About { restarts: u32, children: Vec<ControlRef> },
    /// To one that has come through the mailbox, then.
    Through { at: Tick },
    /// It has ended.
    Gone,
}

impl Inspector {
    /// Asks `actor`; the answer goes to place `index` of `listener`. Since when that question lies there.
    pub(crate) fn ask(
        self: &Arc<Self>,
        actor: &ControlRef,
        lane: Lane,
        now: Tick,
        listener: &Arc<Listener>,
        index: usize,
    ) -> Tick {
        let uid = actor.head().uid();
        let listens = (Arc::downgrade(listener), index);
        {
            let mut all = self.pending.lock();
            if let Some(pending) = all.get_mut(&(uid, lane)) {
                pending.listeners.retain(|(listener, _)| listener.strong_count() > 0);
                pending.listeners.push(listens);
                return pending.since;
            }
            all.insert((uid, lane), Pending { since: now, listeners: vec![listens] });
        }
        actor.inspect(Box::new(Probe { inspector: self.clone(), uid, lane, answered: false }));
        now
    }
}

impl Probe {
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// Tells whoever listens.
    pub(crate) fn answer(mut self, answer: &Answer) {
        self.answered = true;
        self.tell(answer);
    }

    fn tell(&self, answer: &Answer) {
        let Some(pending) = self.inspector.pending.lock().remove(&(self.uid, self.lane)) else { return };
        for (listener, index) in pending.listeners {
            if let Some(listener) = listener.upgrade() {
                listener.hear(index, self.lane, answer.clone());
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.answered {
            self.tell(&Answer::Gone);
        }
    }
}
