//! Tables, and what a store says of itself in `meta`.

use super::{
    PostgresOpenError,
    error::grant_all,
    session::{Connector, Session, Sql, in_schema},
};
use tokio_postgres::types::Type;

/// What each version of the schema adds to the one before it, from version 1 on. Stores out there were made by these very
/// texts: add a file, never change one.
const STEPS: &[&str] = &[include_str!("sql/0001_tables.sql"), include_str!("sql/0002_lease.sql")];

/// The version this program writes.
const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// PostgreSQL 13 is the first with `xid8`.
const SERVER_VERSION_MIN: i32 = 130_000;

/// First half of the advisory lock under which schemas are changed; the second names the schema.
const LOCK: i32 = 0x00c1_05ed;

const SERVER: Sql = Sql {
    text: "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
       pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_setting('fsync') = 'off'",
    types: &[],
};

const TABLES: Sql = Sql {
    text: "SELECT count(*) FILTER (WHERE c.relname = 'meta'), count(c.oid), count(n.oid) > 0
FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r' WHERE n.nspname = $1",
    types: &[Type::TEXT],
};

const META: Sql = Sql { text: "SELECT key, value FROM {schema}.meta", types: &[] };

/// What the role may not do with a table or sequence.
const LACKING: Sql = Sql {
    text: "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND CASE c.relkind
  WHEN 'r' THEN NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
    AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
  WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') OR NOT has_sequence_privilege(c.oid, 'SELECT')
  ELSE false END ORDER BY c.relname LIMIT 1",
    types: &[Type::TEXT],
};

const SYSTEM: Sql = Sql { text: "SELECT system_identifier::text FROM pg_control_system()", types: &[] };

/// Which of a server's histories this is: another one since it was promoted, or set back to an earlier moment. Not every
/// server tells; the second tells late, with the first checkpoint.
const TIMELINE: [Sql; 2] = [
    Sql { text: "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text", types: &[] },
    Sql { text: "SELECT timeline_id::text FROM pg_control_checkpoint()", types: &[] },
];

/// What a store is, as long as it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Random, made with the store.
    pub(crate) store_id: String,
    /// Of the server.
    pub(crate) system: String,
    /// One more with every move to another server.
    pub(crate) generation: i32,
}

/// Checks the server, brings the schema to this version, and answers what the store is.
pub(crate) async fn prepare(connector: &Connector, session: &Session) -> Result<Identity, PostgresOpenError> {
    check_server(connector, session).await?;
    if version(connector, session).await? != SCHEMA_VERSION {
        upgrade(connector, session).await?;
    }
    check_rights(connector, session).await?;
    let identity = identity(connector, session).await?;
    check_timeline(connector, session).await?;
    Ok(identity)
}

/// A server that was promoted may have lost commits, or not: only whoever runs it knows.
async fn check_timeline(connector: &Connector, session: &Session) -> Result<(), PostgresOpenError> {
    let Some(found) = timeline(connector, session).await else { return Ok(()) };
    match read_meta(connector, session).await?.remove("timeline") {
        Some(stored) if stored != found => {
            tracing::warn!(
                place = %connector.place(), stored, found,
                "the server was promoted, or set back, since the store was made or adopted: if it has lost commits, as \
                 after a restore to an earlier moment or a fail-over to a replica that lagged behind, stop all nodes and \
                 run: cloudstate store adopt"
            );
            Ok(())
        }
        Some(_) => Ok(()),
        None => {
            let note = format!(
                "INSERT INTO {{schema}}.meta(key, value) VALUES ('timeline', '{found}') ON CONFLICT (key) DO NOTHING"
            );
            connector.answer(session.execute(&in_schema(&note, &connector.options().schema))).await
        }
    }
}

/// Not within a transaction: where one cannot be asked that would be its end.
async fn timeline(connector: &Connector, session: &Session) -> Option<String> {
    for sql in &TIMELINE {
        if let Ok(rows) = connector.answer(session.query(sql, &[])).await {
            return rows.first().and_then(|row| row.try_get(0).ok());
        }
    }
    None
}

