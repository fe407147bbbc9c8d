//! [`Handshake`]: before anything else passes, two nodes tell each other who they are, and compare what must be the same.
//!
//! Whoever connects says hello; the other says welcome and who it is, or refuses and lists all that differs. Then the one
//! that connected compares too. A node that was meant for another address, that has this node's own uid, or whose life is
//! over here is not let in.

pub(crate) use super::handshake_frame::{Difference, HANDSHAKE_MAX, Introduction, Kind};

use super::{
    handshake_frame::{Greeting, Said},
    lives::{Standing, Standings},
    transport::Lane,
    wire::Offer,
};
use crate::member::{Address, UniqueAddress};
use actors::Tick;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

/// How long a handshake may take, if nobody says otherwise.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// The other node, as it is known once both have let each other in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) node: UniqueAddress,
    /// The highest version of the protocol both speak.
    pub(crate) protocol: u32,
    pub(crate) lane: Lane,
    /// Types of messages it reads.
    pub(crate) types: Vec<Offer>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The other side said this.
    Frame(Bytes),
    /// The connection ended.
    Closed,
    /// Time passed.
    Time,
}

/// What is to be done. After [`Done`](Self::Done) and [`Failed`](Self::Failed) there is nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send this frame.
    Send(Bytes),
    /// They have let each other in.
    Done(Peer),
    /// Close the connection, once what was to be sent is sent.
    Failed(HandshakeError),
}

/// Why two nodes do not talk to each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// This node will not: all that it found different.
    #[error("{peer} was refused: {}", List(.differences))]
    Refused { peer: UniqueAddress, differences: Vec<Difference> },
    /// The other one will not.
    #[error("refused by the other node: {}", List(.0))]
    RefusedByPeer(Vec<Difference>),
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection ended before the answer")]
    Closed,
    #[error("{0}")]
    Malformed(String),
}

impl HandshakeError {
    /// Whether one of the reasons is `kind`.
    pub(crate) fn is_for(&self, kind: Kind) -> bool {
        match self {
            Self::Refused { differences, .. } | Self::RefusedByPeer(differences) => {
                differences.iter().any(|difference| difference.kind == kind)
            }
            _ => false,
        }
    }
}

struct List<'a>(&'a [Difference]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, difference) in self.0.iter().enumerate() {
            write!(f, "{}{difference}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// One side of one handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    me: Arc<Introduction>,
    side: Side,
    until: Tick,
}

#[derive(Debug)]
enum Side {
    /// It said hello.
    Dialled {
        to: Address,
        life: Option<u64>,
        lane: Lane,
    },
    /// It waits for one.
    Accepted,
    Over,
}

impl Handshake {
    /// Of the side that connected: with the frame to send. With a `life` no other will do.
    pub(crate) fn dial(
        me: Arc<Introduction>,
        to: Address,
        life: Option<u64>,
        lane: Lane,
        until: Tick,
    ) -> (Self, Bytes) {
        let greeting = Greeting { from: (*me).clone(), to: (to.clone(), life), lane };
        (Self { me, side: Side::Dialled { to, life, lane }, until }, Said::Hello(greeting).encode())
    }

    /// Of the other side.
    pub(crate) fn accept(me: Arc<Introduction>, until: Tick) -> Self {
        Self { me, side: Side::Accepted, until }
    }

    /// When it is too late.
    pub(crate) fn due(&self) -> Option<Tick> {
        (!matches!(self.side, Side::Over)).then_some(self.until)
    }

    /// What to do about `input`. `lives` are those that are over for this node.
    pub(crate) fn step(&mut self, input: Input, lives: &dyn Standings, now: Tick) -> Vec<Effect> {
        let side = std::mem::replace(&mut self.side, Side::Over);
        if matches!(side, Side::Over) {
            return Vec::new();
        }
        let failed = |error| vec![Effect::Failed(error)];
        let frame = match input {
            _ if now >= self.until => return failed(HandshakeError::TimedOut),
            Input::Time => {
                self.side = side;
                return Vec::new();
            }
            Input::Closed => return failed(HandshakeError::Closed),
            Input::Frame(frame) => frame,
        };
        match (side, Said::decode(&frame)) {
            (_, Err(error)) => failed(HandshakeError::Malformed(error.to_string())),
            (Side::Accepted, Ok(Said::Hello(hello))) => self.hello(hello, lives),
            (Side::Dialled { to, life, lane }, Ok(Said::Welcome(welcome))) => {
                self.welcome(welcome, (&to, life, lane), lives)
            }
            (Side::Dialled { .. }, Ok(Said::Refusal(differences))) => {
                failed(HandshakeError::RefusedByPeer(differences))
            }
            (Side::Dialled { .. }, Ok(Said::Hello(_))) => {
                failed(HandshakeError::Malformed("a hello for an answer".to_owned()))
            }
            (Side::Accepted | Side::Over, Ok(_)) => failed(HandshakeError::Malformed("no hello at first".to_owned())),
        }
    }

