//! The plain value that the user function holds, and how it is told of a new one (CloudState protocol: types,
//! deltas and state; turn-taking).

use std::collections::{BTreeMap, BTreeSet};

use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{
    CrdtDelta, FlagDelta, GCounterDelta, GSetDelta, LwwRegisterDelta, OrMapDelta, OrMapEntryDelta, OrSetDelta,
    PnCounterDelta, VoteDelta,
};

use super::delta::{DeltaError, entry_of, kind_of, to_any, to_element};
use crate::crdt::{Crdt, Element, Kind, ReplicaId, Tally};
use crate::replicator::Members;

/// Whose votes count.
#[derive(Clone, Debug)]
pub struct Voters {
    /// This node.
    pub own: ReplicaId,
    /// The nodes that are up.
    pub members: Members,
}

/// A value as the user function has it: without anything that serves merging.
///
/// Counters are as wide as on the wire; what does not fit is shown as the nearest number that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The count.
    GCounter(u64),
    /// The balance.
    PnCounter(i64),
    /// The elements.
    GSet(BTreeSet<Element>),
    /// The elements.
    OrSet(BTreeSet<Element>),
    /// The value; an empty one for a register that was never written.
    LwwRegister(Element),
    /// Whether it is on.
    Flag(bool),
    /// The entries.
    OrMap(BTreeMap<Element, Value>),
    /// The outcome, as the function was last told.
    Vote(Tally),
}

/// What has to be said to somebody who holds one value so that he holds another.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// Nothing.
    None,
    /// This.
    Delta(CrdtDelta),
    /// No delta leads from the one to the other.
    Incompatible,
}

impl Value {
    /// What a function is to hold when this is replicated.
    pub fn of(crdt: &Crdt, voters: &Voters) -> Self {
        match crdt {
            Crdt::GCounter(counter) => Value::GCounter(u64::try_from(counter.value()).unwrap_or(u64::MAX)),
            Crdt::PnCounter(counter) => {
                let value = counter.value().clamp(i64::MIN.into(), i64::MAX.into());
                Value::PnCounter(i64::try_from(value).unwrap_or_default())
            }
            Crdt::GSet(set) => Value::GSet(set.elements().cloned().collect()),
            Crdt::OrSet(set) => Value::OrSet(set.elements().cloned().collect()),
            Crdt::LwwRegister(register) => {
                Value::LwwRegister(register.value().cloned().unwrap_or_else(|| Element::new("", "")))
            }
            Crdt::Flag(flag) => Value::Flag(flag.is_enabled()),
            Crdt::OrMap(map) => {
                Value::OrMap(map.entries().map(|(key, value)| (key.clone(), Value::of(&value, voters))).collect())
            }
            Crdt::Vote(vote) => Value::Vote(vote.tally(voters.own, &voters.members)),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Value::GCounter(_) => Kind::GCounter,
            Value::PnCounter(_) => Kind::PnCounter,
            Value::GSet(_) => Kind::GSet,
            Value::OrSet(_) => Kind::OrSet,
            Value::LwwRegister(_) => Kind::LwwRegister,
            Value::Flag(_) => Kind::Flag,
            Value::OrMap(_) => Kind::OrMap,
            Value::Vote(_) => Kind::Vote,
        }
    }

    /// The value after a delta of the user function; the first one decides the type.
    ///
    /// # Errors
    /// [`DeltaError`] when it does not fit.
    pub fn after(held: Option<&Value>, delta: &CrdtDelta, voters: &Voters) -> Result<Value, DeltaError> {
        let kind = kind_of(delta)?;
        let mut value = held.cloned().unwrap_or_else(|| Value::of(&Crdt::new(kind), voters));
        value.change(delta, voters)?;
        Ok(value)
    }

    fn change(&mut self, delta: &CrdtDelta, voters: &Voters) -> Result<(), DeltaError> {
        match (&mut *self, delta.delta.as_ref().ok_or(DeltaError::Empty)?) {
            (Value::GCounter(count), Delta::Gcounter(delta)) => *count = count.saturating_add(delta.increment),
            (Value::PnCounter(count), Delta::Pncounter(delta)) => *count = count.saturating_add(delta.change),
            (Value::GSet(set), Delta::Gset(delta)) => set.extend(delta.added.iter().map(to_element)),
            (Value::OrSet(set), Delta::Orset(delta)) => {
                if delta.cleared {
                    set.clear();
                }
                for element in &delta.removed {
                    set.remove(&to_element(element));
                }
                set.extend(delta.added.iter().map(to_element));
            }
            (Value::LwwRegister(value), Delta::Lwwregister(delta)) => {
                *value = to_element(&delta.value.clone().unwrap_or_default());
            }
            (Value::Flag(true), Delta::Flag(FlagDelta { value: false })) => return Err(DeltaError::FlagOff),
            (Value::Flag(on), Delta::Flag(delta)) => *on = delta.value,
            (Value::OrMap(map), Delta::Ormap(delta)) => change_map(map, delta, voters)?,
            (Value::Vote(tally), Delta::Vote(delta)) => match (tally.self_vote, delta.self_vote) {
                (false, true) => *tally = Tally { votes_for: tally.votes_for + 1, self_vote: true, ..*tally },
                (true, false) => {
                    *tally = Tally { votes_for: tally.votes_for.saturating_sub(1), self_vote: false, ..*tally };
                }
                _ => {}
            },
            (value, _) => return Err(DeltaError::Incompatible { delta: kind_of(delta)?, value: value.kind() }),
        }
        Ok(())
    }

