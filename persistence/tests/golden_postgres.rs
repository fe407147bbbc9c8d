//! What released versions have stored in PostgreSQL is read for ever; see `golden`.
//!
//! A file is what `pg_dump` says of a store, without what depends on the server: it is restored as whoever moves to
//! another server does, and taken over.

use crate::{
    golden::{Holds, INSTRUCTIONS, bytes, check, fill, go_on, golden, newest},
    postgres_server::{Database, Postgres, open, until},
};
use actors::Clock;
use persistence::{
    EventFeed, FeedQuery, LeaseRow, LeaseSwap, Offset, PostgresOpenError, PostgresOptions, PostgresStore, ReplayLimit,
};
use std::{fs, time::Duration};

/// The dumps, and the version of the schema in each.
const DUMPS: [(&str, u32); 2] = [("postgres-1.sql", 1), ("postgres-2.sql", 2)];

/// From this version on there are leases.
const LEASES: u32 = 2;

fn lease() -> LeaseRow {
    LeaseRow { owner: Some("naïve".into()), token: 1, version: 1 }
}

/// The same on every server that can have a store.
fn dump(options: &PostgresOptions, more: &[&str]) -> String {
    let arguments = ["--no-owner", "--no-privileges", "--schema=cloudstate", "--column-inserts", &options.url];
    let printed = Database::server().run("pg_dump", &[more, &arguments].concat()).unwrap();
    let depends = |line: &&str| {
        line.trim().is_empty()
            || ["--", "SET ", "\\", "SELECT pg_catalog.set_config"].iter().any(|it| line.starts_with(it))
    };
    printed.lines().filter(|line| !depends(line)).map(|line| format!("{line}\n")).collect()
}

fn restored(name: &str) -> Database {
    let database = Database::new();
    let file = Database::server().add_file(name, std::str::from_utf8(&bytes(name)).unwrap()).unwrap();
    let arguments = ["-q", "-X", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap(), &database.options().url];
    Database::server().run("psql", &arguments).unwrap_or_else(|error| panic!("{name}: {error}"));
    database
}

fn version(database: &Database) -> u32 {
    database.sql("SELECT value FROM cloudstate.meta WHERE key = 'schema_version'").parse().unwrap()
}

#[tokio::test]
async fn databases_of_every_version_are_opened_and_read() {
    for (name, version_then) in DUMPS {
        let database = restored(name);
        assert_eq!(version(&database), version_then, "{name}");
        let places = "SELECT generation || '.' || tx || '.' || ordering FROM cloudstate.journal ORDER BY ordering";
        let places_then = database.sql(places);
        let error = PostgresStore::open(database.options(), Clock::tokio()).await.err().unwrap();
        assert!(matches!(&error, PostgresOpenError::Restored { .. }), "{name}: {error:?}");
        assert_eq!(PostgresStore::adopt(database.options(), Clock::tokio()).await.unwrap(), 2, "{name}");
        let store = open(database.options()).await;
        check(&store, name, Holds::ALL).await;
        let found = store.leases().read("gate").await;
        assert_eq!(found, Ok((version_then >= LEASES).then(lease)), "{name}");
        let page = EventFeed::page(&store, FeedQuery::of("golden"), Offset::START, ReplayLimit::default());
        let places_now: Vec<_> = page.await.unwrap().events.iter().map(|event| event.offset.to_string()).collect();
        assert_eq!(places_now.join("\n"), places_then, "{name}: places are for ever");
        go_on(&store, name).await;
        // The server's own upkeep may hold the feed back for a moment.
        let last = async {
            loop {
                let page =
                    EventFeed::page(&store, FeedQuery::of("golden"), Offset::START, ReplayLimit::default()).await;
                let events = page.unwrap().events;
                if events.len() > places_now.len() {
                    break events.last().unwrap().offset;
                }
                Clock::tokio().sleep(Duration::from_millis(20)).await;
            }
        };
        let last = Clock::tokio().timeout(Duration::from_secs(60), last).await.expect("it is seen");
        assert_eq!(last.generation(), 2, "{name}: what comes now comes after all that was");
        store.close().await;
    }
}

/// Upgraded or new, the tables are the same.
#[tokio::test]
async fn this_program_makes_the_tables_of_the_newest_dump() {
    let new = Postgres::new(|options| options).await;
    let tables = |database: &Database| dump(&database.options(), &["--schema-only"]);
    let newest = restored(&newest("postgres"));
    assert!(
        (version(&new.database), tables(&new.database)) == (version(&newest), tables(&newest)),
        "postgres: {INSTRUCTIONS}"
    );
    for (name, _) in DUMPS {
        let old = restored(name);
        PostgresStore::adopt(old.options(), Clock::tokio()).await.unwrap();
        assert_eq!(tables(&old), tables(&new.database), "{name}, brought up to date");
    }
}

#[test]
fn every_dump_is_read() {
    let is_dump = |name: &String| name.ends_with(".sql");
    let all = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<_> = all.filter(is_dump).collect();
    all.sort();
    assert_eq!(all, DUMPS.map(|(name, _)| name), "say in DUMPS what must come out of it");
}

/// Adds the dump of this version, unless it is there.
pub(crate) async fn make() {
    let node = Postgres::new(|options| options).await;
    let path = golden(&format!("postgres-{}.sql", version(&node.database)));
    if !path.exists() {
        fill(&node.store).await;
        let LeaseRow { owner, token, version } = lease();
        let made = node.store.leases().swap("gate", None, owner.as_deref(), token).await;
        assert_eq!(made, Ok(LeaseSwap::Done(version)));
        until("deleted rows are gone", async || node.database.sql("SELECT count(*) FROM cloudstate.sweep") == "0")
            .await;
        node.store.close().await;
        fs::write(&path, dump(&node.options, &[])).unwrap();
        eprintln!("made {}", path.display());
    }
}