async fn check_server(connector: &Connector, session: &Session) -> Result<(), PostgresOpenError> {
    let rows = connector.answer(session.query(&SERVER, &[])).await?;
    let row = &rows[0];
    let place = connector.place().to_owned();
    check_version(&place, row.get(0), row.get(1))?;
    if row.get(2) {
        return Err(PostgresOpenError::ReadOnly { place, reason: "it is a replica in recovery".into() });
    }
    if row.get(3) {
        let reason = "default_transaction_read_only is on for this role or database".into();
        return Err(PostgresOpenError::ReadOnly { place, reason });
    }
    if row.get(4) {
        tracing::warn!(%place, "the server runs with fsync = off: a crash of its machine may lose acknowledged writes");
    }
    Ok(())
}

fn check_version(place: &str, number: i32, text: &str) -> Result<(), PostgresOpenError> {
    if number < SERVER_VERSION_MIN {
        return Err(PostgresOpenError::TooOld { place: place.to_owned(), found: text.to_owned() });
    }
    Ok(())
}

/// The version of the tables found; 0 for none.
async fn version(connector: &Connector, session: &Session) -> Result<i64, PostgresOpenError> {
    let schema = &connector.options().schema;
    let rows = connector.answer(session.query(&TABLES, &[schema])).await?;
    let (meta, tables): (i64, i64) = (rows[0].get(0), rows[0].get(1));
    let foreign = |reason: String| PostgresOpenError::Foreign {
        place: connector.place().to_owned(),
        schema: schema.clone(),
        reason,
    };
    if meta == 0 {
        return if tables == 0 { Ok(0) } else { Err(foreign(format!("{tables} tables, and no table `meta`"))) };
    }
    let meta = match read_meta(connector, session).await {
        // Its columns are not ours: errors of class 42.
        Err(PostgresOpenError::Server { reason, .. }) if reason.contains("(42") => return Err(foreign(reason)),
        found => found?,
    };
    let found = meta.get("schema_version").and_then(|text| text.parse().ok());
    match found {
        Some(found) if found > SCHEMA_VERSION => Err(PostgresOpenError::NewerSchema {
            place: connector.place().to_owned(),
            schema: schema.clone(),
            found,
            supported: SCHEMA_VERSION,
        }),
        Some(found @ 1..) => Ok(found),
        _ => Err(foreign("`meta` names no schema version".into())),
    }
}

/// The version of the tables found, 0 for none, and the one this program writes. Changes nothing.
pub(crate) async fn installed_version(
    connector: &Connector,
    session: &Session,
) -> Result<(i64, i64), PostgresOpenError> {
    Ok((version(connector, session).await?, SCHEMA_VERSION))
}

/// Runs the steps that are missing, in one transaction, while other nodes that start wait.
async fn upgrade(connector: &Connector, session: &Session) -> Result<(), PostgresOpenError> {
    let schema = &connector.options().schema;
    connector.answer(session.execute(&format!("BEGIN; {}", lock(schema)))).await?;
    // Another node may have been first.
    let found = match version(connector, session).await {
        Ok(found) => found,
        Err(error) => {
            let _ = connector.answer(session.execute("ROLLBACK")).await;
            return Err(error);
        }
    };
    let mut script = String::new();
    if found == 0 {
        let rows = connector.answer(session.query(&TABLES, &[schema])).await?;
        if !rows[0].get::<_, bool>(2) {
            script.push_str("CREATE SCHEMA {schema};");
        }
    }
    for (_, step) in (1..).zip(STEPS).filter(|&(version, _)| version > found) {
        script.push_str(step);
    }
    if found == 0 {
        let store_id = format!("{:032x}", rand::random::<u128>());
        script.push_str(&format!(
            "INSERT INTO {{schema}}.meta(key, value) VALUES ('schema_version', '0'), ('generation', '1'),
             ('store_id', '{store_id}'), ('created_ms', '{}'),
             ('system_identifier', (SELECT system_identifier::text FROM pg_control_system()));",
            connector.clock().wall_ms()
        ));
    }
    script.push_str(&format!(
        "UPDATE {{schema}}.meta SET value = '{SCHEMA_VERSION}' WHERE key = 'schema_version'; COMMIT"
    ));
    change(connector, session, &script).await?;
    tracing::info!(place = %connector.place(), %schema, from = found, to = SCHEMA_VERSION, "schema brought up to date");
    Ok(())
}

