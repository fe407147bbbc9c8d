//! [`Once`], [`ReplyOnce`]: how an entity's command says that it is to be carried out once.

use super::{CommandId, KeptReply};
use crate::CodecError;
use actors::ReplyTo;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// A command with an id, or the part of it that knows id and asker.
pub trait Once: Send {
    /// Which command it is.
    fn command_id(&self) -> &CommandId;

    /// Answers a repetition with what was answered the first time. Called instead of the command handler.
    ///
    /// # Errors
    /// When `reply` cannot be read or is not kept; the asker hears that there is no answer.
    fn answer_again(&mut self, reply: &KeptReply) -> Result<(), CodecError>;
}

/// A [`ReplyTo`] for the answer to a command with an id: the answer is stored with what the command stores, and given
/// again when the command is sent again.
///
/// See [`EventSourced::once`](crate::EventSourced::once).
#[derive(Debug)]
pub struct ReplyOnce<T> {
    command: CommandId,
    reply_to: Option<ReplyTo<T>>,
}

impl<T: Serialize + DeserializeOwned + Send + 'static> ReplyOnce<T> {
    /// Answers `command` to `reply_to`.
    pub fn new(command: CommandId, reply_to: ReplyTo<T>) -> Self {
        Self { command, reply_to: Some(reply_to) }
    }

    /// The answer as it is kept.
    pub(crate) fn encode(&self, answer: &T) -> Result<Bytes, CodecError> {
        rmp_serde::to_vec_named(answer).map(Bytes::from).map_err(|error| CodecError(error.to_string()))
    }

    pub(crate) fn tell(self, answer: T) {
        if let Some(reply_to) = self.reply_to {
            reply_to.tell(answer);
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Once for ReplyOnce<T> {
    fn command_id(&self) -> &CommandId {
        &self.command
    }

    fn answer_again(&mut self, reply: &KeptReply) -> Result<(), CodecError> {
        let reply_to = self.reply_to.take();
        let answer = match reply {
            KeptReply::Reply(reply) => rmp_serde::from_slice(reply).map_err(|error| CodecError(error.to_string()))?,
            KeptReply::TooLarge { bytes } => {
                return Err(CodecError(format!("an answer of {bytes} bytes is too large to be kept")));
            }
            KeptReply::Nothing => return Err(CodecError("the command was carried out without an answer".to_owned())),
        };
        if let Some(reply_to) = reply_to {
            reply_to.tell(answer);
        }
        Ok(())
    }
}

/// For commands that nobody waits for.
impl Once for CommandId {
    fn command_id(&self) -> &CommandId {
        self
    }

    fn answer_again(&mut self, _reply: &KeptReply) -> Result<(), CodecError> {
        Ok(())
    }
}
