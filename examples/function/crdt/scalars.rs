//! Replicated values that are one thing: a register, a flag, a vote.

use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{CrdtClock, FlagDelta, LwwRegisterDelta, VoteDelta};

/// A value of which the last write wins.
#[derive(Debug, Clone, PartialEq)]
pub struct LWWRegister {
    value: Any,
    written: Option<(CrdtClock, i64)>,
}

impl LWWRegister {
    /// A new register. There is none without a value, so creating one is a write.
    pub fn new(value: Any) -> Self {
        Self { value, written: Some((CrdtClock::Default, 0)) }
    }

    pub(super) fn received(delta: LwwRegisterDelta) -> Self {
        Self { value: delta.value.unwrap_or_default(), written: None }
    }

    /// What was written last, as far as is known here.
    pub fn value(&self) -> &Any {
        &self.value
    }

    /// Writes `value`. Which write is the last one is decided by `clock`; `custom` is for the clocks that take one.
    pub fn set(&mut self, value: Any, clock: CrdtClock, custom: i64) {
        self.value = value;
        self.written = Some((clock, custom));
    }

    pub(super) fn apply(&mut self, delta: LwwRegisterDelta) {
        self.value = delta.value.unwrap_or_default();
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        self.written.is_some().then(|| self.state())
    }

    pub(super) fn state(&self) -> Delta {
        let (clock, custom_clock_value) = self.written.unwrap_or_default();
        Delta::Lwwregister(LwwRegisterDelta {
            value: Some(self.value.clone()),
            clock: clock.into(),
            custom_clock_value,
        })
    }

    pub(super) fn settle(&mut self) {
        self.written = None;
    }
}

/// A flag that can be raised and not lowered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flag {
    enabled: bool,
    raised: bool,
}

impl Flag {
    /// Whether some node has raised it.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Raises it.
    pub fn enable(&mut self) {
        self.raised |= !self.enabled;
        self.enabled = true;
    }

    pub(super) fn apply(&mut self, delta: &FlagDelta) {
        self.enabled |= delta.value;
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        self.raised.then_some(Delta::Flag(FlagDelta { value: true }))
    }

    pub(super) fn state(&self) -> Delta {
        Delta::Flag(FlagDelta { value: self.enabled })
    }

    pub(super) fn settle(&mut self) {
        self.raised = false;
    }
}

/// Every node has one vote, yes or no.
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    mine: bool,
    votes_for: u32,
    voters: u32,
    /// The vote of this node as the sidecar knows it.
    known: bool,
}

impl Default for Vote {
    /// Before the sidecar has said more this node is the only one.
    fn default() -> Self {
        Self { mine: false, votes_for: 0, voters: 1, known: false }
    }
}

impl Vote {
    /// The vote of this node.
    pub fn mine(&self) -> bool {
        self.mine
    }

    /// How many nodes have voted yes.
    pub fn votes_for(&self) -> u32 {
        self.votes_for
    }

    /// How many nodes there are.
    pub fn voters(&self) -> u32 {
        self.voters
    }

    /// Whether some node has voted yes.
    pub fn at_least_one(&self) -> bool {
        self.votes_for > 0
    }

    /// Votes for this node.
    pub fn vote(&mut self, yes: bool) {
        if self.mine != yes {
            self.mine = yes;
            self.votes_for = if yes { self.votes_for + 1 } else { self.votes_for.saturating_sub(1) };
        }
    }

    pub(super) fn apply(&mut self, delta: &VoteDelta) {
        self.mine = delta.self_vote;
        self.known = delta.self_vote;
        self.votes_for = u32::try_from(delta.votes_for).unwrap_or_default();
        self.voters = u32::try_from(delta.total_voters).unwrap_or_default();
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        (self.mine != self.known).then(|| self.state())
    }

    pub(super) fn state(&self) -> Delta {
        Delta::Vote(VoteDelta { self_vote: self.mine, ..VoteDelta::default() })
    }

    pub(super) fn settle(&mut self) {
        self.known = self.mine;
    }
}