async fn check_rights(connector: &Connector, session: &Session) -> Result<(), PostgresOpenError> {
    let schema = &connector.options().schema;
    let rows = connector.answer(session.query(&LACKING, &[schema])).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let table: String = row.get(0);
    Err(PostgresOpenError::NoRights {
        place: connector.place().to_owned(),
        reason: format!("this role may not read and write {schema}.{table}"),
        grant: grant_all(schema),
    })
}

/// What the store is, if it is on the server that wrote it.
pub(crate) async fn identity(connector: &Connector, session: &Session) -> Result<Identity, PostgresOpenError> {
    let meta = read_meta(connector, session).await?;
    let rows = connector.answer(session.query(&SYSTEM, &[])).await?;
    let system: String = rows[0].get(0);
    let value = |key: &str| meta.get(key).cloned().unwrap_or_default();
    let stored = value("system_identifier");
    if stored != system {
        return Err(PostgresOpenError::Restored { place: connector.place().to_owned(), stored, found: system });
    }
    let generation = value("generation").parse().map_err(|_| PostgresOpenError::Foreign {
        place: connector.place().to_owned(),
        schema: connector.options().schema.clone(),
        reason: "`meta` names no generation".into(),
    })?;
    Ok(Identity { store_id: value("store_id"), system, generation })
}

/// Makes a store that was written on another server this one's. Answers what it is now.
pub(crate) async fn adopt(connector: &Connector, session: &Session) -> Result<Identity, PostgresOpenError> {
    check_server(connector, session).await?;
    if version(connector, session).await? == 0 {
        return Err(PostgresOpenError::Foreign {
            place: connector.place().to_owned(),
            schema: connector.options().schema.clone(),
            reason: "there is no store to adopt".into(),
        });
    }
    let schema = &connector.options().schema;
    let timeline = timeline(connector, session).await;
    let system = "(SELECT system_identifier::text FROM pg_control_system())";
    let (is_another, note) = match &timeline {
        None => (String::new(), String::new()),
        Some(timeline) => (
            format!(
                " OR EXISTS (SELECT FROM {{schema}}.meta WHERE key = 'timeline' AND value <> '{timeline}')
                 OR NOT EXISTS (SELECT FROM {{schema}}.meta WHERE key = 'timeline')"
            ),
            format!(
                "INSERT INTO {{schema}}.meta(key, value) VALUES ('timeline', '{timeline}')
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value;"
            ),
        ),
    };
    // Numbers of transactions begin again here, or from an earlier one on, so what comes is ordered behind all that was.
    // Adopting twice is harmless.
    let script = format!(
        "BEGIN; {}; UPDATE {{schema}}.meta SET value = (value::int + 1)::text WHERE key = 'generation' AND (EXISTS
           (SELECT FROM {{schema}}.meta WHERE key = 'system_identifier' AND value <> {system}){is_another});
         UPDATE {{schema}}.meta SET value = {system} WHERE key = 'system_identifier'; {note} COMMIT",
        lock(schema)
    );
    change(connector, session, &script).await?;
    if version(connector, session).await? != SCHEMA_VERSION {
        upgrade(connector, session).await?;
    }
    identity(connector, session).await
}

/// The rest of a transaction that changes the schema, up to its commit.
async fn change(connector: &Connector, session: &Session, script: &str) -> Result<(), PostgresOpenError> {
    let changed = connector.answer(session.execute(&in_schema(script, &connector.options().schema))).await;
    if changed.is_err() {
        let _ = connector.answer(session.execute("ROLLBACK")).await;
    }
    changed
}

/// Held until the end of a transaction by whoever changes the schema.
fn lock(schema: &str) -> String {
    format!("SELECT pg_advisory_xact_lock({LOCK}, {})", crc32c::crc32c(schema.as_bytes()) as i32)
}

async fn read_meta(
    connector: &Connector,
    session: &Session,
) -> Result<std::collections::HashMap<String, String>, PostgresOpenError> {
    let rows = connector.answer(session.query(&META, &[])).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_without_whole_transaction_ids_are_too_old() {
        let error = check_version("u@h:5432/d", 120_022, "12.22").unwrap_err().to_string();
        assert!(error.contains("12.22") && error.contains("13"), "{error}");
        assert!(check_version("u@h:5432/d", 130_000, "13.0").is_ok());
    }
}
