//! Which types of messages travel, under which names and versions.
//!
//! A type has a name of its own, apart from its path in the program, a version in which it is written and a range in which
//! it is read. Nodes tell each other their ranges in the handshake; a message goes in the highest version that the one may
//! write and the other reads. So a new format comes in two steps: a release that reads both and writes the old one, then
//! one that writes the new one.
//!
//! On the wire a type is a number: its place in the sender's list, which the receiver was told. What cannot be written or
//! read is dropped with a reason, and the connection stays.

use super::{dropped::DropReason, pack};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::Arc,
};

pub(crate) use pack::PackError;

/// Types one node may have.
pub(crate) const TYPES_MAX: usize = 1024;

/// Bytes of a name.
pub(crate) const NAME_MAX: usize = 128;

/// A message that may go to another node.
///
/// The bytes have the names of fields and variants: fields may be added with `#[serde(default)]` and variants reordered in
/// any release. What is more than that takes a new version.
pub(crate) trait WireMessage: Serialize + DeserializeOwned + Send + 'static {
    /// Such as `shop.Cart`. The same for ever: never the path of the type.
    const NAME: &'static str;
    /// In which it is written if the other node reads it; else in the highest one below that both have.
    const VERSION: u32;
    /// In which it is read. Holds `VERSION`; the versions from its start to `VERSION` can be written too.
    const READS: RangeInclusive<u32>;

    /// The bytes of `version`, which is one it can write, at most `max`.
    ///
    /// # Errors
    /// It is not to be had in that version, or too large.
    fn write(&self, version: u32, max: usize) -> Result<Vec<u8>, PackError> {
        let _ = version;
        pack::write(self, max)
    }

    /// What was written in `version`, which is one of `READS`.
    ///
    /// # Errors
    /// The bytes are no such value.
    fn read(version: u32, bytes: &[u8]) -> Result<Self, PackError> {
        let _ = version;
        pack::read(bytes)
    }
}

/// A type, as another node is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) name: Arc<str>,
    /// In which it is read.
    pub(crate) reads: RangeInclusive<u32>,
}

/// Why there is no such registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("two types are called {0:?}: a name is one type's for ever")]
    SameName(&'static str),
    #[error("{0:?} is no name: 1 to {NAME_MAX} letters, digits, '.', '-', '_', ':', '<', '>' and ','")]
    NoName(&'static str),
    #[error("{name:?} reads {}..={} and writes {version}: versions begin at 1, and what is written must be read", .reads.start(), .reads.end())]
    NoVersion { name: &'static str, version: u32, reads: RangeInclusive<u32> },
    #[error("more than {TYPES_MAX} types")]
    TooMany,
}

/// The types one node knows. A value: ten nodes of one process have ten.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Arc<[Entry]>);

#[derive(Clone, Debug)]
struct Entry {
    name: &'static str,
    writes: RangeInclusive<u32>,
    reads: RangeInclusive<u32>,
    type_id: TypeId,
    read: Read,
}

type Read = fn(u32, &[u8]) -> Result<Box<dyn Any + Send>, PackError>;

/// Collects types for a [`Registry`].
#[derive(Debug, Default)]
pub(crate) struct RegistryBuilder {
    entries: BTreeMap<&'static str, Entry>,
    error: Option<RegistryError>,
}

impl RegistryBuilder {
    /// `M` may travel. The same type twice is no error.
    #[must_use]
    pub(crate) fn message<M: WireMessage>(mut self) -> Self {
        let entry = Entry {
            name: M::NAME,
            writes: *M::READS.start()..=M::VERSION,
            reads: M::READS,
            type_id: TypeId::of::<M>(),
            read: |version, bytes| Ok(Box::new(M::read(version, bytes)?)),
        };
        let known = self.entries.get(M::NAME).is_some_and(|known| known.type_id != entry.type_id);
        let error = match () {
            () if !is_name(M::NAME) => RegistryError::NoName(M::NAME),
            () if *M::READS.start() == 0 || !M::READS.contains(&M::VERSION) => {
                RegistryError::NoVersion { name: M::NAME, version: M::VERSION, reads: M::READS }
            }
            () if known => RegistryError::SameName(M::NAME),
            () => {
                self.entries.insert(M::NAME, entry);
                return self;
            }
        };
        self.error.get_or_insert(error);
        self
    }

    /// All of them.
    ///
    /// # Errors
    /// The first thing that was wrong.
    pub(crate) fn build(self) -> Result<Registry, RegistryError> {
        match self.error {
            Some(error) => Err(error),
            None if self.entries.len() > TYPES_MAX => Err(RegistryError::TooMany),
            None => Ok(Registry(self.entries.into_values().collect())),
        }
    }
}

/// Whether a type may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:<>,".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits)
}

impl Registry {
    pub(crate) fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// What other nodes are told, in the order of names: places in it are numbers on the wire.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        self.0.iter().map(|entry| Offer { name: entry.name.into(), reads: entry.reads.clone() }).collect()
    }

    /// What can pass between this node and one that offers `theirs`.
    pub(crate) fn negotiate(&self, theirs: &[Offer]) -> Agreement {
        let by_name: BTreeMap<&str, &Offer> = theirs.iter().map(|offer| (&*offer.name, offer)).collect();
        let version = |entry: &Entry| match by_name.get(entry.name) {
            None => Err(DropReason::UnknownThere),
            Some(offer) => highest_common(&entry.writes, &offer.reads).ok_or(DropReason::NoCommonVersion),
        };
        let place = |offer: &Offer| self.0.binary_search_by(|entry| entry.name.cmp(&offer.name)).ok();
        Agreement {
            registry: self.clone(),
            writes: self.0.iter().map(version).collect(),
            reads: theirs.iter().map(place).collect(),
        }
    }

    fn place<M: WireMessage>(&self) -> Option<usize> {
        let place = self.0.binary_search_by(|entry| entry.name.cmp(M::NAME)).ok()?;
        (self.0[place].type_id == TypeId::of::<M>()).then_some(place)
    }
}

