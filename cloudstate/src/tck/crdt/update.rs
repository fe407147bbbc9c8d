//! What a request asks the model to do.

use proto::model::tck::crdt::request_action::Action as Step;
use proto::model::tck::crdt::update::Update as Change;
use proto::model::tck::crdt::{self as messages, LwwRegisterClockType, RequestAction, Update, UpdateWriteConsistency};

/// An update as a step of a request.
pub(super) fn update(update: Update) -> RequestAction {
    step(Step::Update(update))
}

pub(super) fn delete() -> RequestAction {
    step(Step::Delete(messages::Delete {}))
}

pub(super) fn forward(id: &str) -> RequestAction {
    step(Step::Forward(messages::Forward { id: id.to_owned() }))
}

pub(super) fn fail(message: &str) -> RequestAction {
    step(Step::Fail(messages::Fail { message: message.to_owned() }))
}

pub(super) fn effect(id: &str) -> RequestAction {
    step(Step::Effect(messages::Effect { id: id.to_owned(), synchronous: false }))
}

pub(super) fn effect_sync(id: &str) -> RequestAction {
    step(Step::Effect(messages::Effect { id: id.to_owned(), synchronous: true }))
}

/// Of a `GCounter`.
pub(super) fn increment(increment: u64) -> Update {
    change(Change::Gcounter(messages::GCounterUpdate { increment }))
}

/// Of a `PNCounter`.
pub(super) fn change_by(by: i64) -> Update {
    change(Change::Pncounter(messages::PnCounterUpdate { change: by }))
}

/// To a `GSet`.
pub(super) fn gset_add(element: &str) -> Update {
    change(Change::Gset(messages::GSetUpdate { add: element.to_owned() }))
}

/// To an `ORSet`.
pub(super) fn orset_add(element: &str) -> Update {
    orset(messages::or_set_update::Action::Add(element.to_owned()))
}

/// From an `ORSet`.
pub(super) fn orset_remove(element: &str) -> Update {
    orset(messages::or_set_update::Action::Remove(element.to_owned()))
}

/// An `ORSet`.
pub(super) fn orset_clear() -> Update {
    orset(messages::or_set_update::Action::Clear(true))
}

fn orset(action: messages::or_set_update::Action) -> Update {
    change(Change::Orset(messages::OrSetUpdate { action: Some(action) }))
}

/// An `LWWRegister`.
pub(super) fn set(value: &str) -> Update {
    change(Change::Lwwregister(messages::LwwRegisterUpdate { value: value.to_owned(), clock: None }))
}

/// An `LWWRegister`, with a clock.
pub(super) fn set_with(value: &str, clock: LwwRegisterClockType, custom_clock_value: i64) -> Update {
    let clock = Some(messages::LwwRegisterClock { clock_type: clock.into(), custom_clock_value });
    change(Change::Lwwregister(messages::LwwRegisterUpdate { value: value.to_owned(), clock }))
}

/// A `Flag`.
pub(super) fn enable() -> Update {
    change(Change::Flag(messages::FlagUpdate {}))
}

/// A key of an `ORMap`.
pub(super) fn map_add(key: &str) -> Update {
    ormap(messages::or_map_update::Action::Add(key.to_owned()))
}

/// The value of a key of an `ORMap`.
pub(super) fn map_update(key: &str, update: Update) -> Update {
    let entry = messages::OrMapEntryUpdate { key: key.to_owned(), update: Some(Box::new(update)) };
    ormap(messages::or_map_update::Action::Update(Box::new(entry)))
}

/// A key of an `ORMap`.
pub(super) fn map_remove(key: &str) -> Update {
    ormap(messages::or_map_update::Action::Remove(key.to_owned()))
}

/// An `ORMap`.
pub(super) fn map_clear() -> Update {
    ormap(messages::or_map_update::Action::Clear(true))
}

fn ormap(action: messages::or_map_update::Action) -> Update {
    change(Change::Ormap(Box::new(messages::OrMapUpdate { action: Some(action) })))
}

/// A `Vote`.
pub(super) fn vote(self_vote: bool) -> Update {
    change(Change::Vote(messages::VoteUpdate { self_vote }))
}

fn change(update: Change) -> Update {
    Update { update: Some(update), ..Update::default() }
}

/// With a write consistency.
pub(super) fn written(update: Update, consistency: UpdateWriteConsistency) -> Update {
    Update { write_consistency: consistency.into(), ..update }
}

fn step(action: Step) -> RequestAction {
    RequestAction { action: Some(action) }
}
