//! [`FanOut`]: the subscribers of one topic on this node.

use super::interests::Route;
use std::{collections::BTreeMap, sync::Arc};

/// Who listens here, in the order in which they came.
#[derive(Debug)]
pub(super) struct FanOut<K> {
    each: Vec<K>,
    groups: BTreeMap<Arc<str>, Group<K>>,
}

#[derive(Debug)]
struct Group<K> {
    members: Vec<K>,
    /// Who gets the next one.
    next: usize,
}

impl<K> Default for FanOut<K> {
    fn default() -> Self {
        Self { each: Vec::new(), groups: BTreeMap::new() }
    }
}

impl<K: Clone + PartialEq> FanOut<K> {
    pub(super) fn len(&self) -> usize {
        self.each.len() + self.groups.values().map(|group| group.members.len()).sum::<usize>()
    }

    /// `who` listens; the same once only. Whether it is the first one that does so.
    pub(super) fn subscribe(&mut self, who: K, group: Option<Arc<str>>) -> bool {
        let members = match group {
            None => &mut self.each,
            Some(group) => &mut self.groups.entry(group).or_insert(Group { members: Vec::new(), next: 0 }).members,
        };
        if members.contains(&who) {
            return false;
        }
        members.push(who);
        members.len() == 1
    }

    /// It does not any more. Whether nobody does so now.
    pub(super) fn unsubscribe(&mut self, who: &K, group: Option<&str>) -> bool {
        let Some(name) = group else {
            let before = self.each.len();
            self.each.retain(|one| one != who);
            return before > 0 && self.each.is_empty();
        };
        let Some(group) = self.groups.get_mut(name) else {
            return false;
        };
        group.members.retain(|one| one != who);
        let empty = group.members.is_empty();
        if empty {
            self.groups.remove(name);
        }
        empty
    }

    /// It has ended. What nobody does any more.
    pub(super) fn ended(&mut self, who: &K) -> Vec<Option<Arc<str>>> {
        let groups: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        let each = self.unsubscribe(who, None).then_some(None);
        let left = groups.into_iter().filter(|group| self.unsubscribe(who, Some(group)));
        left.map(Some).collect::<Vec<_>>().into_iter().chain(each).collect()
    }

    /// Who gets a message that comes this way: of each group one, in turn.
    pub(super) fn take(&mut self, route: &Route) -> Vec<K> {
        let mut takers = if route.each { self.each.clone() } else { Vec::new() };
        for name in &route.groups {
            if let Some(group) = self.groups.get_mut(name) {
                let taker = group.next % group.members.len();
                group.next = taker + 1;
                takers.push(group.members[taker].clone());
            }
        }
        takers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_all(groups: &[&str]) -> Route {
        Route { each: true, groups: groups.iter().map(|group| Arc::from(*group)).collect() }
    }

    #[test]
    fn each_gets_all_and_one_of_each_group() {
        let mut topic = FanOut::default();
        assert!(topic.subscribe("log", None) && !topic.subscribe("audit", None) && !topic.subscribe("log", None));
        assert!(topic.subscribe("left", Some("hands".into())) && !topic.subscribe("right", Some("hands".into())));
        assert_eq!(topic.take(&to_all(&["hands"])), ["log", "audit", "left"]);
        assert_eq!(topic.take(&to_all(&["hands", "feet"])), ["log", "audit", "right"]);
        assert_eq!(topic.take(&to_all(&[])), ["log", "audit"]);
        assert_eq!(topic.take(&Route { each: false, groups: vec!["hands".into()] }), ["left"]);
    }

    #[test]
    fn it_is_told_when_nobody_listens_any_more() {
        let mut topic = FanOut::default();
        topic.subscribe("log", None);
        topic.subscribe("left", Some("hands".into()));
        topic.subscribe("right", Some("hands".into()));
        topic.subscribe("left", Some("feet".into()));
        assert!(!topic.unsubscribe(&"left", None) || topic.len() == 4, "it was not subscribed so");
        assert_eq!(topic.ended(&"left"), [Some("feet".into())]);
        assert!(topic.unsubscribe(&"right", Some("hands")));
        assert_eq!(topic.ended(&"log"), [None]);
        assert_eq!((topic.len(), topic.take(&to_all(&["hands"]))), (0, vec![]));
    }
}
