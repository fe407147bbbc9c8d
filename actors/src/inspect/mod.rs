//! What a system looks like at this moment: [`ActorSystem::tree`].
//!
//! Nothing of this costs anything while nobody asks. From outside a look takes what an actor's head and the state word of
//! its mailbox say: path, type, messages that wait, and what it does. Who its children are only the actor itself knows,
//! because their registry belongs to its turn and no lock lies on the way of a spawn. So each actor is asked by an item in
//! the runtime's own lane, which it answers before its next message and between two lives too, and all at the same time,
//! level by level, within one limit. One that does not answer in time is busy with a turn, or waits for a thread; it is in
//! the tree with what is known from outside, and what is below it is not. Its question stays where it is, and later looks
//! wait for the same one: an actor never has more than one, and the age of that one is a lower bound for the age of the
//! turn.
//!
//! ```
//! # use actors::{ActorSystem, FnActor, Behavior};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let system = ActorSystem::new("shop");
//! let till = system.spawn("till", FnActor::new(0, |sum: &mut u32, _ctx, coins: u32| {
//!     *sum += coins;
//!     Ok(Behavior::Same)
//! }));
//! till.tell(5);
//!
//! let tree = system.tree().await;
//! let node = tree.find("/user/till").expect("it was spawned above");
//! assert_eq!(node.restarts, Some(0));
//! println!("{tree}");
//! # assert!(tree.to_json().contains("\"path\":\"/user/till\""));
//! # }
//! ```

mod json;
mod look;
mod probe;
mod tree;

use std::time::Duration;

pub use self::tree::{ActorNode, ActorState, ActorTree};

pub(crate) use self::look::Listener;
pub(crate) use self::probe::{Answer, Inspector, Lane, Probe};
use crate::system::ActorSystem;

/// How [`ActorSystem::tree_with`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeOptions {
    /// How long all answers together may take. Default: 100 ms. Those that are not there by then are left out.
    pub within: Duration,
    /// How many actors the tree holds at most. Default: 100,000. What is beyond is counted in
    /// [`ActorNode::left_out`].
    pub actors_max: usize,
    /// Whether to measure how long a message told now waits in each mailbox, by one that means nothing to the actor. It
    /// wakes every actor, as the look itself does, and waits behind all that is in the mailbox. Default: no.
    pub time_in_queue: bool,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { within: Duration::from_millis(100), actors_max: 100_000, time_in_queue: false }
    }
}

impl ActorSystem {
    /// All actors, from `/user` and `/system` down, as they are now; see [`tree_with`](ActorSystem::tree_with).
    pub async fn tree(&self) -> ActorTree {
        self.tree_with(TreeOptions::default()).await
    }

    /// All actors, from `/user` and `/system` down, as they are now. Not one moment: each is seen when the look comes to
    /// it. Every actor is woken once; where there are very many that is work, so it is for people and not for every
    /// second.
    ///
    /// Awaited inside a handler, that very actor is busy with it: it is in the tree, what is below it is not.
    ///
    /// Cancel safe.
    pub async fn tree_with(&self, options: TreeOptions) -> ActorTree {
        look::tree(self, options).await
    }
}
