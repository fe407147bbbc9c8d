//! What this process uses: read from /proc when somebody scrapes, not before.

use std::fs;
use std::sync::OnceLock;

use metrics::{Counter, Gauge, counter, gauge};

/// Brings the process series up to date. Reads three small files; where there is no /proc, the series stay absent.
pub(crate) fn sample() {
    static SERIES: OnceLock<ProcessSeries> = OnceLock::new();
    let series = SERIES.get_or_init(ProcessSeries::new);
    let page = rustix::param::page_size() as u64;
    if let Some(pages) = fs::read_to_string("/proc/self/statm").ok().as_deref().and_then(resident_pages) {
        series.resident.set((pages * page) as f64);
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // Reading the folder holds one descriptor itself.
        series.open_fds.set(descriptors.count().saturating_sub(1) as f64);
    }
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        let ticks = rustix::param::clock_ticks_per_second();
        series.cpu.absolute(stat.cpu_ticks / ticks);
        if let Some(boot) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time) {
            series.start.set((boot + stat.start_ticks / ticks) as f64);
        }
    }
}

struct ProcessSeries {
    resident: Gauge,
    open_fds: Gauge,
    start: Gauge,
    cpu: Counter,
}

impl ProcessSeries {
    fn new() -> Self {
        Self {
            resident: gauge!("process_resident_memory_bytes"),
            open_fds: gauge!("process_open_fds"),
            start: gauge!("process_start_time_seconds"),
            cpu: counter!("process_cpu_seconds_total"),
        }
    }
}

/// What /proc/self/stat says, in clock ticks.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold blanks and parentheses itself.
        let (_, rest) = text.rsplit_once(')')?;
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)? })
    }
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a b) c) S 1 42 42 0 -1 4194304 100 0 0 0 700 50 0 0 20 0 3 0 123456 1000000 250 0";
        assert_eq!(Stat::parse(text), Some(Stat { cpu_ticks: 750, start_ticks: 123_456 }));
        assert_eq!(Stat::parse("42 (x"), None);
    }

    #[test]
    fn memory_and_boot_time_are_found() {
        assert_eq!(resident_pages("5000 1200 300 1 0 2 0"), Some(1200));
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
    }
}
