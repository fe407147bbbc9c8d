//! How the sidecar keeps in touch with the user function.

use std::time::Duration;

use proto::cloudstate::Entity;
use tonic::Code;

use crate::scripted::{ScriptedFunction, TestSidecar, answer, model_spec, reply, soon, spec};

/// Waits until `/ready` says no, and why.
async fn not_ready(sidecar: &TestSidecar, because: &str) {
    let refused = async {
        loop {
            match sidecar.health.ready() {
                Err(why) if why.contains(because) => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    soon(&format!("not ready because of {because:?}"), refused).await;
}

#[tokio::test]
async fn the_function_is_told_who_asks_and_asked_once() {
    let function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let info = function.proxy_info().expect("asked");
    assert_eq!((info.protocol_major_version, info.protocol_minor_version), (0, 2));
    let mut types = info.supported_entity_types;
    types.sort();
    assert_eq!(
        types,
        [
            "cloudstate.action.ActionProtocol",
            "cloudstate.crdt.Crdt",
            "cloudstate.eventsourced.EventSourced",
            "cloudstate.valueentity.ValueEntity"
        ]
    );
    assert_eq!(function.discovered(), 1);
    drop(sidecar);
}

#[tokio::test]
async fn a_function_that_starts_later_is_found() {
    let port = crate::process::free_port();
    let placeholder = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&placeholder, |config| config.user_function.port = port);
    not_ready(&sidecar, "not reachable").await;
    let _function = ScriptedFunction::start_on(port, model_spec(), None).await;
    sidecar.ready().await;
}

#[tokio::test]
async fn an_invalid_specification_is_reported_once_and_asked_for_again() {
    let mut broken = model_spec();
    broken.entities.push(Entity {
        entity_type: "cloudstate.eventsourced.EventSourced".to_owned(),
        service_name: "shop.Missing".to_owned(),
        persistence_id: "missing".to_owned(),
        passivation_strategy: None,
    });
    let mut function = ScriptedFunction::start(broken).await;
    let sidecar = TestSidecar::new(&function, |_| {});
    let text = "Service [shop.Missing] not found in descriptors!";
    assert_eq!(function.report().await, text);
    not_ready(&sidecar, text).await;
    soon("a further attempt", async {
        while function.discovered() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(function.has_no_report(), "the same error is reported once");

    // Another mistake is another report; then the function is mended, and served without a restart.
    function.serve(proto::cloudstate::EntitySpec { entities: Vec::new(), ..model_spec() });
    assert_eq!(function.report().await, "No entities were reported by the discover call!");
    function.serve(model_spec());
    let sidecar = sidecar.ready().await;
    let client = sidecar.client();
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "mended", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "mended");
}

#[tokio::test]
async fn a_compatible_change_is_served_when_the_function_comes_back() {
    let function = ScriptedFunction::start(spec(&[("EventSourcedTckModel", "model", None)])).await;
    let port = function.port;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    drop(function);
    not_ready(&sidecar, "").await;
    let mut function = ScriptedFunction::start_on(port, model_spec(), None).await;
    let sidecar = sidecar.ready().await;
    let call = sidecar.client().process("ada");
    function.stream().await.until_command(0).await;
    call.abort();
    assert_eq!(function.discovered(), 1);
}

#[tokio::test]
async fn an_incompatible_change_is_refused_and_the_old_one_no_longer_served() {
    let function = ScriptedFunction::start(model_spec()).await;
    let port = function.port;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    drop(function);
    // The same service under another persistence id: its entities would seem to have lost their state.
    let changed = spec(&[("EventSourcedTckModel", "renamed", None), ("EventSourcedTwo", "two", None)]);
    let mut function = ScriptedFunction::start_on(port, changed, None).await;
    let report = function.report().await;
    assert!(report.contains("not compatible") && report.contains("renamed"), "{report}");
    not_ready(&sidecar, "not compatible").await;
    let status = answer(sidecar.client().process("ada")).await.expect_err("not served");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(function.has_no_stream());

    // Back as it was: served again.
    function.serve(model_spec());
    sidecar.ready().await;
}

#[tokio::test]
async fn the_port_opens_only_when_there_is_something_to_serve() {
    let placeholder = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&placeholder, |config| {
        config.user_function.port = crate::process::free_port();
        config.requests.timeout = Duration::from_secs(1);
    });
    not_ready(&sidecar, "not reachable").await;
    assert!(tokio::net::TcpStream::connect(sidecar.address).await.is_err());
    let clash = std::panic::catch_unwind(|| std::net::TcpListener::bind(sidecar.address));
    drop(clash);
    soon("the end", sidecar.proxy.drain()).await;
}

#[tokio::test]
async fn a_function_with_one_stream_a_connection_is_given_more_connections() {
    let mut function = ScriptedFunction::start_on(0, model_spec(), Some(1)).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let client = sidecar.client();
    let mut served = Vec::new();
    for id in ["ada", "bob", "eve"] {
        let call = client.process(id);
        let mut stream = function.stream().await;
        stream.until_command(0).await;
        stream.reply(reply(1, id, &[])).await;
        assert_eq!(answer(call).await.expect("served"), id);
        served.push(stream);
    }
}

#[test]
fn refusals_are_remembered_in_bounds() {
    let settings = cloudstate::spec::SpecSettings {
        strict_version: false,
        any_version: false,
        supported: cloudstate::spec::EntityType::ALL.to_vec(),
        relay_timeouts: Default::default(),
        topics: Default::default(),
    };
    let mut memory = cloudstate::discovery::Memory::default();
    let mut told = |number: usize| {
        let mut broken = model_spec();
        broken.entities[0].service_name = format!("shop.Missing{number}");
        match memory.judge(&broken, &settings) {
            cloudstate::discovery::Verdict::Refuse { report, .. } => report,
            other => panic!("expected a refusal, got {other:?}"),
        }
    };
    assert!(told(0));
    assert!(!told(0), "the same one is reported once");
    assert!((1..=32).all(&mut told), "each other one as well");
    assert!(!told(32));
    assert!(told(0), "the oldest has been forgotten");
}
