//! What an error of SQLite means for the writes it hit.

use crate::AppendError;
use rusqlite::{ErrorCode, ffi};

/// What the writer has to do about an error, and what its callers may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No room, or no right to write: nothing was stored, the connection is fine, reading goes on.
    Refused(String),
    /// The file or its connection can no longer be trusted: reopen before anything else.
    Broken(String),
    /// This one statement is at fault, such as a value that is too large.
    Statement(String),
}

impl Fault {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error_code() else {
            return Self::Statement(error.to_string());
        };
        let reason = match error {
            rusqlite::Error::SqliteFailure(ffi::Error { extended_code, .. }, _) => {
                format!("{error} (SQLite code {extended_code})")
            }
            _ => error.to_string(),
        };
        match code {
            ErrorCode::DiskFull => Self::Refused(format!("no room for the database: {reason}")),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
                Self::Refused(format!("database is read-only: {reason}"))
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Self::Refused(format!("another program holds the database: {reason}"))
            }
            ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => Self::Statement(reason),
            _ => Self::Broken(reason),
        }
    }

    /// What to tell a caller whose work was rolled back before any commit was tried.
    pub(crate) fn before_commit(&self) -> AppendError {
        match self {
            Self::Refused(reason) | Self::Broken(reason) => AppendError::Unavailable { reason: reason.clone() },
            Self::Statement(reason) => AppendError::Rejected { reason: reason.clone() },
        }
    }

    /// What to tell a caller whose commit failed. Only an error that shows before the last page reached the log is
    /// certain; after that a later recovery may find the commit complete.
    pub(crate) fn in_commit(&self) -> AppendError {
        match self {
            Self::Refused(reason) => AppendError::Unavailable { reason: reason.clone() },
            Self::Broken(reason) | Self::Statement(reason) => {
                AppendError::Unknown { reason: format!("commit failed: {reason}") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: i32) -> Fault {
        Fault::of(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn only_refusals_are_certain_in_a_commit() {
        assert!(fault(ffi::SQLITE_FULL).in_commit().is_certain());
        assert!(fault(ffi::SQLITE_READONLY).in_commit().is_certain());
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_CORRUPT] {
            assert!(!fault(code).in_commit().is_certain(), "{code}");
            assert!(fault(code).before_commit().is_certain(), "{code}");
            assert!(matches!(fault(code), Fault::Broken(_)), "{code}");
        }
    }
}
