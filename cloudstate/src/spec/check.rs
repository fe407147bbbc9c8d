//! All checks of a specification, in the order of the protocol.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use proto::cloudstate::entity_passivation_strategy::Strategy;
use proto::cloudstate::{Entity, EntitySpec, ServiceInfo};

use super::descriptors::{self, RawFile};
use super::error::SpecError;
use super::key::{EntityKey, in_declaration_order};
use super::options::{self, KeyMark};
use super::{
    EntityType, EventDestination, EventSource, MethodSpec, ServedSpec, ServiceEntry, ServiceSpec, SpecSettings,
    http_rule,
};

const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

impl ServedSpec {
    /// Checks `spec`: version, descriptors, entities, keys and HTTP rules.
    ///
    /// # Errors
    /// The first check that fails; the text of the error is meant for the user function.
    pub fn check(spec: &EntitySpec, settings: &SpecSettings) -> Result<ServedSpec, SpecError> {
        let info = spec.service_info.clone().unwrap_or_default();
        let mut warnings = Vec::new();
        let dialect = check_version(&info, settings, &mut warnings)?;

        let files = descriptors::link(descriptors::parse(&spec.proto)?)?;
        if spec.entities.is_empty() {
            return Err(SpecError::NoEntities);
        }
        let names: Vec<&str> = spec.entities.iter().map(|entity| entity.service_name.as_str()).collect();
        let (pool, files, warning) = descriptors::pool(files, &names)?;
        warnings.extend(warning);

        let checker = Checker { pool: &pool, files: by_name(&files), settings, dialect };
        let mut services: Vec<Arc<ServiceSpec>> = Vec::with_capacity(spec.entities.len());
        for entity in &spec.entities {
            let service = checker.service(entity, &mut warnings)?;
            if services.iter().any(|other| other.name == service.name) {
                return Err(SpecError::DuplicateService { service: entity.service_name.clone() });
            }
            services.push(Arc::new(service));
        }
        check_persistence_ids(&services)?;
        check_outputs(&services, settings.topics)?;
        let unknown = settings.relay_timeouts.keys().filter(|name| services.iter().all(|it| *it.name != ***name));
        warnings
            .extend(unknown.map(|name| format!("relay-timeouts names {name}, which the user function does not serve")));

        let by_name = services.iter().map(service_entry).collect();
        let file_set = descriptors::encode(&files);
        Ok(ServedSpec { services, pool, files, file_set, info, warnings, by_name })
    }
}

/// Which generation of support libraries the function was built with.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    Current,
    /// It reports no version.
    Unknown,
}

struct Checker<'a> {
    pool: &'a DescriptorPool,
    files: HashMap<&'a str, &'a RawFile>,
    settings: &'a SpecSettings,
    dialect: Dialect,
}

