//! Sends all rows as records.

use super::{Stop, all, count, next, number, offset, rows, stream};
use crate::{
    Offset,
    admin::{
        AdminError, EntityRecord, OwnerRecord, ParkedRecord, PlacesRecord, Progress, ProjectionRecord, Record, Totals,
    },
};
use std::pin::pin;
use tokio::sync::mpsc::Sender;
use tokio_postgres::{Client, Row};

/// Records and bytes sent at once.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

/// `client` is in a transaction that sees one moment. The server sorts events by the order of commits, on its disk if they
/// are many.
pub(super) async fn export(client: &Client, progress: &Progress, records: Sender<Vec<Record>>) -> Result<Totals, Stop> {
    let tables = ["owner", "projection", "parked", "entity", "journal", "snapshot", "state"];
    let counts = tables.map(|table| format!("(SELECT count(*) FROM {table})")).join(" + ");
    progress.begin("exporting", count(client, &format!("SELECT {counts}")).await?);
    let mut export = Export { client, progress, records, batch: Vec::new(), bytes: 0, totals: Totals::default() };
    let generation = all(client, "SELECT value::bigint FROM meta WHERE key = 'generation'", &[]).await?;
    let generation = generation.first().map_or(0, |row| number(row.get(0)));
    // Numbers of transactions are never given out again, so there is no highest place to note.
    let places = Offset::new(u32::try_from(generation).unwrap_or(u32::MAX), 0, 0);
    export.add(Record::Places(PlacesRecord { events: places })).await?;
    export
        .each(
            "SELECT entity_type, shard, epoch, entity_epoch_max, owner FROM owner ORDER BY entity_type, shard",
            |row| {
                Ok(Record::Owner(OwnerRecord {
                    entity_type: row.get(0),
                    shard: u16::try_from(row.get::<_, i32>(1)).unwrap_or(u16::MAX),
                    epoch: number(row.get(2)),
                    entity_epoch_max: number(row.get(3)),
                    owner: row.get(4),
                }))
            },
        )
        .await?;
    let sql = "SELECT consumer_group, source, epoch, generation, tx, ordering, paused FROM projection
               ORDER BY consumer_group, source";
    export
        .each(sql, |row| {
            Ok(Record::Projection(ProjectionRecord {
                group: row.get(0),
                source: row.get(1),
                epoch: number(row.get(2)),
                offset: offset(row, 3),
                paused: row.get(6),
            }))
        })
        .await?;
    let sql =
        "SELECT consumer_group, source, generation, tx, ordering, persistence_id, seq_nr, attempts, reason, time_ms,
                 replay FROM parked ORDER BY consumer_group, source, generation, tx, ordering";
    export.each(sql, |row| Ok(Record::Parked(parked(row)))).await?;
    let sql = "SELECT e.persistence_id, e.epoch, e.deleted_to, GREATEST(e.highest_seq,
                 coalesce((SELECT max(j.seq_nr) FROM journal j WHERE j.persistence_id = e.persistence_id), 0))
               FROM entity e ORDER BY e.persistence_id";
    export
        .each(sql, |row| {
            Ok(Record::Entity(EntityRecord {
                id: row.get(0),
                epoch: number(row.get(1)),
                deleted_to: number(row.get(2)),
                highest_seq: number(row.get(3)),
            }))
        })
        .await?;
    let sql = format!(
        "SELECT {} FROM journal j LEFT JOIN entity e USING (persistence_id) WHERE j.seq_nr > coalesce(e.deleted_to, 0)
         ORDER BY j.generation, j.tx, j.ordering",
        rows::EVENT_COLUMNS
    );
    export.each(&sql, |row| Ok(Record::Event(rows::event(row)??))).await?;
    let sql = format!("SELECT {} FROM snapshot s ORDER BY s.persistence_id, s.seq_nr", rows::SNAPSHOT_COLUMNS);
    export.each(&sql, |row| Ok(Record::Snapshot(rows::snapshot(row)??))).await?;
    let sql = format!("SELECT {} FROM state s ORDER BY s.generation, s.tx, s.ordering", rows::STATE_COLUMNS);
    export.each(&sql, |row| Ok(Record::State(rows::state_record(row)??))).await?;
    export.send().await?;
    Ok(export.totals)
}

struct Export<'a> {
    client: &'a Client,
    progress: &'a Progress,
    records: Sender<Vec<Record>>,
    batch: Vec<Record>,
    bytes: usize,
    totals: Totals,
}

impl Export<'_> {
    async fn each(&mut self, sql: &str, mut record: impl FnMut(&Row) -> Result<Record, Stop>) -> Result<(), Stop> {
        let mut rows = pin!(stream(self.client, sql).await?);
        while let Some(row) = next(&mut rows).await? {
            self.add(record(&row)?).await?;
        }
        Ok(())
    }

    async fn add(&mut self, record: Record) -> Result<(), Stop> {
        self.totals.count(&record);
        self.bytes += record.weight();
        self.batch.push(record);
        if self.batch.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), Stop> {
        self.progress.add(self.batch.len() as u64);
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.records.send(batch).await.map_err(|_| AdminError::Cancelled.into())
    }
}

fn parked(row: &Row) -> ParkedRecord {
    ParkedRecord {
        group: row.get(0),
        source: row.get(1),
        offset: offset(row, 2),
        id: row.get(5),
        seq_nr: number(row.get(6)),
        attempts: u32::try_from(row.get::<_, i64>(7)).unwrap_or(u32::MAX),
        reason: row.get(8),
        time_ms: number(row.get(9)),
        replay: row.get(10),
    }
}
