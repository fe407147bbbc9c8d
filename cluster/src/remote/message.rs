//! [`Message`], [`Body`] and [`Head`]: what goes into a frame, so that nothing is copied more often than once.

use super::{frame::HEADER, system_messages::PLAIN, transport::Lane};
use bytes::Bytes;
use std::ops::Deref;

/// A body of so many bytes is not copied behind others but waits, and is written, where it is.
pub(crate) const LARGE: usize = 16 * 1024;

/// Who it is for, in one byte, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) channel: u8,
    pub(crate) body: Bytes,
}

impl Message {
    /// Bytes it takes on the wire.
    pub(crate) fn len(&self) -> usize {
        1 + self.body.len()
    }
}

/// From its bytes on the wire. None make one of none, which nobody takes.
impl From<Bytes> for Message {
    fn from(mut bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self { channel: 0, body: bytes };
        }
        Self { channel: bytes.split_to(1)[0], body: bytes }
    }
}

/// A message's bytes without the channel.
#[derive(Clone, Debug)]
pub(crate) enum Body<'a> {
    /// Copied to where frames wait.
    Small(&'a [u8]),
    /// Kept as it is.
    Large(Bytes),
}

impl<'a> Body<'a> {
    /// Of bytes that somebody else needs again: copied here if they are many.
    pub(crate) fn copied(bytes: &'a [u8]) -> Self {
        if bytes.len() < LARGE { Self::Small(bytes) } else { Self::Large(Bytes::copy_from_slice(bytes)) }
    }

    pub(crate) fn of(bytes: &'a Bytes) -> Self {
        if bytes.len() < LARGE { Self::Small(bytes) } else { Self::Large(bytes.clone()) }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(bytes) => bytes.len(),
            Self::Large(bytes) => bytes.len(),
        }
    }
}

/// The few bytes of a frame before a message's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Head {
    /// A kind, two numbers and a channel.
    pub(crate) const MAX: usize = 1 + 8 + 8 + 1;

    /// Appends `more`.
    ///
    /// # Panics
    /// There are more than [`MAX`](Self::MAX).
    pub(crate) fn with(mut self, more: &[u8]) -> Self {
        let from = usize::from(self.len);
        let to = from + more.len();
        self.bytes[from..to].copy_from_slice(more);
        self.len = to as u8;
        self
    }
}

impl Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What is to be written next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// One frame: its header is not there yet.
    One { head: Head, body: Bytes },
    /// So many frames, with their headers.
    Many { count: usize, bytes: Vec<u8> },
}

impl Unwritten {
    /// `head`, and then `message`.
    pub(crate) fn new(head: Head, message: Message) -> Self {
        Self::One { head: head.with(&[message.channel]), body: message.body }
    }

    /// How many frames.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::One { .. } => 1,
            Self::Many { count, .. } => *count,
        }
    }

    /// How many of them are not sent again if they get lost.
    pub(crate) fn sent_once(&self, lane: Lane) -> usize {
        match self {
            Self::One { head, .. } if lane == Lane::Control && head.first() != Some(&PLAIN) => 0,
            _ => self.count(),
        }
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One { head, body } => HEADER + head.len() + body.len(),
            Self::Many { bytes, .. } => bytes.len(),
        }
    }

    /// The frames, without their headers.
    #[cfg(test)]
    pub(crate) fn frames(self) -> Vec<Bytes> {
        match self {
            Self::One { head, body } => vec![[&head[..], &body[..]].concat().into()],
            Self::Many { bytes, .. } => super::frames::Frames::new(&bytes).map(Bytes::copy_from_slice).collect(),
        }
    }
}
