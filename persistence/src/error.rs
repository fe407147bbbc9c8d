//! Errors of journals, snapshot stores and state stores: each variant says what happened to the caller's data.

use crate::{Offset, PersistenceId};

/// Why a write (events, snapshot, state, deletion) did not answer "done".
///
/// All but [`Unknown`](Self::Unknown) mean: certainly not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Another writer used the sequence number or revision. Not stored; this writer's state is out of date, so drop it.
    #[error("number {expected} is taken or leaves a gap, the highest stored is {highest}")]
    Conflict {
        /// The first sequence number of the refused batch, or the revision the refused state would have got.
        expected: u64,
        /// The highest one stored.
        highest: u64,
    },
    /// Somebody claimed later. Not stored, and nothing this writer sends will be.
    #[error("epoch {held} is stale, the current one is {current}")]
    Stale {
        /// The epoch of the refused write.
        held: u64,
        /// The epoch now required.
        current: u64,
    },
    /// The store cannot take this write, now or later. Not stored; other writes may go on.
    #[error("write rejected: {reason}")]
    Rejected {
        /// What is wrong with it.
        reason: String,
    },
    /// The store takes no writes at the moment: full disk, read-only, closed. Not stored; retry later.
    #[error("store unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// More writes wait than the store takes. Not stored; it works, so retry soon, and more slowly.
    #[error("store overloaded: {reason}")]
    Overloaded {
        /// Which limit was reached.
        reason: String,
    },
    /// The write may be stored or not. Drop the state and read the store before saying anything more.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// What failed.
        reason: String,
    },
}

/// Why a read or a claim did not succeed. Nothing stored was changed, except that a claim may have taken effect: claim again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The store cannot be asked at the moment. Retry later.
    #[error("store unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// More requests wait than the store takes. It works, so retry soon, and more slowly.
    #[error("store overloaded: {reason}")]
    Overloaded {
        /// Which limit was reached.
        reason: String,
    },
    /// A stored row fails its checksum. Permanent; nothing is repaired by guessing.
    #[error("damaged data of {id} at sequence number {seq_nr} ({place}): {reason}")]
    Damaged {
        /// Whose data.
        id: PersistenceId,
        /// Which event or snapshot.
        seq_nr: u64,
        /// Table and row, for the person who looks into the file.
        place: String,
        /// Which check failed.
        reason: String,
    },
    /// The bytes are intact, but the codec cannot read them. Permanent until a codec that can is deployed.
    #[error("cannot decode {manifest:?} of {id} at sequence number {seq_nr}: {reason}")]
    Undecodable {
        /// Whose data.
        id: PersistenceId,
        /// Which event or snapshot.
        seq_nr: u64,
        /// Manifest stored with it.
        manifest: String,
        /// What the codec said.
        reason: String,
    },
    /// What was asked about is nothing that this store can hold, so nothing is stored under it. Permanent.
    #[error("request rejected: {reason}")]
    Rejected {
        /// Which field, and what is wrong with it.
        reason: String,
    },
    /// The offset comes from another kind of store, or from this one before it was set back to an earlier moment, so there
    /// is no place after it to read from. Nothing is wrong with the data: whoever keeps the offset must set it anew.
    #[error("offset {offset} was not given out by this store, or before it was set back: set the reader's offset anew")]
    ForeignOffset {
        /// The offset.
        offset: Offset,
    },
}

impl AppendError {
    /// Whether the write certainly left nothing behind.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}

impl JournalError {
    /// Whether trying again can only give the same answer.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Unavailable { .. } | Self::Overloaded { .. })
    }
}
