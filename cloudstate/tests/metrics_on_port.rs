//! What `/metrics` of a real sidecar says of its store, and that every series of the store's crate is explained.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use cloudstate::telemetry::series::METRICS;

use crate::admin;
use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, free_port};
use crate::store_command::store_of;

/// Names in `counter!("…`, `gauge!("…` and `histogram!("…` of all sources in `folder`.
fn recorded_in(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            recorded_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("a source");
            for call in ["counter!(", "gauge!(", "histogram!("] {
                let found = source.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
                names.extend(found.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
}

#[test]
fn every_series_of_the_store_has_unit_and_meaning() {
    let mut names = Vec::new();
    recorded_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../persistence/src"), &mut names);
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not described");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_explains_what_the_store_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (function_port, http_port, metrics_port) = (free_port(), free_port(), free_port());
    let _function = Function::start(function_port);
    let _sidecar = Sidecar::start_with(&store_of(folder.path()), http_port, function_port, |command| {
        command.env("METRICS_PORT", metrics_port.to_string());
    });
    let mut client = CartClient::new(http_port);
    client.until_answered("ada", true).await;
    client.add("ada", "apple", 1, false).await.expect("added");
    let (_, scrape) = admin::get(SocketAddr::from((Ipv4Addr::LOCALHOST, metrics_port)), "/metrics").await;
    for name in [
        "persistence_reconnects_total",
        "persistence_reopened_total",
        "persistence_parked_total",
        "persistence_writes_repeated_total",
        "persistence_commands_repeated_total",
    ] {
        assert!(scrape.contains(&format!("# HELP {name} ")), "{name} has no meaning in\n{scrape}");
        assert!(scrape.contains(&format!("\n{name} 0\n")), "{name} is not 0 in\n{scrape}");
    }
    for part in [
        "# TYPE persistence_batch_requests histogram",
        "# HELP persistence_batch_requests ",
        "persistence_batch_requests_bucket{le=\"2\"}",
        "persistence_breaker_open{store=\"feed\"} 0",
        "persistence_breaker_open{store=\"projections\"} 0",
    ] {
        assert!(scrape.contains(part), "{part} is missing in\n{scrape}");
    }
    assert!(!scrape.contains("persistence_batch_requests_bucket{le=\"0.001\"}"), "buckets of requests, not of seconds");
}
