//! The conformance suite's event sourced groups: a Go user function, this suite's interceptor and our sidecar, each
//! test under the name it has in the suite.
//!
//! [`engine`] knows nothing of single tests, so that the other groups are lists beside these.

#![allow(unreachable_pub, reason = "one module of a test binary: nothing in it is reachable from outside")]

mod beyond_the_suite;
mod discovery;
mod engine;
mod event_sourced;
mod interceptor;
mod model_event_sourced;
mod proxy_event_sourced;
mod reflection;

use std::path::Path;

use engine::{Report, Setup, connect, function_binary, start_function};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_model_test_event_sourced_entity() {
    let binary = function_binary().expect("the model function");
    let (function, spec) = start_function(&binary).await.expect("a running function");
    let channel = connect(function.address()).expect("an address");
    let model = model_event_sourced::Model { function: channel, spec };
    let mut report = Report::new("verifying model test: event sourced entity");
    model_event_sourced::run(&model, &mut report).await;
    report.finish(model_event_sourced::TESTS, || function.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_discovery_protocol() {
    let setup = setup().await;
    let mut report = Report::new("verifying discovery protocol");
    discovery::run(&setup.info, &setup.spec, &mut report).await;
    report.finish(discovery::TESTS, || setup.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_proxy_test_event_sourced_entity() {
    let mut setup = setup().await;
    let mut report = Report::new("verifying proxy test: event sourced entity");
    proxy_event_sourced::run(&mut setup, &mut report).await;
    report.finish(proxy_event_sourced::TESTS, || setup.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_proxy_test_grpc_server_reflection() {
    let mut setup = setup().await;
    let mut report = Report::new("verifying proxy test: gRPC server reflection");
    reflection::run(&mut setup, &mut report).await;
    report.finish(reflection::TESTS, || setup.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_suite() {
    let mut setup = setup().await;
    let mut report = Report::new("beyond the suite");
    beyond_the_suite::run(&mut setup, &mut report).await;
    report.finish(beyond_the_suite::TESTS, || setup.logs());
}

async fn setup() -> Setup {
    let binary = function_binary().expect("the model function");
    let sidecar = Path::new(env!("CARGO_BIN_EXE_cloudstate"));
    Setup::start(&binary, sidecar).await.expect("function, interceptor and sidecar")
}
