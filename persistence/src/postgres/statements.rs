//! The statements of the writers.
//!
//! Each statement on entities takes a whole batch as arrays, decides for each request by itself whether it may happen,
//! does those that may, and answers for all. Before it, in the same transaction, the owner rows of all shards concerned
//! were locked in share mode, and every claim locks them exclusively: no claim can come between the look at the epochs and
//! the commit. Locking is a statement of its own because a statement sees the tables as they were when it began: one that
//! had to wait for a claim would still see the epochs from before.

use super::session::Sql;
use crate::projection::postgres as projection;
use tokio_postgres::types::Type;

/// Share locks on shards, in the order they are given in, which is by type and number: all transactions keep to it. Answers
/// with the number of each and its epochs, which stay as they are until the end of the transaction: rows that are locked are
/// read as they are once the lock is there.
pub(crate) static LOCK_SHARDS: Sql = Sql {
    text: "
SELECT u.n, w.epoch, w.entity_epoch_max
FROM UNNEST($1::text[], $2::int[]) WITH ORDINALITY AS u(entity_type, shard, n)
JOIN {schema}.owner w ON w.entity_type = u.entity_type AND w.shard = u.shard
ORDER BY u.n FOR SHARE OF w",
    types: &[Type::TEXT_ARRAY, Type::INT4_ARRAY],
};

