//! The floor on SQLite: one thread, one table and index as ours, the same batches, and nothing else: no epochs, no checks,
//! no checksums, no second reader.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use crate::writers::{MANIFEST, TYPE};

/// As many as ours takes together at most.
const BATCH: usize = 256;

pub struct Floor {
    events: mpsc::Sender<Event>,
}

struct Event {
    entity: i64,
    seq_nr: i64,
    payload: Vec<u8>,
    done: oneshot::Sender<()>,
}

impl Floor {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let db = connect(&folder.join("floor.db"))?;
        db.execute_batch(
            "CREATE TABLE entity(pid INTEGER PRIMARY KEY, persistence_id TEXT NOT NULL UNIQUE) STRICT;
             CREATE TABLE manifest(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
             CREATE TABLE journal(ordering INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, seq_nr INTEGER NOT NULL,
               epoch INTEGER NOT NULL, batch_id BLOB, time_ms INTEGER NOT NULL, manifest INTEGER NOT NULL,
               payload BLOB NOT NULL, meta BLOB, crc INTEGER NOT NULL) STRICT;
             CREATE UNIQUE INDEX journal_pid_seq ON journal(pid, seq_nr);",
        )?;
        db.execute("INSERT INTO manifest(id, name) VALUES (1, ?1)", [MANIFEST])?;
        let (events, inbox) = mpsc::channel(16_384);
        std::thread::Builder::new().name("floor".to_owned()).spawn(move || write(&db, inbox))?;
        Ok(Self { events })
    }

    /// Events a second, each acknowledged before its writer's next.
    pub async fn write_for(&self, writers: usize, payload: usize, from: i64, time: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let writing = (0..writers).map(|entity| {
            let events = self.events.clone();
            tokio::spawn(async move {
                let mut seq_nr = from;
                while started.elapsed() < time {
                    let (done, answer) = oneshot::channel();
                    let event = Event { entity: entity as i64, seq_nr, payload: vec![7; payload], done };
                    events.send(event).await?;
                    answer.await?;
                    seq_nr += 1;
                }
                anyhow::Ok(seq_nr - from)
            })
        });
        let mut events = 0;
        for writing in writing.collect::<Vec<_>>() {
            events += writing.await??;
        }
        Ok(events as f64 / started.elapsed().as_secs_f64())
    }
}

fn write(db: &Connection, mut inbox: mpsc::Receiver<Event>) {
    let mut batch = Vec::new();
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        insert(db, &batch).expect("the floor writes");
        for event in batch.drain(..) {
            let _ = event.done.send(()); // a writer that gave up
        }
    }
}

fn insert(db: &Connection, batch: &[Event]) -> rusqlite::Result<()> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
    for Event { entity, seq_nr, payload, .. } in batch {
        let batch_id = [0_u8; 16];
        db.prepare_cached(
            "INSERT INTO journal(pid, seq_nr, epoch, batch_id, time_ms, manifest, payload, meta, crc)
             VALUES (?1, ?2, 1, ?3, 0, 1, ?4, NULL, 0)",
        )?
        .execute(params![entity, seq_nr, &batch_id[..], payload])?;
    }
    db.prepare_cached("COMMIT")?.execute(())?;
    Ok(())
}

/// The settings ours has.
pub fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    db.pragma_update(None, "cache_size", -65_536)?;
    db.pragma_update(None, "mmap_size", 0)?;
    Ok(db)
}

/// An event as one would read it by hand: number, epoch, time, manifest, payload.
pub type Row = (i64, i64, i64, String, Vec<u8>);

/// Up to `page` events of one entity behind `after`.
pub fn replay(db: &Connection, entity: usize, after: u64, page: usize) -> rusqlite::Result<Vec<Row>> {
    let mut statement = db.prepare_cached(
        "SELECT j.seq_nr, j.epoch, j.time_ms, m.name, j.payload FROM entity e CROSS JOIN journal j ON j.pid = e.pid
         JOIN manifest m ON m.id = j.manifest WHERE e.persistence_id = ?1 AND j.seq_nr > ?2 ORDER BY j.seq_nr LIMIT ?3",
    )?;
    let rows = statement.query_map(params![format!("{TYPE}|{entity}"), after as i64, page as i64], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    })?;
    rows.collect()
}

/// Up to `page` events in commit order behind `after`: place, entity and event.
pub fn feed(db: &Connection, after: i64, page: i64) -> rusqlite::Result<Vec<(i64, String, Row)>> {
    let mut statement = db.prepare_cached(
        "SELECT j.ordering, e.persistence_id, j.seq_nr, j.epoch, j.time_ms, m.name, j.payload
         FROM journal j JOIN entity e USING (pid) JOIN manifest m ON m.id = j.manifest
         WHERE j.ordering > ?1 AND e.entity_type = ?2 ORDER BY j.ordering LIMIT ?3",
    )?;
    let rows = statement.query_map(params![after, TYPE, page], |row| {
        Ok((row.get(0)?, row.get(1)?, (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?)))
    })?;
    rows.collect()
}
