//! PostgreSQL: writers killed, the server killed, owners stopped.

use crate::{this_program, two_writers};
use actors::Clock;
use persistence::{
    BoxFuture, Durability, PostgresOptions, PostgresStore,
    testkit::{CrashSubject, OpenStores, PostgresServer, PostgresServerOptions, TakeOverSubject, write_for_ever},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{process::Command, thread, time::Duration};

/// The writer process.
pub(crate) async fn write(url: &str, durability: Durability) -> Result<(), String> {
    write_for_ever(OpenStores::of(open(url, durability).await?), std::io::stdout()).await;
    Ok(())
}

/// The process that is stopped and goes on too late.
pub(crate) async fn late(url: &str) -> Result<(), String> {
    two_writers::late(OpenStores::of(open(url, Durability::Fsync).await?)).await;
    Ok(())
}

async fn open(url: &str, durability: Durability) -> Result<PostgresStore, String> {
    let options = PostgresOptions { durability, ..PostgresOptions::new(url) };
    PostgresStore::open(options, Clock::tokio()).await.map_err(|error| error.to_string())
}

/// A server that syncs, with a database for one store.
pub(crate) struct Postgres {
    server: PostgresServer,
    url: String,
    durability: Durability,
    kill_server: bool,
    random: StdRng,
    open: Option<PostgresStore>,
}

/// How long a writer goes on after a server that came back, before that is killed again.
const RECONNECTED: Duration = Duration::from_millis(400);

impl Postgres {
    pub(crate) fn start(durability: Durability, kill_server: bool, seed: u64) -> Result<Self, String> {
        let options = PostgresServerOptions { fsync: true, ..PostgresServerOptions::default() };
        let server = PostgresServer::start(&options).map_err(|error| error.to_string())?;
        let url = server.url(&server.create_database().map_err(|error| error.to_string())?);
        Ok(Self { server, url, durability, kill_server, random: StdRng::seed_from_u64(seed), open: None })
    }

    fn command(&self, role: &str) -> Command {
        let mut command = this_program();
        command.args([role, "postgres", &self.url]);
        command
    }
}

impl CrashSubject for Postgres {
    fn writer(&mut self) -> Command {
        let mut command = self.command("writer");
        if self.durability == Durability::Os {
            command.arg("--os");
        }
        command
    }

    fn crash(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            if !self.kill_server {
                return Ok(());
            }
            self.server.kill();
            // Now and then the writer lives on, and has to settle what was under way with the server that comes back.
            if self.random.random_ratio(1, 4) {
                self.server.restart().map_err(|error| error.to_string())?;
                thread::sleep(RECONNECTED);
                self.server.kill();
            }
            Ok(())
        })
    }

    fn repair(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            if self.kill_server { self.server.restart().map_err(|error| error.to_string()) } else { Ok(()) }
        })
    }

    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>> {
        Box::pin(async {
            let store = open(&self.url, self.durability).await?;
            self.open = Some(store.clone());
            Ok(OpenStores::of(store))
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(store) = self.open.take() {
                store.close().await;
            }
        })
    }
}

impl TakeOverSubject for Postgres {
    fn late(&mut self) -> Command {
        self.command("late")
    }

    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>> {
        CrashSubject::open(self)
    }
}
