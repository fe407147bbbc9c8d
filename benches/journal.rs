//! Appending: 1, 64 and 512 writers, each with one event under way, in memory, in SQLite, and in a log that does nothing else.
//!
//! The figure to hold against each other beside the rate is printed after each: syncs an append.

#![allow(clippy::disallowed_methods, missing_docs, clippy::print_stdout, reason = "a bench is a program")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::{BareLog, Durability, runtime};
use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use persistence::{Append, Fence, InMemoryJournal, Journal, PersistenceId, RawEvent, SqliteOptions, SqliteStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Events each writer appends in one iteration.
const EACH: u64 = 16;
/// What a shopping cart's event weighs.
const PAYLOAD: [u8; 32] = [7; 32];

fn journal(c: &mut Criterion) {
    let runtime = runtime();
    for writers in [1_usize, 64, 512] {
        let mut group = c.benchmark_group(format!("journal, {writers} writing"));
        group.throughput(Throughput::Elements(writers as u64 * EACH));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        in_memory(&mut group, &runtime, writers);
        sqlite(&mut group, &runtime, writers);
        bare_log(&mut group, &runtime, writers);
    }
}

fn in_memory(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, writers: usize) {
    let mut fleet = runtime.block_on(Fleet::new(InMemoryJournal::default(), writers));
    group.bench_function("in memory", |b| b.iter_custom(|iterations| runtime.block_on(fleet.write(iterations))));
    runtime.block_on(fleet.check());
}

fn sqlite(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, writers: usize) {
    let folder = folder();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).expect("an empty folder");
    let mut fleet = runtime.block_on(Fleet::new(store.clone(), writers));
    let (events, syncs) = (store.events(), store.syncs());
    group.bench_function("sqlite", |b| b.iter_custom(|iterations| runtime.block_on(fleet.write(iterations))));
    print_syncs(store.syncs() - syncs, store.events() - events);
    runtime.block_on(async {
        fleet.check().await;
        store.close().await;
    });
}

fn bare_log(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, writers: usize) {
    let folder = folder();
    let log = BareLog::open(&folder.path().join("log"), Durability::Synced).expect("an empty folder");
    group.bench_function("bare log with fdatasync", |b| {
        b.iter_custom(|iterations| runtime.block_on(write_bare(&log, writers, iterations)));
    });
    print_syncs(log.syncs(), log.appends());
}

/// On the disk the target folder is on: a temporary folder may be memory.
fn folder() -> TempDir {
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).expect("the target folder");
    TempDir::with_prefix_in("journal", env!("CARGO_TARGET_TMPDIR")).expect("the target folder")
}

fn print_syncs(syncs: u64, appends: u64) {
    if appends > 0 {
        println!("{:>24} {:.3} syncs an append ({syncs} for {appends})", "", syncs as f64 / appends as f64);
    }
}

async fn write_bare(log: &BareLog, writers: usize, iterations: u64) -> Duration {
    let started = Instant::now();
    let writers = (0..writers).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            for _ in 0..iterations * EACH {
                log.append(PAYLOAD.to_vec()).await.expect("room on the disk");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no writer panics");
    }
    started.elapsed()
}

/// Writers of one journal, each with an entity of its own.
struct Fleet<J> {
    journal: Arc<J>,
    writers: Vec<Writer>,
}

struct Writer {
    id: PersistenceId,
    fence: Fence,
    manifest: Arc<str>,
    next: u64,
}

impl<J: Journal<RawEvent>> Fleet<J> {
    async fn new(journal: J, writers: usize) -> Self {
        let fences = journal.claim_all("cart".into(), 0..persistence::SLICES).await.expect("an empty journal");
        let manifest: Arc<str> = "type.googleapis.com/com.example.shoppingcart.persistence.ItemAdded".into();
        let writer = |number: usize| {
            let id = PersistenceId::of("cart", &number.to_string());
            Writer { fence: fences[usize::from(id.slice())].clone(), id, manifest: manifest.clone(), next: 1 }
        };
        Self { journal: Arc::new(journal), writers: (0..writers).map(writer).collect() }
    }

    async fn write(&mut self, iterations: u64) -> Duration {
        let started = Instant::now();
        let writing = self.writers.drain(..).map(|mut writer| {
            let journal = self.journal.clone();
            tokio::spawn(async move {
                for _ in 0..iterations * EACH {
                    writer.append(&*journal).await;
                }
                writer
            })
        });
        for writer in writing.collect::<Vec<_>>() {
            self.writers.push(writer.await.expect("no writer panics"));
        }
        started.elapsed()
    }

    /// Every append is there.
    async fn check(&self) {
        for writer in &self.writers {
            let highest = self.journal.highest_seq(writer.id.clone()).await.expect("a journal that answers");
            assert_eq!(highest + 1, writer.next, "events lost");
        }
    }
}

impl Writer {
    async fn append(&mut self, journal: &impl Journal<RawEvent>) {
        let event = RawEvent { manifest: self.manifest.clone(), payload: Bytes::from_static(&PAYLOAD), meta: None };
        let append = Append {
            id: self.id.clone(),
            expected_seq: self.next,
            fence: self.fence.clone(),
            batch_id: u128::from(self.next),
            events: vec![event],
            tags: Vec::new(),
            time_ms: 0,
        };
        assert_eq!(journal.append(append).await.expect("stored"), self.next);
        self.next += 1;
    }
}

criterion_group!(benches, journal);
criterion_main!(benches);
