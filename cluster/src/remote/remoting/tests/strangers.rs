//! Who may not come in, does not.

use super::nodes::{Heard, Node, numbers, two_in_memory, two_in_memory_with};
use crate::{
    membership::swim::seal::KeyRing,
    remote::{
        authority::Authority,
        door::Remote,
        remoting::RemotingSettings,
        tls::{InvalidTls, Tls, TlsMaterial, TlsNames},
        transport::Lane,
    },
};
use actors::Clock;
use std::{sync::Arc, time::Duration};

/// A time at which the certificates are good.
const WALL_MS: u64 = 1_800_000_000_000;

fn settings(keys: &[u8], tls: Option<Arc<Tls>>) -> RemotingSettings {
    let ring = KeyRing::new(&keys.iter().map(|key| [*key; 32]).collect::<Vec<_>>()).ok();
    RemotingSettings { cluster: "shop".into(), keys: ring, tls, ..RemotingSettings::default() }
}

/// Whether a message of the first gets to the second.
async fn passes(clock: &Clock, [one, two]: &[Node; 2], number: u32) -> bool {
    one.send_system(two, number.to_be_bytes().to_vec());
    let came = two.ear.until(|heard| numbers(heard, true).contains(&number));
    clock.timeout(Duration::from_secs(30), came).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn keys_change_while_nodes_talk_and_a_node_without_the_new_one_is_out() {
    let (network, clock, nodes) = two_in_memory_with(0, |_| settings(&[7], None));
    let [one, two] = &nodes;
    let rotate = |node: &Node, keys: &[u8]| node.remoting.rotate(settings(keys, None).keys.unwrap());
    let steps: [[&[u8]; 2]; 4] = [[&[7, 8], &[7]], [&[7, 8], &[7, 8]], [&[8, 7], &[7, 8]], [&[8], &[8, 7]]];
    for (number, keys) in (1..).zip(steps) {
        rotate(one, keys[0]);
        rotate(two, keys[1]);
        network.reset(&one.me.address, &two.me.address);
        assert!(passes(&clock, &nodes, number).await, "step {number}");
    }
    rotate(one, &[9]);
    network.reset(&one.me.address, &two.me.address);
    assert!(!passes(&clock, &nodes, 9).await, "no common key");
    assert!(!one.ear.heard().iter().any(|heard| matches!(heard, Heard::Ended(..))), "nobody is given up for it");
    rotate(two, &[9]);
    assert!(passes(&clock, &nodes, 10).await);
    assert_eq!(two.ear.numbers(true), [1, 2, 3, 4, 9, 10], "nothing was lost meanwhile");
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_hears_of_it_from_one_that_has_a_key() {
    for (key, hears) in [(7, true), (9, false)] {
        let (_network, clock, nodes) = two_in_memory_with(0, |_| settings(&[7], None));
        let [one, two] = &nodes;
        assert!(passes(&clock, &nodes, 1).await);
        one.remoting.rotate(settings(&[key], None).keys.unwrap());
        one.remoting.quarantine(&two.me);
        let told = two.ear.until(|heard| heard.contains(&Heard::CutOffBy(1)));
        let asks = async {
            loop {
                two.send(one, Lane::Control, vec![0; 4]);
                clock.sleep(Duration::from_secs(1)).await;
            }
        };
        let told = tokio::select! {
            told = clock.timeout(Duration::from_secs(30), told) => told.is_ok(),
            () = asks => false,
        };
        assert_eq!(told, hears, "key {key}");
        assert_eq!(one.ear.numbers(false), [0; 0], "nothing came through");
    }
}

/// One that is over refuses nobody: whoever answers at its address speaks for itself alone, and counts once.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_of_the_life_that_answers() {
    let (network, clock, nodes) = two_in_memory();
    let [one, two] = &nodes;
    assert!(passes(&clock, &nodes, 1).await);
    one.remoting.stop(Duration::ZERO).await;
    let next = one.restarts(&network, &clock, 3);
    next.remoting.quarantine(&two.me);
    two.send_system(one, vec![2; 4]);
    clock.sleep(Duration::from_secs(10)).await;
    two.remoting.member(&next.me, true);
    two.send_system(&next, vec![3; 4]);
    clock.sleep(Duration::from_secs(10)).await;
    let mut cut_off = two.ear.heard();
    cut_off.retain(|heard| matches!(heard, Heard::CutOffBy(_)));
    cut_off.dedup();
    assert_eq!(cut_off, [Heard::CutOffBy(3)]);
}

fn tls(material: &TlsMaterial, names: TlsNames) -> Arc<Tls> {
    let clock = Clock::paused(&tokio::runtime::Handle::current(), WALL_MS);
    Arc::new(Tls::new(material, names, clock).unwrap())
}

#[tokio::test(start_paused = true)]
async fn over_tls_only_those_talk_whose_certificates_the_authority_signed() {
    let (ours, others) = (Authority::new(), Authority::new());
    let cases = [
        ("both are ours", ours.signs("one", &ours), true),
        ("signed by another", others.signs("one", &ours), false),
        ("trusts another", ours.signs("one", &others), false),
        ("made out to another", ours.signs("three", &ours), false),
    ];
    for (case, material, fits) in cases {
        let two = ours.signs("two", &ours);
        let (_, clock, nodes) = two_in_memory_with(WALL_MS, |uid| {
            settings(&[], Some(tls(if uid == 1 { &material } else { &two }, TlsNames::Host)))
        });
        assert_eq!(passes(&clock, &nodes, 1).await, fits, "{case}");
        let back = [&nodes[1], &nodes[0]];
        back[0].send(back[1], Lane::Ordinary, 2_u32.to_be_bytes().to_vec());
        let came = back[1].ear.until(|heard| numbers(heard, false) == [2]);
        assert_eq!(clock.timeout(Duration::from_secs(30), came).await.is_ok(), fits, "{case}, the other way");
    }
    let (_, clock, nodes) = two_in_memory_with(WALL_MS, |uid| {
        settings(&[], (uid == 1).then(|| tls(&ours.signs("one", &ours), TlsNames::Host)))
    });
    assert!(!passes(&clock, &nodes, 1).await, "one speaks TLS and the other does not");
}

#[tokio::test(start_paused = true)]
async fn certificates_and_authorities_are_changed_while_nodes_run() {
    let (old, new) = (Authority::new(), Authority::new());
    let names = TlsNames::Cluster("shop.cluster.internal".into());
    let of = |authority: &Authority| authority.signs("shop.cluster.internal", authority);
    let tls = [(); 2].map(|()| tls(&of(&old), names.clone()));
    let (network, clock, nodes) =
        two_in_memory_with(WALL_MS, |uid| settings(&[], Some(Arc::clone(&tls[uid as usize - 1]))));
    let reset = || network.reset(&nodes[0].me.address, &nodes[1].me.address);
    assert!(passes(&clock, &nodes, 1).await);
    tls[0].reload(&of(&new)).unwrap();
    assert!(passes(&clock, &nodes, 2).await, "connections that stand go on");
    reset();
    assert!(!passes(&clock, &nodes, 3).await, "who has another authority now is a stranger");
    tls[1].reload(&of(&new)).unwrap();
    assert!(passes(&clock, &nodes, 4).await);
    assert_eq!(nodes[1].ear.numbers(true), [1, 2, 3, 4]);

    let bad = TlsMaterial { key: b"no key".to_vec(), ..of(&old) };
    assert!(matches!(tls[0].reload(&bad), Err(InvalidTls::Key(_))));
    let bad = TlsMaterial { authorities: Vec::new(), ..of(&old) };
    assert!(matches!(tls[0].reload(&bad), Err(InvalidTls::Authorities(_))));
    let bad = TlsMaterial { key: of(&old).key, ..of(&old) };
    assert!(matches!(tls[0].reload(&bad), Err(InvalidTls::Key(_))), "of another certificate");
    reset();
    assert!(passes(&clock, &nodes, 5).await, "what there was stays");
}
