//! The conformance suite: a Go user function and our sidecar under `cloudstate tck`, what the suite leaves out although
//! its arrangement can see it, and the suite itself, which must notice what is wrong.

mod beyond_the_suite;
mod broken;
mod broken_proxy;
mod command;
mod interceptor;
mod relay;

use std::path::Path;

use cloudstate::tck::{self, Arrangement, Chosen, Part, Report};

/// Every test of the suite, so that none gets lost.
const TESTS: usize = 186;

/// Where the Go function deviates from the protocol: (group, test, why). It does nowhere.
const DEVIATIONS: &[(u8, &str, &str)] = &[];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_passes_the_suite() {
    let report = tck::run(&arrangement(), &[], |_| ()).await.expect("function, suite and sidecar");
    let failed = report.groups.iter().flat_map(|group| group.failures().map(|(name, _)| (group.number, name)));
    let known: Vec<_> = DEVIATIONS.iter().map(|(group, name, _)| (*group, *name)).collect();
    assert_eq!(failed.collect::<Vec<_>>(), known, "{report}{}", outputs(&report));
    assert_eq!(report.passed(), TESTS - known.len(), "{report}");
}

#[test]
fn a_group_is_chosen_by_number_or_name() {
    let number = |text: &str| text.parse::<Chosen>().map(|chosen| chosen.0.number);
    assert_eq!(number("8"), Ok(8));
    assert_eq!(number("proxy-event-sourced"), Ok(8));
    assert_eq!(number("verifying proxy test: event sourced entity"), Ok(8));
    let error = number("event").expect_err("no group");
    assert!(error.contains("8 or proxy-event-sourced"), "{error}");
}

/// The Go SDK's model function and our sidecar.
fn arrangement() -> Arrangement {
    let sidecar = env!("CARGO_BIN_EXE_cloudstate");
    let sidecar = format!("exec '{sidecar}' run --store memory --management-port off --metrics-port off");
    Arrangement { proxy: started_with(sidecar), ..function() }
}

/// The Go SDK's model function alone.
fn function() -> Arrangement {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk/go/tck_eventsourced");
    assert!(path.exists(), "target/sdk/go/tck_eventsourced is missing: run `scripts/sdk-functions` first");
    Arrangement { function: started_with(format!("exec '{}'", path.display())), ..Arrangement::default() }
}

fn started_with(command: String) -> Part {
    Part { command: Some(command), ..Part::default() }
}

fn outputs(report: &Report) -> String {
    report.outputs.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect()
}
