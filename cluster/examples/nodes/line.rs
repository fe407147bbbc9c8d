//! [`Line`]: what a node says on its standard output, one thing a line, with the time at which it was so.
//!
//! The time is that of the machine, which all namespaces share: things of several nodes can be put in order by it.

use std::{fmt, io::Write, str::FromStr, time::Duration};

/// One thing that a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It is up: as this member, with this actor system. All else names lives of nodes by the latter.
    Up { member: u64, me: u64 },
    /// It is no member any more, or never was.
    Gone { why: String },
    /// The cluster as it sees it.
    State(String),
    /// The instance of the singleton runs here, in this term.
    Beat { term: u64 },
    /// The instance answered: it runs there, in that term.
    Where { term: u64, at: u64 },
    /// It watches the peer of that node.
    Watches { whom: u64 },
    /// It was told of the end of that peer.
    Ended { whom: u64 },
    /// `send` to that peer has come to an end, by an error.
    SendEnded { whom: u64 },
    /// So many of that peer's messages arrived: by `tell`, by `send`.
    Got { from: u64, told: u64, sent: u64 },
    /// A message came out of turn.
    Wrong(String),
    /// An order was handled here.
    Handled { order: u64 },
    /// The client: the order is about to be sent to that peer, or with 0 to the singleton.
    Placed { order: u64, to: u64 },
    /// The client: `send` came back without an error.
    Sent { order: u64 },
    /// The client: `send` came back with an error.
    NotSent { order: u64 },
    /// The client: who handled the order said so.
    Confirmed { order: u64 },
}

/// Time since the machine started.
pub(crate) fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
}

/// Says `line`.
pub(crate) fn say(line: &Line) {
    let now = now();
    let mut out = std::io::stdout().lock();
    // Nobody may be there to read it any more.
    let _ = writeln!(out, "{} {line}", now.as_nanos()).and_then(|()| out.flush());
}

/// What was said, and when.
pub(crate) fn parse(text: &str) -> Option<(Duration, Line)> {
    let (at, line) = text.split_once(' ')?;
    Some((Duration::from_nanos(at.parse().ok()?), line.parse().ok()?))
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { member, me } => write!(f, "up {member} {me}"),
            Self::Gone { why } => write!(f, "gone {why}"),
            Self::State(state) => write!(f, "state {state}"),
            Self::Beat { term } => write!(f, "beat {term}"),
            Self::Where { term, at } => write!(f, "where {term} {at}"),
            Self::Watches { whom } => write!(f, "watches {whom}"),
            Self::Ended { whom } => write!(f, "ended {whom}"),
            Self::SendEnded { whom } => write!(f, "send-ended {whom}"),
            Self::Got { from, told, sent } => write!(f, "got {from} {told} {sent}"),
            Self::Wrong(what) => write!(f, "wrong {what}"),
            Self::Handled { order } => write!(f, "handled {order}"),
            Self::Placed { order, to } => write!(f, "placed {order} {to}"),
            Self::Sent { order } => write!(f, "sent {order}"),
            Self::NotSent { order } => write!(f, "not-sent {order}"),
            Self::Confirmed { order } => write!(f, "confirmed {order}"),
        }
    }
}

impl FromStr for Line {
    type Err = std::num::ParseIntError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut numbers = rest.split(' ').map(str::parse::<u64>);
        let mut number = || numbers.next().unwrap_or_else(|| "".parse());
        Ok(match what {
            "up" => Self::Up { member: number()?, me: number()? },
            "gone" => Self::Gone { why: rest.to_owned() },
            "state" => Self::State(rest.to_owned()),
            "beat" => Self::Beat { term: number()? },
            "where" => Self::Where { term: number()?, at: number()? },
            "watches" => Self::Watches { whom: number()? },
            "ended" => Self::Ended { whom: number()? },
            "send-ended" => Self::SendEnded { whom: number()? },
            "got" => Self::Got { from: number()?, told: number()?, sent: number()? },
            "handled" => Self::Handled { order: number()? },
            "placed" => Self::Placed { order: number()?, to: number()? },
            "sent" => Self::Sent { order: number()? },
            "not-sent" => Self::NotSent { order: number()? },
            "confirmed" => Self::Confirmed { order: number()? },
            _ => Self::Wrong(rest.to_owned()),
        })
    }
}
