//! The last part of `docs/FROM_AKKA.md` speaks of what there is: every name in its second column, and every path in its
//! third, is used below, which compiles.

use crate::{management::http, testkit::chaos, *};
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../docs/FROM_AKKA.md");
const NAMES_IN_USE: &str = include_str!("from_akka.rs");

#[test]
fn each_name_on_the_page_is_one_of_this_crate() {
    let (_, page) = PAGE.split_once("\n## Cluster\n").expect("a part about clusters");
    let mut names = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Akka Cluster")) {
        let mut columns = row.split('|').skip(2);
        let mut quoted = || columns.next().unwrap_or_default().split('`').skip(1).step_by(2);
        names.extend(quoted());
        names.extend(quoted().filter(|name| name.contains("::")));
    }
    assert!(names.len() > 25, "the page lost its table: {names:?}");
    let missing: Vec<_> = names.into_iter().filter(|name| !is_used(name)).collect();
    assert!(missing.is_empty(), "use them below, or correct the page: {missing:?}");
}

/// As it is or, where its type is known, as `.name`.
fn is_used(name: &str) -> bool {
    let ends = |next: Option<char>| next.is_none_or(|next| !next.is_alphanumeric() && next != '_');
    let occurs = |name: &str| {
        NAMES_IN_USE.match_indices(name).any(|(at, _)| ends(NAMES_IN_USE[at + name.len()..].chars().next()))
    };
    occurs(name) || name.split_once("::").is_some_and(|(_, member)| occurs(&format!(".{member}")))
}

#[expect(dead_code, reason = "that it compiles is the point")]
fn used<M: WireMessage, A: actors::Actor>(mut config: ClusterConfig) {
    let _ = (Cluster::join, Cluster::leave, Cluster::leave_member, Cluster::down, Cluster::prepare_for_shutdown);
    let _ = (Cluster::subscribe, Cluster::rotate_keys);
    let _ = |state: ClusterState, event: ClusterEvent, status: MemberStatus| (state, event, status);
    let source: [Box<dyn Discovery>; 3] =
        [Box::new(StaticDiscovery::new([])), Box::new(DnsDiscovery::new("n", 1)), Box::new(FileDiscovery::new("n"))];
    let _ = (source, &config.discovery, &config.seeds, config.weakly_up_after, config.min_members);
    config.detector = DetectorConfig::default();
    config.downing = Downing::StoreMajority { role: None };
    let _ = (&config.lease as &Option<std::sync::Arc<dyn Lease>>, &config.large_messages, FencingToken(1));
    let _ = |system: &_, store| StoredLease::start(system, "name", store, LeaseSettings::default());
    let _ = config.message::<M>();
    let _ = |singleton: Singleton<A>, topic: Topic<M>| (singleton, topic, ClusterSingleton);
    let _ = (testkit::SimCluster::builder, chaos::run, http::serve);
}
