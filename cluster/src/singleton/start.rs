//! Starting a singleton's part on a node.

use super::{
    Singleton,
    node::{NodeMessage, SingletonNode, instance_name, manager_name},
};
use crate::{refs::NameError, remote::wire::WireMessage, tools::Tools};
use actors::{Actor, ActorRef, BoxError, Phase, Props};
use std::sync::Arc;
use tokio::sync::watch;

/// Why a singleton was not started on this node.
#[derive(Debug, thiserror::Error)]
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
}

/// Starts this node's part in `singleton`: whoever gets the reference reaches the instance, wherever it is.
pub(crate) fn start<A: Actor<Message: WireMessage>>(
    tools: &Tools,
    singleton: Singleton<A>,
) -> Result<ActorRef<A::Message>, SingletonError> {
    let name = singleton.name.clone();
    let unnamed = |reason: NameError| SingletonError::Unnamed { name: name.clone(), reason: reason.to_string() };
    let me = &tools.members.myself().node;
    // Whether they are names is known before anything starts.
    tools.refs.check_name::<A::Message>(&instance_name(&name)).map_err(unnamed)?;
    tools.refs.check_name::<super::SingletonEnvelope>(&manager_name(&name)).map_err(unnamed)?;
    let _ = me;
    let (sender, handed_over) = watch::channel(false);
    let node = SingletonNode::new(tools.clone(), singleton, sender);
    let spawned = tools.system.try_spawn(format!("singleton-{name}"), Props::from(node));
    let node = spawned.map_err(|_| SingletonError::Started { name: name.clone() })?;
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
