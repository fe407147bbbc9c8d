//! Each thing that whoever runs the server may get wrong has an error of its own that says what to do.

use crate::{
    postgres_server::{Database, Postgres, open, page, soon, until},
    store::{Entity, recover},
};
use actors::Clock;
use futures_util::future::join_all;
use persistence::{
    FeedQuery, FenceScope, Journal, JournalError, Offset, PersistenceId, PostgresOpenError, PostgresOptions,
    PostgresStore, ProjectionId, ProjectionStore, StateStore,
    testkit::{PostgresServer, PostgresServerOptions},
};
use std::{net::TcpListener, sync::LazyLock, time::Duration};

/// A server that checks passwords, offers TLS, and has roles with little rights.
struct Strict {
    server: PostgresServer,
    certificate: String,
}

const ACCESS: &str = "
local all all trust
host all cloudstate 127.0.0.1/32 trust
hostssl all tls_only 127.0.0.1/32 trust
host all tls_only 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
";

static STRICT: LazyLock<Strict> = LazyLock::new(|| {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = PostgresServer::start(&PostgresServerOptions::default()).unwrap();
    let certificate = server.add_file("server.crt", &key.cert.pem()).unwrap();
    server.add_file("server.key", &key.signing_key.serialize_pem()).unwrap();
    server.add_setting("ssl = on").unwrap();
    server.set_access(ACCESS).unwrap();
    server.restart().unwrap();
    for role in ["plain", "limited CONNECTION LIMIT 3", "tls_only"] {
        server.sql("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD 'right'")).unwrap();
    }
    Strict { server, certificate: certificate.display().to_string() }
});

impl Strict {
    fn url(&self, user: &str, host: &str, database: &str) -> String {
        format!("postgres://{user}@{host}:{}/{database}", self.server.port())
    }
}

