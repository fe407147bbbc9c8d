//! `kill -9` at random points: nothing acknowledged is lost, nothing is invented, every log and state is whole.

use persistence::{
    BoxFuture, SqliteOptions, SqliteStore,
    testkit::{CrashPlan, CrashSubject, OpenStores, Tally, Told, crash_rounds, write_for_ever},
};
use std::process::Command;
use tempfile::TempDir;

const FOLDER: &str = "PERSISTENCE_CRASH_FOLDER";

struct Sqlite {
    folder: TempDir,
    store: Option<SqliteStore>,
}

impl CrashSubject for Sqlite {
    fn writer(&mut self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "crash::writer_process", "--ignored", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, self.folder.path());
        command
    }

    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>> {
        Box::pin(async {
            let store = SqliteStore::open(self.folder.path(), SqliteOptions::default());
            self.store = Some(store.map_err(|error| error.to_string())?);
            Ok(OpenStores::of(self.store.clone().unwrap()))
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.store.take().unwrap().close().await })
    }
}

/// One store, a writer process killed 25 times, each time after a random number of acknowledgements.
#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let mut subject = Sqlite { folder: tempfile::tempdir().unwrap(), store: None };
    let plan = CrashPlan { rounds: 25, seed: 0x5eed, acknowledgements_max: 200 };
    let tally = crash_rounds(&mut subject, plan).await.unwrap_or_else(|violation| panic!("{violation}"));
    let Tally { rounds, events, states, snapshots, .. } = tally;
    assert!(rounds == 25 && events > 1_000 && states > 300 && snapshots > 5, "the writer hardly wrote: {tally:?}");
}

/// Not a test of its own: the process that [`what_was_acknowledged_survives_kill_9`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of what_was_acknowledged_survives_kill_9"]
async fn writer_process() {
    let folder = std::env::var(FOLDER).expect("started by what_was_acknowledged_survives_kill_9");
    let options = SqliteOptions { checkpoint_pages: 40, ..SqliteOptions::default() }; // be killed in checkpoints too
    let store = SqliteStore::open(folder, options).unwrap();
    write_for_ever(OpenStores::of(store), std::io::stdout()).await;
}

/// The checker sees each kind of damage it is there for.
#[tokio::test]
async fn losses_and_inventions_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let stores = OpenStores::of(store.clone());
    let told = |line: &str| {
        let mut told = Told::default();
        assert!(told.note(line).unwrap(), "{line}");
        told
    };
    assert!(Told::default().check(&stores).await.is_ok(), "nothing told, nothing there");
    for (line, kind) in [("ack 3 1 0 0 0 .", "lost"), ("ack 3 0 1 0 0 .", "lost"), ("ack 3 0 0 1 0 .", "lost")] {
        assert_eq!(told(line).check(&stores).await.unwrap_err().kind, kind, "{line}");
    }
    assert!(!Told::default().note("ack 3 17 1").unwrap(), "half a line tells nothing");
    assert_eq!(Told::default().note("refused 3 number 7 is taken").unwrap_err().kind, "refused");

    let mut entity = crate::store::Entity::claim_in(&store, "crash", "2").await;
    entity.append(&store, &["2:1:···"]).await.unwrap();
    assert!(Told::default().check(&stores).await.is_ok(), "an event that was under way");
    entity.append(&store, &["2:2:·······"]).await.unwrap();
    assert_eq!(Told::default().check(&stores).await.unwrap_err().kind, "torn");
    entity.append(&store, &["never written"]).await.unwrap();
    assert_eq!(Told::default().check(&stores).await.unwrap_err().kind, "invented");
    store.close().await;
}
