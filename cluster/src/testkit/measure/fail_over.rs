//! How long there is no instance of a singleton when its host is gone.

use super::{draw, nodes, settle, watch};
use crate::{
    member::{MemberStatus, UniqueAddress},
    remote::wire::WireMessage,
    singleton::{ClusterSingleton, Singleton},
    testkit::{SimCluster, SimNode},
};
use actors::{Actor, ActorContext, Behavior, Handled, Props, Signal};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const WITHIN: Duration = Duration::from_secs(180);

/// What becomes of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its process ends without a word.
    Crash,
    /// It is cut off, and goes on.
    CutOff,
    /// It leaves.
    Leave,
}

/// How long after the trouble began the first of the others knew what.
#[derive(Clone, Debug, Default)]
pub struct FailOver {
    /// Some member cannot reach the host.
    pub unreachable: Option<Duration>,
    /// No member can, as far as all of them know.
    pub unreachable_for_all: Option<Duration>,
    /// It was given up.
    pub down: Option<Duration>,
    /// It is no member any more.
    pub removed: Option<Duration>,
    /// It is none for the node that hosts next.
    pub removed_for_next: Option<Duration>,
    /// From when on the former host, if it went on, served nothing.
    pub fenced: Option<Duration>,
    /// The next instance has started. None: not within three minutes.
    pub next: Option<Duration>,
    /// Whether two instances were served at once at any time. That must never be.
    pub two: bool,
}

/// Which nodes have an instance: number and life.
type Instances = Arc<Mutex<BTreeSet<(usize, u64)>>>;

#[derive(Debug, Serialize, Deserialize)]
struct Nothing;

impl WireMessage for Nothing {
    const NAME: &'static str = "sim.Nothing";
}

struct Instance {
    place: (usize, u64),
    instances: Instances,
}

impl Actor for Instance {
    type Message = Nothing;

    async fn started(&mut self, _ctx: &mut ActorContext<Nothing>) -> Handled {
        self.instances.lock().insert(self.place);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<Nothing>, Nothing: Nothing) -> Handled {
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<Nothing>, signal: Signal) -> Handled {
        if matches!(signal, Signal::PostStop) {
            self.instances.lock().remove(&self.place);
        }
        Ok(Behavior::Unhandled)
    }
}

/// Has `trouble` come over the host of a singleton, one of `members`, while `loss` of a thousand datagrams are lost.
///
/// # Panics
/// When the cluster does not form at first, or nobody hosts.
pub fn fail_over(members: usize, trouble: Trouble, loss: u32, seed: u64) -> FailOver {
    let mut draw = draw(seed, "fail-over");
    let instances = Instances::default();
    let on_nodes = instances.clone();
    let joined = move |node: &SimNode| {
        let Some(joined) = node.cluster() else { return };
        let (place, instances) = ((node.number(), node.life()), on_nodes.clone());
        let props = Props::new(move || Instance { place, instances: instances.clone() });
        let started = ClusterSingleton::start(&joined, Singleton::new("gate", props));
        drop(started.expect("it has a name, and was not started before"));
    };
    let mut cluster = nodes(members, seed).config(|_, config| config.message::<Nothing>()).on_join(joined).start();
    settle(&mut cluster, loss, &mut draw);
    let (host, id) = host_of(&cluster, &instances);
    let began = cluster.elapsed();
    match trouble {
        Trouble::Crash if seed.is_multiple_of(2) => cluster.kill(host),
        Trouble::Crash => cluster.power_off(host),
        Trouble::CutOff => cluster.isolate(host),
        Trouble::Leave => cluster.leave(host, WITHIN),
    }
    let mut seen = FailOver::default();
    let next = watch(&mut cluster, WITHIN, |cluster| {
        look(cluster, &instances, host, &id, began, &mut seen);
        seen.next.is_some()
    });
    if next {
        // So long the former one, if there is one, must be silent.
        watch(&mut cluster, Duration::from_secs(20), |cluster| {
            look(cluster, &instances, host, &id, began, &mut seen);
            false
        });
    }
    seen
}

fn host_of(cluster: &SimCluster, instances: &Instances) -> (usize, UniqueAddress) {
    let host = instances.lock().first().map(|(number, _)| *number).expect("somebody hosts");
    (host, cluster.cluster(host).me().clone())
}

fn look(
    cluster: &SimCluster,
    instances: &Instances,
    host: usize,
    id: &UniqueAddress,
    began: Duration,
    seen: &mut FailOver,
) {
    let after = cluster.elapsed() - began;
    let others = || cluster.running().filter(|node| node.number() != host).filter_map(SimNode::cluster);
    let first = |known: &mut Option<Duration>, is_so: bool| {
        if is_so {
            known.get_or_insert(after);
        }
    };
    let unreachable = |other: &crate::Cluster| other.state().unreachable.contains(id);
    let status = |other: &crate::Cluster| other.state().member(id).map(|member| member.status);
    first(&mut seen.unreachable, others().any(|other| unreachable(&other)));
    first(&mut seen.unreachable_for_all, others().all(|other| unreachable(&other) || status(&other).is_none()));
    first(&mut seen.down, others().any(|other| status(&other) == Some(MemberStatus::Down)));
    first(&mut seen.removed, others().any(|other| status(&other).is_none()));
    let oldest = others().find(|other| {
        let state = other.state();
        let mut full: Vec<_> = state.members.iter().filter(|member| member.node != *id).collect();
        full.sort_by(|one, two| one.by_age(two));
        full.first().is_some_and(|oldest| oldest.node == *other.me())
    });
    first(&mut seen.removed_for_next, oldest.is_some_and(|oldest| status(&oldest).is_none()));
    let serves = |place: &(usize, u64)| {
        let node = cluster.node(place.0).filter(|node| node.life() == place.1);
        node.and_then(SimNode::cluster).is_some_and(|node| node.hosting().check().is_ok())
    };
    let instances = instances.lock();
    let serving: Vec<&(usize, u64)> = instances.iter().filter(|place| serves(place)).collect();
    seen.two |= serving.len() > 1;
    first(&mut seen.fenced, serving.iter().all(|place| place.0 != host));
    first(&mut seen.next, instances.iter().any(|place| place.0 != host));
}
