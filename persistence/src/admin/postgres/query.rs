//! Statements of a person, which may read and nothing else.

use super::{Moment, Stop};
use crate::admin::{AdminError, Cell, Row};
use futures_util::TryStreamExt;
use std::pin::pin;
use tokio::sync::mpsc::Sender;
use tokio_postgres::{SimpleQueryMessage, error::SqlState, types::Type};

/// What a statement that reads begins with.
const WORDS: [&str; 6] = ["select", "with", "values", "table", "show", "explain"];

/// The transaction is read-only and has looked at something, so that no statement in it can make it anything else. What
/// is left are statements that end it, and those that do not go by transactions at all.
pub(super) async fn query(moment: &Moment, sql: &str, rows: &Sender<Row>) -> Result<(), Stop> {
    let word = first_word(sql);
    if !WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)) {
        return Err(refused());
    }
    // Only one statement can be prepared, whatever is in the text. It tells the types of what comes as text then.
    let prepared = moment.client().prepare(sql).await.map_err(explain)?;
    let types: Vec<Type> = prepared.columns().iter().map(|column| column.type_().clone()).collect();
    if !prepared.params().is_empty() {
        let reason = "the statement has a parameter, for which there is no value; write the value itself".to_owned();
        return Err(AdminError::Statement(reason).into());
    }
    let answer = moment.client().simple_query_raw(sql).await.map_err(explain)?;
    let mut answer = pin!(answer);
    let send = |row| async { rows.send(row).await.map_err(|_| Stop::Because(AdminError::Cancelled)) };
    while let Some(message) = answer.try_next().await.map_err(explain)? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                send(columns.iter().map(|column| Cell::Text(column.name().to_owned())).collect()).await?;
            }
            SimpleQueryMessage::Row(row) => {
                send((0..row.len()).map(|column| cell(row.get(column), types.get(column))).collect()).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Numbers and bytes as what they are, all else as the server's text.
fn cell(text: Option<&str>, of: Option<&Type>) -> Cell {
    let Some(text) = text else { return Cell::Null };
    let known = match of {
        Some(&Type::INT2 | &Type::INT4 | &Type::INT8) => text.parse().ok().map(Cell::Integer),
        Some(&Type::FLOAT4 | &Type::FLOAT8) => text.parse().ok().filter(|it: &f64| it.is_finite()).map(Cell::Real),
        Some(&Type::BYTEA) => bytes(text).map(Cell::Blob),
        _ => None,
    };
    known.unwrap_or_else(|| Cell::Text(text.to_owned()))
}

/// What the server writes as `\x00ff`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.strip_prefix("\\x")?.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The first word behind space, comments and parentheses.
fn first_word(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else if let Some(rest) = rest.strip_prefix('(') {
            rest
        } else {
            break;
        }
        .trim_start();
    }
    rest.split(|it: char| !it.is_ascii_alphabetic()).next().unwrap_or("")
}

fn refused() -> Stop {
    AdminError::Statement("refused: only statements that read are taken (SELECT, TABLE, SHOW, EXPLAIN)".into()).into()
}

fn explain(error: tokio_postgres::Error) -> Stop {
    let Some(said) = error.as_db_error() else { return error.into() };
    let code = said.code();
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return refused();
    }
    if *code == SqlState::SYNTAX_ERROR && said.message().contains("multiple commands") {
        return AdminError::Statement("one statement at a time".into()).into();
    }
    AdminError::Statement(said.message().to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::{Cell, Type, cell, first_word};

    #[test]
    fn text_of_the_server_is_a_value_where_its_type_is_known() {
        assert_eq!(cell(Some("-7"), Some(&Type::INT4)), Cell::Integer(-7));
        assert_eq!(cell(Some("0.5"), Some(&Type::FLOAT8)), Cell::Real(0.5));
        assert_eq!(cell(Some("NaN"), Some(&Type::FLOAT8)), Cell::Text("NaN".into()));
        assert_eq!(cell(Some("\\x00ff"), Some(&Type::BYTEA)), Cell::Blob(vec![0, 255]));
        assert_eq!(cell(Some("7"), Some(&Type::TEXT)), Cell::Text("7".into()));
        assert_eq!(cell(None, Some(&Type::INT8)), Cell::Null);
    }

    #[test]
    fn the_first_word_is_behind_comments_and_parentheses() {
        assert_eq!(first_word(" -- DELETE\n /* ; */ ((SELECT 1))"), "SELECT");
        assert_eq!(first_word("COMMIT"), "COMMIT");
        assert_eq!(first_word("-- nothing"), "");
    }
}