impl Checker<'_> {
    fn service(&self, entity: &Entity, warnings: &mut Vec<String>) -> Result<ServiceSpec, SpecError> {
        let name = &entity.service_name;
        let descriptor =
            self.pool.get_service_by_name(name).ok_or_else(|| SpecError::UnknownService { service: name.clone() })?;
        let entity_type = self.entity_type(entity)?;
        check_streaming(&descriptor, entity_type)?;
        let name: Arc<str> = name.as_str().into();
        let methods = self.methods(&descriptor, &name, entity_type)?;
        Ok(ServiceSpec {
            name,
            entity_type,
            persistence_id: entity.persistence_id.as_str().into(),
            passivation_timeout: passivation_timeout(entity, entity_type, warnings),
            relay_timeout: self.settings.relay_timeouts.get(&entity.service_name).copied(),
            methods,
        })
    }

    fn entity_type(&self, entity: &Entity) -> Result<EntityType, SpecError> {
        let service = entity.service_name.clone();
        let supported = &self.settings.supported;
        match EntityType::from_name(&entity.entity_type) {
            Some(known) if supported.contains(&known) => Ok(known),
            Some(EntityType::EventSourced) => Err(SpecError::NoJournal { service }),
            _ => {
                let names = EntityType::ALL.into_iter().filter(|known| supported.contains(known));
                Err(SpecError::UnsupportedType {
                    service,
                    entity_type: entity.entity_type.clone(),
                    supported: names.map(EntityType::as_str).collect::<Vec<_>>().join(","),
                })
            }
        }
    }

    fn methods(
        &self,
        service: &ServiceDescriptor,
        name: &Arc<str>,
        entity_type: EntityType,
    ) -> Result<Vec<Arc<MethodSpec>>, SpecError> {
        let needs_key = entity_type != EntityType::Action;
        let mut keys = Vec::new();
        let mut without_key = Vec::new();
        for method in service.methods() {
            let fields = self.key_fields(&method, entity_type)?;
            if needs_key && fields.is_empty() {
                without_key.push(method.name().to_owned());
            }
            keys.push(fields);
        }
        if !without_key.is_empty() {
            let service = service.full_name().to_owned();
            return Err(SpecError::MissingKeys { entity_type, service, methods: without_key });
        }
        let build = |(method, fields): (MethodDescriptor, Vec<_>)| {
            let key = EntityKey::new(if needs_key { &fields } else { &[] })?;
            self.method(&method, name, entity_type, key).map(Arc::new)
        };
        service.methods().zip(keys).map(build).collect()
    }

    fn key_fields(
        &self,
        method: &MethodDescriptor,
        entity_type: EntityType,
    ) -> Result<Vec<prost_reflect::FieldDescriptor>, SpecError> {
        let input = method.input();
        let file = self.file(input.parent_file().name());
        let marks = options::key_marks(file, &input)?;
        let old = marks.values().any(|mark| *mark == KeyMark::Legacy);
        if old && entity_type == EntityType::Crdt && self.dialect == Dialect::Unknown {
            let service = method.parent_service().full_name().to_owned();
            return Err(SpecError::OldCrdt { service });
        }
        Ok(in_declaration_order(&input, |field| marks.contains_key(&field.number())))
    }

    fn method(
        &self,
        method: &MethodDescriptor,
        service: &Arc<str>,
        entity_type: EntityType,
        key: EntityKey,
    ) -> Result<MethodSpec, SpecError> {
        let file = self.file(method.parent_file().name());
        let rule = options::http_rule(file, method)?;
        let (input, output) = (method.input(), method.output());
        Ok(MethodSpec {
            service: service.clone(),
            name: method.name().into(),
            entity_type,
            input_type_url: format!("{TYPE_URL_PREFIX}{}", input.full_name()).into(),
            output_type_url: format!("{TYPE_URL_PREFIX}{}", output.full_name()).into(),
            input,
            output,
            relay_timeout: self.settings.relay_timeouts.get(&**service).copied(),
            client_streaming: method.is_client_streaming(),
            server_streaming: method.is_server_streaming(),
            key,
            http: http_rule::bindings(method, rule.as_ref())?,
            eventing: options::eventing(file, method)?,
        })
    }

    /// Every descriptor of the pool comes from one of the files.
    fn file(&self, name: &str) -> &RawFile {
        self.files[name]
    }
}

fn check_version(
    info: &ServiceInfo,
    settings: &SpecSettings,
    warnings: &mut Vec<String>,
) -> Result<Dialect, SpecError> {
    let (major, minor) = (info.protocol_major_version, info.protocol_minor_version);
    match (major, minor) {
        (0, 2) => Ok(Dialect::Current),
        _ if settings.strict_version => Err(SpecError::Version { major, minor }),
        (0, 0) => {
            warnings.push("the user function reports no protocol version; served as version 0.2".to_owned());
            Ok(Dialect::Unknown)
        }
        (0, 3..) => {
            warnings.push(format!("the user function speaks protocol version {major}.{minor}; served as 0.2"));
            Ok(Dialect::Current)
        }
        _ if settings.any_version => {
            warnings.push(format!(
                "the user function speaks protocol version {major}.{minor}; served as 0.2 because the check is off"
            ));
            Ok(Dialect::Unknown)
        }
        _ => Err(SpecError::Version { major, minor }),
    }
}

