//! The management and metrics ports: what a probe and a scraper get, and what a user reads when a port is taken.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cloudstate::admin::{self, Health};
use cloudstate::config::Listen;
use cloudstate::listen::{self, MANAGEMENT_PORT};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ANY_FREE: Listen = Listen { interface: LOOPBACK, port: 0 };

/// Ends the server with the test.
struct Served {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(router: axum::Router) -> Served {
    let listener = listen::bind(ANY_FREE, MANAGEMENT_PORT).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(admin::serve(listener, router)).abort_handle();
    Served { address, task }
}

/// Status line and body of one request over a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.lines().next().expect("a status line");
    (status.to_owned(), body.to_owned())
}

/// A sidecar's life as its probes see it: starting, serving, in trouble, serving, stopping.
#[tokio::test]
async fn ready_says_what_is_wrong_and_alive_is_always_true() {
    let health = Health::new();
    let served = serve(admin::management_router(health.clone())).await;
    let unhealthy = "HTTP/1.1 500 Internal Server Error";

    let (status, body) = get(served.address, "/ready").await;
    assert_eq!((status.as_str(), body.as_str()), (unhealthy, "Not Healthy: starting\n"));

    health.serving();
    let (status, _) = get(served.address, "/ready").await;
    assert_eq!(status, "HTTP/1.1 200 OK");

    health.not_ready("cannot reach the user function at 127.0.0.1:8080");
    let (status, body) = get(served.address, "/ready").await;
    assert_eq!(status, unhealthy);
    assert_eq!(body, "Not Healthy: cannot reach the user function at 127.0.0.1:8080\n");

    health.draining();
    let (status, body) = get(served.address, "/ready").await;
    assert_eq!(status, unhealthy);
    assert!(body.contains("draining"), "{body}");

    // A user function that comes back while the process stops does not bring requests back.
    health.serving();
    let (status, body) = get(served.address, "/ready").await;
    assert_eq!((status.as_str(), body.contains("draining")), (unhealthy, true));

    let (status, _) = get(served.address, "/alive").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn waiting_for_health_ends_when_it_is_there() {
    let health = Health::new();
    let waiting = tokio::spawn({
        let health = health.clone();
        async move { health.until_serving().await }
    });
    health.not_ready("looking for the user function");
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    health.serving();
    waiting.await.expect("no panic");
}

#[tokio::test]
async fn metrics_are_served_in_the_text_format_with_process_series() {
    // The only test of this binary that installs the process-wide recorder.
    let handle = PrometheusBuilder::new().install_recorder().expect("first recorder");
    metrics::counter!("cloudstate_test_total").increment(3);
    let served = serve(admin::metrics_router(handle)).await;
    for path in ["/metrics", "/"] {
        let (status, body) = get(served.address, path).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(body.contains("cloudstate_test_total 3"), "{body}");
        assert!(body.contains("process_resident_memory_bytes "), "{body}");
        assert!(body.contains("process_open_fds "), "{body}");
    }
    let (status, _) = get(served.address, "/elsewhere").await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn a_taken_port_names_port_flag_and_variable() {
    let taken = listen::bind(ANY_FREE, MANAGEMENT_PORT).await.expect("a free port");
    let address = taken.local_addr().expect("bound");
    let listen = Listen { interface: LOOPBACK, port: address.port() };
    let error = listen::bind(listen, MANAGEMENT_PORT).await.expect_err("taken");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on the management port {address}: another process has it; \
             stop that process or choose another port with --management-port or MANAGEMENT_PORT"
        )
    );
}
