//! `kill -9` at random points: nothing acknowledged is lost, nothing is invented, every log and state is whole.

use crate::store::{self, Entity};
use persistence::{
    FenceScope, Journal, PersistenceId, PutState, RawState, SqliteOptions, SqliteStore, StateStore, StoredState,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

const WRITERS: u64 = 8;
const FOLDER: &str = "PERSISTENCE_CRASH_FOLDER";

/// What a writer was told is stored.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    highest: u64,
    revision: u64,
}

/// One store, a writer process killed 25 times, each time after a random number of acknowledgements.
#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(0x5eed);
    let mut acknowledged = BTreeMap::new();
    for round in 0..25 {
        let patience = if round % 8 == 0 { 0 } else { random.random_range(1..300) };
        write_until_killed(folder.path(), patience, &mut acknowledged);
        check(folder.path(), &mut acknowledged, round).await;
    }
    let total = |count: fn(&Acknowledged) -> u64| acknowledged.values().map(count).sum::<u64>();
    assert!(
        total(|told| told.highest) > 1_000 && total(|told| told.revision) > 300,
        "the writer hardly wrote: {acknowledged:?}"
    );
}

/// Starts the writer, kills it after `patience` acknowledgements, and notes every one it managed to send.
fn write_until_killed(folder: &Path, patience: usize, acknowledged: &mut BTreeMap<u64, Acknowledged>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer_process", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: &str| {
        // Libtest begins the first line ("test … ... "), and the last one may be cut: only whole acknowledgements count.
        let Some(rest) = line.split_once("ack ").and_then(|(_, rest)| rest.strip_suffix(" .")) else { return false };
        let [writer, highest, revision] = rest.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        acknowledged.insert(writer, Acknowledged { highest, revision });
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

async fn check(folder: &Path, acknowledged: &mut BTreeMap<u64, Acknowledged>, round: u32) {
    let store = SqliteStore::open(folder, SqliteOptions::default()).unwrap();
    for writer in 0..WRITERS {
        let told = acknowledged.get(&writer).copied().unwrap_or_default();
        let known = told.highest;
        let recovered = store::recover(&store, &id(writer)).await.unwrap();
        let highest = recovered.highest;
        // A writer has one batch of at most three events, or the state after it, in flight.
        assert!(
            (known..=known + 3).contains(&highest),
            "round {round}, writer {writer}: {known} acknowledged, {highest} found"
        );
        // What was found once must not vanish later, acknowledged or not.
        let stored = StateStore::load(&store, id(writer)).await.unwrap();
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        assert!(
            (told.revision..=told.revision + 1).contains(&revision),
            "round {round}, writer {writer}: revision {} acknowledged, {revision} found",
            told.revision
        );
        let text = stored.map(|StoredState { state, .. }| state.unwrap().payload);
        assert_eq!(text, (revision > 0).then(|| format!("{writer}@{revision}").into()), "round {round}: a false state");
        acknowledged.insert(writer, Acknowledged { highest, revision });
        for (seq_nr, text) in recovered.events {
            assert_eq!(text, format!("{writer}:{seq_nr}"), "round {round}: an event nobody wrote");
        }
        if let Some((seq_nr, text)) = recovered.snapshot {
            assert_eq!(text, format!("state of {writer} at {seq_nr}"), "round {round}");
        }
    }
    store.close().await;
}

/// Not a test of its own: the process that [`what_was_acknowledged_survives_kill_9`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of what_was_acknowledged_survives_kill_9"]
async fn writer_process() {
    let folder = std::env::var(FOLDER).expect("started by what_was_acknowledged_survives_kill_9");
    let options = SqliteOptions { checkpoint_pages: 40, ..SqliteOptions::default() }; // be killed in checkpoints too
    let store = SqliteStore::open(folder, options).unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write_for_ever(store.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn write_for_ever(store: SqliteStore, writer: u64) {
    let fence = Journal::claim(&store, FenceScope::Entity(id(writer))).await.unwrap();
    let stored = StateStore::load(&store, id(writer)).await.unwrap();
    let mut revision = stored.map_or(0, |stored| stored.revision);
    let highest = store::recover(&store, &id(writer)).await.unwrap().highest;
    let mut entity = Entity { id: id(writer), fence, highest };
    for turn in 0.. {
        let texts: Vec<_> =
            (0..1 + turn % 3).map(|offset| format!("{writer}:{}", entity.highest + 1 + offset)).collect();
        entity.append(&store, &texts).await.unwrap();
        let highest = entity.highest;
        let payload = format!("{writer}@{}", revision + 1).into();
        let put = PutState {
            id: id(writer),
            expected_revision: revision,
            fence: entity.fence.clone(),
            batch_id: rand::random(),
            time_ms: 1,
            state: RawState { manifest: "text/1".into(), payload, meta: None },
        };
        revision = store.upsert(put).await.unwrap();
        acknowledge(writer, highest, revision);
        if turn % 25 == 24 {
            entity.save(&store, highest, &format!("state of {writer} at {highest}")).await.unwrap();
            entity.delete_to(&store, highest - 10).await.unwrap();
        }
    }
}

fn acknowledge(writer: u64, highest: u64, revision: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ack {writer} {highest} {revision} .").unwrap();
    out.flush().unwrap();
}

fn id(writer: u64) -> PersistenceId {
    PersistenceId::of("crash", &writer.to_string())
}
