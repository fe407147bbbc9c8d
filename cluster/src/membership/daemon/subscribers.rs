//! [`Subscribers`]: who is told what happens in the cluster.

use super::counts::Counts;
use crate::event::{ClusterEvent, ClusterState};
use actors::{ActorRef, TryTellError};
use std::{collections::BTreeMap, sync::Arc};
use tracing::warn;

const SUBSCRIBERS_MAX: usize = 4096;

/// Each sees all events after the state it was given, in order; or a later state, when its mailbox was full meanwhile.
#[derive(Debug)]
pub(super) struct Subscribers {
    all: BTreeMap<u64, Subscriber>,
    next: u64,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Subscriber {
    to: ActorRef<ClusterEvent>,
    sees: Sees,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// The state is on its way.
    Nothing,
    Everything,
    /// There was no room: it gets the state when there is.
    TooLittle,
}

impl Subscribers {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Self { all: BTreeMap::new(), next: 0, counts }
    }

    /// One more: its number. None if there are too many.
    pub(super) fn add(&mut self, to: ActorRef<ClusterEvent>) -> Option<u64> {
        if self.all.len() >= SUBSCRIBERS_MAX {
            warn!(subscriber = %to.path(), "too many subscribers of cluster events: not subscribed");
            self.counts.dropped("subscribers: too many");
            return None;
        }
        self.next += 1;
        self.all.insert(self.next, Subscriber { to, sees: Sees::Nothing });
        Some(self.next)
    }

    /// The state that all further events of the subscriber go on from.
    pub(super) fn begin(&mut self, number: u64, state: &Arc<ClusterState>) {
        if let Some(subscriber) = self.all.get_mut(&number) {
            let is_there = subscriber.tell(ClusterEvent::Current(Arc::clone(state)), &self.counts);
            if !is_there {
                self.all.remove(&number);
            }
        }
    }

    pub(super) fn publish(&mut self, event: &ClusterEvent) {
        let counts = &self.counts;
        self.all.retain(|_, subscriber| subscriber.sees != Sees::Everything || subscriber.tell(event.clone(), counts));
    }

    /// Those that had no room get what they missed as a state.
    pub(super) fn catch_up(&mut self, state: &Arc<ClusterState>) {
        let counts = &self.counts;
        self.all.retain(|_, subscriber| {
            subscriber.sees != Sees::TooLittle || subscriber.tell(ClusterEvent::Current(Arc::clone(state)), counts)
        });
    }
}

impl Subscriber {
    /// `false`: it is gone.
    fn tell(&mut self, event: ClusterEvent, counts: &Counts) -> bool {
        match self.to.try_tell(event) {
            Ok(()) => self.sees = Sees::Everything,
            Err(TryTellError::Full(_)) => {
                self.sees = Sees::TooLittle;
                counts.dropped("events: the subscriber's mailbox is full");
            }
            Err(TryTellError::Stopped(_)) => return false,
        }
        true
    }
}
