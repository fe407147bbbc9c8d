//! Clocks, memory and the JSON line of a run.

use std::fmt::Write;
use std::time::Instant;

/// What one run of a workload found.
#[derive(Default)]
pub struct Measure {
    pub ops: u64,
    pub wall_ns: u64,
    /// User plus system time of the whole process.
    pub cpu_ns: u64,
    /// Voluntary context switches, a proxy for parking.
    pub switches: u64,
    /// Anything else, as name and value.
    pub extra: Vec<(&'static str, f64)>,
}

impl Measure {
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.extra.push((name, value));
        self
    }

    pub fn json(&self, head: &[(&str, &str)]) -> String {
        let mut out = String::from("{");
        for (name, value) in head {
            write!(out, "\"{name}\":\"{value}\",").unwrap();
        }
        let ops = self.ops as f64;
        write!(
            out,
            "\"ops\":{},\"wall_ns\":{},\"ns_per_op\":{:.3},\"ops_per_s\":{:.0},\"cpu_ns_per_op\":{:.3},\"switches\":{},\"peak_rss_mb\":{:.1}",
            self.ops,
            self.wall_ns,
            self.wall_ns as f64 / ops,
            ops * 1e9 / self.wall_ns as f64,
            self.cpu_ns as f64 / ops,
            self.switches,
            peak_rss_bytes() as f64 / 1e6,
        )
        .unwrap();
        for (name, value) in &self.extra {
            write!(out, ",\"{name}\":{value:.3}").unwrap();
        }
        out.push('}');
        out
    }
}

pub struct Watch {
    start: Instant,
    cpu_ns: u64,
    switches: u64,
}

impl Watch {
    pub fn start() -> Self {
        let usage = usage();
        Watch { start: Instant::now(), cpu_ns: usage.cpu_ns, switches: usage.switches }
    }

    pub fn stop(&self, ops: u64) -> Measure {
        let wall_ns = self.start.elapsed().as_nanos() as u64;
        let usage = usage();
        Measure {
            ops,
            wall_ns,
            cpu_ns: usage.cpu_ns - self.cpu_ns,
            switches: usage.switches - self.switches,
            extra: Vec::new(),
        }
    }
}

struct Usage {
    cpu_ns: u64,
    switches: u64,
    peak_rss: u64,
}

fn usage() -> Usage {
    // SAFETY: `getrusage` only writes the struct it is given.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        let ns = |t: libc::timeval| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1_000;
        Usage {
            cpu_ns: ns(usage.ru_utime) + ns(usage.ru_stime),
            switches: usage.ru_nvcsw as u64,
            peak_rss: usage.ru_maxrss as u64 * 1024,
        }
    }
}

fn peak_rss_bytes() -> u64 {
    usage().peak_rss
}

/// Resident set size right now.
pub fn rss_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * 4096
}
