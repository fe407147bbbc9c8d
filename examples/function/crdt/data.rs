//! The replicated value as the function holds it.

use proto::cloudstate::crdt::CrdtDelta;
use proto::cloudstate::crdt::crdt_delta::Delta;

use super::super::Refused;
use super::{Flag, GCounter, GSet, LWWRegister, ORMap, ORSet, PNCounter, Vote};

/// A plain value that remembers how it was changed. That it can be merged with what other nodes did is
/// the sidecar's business: it is told of the changes made here and tells of those made elsewhere.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is named after what it holds")]
pub enum Data {
    GCounter(GCounter),
    PNCounter(PNCounter),
    GSet(GSet),
    ORSet(ORSet),
    LWWRegister(LWWRegister),
    Flag(Flag),
    ORMap(ORMap),
    Vote(Vote),
}

/// The same for each type.
macro_rules! each {
    ($data:expr, $value:ident => $what:expr) => {
        match $data {
            Data::GCounter($value) => $what,
            Data::PNCounter($value) => $what,
            Data::GSet($value) => $what,
            Data::ORSet($value) => $what,
            Data::LWWRegister($value) => $what,
            Data::Flag($value) => $what,
            Data::ORMap($value) => $what,
            Data::Vote($value) => $what,
        }
    };
}

impl Data {
    /// The value whose whole state is `delta`.
    ///
    /// # Errors
    ///
    /// When it is empty.
    pub fn received(delta: CrdtDelta) -> Result<Self, Refused> {
        let mut data = match &delta.delta {
            Some(Delta::Gcounter(_)) => Self::GCounter(GCounter::default()),
            Some(Delta::Pncounter(_)) => Self::PNCounter(PNCounter::default()),
            Some(Delta::Gset(_)) => Self::GSet(GSet::default()),
            Some(Delta::Orset(_)) => Self::ORSet(ORSet::default()),
            Some(Delta::Lwwregister(delta)) => Self::LWWRegister(LWWRegister::received(delta.clone())),
            Some(Delta::Flag(_)) => Self::Flag(Flag::default()),
            Some(Delta::Ormap(_)) => Self::ORMap(ORMap::default()),
            Some(Delta::Vote(_)) => Self::Vote(Vote::default()),
            None => return Err(Refused("an empty delta".to_owned())),
        };
        data.apply(delta)?;
        Ok(data)
    }

    /// Takes in what was changed elsewhere.
    ///
    /// # Errors
    ///
    /// When the change is one of another type.
    pub fn apply(&mut self, delta: CrdtDelta) -> Result<(), Refused> {
        match (self, delta.delta) {
            (Self::GCounter(data), Some(Delta::Gcounter(delta))) => data.apply(&delta),
            (Self::PNCounter(data), Some(Delta::Pncounter(delta))) => data.apply(&delta),
            (Self::GSet(data), Some(Delta::Gset(delta))) => data.apply(delta),
            (Self::ORSet(data), Some(Delta::Orset(delta))) => data.apply(delta),
            (Self::LWWRegister(data), Some(Delta::Lwwregister(delta))) => data.apply(delta),
            (Self::Flag(data), Some(Delta::Flag(delta))) => data.apply(&delta),
            (Self::ORMap(data), Some(Delta::Ormap(delta))) => data.apply(delta)?,
            (Self::Vote(data), Some(Delta::Vote(delta))) => data.apply(&delta),
            (data, delta) => return Err(Refused(format!("{delta:?} does not fit {data:?}"))),
        }
        Ok(())
    }

    /// What was changed here since the last [`settle`](Self::settle).
    pub fn changes(&self) -> Option<CrdtDelta> {
        each!(self, data => data.changes()).map(|delta| CrdtDelta { delta: Some(delta) })
    }

    /// The whole state, as the change that makes it out of nothing.
    pub fn state(&self) -> CrdtDelta {
        CrdtDelta { delta: Some(each!(self, data => data.state())) }
    }

    /// The sidecar knows of all changes.
    pub fn settle(&mut self) {
        each!(self, data => data.settle());
    }
}
