-- Who is the only one for what, outside of any entity. Each write raises version, each grant token; rows stay when a lease
-- is given back, for the token's sake.
CREATE TABLE {schema}.lease(
  name TEXT COLLATE "C" PRIMARY KEY,
  owner TEXT,
  token BIGINT NOT NULL,
  version BIGINT NOT NULL,
  written_at TIMESTAMPTZ NOT NULL) WITH (fillfactor = 50);
