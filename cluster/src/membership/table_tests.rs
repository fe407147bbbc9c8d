//! Tables merge in any order, and agree before anything is done.

use super::table::{Gossip, MemberTable, MinMembers, Promotion};
use crate::member::{
    Address, Member,
    MemberStatus::{self, Down, Exiting, Joining, Leaving, Removed, Up, WeaklyUp},
    UniqueAddress,
};
use proptest::prelude::*;

fn node(n: u64) -> UniqueAddress {
    UniqueAddress { address: Address::new(format!("n{n}"), 2551).unwrap(), uid: n }
}

fn member(n: u64) -> Member {
    Member {
        node: node(n),
        status: Joining,
        up_number: None,
        roles: [if n.is_multiple_of(2) { "even" } else { "odd" }.into()].into(),
        data_center: "here".into(),
        app_version: "1.0".into(),
    }
}

/// Told by the first of them, which all the others know of.
fn joined(members: u64) -> MemberTable {
    let mut table = MemberTable::default();
    for n in 1..=members {
        assert!(table.add(1, member(n)));
    }
    table
}

/// The tables of all, once each has told each.
fn told(table: &MemberTable, members: impl IntoIterator<Item = u64>) -> MemberTable {
    let mut all = table.clone();
    for n in members {
        let mut of_one = MemberTable::default();
        of_one.merge(n, &all.gossip());
        all.merge(1, &of_one.gossip());
    }
    all
}

/// Lets the leader, who is the first, act until there is nothing left to do.
fn settled(mut table: MemberTable, members: u64) -> MemberTable {
    loop {
        table = told(&table, (1..=members).filter(|n| !table.was_removed(*n)));
        assert!(table.is_converged(), "{table:?}");
        let promotions = table.promotions(&MinMembers::default());
        if promotions.is_empty() {
            return table;
        }
        promotions.iter().for_each(|promotion| table.promote(1, promotion).unwrap());
    }
}

#[test]
fn members_become_up_in_the_order_of_addresses_once_all_agree() {
    let table = settled(joined(3), 3);
    let numbers: Vec<_> = table.members().map(|member| (member.status, member.up_number)).collect();
    assert_eq!(numbers, [(Up, Some(1)), (Up, Some(2)), (Up, Some(3))]);
    assert_eq!(table.leader(3, None).map(|leader| leader.node.uid), Some(1));
    assert_eq!(table.leader(3, Some("even")).map(|leader| leader.node.uid), Some(2));
    assert_eq!(table.oldest(Some("even")).map(|oldest| oldest.node.uid), Some(2));
}

#[test]
fn nobody_becomes_up_before_there_are_enough() {
    let enough = |total, role: &str, of_role| MinMembers { total, by_role: [(role.into(), of_role)].into() };
    let table = told(&joined(3), 1..=3);
    assert_eq!(table.promotions(&enough(4, "odd", 1)), []);
    assert_eq!(table.promotions(&enough(3, "even", 2)), []);
    assert_eq!(table.promotions(&enough(3, "odd", 2)).len(), 3);
    let mut up = settled(table, 3);
    up.step(1, 2, Leaving).unwrap();
    assert!(up.add(1, member(4)));
    let up = told(&up, 1..=4);
    assert!(up.promotions(&enough(9, "even", 9)).iter().any(|promotion| promotion.uid == 4), "that is asked once");
}

#[test]
fn a_change_is_agreed_on_when_each_full_member_has_seen_it() {
    let mut table = settled(joined(3), 3);
    table.step(1, 3, Leaving).unwrap();
    assert!(!table.is_converged());
    let two = told(&table, [2]);
    assert!(!two.is_converged(), "the third has not seen it");
    assert!(told(&two, [3]).is_converged());
}

#[test]
fn one_that_cannot_be_reached_holds_everything_up_until_it_is_down() {
    let mut table = settled(joined(3), 3);
    assert!(table.observe(2, 3, true));
    assert!(!table.observe(2, 3, true), "that is no news");
    let mut table = told(&table, 1..=3);
    assert!(!table.is_converged());
    assert!(table.add(1, member(4)));
    assert_eq!(table.weak_promotions(&MinMembers::default()).len(), 1, "a newcomer may work meanwhile");
    table.step(1, 3, Down).unwrap();
    let table = settled(told(&table, [2, 4]), 4);
    assert!(table.was_removed(3));
    assert_eq!(table.unreachable(), [].into(), "rows about it went with it");
    assert_eq!(table.members().map(|member| member.status).collect::<Vec<_>>(), [Up, Up, Up]);
}