/// What the fences are compared with. `$1` to `$6` are number, id, type, slice, scope and epoch of each request; `fit` says
/// that its fence is the last one granted, by the rule of `Epochs::check`, and that the locks are held: whoever has locked
/// has a transaction id, and without a transaction there is none yet when a statement begins.
macro_rules! fenced {
    ($columns:literal, $parameters:literal, $also:literal, $joins:literal) => {
        concat!(
            "
WITH batch AS (
  SELECT * FROM UNNEST($1::int[], $2::text[], $3::text[], $4::int[], $5::bool[], $6::bigint[]",
            $parameters,
            ") AS b(n, id, entity_type, slice, of_shard, epoch",
            $columns,
            ")
), found AS MATERIALIZED (
  SELECT b.*, coalesce(e.epoch, 0) AS entity_epoch, coalesce(o.epoch, 0) AS shard_epoch,
    (SELECT pg_current_xact_id_if_assigned() IS NOT NULL) AND b.epoch > 0 AND b.epoch = CASE WHEN b.of_shard THEN coalesce(o.epoch, 0) ELSE coalesce(e.epoch, 0) END
      AND b.epoch = GREATEST(coalesce(o.epoch, 0), coalesce(e.epoch, 0)) AS fit",
            $also,
            "
  FROM batch b
  LEFT JOIN LATERAL (SELECT epoch, highest_seq FROM {schema}.entity WHERE persistence_id = b.id LIMIT 1) e ON true
  LEFT JOIN LATERAL (SELECT epoch FROM {schema}.owner WHERE entity_type = b.entity_type AND shard = b.slice LIMIT 1) o
    ON true",
            $joins,
            "
)"
        )
    };
}

/// `stored` is a batch that is there already, with its id at its place. `in_order` says that the event before the new
/// one is before it in commit order too: transactions are numbered when they begin to write, so one that was overtaken has
/// to begin again. The last event is looked for from the one before the new one on: an index that is asked for less reads
/// less.
pub(crate) static APPEND: Sql = Sql {
    text: concat!(
        fenced!(
            ", expected, batch_id, time_ms",
            ", $7::bigint[], $8::uuid[], $9::bigint[]",
            ",
    GREATEST(coalesce(e.highest_seq, 0), coalesce(l.seq_nr,
      (SELECT max(m.seq_nr) FROM {schema}.journal m WHERE m.persistence_id = b.id), 0)) AS highest,
    coalesce(l.generation < $10 OR l.tx < pg_current_xact_id(), true) AS in_order,
    coalesce(l.seq_nr >= b.expected, false) AND EXISTS (SELECT FROM {schema}.journal s
      WHERE s.persistence_id = b.id AND s.seq_nr = b.expected AND s.batch_id = b.batch_id) AS stored",
            "
  LEFT JOIN LATERAL (SELECT seq_nr, generation, tx FROM {schema}.journal
    WHERE persistence_id = b.id AND seq_nr >= b.expected - 1 ORDER BY seq_nr DESC LIMIT 1) l ON true"
        ),
        ", verdict AS MATERIALIZED (
  SELECT *, fit AND in_order AND NOT stored AND expected = highest + 1 AS accepted FROM found
), named AS (
  INSERT INTO {schema}.entity(persistence_id, entity_type, slice)
  SELECT id, entity_type, slice FROM verdict WHERE accepted AND expected = 1 ORDER BY id ON CONFLICT DO NOTHING
), written AS (
  INSERT INTO {schema}.journal(persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, time_ms,
    manifest, payload, meta, crc, tags)
  SELECT v.id, v.expected + w.place, v.slice, v.entity_type, v.epoch, CASE WHEN w.place = 0 THEN v.batch_id END, $10,
    v.time_ms, w.manifest, w.payload, w.meta, w.crc, w.tags::text[]
  FROM UNNEST($11::int[], $12::int[], $13::text[], $14::bytea[], $15::bytea[], $16::bigint[], $17::text[])
    AS w(n, place, manifest, payload, meta, crc, tags)
  JOIN verdict v ON v.n = w.n WHERE v.accepted ORDER BY v.n, w.place
)
SELECT n, accepted, stored, entity_epoch, shard_epoch, highest, pg_current_xact_id()::text::bigint FROM verdict"
    ),
    types: &[
        Type::INT4_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT4_ARRAY,
        Type::BOOL_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4,
        Type::INT4_ARRAY,
        Type::INT4_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// Events of entities whose last ones are [known](super::known): under the locks of their shards, those of shards whose
/// epochs are as expected (`$3`, `$4`), and none if a shard is missing or the store is of another generation by now. It is a
/// transaction by itself: the epochs are read from the locked rows as they are, and nothing else is looked up. Answers
/// whether all was as expected, else with the epochs of each shard, and with the transaction's number.
///
/// `$1` and `$2` are the shards in the order of type and number, in which everybody locks them; `$6` is the shard of each
/// event, counted from 1. Columns that say little are short: what is missing in types (`$1`, `$12`) is the first one, in
/// epochs (`$8`) that of the shard, in metas (`$16`) and tags (`$17`) nothing. Numbers without gaps are taken from their
/// arrays by place, which costs less than to unnest them.
pub(crate) static APPEND_KNOWN: Sql = Sql {
    text: "
WITH locked AS MATERIALIZED (
  SELECT w.epoch, w.entity_epoch_max
  FROM UNNEST($1::text[], $2::int[]) WITH ORDINALITY AS u(entity_type, shard, n)
  JOIN {schema}.owner w ON w.entity_type = coalesce(u.entity_type, ($1)[1]) AND w.shard = u.shard
  ORDER BY u.n FOR SHARE OF w
), verdict AS MATERIALIZED (
  SELECT array_agg(epoch) AS epochs, array_agg(entity_epoch_max) AS maxes,
    array_agg(epoch) = $3 AND array_agg(entity_epoch_max) = $4 AS fit
  FROM locked
  HAVING count(*) = cardinality($2) AND (SELECT value FROM {schema}.meta WHERE key = 'generation') = $5::text
), written AS (
  INSERT INTO {schema}.journal(persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, time_ms,
    manifest, payload, meta, crc, tags)
  SELECT e.id, ($7)[e.n], ($2)[($6)[e.n]], coalesce(e.entity_type, ($1)[1]),
    coalesce(($8)[e.n], ($3)[($6)[e.n]]), e.batch_id, $5, ($9)[e.n], e.manifest, e.payload, e.meta, ($10)[e.n],
    coalesce(e.tags::text[], '{}')
  FROM UNNEST($11::text[], $12::text[], $13::uuid[], $14::text[], $15::bytea[], $16::bytea[], $17::text[]) WITH ORDINALITY
    AS e(id, entity_type, batch_id, manifest, payload, meta, tags, n)
  WHERE CASE WHEN (SELECT fit FROM verdict) THEN true
    ELSE (SELECT epochs FROM verdict)[($6)[e.n]] = ($3)[($6)[e.n]]
      AND (SELECT maxes FROM verdict)[($6)[e.n]] = ($4)[($6)[e.n]] END
)
SELECT fit, CASE WHEN NOT fit THEN epochs END, CASE WHEN NOT fit THEN maxes END, pg_current_xact_id() FROM verdict",
    types: &[
        Type::TEXT_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT4,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BYTEA_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// As [`APPEND_KNOWN`], for one event: a writer that has the store to itself waits for each.
pub(crate) static APPEND_ONE: Sql = Sql {
    text: "
WITH locked AS MATERIALIZED (
  SELECT w.epoch = $3 AND w.entity_epoch_max = $4 AS fit FROM {schema}.owner w
  WHERE w.entity_type = $1 AND w.shard = $2 FOR SHARE
)
INSERT INTO {schema}.journal(slice, entity_type, generation, persistence_id, seq_nr, epoch, batch_id, time_ms, manifest,
  payload, meta, crc, tags)
SELECT $2, $1, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, coalesce($15::text[], '{}') FROM locked
WHERE fit AND (SELECT value FROM {schema}.meta WHERE key = 'generation') = $5::text
RETURNING true, NULL::bigint[], NULL::bigint[], tx",
    types: &[
        Type::TEXT,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::INT4,
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::INT8,
        Type::TEXT,
        Type::BYTEA,
        Type::BYTEA,
        Type::INT8,
        Type::TEXT,
    ],
};

/// A state over the one it was made from. A deletion leaves the tag, so that those who read by it are told. `written` is empty for a request that another writer came before.
pub(crate) static WRITE_STATE: Sql = Sql {
    text: concat!(
        fenced!(
            ", expected, batch_id, time_ms, manifest, payload, meta, crc, tag",
            ", $7::bigint[], $8::uuid[], $9::bigint[], $10::text[], $11::bytea[], $12::bytea[], $13::bigint[], $14::text[]",
            ", coalesce(s.revision, 0) AS highest,
    coalesce(s.revision - 1 = b.expected AND s.batch_id = b.batch_id AND s.deleted = (b.payload IS NULL), false)
      AS stored",
            "
  LEFT JOIN LATERAL (SELECT revision, batch_id, payload IS NULL AS deleted FROM {schema}.state
    WHERE persistence_id = b.id LIMIT 1) s ON true"
        ),
        ", verdict AS MATERIALIZED (
  SELECT *, fit AND NOT stored AND expected = highest AS accepted FROM found
), named AS (
  INSERT INTO {schema}.entity(persistence_id, entity_type, slice)
  SELECT id, entity_type, slice FROM verdict WHERE accepted AND expected = 0 ORDER BY id ON CONFLICT DO NOTHING
), written AS (
  INSERT INTO {schema}.state AS s (persistence_id, slice, entity_type, revision, epoch, batch_id, generation, tx,
    ordering, time_ms, manifest, payload, meta, crc, tag)
  SELECT id, slice, entity_type, expected + 1, epoch, batch_id, $15, pg_current_xact_id(),
    nextval('{schema}.state_ordering'), time_ms, manifest, payload, meta, crc, tag
  FROM verdict WHERE accepted ORDER BY id
  ON CONFLICT (persistence_id) DO UPDATE SET revision = excluded.revision, epoch = excluded.epoch,
    batch_id = excluded.batch_id, generation = excluded.generation, tx = excluded.tx, ordering = excluded.ordering,
    time_ms = excluded.time_ms, manifest = excluded.manifest, payload = excluded.payload, meta = excluded.meta,
    crc = excluded.crc, tag = CASE WHEN excluded.payload IS NULL THEN s.tag ELSE excluded.tag END
  WHERE s.revision = excluded.revision - 1
  RETURNING s.persistence_id
)
SELECT v.n, v.accepted AND w.persistence_id IS NOT NULL, v.stored, v.entity_epoch, v.shard_epoch, v.highest,
  pg_current_xact_id()::text::bigint
FROM verdict v LEFT JOIN written w ON w.persistence_id = v.id"
    ),
    types: &[
        Type::INT4_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT4_ARRAY,
        Type::BOOL_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT4,
    ],
};

pub(crate) static SAVE_SNAPSHOT: Sql = Sql {
    text: concat!(
        fenced!(
            ", seq_nr, time_ms, manifest, payload, meta, crc",
            ", $7::bigint[], $8::bigint[], $9::text[], $10::bytea[], $11::bytea[], $12::bigint[]",
            ", GREATEST(coalesce(e.highest_seq, 0), coalesce(l.seq_nr, 0)) AS highest",
            "
  LEFT JOIN LATERAL (SELECT seq_nr FROM {schema}.journal WHERE persistence_id = b.id
    ORDER BY seq_nr DESC LIMIT 1) l ON true"
        ),
        ", verdict AS MATERIALIZED (
  SELECT *, fit AND seq_nr BETWEEN 1 AND highest AS accepted FROM found
), written AS (
  INSERT INTO {schema}.snapshot(persistence_id, seq_nr, epoch, time_ms, manifest, payload, meta, crc)
  SELECT id, seq_nr, epoch, time_ms, manifest, payload, meta, crc FROM verdict WHERE accepted ORDER BY id
  ON CONFLICT (persistence_id, seq_nr) DO UPDATE SET epoch = excluded.epoch, time_ms = excluded.time_ms,
    manifest = excluded.manifest, payload = excluded.payload, meta = excluded.meta, crc = excluded.crc
)
SELECT n, accepted, false, entity_epoch, shard_epoch, highest, 0::bigint FROM verdict"
    ),
    types: &[
        Type::INT4_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT4_ARRAY,
        Type::BOOL_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
    ],
};

const DELETION: &[Type] = &[
    Type::INT4_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
    Type::BOOL_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
];

pub(crate) static DELETE_SNAPSHOTS: Sql = Sql {
    text: concat!(
        fenced!(", up_to", ", $7::bigint[]", "", ""),
        ", gone AS (
  DELETE FROM {schema}.snapshot s USING found v
  WHERE v.fit AND s.persistence_id = v.id AND s.seq_nr <= v.up_to
)
SELECT n, fit, false, entity_epoch, shard_epoch, 0::bigint, 0::bigint FROM found"
    ),
    types: DELETION,
};

/// Events vanish for readers at once, by `deleted_to`; the rows go in small steps later, by [`SWEEP`].
pub(crate) static DELETE_EVENTS: Sql = Sql {
    text: concat!(
        fenced!(
            ", up_to",
            ", $7::bigint[]",
            ", GREATEST(coalesce(e.highest_seq, 0), coalesce(l.seq_nr, 0)) AS highest",
            "
  LEFT JOIN LATERAL (SELECT seq_nr FROM {schema}.journal WHERE persistence_id = b.id
    ORDER BY seq_nr DESC LIMIT 1) l ON true"
        ),
        ", marked AS (
  INSERT INTO {schema}.entity AS e (persistence_id, entity_type, slice, highest_seq, deleted_to)
  SELECT id, entity_type, slice, highest, LEAST(up_to, highest) FROM found WHERE fit AND highest > 0 ORDER BY id
  ON CONFLICT (persistence_id) DO UPDATE SET highest_seq = GREATEST(e.highest_seq, excluded.highest_seq),
    deleted_to = excluded.deleted_to
  WHERE e.deleted_to < excluded.deleted_to
  RETURNING persistence_id, deleted_to
), swept AS (
  INSERT INTO {schema}.sweep(persistence_id, deleted_to) SELECT persistence_id, deleted_to FROM marked
  ON CONFLICT (persistence_id) DO UPDATE SET deleted_to = excluded.deleted_to
)
SELECT n, fit, false, entity_epoch, shard_epoch, highest, 0::bigint FROM found"
    ),
    types: DELETION,
};

