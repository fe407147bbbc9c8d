//! The function with all model services and our sidecar under the conformance suite.

use cloudstate::listen::free_port;
use cloudstate::tck::{self, Arrangement, Part};
use examples::tck_function::function;

use crate::arrangement::{Sidecar, serve};

/// Every test of the suite, so that none gets lost.
const TESTS: usize = 186;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn function_and_sidecar_pass_the_suite_together() {
    let function = serve(function()).await;
    let interceptor = free_port().expect("a free port");
    let sidecar = Sidecar::before(interceptor);
    let arrangement = Arrangement {
        host: Some("127.0.0.1".to_owned()),
        port: Some(interceptor),
        proxy: running(sidecar.address.port()),
        function: running(function),
    };
    let report = tck::run(&arrangement, &[], |_| ()).await.expect("function, suite and sidecar");
    assert!(report.failed() + report.pending() == 0, "{report}");
    assert_eq!(report.passed(), TESTS, "{report}");
    let took = |group: &tck::GroupReport| group.tests.iter().any(|test| !test.took.is_zero());
    assert!(report.groups.iter().all(took), "it is known how long each test took");
}

fn running(port: u16) -> Part {
    Part { port: Some(port), ..Part::default() }
}
