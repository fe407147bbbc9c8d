//! `cloudstate tck` as its users meet it: what it prints, the file it writes, its exit statuses.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::broken::{function, wrong_command_id};
use super::relay::{Relay, intact};

async fn tck(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudstate"));
    command.arg("tck").args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().await.expect("the binary is there");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn the_tests_are_listed_one_a_line() {
    let (code, out, _) = tck(&["--list"]).await;
    assert_eq!(code, Some(0));
    let lines: BTreeSet<&str> = out.lines().collect();
    assert_eq!((out.lines().count(), lines.len()), (186, 186), "each has a name of its own");
    assert!(lines.contains("4 verifying model test: event sourced entity: verify initial snapshot"), "{out}");
}

#[tokio::test]
async fn what_a_function_does_not_serve_is_pending_and_no_failure() {
    let carts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk/go/tck_shoppingcart");
    assert!(carts.exists(), "target/sdk/go/tck_shoppingcart is missing: run `scripts/sdk-functions` first");
    let (code, out, _) =
        tck(&["--function", &format!("exec '{}'", carts.display()), "--only=3", "--only=model-action"]).await;
    assert_eq!(code, Some(0));
    let expected = "    group                         passed  failed  pending
 2  verifying model test: action       0       0       34
 3  verifying model test: entity       0       0       19
    all                                0       0       53
pending: verifying model test: action: the user function does not serve cloudstate.tck.model.action.ActionTckModel
pending: verifying model test: entity: the user function does not serve cloudstate.tck.model.valueentity.ValueEntityTckModel
";
    assert_eq!(out, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_shown_with_what_was_expected_and_seen_and_counted_in_the_status() {
    let (_function, address) = function().await;
    let relay = Relay::start(address, intact, wrong_command_id).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let junit = file.path().to_str().expect("UTF-8");
    let (code, out, err) = tck(&["--service-port", &relay.port.to_string(), "--only=4", "--junit", junit]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains(" 4  verifying model test: event sourced entity      19       2        0\n"), "{out}");
    let failure = "\
failed: verifying model test: event sourced entity: verify rehydration after passivation
  answered:
    expected {reply: {command_id: 4, client_action: {reply: {payload: cloudstate.tck.model.Response{message: \"ABCDEFG\"}}}, \
events: [cloudstate.tck.model.Persisted{value: \"G\"}]}}
    seen     {reply: {command_id: 3, client_action: {reply: {payload: cloudstate.tck.model.Response{message: \"ABCDEFG\"}}}, \
events: [cloudstate.tck.model.Persisted{value: \"G\"}]}}
";
    assert!(out.contains(failure), "{out}");

    let xml = std::fs::read_to_string(file.path()).expect("written");
    let suite = "<testsuite name=\"verifying model test: event sourced entity\" tests=\"21\" failures=\"2\" errors=\"0\" skipped=\"0\"";
    assert!(xml.contains(suite), "{xml}");
    assert!(xml.contains("{message: &quot;ABCDEFG&quot;}"), "{xml}");
    let test = "classname=\"verifying model test: event sourced entity\" name=\"verify initial empty state\"";
    assert!(xml.contains(test), "{xml}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_that_cannot_be_run_have_a_status_of_their_own() {
    let (code, _, err) = tck(&["--function", "echo no such module; exit 3", "--only=4"]).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("error: the user function ended with exit status: 3 before the tests\n"), "{err}");
    assert!(err.contains("error: no such module\n"), "{err}");

    let (_function, address) = function().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = &taken.local_addr().expect("bound").port().to_string();
    let service = &address.port.to_string();
    let (code, _, err) = tck(&["--service-port", service, "--host=127.0.0.1", "--port", port, "--only=1"]).await;
    assert_eq!(code, Some(2), "{err}");
    let text = format!("error: the interceptor cannot listen on 127.0.0.1:{port}: ");
    assert!(err.starts_with(&text) && err.contains("choose another port with --port or TCK_PORT"), "{err}");

    let (code, _, err) = tck(&["--only=12"]).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("11 or eventing"), "{err}");
}
