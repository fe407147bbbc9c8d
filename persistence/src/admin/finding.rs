//! [`Finding`]: one thing that is wrong with a store, or may be.

use serde::Serialize;
use std::fmt;

/// One thing that is wrong with a store, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of row it is about.
    pub subject: Subject,
    /// Whose data, or which projection; empty for the store as a whole.
    pub of: String,
    /// The sequence number or revision, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq_nr: Option<u64>,
    /// Table and row, for the person who looks into the database.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// It may be meant so and does not make a store unsound: copies are made, imports are taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warning: bool,
}

/// What a [`Finding`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Subject {
    /// The database itself, below its tables.
    Database,
    /// An entity's row: its name, epoch, what is deleted.
    Entity,
    /// An event.
    Event,
    /// A tag of an event.
    Tag,
    /// A snapshot.
    Snapshot,
    /// A state.
    State,
    /// The owner of a shard.
    Owner,
    /// A projection's offset.
    Projection,
    /// A parked event.
    Parked,
}

impl Finding {
    pub(crate) fn new(subject: Subject, of: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { subject, of: of.into(), seq_nr: None, place: String::new(), reason: reason.into(), warning: false }
    }

    pub(crate) fn into_warning(self) -> Self {
        Self { warning: true, ..self }
    }

    pub(crate) fn at(self, seq_nr: u64, place: impl Into<String>) -> Self {
        Self { seq_nr: Some(seq_nr), place: place.into(), ..self }
    }

    pub(crate) fn in_row(self, place: impl Into<String>) -> Self {
        Self { place: place.into(), ..self }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database => "database",
            Self::Entity => "entity",
            Self::Event => "event",
            Self::Tag => "tag",
            Self::Snapshot => "snapshot",
            Self::State => "state",
            Self::Owner => "owner",
            Self::Projection => "projection",
            Self::Parked => "parked event",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.warning {
            f.write_str("warning: ")?;
        }
        write!(f, "{}", self.subject)?;
        if !self.of.is_empty() {
            write!(f, " {}", self.of)?;
        }
        if let Some(seq_nr) = self.seq_nr {
            write!(f, " #{seq_nr}")?;
        }
        if !self.place.is_empty() {
            write!(f, " ({})", self.place)?;
        }
        write!(f, ": {}", self.reason)
    }
}