async fn refused(options: PostgresOptions) -> PostgresOpenError {
    match PostgresStore::open(options, Clock::tokio()).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

async fn refused_url(url: String) -> PostgresOpenError {
    refused(PostgresOptions::new(&url)).await
}

#[tokio::test]
async fn a_wrong_password_or_user_is_a_login_refused() {
    let database = STRICT.server.create_database().unwrap();
    for user in ["plain:wrong", "plain", "nobody:right"] {
        let error = refused_url(STRICT.url(user, "127.0.0.1", &database)).await;
        assert!(matches!(&error, PostgresOpenError::Login { .. }), "{user}: {error:?}");
        assert!(!error.to_string().contains("wrong"), "no password is printed: {error}");
    }
    STRICT.server.sql("postgres", &format!("GRANT CREATE ON DATABASE {database} TO plain")).unwrap();
    let apart = PostgresOptions {
        password: Some("right".into()),
        ..PostgresOptions::new(&STRICT.url("plain", "127.0.0.1", &database))
    };
    open(apart).await.close().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let error = refused_url(STRICT.url("cloudstate", "127.0.0.1", "missing")).await;
    assert!(matches!(&error, PostgresOpenError::NoDatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("missing") && error.to_string().contains("CREATE DATABASE"), "{error}");
}

/// From no rights at all to enough: each step names the one that is still missing.
#[tokio::test]
async fn missing_rights_are_named_with_what_grants_them() {
    let database = STRICT.server.create_database().unwrap();
    let url = STRICT.url("plain:right", "127.0.0.1", &database);
    let missing = async |part: &str| {
        let error = refused_url(url.clone()).await;
        assert!(matches!(&error, PostgresOpenError::NoRights { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    };
    let sql = |sql: &str| STRICT.server.sql(&database, sql).unwrap();
    missing("CREATE ON DATABASE").await;
    sql("CREATE SCHEMA cloudstate");
    missing("USAGE, CREATE ON SCHEMA \"cloudstate\"").await;
    open(PostgresOptions::new(&STRICT.url("cloudstate", "127.0.0.1", &database))).await.close().await;
    missing("USAGE, CREATE ON SCHEMA \"cloudstate\"").await;
    sql("GRANT USAGE ON SCHEMA cloudstate TO plain");
    missing("ALL TABLES IN SCHEMA \"cloudstate\"").await;
    sql("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA cloudstate TO plain");
    missing("ALL TABLES IN SCHEMA \"cloudstate\"").await;
    sql("GRANT ALL ON ALL TABLES IN SCHEMA cloudstate TO plain");
    missing("ALL SEQUENCES IN SCHEMA \"cloudstate\"").await;
    sql("GRANT ALL ON ALL SEQUENCES IN SCHEMA cloudstate TO plain");
    let store = open(PostgresOptions::new(&url)).await;
    Journal::claim(&store, FenceScope::Entity(PersistenceId::of("t", "1"))).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn too_few_connections_show_when_the_store_is_opened() {
    let database = STRICT.server.create_database().unwrap();
    STRICT.server.sql("postgres", &format!("GRANT CREATE ON DATABASE {database} TO limited")).unwrap();
    let error = refused_url(STRICT.url("limited:right", "127.0.0.1", &database)).await;
    assert!(matches!(&error, PostgresOpenError::TooManyConnections { needed: 6, .. }), "{error:?}");
    assert!(error.to_string().contains("CONNECTION LIMIT"), "{error}");
    // The connections of the failed attempt end; three are enough for one writer, one reader and one for upkeep.
    let url = STRICT.url("limited:right", "127.0.0.1", &database);
    let few = PostgresOptions { writers: 1, readers: 1, ..PostgresOptions::new(&url) };
    let mut store = None;
    until("the connections have ended", async || {
        store = match PostgresStore::open(few.clone(), Clock::tokio()).await {
            Ok(store) => Some(store),
            Err(PostgresOpenError::TooManyConnections { .. }) => None,
            Err(other) => panic!("{other}"),
        };
        store.is_some()
    })
    .await;
    store.expect("waited for").close().await;
}

#[tokio::test]
async fn nobody_at_the_address_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = PostgresOptions {
        connect_timeout: Duration::from_millis(100),
        ..PostgresOptions::new(&format!("postgres://u@{address}/d?sslmode=disable"))
    };
    let error = soon("a silent server is given up", refused(silent)).await;
    assert!(matches!(&error, PostgresOpenError::Unreachable { .. }), "one that never answers: {error:?}");
    drop(listener);
    let error = refused_url(format!("postgres://u@{address}/d")).await;
    assert!(matches!(&error, PostgresOpenError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let error = refused_url("postgres://u@no-such-host.invalid/d".into()).await;
    assert!(matches!(&error, PostgresOpenError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn tls_is_had_where_it_is_asked_for() {
    let database = STRICT.server.create_database().unwrap();
    let url = |user: &str, host: &str, query: String| format!("{}?{query}", STRICT.url(user, host, &database));
    let verified = format!("sslmode=verify-full&sslrootcert={}", STRICT.certificate);
    let encrypted = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'tls-test'";
    for (query, expected) in [(verified.clone(), "5|5"), ("sslmode=require".into(), "5|5"), (String::new(), "5|5")] {
        let options = PostgresOptions {
            application_name: "tls-test".into(),
            ..PostgresOptions::new(&url("cloudstate", "localhost", query.clone()))
        };
        let store = open(options).await;
        assert_eq!(STRICT.server.sql(&database, encrypted).unwrap(), expected, "{query}");
        store.close().await;
        until("the connections have ended", async || STRICT.server.sql(&database, encrypted).unwrap() == "0|0").await;
    }
    open(PostgresOptions::new(&url("cloudstate", "localhost", "sslmode=disable".into()))).await.close().await;
    let error = refused_url(url("tls_only", "127.0.0.1", "sslmode=disable".into())).await;
    assert!(matches!(&error, PostgresOpenError::Login { .. }), "the server demands it: {error:?}");
    // The certificate is for `localhost`.
    let error = refused_url(url("cloudstate", "127.0.0.1", verified)).await;
    assert!(matches!(&error, PostgresOpenError::Tls { .. }), "another host: {error:?}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other root.pem");
    std::fs::write(&path, other.cert.pem()).unwrap();
    let escaped = path.display().to_string().replace(' ', "%20");
    let error = refused_url(url("cloudstate", "localhost", format!("sslmode=verify-full&sslrootcert={escaped}"))).await;
    assert!(matches!(&error, PostgresOpenError::Tls { .. }), "another root: {error:?}");
    let error = refused_url(url("cloudstate", "localhost", "sslmode=verify-full&sslrootcert=/missing".into())).await;
    assert!(error.to_string().contains("/missing"), "{error}");
    let plain = Database::new();
    let error = refused_url(format!("{}?sslmode=require", plain.options().url)).await;
    assert!(matches!(&error, PostgresOpenError::Tls { .. }), "a server without TLS: {error:?}");
}

#[tokio::test]
async fn a_read_only_database_is_refused() {
    let database = Database::new();
    database.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name));
    let error = refused(database.options()).await;
    assert!(matches!(&error, PostgresOpenError::ReadOnly { .. }), "{error:?}");
}

/// A primary that becomes a replica under an open store, and is promoted again, as in a fail-over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_no_writes_until_it_is_promoted() {
    let started = tokio::task::spawn_blocking(|| PostgresServer::start(&PostgresServerOptions::default()).unwrap());
    let server = started.await.unwrap();
    let database = server.create_database().unwrap();
    let options = PostgresOptions::new(&server.url(&database));
    let store = open(options.clone()).await;
    let claim = || Journal::claim(&store, FenceScope::Entity(PersistenceId::of("t", "1")));
    let first = claim().await.unwrap();
    server.add_file("standby.signal", "").unwrap();
    server.restart().unwrap();
    let error = refused(options).await;
    assert!(matches!(&error, PostgresOpenError::ReadOnly { reason, .. } if reason.contains("replica")), "{error:?}");
    let mut refused = String::new();
    until("the connection of before is given up", async || {
        refused = claim().await.unwrap_err().to_string();
        !refused.contains("outcome unknown") // the server had closed it, which is noticed once
    })
    .await;
    assert!(refused.contains("read-only") || refused.contains("takes no writes"), "{refused}");
    let known = store.highest_seq(PersistenceId::of("t", "1")).await;
    assert_eq!(known, Ok(0), "reads go on");
    server.sql(&database, "SELECT pg_promote()").unwrap();
    let mut again = Err(JournalError::Unavailable { reason: String::new() });
    until("it is promoted", async || {
        again = claim().await;
        again.is_ok()
    })
    .await;
    assert_eq!(again.unwrap().epoch, first.epoch + 1);
}

/// A dump that is restored into another server, where transaction ids begin again: refused until it is adopted, and then
/// readers go on from where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_dump_is_not_opened_unasked_and_goes_on_once_it_is_adopted() {
    let node = Postgres::new(|options| options).await;
    // Far ahead of the other server.
    node.database.sql("DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$");
    let mut before = Entity::claim(&node.store, "1").await;
    before.append(&node.store, &["a", "b"]).await.unwrap();
    let query = FeedQuery::of("test");
    let read_to = page(&node.store, &query, Offset::START, 2).await.read_to;
    let reader = ProjectionId::of_events("reader", &query);
    let fence = node.store.take_over(reader.clone()).await.unwrap().fence;
    node.store.save_offset(fence, read_to).await.unwrap();
    before.append(&node.store, &["c"]).await.unwrap();
    let dump = Database::server().run("pg_dump", &["--no-owner", &node.options.url]).unwrap();
    let copy = STRICT.server.create_database().unwrap();
    let file = STRICT.server.add_file("dump.sql", &dump).unwrap();
    let url = STRICT.server.url(&copy);
    STRICT.server.run("psql", &["-q", "-X", "-f", file.to_str().unwrap(), &url]).unwrap();
    let error = refused_url(url.clone()).await;
    assert!(matches!(&error, PostgresOpenError::Restored { .. }), "{error:?}");
    assert!(error.to_string().contains("cloudstate store adopt"), "{error}");

    let options = PostgresOptions::new(&url);
    assert_eq!(PostgresStore::adopt(options.clone(), Clock::tokio()).await.unwrap(), 2);
    let store = open(options.clone()).await;
    assert_eq!(recover(&store, &before.id).await.unwrap().highest, 3);
    let mut after = Entity::claim(&store, "1").await;
    assert_eq!(after.fence.epoch, before.fence.epoch + 1, "epochs go on");
    after.append(&store, &["d"]).await.unwrap();
    let kept = store.take_over(reader).await.unwrap().offset;
    assert_eq!(kept, read_to, "places are kept");
    let page = page(&store, &query, kept, 2).await;
    let found: Vec<_> = page.events.iter().map(|event| event.stored.event.payload.clone()).collect();
    assert_eq!(found, ["c", "d"], "what the reader has not seen, old and new, in this order");
    let last = page.events[1].offset;
    assert!(last.generation() == 2 && last.tx() < read_to.tx(), "transaction ids are lower here: {last} and {read_to}");
    store.close().await;
    assert_eq!(PostgresStore::adopt(options, Clock::tokio()).await.unwrap(), 2, "it belongs to this server");
}

#[tokio::test]
async fn a_newer_schema_and_one_of_another_program_are_left_alone() {
    let database = Database::new();
    open(database.options()).await.close().await;
    database.sql("UPDATE cloudstate.meta SET value = '99' WHERE key = 'schema_version'");
    let error = refused(database.options()).await;
    assert!(matches!(&error, PostgresOpenError::NewerSchema { found: 99, .. }), "{error:?}");
    database.sql("CREATE TABLE public.orders(id INT)");
    let foreign = |schema: &str| PostgresOptions { schema: schema.into(), ..database.options() };
    let error = refused(foreign("public")).await;
    assert!(matches!(&error, PostgresOpenError::Foreign { .. }), "{error:?}");
    database.sql("CREATE SCHEMA other; CREATE TABLE other.meta(id INT)");
    let error = refused(foreign("other")).await;
    assert!(matches!(&error, PostgresOpenError::Foreign { .. }), "{error:?}");
    open(foreign("ours")).await.close().await;
    assert_eq!(database.sql("SELECT value FROM ours.meta WHERE key = 'generation'"), "1");
}

/// A schema may be called what the language has a meaning for, or what it does not take for a name.
#[tokio::test]
async fn schemas_may_have_any_name() {
    let database = Database::new();
    for schema in ["1st", "user", "select"] {
        let options = PostgresOptions { schema: schema.into(), ..database.options() };
        for pooler in [false, true] {
            let store = open(PostgresOptions { pooler, ..options.clone() }).await;
            let mut entity = Entity::claim(&store, &format!("named-{pooler}")).await;
            entity.append(&store, &["a", "b"]).await.unwrap();
            entity.save(&store, 1, "snapshot").await.unwrap();
            entity.delete_to(&store, 1).await.unwrap();
            assert_eq!(recover(&store, &entity.id).await.unwrap().highest, 2);
            store.close().await;
        }
        assert_eq!(PostgresStore::adopt(options, Clock::tokio()).await.unwrap(), 1);
    }
}

/// Nodes that start together, on a database without tables: one makes them, the others wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_make_the_schema_once() {
    let database = Database::new();
    let opening = (0..6).map(|_| PostgresStore::open(database.options(), Clock::tokio()));
    let stores: Vec<_> = join_all(opening).await.into_iter().map(|opened| opened.unwrap()).collect();
    assert_eq!(database.sql("SELECT count(*) FROM cloudstate.meta WHERE key = 'store_id'"), "1");
    let epochs =
        join_all(stores.iter().map(|store| StateStore::claim(store, FenceScope::Entity(PersistenceId::of("t", "1")))));
    let mut epochs: Vec<u64> = epochs.await.into_iter().map(|fence| fence.unwrap().epoch).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
}

/// What is stored is stored, whatever is set for the role: commits are flushed unless the store was told otherwise.
#[tokio::test]
async fn commits_are_flushed_whatever_the_server_is_set_to() {
    let database = Database::new();
    database.sql(&format!("ALTER DATABASE {} SET synchronous_commit = off", database.name));
    let store = open(database.options()).await;
    let id = PersistenceId::of("t", "1");
    Journal::claim(&store, FenceScope::Entity(id.clone())).await.unwrap();
    // The trigger says under which setting a claim is committed.
    database.sql(
        "CREATE TABLE cloudstate.seen(setting TEXT);
         CREATE FUNCTION cloudstate.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO cloudstate.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
         CREATE TRIGGER see BEFORE UPDATE ON cloudstate.entity FOR EACH ROW EXECUTE FUNCTION cloudstate.see()",
    );
    Journal::claim(&store, FenceScope::Entity(id)).await.unwrap();
    assert_eq!(database.sql("SELECT setting FROM cloudstate.seen"), "on");
}