/// Removes some rows of deleted events. A step must not hold anybody up for longer than a batch does. Answers whether
/// there was something to do.
pub(crate) static SWEEP: Sql = Sql {
    text: "
WITH next AS MATERIALIZED (
  SELECT persistence_id, deleted_to FROM {schema}.sweep ORDER BY persistence_id LIMIT 1 FOR UPDATE SKIP LOCKED
), victim AS MATERIALIZED (
  SELECT j.persistence_id, j.seq_nr FROM next n JOIN {schema}.journal j
    ON j.persistence_id = n.persistence_id AND j.seq_nr <= n.deleted_to ORDER BY j.seq_nr LIMIT 500
), gone AS (
  DELETE FROM {schema}.journal j USING victim v WHERE j.persistence_id = v.persistence_id AND j.seq_nr = v.seq_nr
), done AS (
  DELETE FROM {schema}.sweep s USING next n
  WHERE s.persistence_id = n.persistence_id AND (SELECT count(*) FROM victim) < 500
)
SELECT count(*) FROM next",
    types: &[],
};

const SLOTS: &[Type] = &[Type::TEXT_ARRAY, Type::INT4_ARRAY];

/// A row for each shard that a claim is about.
pub(crate) static NAME_SHARDS: Sql = Sql {
    text: "
INSERT INTO {schema}.owner(entity_type, shard, epoch, entity_epoch_max, owner)
SELECT u.entity_type, u.shard, 0, 0, '' FROM UNNEST($1::text[], $2::int[]) AS u(entity_type, shard)
ORDER BY u.entity_type COLLATE \"C\", u.shard ON CONFLICT DO NOTHING",
    types: SLOTS,
};

