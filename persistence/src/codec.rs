//! Bytes of events, snapshots and states: [`Codec`], MessagePack with versions, and [`Coded`] stores.

use crate::{
    Append, AppendError, BoxFuture, DeleteState, Fence, FenceScope, Journal, JournalError, PersistenceId, PutState,
    RawEvent, RawSnapshot, RawState, ReplayLimit, SnapshotStore, StateStore, Stored, StoredSnapshot, StoredState,
};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, future::ready, marker::PhantomData, ops::Range, sync::Arc};

/// Turns values of `T` into bytes with a manifest, and back.
pub trait Codec<T>: Send + Sync + 'static {
    /// The manifest and bytes to store.
    ///
    /// # Errors
    /// The write is rejected with the error's text: nothing is stored.
    fn encode(&self, value: &T) -> Result<(Arc<str>, Bytes), CodecError>;

    /// Reads what [`encode`](Self::encode) of this or an earlier version wrote.
    ///
    /// # Errors
    /// For a manifest it does not know too: nothing stored is ever skipped.
    fn decode(&self, manifest: &str, payload: &Bytes) -> Result<T, CodecError>;
}

/// Why a value could not be turned into bytes or back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// MessagePack with field and variant names, so that fields may be added (`#[serde(default)]`) and variants reordered.
///
/// The manifest is `name/version`. Raise the version when the meaning changes, and say with [`reads`](Self::reads) how
/// older bytes become today's value.
///
/// ```
/// use persistence::{Codec, MessagePack};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum WalletEvent { Deposited { cents: u64 } }
///
/// let codec = MessagePack::<WalletEvent>::new("wallet.Event", 1);
/// let (manifest, payload) = codec.encode(&WalletEvent::Deposited { cents: 5 })?;
/// assert_eq!(&*manifest, "wallet.Event/1");
/// assert!(matches!(codec.decode(&manifest, &payload)?, WalletEvent::Deposited { cents: 5 }));
/// # Ok::<(), persistence::CodecError>(())
/// ```
pub struct MessagePack<T> {
    manifest: Arc<str>,
    readers: BTreeMap<String, Reader<T>>,
    value: PhantomData<fn() -> T>,
}

type Reader<T> = Box<dyn Fn(&[u8]) -> Result<T, CodecError> + Send + Sync>;

impl<T: Serialize + DeserializeOwned + 'static> MessagePack<T> {
    /// Writes, and reads, `name/version`.
    #[must_use]
    pub fn new(name: &str, version: u32) -> Self {
        let codec = Self { manifest: format!("{name}/{version}").into(), readers: BTreeMap::new(), value: PhantomData };
        let manifest = codec.manifest.to_string();
        codec.reads::<T>(&manifest, |value| value)
    }

    /// Also reads bytes stored under `manifest` as an `Old`, turned into today's value by `upgrade`.
    #[must_use]
    pub fn reads<Old: DeserializeOwned + 'static>(
        mut self,
        manifest: &str,
        upgrade: impl Fn(Old) -> T + Send + Sync + 'static,
    ) -> Self {
        let read = move |payload: &[u8]| {
            rmp_serde::from_slice(payload).map(&upgrade).map_err(|error| CodecError(error.to_string()))
        };
        self.readers.insert(manifest.to_owned(), Box::new(read));
        self
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for MessagePack<T> {
    fn encode(&self, value: &T) -> Result<(Arc<str>, Bytes), CodecError> {
        let payload = rmp_serde::to_vec_named(value).map_err(|error| CodecError(error.to_string()))?;
        Ok((Arc::clone(&self.manifest), payload.into()))
    }

    fn decode(&self, manifest: &str, payload: &Bytes) -> Result<T, CodecError> {
        let Some(read) = self.readers.get(manifest) else {
            let known = self.readers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(CodecError(format!("unknown manifest; this codec reads {known}")));
        };
        read(payload)
    }
}

/// A store of bytes seen as a store of values: [`Journal<E>`] where `C: Codec<E>`, [`SnapshotStore<S>`] and
/// [`StateStore<S>`] where `C: Codec<S>`.
pub struct Coded<J, C> {
    pub(crate) store: J,
    pub(crate) codec: Arc<C>,
}

impl<J, C> Coded<J, C> {
    /// Encodes and decodes with `codec` what `store` keeps.
    pub fn new(store: J, codec: C) -> Self {
        Self { store, codec: Arc::new(codec) }
    }
}

impl<J: Clone, C> Clone for Coded<J, C> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), codec: Arc::clone(&self.codec) }
    }
}

