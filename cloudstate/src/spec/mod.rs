//! What the user function serves: its checked specification.
//!
//! Everything here is pure. [`ServedSpec::check`] turns the answer of `discover` into services and
//! methods, or says what is wrong with it in the words of the CloudState protocol.

mod any_values;
mod check;
mod compatible;
mod descriptors;
mod error;
mod http_rule;
mod key;
mod options;
mod template;
pub(crate) mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use proto::cloudstate::ServiceInfo;

pub use any_values::JSON_VALUE;
pub use descriptors::{RawFile, pool_of};
pub use error::SpecError;
pub use http_rule::{Body, HttpBinding, HttpMethod, ResponseBody};
pub use key::{EntityKey, KEY_BYTES_MAX, KeyError};
pub use options::{EventDestination, EventInput, EventOutput, EventSource, Eventing};
pub use template::{PathTemplate, Segment, TemplateError, Variable};

/// Everything the user function serves, checked.
#[derive(Clone, Debug)]
pub struct ServedSpec {
    /// The services in the order of the specification.
    pub services: Vec<Arc<ServiceSpec>>,
    /// All descriptors of the specification.
    pub pool: DescriptorPool,
    /// The files of the specification in import order, duplicates removed, with all their options.
    pub files: Vec<RawFile>,
    /// `files` as one serialised `google.protobuf.FileDescriptorSet`.
    pub file_set: Bytes,
    /// Who the user function says it is.
    pub info: ServiceInfo,
    /// What is tolerated but should be mended, for the log.
    pub warnings: Vec<String>,
    by_name: HashMap<Arc<str>, ServiceEntry>,
}

/// One service of the user function, bound to an entity type.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Full name, as in the specification.
    pub name: Arc<str>,
    /// What kind of entity serves it.
    pub entity_type: EntityType,
    /// Namespace of its stored state; may be empty for actions and CRDTs.
    pub persistence_id: Arc<str>,
    /// Idle time before an entity is passivated; `None`: the proxy's default.
    pub passivation_timeout: Option<Duration>,
    /// How long its callers wait when they do not say; `None`: the proxy's default.
    pub relay_timeout: Option<Duration>,
    /// Its methods in declaration order.
    pub methods: Vec<Arc<MethodSpec>>,
}

/// One method of a served service.
#[derive(Clone, Debug)]
pub struct MethodSpec {
    /// Full name of the service.
    pub service: Arc<str>,
    /// Bare name of the method.
    pub name: Arc<str>,
    /// What kind of entity serves it.
    pub entity_type: EntityType,
    /// The request message.
    pub input: MessageDescriptor,
    /// The reply message.
    pub output: MessageDescriptor,
    /// `type.googleapis.com/<full name of the input type>`.
    pub input_type_url: Arc<str>,
    /// `type.googleapis.com/<full name of the output type>`.
    pub output_type_url: Arc<str>,
    /// How long callers wait when they do not say; `None`: the proxy's default.
    pub relay_timeout: Option<Duration>,
    /// Whether the client may send any number of messages.
    pub client_streaming: bool,
    /// Whether the client gets any number of replies.
    pub server_streaming: bool,
    /// How to tell which entity a request is for; without fields for actions.
    pub key: EntityKey,
    /// The HTTP endpoints: those of its `google.api.http` option, or the generated one.
    pub http: Vec<HttpBinding>,
    /// The option `cloudstate.eventing`, if set.
    pub eventing: Option<Eventing>,
}

/// The kinds of services a user function may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityType {
    /// State is a log of events.
    EventSourced,
    /// State is one value.
    ValueEntity,
    /// State is replicated and merges.
    Crdt,
    /// No state.
    Action,
}

/// What [`ServedSpec::check`] accepts.
#[derive(Clone, Debug)]
pub struct SpecSettings {
    /// Refuse a function that reports no protocol version. Default false: accepted with a warning.
    pub strict_version: bool,
    /// Accept every protocol version, with a warning. Default false; `strict_version` wins.
    pub any_version: bool,
    /// The entity types this proxy can serve.
    pub supported: Vec<EntityType>,
    /// Whether topics of a broker can be read and written. Default false: no broker is supported yet.
    pub topics: bool,
    /// How long callers of single services wait when they do not say, by full service name.
    pub relay_timeouts: BTreeMap<String, Duration>,
}

#[derive(Clone, Debug)]
struct ServiceEntry {
    service: Arc<ServiceSpec>,
    methods: HashMap<Arc<str>, Arc<MethodSpec>>,
}

impl ServedSpec {
    /// The served service with this full name.
    pub fn service(&self, name: &str) -> Option<&Arc<ServiceSpec>> {
        self.by_name.get(name).map(|entry| &entry.service)
    }

    /// The method `method` of the served service `service`.
    pub fn method(&self, service: &str, method: &str) -> Option<&Arc<MethodSpec>> {
        self.by_name.get(service)?.methods.get(method)
    }
}

impl MethodSpec {
    /// `/<service>/<method>`: the path of a gRPC call.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service, self.name)
    }
}

impl EntityType {
    /// All of them, in the order in which the protocol's texts list them.
    pub const ALL: [EntityType; 4] =
        [EntityType::Crdt, EntityType::Action, EntityType::EventSourced, EntityType::ValueEntity];

    /// Full name of the protocol service.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntityType::EventSourced => "cloudstate.eventsourced.EventSourced",
            EntityType::ValueEntity => "cloudstate.valueentity.ValueEntity",
            EntityType::Crdt => "cloudstate.crdt.Crdt",
            EntityType::Action => "cloudstate.action.ActionProtocol",
        }
    }

    /// The type with this protocol service name.
    pub fn from_name(name: &str) -> Option<Self> {
        EntityType::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for SpecSettings {
    fn default() -> Self {
        Self {
            strict_version: false,
            any_version: false,
            supported: EntityType::ALL.to_vec(),
            topics: false,
            relay_timeouts: BTreeMap::new(),
        }
    }
}
