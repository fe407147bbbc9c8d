//! Which consumers a specification asks for, and what is wrong with it (CloudState protocol: grouping and checks).

use std::collections::BTreeMap;
use std::sync::Arc;

use persistence::ProjectionId;

use crate::spec::{EntityType, EventSource, MethodSpec, ServedSpec};

const ANY_TYPE: &str = "google.protobuf.Any";

/// Where events can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// The store can be read across entities.
    pub event_logs: bool,
}

/// The consumers that can be started, and why others cannot.
#[derive(Debug, Default)]
pub struct Plan {
    /// One for each consumer group and source.
    pub consumers: Vec<Arc<Consumer>>,
    /// What is wrong, in the protocol's words. Each names the consumer that is not started for it; others are.
    pub problems: Vec<String>,
    /// What is allowed, but looks like a mistake.
    pub warnings: Vec<String>,
}

/// The methods that handle the events of one source for one consumer group.
#[derive(Debug)]
pub struct Consumer {
    /// Group and persistence id.
    pub projection: ProjectionId,
    by_type: BTreeMap<String, Arc<MethodSpec>>,
    any: Option<Arc<MethodSpec>>,
}

impl Plan {
    /// What `spec` asks for.
    #[must_use]
    pub fn of(spec: &ServedSpec, support: Support) -> Self {
        let mut plan = Self::default();
        let mut groups: BTreeMap<ProjectionId, Vec<Arc<MethodSpec>>> = BTreeMap::new();
        for method in spec.services.iter().flat_map(|service| &service.methods) {
            let Some(input) = method.eventing.as_ref().and_then(|eventing| eventing.input.as_ref()) else { continue };
            let source = match check_source(spec, method, input.source.as_ref(), support) {
                Ok(source) => source,
                Err(problem) => {
                    plan.problems.push(problem);
                    continue;
                }
            };
            if spec.services.iter().all(|service| *service.persistence_id != *source) {
                plan.warnings.push(format!(
                    "{}.{} reads the event log of [{source}], but no service has that persistence id",
                    method.service, method.name
                ));
            }
            let group = match &*input.consumer_group {
                "" => method.service.clone(),
                group => group.into(),
            };
            groups.entry(ProjectionId { group, source: source.into() }).or_default().push(method.clone());
        }
        for (projection, methods) in groups {
            match Consumer::of(projection, methods) {
                Ok(consumer) => plan.consumers.push(Arc::new(consumer)),
                Err(problem) => plan.problems.push(problem),
            }
        }
        plan
    }
}

/// The persistence id whose events are read.
fn check_source<'a>(
    spec: &ServedSpec,
    method: &MethodSpec,
    source: Option<&'a EventSource>,
    support: Support,
) -> Result<&'a str, String> {
    let consumer = format!("Eventing consumer [{}]", method.input.full_name());
    let unsupported =
        |name: &str| format!("{consumer} has declared a [{name}] event source, but this event source isn't supported.");
    let persistence_id = match source {
        None => return Err(format!("{consumer} has declared an input with no source.")),
        Some(EventSource::Topic(name) | EventSource::EventLog(name)) if name.is_empty() => {
            return Err(format!("{consumer} has declared an input with no source."));
        }
        Some(EventSource::Topic(_)) => return Err(unsupported("topic")),
        Some(EventSource::EventLog(_)) if !support.event_logs => return Err(unsupported("event_log")),
        Some(EventSource::EventLog(persistence_id)) => persistence_id,
    };
    let without_log = |kind| matches!(kind, EntityType::ValueEntity | EntityType::Crdt);
    let mut owners = spec.services.iter().filter(|service| *service.persistence_id == **persistence_id);
    let first = owners.next();
    if first.is_some_and(|first| without_log(first.entity_type)) && owners.all(|other| without_log(other.entity_type)) {
        return Err(format!(
            "{consumer} has declared an input of [{persistence_id}], but this does not support being used as an event \
             source."
        ));
    }
    Ok(persistence_id)
}

impl Consumer {
    fn of(projection: ProjectionId, methods: Vec<Arc<MethodSpec>>) -> Result<Self, String> {
        let mut consumer = Self { projection, by_type: BTreeMap::new(), any: None };
        for method in methods {
            let former = match method.input.full_name() {
                ANY_TYPE => consumer.any.replace(method.clone()),
                name => consumer.by_type.insert(name.to_owned(), method.clone()),
            };
            if let Some(former) = former {
                return Err(format!(
                    "Endpoints [{}.{}] and [{}.{}] both subscribe to the same event source with the same input type. If \
                     you wish to define two independent consumers of the same event source, use the consumer_group \
                     annotation on the source to identify them.",
                    former.service, former.name, method.service, method.name
                ));
            }
        }
        Ok(consumer)
    }

    /// The method for events of this type.
    ///
    /// # Errors
    /// The protocol's text when there is none.
    pub fn method(&self, type_url: &str) -> Result<&Arc<MethodSpec>, String> {
        let schemaless = type_url.starts_with("p.cloudstate.io/") || type_url.starts_with("json.cloudstate.io/");
        let name = type_url.split_once('/').map_or(type_url, |(_, name)| name);
        let by_type = if schemaless { None } else { self.by_type.get(name) };
        by_type.or(self.any.as_ref()).ok_or_else(|| {
            format!(
                "No method can be found to handle protobuf type of [{type_url}] on input {}. Either declare a method \
                 for this type, or declare a method that accepts google.protobuf.Any.",
                self.projection.source
            )
        })
    }
}
