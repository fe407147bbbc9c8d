//! What is in the database, contents apart.

use super::{as_number, export::whole_offset, log_bytes};
use crate::{
    Offset, PersistenceId,
    admin::{
        EntityHead, EntityQuery, EntitySummary, ProjectionInfo, SnapshotSummary, StateSummary, StoreInfo, StoreSizes,
        TypeInfo, place,
    },
    projection::{FeedKind, parse_source},
    sqlite::{SCHEMA_VERSION, clamped},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{collections::BTreeMap, path::Path};

/// Rows of the journal looked at to say how far a consumer is behind.
const BEHIND_SCANNED: i64 = 500_000;

/// Snapshots shown of one entity.
const SNAPSHOTS_SHOWN: i64 = 100;

const HIGHEST: &str = "max(e.highest_seq, coalesce((SELECT max(j.seq_nr) FROM journal j WHERE j.pid = e.pid), 0))";

pub(super) fn info(db: &Connection, path: &Path) -> rusqlite::Result<StoreInfo> {
    let time_of = |end: &str| -> rusqlite::Result<Option<u64>> {
        let sql = format!("SELECT time_ms FROM journal ORDER BY ordering {end} LIMIT 1");
        Ok(db.query_row(&sql, (), |row| row.get(0)).optional()?.map(as_number))
    };
    let highest: i64 = db.query_row("SELECT coalesce(max(ordering), 0) FROM journal", (), |row| row.get(0))?;
    let info = StoreInfo {
        backend: "sqlite",
        place: path.display().to_string(),
        schema_version: SCHEMA_VERSION,
        writer: place::writer_of(path),
        sizes: sizes(db, path)?,
        highest_offset: Offset::of_ordering(as_number(highest)),
        oldest_event_ms: time_of("ASC")?,
        newest_event_ms: time_of("DESC")?,
        projections: projections(db, highest)?,
        ..StoreInfo::default()
    };
    Ok(info.add_up(types(db)?))
}

fn sizes(db: &Connection, path: &Path) -> rusqlite::Result<StoreSizes> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(as_number);
    let page = pragma("page_size")?;
    Ok(StoreSizes {
        database: pragma("page_count")? * page,
        log: log_bytes(path),
        free: pragma("freelist_count")? * page,
    })
}

/// One look at every entity, none at every event: what is not deleted has no holes.
fn types(db: &Connection) -> rusqlite::Result<Vec<TypeInfo>> {
    let mut statement = db.prepare(&format!(
        "SELECT e.entity_type, {HIGHEST} - e.deleted_to, (SELECT count(*) FROM snapshot s WHERE s.pid = e.pid),
           EXISTS(SELECT 1 FROM state s WHERE s.pid = e.pid AND s.payload IS NOT NULL)
         FROM entity e"
    ))?;
    let mut types = BTreeMap::<String, TypeInfo>::new();
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str()?;
        if !types.contains_key(name) {
            types.insert(name.to_owned(), TypeInfo { entity_type: name.to_owned(), ..TypeInfo::default() });
        }
        let Some(of_type) = types.get_mut(name) else { continue };
        of_type.entities += 1;
        of_type.events += as_number(row.get(1)?);
        of_type.snapshots += as_number(row.get(2)?);
        of_type.states += u64::from(row.get::<_, bool>(3)?);
    }
    Ok(types.into_values().collect())
}

