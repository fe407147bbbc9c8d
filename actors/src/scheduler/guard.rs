//! Looks after carriers that are held up, for as long as their scheduler lives.

use std::sync::Weak;
use std::time::Duration;

use super::pool::Pool;
use crate::clock::Clock;

/// Between two looks while actors run: a run that lasts longer has its carrier replaced.
const BUSY: Duration = Duration::from_millis(10);
/// Between two looks when nothing has run for a while.
const IDLE: Duration = Duration::from_millis(100);

pub(super) async fn guard(pool: Weak<Pool>, clock: Clock) {
    let mut pause = BUSY;
    let mut seen = 0;
    loop {
        clock.sleep(pause).await;
        let Some(pool) = pool.upgrade().filter(|pool| !pool.is_stopped()) else { return };
        let stuck = pool.relieve();
        let runs = pool.workers().iter().fold(0_u64, |sum, worker| sum.wrapping_add(worker.runs));
        let quiet = stuck == 0 && std::mem::replace(&mut seen, runs) == runs;
        pause = if quiet { (pause * 2).min(IDLE) } else { BUSY };
    }
}
