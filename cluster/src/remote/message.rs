//! [`Message`] and [`Head`]: what goes into a frame, so that neither is copied before it is written.

use bytes::Bytes;
use std::ops::Deref;

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

/// A frame to be written: its header is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwritten {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
}

impl Unwritten {
    /// `head`, and then `message`.
    pub(crate) fn new(head: Head, message: Message) -> Self {
        Self { head: head.with(&[message.channel]), body: message.body }
    }

    /// Without the header.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}
