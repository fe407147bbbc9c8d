//! Which types of messages travel, under which names and versions.
//!
//! A type has a name of its own, apart from its path in the program, a version in which it is written and a range in which
//! it is read. Nodes tell each other their ranges in the handshake; a message goes in the highest version that the one may
//! write and the other reads. So a new format comes in two steps: a release that reads both and writes the old one, then
//! one that writes the new one.
//!
//! On the wire a type is a number: its place in the sender's list, which the receiver was told. What cannot be written or
//! read is dropped with a reason, and the connection stays.

use super::{
    dropped::DropReason,
    landed::{Here, Landed},
    pack::{Packer, Unpacker},
};
use crate::{number_map::NumberMap, refs::Found};
use actors::{
    Registration, ServiceKey,
    remote::{self, AnyActorRef, RefPlace, Unpacking},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

pub(crate) use super::pack::PackError;

/// Types one node may have.
pub(crate) const TYPES_MAX: usize = 1024;

/// Bytes of a name.
pub(crate) const NAME_MAX: usize = 128;

/// A message that may go to another node.
///
/// The bytes have the names of fields and variants: fields may be added with `#[serde(default)]` and variants reordered in
/// any release. What is more than that takes a new version.
///
/// It may hold [`ActorRef`](actors::ActorRef)s and [`ReplyTo`](actors::ReplyTo)s: they are written and read while it travels.
/// The `M` of each `ActorRef<M>` in it is [registered](crate::ClusterConfig::message) as well, on both nodes; an answer `T` of
/// a `ReplyTo<T>` needs serde alone, and no name. What is not registered does not leave: it is a dead letter, its ask ends
/// with `NoReply`, and the log says what to do. Variants that stay at home may have `#[serde(skip)]`.
///
/// ```
/// use actors::{ActorRef, ReplyTo};
/// use cluster::WireMessage;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum GateMessage {
///     Enter { visitor: String, reply_to: ReplyTo<bool> },
///     TellWhenOpen(ActorRef<Opened>),
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Opened;
///
/// impl WireMessage for GateMessage {
///     const NAME: &'static str = "park.Gate";
/// }
///
/// impl WireMessage for Opened {
///     const NAME: &'static str = "park.Opened";
/// }
/// ```
pub trait WireMessage: Serialize + DeserializeOwned + Send + 'static {
    /// Such as `shop.Cart`. The same for ever: never the path of the type.
    const NAME: &'static str;
    /// In which it is written if the other node reads it; else in the highest one below that both have.
    const VERSION: u32 = 1;
    /// In which it is read. Holds `VERSION`; the versions from its start to `VERSION` can be written too.
    const READS: RangeInclusive<u32> = 1..=1;

    /// As [`NAME`](Self::NAME); a type with parameters says theirs as well, such as `shop.Batch<shop.Cart>`.
    fn name() -> Arc<str> {
        Self::NAME.into()
    }

    /// Writes the bytes of `version`, which is one it can write.
    ///
    /// # Errors
    /// It is not to be had in that version, or too large.
    fn write(&self, version: u32, out: &mut Packer<'_>) -> Result<(), PackError> {
        let _ = version;
        out.value(self)
    }

    /// What was written in `version`, which is one of `READS`.
    ///
    /// # Errors
    /// The bytes are no such value.
    fn read(version: u32, bytes: Unpacker<'_>) -> Result<Self, PackError> {
        let _ = version;
        bytes.value()
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
    SameName(Arc<str>),
    #[error("{0:?} is no name: 1 to {NAME_MAX} letters, digits, '.', '-', '_', ':', '<', '>' and ','")]
    NoName(Arc<str>),
    #[error("{name:?} reads {}..={} and writes {version}: versions begin at 1, and what is written must be read", .reads.start(), .reads.end())]
    NoVersion { name: Arc<str>, version: u32, reads: RangeInclusive<u32> },
    #[error("more than {TYPES_MAX} types")]
    TooMany,
}

/// The types one node knows. A value: ten nodes of one process have ten.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Arc<Types>);

#[derive(Debug, Default)]
struct Types {
    entries: Vec<Entry>,
    by_type: NumberMap<TypeId, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Arc<str>,
    writes: RangeInclusive<u32>,
    reads: RangeInclusive<u32>,
    type_id: TypeId,
    write: Write,
    read: Read,
    any_of: AnyOf,
    register: Register,
}

/// What it is given is of the entry's type.
type Write = fn(&dyn Any, u32, &mut Packer<'_>) -> Result<(), PackError>;
type Read = fn(u32, &[u8], &dyn Unpacking, Then<'_>) -> Result<(), PackError>;
/// Gets the message that was read.
pub(crate) type Then<'a> = &'a mut dyn FnMut(&mut dyn Landed);
/// The actor, if its messages are of the entry's type.
type AnyOf = fn(&Registration) -> Option<AnyActorRef>;
/// An actor whose messages are of the entry's type, under a key.
type Register = fn(&str, Find<'_>) -> Option<Registration>;

/// Puts an actor into a place; `false`: there is none.
pub(crate) type Find<'a> = &'a mut dyn FnMut(&mut dyn RefPlace) -> bool;

/// Collects types for a [`Registry`].
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistryBuilder {
    entries: BTreeMap<Arc<str>, Entry>,
    error: Option<RegistryError>,
}

impl RegistryBuilder {
    /// `M` may travel. The same type twice is no error.
    #[must_use]
    pub(crate) fn message<M: WireMessage>(mut self) -> Self {
        let name = M::name();
        let entry = Entry {
            name: Arc::clone(&name),
            writes: *M::READS.start()..=M::VERSION,
            reads: M::READS,
            type_id: TypeId::of::<M>(),
            write: |message, version, out| match message.downcast_ref::<M>() {
                Some(message) => message.write(version, out),
                None => Err(PackError::other("it is another type")),
            },
            read: |version, bytes, context, then| {
                let read = || remote::unpack(context, || M::read(version, Unpacker::new(bytes)));
                // A panic of a user's `Deserialize` is no reason to end a connection.
                let read = catch_unwind(AssertUnwindSafe(read));
                let message = read.unwrap_or_else(|_| Err(PackError::other("reading it panicked")))?;
                then(&mut Here(Some(message)));
                Ok(())
            },
            any_of: |registration| registration.actor_ref::<M>().map(AnyActorRef::of),
            register: |key, find| {
                let mut place = Found::<M>(None);
                let actor = find(&mut place).then_some(place.0).flatten()?;
                Some(Registration::new(&ServiceKey::new(key), &actor))
            },
        };
        let known = self.entries.get(&name).is_some_and(|known| known.type_id != entry.type_id);
        let error = match () {
            () if !is_name(&name) => RegistryError::NoName(name),
            () if *M::READS.start() == 0 || !M::READS.contains(&M::VERSION) => {
                RegistryError::NoVersion { name, version: M::VERSION, reads: M::READS }
            }
            () if known => RegistryError::SameName(name),
            () => {
                self.entries.insert(name, entry);
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
            None => {
                let entries: Vec<_> = self.entries.into_values().collect();
                let by_type = entries.iter().enumerate().map(|(place, entry)| (entry.type_id, place)).collect();
                Ok(Registry(Arc::new(Types { entries, by_type })))
            }
        }
    }
}

/// Whether a type may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:<>,".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits)
}

impl Registry {
    #[cfg(test)]
    pub(crate) fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// What other nodes are told, in the order of names: places in it are numbers on the wire.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        self.entries().iter().map(|entry| Offer { name: Arc::clone(&entry.name), reads: entry.reads.clone() }).collect()
    }

    /// What can pass between this node and one that offers `theirs`, in that version of the protocol.
    pub(crate) fn negotiate(&self, theirs: &[Offer], protocol: u32) -> Agreement {
        let by_name: BTreeMap<&str, &Offer> = theirs.iter().map(|offer| (&*offer.name, offer)).collect();
        let version = |entry: &Entry| match by_name.get(&*entry.name) {
            None => Err(DropReason::UnknownThere),
            Some(offer) => highest_common(&entry.writes, &offer.reads).ok_or(DropReason::NoCommonVersion),
        };
        let place = |offer: &Offer| self.entries().binary_search_by(|entry| entry.name.cmp(&offer.name)).ok();
        Agreement {
            registry: self.clone(),
            writes: self.entries().iter().map(version).collect(),
            reads: theirs.iter().map(place).collect(),
            protocol,
        }
    }

    /// Whether messages of this type travel.
    pub(crate) fn knows(&self, message_type: TypeId) -> bool {
        self.0.by_type.contains_key(&message_type)
    }

    /// The actor of a registration and what its messages are called, if they travel.
    pub(crate) fn registered(&self, registration: &Registration) -> Option<(&Arc<str>, AnyActorRef)> {
        let place = self.0.by_type.get(&registration.message_type_id())?;
        let entry = &self.0.entries[*place];
        Some((&entry.name, (entry.any_of)(registration)?))
    }

    /// What `find` finds, whose messages are called `name`, under a key.
    pub(crate) fn register(&self, name: &str, key: &str, find: Find<'_>) -> Option<Registration> {
        let place = self.entries().binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        (self.0.entries[place].register)(key, find)
    }

    fn entries(&self) -> &[Entry] {
        &self.0.entries
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
    /// The version of the protocol between the two.
    pub(crate) protocol: u32,
}

/// A message in bytes.
#[cfg(test)]
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

/// How a type is written for another node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writes<'a> {
    entry: &'a Entry,
    /// The type's place in the sender's list.
    pub(crate) type_number: u32,
    pub(crate) version: u32,
}

impl Writes<'_> {
    /// Appends the bytes of `message` to `out`, at most `max`.
    ///
    /// # Errors
    /// It cannot be written, is too large, or is of another type; what `out` holds then is part of it.
    pub(crate) fn write(&self, message: &dyn Any, out: &mut Vec<u8>, max: usize) -> Result<(), NotPassed> {
        let mut packer = Packer::new(out, max);
        let written = (self.entry.write)(message, self.version, &mut packer);
        written.and_then(|()| packer.end()).map_err(|error| {
            let reason = match error {
                PackError::TooLarge { .. } => DropReason::TooLarge,
                _ => DropReason::Malformed,
            };
            NotPassed { reason, name: Arc::clone(&self.entry.name), detail: error.to_string() }
        })
    }
}

impl Agreement {
    /// How messages of that type are written for the other node, in the highest version both have. `at` is where the type was
    /// found before, whichever that was: looked at first, and set.
    ///
    /// # Errors
    /// They cannot go there.
    pub(crate) fn writes(
        &self,
        message_type: TypeId,
        type_name: &str,
        at: &AtomicUsize,
    ) -> Result<Writes<'_>, NotPassed> {
        let before = at.load(Ordering::Relaxed);
        let is_there = self.registry.entries().get(before).is_some_and(|entry| entry.type_id == message_type);
        let place = if is_there { Some(before) } else { self.registry.0.by_type.get(&message_type).copied() };
        let Some(place) = place else {
            let detail = "is not registered: implement `cluster::WireMessage` for it and register it with \
                          `ClusterConfig::message`";
            let detail = detail.to_owned();
            return Err(NotPassed { reason: DropReason::UnknownHere, name: type_name.into(), detail });
        };
        if !is_there {
            at.store(place, Ordering::Relaxed);
        }
        let entry = &self.registry.0.entries[place];
        let version = self.writes[place].map_err(|reason| {
            let Entry { writes, .. } = entry;
            let detail = match reason {
                DropReason::UnknownThere => {
                    "is not registered at the other node: register it there with `ClusterConfig::message`".to_owned()
                }
                _ => format!(
                    "is written here in versions {}..={}, of which the other node reads none: let `WireMessage::READS` \
                     there have one of them",
                    writes.start(),
                    writes.end()
                ),
            };
            NotPassed { reason, name: Arc::clone(&entry.name), detail }
        })?;
        Ok(Writes { entry, type_number: place as u32, version })
    }

    /// The bytes of `message` in the highest version both have, at most `max` of them.
    ///
    /// # Errors
    /// It cannot go there. The connection is none the worse.
    #[cfg(test)]
    pub(crate) fn pack<M: WireMessage>(&self, message: &M, max: usize) -> Result<Packed, NotPassed> {
        let writes = self.writes(TypeId::of::<M>(), M::NAME, &AtomicUsize::new(usize::MAX))?;
        let mut bytes = Vec::new();
        writes.write(message, &mut bytes, max)?;
        Ok(Packed { type_number: writes.type_number, version: writes.version, bytes })
    }

    /// Hands the message behind `bytes` from the other node to `then`: an `M` if the type registered under that name is one.
    /// References in it are read by `context`.
    ///
    /// # Errors
    /// It is no message this node can read. The connection is none the worse.
    pub(crate) fn unpack(
        &self,
        type_number: u32,
        version: u32,
        bytes: &[u8],
        context: &dyn Unpacking,
        then: Then<'_>,
    ) -> Result<(), NotPassed> {
        let place = self.reads.get(type_number as usize).copied().flatten();
        let Some(entry) = place.and_then(|place| self.registry.entries().get(place)) else {
            let name = format!("type {type_number}").into();
            return Err(NotPassed { reason: DropReason::UnknownHere, name, detail: "is not registered".to_owned() });
        };
        let not_passed = |reason, detail| NotPassed { reason, name: Arc::clone(&entry.name), detail };
        if !entry.reads.contains(&version) {
            let (lowest, highest) = (entry.reads.start(), entry.reads.end());
            let detail = format!("came in version {version}, and is read in {lowest}..={highest}");
            return Err(not_passed(DropReason::NoCommonVersion, detail));
        }
        (entry.read)(version, bytes, context, then)
            .map_err(|error| not_passed(DropReason::Malformed, error.to_string()))
    }
}