fn check_streaming(service: &ServiceDescriptor, entity_type: EntityType) -> Result<(), SpecError> {
    let refused = |method: &MethodDescriptor| match entity_type {
        EntityType::Action => false,
        EntityType::Crdt => method.is_client_streaming(),
        EntityType::EventSourced | EntityType::ValueEntity => {
            method.is_client_streaming() || method.is_server_streaming()
        }
    };
    let methods: Vec<String> = service.methods().filter(refused).map(|method| method.name().to_owned()).collect();
    if methods.is_empty() {
        return Ok(());
    }
    let service = service.full_name().to_owned();
    Err(SpecError::StreamedMethods { entity_type, service, methods })
}

/// State of two services under one id would overwrite each other. CRDTs may share, actions have none.
fn check_persistence_ids(services: &[Arc<ServiceSpec>]) -> Result<(), SpecError> {
    let mut owners: HashMap<&str, &ServiceSpec> = HashMap::new();
    let persistent =
        |service: &&Arc<ServiceSpec>| matches!(service.entity_type, EntityType::EventSourced | EntityType::ValueEntity);
    for service in services.iter().filter(persistent) {
        if service.persistence_id.is_empty() {
            return Err(SpecError::NoPersistenceId { service: service.name.to_string() });
        }
        if service.persistence_id.contains('|') {
            return Err(SpecError::PersistenceIdWithSeparator {
                service: service.name.to_string(),
                persistence_id: service.persistence_id.to_string(),
            });
        }
        if let Some(first) = owners.insert(&service.persistence_id, service) {
            return Err(SpecError::DuplicatePersistenceId {
                persistence_id: service.persistence_id.to_string(),
                first: first.name.to_string(),
                second: service.name.to_string(),
            });
        }
    }
    Ok(())
}

/// Replies can only be published where there is a broker, and not into the topic they come from.
fn check_outputs(services: &[Arc<ServiceSpec>], topics: bool) -> Result<(), SpecError> {
    for method in services.iter().flat_map(|service| &service.methods) {
        let Some(eventing) = &method.eventing else { continue };
        let Some(output) = &eventing.output else { continue };
        let name = format!("{}.{}", method.service, method.name);
        let Some(EventDestination::Topic(topic)) = output.destination.clone() else {
            return Err(SpecError::OutputWithoutTopic { method: name });
        };
        let source = eventing.input.as_ref().and_then(|input| input.source.as_ref());
        if source == Some(&EventSource::Topic(topic.clone())) {
            return Err(SpecError::SameTopic { method: name, topic });
        }
        if !topics {
            return Err(SpecError::NoTopicSupport { method: name, topic });
        }
    }
    Ok(())
}

fn passivation_timeout(entity: &Entity, entity_type: EntityType, warnings: &mut Vec<String>) -> Option<Duration> {
    let Some(Strategy::Timeout(timeout)) = entity.passivation_strategy.as_ref()?.strategy.as_ref() else {
        return None;
    };
    match u64::try_from(timeout.timeout) {
        _ if entity_type == EntityType::Action => None,
        Ok(millis @ 1..) => Some(Duration::from_millis(millis)),
        _ => {
            warnings.push(format!(
                "service [{}] asks for a passivation timeout of {} ms; the default is used",
                entity.service_name, timeout.timeout
            ));
            None
        }
    }
}

fn by_name(files: &[RawFile]) -> HashMap<&str, &RawFile> {
    files.iter().map(|file| (&*file.name, file)).collect()
}

fn service_entry(service: &Arc<ServiceSpec>) -> (Arc<str>, ServiceEntry) {
    let methods = service.methods.iter().map(|method| (method.name.clone(), method.clone())).collect();
    (service.name.clone(), ServiceEntry { service: service.clone(), methods })
}
