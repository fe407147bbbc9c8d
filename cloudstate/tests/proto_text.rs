//! Specifications as a user function would send them, from .proto text.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cloudstate::spec::{EntityType, ServedSpec, SpecError, SpecSettings};
use proto::cloudstate::{Entity, EntitySpec, ServiceInfo};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

pub(crate) const EVENT_SOURCED: &str = EntityType::EventSourced.as_str();
pub(crate) const VALUE_ENTITY: &str = EntityType::ValueEntity.as_str();
pub(crate) const CRDT: &str = EntityType::Crdt.as_str();
pub(crate) const ACTION: &str = EntityType::Action.as_str();

/// What the services of most tests start with.
pub(crate) const HEAD: &str = r#"
    syntax = "proto3";
    package shop;
    import "cloudstate/entity_key.proto";
    import "cloudstate/legacy_entity_key.proto";
    import "cloudstate/eventing.proto";
    import "google/api/annotations.proto";
    import "google/api/httpbody.proto";
    import "google/protobuf/any.proto";
    import "google/protobuf/empty.proto";
    import "google/protobuf/timestamp.proto";
    message Key { string id = 1 [(.cloudstate.entity_key) = true]; }
    message Old { string id = 1 [(.cloudstate.legacy_entity_key) = true]; }
    message Plain { string id = 1; }
"#;

struct Sources(HashMap<String, String>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(source) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The descriptor set of `files` (name, text) and all that they import.
pub(crate) fn compile(files: &[(&str, &str)]) -> Bytes {
    let sources = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut resolver = ChainFileResolver::new();
    resolver.add(Sources(sources));
    resolver.add(IncludeFileResolver::new(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto"))));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    for (name, _) in files {
        compiler.open_file(name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    compiler.encode_file_descriptor_set().into()
}

/// A specification of version 0.2.
pub(crate) fn entity_spec(proto: Bytes, entities: &[(&str, &str, &str)]) -> EntitySpec {
    let entity = |(entity_type, service, persistence_id): &(&str, &str, &str)| Entity {
        entity_type: (*entity_type).to_owned(),
        service_name: (*service).to_owned(),
        persistence_id: (*persistence_id).to_owned(),
        passivation_strategy: None,
    };
    EntitySpec {
        proto,
        entities: entities.iter().map(entity).collect(),
        service_info: Some(ServiceInfo { protocol_minor_version: 2, ..Default::default() }),
    }
}

/// One file, [`HEAD`] and `body`, and its `entities` (type, service, persistence id).
pub(crate) fn shop(body: &str, entities: &[(&str, &str, &str)]) -> EntitySpec {
    entity_spec(compile(&[("shop.proto", &format!("{HEAD}{body}"))]), entities)
}

pub(crate) fn check(spec: &EntitySpec) -> Result<ServedSpec, SpecError> {
    ServedSpec::check(spec, &SpecSettings::default())
}

/// The text of the error of `spec`.
pub(crate) fn refused(spec: &EntitySpec) -> String {
    check(spec).expect_err("an invalid specification").to_string()
}

/// [`shop`], which must be valid.
pub(crate) fn served(body: &str, entities: &[(&str, &str, &str)]) -> Arc<ServedSpec> {
    Arc::new(check(&shop(body, entities)).unwrap_or_else(|error| panic!("{error}")))
}
