//! Starting a singleton's part on a node.

use super::{
    Singleton,
    node::{NodeMessage, SingletonNode, instance_name, manager_name},
};
use crate::{cluster::Cluster, refs::NameError, remote::wire::WireMessage, tools::Tools};
use actors::{Actor, ActorRef, BoxError, Phase, Props, SpawnError};
use std::sync::Arc;
use tokio::sync::watch;

/// Why a singleton was not started on this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SingletonError {
    /// The name is not one, or its messages are not registered.
    #[error("the singleton {name:?} cannot be found by others: {reason}")]
    Unnamed {
        /// Of the singleton.
        name: Arc<str>,
        /// Why not.
        reason: String,
    },
    /// This node has a part in one of that name already.
    #[error("the singleton {name:?} was started on this node before")]
    Started {
        /// Of the singleton.
        name: Arc<str>,
    },
    /// The actor system is about to end, and starts nothing any more.
    #[error("the singleton {name:?} was not started, for the actor system is shutting down")]
    ShuttingDown {
        /// Of the singleton.
        name: Arc<str>,
    },
}

/// An actor of which there is one in the whole cluster, or among the members with a role.
///
/// Each node that is to reach it or to host it starts it; the reference it gets stays good wherever the instance moves.
/// When it moves in good order (its node leaves, or another is to host) it handles what it has, and messages told meanwhile
/// wait on their nodes for the next, in order; a node that leaves waits until its own are sent on. When its node ends
/// otherwise, those that are with it or under way are lost.
///
/// One instance is *served* at a time. Where its node may not host, messages and timers are dropped (asks end with `NoReply`),
/// and after five seconds the instance is killed, without `PostStop`. Signals, tasks that it began and a handler that awaits
/// go on until then: there ask [`Cluster::hosting`], and give what is written outside a
/// [term](super::Singleton::with_term). An instance that stops or fails for good begins again, with a higher term, after
/// a second; that doubles up to thirty.
///
/// ```no_run
/// # use actors::{Actor, ActorContext, BoxError, Handled, Behavior, Props};
/// # use cluster::{Cluster, ClusterSingleton, WireMessage};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Enter(String);
/// # impl WireMessage for Enter { const NAME: &'static str = "park.Enter"; }
/// # struct Gate;
/// # impl Actor for Gate {
/// #     type Message = Enter;
/// #     async fn receive(&mut self, _: &mut ActorContext<Enter>, _: Enter) -> Handled { Ok(Behavior::Same) }
/// # }
/// # fn example(cluster: &Cluster) {
/// let gate = ClusterSingleton::init(cluster, "front-gate", Props::new(|| Gate));
/// gate.tell(Enter("a visitor".to_owned()));
/// # }
/// ```
#[derive(Debug)]
pub struct ClusterSingleton;

impl ClusterSingleton {
    /// Has this node take part in the singleton called `name`, whose instances `props` make: on the oldest member.
    ///
    /// # Panics
    /// Where [`start`](Self::start) has an error.
    pub fn init<A: Actor<Message: WireMessage>>(
        cluster: &Cluster,
        name: impl Into<Arc<str>>,
        props: impl Into<Props<A>>,
    ) -> ActorRef<A::Message> {
        match Self::start(cluster, Singleton::new(name, props)) {
            Ok(singleton) => singleton,
            Err(error) => panic!("{error}"),
        }
    }

    /// Has this node take part in `singleton`, until its system ends.
    ///
    /// # Errors
    /// Nothing was started: it has no name, its messages are not registered with
    /// [`ClusterConfig::message`](crate::ClusterConfig::message), it was started here before, or the system is shutting down.
    pub fn start<A: Actor<Message: WireMessage>>(
        cluster: &Cluster,
        singleton: Singleton<A>,
    ) -> Result<ActorRef<A::Message>, SingletonError> {
        start(cluster.tools(), singleton)
    }
}

/// Starts this node's part in `singleton`: whoever gets the reference reaches the instance, wherever it is.
pub(crate) fn start<A: Actor<Message: WireMessage>>(
    tools: &Tools,
    singleton: Singleton<A>,
) -> Result<ActorRef<A::Message>, SingletonError> {
    let name = singleton.name.clone();
    let unnamed = |reason: NameError| SingletonError::Unnamed { name: name.clone(), reason: reason.to_string() };
    // Whether they are names is known before anything starts.
    tools.refs.check_name::<A::Message>(&instance_name(&name)).map_err(unnamed)?;
    tools.refs.check_name::<super::SingletonEnvelope>(&manager_name(&name)).map_err(unnamed)?;
    let (sender, handed_over) = watch::channel(false);
    let node = SingletonNode::new(tools.clone(), singleton, sender);
    let spawned = tools.system.try_spawn(format!("singleton-{name}"), Props::from(node));
    let node = spawned.map_err(|error| match error {
        SpawnError::ParentStopping { .. } => SingletonError::ShuttingDown { name: name.clone() },
        _ => SingletonError::Started { name: name.clone() },
    })?;
    let wait = wait_for_hand_over(handed_over, node.clone());
    // Once that is over the node hosts nothing any more, whatever is started.
    let _ = tools.system.coordinated_shutdown().add_task(Phase::ClusterExiting, format!("singleton {name}"), || wait);
    Ok(node.map(NodeMessage::Tell))
}

async fn wait_for_hand_over<M: Send + 'static>(
    mut handed_over: watch::Receiver<bool>,
    node: ActorRef<M>,
) -> Result<(), BoxError> {
    tokio::select! {
        biased;
        _ = handed_over.wait_for(|done| *done) => {}
        () = node.terminated() => {}
    }
    Ok(())
}
