//! [`Handshake`]: before anything else passes, two nodes tell each other who they are, and compare what must be the same.
//!
//! Whoever connects says hello; the other says welcome and who it is, or refuses and lists all that differs. Then the one
//! that connected compares too. A node that was meant for another address, that has this node's own uid, or whose life is
//! over here is not let in.
//!
//! With keys there is more to it: after the welcome both prove that they have one ([`proof`](super::proof)), first the one
//! that was connected to, and the other is told that its proof is good. A life that is over for good here, and fits else, is
//! told so in place of that: then it knows that it was one of the cluster's who said so.

pub(crate) use super::handshake_frame::{Difference, HANDSHAKE_MAX, Introduction, Kind};

use super::{
    handshake_frame::{Greeting, Said},
    lives::{Standing, Standings},
    proof::{self, Prover, Transcript},
    transport::Lane,
    wire::Offer,
};
use crate::member::{Address, UniqueAddress};
use crate::testkit::planted::{Bug, is_planted};
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
    /// The other one will not, and has proved that it has a key.
    #[error("refused by the other node, which has a key: {}", List(.0))]
    RefusedByMember(Vec<Difference>),
    /// The other one does not take this node's certificate, or what comes over the connection is not its own any more.
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection ended before the answer")]
    Closed,
    #[error("{0}")]
    Malformed(String),
}

impl HandshakeError {
    /// Whether one of the two does not want the other.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::RefusedByPeer(_) | Self::RefusedByMember(_))
    }

    /// Whether one of the reasons is `kind`.
    pub(crate) fn is_for(&self, kind: Kind) -> bool {
        match self {
            Self::Refused { differences, .. }
            | Self::RefusedByPeer(differences)
            | Self::RefusedByMember(differences) => differences.iter().any(|difference| difference.kind == kind),
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
    prover: Option<Prover>,
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
        hello: Bytes,
    },
    /// It waits for one.
    Accepted,
    /// The other node fits, and is to prove that it has a key. Then it is refused because of these.
    Unproven {
        peer: Peer,
        dialled: bool,
        said: Transcript,
        differences: Vec<Difference>,
    },
    /// It was told that this one has a key, and is to say so.
    Proven {
        peer: Peer,
    },
    Over,
}

impl Handshake {
    /// Of the side that connected: with the frame to send. With a `life` no other will do.
    pub(crate) fn dial(
        me: Arc<Introduction>,
        prover: Option<Prover>,
        to: Address,
        life: Option<u64>,
        lane: Lane,
        until: Tick,
    ) -> (Self, Bytes) {
        let nonce = prover.as_ref().map(Prover::nonce);
        let hello = Said::Hello(Greeting { from: (*me).clone(), to: (to.clone(), life), lane, nonce }).encode();
        let side = Side::Dialled { to, life, lane, hello: hello.clone() };
        (Self { me, prover, side, until }, hello)
    }

