//! The model's updates and states, and the replicated values they are about.

use proto::cloudstate::crdt::CrdtClock;
use proto::model::tck::crdt::state::Value;
use proto::model::tck::crdt::update::Update as Change;
use proto::model::tck::crdt::{
    FlagValue, GCounterValue, GSetValue, LwwRegisterValue, OrMapEntryValue, OrMapUpdate, OrMapValue, OrSetUpdate,
    OrSetValue, PnCounterValue, State, Update, VoteValue, or_map_update, or_set_update,
};

use crate::function::crdt::{Data, Flag, GCounter, GSet, LWWRegister, ORMap, ORSet, PNCounter, Vote};
use crate::function::{Refused, primitive_string, unpack_primitive_string};

/// The type of an entity or of an entry of a map is what its name starts with, as in `GCounter-1`.
pub(super) fn named(name: &str) -> Result<Data, Refused> {
    Ok(match name.split('-').next().unwrap_or_default() {
        "GCounter" => Data::GCounter(GCounter::default()),
        "PNCounter" => Data::PNCounter(PNCounter::default()),
        "GSet" => Data::GSet(GSet::default()),
        "ORSet" => Data::ORSet(ORSet::default()),
        "LWWRegister" => Data::LWWRegister(LWWRegister::new(primitive_string(""))),
        "Flag" => Data::Flag(Flag::default()),
        "ORMap" => Data::ORMap(ORMap::default()),
        "Vote" => Data::Vote(Vote::default()),
        other => return Err(Refused(format!("[{name}]: there is no type [{other}]"))),
    })
}

/// Changes `data` as `update` says.
pub(super) fn update(data: &mut Data, update: Update) -> Result<(), Refused> {
    match (data, update.update) {
        (Data::GCounter(data), Some(Change::Gcounter(by))) => data.increment(by.increment),
        (Data::PNCounter(data), Some(Change::Pncounter(by))) => data.change(by.change),
        (Data::GSet(data), Some(Change::Gset(set))) => data.add(primitive_string(&set.add)),
        (Data::ORSet(data), Some(Change::Orset(set))) => update_set(data, set),
        (Data::LWWRegister(data), Some(Change::Lwwregister(write))) => {
            let clock = write.clock.unwrap_or_default();
            let rule = CrdtClock::try_from(clock.clock_type).unwrap_or_default();
            data.set(primitive_string(&write.value), rule, clock.custom_clock_value);
        }
        (Data::Flag(data), Some(Change::Flag(_))) => data.enable(),
        (Data::ORMap(data), Some(Change::Ormap(map))) => update_map(data, *map)?,
        (Data::Vote(data), Some(Change::Vote(vote))) => data.vote(vote.self_vote),
        (data, update) => return Err(Refused(format!("{update:?} does not fit {data:?}"))),
    }
    Ok(())
}

fn update_set(data: &mut ORSet, update: OrSetUpdate) {
    match update.action {
        Some(or_set_update::Action::Add(element)) => data.add(primitive_string(&element)),
        Some(or_set_update::Action::Remove(element)) => data.remove(primitive_string(&element)),
        Some(or_set_update::Action::Clear(true)) => data.clear(),
        Some(or_set_update::Action::Clear(false)) | None => {}
    }
}

fn update_map(data: &mut ORMap, change: OrMapUpdate) -> Result<(), Refused> {
    match change.action {
        Some(or_map_update::Action::Add(key)) => drop(data.entry(primitive_string(&key), || named(&key))?),
        Some(or_map_update::Action::Update(entry)) => {
            let value = data.entry(primitive_string(&entry.key), || named(&entry.key))?;
            update(value, entry.update.map(|update| *update).unwrap_or_default())?;
        }
        Some(or_map_update::Action::Remove(key)) => data.remove(primitive_string(&key)),
        Some(or_map_update::Action::Clear(true)) => data.clear(),
        Some(or_map_update::Action::Clear(false)) | None => {}
    }
    Ok(())
}

/// What callers are told of `data`; sets and maps in the order of their texts.
pub(super) fn state(data: &Data) -> Result<State, Refused> {
    let value = match data {
        Data::GCounter(data) => Value::Gcounter(GCounterValue { value: data.value() }),
        Data::PNCounter(data) => Value::Pncounter(PnCounterValue { value: data.value() }),
        Data::GSet(data) => Value::Gset(GSetValue { elements: texts(data.iter())? }),
        Data::ORSet(data) => Value::Orset(OrSetValue { elements: texts(data.iter())? }),
        Data::LWWRegister(data) => {
            Value::Lwwregister(LwwRegisterValue { value: unpack_primitive_string(data.value())? })
        }
        Data::Flag(data) => Value::Flag(FlagValue { value: data.enabled() }),
        Data::ORMap(data) => Value::Ormap(OrMapValue { entries: entries(data)? }),
        Data::Vote(data) => Value::Vote(VoteValue {
            self_vote: data.mine(),
            votes_for: i32::try_from(data.votes_for()).unwrap_or(i32::MAX),
            total_voters: i32::try_from(data.voters()).unwrap_or(i32::MAX),
        }),
    };
    Ok(State { value: Some(value) })
}

fn texts(elements: impl Iterator<Item = proto::Any>) -> Result<Vec<String>, Refused> {
    let mut texts = elements.map(|element| unpack_primitive_string(&element)).collect::<Result<Vec<_>, _>>()?;
    texts.sort_unstable();
    Ok(texts)
}

fn entries(map: &ORMap) -> Result<Vec<OrMapEntryValue>, Refused> {
    let mut entries = Vec::new();
    for (key, value) in map.iter() {
        entries.push(OrMapEntryValue { key: unpack_primitive_string(&key)?, value: Some(state(value)?) });
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(entries)
}
