//! Deltas as they pass between proxy and user function. Elements, keys and values of registers are primitive strings.

use prost::Message;
use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{
    CrdtClock, CrdtDelta, FlagDelta, GCounterDelta, GSetDelta, LwwRegisterDelta, OrMapDelta, OrMapEntryDelta,
    OrSetDelta, PnCounterDelta, VoteDelta,
};

pub(super) fn gcounter(increment: u64) -> CrdtDelta {
    delta(Delta::Gcounter(GCounterDelta { increment }))
}

pub(super) fn pncounter(change: i64) -> CrdtDelta {
    delta(Delta::Pncounter(PnCounterDelta { change }))
}

pub(super) fn gset<const N: usize>(added: [&str; N]) -> CrdtDelta {
    delta(Delta::Gset(GSetDelta { added: added.map(string).to_vec() }))
}

/// Removed and added elements.
pub(super) fn orset<const R: usize, const A: usize>(removed: [&str; R], added: [&str; A]) -> CrdtDelta {
    let (removed, added) = (removed.map(string).to_vec(), added.map(string).to_vec());
    delta(Delta::Orset(OrSetDelta { cleared: false, removed, added }))
}

/// All elements are removed before these are added.
pub(super) fn orset_cleared<const A: usize>(added: [&str; A]) -> CrdtDelta {
    delta(Delta::Orset(OrSetDelta { cleared: true, removed: Vec::new(), added: added.map(string).to_vec() }))
}

pub(super) fn register(value: &str) -> CrdtDelta {
    register_with(value, CrdtClock::Default, 0)
}

pub(super) fn register_with(value: &str, clock: CrdtClock, custom_clock_value: i64) -> CrdtDelta {
    let (value, clock) = (Some(string(value)), clock.into());
    delta(Delta::Lwwregister(LwwRegisterDelta { value, clock, custom_clock_value }))
}

pub(super) fn flag(value: bool) -> CrdtDelta {
    delta(Delta::Flag(FlagDelta { value }))
}

pub(super) fn vote(self_vote: bool, votes_for: i32, total_voters: i32) -> CrdtDelta {
    delta(Delta::Vote(VoteDelta { self_vote, votes_for, total_voters }))
}

/// The vote of the function's own replica, as the function sends it.
pub(super) fn self_vote(self_vote: bool) -> CrdtDelta {
    vote(self_vote, 0, 0)
}

/// A change of a map.
#[derive(Debug, Clone, Default)]
pub(super) struct Map(OrMapDelta);

impl Map {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn cleared(mut self) -> Self {
        self.0.cleared = true;
        self
    }

    pub(super) fn removed(mut self, key: &str) -> Self {
        self.0.removed.push(string(key));
        self
    }

    pub(super) fn updated(mut self, key: &str, delta: CrdtDelta) -> Self {
        self.0.updated.push(entry(key, delta));
        self
    }

    pub(super) fn added(mut self, key: &str, delta: CrdtDelta) -> Self {
        self.0.added.push(entry(key, delta));
        self
    }

    pub(super) fn delta(self) -> CrdtDelta {
        delta(Delta::Ormap(self.0))
    }
}

/// `p.cloudstate.io/string`: the value is field 1 of a message.
fn string(value: &str) -> Any {
    #[derive(Clone, PartialEq, Message)]
    struct Primitive {
        #[prost(string, tag = "1")]
        value: String,
    }
    let bytes = Primitive { value: value.to_owned() }.encode_to_vec();
    Any { type_url: "p.cloudstate.io/string".to_owned(), value: bytes.into() }
}

fn entry(key: &str, delta: CrdtDelta) -> OrMapEntryDelta {
    OrMapEntryDelta { key: Some(string(key)), delta: Some(delta) }
}

fn delta(delta: Delta) -> CrdtDelta {
    CrdtDelta { delta: Some(delta) }
}
