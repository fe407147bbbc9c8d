//! Group 1, "verifying discovery protocol", and what other groups look up in a declaration.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost_types::FileDescriptorSet;
use proto::cloudstate::entity_passivation_strategy::Strategy;
use proto::cloudstate::{Entity, EntitySpec};

use super::engine::Tck;
use super::suite::{Test, test};

/// The types that a proxy of protocol 0.2 supports.
pub(super) const ENTITY_TYPES: [&str; 4] = [
    "cloudstate.action.ActionProtocol",
    "cloudstate.crdt.Crdt",
    "cloudstate.eventsourced.EventSourced",
    "cloudstate.valueentity.ValueEntity",
];

pub(super) const TESTS: &[Test] = &[test!("verify proxy info and entity discovery", proxy_info_and_entities)];

async fn proxy_info_and_entities(tck: &mut Tck) -> Result<()> {
    let (info, spec) = tck.discovered.as_ref().context("the proxy has not discovered")?;
    let version = (info.protocol_major_version, info.protocol_minor_version);
    ensure!(version == (0, 2), "protocol version of the proxy:\n  expected (0, 2)\n  seen     {version:?}");
    let types = &info.supported_entity_types;
    let same = types.iter().map(String::as_str).collect::<BTreeSet<_>>() == BTreeSet::from(ENTITY_TYPES);
    let same = same && types.len() == ENTITY_TYPES.len();
    ensure!(same, "supported entity types in any order:\n  expected {ENTITY_TYPES:?}\n  seen     {types:?}");
    ensure!(!spec.entities.is_empty(), "no entity is declared");
    spec.entities.iter().try_for_each(|entity| described(spec, &entity.service_name))
}

/// What is declared of a service that the descriptors contain.
pub(super) fn declared<'a>(spec: &'a EntitySpec, service: &str, entity_type: &str) -> Result<&'a Entity> {
    let entity = spec.entities.iter().find(|entity| entity.service_name == service);
    let entity = entity.with_context(|| format!("{service} is not declared"))?;
    let seen = &entity.entity_type;
    ensure!(seen == entity_type, "type of {service}:\n  expected {entity_type}\n  seen     {seen}");
    described(spec, service)?;
    Ok(entity)
}

/// The entity declares this persistence id.
pub(super) fn persisted_as(entity: &Entity, expected: &str) -> Result<()> {
    let (service, seen) = (&entity.service_name, &entity.persistence_id);
    ensure!(seen == expected, "persistence id of {service}:\n  expected {expected}\n  seen     {seen}");
    Ok(())
}

/// The entity declares a passivation timeout of 100 ms.
pub(super) fn passivates_after_100_ms(entity: &Entity) -> Result<()> {
    let seen = entity.passivation_strategy.as_ref().and_then(|given| given.strategy.as_ref());
    let same = matches!(seen, Some(Strategy::Timeout(timeout)) if timeout.timeout == 100);
    let service = &entity.service_name;
    ensure!(same, "passivation strategy of {service}:\n  expected a timeout of 100 ms\n  seen     {seen:?}");
    Ok(())
}

/// The descriptors of the function contain `service`.
fn described(spec: &EntitySpec, service: &str) -> Result<()> {
    let set = FileDescriptorSet::decode(spec.proto.clone()).context("the descriptor set is invalid")?;
    let found = set.file.iter().any(|file| {
        let package = file.package();
        file.service.iter().any(|described| {
            service.strip_suffix(described.name()).is_some_and(|rest| rest.strip_suffix('.').unwrap_or(rest) == package)
        })
    });
    ensure!(found, "{service} is not in the descriptors");
    Ok(())
}
