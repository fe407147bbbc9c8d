//! [`Only`]: an actor of which there is to be one in the cluster, and that all of it reach.

use super::ledger::{Hosted, Ledger};
use crate::{
    cluster::Cluster,
    remote::wire::WireMessage,
    singleton::{ClusterSingleton, Singleton},
};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Props};
use serde::{Deserialize, Serialize};

/// Said to the instance: by which life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Knock(pub(super) u64);

impl WireMessage for Knock {
    const NAME: &'static str = "sim.Knock";
}

struct Only {
    ledger: Ledger,
    hosted: Hosted,
}

/// Has the node take part. None, if that fails, which is written down.
pub(super) fn start(ledger: &Ledger, cluster: &Cluster) -> Option<ActorRef<Knock>> {
    let (writes, node) = (ledger.clone(), cluster.clone());
    let singleton = Singleton::with_term("only", move |term| {
        let state = node.state();
        let full = state.members.iter().filter(|member| member.status.is_full());
        let witnesses = full.map(|member| member.node.uid).collect();
        let hosted = Hosted { life: node.me().clone(), term: term.0, deadline: node.hosting(), witnesses };
        let ledger = writes.clone();
        Props::new(move || Only { ledger: ledger.clone(), hosted: hosted.clone() })
    });
    let started = ClusterSingleton::start(cluster, singleton);
    started.inspect_err(|error| ledger.fail("S2", error.to_string())).ok()
}

impl Actor for Only {
    type Message = Knock;

    async fn started(&mut self, _: &mut ActorContext<Knock>) -> Handled {
        self.ledger.begins(&self.hosted);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, _: &mut ActorContext<Knock>, Knock(life): Knock) -> Handled {
        self.ledger.is_reached(&self.hosted, life);
        Ok(Behavior::Same)
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        self.ledger.ends(&self.hosted);
    }
}
