//! Wall and CPU time of a stretch.

use std::time::{Duration, Instant};

pub struct Watch {
    start: Instant,
    cpu: Duration,
}

/// How long it took, and how much CPU time all threads of this process took.
pub struct Took {
    pub wall: Duration,
    pub cpu: Duration,
}

impl Watch {
    pub fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu() }
    }

    pub fn stop(&self) -> Took {
        Took { wall: self.start.elapsed(), cpu: cpu() - self.cpu }
    }
}

impl Took {
    /// How many a second.
    pub fn rate(&self, count: u64) -> f64 {
        count as f64 / self.wall.as_secs_f64()
    }

    /// Nanoseconds of CPU time for each.
    pub fn cpu_ns(&self, count: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / count as f64
    }
}

fn cpu() -> Duration {
    // SAFETY: `getrusage` only writes the struct it is given.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |of: libc::timeval| Duration::new(of.tv_sec as u64, of.tv_usec as u32 * 1_000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
