//! [`Bootstrap`]: when enough is known of through whom to join.

use crate::{member::Address, membership::swim::SEEDS_MAX};
use actors::Tick;
use std::time::Duration;

/// Decides, without any I/O, whom to join through.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    me: Address,
    contacts_min: usize,
    stable_for: Duration,
    may_begin: bool,
    known: Vec<Address>,
    since: Option<Tick>,
}

impl Bootstrap {
    pub(crate) fn new(me: Address, contacts_min: usize, stable_for: Duration, may_begin: bool) -> Self {
        Self { me, contacts_min, stable_for, may_begin, known: Vec::new(), since: None }
    }

    /// Takes what was found, at `now`. The seeds, once they are known well enough: the first may begin a cluster.
    pub(crate) fn found(&mut self, mut contacts: Vec<Address>, now: Tick) -> Option<Vec<Address>> {
        contacts.sort();
        contacts.dedup();
        contacts.truncate(SEEDS_MAX);
        if self.since.is_none() || contacts != self.known {
            self.known = contacts;
            self.since = Some(now);
        }
        let is_stable = self.since.is_some_and(|since| now - since >= self.stable_for);
        if !is_stable || self.known.len() < self.contacts_min {
            return None;
        }
        let mut seeds = self.known.clone();
        if seeds.first() == Some(&self.me) && !self.may_begin {
            seeds.rotate_left(1);
            if seeds.first() == Some(&self.me) {
                return None;
            }
        }
        (!seeds.is_empty()).then_some(seeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &[&str]) -> Vec<Address> {
        names.iter().map(|name| format!("{name}:1").parse().unwrap()).collect()
    }

    fn at(secs: u64) -> Tick {
        Tick::START + Duration::from_secs(secs)
    }

    fn bootstrap(me: &str, may_begin: bool) -> Bootstrap {
        Bootstrap::new(all(&[me])[0].clone(), 2, Duration::from_secs(5), may_begin)
    }

    #[test]
    fn nothing_is_done_before_enough_are_known_and_stay_the_same() {
        let mut node = bootstrap("a", true);
        assert_eq!(node.found(all(&["a"]), at(0)), None);
        assert_eq!(node.found(all(&["a"]), at(9)), None, "one is not enough");
        assert_eq!(node.found(all(&["b", "a"]), at(10)), None);
        assert_eq!(node.found(all(&["a", "b", "b"]), at(14)), None);
        assert_eq!(node.found(all(&["a", "b", "c"]), at(15)), None, "they have changed");
        assert_eq!(node.found(all(&["c", "b", "a"]), at(20)), Some(all(&["a", "b", "c"])));
    }

    #[test]
    fn where_none_is_to_be_begun_the_lowest_comes_last() {
        let mut node = bootstrap("a", false);
        node.found(all(&["a", "b"]), at(0));
        assert_eq!(node.found(all(&["a", "b"]), at(5)), Some(all(&["b", "a"])));
        let mut other = bootstrap("b", false);
        other.found(all(&["a", "b"]), at(0));
        assert_eq!(other.found(all(&["a", "b"]), at(5)), Some(all(&["a", "b"])), "the first of them is not this node");
    }
}
