CREATE SCHEMA cloudstate;
CREATE TABLE cloudstate.entity (
    persistence_id text NOT NULL COLLATE pg_catalog."C",
    entity_type text NOT NULL COLLATE pg_catalog."C",
    slice integer NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    highest_seq bigint DEFAULT 0 NOT NULL,
    deleted_to bigint DEFAULT 0 NOT NULL
);
CREATE TABLE cloudstate.journal (
    persistence_id text NOT NULL COLLATE pg_catalog."C",
    seq_nr bigint NOT NULL,
    slice integer NOT NULL,
    entity_type text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    batch_id uuid,
    generation integer NOT NULL,
    tx xid8 DEFAULT pg_current_xact_id() NOT NULL,
    ordering bigint NOT NULL,
    db_timestamp timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    time_ms bigint NOT NULL,
    manifest text NOT NULL,
    payload bytea NOT NULL,
    meta bytea,
    crc bigint NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL
);
ALTER TABLE cloudstate.journal ALTER COLUMN ordering ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME cloudstate.journal_ordering_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE cloudstate.meta (
    key text NOT NULL,
    value text NOT NULL
);
CREATE TABLE cloudstate.owner (
    entity_type text NOT NULL COLLATE pg_catalog."C",
    shard integer NOT NULL,
    epoch bigint NOT NULL,
    entity_epoch_max bigint NOT NULL,
    owner text NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE cloudstate.parked (
    consumer_group text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    generation integer NOT NULL,
    tx bigint NOT NULL,
    ordering bigint NOT NULL,
    persistence_id text NOT NULL COLLATE pg_catalog."C",
    seq_nr bigint NOT NULL,
    attempts bigint NOT NULL,
    reason text NOT NULL,
    time_ms bigint NOT NULL,
    replay boolean DEFAULT false NOT NULL
);
CREATE TABLE cloudstate.projection (
    consumer_group text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    epoch bigint NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    tx bigint DEFAULT 0 NOT NULL,
    ordering bigint DEFAULT 0 NOT NULL,
    paused boolean DEFAULT false NOT NULL
);
CREATE TABLE cloudstate.snapshot (
    persistence_id text NOT NULL COLLATE pg_catalog."C",
    seq_nr bigint NOT NULL,
    epoch bigint NOT NULL,
    time_ms bigint NOT NULL,
    manifest text NOT NULL,
    payload bytea NOT NULL,
    meta bytea,
    crc bigint NOT NULL
);
CREATE TABLE cloudstate.state (
    persistence_id text NOT NULL COLLATE pg_catalog."C",
    slice integer NOT NULL,
    entity_type text NOT NULL COLLATE pg_catalog."C",
    revision bigint NOT NULL,
    epoch bigint NOT NULL,
    batch_id uuid NOT NULL,
    generation integer NOT NULL,
    tx xid8 NOT NULL,
    ordering bigint NOT NULL,
    time_ms bigint NOT NULL,
    manifest text,
    payload bytea,
    meta bytea,
    crc bigint NOT NULL,
    tag text
);
CREATE SEQUENCE cloudstate.state_ordering
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE cloudstate.sweep (
    persistence_id text NOT NULL COLLATE pg_catalog."C",
    deleted_to bigint NOT NULL
);
INSERT INTO cloudstate.entity (persistence_id, entity_type, slice, epoch, highest_seq, deleted_to) VALUES ('golden|ada', 'golden', 729, 1, 0, 0);
INSERT INTO cloudstate.entity (persistence_id, entity_type, slice, epoch, highest_seq, deleted_to) VALUES ('golden|bob', 'golden', 639, 1, 3, 2);
INSERT INTO cloudstate.journal (persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, tx, ordering, db_timestamp, time_ms, manifest, payload, meta, crc, tags) OVERRIDING SYSTEM VALUE VALUES ('golden|ada', 1, 729, 'golden', 1, '00000000-0000-0000-0000-000000000007', 1, '728', 1, '2026-11-29 08:43:04.318437+00', 1700000000000, 'golden.Event/1', '\x81a64f70656e656481a56f776e6572a3416461', '\xc0018004ba05ae36c60c175ca37e0000000400076f726465722d37010000000107', 259354481, '{vip,naïve}');
INSERT INTO cloudstate.journal (persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, tx, ordering, db_timestamp, time_ms, manifest, payload, meta, crc, tags) OVERRIDING SYSTEM VALUE VALUES ('golden|ada', 2, 729, 'golden', 1, NULL, 1, '728', 2, '2026-11-29 08:43:04.318526+00', 1700000000000, 'golden.Event/1', '\x81a45061696482a563656e7473cf0000010000000000a46e6f7465a66e61c3af7665', NULL, 1780208311, '{vip,naïve}');
INSERT INTO cloudstate.journal (persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, tx, ordering, db_timestamp, time_ms, manifest, payload, meta, crc, tags) OVERRIDING SYSTEM VALUE VALUES ('golden|ada', 3, 729, 'golden', 1, NULL, 1, '728', 3, '2026-11-29 08:43:04.31853+00', 1700000000000, 'golden.Event/1', '\xa6436c6f736564', NULL, 2794667505, '{vip,naïve}');
INSERT INTO cloudstate.journal (persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, tx, ordering, db_timestamp, time_ms, manifest, payload, meta, crc, tags) OVERRIDING SYSTEM VALUE VALUES ('golden|bob', 3, 639, 'golden', 1, NULL, 1, '733', 6, '2026-11-29 08:43:04.35579+00', 1700000000000, 'golden.Event/1', '\xa6436c6f736564', NULL, 2751745962, '{vip,naïve}');
INSERT INTO cloudstate.meta (key, value) VALUES ('generation', '1');
INSERT INTO cloudstate.meta (key, value) VALUES ('store_id', '0cf195993763f0376527b2c02d83e129');
INSERT INTO cloudstate.meta (key, value) VALUES ('created_ms', '1795941783993');
INSERT INTO cloudstate.meta (key, value) VALUES ('system_identifier', '7713511217087137884');
INSERT INTO cloudstate.meta (key, value) VALUES ('schema_version', '1');
INSERT INTO cloudstate.owner (entity_type, shard, epoch, entity_epoch_max, owner) VALUES ('golden', 729, 0, 1, '');
INSERT INTO cloudstate.owner (entity_type, shard, epoch, entity_epoch_max, owner) VALUES ('golden', 639, 0, 1, '');
INSERT INTO cloudstate.parked (consumer_group, source, generation, tx, ordering, persistence_id, seq_nr, attempts, reason, time_ms, replay) VALUES ('mailer', 'golden', 3, 1099511627776, 9, 'golden|bob', 3, 5, 'naïve, as told', 1234, false);
INSERT INTO cloudstate.parked (consumer_group, source, generation, tx, ordering, persistence_id, seq_nr, attempts, reason, time_ms, replay) VALUES ('mailer', 'golden', 1, 728, 1, 'golden|ada', 1, 5, 'naïve, as told', 1234, true);
INSERT INTO cloudstate.projection (consumer_group, source, epoch, generation, tx, ordering, paused) VALUES ('mailer', 'golden', 2, 1, 728, 2, false);
INSERT INTO cloudstate.projection (consumer_group, source, epoch, generation, tx, ordering, paused) VALUES ('naïve', 'golden|0-511|states|vip', 1, 3, 1099511627776, 9, true);
INSERT INTO cloudstate.snapshot (persistence_id, seq_nr, epoch, time_ms, manifest, payload, meta, crc) VALUES ('golden|ada', 2, 1, 1234, 'text/1', '\x61667465722074776f', '\xc1010000000300000000000000010000000000000000000000000000000000066e61c3af7665000000000000000002529a64dc8ff592d4b49ab2290000000100056c617267650200000100000000000000018bcfe568008004ba05ae36c60c175ca37e0000000400076f726465722d37010000000107', 3361325578);
INSERT INTO cloudstate.snapshot (persistence_id, seq_nr, epoch, time_ms, manifest, payload, meta, crc) VALUES ('golden|bob', 2, 1, 1234, 'text/1', '\x61667465722074776f', '\xc1010000000300000000000000010000000000000000000000000000000000066e61c3af7665000000000000000002529a64dc8ff592d4b49ab2290000000100056c617267650200000100000000000000018bcfe568008004ba05ae36c60c175ca37e0000000400076f726465722d37010000000107', 28435461);
INSERT INTO cloudstate.state (persistence_id, slice, entity_type, revision, epoch, batch_id, generation, tx, ordering, time_ms, manifest, payload, meta, crc, tag) VALUES ('golden|ada', 729, 'golden', 2, 1, '00000000-0000-0000-0000-000000000009', 1, '731', 2, 1234, 'text/1', '\x74776f', '\x626573696465', 4152921618, 'vip');
INSERT INTO cloudstate.state (persistence_id, slice, entity_type, revision, epoch, batch_id, generation, tx, ordering, time_ms, manifest, payload, meta, crc, tag) VALUES ('golden|bob', 639, 'golden', 3, 1, '00000000-0000-0000-0000-00000000000a', 1, '739', 5, 1234, NULL, NULL, '\xc1010000000300000000000000010000000000000000000000000000000000066e61c3af7665000000000000000002529a64dc8ff592d4b49ab2290000000100056c617267650200000100000000000000018bcfe568008004ba05ae36c60c175ca37e0000000400076f726465722d37010000000107', 2142486535, 'vip');
SELECT pg_catalog.setval('cloudstate.journal_ordering_seq', 6, true);
SELECT pg_catalog.setval('cloudstate.state_ordering', 5, true);
ALTER TABLE ONLY cloudstate.entity
    ADD CONSTRAINT entity_pkey PRIMARY KEY (persistence_id);
ALTER TABLE ONLY cloudstate.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (persistence_id, seq_nr);
ALTER TABLE ONLY cloudstate.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY cloudstate.owner
    ADD CONSTRAINT owner_pkey PRIMARY KEY (entity_type, shard);
ALTER TABLE ONLY cloudstate.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (consumer_group, source, generation, tx, ordering);
ALTER TABLE ONLY cloudstate.projection
    ADD CONSTRAINT projection_pkey PRIMARY KEY (consumer_group, source);
ALTER TABLE ONLY cloudstate.snapshot
    ADD CONSTRAINT snapshot_pkey PRIMARY KEY (persistence_id, seq_nr);
ALTER TABLE ONLY cloudstate.state
    ADD CONSTRAINT state_pkey PRIMARY KEY (persistence_id);
ALTER TABLE ONLY cloudstate.sweep
    ADD CONSTRAINT sweep_pkey PRIMARY KEY (persistence_id);
CREATE INDEX journal_feed ON cloudstate.journal USING btree (entity_type, generation, tx, ordering) INCLUDE (slice);
CREATE INDEX state_feed ON cloudstate.state USING btree (entity_type, generation, tx, ordering) INCLUDE (slice);