#[test]
fn the_word_of_one_that_leaves_does_not_count() {
    let mut table = settled(joined(3), 3);
    table.step(1, 3, Leaving).unwrap();
    assert!(table.observe(3, 1, true) && table.observe(3, 2, true));
    assert_eq!(table.unreachable(), [].into());
}

#[test]
fn a_removed_life_never_comes_back() {
    let mut table = settled(joined(2), 2);
    let late = table.gossip();
    table.step(1, 2, Down).unwrap();
    table.step(1, 2, Removed).unwrap();
    assert!(!table.merge(1, &late), "late gossip is no news");
    assert!(!table.add(1, member(2)));
    let mut behind = MemberTable::default();
    behind.merge(9, &late);
    behind.merge(9, &table.gossip());
    assert_eq!(behind.digest(), table.digest());
}

#[test]
fn who_was_removed_is_forgotten_by_all_alike_in_the_era_after_the_next() {
    let mut table = settled(joined(2), 2);
    table.step(1, 2, Down).unwrap();
    table.step(1, 2, Removed).unwrap();
    let late = table.gossip();
    table.begin_era(1);
    assert!(table.was_removed(2));
    table.begin_era(1);
    assert!(!table.was_removed(2));
    let mut behind = MemberTable::default();
    behind.merge(9, &late);
    behind.merge(9, &table.gossip());
    assert_eq!(behind.digest(), table.digest());
    assert!(!table.merge(1, &late), "and it is no news from one who is behind");
}

#[test]
fn a_second_life_at_an_address_waits_for_the_end_of_the_first() {
    let mut table = settled(joined(2), 2);
    let again = Member { node: UniqueAddress { uid: 7, ..node(2) }, ..member(2) };
    assert!(table.add(1, again));
    let of = |table: &MemberTable| told(table, [1, 2, 7]).promotions(&MinMembers::default());
    assert_eq!(of(&table), []);
    table.step(1, 2, Down).unwrap();
    table.step(1, 2, Removed).unwrap();
    let promoted = of(&table);
    assert_eq!((promoted[0].uid, promoted[0].up_number), (7, Some(2)), "{promoted:?}");
}

#[test]
fn a_step_that_is_not_allowed_is_refused() {
    let mut table = joined(1);
    let error = table.step(1, 1, Exiting).unwrap_err().to_string();
    assert!(error.contains("n1:2551") && error.contains("Joining") && error.contains("Exiting"), "{error}");
    assert!(table.step(1, 8, Up).is_err());
}

#[derive(Clone, Debug)]
enum Act {
    BeginEra,
    Join(u64),
    Step(u64, usize),
    Observe(u64, bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::BeginEra),
        4 => (1_u64..6).prop_map(Act::Join),
        4 => (1_u64..6, 0..MemberStatus::ALL.len()).prop_map(|(n, to)| Act::Step(n, to)),
        4 => (1_u64..6, any::<bool>()).prop_map(|(n, unreachable)| Act::Observe(n, unreachable)),
    ]
}

/// What `me` comes to know by doing this and that.
fn table(me: u64, acts: &[Act]) -> MemberTable {
    let mut table = MemberTable::default();
    table.add(me, member(me));
    after(me, table, acts)
}

fn after(me: u64, mut table: MemberTable, acts: &[Act]) -> MemberTable {
    for act in acts {
        match act {
            Act::BeginEra => table.begin_era(me),
            Act::Join(n) => drop(table.add(me, member(*n))),
            Act::Step(n, to) => drop(table.step(me, *n, MemberStatus::ALL[*to])),
            Act::Observe(n, unreachable) => drop(table.observe(me, *n, *unreachable)),
        }
    }
    table
}

fn merged(me: u64, one: &MemberTable, two: &Gossip) -> MemberTable {
    let mut table = one.clone();
    table.merge(me, two);
    table
}

