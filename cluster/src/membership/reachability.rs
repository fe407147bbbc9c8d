//! [`Reachability`]: who says of whom that it cannot be reached. A fact apart from status: it can heal.

use std::collections::{BTreeMap, BTreeSet};

/// What an observer says of a subject. Only the observer raises the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) version: u64,
    pub(crate) unreachable: bool,
}

/// Rows by observer and subject, both by uid. Of two accounts of one row that with the higher version is the later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reachability(BTreeMap<(u64, u64), Row>);

impl Reachability {
    /// `observer`, which is this node, says so. `false`: it says so already.
    pub(crate) fn observe(&mut self, observer: u64, subject: u64, unreachable: bool) -> bool {
        let version = match self.0.get(&(observer, subject)) {
            Some(row) if row.unreachable == unreachable => return false,
            Some(row) => row.version + 1,
            None if !unreachable => return false,
            None => 1,
        };
        self.0.insert((observer, subject), Row { version, unreachable });
        true
    }

    /// `true`: something was new.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let mut new = false;
        for (key, row) in &other.0 {
            let mine = self.0.entry(*key).or_insert(Row { version: 0, unreachable: false });
            // Equal versions say the same, unless an observer has lost its memory: then the worse is believed.
            if row > mine {
                *mine = *row;
                new = true;
            }
        }
        new
    }

    /// What another node told, as it is.
    pub(crate) fn insert(&mut self, pair: (u64, u64), row: Row) {
        self.0.insert(pair, row);
    }

    /// Keeps rows whose observer and subject both satisfy `keep`.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u64) -> bool) {
        self.0.retain(|(observer, subject), _| keep(*observer) && keep(*subject));
    }

    /// Who cannot be reached by at least one of those whose word `counts`.
    pub(crate) fn unreachable(&self, counts: impl Fn(u64) -> bool) -> BTreeSet<u64> {
        self.accusations(counts).map(|(_, subject)| subject).collect()
    }

    /// Who, of those whose word `counts`, cannot reach whom.
    pub(crate) fn accusations(&self, counts: impl Fn(u64) -> bool) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().filter(move |((observer, _), row)| row.unreachable && counts(*observer)).map(|(pair, _)| *pair)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = ((u64, u64), Row)> {
        self.0.iter().map(|(pair, row)| (*pair, *row))
    }
}
