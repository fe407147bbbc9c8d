//! Certificates and keys of whole clusters, over real sockets: who has none does not get in, and they change while all goes on.

use super::Cluster;
use crate::{
    ClusterConfig, ClusterEvent, Departure, KeyRing, MemberStatus, TlsConfig, TlsMaterial, TlsNames,
    member::Address,
    refs::tests::nodes::{Gate, GateMessage, Greeting},
    remote::authority::Authority,
};
use actors::{ActorRef, ActorSystem, Behavior, Clock, FnActor};
use parking_lot::Mutex;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// No test may take longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// To whom the certificates of a cluster are made out.
const SHOP: &str = "shop.cluster.internal";

fn ring(keys: &[u8]) -> KeyRing {
    KeyRing::new(&keys.iter().map(|key| [*key; 32]).collect::<Vec<_>>()).unwrap()
}

fn config(seeds: &[&Cluster], material: TlsMaterial, names: TlsNames, keys: &[u8]) -> ClusterConfig {
    ClusterConfig {
        seeds: seeds.iter().map(|seed| seed.me().address.clone()).collect(),
        tls: Some(TlsConfig { material, names }),
        key_ring: Some(ring(keys)),
        ..ClusterConfig::local(0)
    }
    .message::<GateMessage>()
    .message::<Greeting>()
}

/// A node with a gate that the others find.
async fn join(config: ClusterConfig) -> Cluster {
    let system = ActorSystem::new("node");
    let cluster = Cluster::join(&system, config).await.unwrap();
    let gate = system.spawn("gate", Gate::default());
    cluster.refs().name("gate", &gate).unwrap();
    cluster
}

fn gate(from: &Cluster, to: &Cluster) -> ActorRef<GateMessage> {
    from.refs().named(to.me(), "gate").unwrap()
}

