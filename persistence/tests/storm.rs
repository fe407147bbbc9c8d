//! A disk on which anything fails at random, by seeds: what was acknowledged stays, once, whatever it took to settle it.

use crate::store::{Entity, recover, soon};
use persistence::{
    AppendError, Durability, Journal, SqliteOptions, SqliteStore,
    testkit::{FaultPlan, Faults, FaultyVfs, Files},
};
use rand::{SeedableRng, rngs::StdRng};
use std::time::Duration;

const BATCHES: u64 = 60;

/// What one seed led to.
#[derive(Debug, Default)]
struct Weathered {
    faults: Faults,
    unknown: u32,
    refused: u32,
}

/// Writes on through `plan`, sending each batch until it is settled, and looks at what is left of it in the end.
async fn weather(disk: FaultyVfs, plan: FaultPlan) -> Weathered {
    weather_with(disk, plan, 20).await
}

/// As [`weather`], with so many pages between two checkpoints.
async fn weather_with(disk: FaultyVfs, plan: FaultPlan, checkpoint_pages: u32) -> Weathered {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { vfs: Some(disk.name().into()), checkpoint_pages, ..SqliteOptions::default() };
    disk.record();
    let store = SqliteStore::open(folder.path(), options).unwrap();
    let mut entity = Entity::claim(&store, "storm").await;
    disk.set_plan(Some(plan));
    let mut weathered = Weathered::default();
    for turn in 0..BATCHES {
        let texts: Vec<_> = (1..=1 + turn % 3).map(|next| text(entity.highest + next)).collect();
        let batch = entity.batch(&texts);
        let settled = async {
            loop {
                match store.append(batch.clone()).await {
                    Ok(highest) => return highest,
                    Err(AppendError::Unknown { .. }) => weathered.unknown += 1,
                    Err(AppendError::Unavailable { .. }) => {
                        weathered.refused += 1;
                        tokio::time::sleep(Duration::from_micros(200)).await;
                    }
                    Err(other) => panic!("{plan:?}: {other:?}"),
                }
            }
        };
        entity.highest = soon("a write's being settled", settled).await;
        assert_eq!(entity.highest, batch.expected_seq + texts.len() as u64 - 1, "{plan:?}");
    }
    // A refusal writes nothing; when it is answered, the checkpoint after the last commit is over.
    let highest = std::mem::take(&mut entity.highest);
    store.append(entity.batch(&["taken"])).await.unwrap_err();
    weathered.faults = disk.faults();
    disk.set_plan(None);
    assert_eq!(disk.syncs_after_failure(), 0, "a sync that failed was tried again");

    let (tape, mut random) = (disk.take_tape(), StdRng::seed_from_u64(plan.seed));
    let left = tape.after_power_loss(&Files::default(), tape.ops().len(), &mut random);
    store.close().await;
    let crashed = tempfile::tempdir().unwrap();
    left.write_to(crashed.path()).unwrap();
    for folder in [folder.path(), crashed.path()] {
        let looking = SqliteOptions { durability: Durability::Os, ..SqliteOptions::default() };
        let store = SqliteStore::open(folder, looking).unwrap();
        let recovered = recover(&store, &entity.id).await.unwrap();
        let expected: Vec<_> = (1..=highest).map(|seq_nr| (seq_nr, text(seq_nr))).collect();
        assert_eq!(recovered.events, expected, "{plan:?}");
        store.close().await;
    }
    weathered
}

#[tokio::test]
async fn what_was_acknowledged_in_a_storm_is_there_once() {
    let disk = FaultyVfs::register("storm");
    let mut all = Weathered::default();
    for seed in 0..4 {
        let plan = FaultPlan {
            seed,
            write_errors: 150,
            torn_writes: 100,
            full: 60,
            read_errors: 80,
            sync_errors: 25,
            lost_syncs: 0,
        };
        let weathered = weather(disk, plan).await;
        all.unknown += weathered.unknown;
        all.refused += weathered.refused;
        all.faults.writes += weathered.faults.writes;
        all.faults.full += weathered.faults.full;
        all.faults.reads += weathered.faults.reads;
        all.faults.syncs += weathered.faults.syncs;
    }
    let Faults { writes, full, reads, syncs, .. } = all.faults;
    assert!(writes > 5 && full > 5 && reads > 5 && syncs > 5 && all.unknown > 5 && all.refused > 5, "{all:?}");
}

/// One entity alone writes, each operation waits for the one before, and there is no checkpoint, which would come after
/// the answer and so meet the next request or not: the same seed fails the same operations.
#[tokio::test]
async fn a_seed_is_a_storm() {
    let disk = FaultyVfs::register("storm-twice");
    let plan = FaultPlan { seed: 77, full: 20, ..FaultPlan::default() };
    let (once, again) = (weather_with(disk, plan, 1 << 20).await, weather_with(disk, plan, 1 << 20).await);
    assert_eq!((once.faults, once.refused), (again.faults, again.refused));
    assert!(once.faults.full > 0, "{once:?}");
}

/// The proof that the tests above can fail: no store survives a disk that claims syncs it did not do.
#[tokio::test]
async fn a_disk_that_lies_about_syncs_loses_events() {
    let disk = FaultyVfs::register("storm-lies");
    let plan = FaultPlan { seed: 5, lost_syncs: 1, ..FaultPlan::default() };
    let outcome = tokio::spawn(async move { weather(disk, plan).await }).await;
    assert!(outcome.is_err(), "every sync was lost, and nothing else: {:?}", outcome.ok());
}

fn text(seq_nr: u64) -> String {
    format!("event {seq_nr}")
}