impl<E: 'static, J: Journal<RawEvent>, C: Codec<E>> Journal<E> for Coded<J, C> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.store.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.store.claim_all(entity_type, shards)
    }

    fn append(&self, append: Append<E>) -> BoxFuture<'static, Result<u64, AppendError>> {
        let encode = |event: &E| {
            let (manifest, payload) = self.codec.encode(event)?;
            Ok(RawEvent { manifest, payload, meta: None })
        };
        let events = match append.events.iter().map(encode).collect::<Result<Vec<_>, CodecError>>() {
            Ok(events) => events,
            Err(error) => return ready(Err(AppendError::Rejected { reason: error.0 })).boxed(),
        };
        let Append { id, expected_seq, fence, batch_id, tags, time_ms, events: _ } = append;
        self.store.append(Append { id, expected_seq, fence, batch_id, events, tags, time_ms })
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<E>>, JournalError>> {
        let (page, codec) = (self.store.replay(id.clone(), from, to, limit), Arc::clone(&self.codec));
        decoded_page(id, page, move |raw, _| codec.decode(&raw.manifest, &raw.payload))
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.store.highest_seq(id)
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.store.delete_to(id, seq, fence)
    }
}

impl<S: 'static, J: SnapshotStore<RawSnapshot>, C: Codec<S>> SnapshotStore<S> for Coded<J, C> {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: S,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        match self.codec.encode(&snapshot) {
            Ok((manifest, payload)) => {
                self.store.save(id, seq_nr, fence, time_ms, RawSnapshot { manifest, payload, meta: None })
            }
            Err(error) => ready(Err(AppendError::Rejected { reason: error.0 })).boxed(),
        }
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<S>>, JournalError>> {
        let (loaded, codec) = (self.store.load(id.clone(), max_seq), Arc::clone(&self.codec));
        decoded_snapshot(id, loaded, move |raw| codec.decode(&raw.manifest, &raw.payload))
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.store.delete(id, up_to_seq, fence)
    }
}

impl<S: 'static, J: StateStore<RawState>, C: Codec<S>> StateStore<S> for Coded<J, C> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.store.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.store.claim_all(entity_type, shards)
    }

    fn load(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StoredState<S>>, JournalError>> {
        let (loaded, codec) = (self.store.load(id.clone()), Arc::clone(&self.codec));
        decoded_state(id, loaded, move |raw| codec.decode(&raw.manifest, &raw.payload))
    }

    fn upsert(&self, put: PutState<S>) -> BoxFuture<'static, Result<u64, AppendError>> {
        match self.codec.encode(&put.state) {
            Ok((manifest, payload)) => self.store.upsert(put.map(|_| RawState { manifest, payload, meta: None })),
            Err(error) => ready(Err(AppendError::Rejected { reason: error.0 })).boxed(),
        }
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.store.delete(delete)
    }
}

/// A page of a log, with what `read` makes of each event and its time.
pub(crate) fn decoded_page<E: 'static>(
    id: PersistenceId,
    page: BoxFuture<'static, Result<Vec<Stored<RawEvent>>, JournalError>>,
    read: impl Fn(&RawEvent, u64) -> Result<E, CodecError> + Send + 'static,
) -> BoxFuture<'static, Result<Vec<Stored<E>>, JournalError>> {
    let decode = move |Stored { seq_nr, epoch, time_ms, event: raw }| {
        let event = read(&raw, time_ms).map_err(|error| undecodable(&id, seq_nr, &raw.manifest, error))?;
        Ok(Stored { seq_nr, epoch, time_ms, event })
    };
    async move { page.await?.into_iter().map(decode).collect() }.boxed()
}

/// A snapshot, with what `read` makes of it.
pub(crate) fn decoded_snapshot<S: 'static>(
    id: PersistenceId,
    loaded: BoxFuture<'static, Result<Option<StoredSnapshot<RawSnapshot>>, JournalError>>,
    read: impl FnOnce(&RawSnapshot) -> Result<S, CodecError> + Send + 'static,
) -> BoxFuture<'static, Result<Option<StoredSnapshot<S>>, JournalError>> {
    async move {
        let Some(StoredSnapshot { seq_nr, epoch, time_ms, snapshot: raw }) = loaded.await? else { return Ok(None) };
        let snapshot = read(&raw).map_err(|error| undecodable(&id, seq_nr, &raw.manifest, error))?;
        Ok(Some(StoredSnapshot { seq_nr, epoch, time_ms, snapshot }))
    }
    .boxed()
}

/// A state, with what `read` makes of it.
pub(crate) fn decoded_state<S: 'static>(
    id: PersistenceId,
    loaded: BoxFuture<'static, Result<Option<StoredState<RawState>>, JournalError>>,
    read: impl FnOnce(&RawState) -> Result<S, CodecError> + Send + 'static,
) -> BoxFuture<'static, Result<Option<StoredState<S>>, JournalError>> {
    async move {
        let Some(StoredState { revision, epoch, time_ms, state: raw, marker }) = loaded.await? else { return Ok(None) };
        let decode = |raw: RawState| read(&raw).map_err(|error| undecodable(&id, revision, &raw.manifest, error));
        let state = raw.map(decode).transpose()?;
        Ok(Some(StoredState { revision, epoch, time_ms, state, marker }))
    }
    .boxed()
}

fn undecodable(id: &PersistenceId, seq_nr: u64, manifest: &str, error: CodecError) -> JournalError {
    JournalError::Undecodable { id: id.clone(), seq_nr, manifest: manifest.to_owned(), reason: error.0 }
}
