//! The sidecar in front of shopping carts on SDKs that others published, as `scripts/sdk-functions` builds them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cart_client::{CartClient, Items};
use crate::process::{Function, Sidecar, free_port, journal_of};

/// Longest wait for a process to listen: a JVM on a busy machine takes its time.
const STARTED_WITHIN: Duration = Duration::from_secs(90);
/// Every one of the three carts takes a snapshot whenever so many events are full.
const SNAPSHOT_EVERY: i64 = 5;
const EVENTS: &str = "type.googleapis.com/com.example.shoppingcart.persistence.";

/// One shopping cart on one SDK.
struct SdkCart {
    /// Its folder in `target/sdk`.
    name: &'static str,
    /// What it is started with, in that folder; a path with a slash is relative to the folder.
    command: &'static [&'static str],
    /// Exists when it was built.
    built: &'static str,
    persistence_id: &'static str,
    /// Part of the text with which it refuses a quantity of zero.
    refusal: &'static str,
}

const GO: SdkCart = SdkCart {
    name: "go",
    command: &["./tck_shoppingcart"],
    built: "tck_shoppingcart",
    persistence_id: "ShoppingCart",
    refusal: "cannot add negative quantity",
};

const JAVA: SdkCart = SdkCart {
    name: "java",
    command: &["java", "-cp", "cart-java-0.1.0.jar:lib/*", "example.cart.Main"],
    built: "cart-java-0.1.0.jar",
    persistence_id: "shopping-cart",
    refusal: "quantity must be greater than 0",
};

const NODE: SdkCart = SdkCart {
    name: "node",
    command: &["node", "index.js"],
    built: "user-function.desc",
    persistence_id: "shopping-cart",
    refusal: "quantity must be greater than 0",
};

impl SdkCart {
    fn folder(&self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk").join(self.name);
        assert!(
            folder.join(self.built).exists(),
            "target/sdk/{}/{} is missing: run `scripts/sdk-functions {}` first",
            self.name,
            self.built,
            self.name
        );
        folder.canonicalize().expect("it exists")
    }

    /// What it is started with, in its folder.
    fn program_and_arguments(&self) -> (PathBuf, &[&str]) {
        let program = match self.command[0].strip_prefix("./") {
            Some(own) => self.folder().join(own),
            None => PathBuf::from(self.command[0]),
        };
        (program, &self.command[1..])
    }

    /// Starts it as a process of its own; what it says goes to a file, which a failing start shows.
    async fn start(&self, port: u16, log: &Path) -> Function {
        let file = File::create(log).expect("a log file");
        let (program, arguments) = self.program_and_arguments();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder());
        command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
        command.stdin(Stdio::null()).stderr(file.try_clone().expect("a log file")).stdout(file);
        let function = Function::run(&mut command);
        if !listens(port).await {
            panic!("{} does not listen:\n{}", self.name, std::fs::read_to_string(log).unwrap_or_default());
        }
        function
    }
}

/// Waits until something listens on the port.
async fn listens(port: u16) -> bool {
    let listening = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(STARTED_WITHIN, listening).await.is_ok()
}

#[tokio::test]
async fn a_go_cart_is_served_and_kept() {
    a_cart_is_served_and_kept(&GO).await;
}

#[tokio::test]
async fn a_java_cart_is_served_and_kept() {
    a_cart_is_served_and_kept(&JAVA).await;
}

#[tokio::test]
async fn a_node_cart_is_served_and_kept() {
    a_cart_is_served_and_kept(&NODE).await;
}

/// A cart filled by gRPC and HTTP is the same after the sidecar was killed, out of a snapshot and the events after it, and after the user function was.
async fn a_cart_is_served_and_kept(sdk: &SdkCart) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, log) = (folder.path().join("store"), folder.path().join("function.log"));
    let (function_port, http_port, metrics_port) = (free_port(), free_port(), free_port());
    let mut function = sdk.start(function_port, &log).await;
    let start_sidecar = || {
        Sidecar::start_with(&format!("sqlite:{}", store.display()), http_port, function_port, |command| {
            command.env("METRICS_PORT", metrics_port.to_string()).env("METRICS_HOST", "127.0.0.1");
        })
    };
    let mut sidecar = start_sidecar();
    let mut client = CartClient::new(http_port);
    client.reconnect().await;
    assert_eq!(client.until_answered("alice", true).await, Items::new());
    let mut expected = fill(&mut client, sdk).await;
    for by_http in [true, false] {
        assert_eq!(client.get("alice", by_http).await, Ok(expected.clone()), "{}: by_http {by_http}", sdk.name);
    }

    sidecar.kill();
    let events = check_journal(&store, sdk, &expected);
    let snapshot = latest_snapshot(&store, sdk);
    sidecar = start_sidecar();
    assert_eq!(client.until_answered("alice", false).await, expected, "{}: the cart is another one", sdk.name);
    assert!(listens(metrics_port).await);
    assert_eq!(metric(metrics_port, "cloudstate_eventsourced_loaded_snapshots_total").await, 1);
    let loaded = metric(metrics_port, "cloudstate_eventsourced_loaded_events_total").await;
    assert_eq!(loaded, events - snapshot, "{}: exactly the events after the snapshot are replayed", sdk.name);

    add(&mut client, sdk, "after the sidecar", 3, true, &mut expected).await;
    function.kill();
    let refused = client.get("alice", true).await.expect_err("nobody is there to answer");
    // The second one when the command was on its way before the sidecar had heard of the death.
    let told = refused.starts_with("503") || refused.contains("Unexpected entity termination");
    assert!(told, "{}: {refused}", sdk.name);
    let _function = sdk.start(function_port, &log).await;
    assert_eq!(client.until_answered("alice", true).await, expected, "{}: the cart is another one", sdk.name);
    add(&mut client, sdk, "after the function", 4, false, &mut expected).await;
    assert_eq!(client.get("alice", false).await, Ok(expected), "{}", sdk.name);
    drop(sidecar);
}

