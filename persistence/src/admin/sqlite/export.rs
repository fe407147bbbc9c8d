//! Sends all rows as records.

use super::{
    Stop, as_number, go_on,
    rows::{self, EVENT_COLUMNS, SNAPSHOT_COLUMNS, STATE_COLUMNS, StateExtra, StoredRow},
};
use crate::{
    Offset,
    admin::{
        AdminError, EntityRecord, OwnerRecord, ParkedRecord, PlacesRecord, Progress, ProjectionRecord, Record, Totals,
    },
};
use rusqlite::{Connection, Row};
use tokio::sync::mpsc::Sender;

/// Records and bytes sent at once.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

pub(super) fn export(db: &Connection, progress: &Progress, records: &Sender<Vec<Record>>) -> Result<Totals, Stop> {
    let count = |table: &str| -> rusqlite::Result<u64> {
        Ok(as_number(db.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))?))
    };
    let tables = ["owner", "projection", "parked", "entity", "journal", "snapshot", "state"];
    progress.begin("exporting", tables.into_iter().map(count).sum::<rusqlite::Result<u64>>()?);
    let mut export = Export { db, progress, records, batch: Vec::new(), bytes: 0, totals: Totals::default() };
    let highest = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0)";
    export.each(highest, |_, row| Ok(Record::Places(PlacesRecord { events: offset(row, 0)? })))?;
    export.each(
        "SELECT entity_type, shard, epoch, entity_epoch_max, owner FROM owner ORDER BY entity_type, shard",
        |_, row| Ok(Record::Owner(owner(row)?)),
    )?;
    export.each(
        "SELECT consumer_group, source, epoch, generation, tx, position, paused FROM projection ORDER BY consumer_group, source",
        |_, row| Ok(Record::Projection(projection(row)?)),
    )?;
    export.each(
        "SELECT p.consumer_group, p.source, k.generation, k.tx, k.position, k.persistence_id, k.seq_nr, k.attempts, k.reason, k.time_ms, k.replay
         FROM projection p CROSS JOIN parked k ON k.projection = p.id ORDER BY p.consumer_group, p.source, k.generation, k.tx, k.position",
        |_, row| Ok(Record::Parked(parked(row)?)),
    )?;
    export.each(
        "SELECT e.persistence_id, e.epoch, e.deleted_to,
           max(e.highest_seq, coalesce((SELECT max(j.seq_nr) FROM journal j WHERE j.pid = e.pid), 0))
         FROM entity e ORDER BY e.pid",
        |_, row| Ok(Record::Entity(entity(row)?)),
    )?;
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM journal j LEFT JOIN entity e ON e.pid = j.pid
         LEFT JOIN manifest m ON m.id = j.manifest WHERE e.pid IS NULL OR j.seq_nr > e.deleted_to ORDER BY j.ordering"
    );
    export.each(&sql, |db, row| {
        let mut event = StoredRow::read(row)?.into_event()?;
        event.tags = rows::tags(db, event.offset)?;
        Ok(Record::Event(event))
    })?;
    let sql = format!(
        "SELECT {SNAPSHOT_COLUMNS} FROM snapshot s LEFT JOIN entity e ON e.pid = s.pid
         LEFT JOIN manifest m ON m.id = s.manifest ORDER BY s.pid, s.seq_nr"
    );
    export.each(&sql, |_, row| Ok(Record::Snapshot(StoredRow::read(row)?.into_snapshot()?)))?;
    let sql = format!(
        "SELECT {STATE_COLUMNS} FROM state s LEFT JOIN entity e ON e.pid = s.pid
         LEFT JOIN manifest m ON m.id = s.manifest ORDER BY s.change"
    );
    export.each(&sql, |_, row| Ok(Record::State(StoredRow::read(row)?.into_state(StateExtra::read(row)?)?)))?;
    export.send()?;
    Ok(export.totals)
}

struct Export<'a> {
    db: &'a Connection,
    progress: &'a Progress,
    records: &'a Sender<Vec<Record>>,
    batch: Vec<Record>,
    bytes: usize,
    totals: Totals,
}

impl Export<'_> {
    fn each(
        &mut self,
        sql: &str,
        mut record: impl FnMut(&Connection, &Row<'_>) -> Result<Record, Stop>,
    ) -> Result<(), Stop> {
        let mut statement = self.db.prepare(sql)?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let record = record(self.db, row)?;
            self.totals.count(&record);
            self.bytes += record.weight();
            self.batch.push(record);
            if self.batch.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Stop> {
        go_on(self.progress)?;
        self.progress.add(self.batch.len() as u64);
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.records.blocking_send(batch).map_err(|_| AdminError::Cancelled.into())
    }
}

fn offset(row: &Row<'_>, column: usize) -> rusqlite::Result<Offset> {
    Ok(Offset::of_ordering(as_number(row.get(column)?)))
}

/// Three columns from `column` on: consumers may read from a store of another kind.
pub(super) fn whole_offset(row: &Row<'_>, column: usize) -> rusqlite::Result<Offset> {
    Ok(Offset::new(row.get(column)?, as_number(row.get(column + 1)?), as_number(row.get(column + 2)?)))
}

fn owner(row: &Row<'_>) -> rusqlite::Result<OwnerRecord> {
    Ok(OwnerRecord {
        entity_type: row.get(0)?,
        shard: row.get(1)?,
        epoch: as_number(row.get(2)?),
        entity_epoch_max: as_number(row.get(3)?),
        owner: row.get(4)?,
    })
}

fn projection(row: &Row<'_>) -> rusqlite::Result<ProjectionRecord> {
    Ok(ProjectionRecord {
        group: row.get(0)?,
        source: row.get(1)?,
        epoch: as_number(row.get(2)?),
        offset: whole_offset(row, 3)?,
        paused: row.get(6)?,
    })
}

fn parked(row: &Row<'_>) -> rusqlite::Result<ParkedRecord> {
    Ok(ParkedRecord {
        group: row.get(0)?,
        source: row.get(1)?,
        offset: whole_offset(row, 2)?,
        id: row.get(5)?,
        seq_nr: as_number(row.get(6)?),
        attempts: row.get(7)?,
        reason: row.get(8)?,
        time_ms: as_number(row.get(9)?),
        replay: row.get(10)?,
    })
}

fn entity(row: &Row<'_>) -> rusqlite::Result<EntityRecord> {
    Ok(EntityRecord {
        id: row.get(0)?,
        epoch: as_number(row.get(1)?),
        deleted_to: as_number(row.get(2)?),
        highest_seq: as_number(row.get(3)?),
    })
}
