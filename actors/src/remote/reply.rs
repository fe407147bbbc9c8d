//! Answers from and to elsewhere: [`ReplySink`] takes one, [`RemoteReply`] sends one.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Gone;
use crate::ask::{AskError, Outlet};
use crate::port::{Port, Ported};

/// How deep values nest that the format itself does not bound.
const DEPTH_MAX: usize = 400;

/// Where the answer goes that comes from elsewhere, to a [`ReplyTo`](crate::ReplyTo) that went there.
///
/// Dropped without a call the ask stays as it is. Answers are MessagePack with the names of fields.
pub trait ReplySink: Send {
    /// The answer, within [`unpack`](super::unpack). `bytes` are one whole value, checked for what lengths claim and depth.
    ///
    /// # Errors
    /// They are no such answer; the ask has ended with `NoReply`.
    fn answer(self: Box<Self>, bytes: &[u8]) -> Result<(), String>;

    /// There is no answer.
    fn fail(self: Box<Self>, error: AskError);

    /// Whether nobody waits any more.
    fn is_closed(&self) -> bool;
}

/// Sends the answer to a question that came from elsewhere. Called once, `answer` or `fail`.
pub trait RemoteReply: Send + Sync + 'static {
    /// Writes the answer, within [`pack`](super::pack), and sends it. Says what went with it; `None`: nothing was sent.
    fn answer(&self, answer: Writing<'_>) -> Option<Gone>;

    /// Says that there is no answer.
    fn fail(&self, error: AskError);

    /// Whether nobody waits any more.
    fn is_closed(&self) -> bool;
}

/// An answer that can be written.
pub struct Writing<'a>(&'a dyn Fn(&mut dyn io::Write) -> Result<(), String>, &'static str);

impl Writing<'_> {
    /// Appends it to `out`, as MessagePack with the names of fields.
    ///
    /// # Errors
    /// `Serialize` refuses, or `out` does.
    pub fn write(&self, out: &mut dyn io::Write) -> Result<(), String> {
        (self.0)(out)
    }

    /// Its type, for people.
    pub fn type_name(&self) -> &'static str {
        self.1
    }
}

impl fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writing").field(&self.1).finish()
    }
}

pub(super) struct Sink<T>(pub(super) Outlet<T>);

impl<T: DeserializeOwned + Send + 'static> ReplySink for Sink<T> {
    fn answer(self: Box<Self>, bytes: &[u8]) -> Result<(), String> {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
        deserializer.set_max_depth(DEPTH_MAX);
        match T::deserialize(&mut deserializer) {
            Ok(answer) => {
                self.0.complete(Ok(answer));
                Ok(())
            }
            Err(error) => {
                self.0.complete(Err(AskError::NoReply));
                Err(error.to_string())
            }
        }
    }

    fn fail(self: Box<Self>, error: AskError) {
        self.0.complete(Err(error));
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

pub(super) struct RemotePort(pub(super) Arc<dyn RemoteReply>);

impl<T: Serialize + Send + 'static> Port<T> for RemotePort {
    fn complete(this: Arc<Ported<T, Self>>, outcome: Result<T, AskError>) {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => return this.0.fail(error),
        };
        let write = |out: &mut dyn io::Write| {
            let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
            answer.serialize(&mut serializer).map_err(|error| error.to_string())
        };
        if let Some(gone) = this.0.answer(Writing(&write, std::any::type_name::<T>())) {
            gone.drop(answer);
        }
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