    /// Of the other side.
    pub(crate) fn accept(me: Arc<Introduction>, prover: Option<Prover>, until: Tick) -> Self {
        Self { me, prover, side: Side::Accepted, until }
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
            (Side::Accepted, Ok(Said::Hello(hello))) => self.hello(frame, hello, lives),
            (Side::Dialled { to, life, lane, hello }, Ok(Said::Welcome(welcome))) => {
                let said = Transcript { hello, welcome: frame };
                self.welcome(welcome, said, (&to, life, lane), lives)
            }
            (Side::Unproven { peer, dialled, said, differences }, Ok(Said::Proof(code))) => {
                self.proof(peer, dialled, &said, differences, &code)
            }
            (Side::Proven { peer }, Ok(Said::Admitted)) => vec![Effect::Done(peer)],
            (Side::Proven { .. }, Ok(Said::Refusal(differences))) => {
                failed(HandshakeError::RefusedByMember(differences))
            }
            (Side::Accepted, Ok(_)) => failed(HandshakeError::Malformed("no hello at first".to_owned())),
            (_, Ok(Said::Refusal(differences))) => failed(HandshakeError::RefusedByPeer(differences)),
            (_, Ok(_)) => failed(HandshakeError::Malformed("no answer to what was said".to_owned())),
        }
    }

    fn hello(&mut self, frame: Bytes, hello: Greeting, lives: &dyn Standings) -> Vec<Effect> {
        let mut differences = compare(&self.me, &hello.from, lives);
        self.compare_keys(&hello, &mut differences);
        meant_for(&self.me.node, &hello.to, &mut differences);
        let is_cut_off = |difference: &Difference| difference.kind == Kind::Quarantined;
        let later = match self.prover.is_some() && differences.iter().all(is_cut_off) {
            true => std::mem::take(&mut differences),
            false => Vec::new(),
        };
        match judge(&self.me, hello, differences) {
            Ok(peer) => {
                let to = (peer.node.address.clone(), Some(peer.node.uid));
                let nonce = self.prover.as_ref().map(Prover::nonce);
                let from = (*self.me).clone();
                let welcome = Said::Welcome(Greeting { from, to, lane: peer.lane, nonce }).encode();
                let mut effects = vec![Effect::Send(welcome.clone())];
                match &self.prover {
                    None => effects.push(Effect::Done(peer)),
                    Some(prover) => {
                        let said = Transcript { hello: frame, welcome };
                        let code = prover.prove(proof::Side::Accepted, &said);
                        effects.push(Effect::Send(Said::Proof(code).encode()));
                        self.side = Side::Unproven { peer, dialled: false, said, differences: later };
                    }
                }
                effects
            }
            Err((peer, differences)) => refuse(peer, differences),
        }
    }

    fn welcome(
        &mut self,
        welcome: Greeting,
        said: Transcript,
        (to, life, lane): (&Address, Option<u64>, Lane),
        lives: &dyn Standings,
    ) -> Vec<Effect> {
        let mut differences = compare(&self.me, &welcome.from, lives);
        self.compare_keys(&welcome, &mut differences);
        meant_for(&welcome.from.node, &(to.clone(), life), &mut differences);
        meant_for(&self.me.node, &welcome.to, &mut differences);
        if welcome.lane != lane {
            differ(&mut differences, Kind::Lane, format!("lane: {lane:?} was asked for, this is {:?}", welcome.lane));
        }
        match judge(&self.me, welcome, differences) {
            Ok(peer) if self.prover.is_some() => {
                self.side = Side::Unproven { peer, dialled: true, said, differences: Vec::new() };
                Vec::new()
            }
            Ok(peer) => vec![Effect::Done(peer)],
            Err((peer, differences)) => vec![Effect::Failed(HandshakeError::Refused { peer, differences })],
        }
    }

    fn proof(
        &mut self,
        peer: Peer,
        dialled: bool,
        said: &Transcript,
        later: Vec<Difference>,
        code: &[u8],
    ) -> Vec<Effect> {
        let (mine, theirs) = match dialled {
            true => (proof::Side::Dialled, proof::Side::Accepted),
            false => (proof::Side::Accepted, proof::Side::Dialled),
        };
        let Some(prover) = self.prover.as_ref().filter(|prover| prover.is_proof(theirs, said, code)) else {
            let text = format!("keys: the proof of {} is made with none that {} has", peer.node, self.me.node);
            let mut differences = Vec::new();
            differ(&mut differences, Kind::Keys, text);
            return refuse(peer.node, differences);
        };
        if dialled {
            self.side = Side::Proven { peer };
            return vec![Effect::Send(Said::Proof(prover.prove(mine, said)).encode())];
        }
        if !later.is_empty() {
            return refuse(peer.node, later);
        }
        vec![Effect::Send(Said::Admitted.encode()), Effect::Done(peer)]
    }

    fn compare_keys(&self, greeting: &Greeting, differences: &mut Vec<Difference>) {
        let text = match (&self.prover, &greeting.nonce) {
            (Some(_), None) => "keys: there are some here, and none there",
            (None, Some(_)) => "keys: there are none here, and some there",
            (Some(_), Some(_)) | (None, None) => return,
        };
        differ(differences, Kind::Keys, text.to_owned());
    }
}

fn refuse(peer: UniqueAddress, differences: Vec<Difference>) -> Vec<Effect> {
    vec![
        Effect::Send(Said::Refusal(differences.clone()).encode()),
        Effect::Failed(HandshakeError::Refused { peer, differences }),
    ]
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
    } else if life.is_some_and(|life| life != node.uid) && !is_planted(Bug::LifeUnchecked) {
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
    if !lives.is_certified(&theirs.node) {
        let text = format!("certificate: it is not made out to the host of {}", theirs.node);
        differ(&mut differences, Kind::Certificate, text);
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
