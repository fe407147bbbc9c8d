//! A delta of the user function as a change of a replicated value (CloudState protocol: types, deltas and state).

use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{CrdtClock, CrdtDelta, LwwRegisterDelta, OrMapDelta, OrMapEntryDelta, OrSetDelta};

use crate::crdt::{Clock, CounterOverflow, Crdt, Element, Kind, KindMismatch, MapError, OrMap, OrSet, ReplicaId};

/// Why a delta of the user function cannot be applied. Nothing was changed. The texts are the protocol's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// The oneof is not set.
    #[error("Empty delta")]
    Empty,
    /// The entity's value is of another type.
    #[error("{} is incompatible with CRDT {value}", delta_name(*delta))]
    Incompatible {
        /// What the delta is for.
        delta: Kind,
        /// What the value is.
        value: Kind,
    },
    /// A flag cannot be switched off.
    #[error("Cannot switch off already enabled flag")]
    FlagOff,
    /// The number does not fit.
    #[error(transparent)]
    Overflow(#[from] CounterOverflow),
    /// A map cannot hold it.
    #[error(transparent)]
    Map(MapError),
}

impl From<KindMismatch> for DeltaError {
    fn from(KindMismatch { expected, found }: KindMismatch) -> Self {
        Self::Incompatible { delta: found, value: expected }
    }
}

impl From<MapError> for DeltaError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Kind(mismatch) => mismatch.into(),
            other => Self::Map(other),
        }
    }
}

fn delta_name(kind: Kind) -> String {
    match kind {
        Kind::OrMap | Kind::Vote => kind.to_string(),
        _ => format!("{kind}Delta"),
    }
}

/// In whose name, and when, a value is changed.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// This node.
    pub replica: ReplicaId,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: u64,
}

/// What a delta is for.
pub(super) fn kind_of(delta: &CrdtDelta) -> Result<Kind, DeltaError> {
    Ok(match delta.delta.as_ref().ok_or(DeltaError::Empty)? {
        Delta::Gcounter(_) => Kind::GCounter,
        Delta::Pncounter(_) => Kind::PnCounter,
        Delta::Gset(_) => Kind::GSet,
        Delta::Orset(_) => Kind::OrSet,
        Delta::Lwwregister(_) => Kind::LwwRegister,
        Delta::Flag(_) => Kind::Flag,
        Delta::Ormap(_) => Kind::OrMap,
        Delta::Vote(_) => Kind::Vote,
    })
}

/// The replicated delta that `delta` of the user function amounts to; it decides the type of a value that is not there.
///
/// # Errors
/// [`DeltaError`] when the value is of another type, or cannot be changed so.
pub fn apply(current: Option<&Crdt>, delta: &CrdtDelta, writer: Writer) -> Result<Crdt, DeltaError> {
    let kind = kind_of(delta)?;
    let mut value = current.cloned().unwrap_or_else(|| Crdt::new(kind));
    change(&mut value, delta, writer)
}

fn change(value: &mut Crdt, delta: &CrdtDelta, writer: Writer) -> Result<Crdt, DeltaError> {
    let replica = writer.replica;
    Ok(match delta.delta.as_ref().ok_or(DeltaError::Empty)? {
        Delta::Gcounter(delta) => value.as_g_counter_mut()?.increment(replica, delta.increment)?.into(),
        Delta::Pncounter(delta) => value.as_pn_counter_mut()?.change(replica, delta.change)?.into(),
        Delta::Gset(delta) => {
            let set = value.as_g_set_mut()?;
            let mut change = crate::crdt::GSet::default();
            delta.added.iter().for_each(|element| change.merge(&set.add(to_element(element))));
            change.into()
        }
        Delta::Orset(delta) => change_set(value.as_or_set_mut()?, delta, replica).into(),
        Delta::Lwwregister(delta) => {
            let element = to_element(&delta.value.clone().unwrap_or_default());
            value.as_lww_register_mut()?.set(replica, element, clock_of(delta), writer.now_ms).into_delta().into()
        }
        Delta::Flag(delta) => {
            let flag = value.as_flag_mut()?;
            match (delta.value, flag.is_enabled()) {
                (true, _) => flag.enable().into(),
                (false, false) => Crdt::new(Kind::Flag),
                (false, true) => return Err(DeltaError::FlagOff),
            }
        }
        Delta::Ormap(delta) => change_map(value.as_or_map_mut()?, delta, writer)?.into(),
        Delta::Vote(delta) => value.as_vote_mut()?.vote(replica, delta.self_vote).into(),
    })
}

fn change_set(set: &mut OrSet, delta: &OrSetDelta, replica: ReplicaId) -> OrSet {
    let mut change = if delta.cleared { set.clear() } else { OrSet::default() };
    delta.removed.iter().for_each(|element| change.merge(&set.remove(&to_element(element))));
    delta.added.iter().for_each(|element| change.merge(&set.add(replica, to_element(element))));
    change
}

fn change_map(map: &mut OrMap, delta: &OrMapDelta, writer: Writer) -> Result<OrMap, DeltaError> {
    let mut whole = if delta.cleared { map.clear() } else { OrMap::default() };
    for key in &delta.removed {
        whole.merge(&map.remove(&to_element(key)));
    }
    for entry in &delta.updated {
        let (key, nested) = entry_of(entry)?;
        let kind = kind_of(nested)?;
        // Removed, or replaced by another type, on some other node at the same time.
        if map.get(&key).is_some_and(|value| value.kind() == kind) {
            whole.merge(&map.update(writer.replica, &key, kind, |value| change(value, nested, writer))?);
        }
    }
    for entry in &delta.added {
        let (key, nested) = entry_of(entry)?;
        whole.merge(&map.update(writer.replica, &key, kind_of(nested)?, |value| change(value, nested, writer))?);
    }
    Ok(whole)
}

/// Key and nested delta of an entry.
pub(super) fn entry_of(entry: &OrMapEntryDelta) -> Result<(Element, &CrdtDelta), DeltaError> {
    let key = entry.key.as_ref().map_or_else(|| Element::new("", ""), to_element);
    Ok((key, entry.delta.as_ref().ok_or(DeltaError::Empty)?))
}

fn clock_of(delta: &LwwRegisterDelta) -> Clock {
    match CrdtClock::try_from(delta.clock) {
        Ok(CrdtClock::Reverse) => Clock::Reverse,
        Ok(CrdtClock::Custom) => Clock::Custom(delta.custom_clock_value),
        Ok(CrdtClock::CustomAutoIncrement) => Clock::CustomAutoIncrement(delta.custom_clock_value),
        Ok(CrdtClock::Default) | Err(_) => Clock::Default,
    }
}

pub(super) fn to_element(any: &Any) -> Element {
    Element::new(any.type_url.as_str(), any.value.clone())
}

pub(super) fn to_any(element: &Element) -> Any {
    Any { type_url: element.type_url.to_string(), value: element.value.clone() }
}
