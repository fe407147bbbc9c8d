//! [`Shard`]: some of the nodes one talks to, with what was decided about them and the connections that came of it.

use super::{
    line::Line,
    news::{News, NewsQueue},
    session::Session,
};
use crate::{
    member::{Address, UniqueAddress},
    remote::{association::Effect, associations::Associations, transport::Lane},
};
use std::{collections::BTreeMap, sync::Arc};

/// Some of the nodes one talks to.
pub(super) struct Shard {
    pub(super) associations: Associations,
    pub(super) sessions: BTreeMap<UniqueAddress, Entry>,
    /// This node's connections and attempts to connect.
    pub(super) lines: BTreeMap<Address, [Option<Arc<Line>>; 3]>,
    pub(super) effects: Vec<Effect>,
}

/// A life that was met.
pub(super) struct Entry {
    pub(super) session: Arc<Session>,
    /// Connections that it made.
    pub(super) accepted: [Option<Arc<Line>>; 3],
    /// Whether this node's connection for control works, once one was tried.
    pub(super) link: Option<bool>,
}

impl Shard {
    pub(super) fn new(associations: Associations) -> Self {
        Self { associations, sessions: BTreeMap::new(), lines: BTreeMap::new(), effects: Vec::new() }
    }

    pub(super) fn line(&self, to: &Address, lane: Lane) -> Option<&Arc<Line>> {
        self.lines.get(to)?[lane as usize].as_ref()
    }

    pub(super) fn holds(&self, to: &Address, lane: Lane, line: &Arc<Line>) -> bool {
        self.line(to, lane).is_some_and(|known| Arc::ptr_eq(known, line))
    }

    /// Ends it.
    pub(super) fn remove_line(&mut self, to: &Address, lane: Lane) {
        let Some(lines) = self.lines.get_mut(to) else { return };
        lines[lane as usize].take().iter().for_each(|line| line.stop());
        if lines.iter().all(Option::is_none) {
            self.lines.remove(to);
        }
    }

    pub(super) fn link_failed(&mut self, node: &UniqueAddress, lane: Lane, news: &NewsQueue) {
        if lane == Lane::Control
            && let Some(entry) = self.sessions.get_mut(node)
        {
            entry.set_link(false, news);
        }
    }
}

impl Entry {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session, accepted: [const { None }; 3], link: None }
    }

    pub(super) fn hang_up(&mut self) {
        self.accepted.iter_mut().filter_map(Option::take).for_each(|line| line.stop());
    }

    /// Tells that it fails, and when it works again after that.
    pub(super) fn set_link(&mut self, works: bool, news: &NewsQueue) {
        if self.link.replace(works).unwrap_or(true) != works {
            news.push(News::Link { peer: self.session.node.clone(), works });
        }
    }
}
