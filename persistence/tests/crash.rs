//! `kill -9` at random points: nothing acknowledged is lost, nothing is invented, every log is whole.

use crate::store::{self, Entity};
use persistence::{FenceScope, Journal, PersistenceId, SqliteOptions, SqliteStore};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

const WRITERS: u64 = 8;
const FOLDER: &str = "PERSISTENCE_CRASH_FOLDER";

/// One store, a writer process killed 25 times, each time after a random number of acknowledgements.
#[tokio::test]
async fn acknowledged_events_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(0x5eed);
    let mut acknowledged = BTreeMap::new();
    for round in 0..25 {
        let patience = if round % 8 == 0 { 0 } else { random.random_range(1..600) };
        write_until_killed(folder.path(), patience, &mut acknowledged);
        check(folder.path(), &mut acknowledged, round).await;
    }
    let total: u64 = acknowledged.values().sum();
    assert!(total > 1_000, "the writer hardly wrote: {acknowledged:?}");
}

/// Starts the writer, kills it after `patience` acknowledgements, and notes every one it managed to send.
fn write_until_killed(folder: &Path, patience: usize, acknowledged: &mut BTreeMap<u64, u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer_process", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: &str| {
        // Libtest prints too, and the last line may be cut: only whole acknowledgements count.
        let Some((writer, highest)) =
            line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix(" .")?.split_once(' '))
        else {
            return false;
        };
        acknowledged.insert(writer.parse().unwrap(), highest.parse().unwrap());
        true
    };
    let mut seen = 0;
    while seen < patience {
        let line = lines.next().expect("the writer ends only when killed").unwrap();
        seen += usize::from(note(&line));
    }
    child.kill().unwrap(); // SIGKILL
    for line in lines.map_while(Result::ok) {
        note(&line);
    }
    child.wait().unwrap();
}

async fn check(folder: &Path, acknowledged: &mut BTreeMap<u64, u64>, round: u32) {
    let store = SqliteStore::open(folder, SqliteOptions::default()).unwrap();
    for writer in 0..WRITERS {
        let known = acknowledged.get(&writer).copied().unwrap_or(0);
        let recovered = store::recover(&store, &id(writer)).await.unwrap();
        let highest = recovered.highest;
        // A writer has one batch of at most three events in flight.
        assert!(
            (known..=known + 3).contains(&highest),
            "round {round}, writer {writer}: {known} acknowledged, {highest} found"
        );
        // What was found once must not vanish later, acknowledged or not.
        acknowledged.insert(writer, highest);
        for (seq_nr, text) in recovered.events {
            assert_eq!(text, format!("{writer}:{seq_nr}"), "round {round}: an event nobody wrote");
        }
        if let Some((seq_nr, text)) = recovered.snapshot {
            assert_eq!(text, format!("state of {writer} at {seq_nr}"), "round {round}");
        }
    }
    store.close().await;
}

/// Not a test of its own: the process that [`acknowledged_events_survive_kill_9`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of acknowledged_events_survive_kill_9"]
async fn writer_process() {
    let folder = std::env::var(FOLDER).expect("started by acknowledged_events_survive_kill_9");
    let options = SqliteOptions { checkpoint_pages: 40, ..SqliteOptions::default() }; // be killed in checkpoints too
    let store = SqliteStore::open(folder, options).unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write_for_ever(store.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn write_for_ever(store: SqliteStore, writer: u64) {
    let fence = store.claim(FenceScope::Entity(id(writer))).await.unwrap();
    let highest = store::recover(&store, &id(writer)).await.unwrap().highest;
    let mut entity = Entity { id: id(writer), fence, highest };
    for turn in 0.. {
        let texts: Vec<_> =
            (0..1 + turn % 3).map(|offset| format!("{writer}:{}", entity.highest + 1 + offset)).collect();
        entity.append(&store, &texts).await.unwrap();
        let highest = entity.highest;
        acknowledge(writer, highest);
        if turn % 25 == 24 {
            entity.save(&store, highest, &format!("state of {writer} at {highest}")).await.unwrap();
            entity.delete_to(&store, highest - 10).await.unwrap();
        }
    }
}

fn acknowledge(writer: u64, highest: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ack {writer} {highest} .").unwrap();
    out.flush().unwrap();
}

fn id(writer: u64) -> PersistenceId {
    PersistenceId::of("crash", &writer.to_string())
}
