-- What a store is, and who may write to it.
CREATE TABLE {schema}.meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);

-- One row per entity that was ever claimed or written. highest_seq is written when events are deleted: else it follows
-- from the journal.
CREATE TABLE {schema}.entity(
  persistence_id TEXT COLLATE "C" PRIMARY KEY,
  entity_type TEXT COLLATE "C" NOT NULL,
  slice INT NOT NULL,
  epoch BIGINT NOT NULL DEFAULT 0,
  highest_seq BIGINT NOT NULL DEFAULT 0,
  deleted_to BIGINT NOT NULL DEFAULT 0);

-- One row per shard that was claimed, as a whole or for one of its entities: whoever writes to the shard locks this row.
CREATE TABLE {schema}.owner(
  entity_type TEXT COLLATE "C" NOT NULL,
  shard INT NOT NULL,
  epoch BIGINT NOT NULL,
  entity_epoch_max BIGINT NOT NULL,
  owner TEXT NOT NULL,
  PRIMARY KEY(entity_type, shard)) WITH (fillfactor = 50);

-- Commit order is (generation, tx, ordering), as far as tx is below the oldest transaction that still runs. The first
-- event of a batch carries its id.
CREATE TABLE {schema}.journal(
  persistence_id TEXT COLLATE "C" NOT NULL,
  seq_nr BIGINT NOT NULL,
  slice INT NOT NULL,
  entity_type TEXT COLLATE "C" NOT NULL,
  epoch BIGINT NOT NULL,
  batch_id UUID,
  generation INT NOT NULL,
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  ordering BIGINT GENERATED ALWAYS AS IDENTITY,
  db_timestamp TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  time_ms BIGINT NOT NULL,
  manifest TEXT NOT NULL,
  payload BYTEA NOT NULL,
  meta BYTEA,
  crc BIGINT NOT NULL,
  tags TEXT[] NOT NULL DEFAULT '{}',
  PRIMARY KEY(persistence_id, seq_nr));
CREATE INDEX journal_feed ON {schema}.journal(entity_type, generation, tx, ordering) INCLUDE (slice);

-- Events that are deleted for readers already and whose rows are still to go.
CREATE TABLE {schema}.sweep(persistence_id TEXT COLLATE "C" PRIMARY KEY, deleted_to BIGINT NOT NULL);

CREATE TABLE {schema}.snapshot(
  persistence_id TEXT COLLATE "C" NOT NULL,
  seq_nr BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  time_ms BIGINT NOT NULL,
  manifest TEXT NOT NULL,
  payload BYTEA NOT NULL,
  meta BYTEA,
  crc BIGINT NOT NULL,
  PRIMARY KEY(persistence_id, seq_nr));

-- payload is NULL once the state was deleted; the row stays for its revision.
CREATE SEQUENCE {schema}.state_ordering;
CREATE TABLE {schema}.state(
  persistence_id TEXT COLLATE "C" PRIMARY KEY,
  slice INT NOT NULL,
  entity_type TEXT COLLATE "C" NOT NULL,
  revision BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  batch_id UUID NOT NULL,
  generation INT NOT NULL,
  tx xid8 NOT NULL,
  ordering BIGINT NOT NULL,
  time_ms BIGINT NOT NULL,
  manifest TEXT,
  payload BYTEA,
  meta BYTEA,
  crc BIGINT NOT NULL,
  tag TEXT);
CREATE INDEX state_feed ON {schema}.state(entity_type, generation, tx, ordering) INCLUDE (slice);

-- How far a consumer has got; epoch shuts out its older instances. Places may be those of another store: tx is a number.
CREATE TABLE {schema}.projection(
  consumer_group TEXT COLLATE "C" NOT NULL,
  source TEXT COLLATE "C" NOT NULL,
  epoch BIGINT NOT NULL,
  generation INT NOT NULL DEFAULT 0,
  tx BIGINT NOT NULL DEFAULT 0,
  ordering BIGINT NOT NULL DEFAULT 0,
  paused BOOLEAN NOT NULL DEFAULT false,
  PRIMARY KEY(consumer_group, source));

-- What a consumer has given up on, by the event's place: the event itself stays in the journal.
CREATE TABLE {schema}.parked(
  consumer_group TEXT COLLATE "C" NOT NULL,
  source TEXT COLLATE "C" NOT NULL,
  generation INT NOT NULL,
  tx BIGINT NOT NULL,
  ordering BIGINT NOT NULL,
  persistence_id TEXT COLLATE "C" NOT NULL,
  seq_nr BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  reason TEXT NOT NULL,
  time_ms BIGINT NOT NULL,
  replay BOOLEAN NOT NULL DEFAULT false,
  PRIMARY KEY(consumer_group, source, generation, tx, ordering));
