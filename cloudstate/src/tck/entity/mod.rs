//! What the tests of the three kinds of entity share: expected replies, conversations with the user function, and
//! streams watched by the interceptor, in the protocol's short notation.
//!
//! `c` is a command, `r` a reply, `fwd` a forward and `f` a failure; ids count up by themselves.

mod expected;
mod script;
mod watched;

pub(super) use expected::side_effect;
pub use expected::{Answer, Expected, f, f_restart, fwd, nothing};
pub use script::{Script, play};
pub use watched::Watched;

use std::fmt::Debug;

use proto::Any;
use proto::cloudstate::{ClientAction, Command, SideEffect};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::engine::{Call, Compared, Conversation, Recorded};

/// One kind of entity: its part of the protocol and its model services.
pub trait Kind: Copy + Debug + 'static {
    /// Messages towards the user function.
    type In: Compared;
    /// Messages from the user function.
    type Out: Compared;
    /// What an entity starts from, apart from its id.
    type Start: Clone + Default + Debug + Send;
    /// What a reply says apart from client action and side effects.
    type Effect: Clone + Default + Debug + Send;
    /// One step that a request asks for.
    type Action: Clone + Debug + Send;
    /// The request of the model's methods.
    type Request: prost::Message + Default + Clone + Debug + 'static;
    /// Their response.
    type Response: Compared;

    /// The package of the model's messages.
    const PACKAGE: &'static str;
    /// The service under test.
    const MODEL: &'static str;
    /// The service that forwards and side effects go to.
    const TWO: &'static str;

    /// Opens a stream to the user function.
    fn open(
        function: Channel,
        requests: ReceiverStream<Self::In>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Out>>, Status>> + Send + 'static;

    /// The recorded stream, if the call is one of this kind.
    ///
    /// # Errors
    /// Gives back a call of another kind.
    fn recorded(call: Call) -> Result<Recorded<Self::In, Self::Out>, Call>;

    /// The first message of a stream.
    fn init(service: &str, id: &str, start: Self::Start) -> Self::In;

    /// A command.
    fn command(command: Command) -> Self::In;

    /// A reply.
    fn reply(id: i64, action: Option<ClientAction>, side_effects: Vec<SideEffect>, effect: Self::Effect) -> Self::Out;

    /// A request of the model's methods.
    fn request(id: &str, actions: Vec<Self::Action>) -> Self::Request;
}

/// One entity of a model service.
#[derive(Debug, Clone)]
pub struct Entity {
    /// The service.
    pub service: &'static str,
    /// The entity's id.
    pub id: String,
}

impl Entity {
    /// `id` of `service`.
    pub fn new(service: &'static str, id: impl Into<String>) -> Self {
        Self { service, id: id.into() }
    }

    /// The first message of its stream.
    #[must_use]
    pub fn init<K: Kind>(&self, start: K::Start) -> K::In {
        K::init(self.service, &self.id, start)
    }

    /// A command of the method `name`.
    pub fn command<K: Kind>(&self, id: i64, name: &str, actions: impl Into<Vec<K::Action>>) -> K::In {
        self.payload::<K>(id, name, request::<K>(&self.id, actions), false)
    }

    /// A command with this payload.
    #[must_use]
    pub fn payload<K: Kind>(&self, id: i64, name: &str, payload: Any, streamed: bool) -> K::In {
        let (entity_id, name) = (self.id.clone(), name.to_owned());
        K::command(Command { entity_id, id, name, payload: Some(payload), streamed, metadata: None })
    }

    /// A stream to it that the suite opens itself.
    #[must_use]
    pub fn talk<K: Kind>(&self, function: &Channel) -> Conversation<K::In, K::Out> {
        let function = function.clone();
        Conversation::open(move |requests| K::open(function, requests))
    }
}

/// A packed request.
pub fn request<K: Kind>(id: &str, actions: impl Into<Vec<K::Action>>) -> Any {
    packed::<K>("Request", &K::request(id, actions.into()))
}

/// A message of the model's package as payload.
pub(super) fn packed<K: Kind>(name: &str, message: &impl prost::Message) -> Any {
    Any::pack(&format!("{}.{name}", K::PACKAGE), message)
}
