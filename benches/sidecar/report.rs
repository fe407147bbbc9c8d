//! Tables of medians with their range, and ratios taken within a round.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::contestant::{Contestant, Started};
use crate::kinds::Kind;
use crate::record::{Cell, CellRecord, Record};

/// One cell in a line, while the bench runs.
pub fn line(record: &CellRecord) -> String {
    let CellRecord { outcome, .. } = record;
    let syncs = record.syncs_per_call.map_or(String::new(), |syncs| format!(", {syncs:.2} syncs a call"));
    let cpu = outcome.cpu_us.iter().map(|us| format!("{us:.0}")).collect::<Vec<_>>().join(" + ");
    let (rate, p50, p99) = (outcome.calls_per_s, ms(outcome.p50_us), ms(outcome.p99_us));
    format!("{rate:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms, cpu {cpu} µs a call{syncs}")
}

/// All tables.
pub fn tables(records: &[Record]) -> String {
    let mut cells: BTreeMap<Cell, BTreeMap<Contestant, Vec<&CellRecord>>> = BTreeMap::new();
    let mut starts: BTreeMap<Contestant, Vec<&Started>> = BTreeMap::new();
    for record in records {
        match record {
            Record::Start { contestant, started, .. } => starts.entry(*contestant).or_default().push(started),
            Record::Cell(record) => {
                cells.entry(record.cell).or_default().entry(record.contestant).or_default().push(record);
            }
        }
    }
    let mut out = String::new();
    for (cell, contestants) in &cells {
        cell_table(&mut out, *cell, contestants);
    }
    start_table(&mut out, &starts);
    ratio_table(&mut out, &cells);
    out
}

fn cell_table(out: &mut String, cell: Cell, contestants: &BTreeMap<Contestant, Vec<&CellRecord>>) {
    let rounds = contestants.values().map(Vec::len).max().unwrap_or(0);
    row(out, format_args!("{}; median (min–max) of {rounds}", cell.name()));
    row(
        out,
        format_args!(
            "  {:<16} {:>26} {:>20} {:>22} {:>16} {:>16} {:>18}",
            "", "calls/s", "p50 ms", "p99 ms", "cpu µs/call", "function µs", "syncs/call"
        ),
    );
    for (contestant, records) in contestants {
        let of = |what: &dyn Fn(&CellRecord) -> Option<f64>, digits| {
            spread(records.iter().filter_map(|record| what(record)).collect(), digits)
        };
        let has_server = *contestant != Contestant::FunctionDirect;
        let cpu = |of_function: bool| {
            move |record: &CellRecord| match (has_server, of_function) {
                (true, false) | (false, true) => record.outcome.cpu_us.first().copied(),
                (true, true) => record.outcome.cpu_us.get(1).copied(),
                (false, false) => None,
            }
        };
        row(
            out,
            format_args!(
                "  {:<16} {:>26} {:>20} {:>22} {:>16} {:>16} {:>18}",
                contestant.name(),
                of(&|record| Some(record.outcome.calls_per_s), 0),
                of(&|record| Some(ms(record.outcome.p50_us)), 2),
                of(&|record| Some(ms(record.outcome.p99_us)), 2),
                of(&cpu(false), 0),
                of(&cpu(true), 0),
                of(&|record| record.syncs_per_call, 2),
            ),
        );
    }
    out.push('\n');
}

fn start_table(out: &mut String, starts: &BTreeMap<Contestant, Vec<&Started>>) {
    row(
        out,
        format_args!(
            "  {:<16} {:>22} {:>22} {:>22} {:>22}",
            "start", "ready ms", "first answer ms", "idle MB", "with 100 carts MB"
        ),
    );
    for (contestant, starts) in starts {
        let of = |what: &dyn Fn(&Started) -> f64| {
            // Zero is "not asked for": no process is that small or that fast.
            spread(starts.iter().map(|started| what(started)).filter(|value| *value > 0.0).collect(), 1)
        };
        row(
            out,
            format_args!(
                "  {:<16} {:>22} {:>22} {:>22} {:>22}",
                contestant.name(),
                of(&|started| started.ready_ms),
                of(&|started| started.first_answer_ms),
                of(&|started| started.idle_mb),
                of(&|started| started.opened_mb),
            ),
        );
    }
    out.push('\n');
}

fn ratio_table(out: &mut String, cells: &BTreeMap<Cell, BTreeMap<Contestant, Vec<&CellRecord>>>) {
    row(
        out,
        format_args!(
            "  sidecar / floor, within a round; carts: the relay, memory against memory, durable against synced; other kinds: the function driven directly"
        ),
    );
    row(out, format_args!("  {:<34} {:>20} {:>20} {:>20} {:>20}", "", "calls/s", "p50", "p99", "cpu a call"));
    for (cell, contestants) in cells {
        for (contestant, records) in contestants {
            let Some(floor) = contestant.floor(cell.kind).and_then(|floor| contestants.get(&floor)) else {
                continue;
            };
            let of = |what: &dyn Fn(&CellRecord) -> f64| {
                let rounds: BTreeSet<usize> = records.iter().map(|record| record.round).collect();
                let of_round = |records: &[&CellRecord], round| {
                    records.iter().find(|record| record.round == round).map(|record| what(record))
                };
                let ratio = |round| Some(of_round(records, round)? / of_round(floor, round)?);
                spread(rounds.into_iter().filter_map(ratio).collect(), 2)
            };
            let kind = cell.kind.map_or("cart", Kind::name);
            let name = format!("{}, {} over {} {kind}s", contestant.name(), cell.clients, cell.carts);
            row(
                out,
                format_args!(
                    "  {:<34} {:>20} {:>20} {:>20} {:>20}",
                    name,
                    of(&|record| record.outcome.calls_per_s),
                    of(&|record| record.outcome.p50_us as f64),
                    of(&|record| record.outcome.p99_us as f64),
                    of(&|record| record.outcome.cpu_us.first().copied().unwrap_or(0.0)),
                ),
            );
        }
    }
}

fn row(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string grows");
}

/// Median, and the range when there is more than one value.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return "–".to_owned();
    };
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    let median = f64::midpoint(low, high);
    match values.len() {
        1 => format!("{median:.digits$}"),
        _ => format!("{median:.digits$} ({least:.digits$}–{most:.digits$})"),
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
