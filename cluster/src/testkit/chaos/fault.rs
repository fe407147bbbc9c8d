//! [`Fault`]: what is done to a cluster at a moment, and [`FaultKind`]: which of it a run has at all.

use std::fmt;

/// A kind of trouble. Each run has some of them and not the others: what one hides another shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// Datagrams are lost.
    Loss,
    /// Links have bad times.
    Bursts,
    /// Everything takes long, and some of it longer.
    Delay,
    /// Datagrams come twice.
    Duplicates,
    /// Datagrams come again later.
    Replays,
    /// Datagrams are cut short or changed.
    Damage,
    /// Reads and writes of streams are short.
    ShortIo,
    /// Connections break in the middle of something.
    Resets,
    /// Connections are refused, or nobody answers.
    Dials,
    /// Streams stand still in one direction.
    Stalls,
    /// Nothing passes in one direction.
    OneWayCuts,
    /// The network falls into two or three parts.
    Splits,
    /// One node is alone.
    Isolation,
    /// Links are cut one by one, and healed in another order.
    Swizzles,
    /// Processes end and begin again.
    Kills,
    /// The same, and nobody is told.
    PowerLosses,
    /// Processes stand still.
    Pauses,
    /// Clocks are fast or slow by up to a hundredth.
    Drift,
    /// Wall clocks jump.
    WallJumps,
    /// Members leave.
    Leaves,
    /// Members are given up by an operator.
    Downs,
    /// One member never again has a word with another, which begins anew some time later.
    Quarantines,
    /// Tasks run in another order than they could.
    Deferrals,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Loss,
        Self::Bursts,
        Self::Delay,
        Self::Duplicates,
        Self::Replays,
        Self::Damage,
        Self::ShortIo,
        Self::Resets,
        Self::Dials,
        Self::Stalls,
        Self::OneWayCuts,
        Self::Splits,
        Self::Isolation,
        Self::Swizzles,
        Self::Kills,
        Self::PowerLosses,
        Self::Pauses,
        Self::Drift,
        Self::WallJumps,
        Self::Leaves,
        Self::Downs,
        Self::Quarantines,
        Self::Deferrals,
    ];
}

/// Something done to a cluster. Nodes are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing passes from the first to the second.
    Cut(usize, usize),
    /// It passes again.
    Heal(usize, usize),
    /// Nothing passes between nodes of different numbers; of each node the number.
    Split(Vec<u8>),
    /// No link is cut any more.
    HealAll,
    /// Streams from the first to the second stand still, or go on.
    Stall(usize, usize, bool),
    /// All connections between the two break.
    Reset(usize, usize),
    /// The process there ends; with it the power of its host, or not.
    Kill {
        /// Where.
        node: usize,
        /// Whether the host is off, so that nobody is told.
        power_off: bool,
    },
    /// A process begins there if none runs.
    Start(usize),
    /// The process there stands still for so many milliseconds.
    Pause(usize, u64),
    /// The wall clock there jumps by so many milliseconds.
    WallJump(usize, i64),
    /// The member there is to leave.
    Leave(usize),
    /// The first has the second given up.
    Down(usize, usize),
    /// The first never again has a word with what runs at the second.
    Quarantine(usize, usize),
}

impl Fault {
    /// Which nodes it names; none of them when it is about all.
    pub fn nodes(&self) -> Vec<usize> {
        match *self {
            Self::Cut(one, two) | Self::Heal(one, two) | Self::Stall(one, two, _) | Self::Reset(one, two) => {
                vec![one, two]
            }
            Self::Down(one, two) | Self::Quarantine(one, two) => vec![one, two],
            Self::Kill { node, .. } | Self::Start(node) | Self::Leave(node) => vec![node],
            Self::Pause(node, _) | Self::WallJump(node, _) => vec![node],
            Self::Split(_) | Self::HealAll => vec![],
        }
    }

    /// To which kind it belongs by itself. In a drawn [plan](super::Plan) it may be a part of another.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Cut(..) | Self::Heal(..) => FaultKind::OneWayCuts,
            Self::Split(_) | Self::HealAll => FaultKind::Splits,
            Self::Stall(..) => FaultKind::Stalls,
            Self::Reset(..) => FaultKind::Resets,
            Self::Kill { power_off: true, .. } => FaultKind::PowerLosses,
            Self::Kill { power_off: false, .. } | Self::Start(_) => FaultKind::Kills,
            Self::Pause(..) => FaultKind::Pauses,
            Self::WallJump(..) => FaultKind::WallJumps,
            Self::Leave(_) => FaultKind::Leaves,
            Self::Down(..) => FaultKind::Downs,
            Self::Quarantine(..) => FaultKind::Quarantines,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(from, to) => write!(f, "cut n{from} -> n{to}"),
            Self::Heal(from, to) => write!(f, "heal n{from} -> n{to}"),
            Self::Split(sides) => write!(f, "split {sides:?}"),
            Self::HealAll => f.write_str("heal all"),
            Self::Stall(from, to, true) => write!(f, "streams n{from} -> n{to} stand still"),
            Self::Stall(from, to, false) => write!(f, "streams n{from} -> n{to} go on"),
            Self::Reset(one, two) => write!(f, "connections n{one} - n{two} break"),
            Self::Kill { node, power_off: false } => write!(f, "kill n{node}"),
            Self::Kill { node, power_off: true } => write!(f, "power off n{node}"),
            Self::Start(node) => write!(f, "start n{node}"),
            Self::Pause(node, ms) => write!(f, "n{node} stands still for {ms} ms"),
            Self::WallJump(node, ms) => write!(f, "wall clock of n{node} jumps by {ms} ms"),
            Self::Leave(node) => write!(f, "n{node} leaves"),
            Self::Down(by, node) => write!(f, "n{by} gives up n{node}"),
            Self::Quarantine(by, node) => write!(f, "n{by} cuts off n{node}"),
        }
    }
}