async fn noted(at: &Cluster) -> Vec<u32> {
    gate(at, at).ask(GateMessage::Noted, PATIENCE).await.unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !holds().await {
            Clock::tokio().sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(Clock::tokio().timeout(PATIENCE, waits).await.is_ok(), "it never came to that: {what}");
}

/// All of them see so many, all up.
async fn all_up(clusters: &[Cluster]) {
    let sees_all = |cluster: &Cluster| {
        let state = cluster.state();
        state.members.len() == clusters.len()
            && state.unreachable.is_empty()
            && state.members.iter().all(|member| member.status == MemberStatus::Up)
    };
    until("all see all up", async || clusters.iter().all(sees_all)).await;
}

async fn in_time(story: impl Future<Output = ()>) {
    assert!(Clock::tokio().timeout(2 * PATIENCE, story).await.is_ok(), "it takes for ever");
}

async fn all_leave(clusters: Vec<Cluster>) {
    for cluster in clusters {
        assert_eq!(cluster.leave(PATIENCE).await.map_err(|error| error.to_string()), Ok(()));
        cluster.system().terminated().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_certificates_form_a_cluster_and_strangers_are_told_why_they_do_not_get_in() {
    in_time(Box::pin(async {
        let (ours, others) = (Authority::new(), Authority::new());
        let of_host = |seeds: &[&Cluster], material| config(seeds, material, TlsNames::Host, &[7]);
        let good = || ours.signs("127.0.0.1", &ours);
        let one = join(of_host(&[], good())).await;
        let two = join(of_host(&[&one], good())).await;
        let three = join(of_host(&[&one], good())).await;
        let clusters = [one, two, three];
        all_up(&clusters).await;
        for (number, from) in (1..).zip(&clusters) {
            for to in clusters.iter().filter(|to| to.me() != from.me()) {
                gate(from, to).send(GateMessage::Note(number)).await.unwrap();
            }
        }
        for (at, to) in clusters.iter().enumerate() {
            until("each is told by both", async || {
                let mut noted = noted(to).await;
                noted.sort_unstable();
                noted == (1..=3).filter(|number| *number != at as u32 + 1).collect::<Vec<_>>()
            })
            .await;
        }

        let strangers = [
            ("of another authority", others.signs("127.0.0.1", &others), "UnknownIssuer"),
            ("signed by another, and trusts ours", others.signs("127.0.0.1", &ours), "UnknownCA"),
            ("made out to another host", ours.signs("127.0.0.9", &ours), "certificate"),
        ];
        for (which, material, told) in strangers {
            let system = ActorSystem::new("stranger");
            let within = Some(Duration::from_secs(3));
            let config = ClusterConfig { join_within: within, ..of_host(&[&clusters[0]], material) };
            let Err(refused) = Cluster::join(&system, config).await else { panic!("{which}: let in") };
            assert!(refused.to_string().contains(told), "{which}: {refused}");
            system.terminate().await;
        }
        let plain = ClusterConfig { tls: None, ..of_host(&[&clusters[0]], good()) };
        let system = ActorSystem::new("stranger");
        let within = Some(Duration::from_secs(3));
        let refused = Cluster::join(&system, ClusterConfig { join_within: within, ..plain }).await;
        assert!(refused.is_err(), "without TLS");
        assert!(clusters.iter().all(|cluster| cluster.state().members.len() == 3));
        all_leave(clusters.into()).await;
    }))
    .await;
}

/// Sends numbers from each node to each other one until told to stop.
struct Traffic {
    ends: Arc<AtomicBool>,
    /// How many were sent from each, over all ways.
    rounds: Vec<Arc<AtomicU32>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn start(clusters: &[Cluster]) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let rounds: Vec<Arc<AtomicU32>> = clusters.iter().map(|_| Arc::default()).collect();
        let mut tasks = Vec::new();
        for (from, cluster) in clusters.iter().enumerate() {
            let to: Vec<_> = clusters.iter().filter(|to| to.me() != cluster.me()).map(|to| gate(cluster, to)).collect();
            let (ends, round) = (Arc::clone(&ends), Arc::clone(&rounds[from]));
            tasks.push(tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    let number = from as u32 * 1_000_000 + round.load(Ordering::Relaxed);
                    for to in &to {
                        to.send(GateMessage::Note(number)).await.unwrap();
                    }
                    round.fetch_add(1, Ordering::Relaxed);
                    Clock::tokio().sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        Self { ends, rounds, tasks }
    }

    /// Each goes on for some rounds.
    async fn goes_on(&self) {
        let now: Vec<u32> = self.rounds.iter().map(|round| round.load(Ordering::Relaxed)).collect();
        let further = |(round, before): (&Arc<AtomicU32>, &u32)| round.load(Ordering::Relaxed) >= before + 20;
        until("all send on", async || self.rounds.iter().zip(&now).all(further)).await;
    }

    /// Each got all from each other, once and in order.
    async fn ends(self, clusters: &[Cluster]) {
        self.ends.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        for (at, to) in clusters.iter().enumerate() {
            for (from, rounds) in self.rounds.iter().enumerate().filter(|(from, _)| *from != at) {
                let rounds = rounds.load(Ordering::Relaxed);
                let came = async || {
                    let noted = noted(to).await;
                    noted.into_iter().filter(|number| number / 1_000_000 == from as u32).collect::<Vec<_>>()
                };
                until("the last comes", async || came().await.len() >= rounds as usize).await;
                let all: Vec<u32> = (0..rounds).map(|round| from as u32 * 1_000_000 + round).collect();
                assert_eq!(came().await, all, "from {from} to {at}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_keys_change_node_by_node_and_nothing_and_nobody_is_lost() {
    in_time(Box::pin(async {
        let (old, new) = (Authority::new(), Authority::new());
        let shop =
            |seeds: &[&Cluster], material, keys: &[u8]| config(seeds, material, TlsNames::Cluster(SHOP.into()), keys);
        let one = join(shop(&[], old.signs(SHOP, &old), &[1])).await;
        let two = join(shop(&[&one], old.signs(SHOP, &old), &[1])).await;
        let three = join(shop(&[&one], old.signs(SHOP, &old), &[1])).await;
        let mut clusters = vec![one, two, three];
        all_up(&clusters).await;
        let lost: Arc<Mutex<Vec<ClusterEvent>>> = Arc::default();
        let hears = Arc::clone(&lost);
        let listener = FnActor::new((), move |(), _, event: ClusterEvent| {
            if matches!(event, ClusterEvent::Downed(_) | ClusterEvent::Removed { .. }) {
                hears.lock().push(event);
            }
            Ok(Behavior::Same)
        });
        let listener = clusters[0].system().spawn("listener", listener);
        clusters[0].subscribe(&listener).unwrap();
        let traffic = Traffic::start(&clusters);
        traffic.goes_on().await;

        let trust_both = || old.signs_for(SHOP, &[&old, &new]);
        let show_new = || new.signs_for(SHOP, &[&old, &new]);
        let trust_new = || new.signs(SHOP, &new);
        // In the middle of a change whoever comes is let in, by those before it and by those after it.
        let mut newcomers = Vec::new();
        for (step, material) in [&trust_both as &dyn Fn() -> TlsMaterial, &show_new, &trust_new].into_iter().enumerate()
        {
            for at in 0..3 {
                clusters[at].reload_tls(&material()).unwrap();
                traffic.goes_on().await;
                if (step, at) == (1, 0) {
                    let seeds = [&clusters[0], &clusters[1], &clusters[2]];
                    newcomers.push(join(shop(&seeds, show_new(), &[1])).await);
                }
            }
        }
        clusters[0].reload_tls(&TlsMaterial { key: b"none".to_vec(), ..trust_new() }).unwrap_err();
        newcomers[0].reload_tls(&trust_new()).unwrap();

        let keys: [&[u8]; 3] = [&[1, 2], &[2, 1], &[2]];
        for (step, keys) in keys.into_iter().enumerate() {
            for at in 0..3 {
                clusters[at].rotate_keys(&ring(keys)).unwrap();
                traffic.goes_on().await;
                if (step, at) == (1, 1) {
                    let seeds = [&clusters[0], &clusters[1], &clusters[2]];
                    newcomers.push(join(shop(&seeds, trust_new(), &[1, 2])).await);
                }
            }
            newcomers.iter().for_each(|newcomer| newcomer.rotate_keys(&ring(keys)).unwrap());
        }
        traffic.goes_on().await;
        traffic.ends(&clusters).await;
        clusters.append(&mut newcomers);
        all_up(&clusters).await;
        assert!(lost.lock().is_empty(), "{:?}", lost.lock());

        let late: Vec<(&str, TlsMaterial, &[u8])> =
            vec![("the old certificate", old.signs_for(SHOP, &[&old, &new]), &[2]), ("the old key", trust_new(), &[1])];
        for (which, material, keys) in late {
            let system = ActorSystem::new("late");
            let within = Some(Duration::from_secs(3));
            let config = ClusterConfig { join_within: within, ..shop(&[&clusters[0]], material, keys) };
            assert!(Cluster::join(&system, config).await.is_err(), "let in with {which}");
            system.terminate().await;
        }
        let seeds: Vec<Address> = clusters.iter().map(|cluster| cluster.me().address.clone()).collect();
        let newest = join(ClusterConfig { seeds, ..shop(&[], trust_new(), &[2]) }).await;
        clusters.push(newest);
        all_up(&clusters).await;
        assert!(clusters.iter().all(|cluster| cluster.departure() != Some(Departure::Down)));
        all_leave(clusters).await;
    }))
    .await;
}
