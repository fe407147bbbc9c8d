//! Elements, keys and register values.

use std::sync::Arc;

use bytes::Bytes;

/// A value the user function gave: bytes and the name of their type. Two are the same if all bytes are. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// What the bytes are; may be empty.
    pub type_url: Arc<str>,
    /// The bytes, never looked into.
    pub value: Bytes,
}

impl Element {
    /// An element of a type.
    pub fn new(type_url: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self { type_url: type_url.into(), value: value.into() }
    }
}