/// Shuts out all writers of these shards until the claim is committed.
pub(crate) static LOCK_SHARDS_ALONE: Sql = Sql {
    text: "
SELECT 1 FROM UNNEST($1::text[], $2::int[]) AS u(entity_type, shard)
JOIN {schema}.owner w ON w.entity_type = u.entity_type AND w.shard = u.shard
ORDER BY w.entity_type, w.shard FOR NO KEY UPDATE OF w",
    types: SLOTS,
};

pub(crate) static CLAIM_SHARDS: Sql = Sql {
    text: "
UPDATE {schema}.owner w SET epoch = GREATEST(w.epoch, w.entity_epoch_max) + 1, owner = $3
FROM UNNEST($1::text[], $2::int[]) AS u(entity_type, shard)
WHERE w.entity_type = u.entity_type AND w.shard = u.shard
RETURNING w.entity_type, w.shard, w.epoch",
    types: &[Type::TEXT_ARRAY, Type::INT4_ARRAY, Type::TEXT],
};

/// An entity's claim is above its shard's and above those of all entities of the shard: so each claim shows in the shard's
/// row. `entity_epoch_max` keeps the shard's next one above the entity's.
pub(crate) static CLAIM_ENTITIES: Sql = Sql {
    text: "
WITH claimed AS (
  INSERT INTO {schema}.entity AS e (persistence_id, entity_type, slice, epoch)
  SELECT u.id, u.entity_type, u.slice, GREATEST(w.epoch, w.entity_epoch_max) + 1
  FROM UNNEST($1::text[], $2::text[], $3::int[]) AS u(id, entity_type, slice)
  JOIN {schema}.owner w ON w.entity_type = u.entity_type AND w.shard = u.slice ORDER BY u.id COLLATE \"C\"
  ON CONFLICT (persistence_id) DO UPDATE SET epoch = GREATEST(e.epoch + 1, excluded.epoch)
  RETURNING persistence_id, entity_type, slice, epoch
), raised AS (
  UPDATE {schema}.owner w SET entity_epoch_max = GREATEST(w.entity_epoch_max, c.epoch)
  FROM claimed c WHERE w.entity_type = c.entity_type AND w.shard = c.slice
)
SELECT persistence_id, epoch FROM claimed",
    types: &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT4_ARRAY],
};

/// All that a writer prepares when it connects.
pub(crate) static WRITERS: &[&Sql] = &[
    &LOCK_SHARDS,
    &APPEND,
    &APPEND_KNOWN,
    &APPEND_ONE,
    &WRITE_STATE,
    &SAVE_SNAPSHOT,
    &DELETE_SNAPSHOTS,
    &DELETE_EVENTS,
    &NAME_SHARDS,
    &LOCK_SHARDS_ALONE,
    &CLAIM_SHARDS,
    &CLAIM_ENTITIES,
    &projection::LOCK,
    &projection::CLAIM,
    &projection::SAVE_OFFSET,
    &projection::SET_OFFSET,
    &projection::SET_PAUSED,
    &projection::PARK,
    &projection::UNPARK,
    &projection::REPLAY,
    &projection::DROP,
];