fn highest_common(one: &RangeInclusive<u32>, two: &RangeInclusive<u32>) -> Option<u32> {
    let highest = *one.end().min(two.end());
    (highest >= *one.start() && highest >= *two.start()).then_some(highest)
}

/// What can pass between this node and one life of another. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    registry: Registry,
    /// By this node's numbers: the version to write.
    writes: Arc<[Result<u32, DropReason>]>,
    /// By the other's numbers: which of this node's types it is.
    reads: Arc<[Option<usize>]>,
}

/// A message in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The type's place in the sender's list.
    pub(crate) type_number: u32,
    pub(crate) version: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Why a message was dropped, and what for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}: {name} {detail}")]
pub(crate) struct NotPassed {
    pub(crate) reason: DropReason,
    pub(crate) name: Arc<str>,
    pub(crate) detail: String,
}

impl Agreement {
    /// The bytes of `message` in the highest version both have, at most `max` of them.
    ///
    /// # Errors
    /// It cannot go there. The connection is none the worse.
    pub(crate) fn pack<M: WireMessage>(&self, message: &M, max: usize) -> Result<Packed, NotPassed> {
        let not_passed = |reason, detail| NotPassed { reason, name: M::NAME.into(), detail };
        let Some(place) = self.registry.place::<M>() else {
            return Err(not_passed(DropReason::UnknownHere, "is not registered".to_owned()));
        };
        let version = self.writes[place].map_err(|reason| {
            let Entry { writes, .. } = &self.registry.0[place];
            not_passed(reason, format!("is written here in {}..={}", writes.start(), writes.end()))
        })?;
        let bytes = message.write(version, max).map_err(|error| match error {
            PackError::TooLarge { .. } => not_passed(DropReason::TooLarge, error.to_string()),
            error => not_passed(DropReason::Malformed, error.to_string()),
        })?;
        if bytes.len() > max {
            let error = PackError::TooLarge { size: bytes.len(), max };
            return Err(not_passed(DropReason::TooLarge, error.to_string()));
        }
        Ok(Packed { type_number: place as u32, version, bytes })
    }

    /// The message behind `bytes` from the other node: an `M` if the type registered under that name is one.
    ///
    /// # Errors
    /// It is no message this node can read. The connection is none the worse.
    pub(crate) fn unpack(
        &self,
        type_number: u32,
        version: u32,
        bytes: &[u8],
    ) -> Result<Box<dyn Any + Send>, NotPassed> {
        let place = self.reads.get(type_number as usize).copied().flatten();
        let Some(entry) = place.and_then(|place| self.registry.0.get(place)) else {
            let name = format!("type {type_number}").into();
            return Err(NotPassed { reason: DropReason::UnknownHere, name, detail: "is not registered".to_owned() });
        };
        let not_passed = |reason, detail| NotPassed { reason, name: entry.name.into(), detail };
        if !entry.reads.contains(&version) {
            let (lowest, highest) = (entry.reads.start(), entry.reads.end());
            let detail = format!("came in version {version}, and is read in {lowest}..={highest}");
            return Err(not_passed(DropReason::NoCommonVersion, detail));
        }
        (entry.read)(version, bytes).map_err(|error| not_passed(DropReason::Malformed, error.to_string()))
    }
}