fn projections(db: &Connection, highest: i64) -> rusqlite::Result<Vec<ProjectionInfo>> {
    let mut statement = db.prepare(
        "SELECT p.consumer_group, p.source, p.generation, p.tx, p.position, p.epoch, p.paused,
           (SELECT count(*) FROM parked k WHERE k.projection = p.id)
         FROM projection p ORDER BY p.consumer_group, p.source",
    )?;
    let rows = statement.query_map((), |row| {
        Ok(ProjectionInfo {
            group: row.get(0)?,
            source: row.get(1)?,
            offset: whole_offset(row, 2)?,
            epoch: as_number(row.get(5)?),
            paused: row.get(6)?,
            parked: as_number(row.get(7)?),
            ..ProjectionInfo::default()
        })
    })?;
    let highest_change: i64 = db.query_row("SELECT coalesce(max(change), 0) FROM state", (), |row| row.get(0))?;
    let mut projections: Vec<ProjectionInfo> = rows.collect::<rusqlite::Result<_>>()?;
    // How far one is behind that reads from another store, only that store can tell.
    for projection in projections.iter_mut().filter(|it| it.offset.is_plain()) {
        let Some((query, kind)) = parse_source(&projection.source) else { continue };
        let (sql, highest) = match kind {
            FeedKind::Events => (EVENTS_BEHIND, highest),
            FeedKind::States => (STATES_BEHIND, highest_change),
        };
        let after = clamped(projection.offset.ordering());
        let to = after.saturating_add(BEHIND_SCANNED).min(highest);
        let (first, last) = (query.slices.start(), query.slices.end());
        let (behind, since): (i64, Option<i64>) = db
            .prepare_cached(sql)?
            .query_row(params![after, to, query.entity_type, first, last, query.tag], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        projection.behind = Some(as_number(behind));
        projection.behind_more = to < highest;
        projection.behind_since_ms = since.map(as_number);
    }
    Ok(projections)
}

/// What a projection has yet to read, as the feeds select it. The joins are written in the order they must run in: along
/// the journal, never by entity.
const EVENTS_BEHIND: &str = "
SELECT count(*), min(j.time_ms) FROM journal j CROSS JOIN entity e ON e.pid = j.pid
WHERE j.ordering > ?1 AND j.ordering <= ?2 AND e.entity_type = ?3 AND e.slice BETWEEN ?4 AND ?5
  AND j.seq_nr > e.deleted_to AND (?6 IS NULL OR EXISTS(
    SELECT 1 FROM journal_tag k JOIN tag t ON t.id = k.tag WHERE k.ordering = j.ordering AND t.name = ?6))";

const STATES_BEHIND: &str = "
SELECT count(*), min(s.time_ms) FROM state s CROSS JOIN entity e ON e.pid = s.pid
WHERE s.change > ?1 AND s.change <= ?2 AND e.entity_type = ?3 AND e.slice BETWEEN ?4 AND ?5
  AND (?6 IS NULL OR s.tag = ?6)";

pub(super) fn entities(db: &Connection, query: &EntityQuery) -> rusqlite::Result<Vec<EntitySummary>> {
    let prefix = query.full_prefix();
    let after = query.after.as_ref().map_or("", |after| after.as_str());
    let mut statement = db.prepare_cached(&format!(
        "SELECT e.persistence_id, {HIGHEST}, e.deleted_to, (SELECT max(seq_nr) FROM snapshot s WHERE s.pid = e.pid),
           (SELECT revision FROM state s WHERE s.pid = e.pid)
         FROM entity e WHERE e.persistence_id >= ?1 AND e.persistence_id > ?2 ORDER BY e.persistence_id LIMIT ?3"
    ))?;
    let mut rows = statement.query(params![prefix, after, clamped(query.limit as u64)])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        // Those that begin with the prefix follow one another, so the first that does not is the end.
        if !row.get_ref(0)?.as_str()?.starts_with(&prefix) {
            break;
        }
        page.push(EntitySummary {
            id: id(row)?,
            highest_seq: as_number(row.get(1)?),
            deleted_to: as_number(row.get(2)?),
            snapshot_seq: row.get::<_, Option<i64>>(3)?.map(as_number),
            revision: row.get::<_, Option<i64>>(4)?.map(as_number),
        });
    }
    Ok(page)
}

pub(super) fn head(db: &Connection, of: &PersistenceId) -> rusqlite::Result<Option<EntityHead>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT e.persistence_id, e.slice, {HIGHEST}, e.deleted_to, e.epoch, coalesce(o.epoch, 0), coalesce(o.owner, ''),
           (SELECT time_ms FROM journal j WHERE j.pid = e.pid ORDER BY j.seq_nr DESC LIMIT 1), e.pid
         FROM entity e LEFT JOIN owner o ON o.entity_type = e.entity_type AND o.shard = e.slice
         WHERE e.persistence_id = ?1"
    ))?;
    let found = statement.query_row([of.as_str()], |row| {
        let head = EntityHead {
            id: id(row)?,
            slice: row.get(1)?,
            highest_seq: as_number(row.get(2)?),
            deleted_to: as_number(row.get(3)?),
            epoch: as_number(row.get(4)?),
            shard_epoch: as_number(row.get(5)?),
            shard_owner: row.get(6)?,
            last_event_ms: row.get::<_, Option<i64>>(7)?.map(as_number),
            snapshots: Vec::new(),
            state: None,
        };
        Ok((head, row.get::<_, i64>(8)?))
    });
    let Some((head, pid)) = found.optional()? else { return Ok(None) };
    let snapshots = db
        .prepare_cached(
            "SELECT seq_nr, epoch, time_ms, length(payload) FROM snapshot WHERE pid = ?1 ORDER BY seq_nr DESC LIMIT ?2",
        )?
        .query_map([pid, SNAPSHOTS_SHOWN], |row| {
            Ok(SnapshotSummary {
                seq_nr: as_number(row.get(0)?),
                epoch: as_number(row.get(1)?),
                time_ms: as_number(row.get(2)?),
                bytes: as_number(row.get(3)?),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let state = db
        .prepare_cached("SELECT revision, epoch, time_ms, length(payload) FROM state WHERE pid = ?1")?
        .query_row([pid], |row| {
            Ok(StateSummary {
                revision: as_number(row.get(0)?),
                epoch: as_number(row.get(1)?),
                time_ms: as_number(row.get(2)?),
                bytes: row.get::<_, Option<i64>>(3)?.map(as_number),
            })
        })
        .optional()?;
    Ok(Some(EntityHead { snapshots, state, ..head }))
}

fn id(row: &Row<'_>) -> rusqlite::Result<PersistenceId> {
    let text = row.get_ref(0)?.as_str()?;
    // One without a separator is damage, which `check` names; here it is shown as it is.
    Ok(PersistenceId::parse(text).unwrap_or_else(|| PersistenceId::of("", text)))
}
