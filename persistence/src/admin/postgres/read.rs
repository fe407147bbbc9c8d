//! What is in the tables, contents apart.

use super::{Moment, Stop, all, id_of, number, offset};
use crate::{
    Offset, PersistenceId,
    admin::{
        EntityHead, EntityQuery, EntitySummary, ProjectionInfo, SnapshotSummary, StateSummary, StoreInfo, StoreSizes,
        TypeInfo,
    },
    postgres::clamped,
    projection::{FeedKind, parse_source},
};
use tokio_postgres::types::Type;

/// Rows looked at to say how far a consumer is behind.
const BEHIND_SCANNED: i64 = 500_000;

/// Snapshots shown of one entity.
const SNAPSHOTS_SHOWN: i64 = 100;

const HIGHEST: &str = "GREATEST(e.highest_seq, \
    coalesce((SELECT max(j.seq_nr) FROM journal j WHERE j.persistence_id = e.persistence_id), 0))";

pub(super) async fn info(moment: &Moment) -> Result<StoreInfo, Stop> {
    let client = moment.client();
    let meta = all(
        client,
        "SELECT coalesce(max(value) FILTER (WHERE key = 'schema_version'), '0')::bigint,
           coalesce(max(value) FILTER (WHERE key = 'generation'), '0')::bigint FROM meta",
        &[],
    )
    .await?;
    let sizes = all(
        client,
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'",
        &[],
    )
    .await?;
    // By type, because the index begins with it.
    let end = |order: &str| {
        format!(
            "SELECT l.time_ms, l.generation, l.tx::text::bigint, l.ordering
             FROM (SELECT DISTINCT entity_type FROM entity) t CROSS JOIN LATERAL (
               SELECT * FROM journal j WHERE j.entity_type = t.entity_type
               ORDER BY j.generation {order}, j.tx {order}, j.ordering {order} LIMIT 1) l
             ORDER BY l.generation {order}, l.tx {order}, l.ordering {order} LIMIT 1"
        )
    };
    let oldest = all(client, &end("ASC"), &[]).await?;
    let newest = all(client, &end("DESC"), &[]).await?;
    let info = StoreInfo {
        backend: "postgres",
        place: moment.place.clone(),
        schema_version: meta[0].get(0),
        generation: u32::try_from(number(meta[0].get(1))).unwrap_or(0),
        sizes: StoreSizes { database: number(sizes[0].get(0)), ..StoreSizes::default() },
        highest_offset: newest.first().map_or(Offset::START, |row| offset(row, 1)),
        oldest_event_ms: oldest.first().map(|row| number(row.get(0))),
        newest_event_ms: newest.first().map(|row| number(row.get(0))),
        projections: projections(moment).await?,
        ..StoreInfo::default()
    };
    Ok(info.add_up(types(moment).await?))
}

/// One look at every entity, none at every event: what is not deleted has no holes.
async fn types(moment: &Moment) -> Result<Vec<TypeInfo>, Stop> {
    let sql = format!(
        "SELECT e.entity_type, count(*), coalesce(sum({HIGHEST} - e.deleted_to), 0)::bigint,
           coalesce(sum((SELECT count(*) FROM snapshot s WHERE s.persistence_id = e.persistence_id)), 0)::bigint,
           count(*) FILTER (WHERE EXISTS(
             SELECT 1 FROM state s WHERE s.persistence_id = e.persistence_id AND s.payload IS NOT NULL))
         FROM entity e GROUP BY e.entity_type ORDER BY e.entity_type"
    );
    let rows = all(moment.client(), &sql, &[]).await?;
    let of_type = |row: &tokio_postgres::Row| TypeInfo {
        entity_type: row.get(0),
        entities: number(row.get(1)),
        events: number(row.get(2)),
        snapshots: number(row.get(3)),
        states: number(row.get(4)),
    };
    Ok(rows.iter().map(of_type).collect())
}

async fn projections(moment: &Moment) -> Result<Vec<ProjectionInfo>, Stop> {
    let sql = "
        SELECT p.consumer_group, p.source, p.generation, p.tx, p.ordering, p.epoch, p.paused,
          (SELECT count(*) FROM parked k WHERE k.consumer_group = p.consumer_group AND k.source = p.source)
        FROM projection p ORDER BY p.consumer_group, p.source";
    let mut projections = Vec::new();
    for row in all(moment.client(), sql, &[]).await? {
        let projection = ProjectionInfo {
            group: row.get(0),
            source: row.get(1),
            offset: offset(&row, 2),
            epoch: number(row.get(5)),
            paused: row.get(6),
            parked: number(row.get(7)),
            ..ProjectionInfo::default()
        };
        projections.push(behind(moment, projection).await?);
    }
    Ok(projections)
}