proptest! {
    #[test]
    fn tables_merge_in_any_order_and_as_often_as_they_like(
        one in proptest::collection::vec(act(), 0..12),
        two in proptest::collection::vec(act(), 0..12),
        three in proptest::collection::vec(act(), 0..12),
    ) {
        // Whoever was away for two eras has to join anew.
        let one_era_at_most = |acts: Vec<Act>| -> Vec<Act> {
            let mut begun = false;
            let mut keeps = |act: &Act| !matches!(act, Act::BeginEra) || !std::mem::replace(&mut begun, true);
            acts.into_iter().filter(|act| keeps(act)).collect()
        };
        let (one, two, three) = (one_era_at_most(one), one_era_at_most(two), one_era_at_most(three));
        let (one, two, three) = (table(1, &one), table(2, &two), table(3, &three));
        let forth = merged(1, &merged(1, &one, &two.gossip()), &three.gossip());
        let back = merged(3, &three, &merged(2, &two, &one.gossip()).gossip());
        prop_assert_eq!(forth.digest(), back.digest());
        let again = merged(1, &forth, &two.gossip());
        prop_assert_eq!(again.digest(), forth.digest());
        for member in one.members() {
            let status = forth.get(member.node.uid).map_or(Removed, |later| later.status);
            prop_assert!(status >= member.status, "nothing goes back");
        }
    }

    /// Who is said to have seen a table has what it says.
    #[test]
    fn whoever_has_seen_a_table_has_it(
        acts in proptest::collection::vec((0_usize..3, act(), 0_usize..3), 1..30),
    ) {
        let mut tables: Vec<MemberTable> = (1..=3).map(|me| table(me, &[])).collect();
        for (at, act, to) in acts {
            let me = at as u64 + 1;
            // An era begins when all agree.
            if !matches!(act, Act::BeginEra) || tables.iter().all(|table| table.digest() == tables[at].digest()) {
                tables[at] = after(me, tables[at].clone(), &[act]);
            }
            let gossip = tables[at].gossip();
            tables[to].merge(to as u64 + 1, &gossip);
            for one in &tables {
                for seen in one.seen().iter().filter(|uid| **uid <= 3) {
                    // It may have gone on since; but then it knows at least as much.
                    let of_seen = &tables[*seen as usize - 1];
                    prop_assert_eq!(merged(*seen, of_seen, &one.gossip()).digest(), of_seen.digest());
                }
            }
        }
    }
}

#[test]
fn weakly_up_counts_for_nothing() {
    let mut table = settled(joined(2), 2);
    table.observe(1, 2, true);
    assert!(table.add(1, member(3)));
    let weak = table.weak_promotions(&MinMembers::default());
    weak.iter().for_each(|promotion| table.promote(1, promotion).unwrap());
    assert_eq!(table.get(3).map(|member| member.status), Some(WeaklyUp));
    assert_eq!(table.leader(3, Some("odd")).map(|leader| leader.node.uid), Some(1));
    let alone = table.leader(2, Some("even")).map(|leader| leader.node.uid);
    assert_eq!(alone, Some(2), "it can always reach itself");
}

/// The first let the third in, and only the third heard of it before the first was over.
#[test]
fn who_joins_is_heard_before_it_is_let_in_where_one_is_over_that_may_have_done_so() {
    let mut before = joined(3);
    before.promote(1, &Promotion { uid: 1, to: Up, up_number: Some(1) }).unwrap();
    before.promote(1, &Promotion { uid: 2, to: Up, up_number: Some(2) }).unwrap();
    assert!(before.may_have_led().is_empty(), "nobody is over");
    let (mut second, mut third) = (MemberTable::default(), MemberTable::default());
    second.merge(2, &before.gossip());
    before.promote(1, &Promotion { uid: 3, to: Up, up_number: Some(3) }).unwrap();
    third.merge(3, &before.gossip());
    second.step(2, 1, Down).unwrap();
    assert!(second.is_converged() && !second.all_that_come_or_go_have_seen());
    assert_eq!(second.may_have_led(), [1].into());
    third.merge(3, &second.gossip());
    second.merge(2, &third.gossip());
    assert!(second.all_that_come_or_go_have_seen());
    assert_eq!(second.get(3).and_then(|member| member.up_number), Some(3));
}

/// The second wants to leave before anybody was let in.
#[test]
fn who_leaves_before_it_was_let_in_begins_nothing() {
    let mut table = joined(3);
    table.step(2, 2, Leaving).unwrap();
    assert!(!table.is_converged(), "the others have not seen it");
    assert_eq!(table.leader(2, None).map(|leader| leader.node.uid), Some(1));
    let mut gossip = table.gossip();
    gossip.seen = vec![1, 2, 3];
    table.merge(1, &gossip);
    assert!(table.is_converged());
    let three = MinMembers { total: 3, ..MinMembers::default() };
    let of_one = |table: &MemberTable| table.promotions(&three).into_iter().find(|promotion| promotion.uid == 1);
    assert_eq!(of_one(&table), None, "two are left of three");
}
