//! What only shows with a server, and not from outside of the store.

use super::{
    PostgresOpenError, PostgresOptions, PostgresStore, Work,
    fault::Fault,
    known::Known,
    request::{Backlog, WriteRequest},
    schema,
    session::{Connector, Sql},
    statements,
    transaction::{self, Frame},
    watch::LOOK,
};
use crate::{
    Append, Fence, FenceScope, Journal, PersistenceId, RawEvent,
    testkit::{PostgresServer, PostgresServerOptions},
};
use actors::Clock;
use std::{
    sync::{Arc, LazyLock, atomic::AtomicUsize},
    time::Duration,
};
use tokio::sync::oneshot;

static SERVER: LazyLock<PostgresServer> = LazyLock::new(server);

fn server() -> PostgresServer {
    PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

static SHOW: Sql = Sql { text: "SHOW statement_timeout", types: &[] };
static PORT: Sql = Sql { text: "SHOW port", types: &[] };

/// A store in a database of its own.
pub(crate) async fn store() -> (PostgresStore, PostgresOptions) {
    let options = PostgresOptions::new(&SERVER.url(&SERVER.create_database().unwrap()));
    (PostgresStore::open(options.clone(), Clock::tokio()).await.unwrap(), options)
}

fn connector(options: &PostgresOptions) -> Connector {
    Connector::new(options, &Clock::tokio()).unwrap()
}

fn append(id: &PersistenceId, fence: &Fence) -> WriteRequest {
    let events = vec![RawEvent { manifest: "m".into(), payload: "x".into(), meta: None }];
    let (id, fence) = (id.clone(), fence.clone());
    let append = Append { id, expected_seq: 1, fence, batch_id: 1, events, tags: Vec::new(), time_ms: 0 };
    let backlog = Backlog::reserve(&Arc::new(AtomicUsize::new(0)), 0, 0).unwrap();
    WriteRequest { work: Work::Append(append), reply: oneshot::channel().0, attempts: 0, _backlog: backlog }
}

/// Everything is sent at once, so what follows a statement that should have begun a transaction is done, each by itself:
/// without the locks. Such a write must not happen, and nobody is told that it certainly has not.
#[tokio::test]
async fn nothing_is_written_in_a_transaction_that_was_not_begun() {
    let (store, options) = store().await;
    let id = PersistenceId::of("test", "begin");
    let fence = Journal::claim(&store, FenceScope::Entity(id.clone())).await.unwrap();
    let session = connector(&options).connect(statements::WRITERS).await.unwrap();
    let frame = |begin: &str| Frame { begin: begin.into(), is_session: true, generation: 1, owner: "test".into() };
    for begin in ["SELECT 1 / 0", "SELECT 1"] {
        let written = transaction::write(&session, &frame(begin), &[append(&id, &fence)], &mut Known::default()).await;
        match written {
            Err(fault) => assert!(matches!(&fault, Fault::Lost(reason) if reason.contains("division")), "{fault:?}"),
            Ok(committed) => assert_eq!(committed.events, 0, "{committed:?}"),
        }
        assert_eq!(store.highest_seq(id.clone()).await, Ok(0), "after {begin}");
    }
    let begin = connector(&options).begin();
    let committed =
        transaction::write(&session, &frame(&begin), &[append(&id, &fence)], &mut Known::default()).await.unwrap();
    assert_eq!((committed.events, store.highest_seq(id).await), (1, Ok(1)), "in a transaction it is");
}

/// A connection for others than the store leads to the same store, or is none.
#[tokio::test]
async fn a_plain_connection_to_another_store_is_refused() {
    let (store, _) = store().await;
    let client = store.plain_client().await.unwrap();
    let other = "UPDATE cloudstate.meta SET value = 'another' WHERE key = 'store_id'";
    client.session().execute(other).await.unwrap();
    let refused = store.plain_client().await.map(drop).unwrap_err();
    assert!(matches!(&refused, PostgresOpenError::Foreign { .. }), "{refused:?}");
}

/// The settings of a plain connection hold wherever it leads: for as long as it lasts, or behind a pooler for a transaction.
#[tokio::test]
async fn transactions_of_others_have_limits_and_leave_no_statements_behind() {
    let (_, options) = store().await;
    for pooler in [false, true] {
        let limited = PostgresOptions { pooler, statement_timeout: Duration::from_secs(17), ..options.clone() };
        let mut client = connector(&limited).connect_plain().await.unwrap();
        let transaction = client.transaction().await.unwrap();
        let settings = "SELECT current_setting('statement_timeout'),
            current_setting('idle_in_transaction_session_timeout'), (SELECT count(*) FROM pg_prepared_statements)";
        let row = transaction.query_typed(settings, &[]).await.unwrap().remove(0);
        let found: (&str, &str, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(found, ("17s", "17s", 0), "pooler: {pooler}");
        transaction.rollback().await.unwrap();
        let after = client.session().query(&SHOW, &[]).await.unwrap().remove(0);
        assert_eq!(after.get::<_, &str>(0), if pooler { "0" } else { "17s" });
    }
}

/// Whoever opens a store is not kept waiting by a server that has stopped answering. Time is virtual from then on.
#[tokio::test]
async fn a_server_that_stops_answering_while_a_store_is_opened_is_given_up() {
    let server = server();
    let options = PostgresOptions::new(&server.url(&server.create_database().unwrap()));
    PostgresStore::open(options.clone(), Clock::tokio()).await.unwrap().close().await;
    // Behind a pooler there is no limit of the server's before a transaction.
    let connector = connector(&PostgresOptions { pooler: true, ..options });
    let session = connector.connect(&[]).await.unwrap();
    server.stop_answering();
    tokio::time::pause();
    let given_up = [
        schema::identity(&connector, &session).await.map(drop),
        schema::prepare(&connector, &session).await.map(drop),
        schema::adopt(&connector, &session).await.map(drop),
    ];
    for outcome in given_up {
        assert!(
            matches!(&outcome, Err(PostgresOpenError::Unreachable { reason, .. }) if reason.contains("35s")),
            "{outcome:?}"
        );
    }
}

/// Each host may take the whole time, and one more is for what is sent afterwards.
#[test]
fn there_is_time_for_every_host() {
    let of = |hosts: &str| {
        let options = PostgresOptions::new(&format!("postgres://u@{hosts}/d"));
        connector(&PostgresOptions { connect_timeout: Duration::from_secs(3), ..options }).connect_within()
    };
    assert_eq!(of("one"), Duration::from_secs(6));
    assert_eq!(of("one:1,two:2,three:3"), Duration::from_secs(12));
}

/// What runs may be above the highest id that a snapshot knows of, and is below the next one all the same.
#[tokio::test]
async fn a_look_knows_a_bound_above_all_that_runs() {
    let (_, options) = store().await;
    let connector = connector(&options);
    let (mut first, mut second) = (connector.connect_plain().await.unwrap(), connector.connect_plain().await.unwrap());
    let session = connector.connect(&[&LOOK]).await.unwrap();
    let mut ids = Vec::new();
    let mut running = Vec::new();
    for client in [&mut first, &mut second] {
        let transaction = client.transaction().await.unwrap();
        let row = transaction.query_typed("SELECT pg_current_xact_id()::text::bigint", &[]).await.unwrap().remove(0);
        ids.push(row.get::<_, i64>(0));
        running.push(transaction);
    }
    let row = session.query(&LOOK, &[]).await.unwrap().remove(0);
    let (oldest, next): (i64, i64) = (row.get(2), row.get(3));
    assert!(oldest <= ids[0] && next > ids[1], "{ids:?} run, {oldest} is the oldest, {next} the next");
}

/// Of several hosts, connections of every kind lead to the one that takes writes.
#[tokio::test]
async fn every_connection_leads_to_the_host_that_takes_writes() {
    let reading = server();
    let (here, there) = (reading.create_database().unwrap(), SERVER.create_database().unwrap());
    let read_only = format!("ALTER DATABASE {here} SET default_transaction_read_only = on");
    reading.sql("postgres", &read_only).unwrap();
    if here != there {
        reading.sql("postgres", &format!("ALTER DATABASE {here} RENAME TO {there}")).unwrap();
    }
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", reading.port(), SERVER.port());
    let connector =
        connector(&PostgresOptions::new(&format!("postgres://{}@{hosts}/{there}", PostgresServer::SUPERUSER)));
    let plain = connector.connect_plain().await.unwrap();
    let ours = connector.connect(&[]).await.unwrap();
    for session in [plain.session(), &ours] {
        let row = session.query(&PORT, &[]).await.unwrap().remove(0);
        assert_eq!(row.get::<_, &str>(0), SERVER.port().to_string());
    }
}
