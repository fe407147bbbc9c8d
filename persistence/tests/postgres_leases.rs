//! Leases on a server that several processes share.

use crate::postgres_server::{Database, Postgres, open, soon, until};
use actors::ActorSystem;
use cluster::{AcquireError, FencingToken, Lease, LeaseSettings, StoredLease, force_release};
use futures_util::future::join_all;
use persistence::{LeaseRow, LeaseRowError, LeaseSwap};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

fn row(owner: Option<&str>, token: u64, version: u64) -> LeaseRow {
    LeaseRow { owner: owner.map(str::to_owned), token, version }
}

/// What `cluster` builds on: one row a name, and whoever expected another version changes nothing.
#[tokio::test]
async fn a_lease_changes_only_from_the_version_that_was_expected() {
    let node = Postgres::new(|options| options).await;
    let (ours, theirs) = (node.store.leases(), open(node.options.clone()).await.leases());
    assert_eq!(ours.read("gate").await, Ok(None));
    assert_eq!(ours.swap("gate", None, Some("a"), 1).await, Ok(LeaseSwap::Done(1)));
    let found = LeaseSwap::Changed(Some(row(Some("a"), 1, 1)));
    assert_eq!(theirs.swap("gate", None, Some("b"), 1).await.as_ref(), Ok(&found), "it is there already");
    assert_eq!(theirs.swap("gate", Some(7), Some("b"), 2).await, Ok(found), "another version");
    assert_eq!(theirs.swap("door", Some(1), Some("b"), 2).await, Ok(LeaseSwap::Changed(None)), "another lease");
    assert_eq!(theirs.swap("gate", Some(1), Some("b"), 2).await, Ok(LeaseSwap::Done(2)));
    let found = LeaseSwap::Changed(Some(row(Some("b"), 2, 2)));
    assert_eq!(ours.swap("gate", Some(1), Some("a"), 1).await, Ok(found), "a renewal that comes late");
    // Given back, and granted again: the token is that of the last grant.
    assert_eq!(theirs.swap("gate", Some(2), None, 2).await, Ok(LeaseSwap::Done(3)));
    assert_eq!(ours.read("gate").await, Ok(Some(row(None, 2, 3))));
    match ours.swap("gate", Some(3), Some("a"), 1).await {
        Err(LeaseRowError::Rejected(reason)) => assert!(reason.contains("token 1") && reason.contains('2'), "{reason}"),
        other => panic!("a token that falls: {other:?}"),
    }
    for (name, owner) in [("", "a"), ("gate\0", "a"), ("gate", "")] {
        let refused = ours.swap(name, None, Some(owner), 1).await;
        assert!(matches!(refused, Err(LeaseRowError::Rejected(_))), "{name:?} {owner:?}: {refused:?}");
    }
}

/// Each of sixteen raises the token ten times. One that counted twice for two winners would be missing in the end.
#[tokio::test]
async fn of_many_that_swap_at_a_time_one_wins() {
    let node = Postgres::new(|options| options).await;
    let raise = async |owner: String| {
        let leases = node.store.leases();
        let (mut won, mut found) = (0, leases.read("busy").await.unwrap());
        while won < 10 {
            let (expected, token) = found.as_ref().map_or((None, 0), |row| (Some(row.version), row.token));
            match leases.swap("busy", expected, Some(&owner), token + 1).await.unwrap() {
                LeaseSwap::Done(version) => {
                    won += 1;
                    found = Some(row(Some(&owner), token + 1, version));
                }
                LeaseSwap::Changed(now) => found = now,
            }
        }
    };
    soon("all have won", join_all((0..16).map(|n| raise(n.to_string())))).await;
    let last = node.store.leases().read("busy").await.unwrap().unwrap();
    assert_eq!((last.token, last.version), (160, 160));
}

/// A connection that is lost is made again, and nothing of a lease with it.
#[tokio::test]
async fn a_lease_outlives_its_connection() {
    let node = Postgres::new(|options| options).await;
    let leases = node.store.leases();
    assert_eq!(leases.swap("gate", None, Some("a"), 1).await, Ok(LeaseSwap::Done(1)));
    Database::server()
        .sql(&node.database.name, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .unwrap();
    // One call may still meet the connection that ends.
    until("the lease is there", async || matches!(leases.read("gate").await, Ok(Some(row)) if row.version == 1)).await;
    assert_eq!(leases.swap("gate", Some(1), Some("a"), 1).await, Ok(LeaseSwap::Done(2)));
    assert_eq!(leases.read("gate").await, Ok(Some(row(Some("a"), 1, 2))));
}

/// Two processes of a cluster over one server: one has it, the other waits until it is given back, taken away by an operator
/// or not renewed any more, and its token is higher each time.
#[tokio::test]
async fn a_lease_of_the_cluster_is_held_by_one_at_a_time() {
    let node = Postgres::new(|options| options).await;
    let settings = LeaseSettings {
        expires_after: Duration::from_millis(4_500),
        renew_every: Duration::from_millis(1_500),
        operation_timeout: Duration::from_millis(1_400),
    };
    let (first, second) = (ActorSystem::new("first"), ActorSystem::new("second"));
    let lease = |system: &ActorSystem| {
        StoredLease::start(system, "front-gate", Arc::new(node.store.leases()), settings.clone()).unwrap()
    };
    let (ours, theirs) = (lease(&first), lease(&second));

    assert_eq!(acquired(&ours).await.0, FencingToken(1));
    match theirs.acquire(Box::new(|_| {})).await {
        Err(AcquireError::Denied { holder }) => assert!(holder.as_str().starts_with("first#"), "{holder}"),
        other => panic!("two have it: {other:?}"),
    }
    ours.release().await.unwrap();
    assert_eq!(ours.check(), None);
    let (token, lost) = acquired(&theirs).await;
    assert_eq!(token, FencingToken(2));

    // An operator takes it away: its owner notices with the next renewal.
    let taken = force_release(&node.store.leases(), "front-gate").await.unwrap().unwrap();
    assert!(taken.as_str().starts_with("second#"), "{taken}");
    soon("the owner is told", lost).await.unwrap();
    assert_eq!(theirs.check(), None);
    assert_eq!(acquired(&ours).await.0, FencingToken(4));

    // Its owner is gone without a word.
    drop(ours);
    assert_eq!(acquired(&theirs).await.0, FencingToken(5));
    assert_eq!(theirs.check(), Some(FencingToken(5)));
}

/// Asks until it is granted. What comes with the token is told when it is lost.
async fn acquired(lease: &StoredLease) -> (FencingToken, oneshot::Receiver<()>) {
    soon("the lease is granted", async {
        loop {
            let (lost, told) = oneshot::channel();
            match lease
                .acquire(Box::new(|_| {
                    let _ = lost.send(());
                }))
                .await
            {
                Ok(token) => return (token, told),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })
    .await
}
