//! Commands with an id: carried out once, however often they are sent.
//!
//! What was answered is stored with what the command changed, in the same write, so that after any failure either both
//! are there or neither. [`CommandWindow`] holds the latest answers of an entity; its snapshots carry it on.

mod once;
mod repeated;
mod window;
mod wire;

pub use once::{Once, ReplyOnce};
pub(crate) use repeated::{Repeated, repeated};
pub use window::{CommandWindow, Found, WindowLimits};
pub use wire::{decode_answered, decode_window, encode_answered, encode_window};

use bytes::Bytes;
use std::sync::Arc;

/// Names a command of one entity. The sender chooses it, and sends it again with each repetition.
///
/// The fingerprint says what the command asks for. One id with two fingerprints is a mistake of the sender, which is
/// refused rather than answered with the reply to something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandId {
    id: Arc<str>,
    fingerprint: u128,
}

/// A command that was carried out, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Which command.
    pub command: CommandId,
    /// Its answer.
    pub reply: KeptReply,
    /// Wall clock, ms since 1970.
    pub time_ms: u64,
}

/// What is known of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptReply {
    /// The command has none.
    Nothing,
    /// As it was encoded.
    Reply(Bytes),
    /// It was larger than is kept ([`WindowLimits::reply_bytes`]): that the command was carried out is known, no more.
    TooLarge {
        /// How large.
        bytes: u64,
    },
}

/// Bytes a command's id may have.
pub(crate) const ID_BYTES_MAX: usize = 256;

impl CommandId {
    /// A command that is told from others by its id alone.
    ///
    /// # Panics
    /// When `id` is empty or longer than 256 bytes; [`try_of`](Self::try_of) is for ids of strangers.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self::of(id, &[])
    }

    /// A command that says `contents`: whoever uses its id for other contents is refused.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn of(id: &str, contents: &[&[u8]]) -> Self {
        Self::try_of(id, contents).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`of`](Self::of), for ids that come from elsewhere.
    ///
    /// # Errors
    /// [`InvalidCommandId`] when `id` is empty or longer than 256 bytes.
    pub fn try_of(id: &str, contents: &[&[u8]]) -> Result<Self, InvalidCommandId> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(InvalidCommandId { bytes: id.len() });
        }
        let fingerprint = if contents.is_empty() { 0 } else { fingerprint(contents) };
        Ok(Self { id: id.into(), fingerprint })
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// The same for the same contents, on every machine and in every version; 0 without contents.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }
}

/// A command's id is empty or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a command id has 1 to {ID_BYTES_MAX} bytes, this one has {bytes}")]
pub struct InvalidCommandId {
    /// How many it has.
    pub bytes: usize,
}

impl Answered {
    /// Bytes this weighs against [`WindowLimits::bytes`].
    #[must_use]
    pub fn weight(&self) -> usize {
        const EACH: usize = 48;
        let reply = if let KeptReply::Reply(reply) = &self.reply { reply.len() } else { 0 };
        EACH + self.command.id.len() + reply
    }
}

/// Two independent sums of 64 bits, over each part and its length. Stored: never to be changed.
fn fingerprint(contents: &[&[u8]]) -> u128 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (mut fnv, mut crc, mut length) = (0xcbf2_9ce4_8422_2325_u64, 0_u32, 0_u32);
    for part in contents {
        let len = (part.len() as u64).to_le_bytes();
        for byte in len.iter().chain(*part) {
            fnv = (fnv ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &len), part);
        length = length.wrapping_add(part.len() as u32);
    }
    (u128::from(fnv) << 64) | (u128::from(crc) << 32) | u128::from(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_never_change_between_versions() {
        // Stored beside the answers: after a change here no repetition would be recognised.
        let id = CommandId::of("7", &[b"Withdraw", b"\x08\x05"]);
        assert_eq!(id.fingerprint(), 0xdc90_dc36_e34a_5f3e_4169_f206_0000_000a);
        assert_ne!(CommandId::of("7", &[b"Withdraw", b"\x08\x06"]), id);
        assert_ne!(CommandId::of("7", &[b"Withdraw\x08", b"\x05"]), id, "where a part ends counts");
        assert_eq!(CommandId::new("7").fingerprint(), 0);
    }

    #[test]
    fn ids_are_bounded() {
        assert_eq!(CommandId::try_of("", &[]), Err(InvalidCommandId { bytes: 0 }));
        assert_eq!(CommandId::try_of(&"x".repeat(257), &[]), Err(InvalidCommandId { bytes: 257 }));
        assert!(CommandId::try_of(&"x".repeat(256), &[]).is_ok());
    }
}
