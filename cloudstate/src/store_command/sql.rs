//! `sql`: statements that read, from the command line or standard input.

use std::io::{self, BufRead, IsTerminal, Write};

use persistence::admin::{AdminError, Cell, Row};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::bar::Bar;
use super::fields::hex;
use super::show::{Align, line, short, wide};
use super::statements::Statements;
use super::{Opened, Out, SqlArgs, StoreCommandError};
use crate::cli::Exit;

/// Rows that wait to be printed.
const QUEUE: usize = 64;

/// Rows that are looked at to find out how wide columns are; later ones may stick out.
const MEASURED: usize = 200;

/// Characters of a cell in a table.
const CELL_SHOWN: usize = 100;

/// Bytes of a statement from standard input.
const STATEMENT_MAX: usize = 1 << 20;

pub(super) async fn sql(store: &Opened, args: &SqlArgs, bar: &Bar, out: &mut Out) -> Result<Exit, StoreCommandError> {
    if let Some(statement) = &args.statement {
        let mut statements = Statements::default();
        statements.add(statement);
        let all: Vec<_> = std::iter::from_fn(|| statements.next()).collect();
        for statement in all.into_iter().chain(statements.rest()) {
            answer(store, statement, args.json, bar, out).await?;
        }
        return Ok(Exit::Stopped);
    }
    from_input(store, args.json, bar, out).await
}

/// On a terminal a wrong statement is shown and the next one read; a script ends with it.
async fn from_input(store: &Opened, json: bool, bar: &Bar, out: &mut Out) -> Result<Exit, StoreCommandError> {
    let terminal = io::stdin().is_terminal();
    let prompt = |text: &str| {
        if terminal {
            // Only a courtesy.
            let _ = write!(io::stderr(), "{text}");
        }
    };
    if terminal {
        prompt("statements that read, each ended by a semicolon; Ctrl-D ends\n");
    }
    let (mut lines, progress) = (read_lines(), bar.progress());
    let mut statements = Statements::default();
    loop {
        prompt(if statements.waiting() > 1 { "...> " } else { "sql> " });
        let text = tokio::select! {
            biased;
            () = progress.cancelled() => return Err(AdminError::Cancelled.into()),
            text = lines.recv() => text,
        };
        let Some(text) = text else { break };
        statements
            .add(&text.map_err(|error| StoreCommandError::File { path: "standard input".into(), reason: error })?);
        while let Some(statement) = statements.next() {
            let answered = answer(store, statement, json, bar, out).await;
            match answered {
                Err(error @ StoreCommandError::Store(_)) if terminal && !bar.progress().is_cancelled() => {
                    prompt(&format!("error: {error}\n"));
                }
                other => other?,
            }
            out.flush()?;
        }
        if statements.waiting() > STATEMENT_MAX {
            let reason =
                io::Error::other(format!("a statement is longer than {STATEMENT_MAX} bytes; is a semicolon missing?"));
            return Err(StoreCommandError::File { path: "standard input".into(), reason });
        }
    }
    if let Some(statement) = statements.rest() {
        answer(store, statement, json, bar, out).await?;
    }
    Ok(Exit::Stopped)
}

/// Lines of standard input, read by a thread that nobody waits for when the process ends.
fn read_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    // Not one of the runtime's threads: it may wait for a person for ever.
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut input, STATEMENT_MAX as u64).read_until(b'\n', &mut line);
            let text = match read {
                Ok(0) => return,
                Ok(_) => Ok(String::from_utf8_lossy(&line).into_owned()),
                Err(error) => Err(error),
            };
            if sender.blocking_send(text).is_err() {
                return;
            }
        }
    });
    lines
}

async fn answer(
    store: &Opened,
    statement: String,
    json: bool,
    bar: &Bar,
    out: &mut Out,
) -> Result<(), StoreCommandError> {
    let (sender, rows) = mpsc::channel(QUEUE);
    let asked = store.query(statement, bar.progress(), sender);
    // Output that fails ends the statement: its rows are taken no more.
    let (asked, printed) = tokio::join!(asked, print(rows, json, out));
    printed?;
    Ok(asked?)
}

async fn print(mut rows: mpsc::Receiver<Row>, json: bool, out: &mut Out) -> Result<(), StoreCommandError> {
    let Some(header) = rows.recv().await else { return Ok(()) };
    let names: Vec<String> = header.iter().map(text).collect();
    if json { print_json(&names, &mut rows, out).await } else { print_table(names, &mut rows, out).await }
}

async fn print_json(names: &[String], rows: &mut mpsc::Receiver<Row>, out: &mut Out) -> Result<(), StoreCommandError> {
    while let Some(row) = rows.recv().await {
        let fields = names.iter().zip(row).map(|(name, cell)| (name.clone(), serde_json::json!(cell)));
        out.json(&Value::Object(fields.collect::<Map<_, _>>()))?;
    }
    Ok(())
}

async fn print_table(
    names: Vec<String>,
    rows: &mut mpsc::Receiver<Row>,
    out: &mut Out,
) -> Result<(), StoreCommandError> {
    let mut first = Vec::new();
    while first.len() < MEASURED
        && let Some(row) = rows.recv().await
    {
        first.push(row);
    }
    let numeric =
        |column: usize| first.iter().all(|row| !matches!(row.get(column), Some(Cell::Text(_) | Cell::Blob(_))));
    let align: Vec<Align> = (0..names.len())
        .map(|column| if numeric(column) && !first.is_empty() { Align::Right } else { Align::Left })
        .collect();
    let cells = |row: &Row| -> Vec<String> { row.iter().map(|cell| short(&text(cell), CELL_SHOWN)).collect() };
    let mut widths: Vec<usize> = names.iter().map(|name| wide(name)).collect();
    let measured: Vec<Vec<String>> = first.iter().map(cells).collect();
    for row in &measured {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(wide(cell));
        }
    }
    let mut table = String::new();
    line(&mut table, "", &names, &widths, &align);
    measured.iter().for_each(|row| line(&mut table, "", row, &widths, &align));
    out.text(&table)?;
    while let Some(row) = rows.recv().await {
        table.clear();
        line(&mut table, "", &cells(&row), &widths, &align);
        out.text(&table)?;
    }
    Ok(())
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".into(),
        Cell::Integer(value) => value.to_string(),
        Cell::Real(value) => value.to_string(),
        Cell::Text(value) => value.clone(),
        Cell::Blob(bytes) if bytes.len() > CELL_SHOWN => {
            format!("x'{}... ({} bytes)'", hex(&bytes[..CELL_SHOWN / 2 - 10]), bytes.len())
        }
        Cell::Blob(bytes) => format!("x'{}'", hex(bytes)),
    }
}
