//! [`ActorTree`]: what a look has seen, as a value.

use std::fmt;
use std::time::Duration;

use super::json;
use crate::path::ActorPath;

/// The actors of a system as [`ActorSystem::tree`](crate::ActorSystem::tree) saw them. `Display` prints an indented tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorTree {
    pub(super) system: String,
    /// Each behind its parent, siblings by name.
    pub(super) actors: Vec<ActorNode>,
}

/// One actor of an [`ActorTree`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActorNode {
    /// Which incarnation.
    pub path: ActorPath,
    /// The Rust type that was spawned.
    pub actor_type: &'static str,
    /// How many actors are above it.
    pub depth: usize,
    /// What it did when the look came to it.
    pub state: ActorState,
    /// How many messages waited in its mailbox, as [`ActorRef::queued`](crate::ActorRef::queued) counts.
    pub queued: usize,
    /// How often it has begun another life. `None`: it did not answer in time, because it was busy.
    pub restarts: Option<u32>,
    /// How long its present turn has taken at least, where that is known: it is when the actor did not answer.
    pub turn_age: Option<Duration>,
    /// How long a message waited in its mailbox; `None` when that was not asked for, or is longer than the look took.
    pub time_in_queue: Option<Duration>,
    /// Whether its children are known. When it did not answer, the tree shows none.
    pub children_known: bool,
    /// Children that the tree had no room for; see [`TreeOptions::actors_max`](crate::TreeOptions::actors_max).
    pub left_out: usize,
}

/// What an actor does, as it looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ActorState {
    /// Its present life has not come to the end of [`started`](crate::Actor::started).
    Starting,
    /// It waits for something to do.
    Idle,
    /// It has something to do and waits for a thread.
    Ready,
    /// A thread runs it.
    Running,
    /// A handler awaits something.
    Suspended,
    /// It is between two lives: it waits for its children to end, or for the delay to pass.
    Restarting,
    /// It takes no more messages and comes to its end.
    Stopping,
}

impl ActorState {
    /// The state as a word: `starting`, `idle`, `ready`, `running`, `suspended`, `restarting`, `stopping`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for ActorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ActorTree {
    /// The name of the system.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// All actors, each behind its parent and before its parent's next child; siblings by name.
    pub fn actors(&self) -> &[ActorNode] {
        &self.actors
    }

    /// The actor at `path`, such as `/user/kiosk/gate`. While one of that name stops another may be there already; then
    /// the first.
    pub fn find(&self, path: &str) -> Option<&ActorNode> {
        self.actors.iter().find(|node| node.path.as_str() == path)
    }

    /// The actor at `path` and all below it, in the order of [`actors`](ActorTree::actors). Empty when there is none.
    pub fn below(&self, path: &str) -> &[ActorNode] {
        let Some(first) = self.actors.iter().position(|node| node.path.as_str() == path) else { return &[] };
        let depth = self.actors[first].depth;
        let after = self.actors[first + 1..].iter().take_while(|node| node.depth > depth).count();
        &self.actors[first..=first + after]
    }

    /// Whether every actor answered and there was room for all.
    pub fn is_complete(&self) -> bool {
        self.actors.iter().all(|node| node.children_known && node.left_out == 0)
    }

    /// The tree as JSON: an object with `system`, `complete` and `actors`, which is an array of objects with the fields of
    /// [`ActorNode`]; durations are whole microseconds in fields that end in `_us`, children an array in `children`.
    pub fn to_json(&self) -> String {
        json::write(self)
    }
}

impl fmt::Display for ActorTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.system)?;
        let mut root = "";
        for node in &self.actors {
            let text = node.path.as_str();
            let own = text[1..].find('/').map_or(text, |end| &text[..=end]);
            if own != root {
                root = own;
                write!(f, "\n{root}")?;
            }
            write!(f, "\n{:indent$}{node}", "", indent = 2 * (node.depth + 1))?;
        }
        Ok(())
    }
}

impl fmt::Display for ActorNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  {}", self.path.name(), self.actor_type, self.state)?;
        if let Some(age) = self.turn_age {
            write!(f, " for {age:?} or more")?;
        }
        write!(f, "  queued {}", self.queued)?;
        if let Some(time) = self.time_in_queue {
            write!(f, " ({time:?})")?;
        }
        match self.restarts {
            Some(restarts) => write!(f, "  restarts {restarts}")?,
            None => write!(f, "  busy: what is below it is not known")?,
        }
        if self.left_out > 0 {
            write!(f, "  and {} children more", self.left_out)?;
        }
        Ok(())
    }
}
