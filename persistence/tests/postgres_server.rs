//! The PostgreSQL server that tests share, each with a database of its own.

use actors::Clock;
use persistence::{
    BoxFuture, PostgresOptions, PostgresStore,
    testkit::{PostgresServer, PostgresServerOptions},
};
use std::{sync::LazyLock, time::Duration};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(|| {
    PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"))
});

/// A database that no other test uses.
pub(crate) struct Database {
    pub(crate) name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self { name: SERVER.create_database().unwrap() }
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&SERVER.url(&self.name))
    }

    /// Runs `sql` beside the store.
    pub(crate) fn sql(&self, sql: &str) -> String {
        SERVER.sql(&self.name, sql).unwrap()
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
        let database = Database::new();
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
}
