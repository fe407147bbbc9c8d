//! `check`: every row is looked at, everything wrong is named.

use persistence::admin::{AdminError, Finding, Totals};
use serde_json::json;
use tokio::sync::mpsc;

use super::bar::Bar;
use super::show::count;
use super::{CheckArgs, Opened, Out, StoreCommandError};
use crate::cli::Exit;

/// Findings that wait to be printed.
const QUEUE: usize = 64;

pub(super) async fn check(
    store: &Opened,
    args: &CheckArgs,
    bar: &Bar,
    out: &mut Out,
) -> Result<Exit, StoreCommandError> {
    let (sender, mut findings) = mpsc::channel(QUEUE);
    let looked = store.admin().check(bar.progress(), sender);
    let print = async {
        let (mut found, mut warned) = (0_u64, 0_u64);
        while let Some(finding) = findings.recv().await {
            *if finding.warning { &mut warned } else { &mut found } += 1;
            if args.json {
                out.json(&finding)?;
            } else {
                out.line(&finding)?;
            }
        }
        Ok::<_, StoreCommandError>((found, warned))
    };
    // A reader that goes away ends the look: its channel is closed.
    let (totals, found) = bar.during(async { tokio::join!(looked, print) }).await;
    let (found, warned) = found?;
    let totals = totals?;
    if args.json {
        out.json(&json!({ "checked": totals, "findings": found, "warnings": warned }))?;
    } else {
        let verdict = if found == 0 { "nothing is wrong".into() } else { count(found, "finding", "findings") };
        let warnings = if warned == 0 { String::new() } else { format!(", {}", count(warned, "warning", "warnings")) };
        out.line(format_args!("{verdict}{warnings}; checked {}", summary(&totals)))?;
    }
    Ok(if found == 0 { Exit::Stopped } else { Exit::Failed })
}

/// Collects findings of a new store, prints them, and says how many there were.
pub(super) async fn print_findings(
    mut findings: mpsc::Receiver<Finding>,
    out: &mut Out,
) -> Result<(), StoreCommandError> {
    while let Some(finding) = findings.recv().await {
        out.line(&finding)?;
    }
    Ok(())
}

/// What a new store holds, if it is sound; else `fix` says what to do.
pub(super) fn sound<T>(found: Result<T, AdminError>, fix: &'static str) -> Result<T, StoreCommandError> {
    found.map_err(|error| match error {
        AdminError::Unsound { findings } => StoreCommandError::Unsound { findings, fix },
        other => other.into(),
    })
}

/// How much there is, in words; kinds of which there is nothing are left out.
pub(super) fn summary(totals: &Totals) -> String {
    let Totals { owners, projections, parked, entities, events, snapshots, states } = *totals;
    let all = [
        count(entities, "entity", "entities"),
        count(events, "event", "events"),
        count(snapshots, "snapshot", "snapshots"),
        count(states, "state", "states"),
        count(projections, "consumer", "consumers"),
        count(parked, "parked event", "parked events"),
        count(owners, "shard owner", "shard owners"),
    ];
    let some: Vec<_> = all.into_iter().filter(|text| !text.starts_with("0 ")).collect();
    if some.is_empty() { "an empty store".into() } else { some.join(", ") }
}
