//! [`HostChoice`]: which member is to host the instance.

use crate::member::{Member, MemberStatus};
use std::hash::Hasher;
use xxhash_rust::xxh3::Xxh3;

/// Which of the members that may is to host the instance. All of them must be given the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostChoice {
    /// The member that has been up for longest. It moves least often; but all singletons are on one node.
    #[default]
    Oldest,
    /// One by the singleton's name, among those that run the newest version: many singletons are on many nodes, and a
    /// rolling update moves each only once. It stays where it is until its host leaves, whoever joins.
    Spread,
}

impl HostChoice {
    /// The uid of the member that is to host the singleton called `name`. `host`: who hosts it now, as far as is known.
    pub(super) fn of<'a>(
        self,
        name: &str,
        members: impl Iterator<Item = &'a Member> + Clone,
        host: Option<u64>,
    ) -> Option<u64> {
        let full = members.filter(|member| member.status.is_full());
        match self {
            Self::Oldest => full.min_by(|one, two| one.by_age(two)).map(|member| member.node.uid),
            Self::Spread => {
                if let Some(host) = host
                    && full.clone().any(|member| member.node.uid == host)
                {
                    return Some(host);
                }
                let staying = full.filter(|member| member.status != MemberStatus::Leaving);
                let newest = staying.clone().map(|member| version(&member.app_version)).max()?;
                let newest = staying.filter(|member| version(&member.app_version) == newest);
                newest
                    .max_by_key(|member| (weight(name, member.node.uid), member.node.uid))
                    .map(|member| member.node.uid)
            }
        }
    }
}

/// `1.10` is newer than `1.9`: numbers in it are compared as numbers.
fn version(text: &str) -> Vec<(u64, &str)> {
    let parts = text.split(|sign: char| !sign.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_or((0, part), |number: u64| (number.saturating_add(1), ""))).collect()
}

fn weight(name: &str, uid: u64) -> u64 {
    let mut hash = Xxh3::new();
    hash.write(name.as_bytes());
    hash.write_u64(uid);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::singleton::model::member;
    use MemberStatus::{Exiting, Joining, Leaving, Up};

    #[test]
    fn the_oldest_hosts_until_it_exits() {
        let oldest = |members: &[Member]| HostChoice::Oldest.of("gate", members.iter(), None);
        assert_eq!(oldest(&[member(1, Joining, None), member(2, Up, Some(7)), member(3, Up, Some(4))]), Some(3));
        assert_eq!(oldest(&[member(2, Up, Some(7)), member(3, Leaving, Some(4))]), Some(3));
        assert_eq!(oldest(&[member(2, Up, Some(7)), member(3, Exiting, Some(4))]), Some(2));
        assert_eq!(oldest(&[member(1, Joining, None)]), None);
    }

    #[test]
    fn spread_ones_are_on_all_nodes_of_the_newest_version_and_stay() {
        let mut members: Vec<Member> = (1..=4).map(|uid| member(uid, Up, Some(uid))).collect();
        members[0].app_version = "1.9".into();
        members[1..].iter_mut().for_each(|member| member.app_version = "1.10".into());
        let hosts = |members: &[Member]| -> Vec<u64> {
            (0..60).map(|at| HostChoice::Spread.of(&format!("gate-{at}"), members.iter(), None).unwrap()).collect()
        };
        let before = hosts(&members);
        for uid in 1..=4 {
            assert_eq!(before.iter().filter(|host| **host == uid).count() > 5, uid != 1, "{before:?}");
        }
        let without = hosts(&members[..3]);
        let moved = before.iter().zip(&without).filter(|(one, two)| one != two);
        assert!(moved.clone().all(|(before, _)| *before == 4), "only what was on the one that is gone moves");
        assert_eq!(HostChoice::Spread.of("gate-1", members.iter(), Some(1)), Some(1), "it stays where it is");
        members[0].status = Exiting;
        assert_ne!(HostChoice::Spread.of("gate-1", members.iter(), Some(1)), Some(1));
    }
}
