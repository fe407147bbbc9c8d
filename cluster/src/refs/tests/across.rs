//! Actors of whole nodes, one of which crashes.

use super::nodes::{Gate, GateMessage, Greeting, SECOND};
use crate::{event::ClusterEvent, testkit::SimCluster};
use actors::{ActorRef, AskError, Behavior, FnActor, ReplyTo, TryTellError};
use parking_lot::Mutex;
use std::sync::Arc;

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

enum Watcher {
    Watch(ActorRef<GateMessage>),
    Ended,
    Of(ClusterEvent),
}

/// Nodes that each have a gate others find.
fn nodes() -> SimCluster {
    let mut sim = SimCluster::builder()
        .nodes(3)
        .seed(11)
        .config(|_, config| config.message::<GateMessage>().message::<Greeting>())
        .on_join(|node| {
            let gate = node.system().spawn("gate", Gate::default());
            node.cluster().unwrap().refs().name("gate", &gate).unwrap();
        })
        .start();
    assert!(sim.run_until(MINUTE, SimCluster::is_whole), "they do not meet");
    sim
}

fn ask<R: Send + 'static>(
    sim: &SimCluster,
    gate: &ActorRef<GateMessage>,
    make: impl FnOnce(ReplyTo<R>) -> GateMessage,
) -> Result<R, AskError> {
    sim.block_on(gate.ask(make, 10 * SECOND))
}

#[test]
fn an_actor_ends_once_with_its_node_when_that_is_no_member_any_more() {
    let mut sim = nodes();
    let here = sim.cluster(0);
    let old = sim.cluster(1).me().clone();
    let named: ActorRef<GateMessage> = here.refs().named(&old, "gate").unwrap();
    let gate = ask(&sim, &named, GateMessage::Who).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (hears, cluster, node) = (heard.clone(), here.clone(), old.clone());
    let watcher = FnActor::new((), move |(), ctx, message: Watcher| {
        match message {
            Watcher::Watch(gate) => ctx.watch_with(&gate, Watcher::Ended),
            Watcher::Ended => {
                let is_member = cluster.state().members.iter().any(|member| member.node == node);
                hears.lock().push(if is_member { "ended, and is a member" } else { "ended" });
            }
            Watcher::Of(ClusterEvent::Unreachable(_)) => hears.lock().push("unreachable"),
            Watcher::Of(_) => {}
        }
        Ok(Behavior::Same)
    });
    let watcher = sim.system(0).spawn("watcher", watcher);
    here.subscribe(&watcher.map(Watcher::Of)).unwrap();
    watcher.tell(Watcher::Watch(gate.clone()));
    let asked = gate.ask(GateMessage::Keep, 100 * MINUTE);
    let (reply_to, waits) = ReplyTo::channel();
    gate.tell(GateMessage::Keep(reply_to));
    sim.run_for(SECOND);

    sim.power_off(1);
    let unreachable = |sim: &SimCluster| !sim.cluster(0).state().unreachable.is_empty();
    assert!(sim.run_until(MINUTE, unreachable));
    assert!(!gate.is_stopped(), "who is not reached may come back");
    let is_gone = |sim: &SimCluster| sim.cluster(0).state().members.iter().all(|member| member.node != old);
    assert!(sim.run_until(2 * MINUTE, is_gone));
    sim.run_for(SECOND);
    assert_eq!(*heard.lock(), ["unreachable", "ended"]);
    let ends = sim.block_on(sim.clock().timeout(SECOND, futures_util::future::join(asked, waits)));
    assert_eq!(ends.unwrap(), (Err(AskError::Stopped), Err(AskError::Stopped)));

    sim.start(1);
    assert!(sim.run_until(2 * MINUTE, SimCluster::is_whole));
    let new = sim.cluster(1).me().clone();
    assert_eq!(new.address, old.address);
    for before in [&gate, &named] {
        assert!(before.is_stopped(), "another life at its address is not it");
        let told = before.try_tell(GateMessage::Note(1));
        assert!(matches!(told, Err(TryTellError::Stopped(GateMessage::Note(1)))));
        assert_eq!(ask(&sim, before, GateMessage::Keep), Err(AskError::Stopped));
    }
    let again: ActorRef<GateMessage> = here.refs().named(&new, "gate").unwrap();
    again.tell(GateMessage::Note(2));
    assert_eq!(ask(&sim, &again, GateMessage::Noted).unwrap(), [2]);
    assert_ne!(ask(&sim, &again, GateMessage::Who).unwrap(), gate);
    sim.run_for(MINUTE);
    assert_eq!(*heard.lock(), ["unreachable", "ended"], "once");
}
