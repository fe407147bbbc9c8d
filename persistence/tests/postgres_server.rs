//! The PostgreSQL server that tests share, each with a database of its own.

use actors::Clock;
use persistence::{
    BoxFuture, EventFeed, FeedPage, FeedQuery, Offset, PersistenceId, PostgresOptions, PostgresStore, RawEvent,
    ReplayLimit,
    testkit::{PostgresServer, PostgresServerOptions},
};
use std::{any::Any, sync::LazyLock, time::Duration};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(|| {
    PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"))
});

/// A database that no other test uses.
pub(crate) struct Database {
    pub(crate) name: String,
    apart: Option<PostgresServer>,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self { name: SERVER.create_database().unwrap(), apart: None }
    }

    /// On a server that no other test uses.
    async fn apart() -> Self {
        let start =
            || PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let server = tokio::task::spawn_blocking(start).await.unwrap();
        Self { name: server.create_database().unwrap(), apart: Some(server) }
    }

    fn home(&self) -> &PostgresServer {
        self.apart.as_ref().unwrap_or(&SERVER)
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&self.home().url(&self.name))
    }

    /// Runs `sql` beside the store.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.home().sql(&self.name, sql).unwrap()
    }

    pub(crate) fn server() -> &'static PostgresServer {
        &SERVER
    }
}

/// What comes about at some time; a test that waits for longer than anything here takes has failed.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("not within a minute: {what}"))
}

/// Looks until it has happened.
pub(crate) async fn until(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A page with `count` events or more. A feed shows what is stored once no older transaction is left on the server, and
/// there are those of other tests and of the server's own upkeep.
pub(crate) async fn page(store: &PostgresStore, query: &FeedQuery, after: Offset, count: usize) -> FeedPage<RawEvent> {
    let mut page = None;
    until("a feed shows what is stored", async || {
        let found = EventFeed::page(store, query.clone(), after, ReplayLimit::default()).await.unwrap();
        page.insert(found).events.len() >= count
    })
    .await;
    page.unwrap()
}

pub(crate) async fn open(options: PostgresOptions) -> PostgresStore {
    PostgresStore::open(options, Clock::tokio()).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A store that can be closed and opened again, for the contracts.
pub(crate) struct Postgres {
    pub(crate) database: Database,
    pub(crate) options: PostgresOptions,
    pub(crate) store: PostgresStore,
}

impl Postgres {
    pub(crate) async fn new(change: impl FnOnce(PostgresOptions) -> PostgresOptions) -> Self {
        Self::on(Database::new(), change).await
    }

    /// For tests that hold transactions open, which holds back the feeds of everybody on the server.
    pub(crate) async fn apart(change: impl FnOnce(PostgresOptions) -> PostgresOptions) -> Self {
        Self::on(Database::apart().await, change).await
    }

    async fn on(database: Database, change: impl FnOnce(PostgresOptions) -> PostgresOptions) -> Self {
        let options = change(database.options());
        Self { store: open(options.clone()).await, options, database }
    }

    pub(crate) fn reopen(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            self.store.close().await;
            self.store = open(self.options.clone()).await;
            true
        })
    }

    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.options.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// A transaction of somebody else, who takes his time, holds the row that every write to the shard of `id` needs, until
    /// the answer is dropped.
    pub(crate) async fn hold(&self, id: &PersistenceId) -> Option<Box<dyn Any + Send>> {
        if self.options.writers < 2 {
            return None; // all share one connection
        }
        let client = self.client().await;
        client.batch_execute("BEGIN").await.unwrap();
        let lock = "SELECT 1 FROM cloudstate.owner WHERE entity_type = $1 AND shard = $2 FOR NO KEY UPDATE";
        let locked = client.query(lock, &[&id.entity_type(), &i32::from(id.slice())]).await.unwrap();
        assert_eq!(locked.len(), 1, "the row that every write of {id} needs");
        Some(Box::new(client))
    }

    /// The server says of every row what it says when it cannot make a file longer.
    pub(crate) async fn fill_disk(&self, full: bool) {
        let client = self.client().await;
        for (table, written) in [("journal", "INSERT"), ("snapshot", "INSERT"), ("state", "INSERT OR UPDATE")] {
            client.batch_execute(&format!("DROP TRIGGER IF EXISTS full_disk ON cloudstate.{table}")).await.unwrap();
            if full {
                let trigger = format!(
                    "CREATE OR REPLACE FUNCTION cloudstate.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                       RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
                     END $$;
                     CREATE TRIGGER full_disk AFTER {written} ON cloudstate.{table}
                       FOR EACH ROW EXECUTE FUNCTION cloudstate.full_disk()"
                );
                client.batch_execute(&trigger).await.unwrap();
            }
        }
    }
}
