//! The sidecar on PostgreSQL: what is acknowledged outlives sidecar and server, and the newest sidecar is the one that writes.

use std::process::Output;
use std::time::Duration;

use persistence::testkit::{PostgresServer, PostgresServerOptions};

use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, cloudstate, free_port};

async fn server(fsync: bool) -> PostgresServer {
    let options = PostgresServerOptions { fsync, ..PostgresServerOptions::default() };
    tokio::task::spawn_blocking(move || PostgresServer::start(&options).unwrap_or_else(|error| panic!("{error}")))
        .await
        .expect("a server")
}

/// Adds until it is acknowledged; what was tried without an answer may be there as well.
async fn add(client: &mut CartClient, product: &str) {
    for attempt in 0.. {
        match client.add("ada", product, 1, attempt % 2 == 0).await {
            Ok(()) => return,
            Err(refusal) => assert!(attempt < 1_000, "{refusal}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carts_outlive_the_sidecar_and_the_server() {
    let server = server(true).await;
    let store = server.url(&server.create_database().expect("a database"));
    let (function_port, http_port) = (free_port(), free_port());
    let _function = Function::start(function_port);
    let mut sidecar = Sidecar::start(&store, http_port, function_port);
    let mut client = CartClient::new(http_port);
    client.until_answered("ada", true).await;
    client.add("ada", "before", 1, false).await.expect("added");
    sidecar.kill();
    drop(sidecar);

    let _sidecar = Sidecar::start(&store, http_port, function_port);
    client.reconnect().await;
    assert_eq!(client.until_answered("ada", true).await.len(), 1, "what the killed sidecar had acknowledged");
    server.kill();
    let refusal = client.add("ada", "while it is away", 1, false).await.expect_err("nobody stores it");
    assert!(!refusal.is_empty());
    server.restart().expect("it recovers");
    add(&mut client, "after").await;
    let items = client.until_answered("ada", false).await;
    let found = format!("{items:?}");
    assert!(found.contains("before") && found.contains("after"), "{found}");
}

/// A sidecar that was replaced and does not know it yet: what it is told is not stored, and not said to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_sidecar_is_the_one_that_writes() {
    let server = server(false).await;
    let store = server.url(&server.create_database().expect("a database"));
    let function_port = free_port();
    let _function = Function::start(function_port);
    let (old_port, new_port) = (free_port(), free_port());
    let _old = Sidecar::start(&store, old_port, function_port);
    let mut old = CartClient::new(old_port);
    old.until_answered("ada", true).await;
    old.add("ada", "first", 1, false).await.expect("added");
    let _new = Sidecar::start(&store, new_port, function_port);
    let mut new = CartClient::new(new_port);
    assert_eq!(new.until_answered("ada", true).await.len(), 1);
    new.add("ada", "second", 1, false).await.expect("added");
    let refusal = old.add("ada", "late", 1, false).await.expect_err("it has been replaced");
    assert!(!refusal.is_empty());
    let items = format!("{:?}", new.until_answered("ada", false).await);
    assert!(items.contains("first") && items.contains("second") && !items.contains("late"), "{items}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_opened_ends_with_status_4_and_no_password_is_printed() {
    let server = server(false).await;
    server.sql("postgres", "CREATE ROLE app LOGIN PASSWORD 'hunter2'").expect("a role");
    server.set_access("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n").expect("access");
    let url = |password: &str| format!("postgres://app:{password}@127.0.0.1:{}/missing", server.port());
    let run = async |arguments: &[&str]| -> Output {
        let mut command = cloudstate();
        command.args(arguments).env("HTTP_PORT", free_port().to_string());
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs")
    };
    for (password, says) in [("wrong1", "password"), ("hunter2", "missing")] {
        let ended = run(&["run", "--store", &url(password)]).await;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(4), "{said}");
        assert!(said.contains(says) && said.contains("app@127.0.0.1"), "{said}");
        assert!(!said.contains(password), "{said}");
    }
    let flags = ["config", "--store", &url("hunter2"), "--set", "postgres.password=hunter3"];
    for more in [&[][..], &["--json"]] {
        let shown = run(&[&flags[..], more].concat()).await;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("app:***@127.0.0.1") && !shown.contains("hunter"), "{shown}");
    }
}
