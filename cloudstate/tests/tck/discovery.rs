//! Group 1, "verifying discovery protocol".

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost_types::FileDescriptorSet;
use proto::cloudstate::{EntitySpec, ProxyInfo};

use super::engine::Report;

/// Tests in this group.
pub const TESTS: usize = 1;

/// Runs the group on what the interceptor has recorded.
pub async fn run(info: &ProxyInfo, spec: &EntitySpec, report: &mut Report) {
    report.run("verify proxy info and entity discovery", async { verify(info, spec) }).await;
}

fn verify(info: &ProxyInfo, spec: &EntitySpec) -> Result<()> {
    let version = (info.protocol_major_version, info.protocol_minor_version);
    ensure!(version == (0, 2), "protocol version {version:?}");
    let types: BTreeSet<&str> = info.supported_entity_types.iter().map(String::as_str).collect();
    let expected = BTreeSet::from([
        "cloudstate.action.ActionProtocol",
        "cloudstate.crdt.Crdt",
        "cloudstate.eventsourced.EventSourced",
        "cloudstate.valueentity.ValueEntity",
    ]);
    ensure!(types == expected && info.supported_entity_types.len() == 4, "{:?}", info.supported_entity_types);
    ensure!(!spec.entities.is_empty(), "no entity is declared");
    spec.entities.iter().try_for_each(|entity| described(spec, &entity.service_name))
}

/// The descriptors of the function contain `service`.
pub fn described(spec: &EntitySpec, service: &str) -> Result<()> {
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
