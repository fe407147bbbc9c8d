//! [`Fault`]: what an error of the server says about a transaction, and what to do next. Pure.

use super::options::chain;
use tokio_postgres::{Error, error::SqlState};

/// Why a transaction did not happen, or may not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Something in the requests that the server will not take. Not stored.
    Refused(String),
    /// Others were in the way. Not stored; the same again may succeed.
    Contended(String),
    /// The server takes no writes at the moment, from anybody. Not stored.
    Unavailable(String),
    /// As `Unavailable`, and the connection is of no use any more: it leads to a server that is no primary or goes away.
    Leaving(String),
    /// Nobody knows: the connection was lost after everything had been sent.
    Lost(String),
}

impl Fault {
    /// Of an error before the commit. An answer of the server means that the transaction is rolled back, whatever was sent
    /// behind it; no answer means that the commit may have been reached.
    pub(crate) fn before_commit(error: &Error) -> Self {
        let Some(said) = error.as_db_error() else {
            return Self::Lost(chain(error));
        };
        Self::of(said.code(), format!("{} ({})", said.message(), said.code().code()))
    }

    /// Of an error of the commit itself. Even an answer is no proof: a server that shuts down may have committed.
    pub(crate) fn in_commit(error: &Error) -> Self {
        Self::Lost(chain(error))
    }

    fn of(code: &SqlState, reason: String) -> Self {
        if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::LOCK_NOT_AVAILABLE {
            return Self::Contended(reason);
        }
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            return Self::Leaving(reason);
        }
        if *code == SqlState::QUERY_CANCELED {
            return Self::Unavailable(format!("statement_timeout is over: {reason}"));
        }
        match code.code().get(..2) {
            Some("40") => Self::Contended(reason),
            Some("22" | "54") => Self::Refused(reason),
            Some("57" | "08") => Self::Leaving(reason),
            // Disk full, out of memory, input or output, rights, tables missing, and what nobody expects.
            _ => Self::Unavailable(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_error_says_what_to_do() {
        let of = |code| Fault::of(&SqlState::from_code(code), "text".into());
        for (code, fault) in [
            ("23505", Fault::Contended("text".into())),
            ("40P01", Fault::Contended("text".into())),
            ("22021", Fault::Refused("text".into())),
            ("54000", Fault::Refused("text".into())),
            ("53100", Fault::Unavailable("text".into())),
            ("42501", Fault::Unavailable("text".into())),
            ("25006", Fault::Leaving("text".into())),
            ("57P01", Fault::Leaving("text".into())),
        ] {
            assert_eq!(of(code), fault, "{code}");
        }
        assert!(matches!(of("57014"), Fault::Unavailable(reason) if reason.contains("statement_timeout")));
    }
}
