//! [`PostgresOpenError`]: each thing that keeps a store from being opened, with what to do about it.

use super::{
    fault::{SET_POOLER, is_of_a_pooler},
    options::chain,
};
use tokio_postgres::{Error, error::SqlState};

/// Why a store on PostgreSQL could not be opened. Nothing stored was changed. `place` is the server's address as
/// `USER@HOST:PORT/DATABASE`, never with a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresOpenError {
    /// The connection string cannot be understood.
    #[error("the connection string is wrong: {reason}; it looks like postgres://USER@HOST:5432/DATABASE")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is out of range.
    #[error("{field} is {value}, but must be {range}")]
    Settings {
        /// Field of [`PostgresOptions`](super::PostgresOptions).
        field: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// Nobody answers at the address.
    #[error("no PostgreSQL server answers at {place} ({reason}); check host and port, and that the server runs")]
    Unreachable {
        /// The server.
        place: String,
        /// What the network said.
        reason: String,
    },
    /// Encryption was demanded and could not be had.
    #[error("no TLS with {place} ({reason}); check sslmode and sslrootcert, and `ssl` in the server's postgresql.conf")]
    Tls {
        /// The server.
        place: String,
        /// Which side refused, and why.
        reason: String,
    },
    /// The server does not let this user in: wrong password, unknown role, or no line for it in `pg_hba.conf`.
    #[error("{place} refuses the login ({reason}); check user and password, and the server's pg_hba.conf")]
    Login {
        /// The server.
        place: String,
        /// What the server said.
        reason: String,
    },
    /// There is no such database.
    #[error("{place}: {reason}; create it (CREATE DATABASE …) or name another one at the end of the address")]
    NoDatabase {
        /// The server.
        place: String,
        /// What the server said.
        reason: String,
    },
    /// The role lacks a right.
    #[error("{place}: {reason}; run as the owner of the database: {grant}")]
    NoRights {
        /// The server.
        place: String,
        /// What the server said.
        reason: String,
        /// The statement that gives the right.
        grant: String,
    },
    /// The server takes no writes: it is a replica, or the database or role is set read-only.
    #[error("{place} takes no writes ({reason}); name the primary, or all hosts separated by commas")]
    ReadOnly {
        /// The server.
        place: String,
        /// What makes it so.
        reason: String,
    },
    /// The server or the role has too few connections left.
    #[error(
        "{place} has too few connections left for the {needed} this store needs ({reason}); raise max_connections or \
         the role's CONNECTION LIMIT, or lower writers and readers"
    )]
    TooManyConnections {
        /// The server.
        place: String,
        /// Connections of a store with these options.
        needed: usize,
        /// What the server said.
        reason: String,
    },
    /// The server's version is not supported.
    #[error("{place} is PostgreSQL {found}, at least 13 is needed; upgrade the server")]
    TooOld {
        /// The server.
        place: String,
        /// What it says of itself.
        found: String,
    },
    /// The tables were restored from a dump into another server, where transaction ids start over.
    #[error(
        "{place} holds a store that was written on another server (system {stored}, this one is {found}); if it was \
         restored from a dump and nobody writes to the other one any more, run: cloudstate store adopt"
    )]
    Restored {
        /// The server.
        place: String,
        /// System identifier in the store.
        stored: String,
        /// System identifier of the server.
        found: String,
    },
    /// A newer version of this program wrote the store.
    #[error(
        "{place}: schema {schema} has version {found}, this program knows up to {supported}; run the newer program"
    )]
    NewerSchema {
        /// The server.
        place: String,
        /// The schema.
        schema: String,
        /// The version stored.
        found: i64,
        /// The newest version known here.
        supported: i64,
    },
    /// The schema is one, but not of this program.
    #[error("{place}: schema {schema} holds tables of another program: {reason}; choose another schema")]
    Foreign {
        /// The server.
        place: String,
        /// The schema.
        schema: String,
        /// What is missing or strange.
        reason: String,
    },
    /// Anything else the server said.
    #[error("{place} failed: {reason}; {fix}")]
    Server {
        /// The server.
        place: String,
        /// What it said, with the SQLSTATE.
        reason: String,
        /// What to do about it.
        fix: &'static str,
    },
}

/// What an error of the driver is, while a store is being opened.
pub(crate) fn open_error(error: &Error, place: &str, schema: &str, needed: usize) -> PostgresOpenError {
    let place = place.to_owned();
    let Some(said) = error.as_db_error() else {
        let reason = chain(error);
        // The driver has no public kinds; its texts are stable within a version and covered by tests.
        if reason.contains("TLS") || reason.contains("certificate") || reason.contains("channel binding") {
            return PostgresOpenError::Tls { place, reason };
        }
        if reason.contains("password missing") || reason.contains("authentication") {
            return PostgresOpenError::Login { place, reason };
        }
        if reason.contains("read-only") || reason.contains("not writable") || reason.contains("does not allow writes") {
            return PostgresOpenError::ReadOnly { place, reason };
        }
        return PostgresOpenError::Unreachable { place, reason };
    };
    let reason = said.message().to_owned();
    let code = said.code();
    if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        PostgresOpenError::Login { place, reason }
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        PostgresOpenError::NoDatabase { place, reason }
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        let grant = grant(&reason, schema);
        PostgresOpenError::NoRights { place, reason, grant }
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        PostgresOpenError::ReadOnly { place, reason }
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        PostgresOpenError::TooManyConnections { place, needed, reason }
    } else if *code == SqlState::CANNOT_CONNECT_NOW || *code == SqlState::ADMIN_SHUTDOWN {
        PostgresOpenError::Unreachable { place, reason }
    } else {
        PostgresOpenError::Server { place, reason: format!("{reason} ({})", code.code()), fix: fix(code) }
    }
}

/// What to do about what a server said.
fn fix(code: &SqlState) -> &'static str {
    if is_of_a_pooler(code) {
        return SET_POOLER;
    }
    if *code == SqlState::QUERY_CANCELED {
        return "raise statement_timeout, or see in pg_stat_activity what holds it up";
    }
    match code.code().get(..2) {
        Some("40" | "55") => "something else was in the way: try again, or see in pg_locks what it is",
        Some("42") => {
            "tables, columns or functions are not as this program made them: compare with a copy, or restore one"
        }
        Some("53") => "give the server more room: disk, memory or connections, as it says",
        Some("08" | "57") => "wait until the server is up, and try again",
        _ => "see the server's log",
    }
}

/// Rights to everything in the schema.
pub(crate) fn grant_all(schema: &str) -> String {
    format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA \"{schema}\" TO …; GRANT ALL ON ALL SEQUENCES IN SCHEMA \"{schema}\" TO …"
    )
}

/// The statement that gives the right whose lack the server's text speaks of.
fn grant(reason: &str, schema: &str) -> String {
    if reason.contains("for database") {
        format!("GRANT CONNECT, CREATE ON DATABASE … TO … (or CREATE SCHEMA \"{schema}\" AUTHORIZATION …)")
    } else if reason.contains("for schema") {
        format!("GRANT USAGE, CREATE ON SCHEMA \"{schema}\" TO …")
    } else {
        grant_all(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_comes_with_what_to_do() {
        for (code, part) in [
            ("26000", "set `pooler`"),
            ("42P05", "set `pooler`"),
            ("57014", "statement_timeout"),
            ("40001", "try again"),
            ("53100", "disk"),
            ("42703", "not as this program made them"),
            ("XX000", "log"),
        ] {
            let said = fix(&SqlState::from_code(code));
            assert!(said.contains(part), "{code}: {said}");
        }
    }
}
