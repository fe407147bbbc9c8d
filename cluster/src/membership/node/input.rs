//! What goes into a [`Node`](super::Node) and what comes out of it.

use super::{ClusterEvent, Difference, Message, SharedSettings, Snapshot};
use crate::{
    downing::{Downing, Stop},
    epoch::Council,
    member::{Address, UniqueAddress},
    membership::{
        news::News,
        table::{Digest, MinMembers},
    },
};
use actors::Tick;
use std::time::Duration;

/// What all of this node's decisions are made with.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    pub(crate) downing: Downing,
    pub(crate) min_members: MinMembers,
    /// Without agreement for so long, newcomers may work for now. Zero: never.
    pub(crate) weakly_up_after: Duration,
    /// A network that is never quiet stops all, instead of leaving it to chance what each decides.
    pub(crate) down_all_when_unstable: bool,
    /// So many must have answered, this node among them, before it begins a cluster. 1: nobody else need.
    pub(crate) contacts_min: usize,
    pub(crate) shared: SharedSettings,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            downing: Downing::default(),
            min_members: MinMembers::default(),
            weakly_up_after: Duration::from_secs(7),
            down_all_when_unstable: true,
            contacts_min: 1,
            shared: SharedSettings::default(),
        }
    }
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    News(News),
    Message {
        from: UniqueAddress,
        message: Message,
    },
    /// SWIM carried the word of a change along.
    Hint {
        from: UniqueAddress,
        digest: Digest,
    },
    /// The connection to a peer fails, or works again.
    Link {
        peer: UniqueAddress,
        works: bool,
    },
    /// A peer has cut this node off, for good.
    Quarantined {
        by: UniqueAddress,
    },
    Command(Command),
    LeaseAnswer(LeaseAnswer),
    /// Nothing but time has passed.
    #[cfg(test)]
    Time,
}

impl Input {
    /// What members ask and answer each other all the time. It changes nothing that is acted on before the next round.
    pub(super) fn is_talk(&self) -> bool {
        let is_talk =
            |message: &Message| matches!(message, Message::Probe { .. } | Message::Echo { .. } | Message::Summary(_));
        match self {
            Self::Message { message, .. } => is_talk(message),
            Self::Hint { .. } => true,
            _ => false,
        }
    }
}

/// What somebody wants of a node.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Join whom the seeds belong to. The first of them may begin a cluster. Said again, by other seeds.
    Join { seeds: Vec<Address> },
    /// The member there is to leave: this node or another.
    Leave(Address),
    /// The member there is given up, whatever it does.
    Down(Address),
    /// All are about to stop.
    PrepareForShutdown,
    /// This node is leaving, and nothing it did is left to do.
    HandedOver,
    /// Wants a snapshot, and all events after it.
    Subscribe { subscriber: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    Granted,
    Denied,
    /// It could not be asked.
    Unknown,
}

/// What a node wants done.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Send {
        to: UniqueAddress,
        message: Message,
    },
    /// To whichever life is there.
    SendTo {
        to: Address,
        message: Message,
    },
    /// For SWIM to carry along.
    Hint(Digest),
    Snapshot {
        subscriber: u64,
        snapshot: Snapshot,
    },
    /// To all that have subscribed so far.
    Publish(ClusterEvent),
    /// A cluster does not take this node as it is. It asks again.
    JoinRefused {
        by: UniqueAddress,
        differing: Vec<Difference>,
    },
    /// Until then this node may serve what it hosts; past it, it must not. Replaces what was said before.
    HostUntil(Tick),
    /// At once.
    StopHosting(StopReason),
    /// The last there is.
    StopProcess(StopReason),
    /// No word to this life and none from it, but `YouAreRemoved`.
    Quarantine(UniqueAddress),
    /// Answered by [`Input::LeaseAnswer`].
    AskForLease,
    ReleaseLease,
    /// The members in a table that all of them have, or that there is none now. Replaces what was said before.
    Council(Option<Council>),
    /// Something was not acted on.
    Dropped(DropReason),
    /// Step again then, if nothing happens before. Replaces what was said before.
    WakeAt(Tick),
}

/// Why a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// It left, as it was asked to.
    Left,
    /// It was given up by the others, or by an operator.
    Down,
    /// It was removed, and learned of it later.
    Removed,
    /// Another process runs at its address.
    Replaced,
    /// It could not reach others, and does not go on.
    Unreachable(Stop),
    /// Who could reach whom did not settle.
    Unstable,
    /// Those that it could reach did not agree with it in time.
    NoAgreement,
    /// It had yet to come, or was about to leave, and could reach nobody who decides what becomes of it. Or it stood still
    /// until all whom it knew were gone.
    Stranded,
    /// The other side has the lease.
    LeaseDenied,
    /// Most of the others cut it off.
    Quarantined,
}

/// Why something was not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DropReason {
    /// It makes no sense for a node that has not joined, or has joined.
    WrongPhase,
    /// It came from somebody who is no member.
    Stranger,
    /// It came from a life that was removed or is about to be.
    Gone,
    /// It contradicts itself, or who sent it.
    Malformed,
    /// It is larger than anything honest.
    TooLarge,
    /// No seeds were given.
    NoSeeds,
    /// There is nobody like that, or it cannot take that step.
    NoSuchStep,
    /// There are as many members as there may be.
    Full,
    /// This node stopped.
    Stopped,
}
