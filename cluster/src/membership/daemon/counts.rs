//! [`Counts`]: how much was dropped, and why; how often this node was said to be gone; how much news waits.

use crate::{
    membership::{node, swim},
    remote,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// By reason. Reasons are few: those of the program.
    dropped: Mutex<BTreeMap<String, u64>>,
    contradicted: AtomicU64,
    news_waiting: AtomicUsize,
}

impl Counts {
    pub(crate) fn dropped(&self, reason: &'static str) {
        self.add(reason, 1);
    }

    pub(crate) fn dropped_by_node(&self, reason: node::DropReason) {
        self.add(
            match reason {
                node::DropReason::WrongPhase => "members: out of place",
                node::DropReason::Stranger => "members: from a stranger",
                node::DropReason::Gone => "members: from one that is gone",
                node::DropReason::Malformed => "members: malformed",
                node::DropReason::TooLarge => "members: too large",
                node::DropReason::NoSeeds => "members: no seeds",
                node::DropReason::NoSuchStep => "members: no such step",
                node::DropReason::Full => "members: no room for one more",
                node::DropReason::Stopped => "members: this node has stopped",
            },
            1,
        );
    }

    pub(crate) fn dropped_by_remoting(&self, reason: remote::dropped::DropReason, count: usize) {
        // They come many at a time.
        self.add(&format!("remoting: {reason:?}"), count as u64);
    }

    /// Takes over what SWIM has counted so far.
    pub(crate) fn set_datagrams(&self, dropped: &BTreeMap<swim::Dropped, u64>) {
        use swim::Dropped;
        let mut counts = self.dropped.lock();
        for (reason, count) in dropped {
            let name = match reason {
                Dropped::Malformed => "datagrams: malformed",
                Dropped::Version => "datagrams: another version",
                Dropped::Unsealed => "datagrams: unsealed",
                Dropped::Sealed => "datagrams: sealed",
                Dropped::Cluster => "datagrams: another cluster",
                Dropped::Damaged => "datagrams: damaged",
                Dropped::Unauthentic => "datagrams: unauthentic",
                Dropped::Replayed => "datagrams: replayed",
                Dropped::Own => "datagrams: own",
                Dropped::Doubted => "datagrams: doubted",
                Dropped::Crowded => "datagrams: crowded",
                Dropped::Left => "datagrams: this node has left",
            };
            counts.insert(name.to_owned(), *count);
        }
    }

    /// How often others said that this node is gone, and it had to contradict.
    pub(crate) fn contradicted(&self) -> u64 {
        self.contradicted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_contradicted(&self, times: u64) {
        self.contradicted.store(times, Ordering::Relaxed);
    }

    /// How many news of who is alive wait to be passed on.
    pub(crate) fn news_waiting(&self) -> usize {
        self.news_waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn set_news_waiting(&self, news: usize) {
        self.news_waiting.store(news, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        self.dropped.lock().clone()
    }

    fn add(&self, reason: &str, count: u64) {
        let mut counts = self.dropped.lock();
        if let Some(known) = counts.get_mut(reason) {
            *known = known.saturating_add(count);
        } else {
            counts.insert(reason.to_owned(), count);
        }
    }
}