    fn hello(&self, hello: Greeting, lives: &dyn Standings) -> Vec<Effect> {
        let mut differences = compare(&self.me, &hello.from, lives);
        meant_for(&self.me.node, &hello.to, &mut differences);
        match judge(&self.me, hello, differences) {
            Ok(peer) => {
                let to = (peer.node.address.clone(), Some(peer.node.uid));
                let welcome = Said::Welcome(Greeting { from: (*self.me).clone(), to, lane: peer.lane });
                vec![Effect::Send(welcome.encode()), Effect::Done(peer)]
            }
            Err((peer, differences)) => vec![
                Effect::Send(Said::Refusal(differences.clone()).encode()),
                Effect::Failed(HandshakeError::Refused { peer, differences }),
            ],
        }
    }

    fn welcome(&self, welcome: Greeting, dialled: (&Address, Option<u64>, Lane), lives: &dyn Standings) -> Vec<Effect> {
        let (to, life, lane) = dialled;
        let mut differences = compare(&self.me, &welcome.from, lives);
        meant_for(&welcome.from.node, &(to.clone(), life), &mut differences);
        meant_for(&self.me.node, &welcome.to, &mut differences);
        if welcome.lane != lane {
            differ(&mut differences, Kind::Lane, format!("lane: {lane:?} was asked for, this is {:?}", welcome.lane));
        }
        vec![match judge(&self.me, welcome, differences) {
            Ok(peer) => Effect::Done(peer),
            Err((peer, differences)) => Effect::Failed(HandshakeError::Refused { peer, differences }),
        }]
    }
}

type Judged = Result<Peer, (UniqueAddress, Vec<Difference>)>;

fn judge(me: &Introduction, theirs: Greeting, differences: Vec<Difference>) -> Judged {
    let Introduction { node, protocol, types, .. } = theirs.from;
    if !differences.is_empty() {
        return Err((node, differences));
    }
    Ok(Peer { node, protocol: *me.protocol.end().min(protocol.end()), lane: theirs.lane, types })
}

/// Whether `node` is who was meant.
fn meant_for(node: &UniqueAddress, (address, life): &(Address, Option<u64>), differences: &mut Vec<Difference>) {
    if node.address != *address {
        let text = format!("address: {address} was meant, this is {}: use that, written the same way", node.address);
        differ(differences, Kind::Address, text);
    } else if life.is_some_and(|life| life != node.uid) {
        differ(differences, Kind::Life, format!("life: uid {:016x} was meant, this is {node}", life.unwrap_or(0)));
    }
}

/// All that keeps this node from talking to another, whoever connected.
fn compare(me: &Introduction, theirs: &Introduction, lives: &dyn Standings) -> Vec<Difference> {
    let mut differences = Vec::new();
    if me.cluster != theirs.cluster {
        let text = format!("cluster: {:?} here, {:?} there", me.cluster, theirs.cluster);
        differ(&mut differences, Kind::Cluster, text);
    }
    let (ours, other) = (&me.protocol, &theirs.protocol);
    if ours.start().max(other.start()) > ours.end().min(other.end()) {
        let versions = (ours.start(), ours.end(), other.start(), other.end());
        let text = format!("protocol: {}..={} here, {}..={} there", versions.0, versions.1, versions.2, versions.3);
        differ(&mut differences, Kind::Protocol, text);
    }
    if me.node.uid == theirs.node.uid {
        let text = format!("uid: {} and {} have the same: one must start again", me.node, theirs.node);
        differ(&mut differences, Kind::SameUid, text);
    }
    if me.node.address == theirs.node.address {
        let text = format!("address: {} and {} have the same: give one another", me.node, theirs.node);
        differ(&mut differences, Kind::SameAddress, text);
    }
    match lives.standing(&theirs.node) {
        Standing::Good => {}
        Standing::Old => {
            let text = format!("life: {} is over, a later one took its address", theirs.node);
            differ(&mut differences, Kind::OldLife, text);
        }
        Standing::Quarantined => {
            let text = format!("life: {} is quarantined by {}: start it again", theirs.node, me.node);
            differ(&mut differences, Kind::Quarantined, text);
        }
    }
    compare_config(&me.config, &theirs.config, &mut differences);
    differences
}

fn compare_config(ours: &BTreeMap<Arc<str>, u64>, theirs: &BTreeMap<Arc<str>, u64>, all: &mut Vec<Difference>) {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for name in names {
        let text = match (ours.get(name), theirs.get(name)) {
            (Some(one), Some(two)) if one == two => continue,
            (Some(_), Some(_)) => format!("configuration: {name} has other values there"),
            (Some(_), None) => format!("configuration: {name} is missing there"),
            (None, _) => format!("configuration: {name} is missing here"),
        };
        differ(all, Kind::Config, text);
    }
}

fn differ(differences: &mut Vec<Difference>, kind: Kind, text: String) {
    differences.push(Difference { kind, text });
}