/// How far one is behind that reads from another store, only that store can tell.
async fn behind(moment: &Moment, projection: ProjectionInfo) -> Result<ProjectionInfo, Stop> {
    let after = projection.offset;
    let Some((query, kind)) = parse_source(&projection.source).filter(|_| after == Offset::START || !after.is_plain())
    else {
        return Ok(projection);
    };
    // Only so many are looked at, along the index, and of these counted what the feeds would select.
    let (table, selected) = match kind {
        FeedKind::Events => ("journal", "l.tags @> ARRAY[$7::text]"),
        FeedKind::States => ("state", "l.tag = $7"),
    };
    let deleted = match kind {
        FeedKind::Events => "SELECT d.deleted_to FROM sweep d WHERE d.persistence_id = l.persistence_id",
        FeedKind::States => "0",
    };
    let number_of = if kind == FeedKind::Events { "seq_nr" } else { "revision" };
    let sql = format!(
        "SELECT count(*) FILTER (WHERE selected), min(time_ms) FILTER (WHERE selected), count(*) FROM (
           SELECT l.time_ms, l.slice BETWEEN $5 AND $6 AND ($7::text IS NULL OR {selected})
             AND l.{number_of} > coalesce(({deleted}), 0) AS selected
           FROM {table} l WHERE l.entity_type = $1 AND (l.generation, l.tx, l.ordering) > ($2, ($3::bigint)::text::xid8, $4)
           ORDER BY l.generation, l.tx, l.ordering LIMIT {BEHIND_SCANNED}) n"
    );
    let generation = i32::try_from(after.generation()).unwrap_or(i32::MAX);
    let (first, last) = (i32::from(*query.slices.start()), i32::from(*query.slices.end()));
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 7] = [
        (&&*query.entity_type, Type::TEXT),
        (&generation, Type::INT4),
        (&clamped(after.tx()), Type::INT8),
        (&clamped(after.ordering()), Type::INT8),
        (&first, Type::INT4),
        (&last, Type::INT4),
        (&query.tag.as_deref(), Type::TEXT),
    ];
    let rows = all(moment.client(), &sql, &parameters).await?;
    Ok(ProjectionInfo {
        behind: Some(number(rows[0].get(0))),
        behind_since_ms: rows[0].get::<_, Option<i64>>(1).map(number),
        behind_more: rows[0].get::<_, i64>(2) >= BEHIND_SCANNED,
        ..projection
    })
}

pub(super) async fn entities(moment: &Moment, query: &EntityQuery) -> Result<Vec<EntitySummary>, Stop> {
    let prefix = query.full_prefix();
    let after = query.after.as_ref().map_or("", |after| after.as_str());
    let sql = format!(
        "SELECT e.persistence_id, {HIGHEST}, e.deleted_to,
           (SELECT max(s.seq_nr) FROM snapshot s WHERE s.persistence_id = e.persistence_id),
           (SELECT s.revision FROM state s WHERE s.persistence_id = e.persistence_id)
         FROM entity e WHERE e.persistence_id >= $1 AND e.persistence_id > $2 ORDER BY e.persistence_id LIMIT $3"
    );
    let limit = clamped(query.limit as u64);
    let rows = all(moment.client(), &sql, &[(&prefix, Type::TEXT), (&after, Type::TEXT), (&limit, Type::INT8)]).await?;
    // Those that begin with the prefix follow one another, so the first that does not is the end.
    let fitting = rows.iter().take_while(|row| row.get::<_, &str>(0).starts_with(&prefix));
    let summary = |row: &tokio_postgres::Row| EntitySummary {
        id: id_of(row.get(0)),
        highest_seq: number(row.get(1)),
        deleted_to: number(row.get(2)),
        snapshot_seq: row.get::<_, Option<i64>>(3).map(number),
        revision: row.get::<_, Option<i64>>(4).map(number),
    };
    Ok(fitting.map(summary).collect())
}

pub(super) async fn head(moment: &Moment, id: &PersistenceId) -> Result<Option<EntityHead>, Stop> {
    let (client, name) = (moment.client(), id.as_str());
    let sql = format!(
        "SELECT e.persistence_id, e.slice, {HIGHEST}, e.deleted_to, e.epoch, coalesce(o.epoch, 0), coalesce(o.owner, ''),
           (SELECT j.time_ms FROM journal j WHERE j.persistence_id = e.persistence_id ORDER BY j.seq_nr DESC LIMIT 1)
         FROM entity e LEFT JOIN owner o ON o.entity_type = e.entity_type AND o.shard = e.slice
         WHERE e.persistence_id = $1"
    );
    let found = all(client, &sql, &[(&name, Type::TEXT)]).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let snapshots = all(
        client,
        "SELECT seq_nr, epoch, time_ms, octet_length(payload)::bigint FROM snapshot WHERE persistence_id = $1
         ORDER BY seq_nr DESC LIMIT $2",
        &[(&name, Type::TEXT), (&SNAPSHOTS_SHOWN, Type::INT8)],
    )
    .await?;
    let state = all(
        client,
        "SELECT revision, epoch, time_ms, octet_length(payload)::bigint FROM state WHERE persistence_id = $1",
        &[(&name, Type::TEXT)],
    )
    .await?;
    let snapshot = |row: &tokio_postgres::Row| SnapshotSummary {
        seq_nr: number(row.get(0)),
        epoch: number(row.get(1)),
        time_ms: number(row.get(2)),
        bytes: number(row.get(3)),
    };
    Ok(Some(EntityHead {
        id: id_of(row.get(0)),
        slice: u16::try_from(row.get::<_, i32>(1)).unwrap_or(0),
        highest_seq: number(row.get(2)),
        deleted_to: number(row.get(3)),
        epoch: number(row.get(4)),
        shard_epoch: number(row.get(5)),
        shard_owner: row.get(6),
        last_event_ms: row.get::<_, Option<i64>>(7).map(number),
        snapshots: snapshots.iter().map(snapshot).collect(),
        state: state.first().map(|row| StateSummary {
            revision: number(row.get(0)),
            epoch: number(row.get(1)),
            time_ms: number(row.get(2)),
            bytes: row.get::<_, Option<i64>>(3).map(number),
        }),
    }))
}
