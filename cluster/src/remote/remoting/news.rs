//! [`NewsQueue`]: what the receivers are told besides messages, in the order in which it was decided, by one task.
//!
//! It is bounded by what it tells of: each life begins once and ends once, a link changes after an attempt to connect, and
//! what was dropped is a number per node and reason.

use super::session::Session;
use crate::{
    member::{Address, UniqueAddress},
    remote::{association::Ended, door::Receiver, dropped::DropReason},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::sync::Notify;

/// Nodes and reasons for which numbers of what was dropped are kept until they are told. Beyond it they are only counted
/// with all the others.
const DROPPED_MAX: usize = 4096;

/// One thing to tell.
#[derive(Debug)]
pub(super) enum News {
    Began(Arc<Session>),
    Agreed(UniqueAddress),
    Link {
        peer: UniqueAddress,
        works: bool,
    },
    Ended {
        session: Arc<Session>,
        why: Ended,
    },
    /// That life lets this node in no more.
    QuarantinedBy(UniqueAddress),
    /// A life that was never met is over.
    NeverBegan {
        node: UniqueAddress,
        why: Ended,
    },
}

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct NewsQueue {
    waiting: Mutex<Waiting>,
    pushed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    news: VecDeque<News>,
    never_began: BTreeSet<UniqueAddress>,
    dropped: BTreeMap<(Address, DropReason), usize>,
}

impl NewsQueue {
    /// Told after all that was pushed before.
    pub(super) fn push(&self, news: News) {
        let mut waiting = self.waiting.lock();
        // Each message to a life that is over says so: once is enough.
        let is_new = match &news {
            News::NeverBegan { node, .. } => waiting.never_began.insert(node.clone()),
            _ => true,
        };
        if is_new {
            waiting.news.push_back(news);
            drop(waiting);
            self.pushed.notify_one();
        }
    }

    /// So many more were dropped.
    pub(super) fn dropped(&self, peer: Address, reason: DropReason, count: usize) {
        let mut waiting = self.waiting.lock();
        let is_full = waiting.dropped.len() >= DROPPED_MAX;
        match waiting.dropped.get_mut(&(peer.clone(), reason)) {
            Some(so_far) => *so_far = so_far.saturating_add(count),
            None if is_full => {}
            None => {
                waiting.dropped.insert((peer, reason), count);
                drop(waiting);
                self.pushed.notify_one();
            }
        }
    }

    /// Waits until there is something to tell. Cancel safe.
    pub(super) async fn pushed(&self) {
        self.pushed.notified().await;
    }

    /// Tells `receivers` all there is.
    pub(super) async fn tell(&self, receivers: &[&dyn Receiver]) {
        loop {
            let (news, dropped) = {
                let mut waiting = self.waiting.lock();
                waiting.never_began.clear();
                (std::mem::take(&mut waiting.news), std::mem::take(&mut waiting.dropped))
            };
            if news.is_empty() && dropped.is_empty() {
                return;
            }
            for news in news {
                tell(news, receivers).await;
            }
            for ((peer, reason), count) in dropped {
                receivers.iter().for_each(|receiver| receiver.dropped(&peer, reason, count));
            }
        }
    }
}

async fn tell(news: News, receivers: &[&dyn Receiver]) {
    match news {
        News::Began(session) => {
            receivers.iter().for_each(|receiver| receiver.began(&session.node));
            session.begin();
        }
        News::Agreed(node) => receivers.iter().for_each(|receiver| receiver.agreed(&node)),
        News::Link { peer, works } => receivers.iter().for_each(|receiver| receiver.link(&peer, works)),
        News::Ended { session, why } => {
            session.quiet().await;
            receivers.iter().for_each(|receiver| receiver.ended(&session.node, &why));
        }
        News::QuarantinedBy(by) => receivers.iter().for_each(|receiver| receiver.quarantined(&by)),
        News::NeverBegan { node, why } => receivers.iter().for_each(|receiver| receiver.ended(&node, &why)),
    }
}