#[tokio::test]
async fn a_go_cart_is_the_sidecars_child() {
    a_cart_is_the_sidecars_child(&GO).await;
}

#[tokio::test]
async fn a_java_cart_is_the_sidecars_child() {
    a_cart_is_the_sidecars_child(&JAVA).await;
}

#[tokio::test]
async fn a_node_cart_is_the_sidecars_child() {
    a_cart_is_the_sidecars_child(&NODE).await;
}

/// `cloudstate run -- COMMAND`: the sidecar starts the function and takes it along when it stops; the next one has the same cart.
async fn a_cart_is_the_sidecars_child(sdk: &SdkCart) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}", folder.path().join("store").display());
    let mut expected = Items::new();
    for life in 1..=2 {
        let (function_port, http_port) = (free_port(), free_port());
        let (program, arguments) = sdk.program_and_arguments();
        let mut sidecar = Sidecar::start_with(&store, http_port, function_port, |command| {
            command.arg("--").arg(program).args(arguments).current_dir(sdk.folder());
            command.env("CLOUDSTATE_READINESS_GRACE", "0s");
        });
        assert!(listens(function_port).await, "{}: the function does not listen", sdk.name);
        let mut client = CartClient::new(http_port);
        client.reconnect().await;
        assert_eq!(client.until_answered("alice", false).await, expected, "{}: life {life}", sdk.name);
        add(&mut client, sdk, "tea", life, true, &mut expected).await;

        let told = Command::new("kill").args(["-TERM", &sidecar.id().to_string()]).status().expect("kill runs");
        assert!(told.success());
        let status = tokio::task::spawn_blocking(move || sidecar.wait()).await.expect("waited");
        assert_eq!(status.code(), Some(0), "{}: life {life} ended in order", sdk.name);
        let function = TcpStream::connect(("127.0.0.1", function_port)).await;
        assert!(function.is_err(), "{}: the function outlived the sidecar", sdk.name);
    }
}

/// Twenty-three changes and two refused ones; answers what must be in the cart then.
async fn fill(client: &mut CartClient, sdk: &SdkCart) -> Items {
    let mut expected = Items::new();
    for number in 1..=18 {
        let product = format!("p{}", number % 15);
        add(client, sdk, &product, number, number % 2 == 0, &mut expected).await;
    }
    for (number, product) in ["p1", "p5", "p9", "p10", "p14"].into_iter().enumerate() {
        client.remove("alice", product, number % 2 == 0).await.unwrap_or_else(|error| panic!("{}: {error}", sdk.name));
        expected.remove(product);
    }
    for by_http in [true, false] {
        let refused = client.add("alice", "nothing", 0, by_http).await.expect_err("zero of something");
        assert!(refused.contains(sdk.refusal), "{}: by_http {by_http}: {refused}", sdk.name);
    }
    expected
}

async fn add(
    client: &mut CartClient,
    sdk: &SdkCart,
    product: &str,
    quantity: i32,
    by_http: bool,
    expected: &mut Items,
) {
    client
        .add("alice", product, quantity, by_http)
        .await
        .unwrap_or_else(|error| panic!("{}: {product}: {error}", sdk.name));
    *expected.entry(product.to_owned()).or_default() += quantity;
}

/// The journal has one event for each of the changes, in order, as the SDK named them. Answers their number.
fn check_journal(store: &Path, sdk: &SdkCart, expected: &Items) -> i64 {
    let journal = journal_of(store);
    for ((id, seq, manifest, _), position) in journal.iter().zip(1..) {
        assert_eq!(id, &format!("{}|alice", sdk.persistence_id));
        assert_eq!(*seq, position);
        let name = if position <= 18 { "ItemAdded" } else { "ItemRemoved" };
        assert_eq!(manifest, &format!("{EVENTS}{name}"));
    }
    assert_eq!(journal.len(), 23, "{}: {expected:?}", sdk.name);
    23
}

/// The sequence number of the newest snapshot, one that was due.
fn latest_snapshot(store: &Path, sdk: &SdkCart) -> i64 {
    let snapshots = crate::process::snapshots_of(store);
    let (_, latest, manifest) = snapshots.last().unwrap_or_else(|| panic!("{}: no snapshot", sdk.name));
    for (id, seq, _) in &snapshots {
        assert_eq!((id.as_str(), seq % SNAPSHOT_EVERY), (format!("{}|alice", sdk.persistence_id).as_str(), 0));
    }
    assert_eq!(manifest, &format!("{EVENTS}Cart"));
    *latest
}

/// The sum of a series over its labels.
async fn metric(port: u16, name: &str) -> i64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("listening");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let lines = answer.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.trim().parse::<i64>().ok()).sum()
}
