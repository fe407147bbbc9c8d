//! Statements of a person, which may read and nothing else.

use super::Stop;
use crate::admin::{AdminError, Cell, Row};
use rusqlite::{
    Connection, ErrorCode,
    hooks::{AuthAction, AuthContext, Authorization},
    types::ValueRef,
};
use tokio::sync::mpsc::Sender;

/// Pragmas that only tell. All of them with an argument name a table or index; others take none.
const PRAGMAS_OF: [&str; 6] =
    ["table_info", "table_xinfo", "index_list", "index_info", "index_xinfo", "foreign_key_list"];
const PRAGMAS: [&str; 12] = [
    "table_list",
    "database_list",
    "page_count",
    "page_size",
    "freelist_count",
    "user_version",
    "schema_version",
    "application_id",
    "encoding",
    "journal_mode",
    "compile_options",
    "integrity_check",
];

pub(super) fn query(db: &mut Connection, sql: &str, rows: &Sender<Row>) -> Result<(), Stop> {
    db.authorizer(Some(|context: AuthContext<'_>| allowed(&context)))?;
    let answered = run(db, sql, rows);
    db.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    answered
}

fn run(db: &Connection, sql: &str, rows: &Sender<Row>) -> Result<(), Stop> {
    let mut statement = db.prepare(sql).map_err(explain)?;
    // The file is opened read-only besides; this is for whatever would write elsewhere.
    if !statement.readonly() {
        return Err(refused());
    }
    if statement.parameter_count() > 0 {
        let reason = "the statement has a parameter, for which there is no value; write the value itself".to_owned();
        return Err(AdminError::Statement(reason).into());
    }
    let columns: Vec<Cell> = statement.column_names().map(|name| Cell::Text(name.to_owned())).collect();
    let width = columns.len();
    let send = |row| rows.blocking_send(row).map_err(|_| Stop::Because(AdminError::Cancelled));
    if width > 0 {
        send(columns)?;
    }
    let mut answer = statement.query(()).map_err(explain)?;
    while let Some(row) = answer.next().map_err(explain)? {
        let cells = (0..width).map(|column| Ok(cell(row.get_ref(column)?)));
        send(cells.collect::<rusqlite::Result<Row>>()?)?;
    }
    Ok(())
}

fn allowed(context: &AuthContext<'_>) -> Authorization {
    let reads = match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let is = |name: &&str| name.eq_ignore_ascii_case(pragma_name);
            PRAGMAS_OF.iter().any(is) || PRAGMAS.iter().any(is) && pragma_value.is_none()
        }
        _ => false,
    };
    if reads { Authorization::Allow } else { Authorization::Deny }
}

fn refused() -> Stop {
    AdminError::Statement("refused: only statements that read are taken (SELECT, EXPLAIN, some PRAGMA)".into()).into()
}

fn explain(error: rusqlite::Error) -> Stop {
    match &error {
        rusqlite::Error::SqliteFailure(cause, _) if cause.code == ErrorCode::AuthorizationForStatementDenied => {
            refused()
        }
        rusqlite::Error::MultipleStatement => AdminError::Statement("one statement at a time".into()).into(),
        rusqlite::Error::SqlInputError { .. } => AdminError::Statement(error.to_string()).into(),
        rusqlite::Error::SqliteFailure(cause, Some(text)) if cause.code == ErrorCode::Unknown => {
            AdminError::Statement(text.clone()).into()
        }
        _ => error.into(),
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}
