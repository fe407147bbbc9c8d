//! Several drivers on a network: who is there is found, who is gone is noticed, and nobody stays alone.

use super::{
    Dropped, Effects, Identity, KeyRing, News, Settings, Swim,
    net::{Net, address, identity, millis, secs},
};
use crate::rng::Rng;
use actors::Tick;
use proptest::prelude::*;
use std::time::Duration;

const SEEDS: std::ops::Range<u64> = 0..200;

fn settings(seed_node: usize) -> Settings {
    Settings { seeds: vec![address(seed_node)], ..Settings::new("shop") }
}

#[test]
fn all_see_each_other_though_datagrams_get_lost() {
    for seed in SEEDS {
        let mut net = Net::of(seed, 5);
        net.loss = 10;
        net.run_until(secs(20), Net::all_see_each_other);
        for n in 0..5 {
            assert!(net.news_of(n).any(|news| *news == News::Connected), "{}", net.trace());
        }
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = || {
        let mut net = Net::of(42, 4);
        (net.loss, net.delay) = (20, (1, 150));
        net.run(secs(60));
        net.cut(&[0, 1]);
        net.run(secs(60));
        net.heal();
        net.run(secs(60));
        net.trace()
    };
    assert_eq!(story(), story());
}

/// So it is with fifty who see each other, and no more once there are fewer.
#[test]
fn in_a_large_cluster_news_is_passed_on_more_often() {
    let mut net = Net::joined(7, 50);
    let all =
        |net: &Net, often| net.nodes.iter().filter(|node| node.runs).all(|node| node.swim.transmissions() == often);
    assert!(all(&net, 15));
    net.kill(49);
    net.run_until(settings(0).given_up_within(50), Net::all_see_each_other);
    assert!(all(&net, 10));
    assert!(all(&Net::joined(7, 49), 10));
}

#[test]
fn who_is_gone_is_given_up_by_all_within_the_time_of_the_settings() {
    for seed in SEEDS {
        let mut net = Net::joined(seed, 5);
        let gone = usize::try_from(net.below(5)).unwrap();
        net.kill(gone);
        net.run(settings(0).given_up_within(5));
        for n in (0..5).filter(|n| *n != gone) {
            assert_eq!(net.given_up_by(n), [gone], "{}", net.trace());
        }
    }
}

/// foca alone would stay alone for ever: it stops all its alarms when nobody is left.
#[test]
fn one_that_was_cut_off_is_found_again() {
    for seed in SEEDS {
        let mut net = Net::joined(seed, 3);
        let lonely = usize::try_from(net.below(3)).unwrap();
        net.cut(&[lonely]);
        net.run_until(secs(30), |net| net.sees(lonely).is_empty());
        net.run(millis(net.below(120_000)));
        net.heal();
        net.run_until(secs(40), Net::all_see_each_other);
        let news: Vec<_> = net.news_of(lonely).collect();
        assert!(news.contains(&&News::Alone), "{}", net.trace());
    }
}

#[test]
fn two_halves_of_two_nodes_find_each_other_again() {
    for seed in SEEDS {
        let mut net = Net::joined(seed, 2);
        net.cut(&[0]);
        net.run_until(secs(30), |net| net.sees(0).is_empty() && net.sees(1).is_empty());
        net.run(millis(net.below(600_000)));
        net.heal();
        net.run_until(secs(40), Net::all_see_each_other);
        // It is the same two processes: nobody was replaced.
        for n in 0..2 {
            assert!(!net.news_of(n).any(|news| matches!(news, News::Replaced { .. })), "{}", net.trace());
            assert_eq!(net.nodes[n].swim.identity().uid, identity(n, 1).uid);
        }
    }
}

#[test]
fn two_halves_of_six_find_each_other_again() {
    for seed in 0..50 {
        let mut net = Net::joined(seed, 6);
        net.cut(&[0, 1, 2]);
        net.run_until(secs(60), |net| (0..3).all(|n| net.sees(n).len() == 2 && net.sees(n + 3).len() == 2));
        net.run(millis(net.below(60_000)));
        net.heal();
        net.run_until(secs(140), Net::all_see_each_other);
    }
}

#[test]
fn who_starts_while_the_network_is_cut_gets_in_once_it_heals() {
    for seed in SEEDS {
        let mut net = Net::of(seed, 3);
        net.cut(&[0]);
        net.run(millis(net.below(300_000)));
        net.heal();
        net.run_until(secs(40), Net::all_see_each_other);
    }
}

/// An address that was never a seed is known for a day.
#[test]
fn the_seeds_need_not_be_there_to_find_the_others_again() {
    for seed in SEEDS {
        let mut net = Net::joined(seed, 3);
        net.kill(0);
        net.cut(&[1]);
        net.run_until(secs(30), |net| net.sees(1).is_empty() && net.sees(2).is_empty());
        net.run(secs(3600));
        net.heal();
        net.run_until(secs(40), Net::all_see_each_other);
    }
}

/// B was cut off and is suspected. Just before it would be given up the network heals, and what contradicts lies in the inbox
/// of A, who was busy for a fifth of a second, when the time of the suspect has passed.
fn given_up_with_the_contradiction_in_the_inbox(seed: u64, time_first: bool) -> bool {
    let mut net = Net::new(seed);
    for n in 0..2 {
        // The link is cut for most of the suspicion: so that the news of it does not run out, it is passed on often.
        let often = std::num::NonZeroU8::new(200).unwrap();
        net.add(identity(n, 1), Settings { transmissions: often, ..settings(0) });
    }
    net.run_until(secs(20), Net::all_see_each_other);
    net.run(secs(5) + millis(net.below(1000)));
    net.cut(&[0]);
    let verdict = |net: &Net, n: usize| net.nodes[n].swim.verdict();
    net.run_until(secs(5), |net| (0..2).any(|n| verdict(net, n).is_some()));
    let first = if verdict(&net, 0).is_some() { 0 } else { 1 };
    // An answer to the probe half a second before the verdict arrives in the last tenth.
    net.delay = (205, 245);
    net.run(verdict(&net, first).unwrap() - net.now - millis(509));
    net.heal();
    net.run(millis(409));
    net.nodes[first].time_first = time_first;
    net.busy(first, millis(200));
    net.run(secs(1));
    !net.given_up_by(first).is_empty()
}

#[test]
fn what_has_arrived_counts_before_time_passes() {
    for seed in SEEDS {
        assert!(!given_up_with_the_contradiction_in_the_inbox(seed, false), "seed {seed}");
        assert!(given_up_with_the_contradiction_in_the_inbox(seed, true), "seed {seed}: the test shows nothing");
    }
}

#[test]
fn who_could_not_run_for_a_while_gives_nobody_up_for_it() {
    for seed in SEEDS {
        let mut net = Net::joined(seed, 3);
        net.loss = 5;
        net.busy(1, millis(300 + net.below(10_000)));
        net.run(secs(11));
        assert_eq!(net.given_up_by(1), [0_usize; 0], "{}", net.trace());
        net.loss = 0;
        net.run_until(secs(40), Net::all_see_each_other);
        net.run(secs(20));
        assert_eq!(net.nodes[1].swim.health().score(), 0, "it is well again");
        assert!(net.nodes[1].swim.may_accuse(net.now));
    }
}

/// A could not run just after it had found a suspect: it has not told anybody of it, when the time of the suspect has passed.
#[test]
fn a_suspect_has_its_time_though_this_node_could_not_run() {
    for seed in SEEDS {
        let mut net = Net::new(seed);
        net.add(identity(0, 1), settings(0));
        net.add(identity(1, 1), Settings { suspicion: secs(60), ..settings(0) });
        net.run_until(secs(20), Net::all_see_each_other);
        net.run(secs(5) + millis(net.below(1000)));
        net.cut(&[0]);
        net.run_until(secs(5), |net| net.nodes[0].swim.verdict().is_some());
        net.heal();
        net.lose();
        net.busy(0, secs(3) + millis(300 + net.below(5000)));
        net.run(secs(20));
        assert_eq!(net.given_up_by(0), [0_usize; 0], "{}", net.trace());
    }
}

#[test]
fn who_is_sick_gives_others_more_time() {
    let mut net = Net::joined(1, 2);
    for _ in 0..4 {
        net.busy(0, millis(600));
        net.run(millis(601));
    }
    net.kill(1);
    net.run_until(secs(20), |net| net.nodes[0].swim.verdict().is_some());
    let factor = net.nodes[0].swim.health().factor();
    assert!(factor > 1);
    assert_eq!(net.nodes[0].swim.verdict(), Some(net.now + secs(3) * factor));
}

/// The first words under the new name get lost: nobody knows it, and nobody speaks to the old one any more.
#[test]
fn who_goes_on_under_the_next_generation_makes_itself_heard() {
    for seed in SEEDS {
        let mut net = Net::joined(seed, 3);
        net.busy(2, secs(10));
        net.run_until(secs(12), |net| net.news_of(2).any(|news| *news == News::Renewed(1)));
        net.cut(&[2]);
        net.lose();
        net.run(millis(net.below(5000)));
        net.heal();
        net.run_until(secs(20), Net::all_see_each_other);
    }
}

/// Those that gave it up are gone before they have heard of the new name.
#[test]
fn who_goes_on_under_the_next_generation_notices_that_nobody_is_there() {
    for seed in SEEDS {
        let mut net = Net::joined(seed, 3);
        net.busy(2, secs(10));
        net.run_until(secs(12), |net| net.news_of(2).any(|news| *news == News::Renewed(1)));
        net.lose();
        [0, 1].into_iter().for_each(|gone| net.kill(gone));
        net.run_until(secs(60), |net| net.sees(2).is_empty());
        assert_eq!(net.news_of(2).last(), Some(&News::Alone), "{}", net.trace());
    }
}

#[test]
fn a_late_alarm_says_that_this_node_is_slow() {
    let mut net = Net::joined(1, 3);
    net.busy(1, millis(900));
    net.run(millis(901));
    assert_eq!(net.nodes[1].swim.health().score(), 1);
    assert!(!net.nodes[1].swim.may_accuse(net.now));
}

#[test]
fn another_life_at_an_address_replaces_the_one_before() {
    for seed in 0..50 {
        let mut net = Net::joined(seed, 3);
        net.restart(2, identity(2, 2), settings(0));
        net.run_until(secs(20), Net::all_see_each_other);
        net.run(secs(20));
        for n in 0..2 {
            let replaced = News::Replaced { old: identity(2, 1), new: identity(2, 2) };
            let times = net.news_of(n).filter(|news| **news == replaced).count();
            assert_eq!(times, 1, "{}", net.trace());
            let last = net.news_of(n).filter(|news| !matches!(news, News::Connected | News::Renewed(_))).last();
            assert_eq!(last, Some(&News::Alive(identity(2, 2))), "{}", net.trace());
        }
    }
}

#[test]
fn another_life_that_is_over_before_it_is_heard_of_is_told_to_be_gone() {
    let (mut told, mut at_once) = (0, 0);
    let next = identity(3, 2);
    for seed in SEEDS {
        let mut net = Net::joined(seed, 4);
        net.kill(3);
        net.run_until(settings(0).given_up_within(4), Net::all_see_each_other);
        net.cut(&[0, 1]);
        net.restart(3, next.clone(), settings(2));
        net.run(secs(8));
        net.kill(3);
        net.run(millis(net.below(6000)));
        net.heal();
        net.run(secs(60));
        for n in 0..2 {
            let of_next = |news: &&News| match news {
                News::Alive(who) | News::Unreachable(who) | News::Replaced { new: who, .. } => *who == next,
                _ => false,
            };
            let news: Vec<&News> = net.news_of(n).filter(of_next).collect();
            told += news.len();
            let is_over = |news: &&News| matches!(news, News::Unreachable(_));
            assert!(news.last().is_none_or(is_over), "{}", net.trace());
            let pairs = news.windows(2);
            at_once += pairs.filter(|of| matches!(of, [News::Replaced { .. }, News::Unreachable(_)])).count();
        }
    }
    assert!(at_once > 0, "of {told} news");
}

#[test]
fn a_life_whose_clock_was_behind_gets_in_once_it_outlives_the_one_before() {
    let mut net = Net::joined(3, 3);
    let behind = Identity { start: 7, uid: 777, ..identity(2, 1) };
    net.restart(2, behind, settings(0));
    net.run(secs(60));
    for n in 0..2 {
        assert!(!net.sees(n).contains(&2), "{}", net.trace());
    }
    assert!(net.nodes[2].swim.identity().generation < 10, "they do not keep each other busy: {}", net.trace());
    net.act(2, |swim, now| swim.outlive(identity(2, 1).start, now));
    net.run_until(secs(40), Net::all_see_each_other);
    assert_eq!(net.nodes[2].swim.identity().start, identity(2, 1).start + 1);
    let before = net.nodes[2].news.len();
    net.act(2, |swim, now| swim.outlive(3, now));
    assert_eq!(net.nodes[2].news.len(), before, "it is the later one already");
}

#[test]
fn who_leaves_is_given_up_at_once_and_does_not_come_back() {
    for seed in 0..50 {
        let mut net = Net::joined(seed, 4);
        net.act(3, Swim::leave);
        net.run(secs(1));
        for n in 0..3 {
            assert_eq!(net.given_up_by(n), [3], "{}", net.trace());
        }
        net.run(secs(200));
        for n in 0..3 {
            assert!(!net.sees(n).contains(&3), "{}", net.trace());
        }
        assert_eq!(net.nodes[3].swim.due(), None);
        // Whoever knocks there is not heard: to listen would be to come back.
        let mut late = Swim::new(identity(9, 1), settings(3), Rng::seeded(seed), net.now).unwrap();
        for (_, knock) in late.time(net.now).send {
            assert_eq!(net.nodes[3].swim.datagram(&knock, net.now), Effects::default());
            assert!(net.nodes[3].swim.alive().all(|who| who.uid != identity(9, 1).uid), "{}", net.trace());
        }
    }
}

#[test]
fn alarms_stay_few_while_names_change() {
    let mut net = Net::joined(5, 3);
    for _ in 0..100 {
        net.cut(&[2]);
        net.run_until(secs(30), |net| net.sees(2).is_empty());
        net.heal();
        net.run_until(secs(40), Net::all_see_each_other);
    }
    for n in 0..3 {
        assert!(net.nodes[n].swim.alarms() < 25, "{}", net.nodes[n].swim.alarms());
        assert!(net.nodes[n].swim.backlog() <= 3);
    }
}

fn sealed(keys: &[u8]) -> Settings {
    let keys: Vec<_> = keys.iter().map(|key| [*key; 32]).collect();
    Settings { keys: Some(KeyRing::new(&keys).unwrap()), ..settings(0) }
}

fn dropped(net: &Net, n: usize) -> Vec<(Dropped, u64)> {
    net.nodes[n].swim.dropped().iter().map(|(why, times)| (*why, *times)).collect()
}

#[test]
fn keys_change_without_a_gap() {
    let mut net = Net::new(9);
    for n in 0..3 {
        net.add(identity(n, 1), sealed(&[1]));
    }
    net.run_until(secs(20), Net::all_see_each_other);
    let news: Vec<_> = (0..3).map(|n| net.nodes[n].news.len()).collect();
    for keys in [[1, 2].as_slice(), &[2, 1], &[2]] {
        for n in 0..3 {
            let keys: Vec<_> = keys.iter().map(|key| [*key; 32]).collect();
            net.nodes[n].swim.rotate(KeyRing::new(&keys).unwrap());
            net.run(secs(10));
        }
    }
    net.run(secs(30));
    for (n, news) in news.into_iter().enumerate() {
        assert_eq!((dropped(&net, n), net.nodes[n].news.len()), (vec![], news), "{}", net.trace());
    }
}

#[test]
fn who_has_another_key_no_key_or_another_cluster_is_not_let_in() {
    let mut net = Net::new(9);
    net.add(identity(0, 1), sealed(&[1]));
    net.add(identity(1, 1), sealed(&[1]));
    net.add(identity(2, 1), sealed(&[2]));
    net.add(identity(3, 1), settings(0));
    net.add(identity(4, 1), Settings { cluster: "bank".into(), ..sealed(&[1]) });
    net.run(secs(60));
    for n in 0..5 {
        let seen = [vec![1], vec![0], vec![], vec![], vec![]];
        assert_eq!(net.sees(n).into_iter().collect::<Vec<_>>(), seen[n], "{}", net.trace());
    }
    let kinds: Vec<_> = dropped(&net, 0).into_iter().map(|(why, _)| why).collect();
    assert_eq!(kinds, [Dropped::Unsealed, Dropped::Unauthentic]);
}

#[test]
fn clusters_without_keys_stay_apart_too() {
    let mut net = Net::new(9);
    net.add(identity(0, 1), settings(0));
    net.add(identity(1, 1), Settings { cluster: "bank".into(), ..settings(0) });
    net.run(secs(60));
    assert!(net.sees(0).is_empty() && net.sees(1).is_empty(), "{}", net.trace());
    assert!(matches!(dropped(&net, 0)[..], [(Dropped::Cluster, 2..)]), "{}", net.trace());
}

#[test]
fn what_was_recorded_is_not_taken_again() {
    let mut net = Net::new(9);
    for n in 0..2 {
        net.add(identity(n, 1), sealed(&[1]));
    }
    net.tapped = Some(Vec::new());
    net.run(secs(20));
    let recorded = net.tapped.take().unwrap();
    let news = net.nodes[0].news.len();
    let from_other = recorded.iter().filter(|(from, _)| *from == 1);
    let times = u64::try_from(from_other.clone().count()).unwrap();
    assert!(times > 50);
    for (_, datagram) in from_other {
        net.act(0, |swim, now| swim.datagram(datagram, now));
    }
    assert_eq!(dropped(&net, 0), [(Dropped::Replayed, times)]);
    assert_eq!(net.nodes[0].news.len(), news);
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut swim = Swim::new(identity(0, 1), settings(0), Rng::seeded(1), Tick::START).unwrap();
    for n in 1..=5000 {
        let who = settings(0);
        let mut other = Swim::new(identity(n, 1), who, Rng::seeded(2), Tick::START).unwrap();
        for (_, datagram) in other.time(Tick::START).send {
            let _ = swim.datagram(&datagram, Tick::START);
        }
    }
    assert_eq!(swim.alive().count(), 4096);
    assert_eq!(swim.dropped().get(&Dropped::Crowded), Some(&904));
}

proptest! {
    #[test]
    fn no_bytes_whatsoever_break_it(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 1..20)) {
        let mut swim = Swim::new(identity(0, 1), settings(0), Rng::seeded(1), Tick::START).unwrap();
        let mut now = Tick::START;
        for datagram in datagrams {
            now = now + Duration::from_millis(10);
            let effects = swim.datagram(&datagram, now);
            prop_assert!(effects.send.is_empty() && effects.news.is_empty());
            // As one of the cluster's, so that it gets further.
            let closed = super::seal::Seal::new("shop".into(), 1, None).close(&datagram);
            let effects = swim.turn([closed], now);
            prop_assert!(effects.news.is_empty());
        }
        prop_assert!(swim.alive().count() == 0);
    }
}