    /// The whole value as a delta for somebody who holds nothing.
    pub fn full(&self) -> CrdtDelta {
        let delta = match self {
            Value::GCounter(count) => Delta::Gcounter(GCounterDelta { increment: *count }),
            Value::PnCounter(count) => Delta::Pncounter(PnCounterDelta { change: *count }),
            Value::GSet(set) => Delta::Gset(GSetDelta { added: anys(set) }),
            Value::OrSet(set) => Delta::Orset(OrSetDelta { added: anys(set), ..OrSetDelta::default() }),
            Value::LwwRegister(value) => {
                Delta::Lwwregister(LwwRegisterDelta { value: Some(to_any(value)), ..LwwRegisterDelta::default() })
            }
            Value::Flag(on) => Delta::Flag(FlagDelta { value: *on }),
            Value::OrMap(map) => {
                let added = map.iter().map(|(key, value)| entry(key, value.full())).collect();
                Delta::Ormap(OrMapDelta { added, ..OrMapDelta::default() })
            }
            Value::Vote(tally) => Delta::Vote(VoteDelta {
                self_vote: tally.self_vote,
                votes_for: count_of(tally.votes_for),
                total_voters: count_of(tally.total_voters),
            }),
        };
        CrdtDelta { delta: Some(delta) }
    }

    /// A delta after which a function holds this value whatever it held before, provided the type was the same.
    /// `None` for values whose deltas add up in any order, where that is neither possible nor needed.
    pub fn correction(&self) -> Option<CrdtDelta> {
        let mut delta = self.full();
        match &mut delta.delta {
            Some(Delta::Orset(delta)) => delta.cleared = true,
            Some(Delta::Ormap(delta)) => delta.cleared = true,
            Some(Delta::Lwwregister(_) | Delta::Vote(_)) => {}
            _ => return None,
        }
        Some(delta)
    }

    /// How to tell a function that holds this value of the `new` one.
    pub fn difference(&self, new: &Value) -> Difference {
        let delta = match (self, new) {
            (old, new) if old == new => return Difference::None,
            (Value::GCounter(old), Value::GCounter(new)) if old < new => {
                Delta::Gcounter(GCounterDelta { increment: new - old })
            }
            // A difference that is wider than the number wraps, and so does the sum of whoever adds it up.
            (Value::PnCounter(old), Value::PnCounter(new)) => {
                Delta::Pncounter(PnCounterDelta { change: new.wrapping_sub(*old) })
            }
            (Value::GSet(old), Value::GSet(new)) if old.is_subset(new) => {
                Delta::Gset(GSetDelta { added: anys(new.difference(old)) })
            }
            (Value::OrSet(old), Value::OrSet(new)) => Delta::Orset(set_difference(old, new)),
            (Value::Flag(false), Value::Flag(true)) => Delta::Flag(FlagDelta { value: true }),
            (Value::OrMap(old), Value::OrMap(new)) => Delta::Ormap(map_difference(old, new)),
            (Value::LwwRegister(_), Value::LwwRegister(_)) | (Value::Vote(_), Value::Vote(_)) => {
                return Difference::Delta(new.full());
            }
            _ => return Difference::Incompatible,
        };
        Difference::Delta(CrdtDelta { delta: Some(delta) })
    }
}

fn change_map(map: &mut BTreeMap<Element, Value>, delta: &OrMapDelta, voters: &Voters) -> Result<(), DeltaError> {
    if delta.cleared {
        map.clear();
    }
    for key in &delta.removed {
        map.remove(&to_element(key));
    }
    for updated in &delta.updated {
        let (key, nested) = entry_of(updated)?;
        let kind = kind_of(nested)?;
        if let Some(value) = map.get_mut(&key).filter(|value| value.kind() == kind) {
            value.change(nested, voters)?;
        }
    }
    for added in &delta.added {
        let (key, nested) = entry_of(added)?;
        let value = Value::after(map.get(&key), nested, voters)?;
        map.insert(key, value);
    }
    Ok(())
}

fn set_difference(old: &BTreeSet<Element>, new: &BTreeSet<Element>) -> OrSetDelta {
    if new.is_empty() {
        return OrSetDelta { cleared: true, ..OrSetDelta::default() };
    }
    let (removed, added) = (anys(old.difference(new)), anys(new.difference(old)));
    if removed.len() + added.len() > new.len() {
        OrSetDelta { cleared: true, removed: Vec::new(), added: anys(new) }
    } else {
        OrSetDelta { cleared: false, removed, added }
    }
}

fn map_difference(old: &BTreeMap<Element, Value>, new: &BTreeMap<Element, Value>) -> OrMapDelta {
    let mut delta = OrMapDelta::default();
    if new.is_empty() {
        delta.cleared = true;
        return delta;
    }
    delta.removed.extend(old.keys().filter(|key| !new.contains_key(*key)).map(to_any));
    for (key, value) in new {
        match old.get(key).map(|old| old.difference(value)) {
            None => delta.added.push(entry(key, value.full())),
            Some(Difference::None) => {}
            Some(Difference::Delta(nested)) => delta.updated.push(entry(key, nested)),
            Some(Difference::Incompatible) => {
                delta.removed.push(to_any(key));
                delta.added.push(entry(key, value.full()));
            }
        }
    }
    delta
}

fn entry(key: &Element, delta: CrdtDelta) -> OrMapEntryDelta {
    OrMapEntryDelta { key: Some(to_any(key)), delta: Some(delta) }
}

fn anys<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Vec<Any> {
    elements.into_iter().map(to_any).collect()
}

fn count_of(nodes: usize) -> i32 {
    i32::try_from(nodes).unwrap_or(i32::MAX)
}
