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

    /// Of an error of the very first statement, which begins the transaction. What was sent behind it then ran outside of
    /// one, each statement by itself, so that nothing can be said about it.
    pub(crate) fn in_begin(error: &Error) -> Self {
        Self::Lost(format!("the transaction was not begun: {}", chain(error)))
    }

    /// Of an error of a statement that is a transaction by itself. What it says about the statement means that there was no
    /// commit; a server that goes away or is at odds with itself may have committed before it said so.
    pub(crate) fn of_one_statement(error: &Error) -> Self {
        let Some(said) = error.as_db_error() else {
            return Self::Lost(chain(error));
        };
        if may_come_after_commit(said.code()) { Self::Lost(chain(error)) } else { Self::before_commit(error) }
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
            // The text that tells the two apart is in the server's language.
            return Self::Unavailable(format!(
                "statement_timeout is over, or somebody cancelled the statement: {reason}"
            ));
        }
        if is_of_a_pooler(code) {
            return Self::Leaving(format!("{reason}; {SET_POOLER}"));
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

fn may_come_after_commit(code: &SqlState) -> bool {
    *code != SqlState::QUERY_CANCELED && matches!(code.code().get(..2), Some("08" | "57" | "58" | "XX"))
}

/// Whether it is what a connection says that leads to another session than the one before.
pub(crate) fn is_of_a_pooler(code: &SqlState) -> bool {
    *code == SqlState::INVALID_SQL_STATEMENT_NAME || *code == SqlState::DUPLICATE_PSTATEMENT
}

pub(crate) const SET_POOLER: &str = "if a pooler in transaction mode stands between, set `pooler`";

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
            ("40001", Fault::Contended("text".into())),
            ("53100", Fault::Unavailable("text".into())),
            ("53300", Fault::Unavailable("text".into())),
            ("53400", Fault::Unavailable("text".into())),
            ("42501", Fault::Unavailable("text".into())),
            ("25006", Fault::Leaving("text".into())),
            ("57P01", Fault::Leaving("text".into())),
        ] {
            assert_eq!(of(code), fault, "{code}");
        }
        for (code, may) in [("57P01", true), ("57P02", true), ("58030", true), ("57014", false), ("23505", false)] {
            assert_eq!(may_come_after_commit(&SqlState::from_code(code)), may, "{code}");
        }
        assert!(matches!(of("57014"), Fault::Unavailable(reason) if reason.contains("statement_timeout")));
        for code in ["26000", "42P05"] {
            assert!(matches!(of(code), Fault::Leaving(reason) if reason.contains("set `pooler`")), "{code}");
        }
    }
}
