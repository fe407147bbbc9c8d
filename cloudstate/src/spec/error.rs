//! What can be wrong with a specification, in the words the user function gets to read.

use std::fmt;

use super::EntityType;
use super::template::TemplateError;

/// Why a specification is refused. Its text is what `reportError` carries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The function speaks another version of the protocol.
    #[error("Incompatible protocol version {major}.{minor}, only 0.2 is supported")]
    Version {
        /// What it reported.
        major: i32,
        /// What it reported.
        minor: i32,
    },
    /// `EntitySpec.proto` is not a `google.protobuf.FileDescriptorSet`.
    #[error("EntitySpec.proto is not a google.protobuf.FileDescriptorSet: {reason}")]
    NoDescriptorSet {
        /// What the decoder said.
        reason: String,
    },
    /// Files import each other in a circle; `path` starts with the file met twice.
    #[error("Circular dependency detected in entity spec descriptor: {}", Chain(path))]
    CircularDependency {
        /// The file met twice and its importers, innermost first.
        path: Vec<String>,
    },
    /// A file imports one that is not in the set.
    #[error("Descriptor dependency [{dependency}] not found, dependency path: {}", Chain(path))]
    MissingDependency {
        /// The file that is not there.
        dependency: String,
        /// The file that imports it and its importers, innermost first.
        path: Vec<String>,
    },
    /// The descriptors contradict themselves.
    #[error("EntitySpec.proto cannot be linked: {reason}")]
    Unlinkable {
        /// What the linker said.
        reason: String,
    },
    /// The specification has no entities.
    #[error("No entities were reported by the discover call!")]
    NoEntities,
    /// An entity's service is in none of the files.
    #[error("Service [{service}] not found in descriptors!")]
    UnknownService {
        /// As the entity names it.
        service: String,
    },
    /// An event sourced service and no journal.
    #[error(
        "Service [{service}] has declared an event sourced entity, however, this proxy does not have a \
         configured store, or is using a store that doesn't support event sourced journals. A store that \
         supports journals must be configured in this stateful services resource if event sourcing is to be used."
    )]
    NoJournal {
        /// The service.
        service: String,
    },
    /// An entity type that this proxy does not serve.
    #[error(
        "Service [{service}] has declared an unsupported entity type [{entity_type}]. Supported types are {supported}"
    )]
    UnsupportedType {
        /// The service.
        service: String,
        /// As the entity names it.
        entity_type: String,
        /// What would be served, joined by commas.
        supported: String,
    },
    /// Streamed methods where the entity type allows none.
    #[error(
        "{} but {service} has the following streamed methods: {}",
        streaming_rule(*entity_type), methods.join(",")
    )]
    StreamedMethods {
        /// The type that forbids it.
        entity_type: EntityType,
        /// The service.
        service: String,
        /// The methods in declaration order.
        methods: Vec<String>,
    },
    /// Methods whose requests do not say which entity they are for.
    #[error(
        "{} entities do not support methods whose parameters do not have at least one field marked as \
         entity_key, but {service} has the following methods without keys: {}",
        kind_name(*entity_type), methods.join(",")
    )]
    MissingKeys {
        /// The type that needs keys.
        entity_type: EntityType,
        /// The service.
        service: String,
        /// The methods in declaration order.
        methods: Vec<String>,
    },
    /// A key field whose values have no text form.
    #[error(
        "Field [{field}] is marked as entity_key but {problem}; \
         a key is a singular string, integer, bool, float or enum field"
    )]
    KeyType {
        /// Full name of the field.
        field: String,
        /// What it is instead.
        problem: String,
    },
    /// A CRDT service of the older dialect.
    #[error(
        "Service [{service}] is a CRDT of the older protocol dialect (its keys are marked with option 50002), whose \
         messages clash with version 0.2; upgrade the support library to one that speaks 0.2"
    )]
    OldCrdt {
        /// The service.
        service: String,
    },
    /// The same service twice.
    #[error("Service [{service}] is declared by more than one entity; declare each service once")]
    DuplicateService {
        /// The service.
        service: String,
    },
    /// Two services would store their state in the same place.
    #[error(
        "Services [{first}] and [{second}] both have the persistence id [{persistence_id}], so their entities would \
         overwrite each other's state; give each service a persistence id of its own"
    )]
    DuplicatePersistenceId {
        /// The id.
        persistence_id: String,
        /// The service that is listed first.
        first: String,
        /// The other.
        second: String,
    },
    /// State would be stored without a namespace.
    #[error("Service [{service}] has no persistence id; set one, it names where the state is stored")]
    NoPersistenceId {
        /// The service.
        service: String,
    },
    /// The id holds the mark that ends it in the store.
    #[error(
        "Service [{service}] has the persistence id [{persistence_id}], which contains `|`; the store separates it from \
         the entity's id by that, choose an id without it"
    )]
    PersistenceIdWithSeparator {
        /// The service.
        service: String,
        /// The id.
        persistence_id: String,
    },
    /// A `google.api.http` rule that cannot be served.
    #[error("HTTP API Config: {0}")]
    Http(String),
    /// A path template that does not parse.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A method that reads from a topic and publishes into it.
    #[error("Endpoint [{method}] has the same input topic as output topic [{topic}], this is not allowed.")]
    SameTopic {
        /// Full name of the method.
        method: String,
        /// The topic.
        topic: String,
    },
    /// A method whose replies are to be published, and no broker.
    #[error(
        "Service call [{method}] declares an event destination topic of [{topic}], but no topic support is configured."
    )]
    NoTopicSupport {
        /// Full name of the method.
        method: String,
        /// The topic.
        topic: String,
    },
    /// A method whose replies are to be published nowhere.
    #[error("Service call [{method}] has declared an event out with no topic.")]
    OutputWithoutTopic {
        /// Full name of the method.
        method: String,
    },
    /// An option whose bytes do not parse.
    #[error("Option [{option}] of [{place}] is malformed: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// Full name of what carries it.
        place: String,
        /// What the decoder said.
        reason: String,
    },
}

/// `[a] -> [b]`.
struct Chain<'a>(&'a [String]);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let arrow = if index == 0 { "" } else { " -> " };
            write!(f, "{arrow}[{name}]")?;
        }
        Ok(())
    }
}

fn streaming_rule(entity_type: EntityType) -> String {
    match entity_type {
        EntityType::Crdt => "CRDT entities do not support streaming in from the client,".to_owned(),
        other => format!("{} entities do not support streamed methods,", kind_name(other)),
    }
}

fn kind_name(entity_type: EntityType) -> &'static str {
    match entity_type {
        EntityType::EventSourced => "Event sourced",
        EntityType::ValueEntity => "Value based",
        EntityType::Crdt => "CRDT",
        EntityType::Action => "Action",
    }
}
