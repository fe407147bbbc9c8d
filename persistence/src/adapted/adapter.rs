//! [`EventAdapter`]: how events become what is stored, and what is stored becomes events, for as long as a log lives.

use crate::{Codec, CodecError, MessagePack};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// Both ways between the events of today's program and the rows of every program before it.
///
/// [`MessagePack`] is one. [`Evolution`] makes one of any [`Codec`] and adds what a log of many years needs.
pub trait EventAdapter<E>: Send + Sync + 'static {
    /// The manifest and bytes to store. The manifest says how to read the bytes: change it whenever that changes.
    ///
    /// # Errors
    /// The write is rejected with the error's text: nothing is stored.
    fn to_journal(&self, event: &E) -> Result<(Arc<str>, Bytes), CodecError>;

    /// Names under which the event can be found across entities. A write carries the names of all its events.
    fn tags(&self, event: &E) -> Vec<Arc<str>> {
        let _ = event;
        Vec::new()
    }

    /// What a row means today: one event, none when nobody needs to know of it any more, several when it was split.
    ///
    /// # Errors
    /// For a manifest it does not know too: a row is passed over only when the adapter says so, by answering no events.
    fn read_journal(&self, manifest: &str, payload: &Bytes) -> Result<Vec<E>, CodecError>;
}

impl<E: Serialize + DeserializeOwned + 'static> EventAdapter<E> for MessagePack<E> {
    fn to_journal(&self, event: &E) -> Result<(Arc<str>, Bytes), CodecError> {
        self.encode(event)
    }

    fn read_journal(&self, manifest: &str, payload: &Bytes) -> Result<Vec<E>, CodecError> {
        Ok(vec![self.decode(manifest, payload)?])
    }
}

/// A codec for today's events, and what became of those of earlier versions.
///
/// | what changed | how it is said |
/// |---|---|
/// | a field was added | `#[serde(default)]` on it; same version |
/// | a field or event was renamed, or its meaning changed | raise the codec's version, [`reads`](Self::reads) the old one |
/// | an event was split | [`reads`](Self::reads) the old one as several |
/// | an event is not needed any more | [`forgets`](Self::forgets) its manifest, or [`reads`](Self::reads) it as none |
///
/// ```
/// use persistence::{EventAdapter, Evolution, MessagePack};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum WalletEvent { Deposited { cents: u64 }, FeePaid { cents: u64 } }
///
/// /// As version 1 stored it: a deposit with its fee, and what nobody asks for any more.
/// #[derive(Serialize, Deserialize)]
/// enum Version1 { Deposited { cents: u64, fee: u64 }, Audited }
///
/// let adapter = Evolution::of(MessagePack::<WalletEvent>::new("wallet.Event", 2))
///     .reads("wallet.Event/1", |old: Version1| match old {
///         Version1::Deposited { cents, fee } => {
///             vec![WalletEvent::Deposited { cents }, WalletEvent::FeePaid { cents: fee }]
///         }
///         Version1::Audited => vec![],
///     })
///     .forgets("wallet.Promotion/1")
///     .tagged(|event| match event {
///         WalletEvent::FeePaid { .. } => vec!["fee".into()],
///         WalletEvent::Deposited { .. } => vec![],
///     });
///
/// let (_, old) = MessagePack::<Version1>::new("wallet.Event", 1).to_journal(&Version1::Deposited { cents: 5, fee: 1 })?;
/// let today = adapter.read_journal("wallet.Event/1", &old)?;
/// assert_eq!(today, [WalletEvent::Deposited { cents: 5 }, WalletEvent::FeePaid { cents: 1 }]);
/// assert_eq!(adapter.read_journal("wallet.Promotion/1", &old)?, []);
/// assert!(adapter.read_journal("wallet.Event/3", &old).is_err(), "what it does not know it does not skip");
/// # Ok::<(), persistence::CodecError>(())
/// ```
pub struct Evolution<E, C> {
    codec: C,
    readers: BTreeMap<String, Reader<E>>,
    tags: Option<Tags<E>>,
}

type Reader<E> = Box<dyn Fn(&[u8]) -> Result<Vec<E>, CodecError> + Send + Sync>;
type Tags<E> = Box<dyn Fn(&E) -> Vec<Arc<str>> + Send + Sync>;

impl<E: 'static, C: Codec<E>> Evolution<E, C> {
    /// Writes with `codec`, and reads with it what is not said otherwise.
    #[must_use]
    pub fn of(codec: C) -> Self {
        Self { codec, readers: BTreeMap::new(), tags: None }
    }

    /// Reads what is stored under `manifest` as an `Old` in MessagePack, and makes of it the events it means today.
    #[must_use]
    pub fn reads<Old, Today>(self, manifest: &str, means: impl Fn(Old) -> Today + Send + Sync + 'static) -> Self
    where
        Old: DeserializeOwned + 'static,
        Today: IntoIterator<Item = E>,
    {
        self.reads_bytes(manifest, move |payload| {
            let old = rmp_serde::from_slice(payload).map_err(|error| CodecError(error.to_string()))?;
            Ok(means(old).into_iter().collect())
        })
    }

    /// As [`reads`](Self::reads), for bytes of any kind.
    #[must_use]
    pub fn reads_bytes(
        mut self,
        manifest: &str,
        means: impl Fn(&[u8]) -> Result<Vec<E>, CodecError> + Send + Sync + 'static,
    ) -> Self {
        self.readers.insert(manifest.to_owned(), Box::new(means));
        self
    }

    /// What is stored under `manifest` means nothing any more.
    #[must_use]
    pub fn forgets(self, manifest: &str) -> Self {
        self.reads_bytes(manifest, |_| Ok(Vec::new()))
    }

    /// Stores events under the names that `tags` says.
    #[must_use]
    pub fn tagged(mut self, tags: impl Fn(&E) -> Vec<Arc<str>> + Send + Sync + 'static) -> Self {
        self.tags = Some(Box::new(tags));
        self
    }
}

impl<E: 'static, C: Codec<E>> EventAdapter<E> for Evolution<E, C> {
    fn to_journal(&self, event: &E) -> Result<(Arc<str>, Bytes), CodecError> {
        self.codec.encode(event)
    }

    fn tags(&self, event: &E) -> Vec<Arc<str>> {
        self.tags.as_ref().map_or_else(Vec::new, |tags| tags(event))
    }

    fn read_journal(&self, manifest: &str, payload: &Bytes) -> Result<Vec<E>, CodecError> {
        match self.readers.get(manifest) {
            Some(means) => means(payload),
            None => Ok(vec![self.codec.decode(manifest, payload)?]),
        }
    }
}
