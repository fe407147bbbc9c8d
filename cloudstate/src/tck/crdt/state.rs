//! States as the model shows them to its client.

use proto::model::tck::crdt::state::Value;
use proto::model::tck::crdt::{
    FlagValue, GCounterValue, GSetValue, LwwRegisterValue, OrMapEntryValue, OrMapValue, OrSetValue, PnCounterValue,
    State, VoteValue,
};

pub(super) fn gcounter(value: u64) -> State {
    state(Value::Gcounter(GCounterValue { value }))
}

pub(super) fn pncounter(value: i64) -> State {
    state(Value::Pncounter(PnCounterValue { value }))
}

pub(super) fn gset<const N: usize>(elements: [&str; N]) -> State {
    state(Value::Gset(GSetValue { elements: elements.map(str::to_owned).to_vec() }))
}

pub(super) fn orset<const N: usize>(elements: [&str; N]) -> State {
    state(Value::Orset(OrSetValue { elements: elements.map(str::to_owned).to_vec() }))
}

pub(super) fn register(value: &str) -> State {
    state(Value::Lwwregister(LwwRegisterValue { value: value.to_owned() }))
}

pub(super) fn flag(value: bool) -> State {
    state(Value::Flag(FlagValue { value }))
}

pub(super) fn ormap<const N: usize>(entries: [(&str, State); N]) -> State {
    let entry = |(key, value): (&str, State)| OrMapEntryValue { key: key.to_owned(), value: Some(value) };
    state(Value::Ormap(OrMapValue { entries: entries.map(entry).to_vec() }))
}

pub(super) fn vote(self_vote: bool, votes_for: i32, total_voters: i32) -> State {
    state(Value::Vote(VoteValue { self_vote, votes_for, total_voters }))
}

fn state(value: Value) -> State {
    State { value: Some(value) }
}
