//! [`Members`]: the routees of a pool, those who leave included. Pure.

use std::collections::BTreeMap;

/// Routees by number. A number is free again once its routee has ended, not before: it is the name of a child.
pub(super) struct Members<R> {
    active: BTreeMap<u32, R>,
    /// Those that finish what they have.
    leaving: BTreeMap<u32, R>,
    /// Those that were told to stop.
    stopping: BTreeMap<u32, R>,
}

impl<R: Clone> Members<R> {
    pub(super) fn new() -> Self {
        Self { active: BTreeMap::new(), leaving: BTreeMap::new(), stopping: BTreeMap::new() }
    }

    /// How many take messages.
    pub(super) fn size(&self) -> usize {
        self.active.len()
    }

    /// Whether all have ended.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.leaving.is_empty() && self.stopping.is_empty()
    }

    /// Those that take messages, by number.
    pub(super) fn active(&self) -> Vec<R> {
        self.active.values().cloned().collect()
    }

    /// Whether any is yet to finish what it has.
    pub(super) fn any_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Of those that leave, the ones that are done; they are to be stopped now.
    pub(super) fn dismiss(&mut self, is_done: impl Fn(&R) -> bool) -> Vec<R> {
        let done: BTreeMap<u32, R> = self.leaving.extract_if(.., |_, routee| is_done(routee)).collect();
        let routees = done.values().cloned().collect();
        self.stopping.extend(done);
        routees
    }

    /// The lowest number that is nobody's, from 1.
    pub(super) fn free_number(&self) -> u32 {
        let taken = [&self.active, &self.leaving, &self.stopping];
        let is_free = |number: &u32| taken.iter().all(|routees| !routees.contains_key(number));
        (1..).find(is_free).expect("there are more numbers than routees")
    }

    pub(super) fn join(&mut self, number: u32, routee: R) {
        self.active.insert(number, routee);
    }

    /// Lets the highest numbers go until there are `size` at most.
    pub(super) fn shrink(&mut self, size: usize) {
        while self.active.len() > size
            && let Some((number, routee)) = self.active.pop_last()
        {
            self.leaving.insert(number, routee);
        }
    }

    /// Whether the one that has ended took messages.
    pub(super) fn ended(&mut self, number: u32) -> bool {
        self.leaving.remove(&number);
        self.stopping.remove(&number);
        self.active.remove(&number).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_free_once_its_routee_has_ended() {
        let mut members = Members::new();
        for name in ["a", "b", "c"] {
            members.join(members.free_number(), name);
        }
        members.shrink(1);
        assert_eq!(members.active(), ["a"]);
        assert_eq!(members.dismiss(|name| *name == "b"), ["b"]);
        assert_eq!(members.dismiss(|name| *name == "b"), [""; 0], "once");
        assert!(members.any_leaving());
        assert_eq!(members.free_number(), 4, "2 still stops, and 3 has something to do");
        assert!(!members.ended(2), "it took no messages");
        assert_eq!(members.free_number(), 2);
        assert!(members.ended(1));
        assert!(!members.is_empty());
        members.ended(3);
        assert!(!members.any_leaving());
        assert!(members.is_empty());
    }
}
