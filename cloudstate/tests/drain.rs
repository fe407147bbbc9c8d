//! SIGTERM under load: what was acknowledged is kept, what comes later is refused, the process ends by itself.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use prost::Message;
use proto::model::example::shoppingcart::persistence::ItemAdded;
use tokio::sync::watch;

use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, free_port, journal_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (function_port, http_port) = (free_port(), free_port());
    let _function = Function::start(function_port);
    let store = format!("sqlite:{}", folder.path().display());
    let mut sidecar = Sidecar::start_with(&store, http_port, function_port, |command| {
        command.env("CLOUDSTATE_READINESS_GRACE", "0s");
    });
    CartClient::new(http_port).until_answered("warm-up", true).await;

    let acknowledged = watch::Sender::new(0_u64);
    let workers: Vec<_> =
        (0..16).map(|worker| tokio::spawn(add_until_refused(worker, http_port, acknowledged.clone()))).collect();
    let enough = async { acknowledged.subscribe().wait_for(|count| *count >= 500).await.map(|_| ()) };
    tokio::time::timeout(Duration::from_secs(60), enough).await.expect("answers come").expect("alive");

    let killed = Command::new("kill").args(["-TERM", &sidecar.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let status = tokio::task::spawn_blocking(move || sidecar.wait()).await.expect("waited");
    assert_eq!(status.code(), Some(0), "ended by itself and in order");

    let stored: BTreeSet<String> = journal_of(folder.path())
        .into_iter()
        .map(|(_, _, _, payload)| ItemAdded::decode(&payload[..]).expect("an event").item.expect("an item").product_id)
        .collect();
    let mut told = 0;
    for worker in workers {
        for product in worker.await.expect("no panic") {
            assert!(stored.contains(&product), "{product} was acknowledged and is lost");
            told += 1;
        }
    }
    assert!(told >= 500);
}

/// Adds products until the sidecar takes no more; answers the acknowledged ones.
async fn add_until_refused(worker: usize, port: u16, acknowledged: watch::Sender<u64>) -> Vec<String> {
    let mut client = CartClient::new(port);
    let mut added = Vec::new();
    for number in 0.. {
        let product = format!("p{worker}-{number}");
        if client.add(&format!("cart-{worker}"), &product, 1, worker.is_multiple_of(2)).await.is_err() {
            break;
        }
        added.push(product);
        acknowledged.send_modify(|count| *count += 1);
    }
    added
}
