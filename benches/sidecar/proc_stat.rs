//! What Linux says about a process: processor time and resident memory.

use std::fs;
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`: `USER_HZ`, which is 100 on every architecture we build for.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time `pid` has used since it started. Resolution 10 ms.
///
/// Zero once the process is gone: a cell in which it died fails its own checks.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name may contain spaces and parentheses, so fields are counted from the last one.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut times = fields.split_whitespace().skip(11);
    let mut ticks = || times.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks() + ticks()) * 1_000 / TICKS_PER_SECOND)
}

/// Resident memory of `pid` in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|field| field.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
