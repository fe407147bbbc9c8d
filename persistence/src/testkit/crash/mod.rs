//! Crashes of any backend: a process writes and tells what is acknowledged, something ends it the hard way, and what is
//! left is held against what was told.
//!
//! A backend gives a [`CrashSubject`]: how to start a writer process (one that opens the stores and calls
//! [`write_for_ever`]), how to crash, and how to open what is left. [`crash_rounds`] does the rest.

mod told;
mod work;
mod writer;

pub use told::{Acknowledged, Told, Violation};
pub use writer::write_for_ever;

use super::{OpenStores, child::ChildProcess};
use crate::BoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{process::Command, thread, time::Duration};

/// A backend that can be crashed.
pub trait CrashSubject: Send {
    /// The command of a process that opens the same stores and runs [`write_for_ever`] with its standard output.
    fn writer(&mut self) -> Command;

    /// Crashes what is to be crashed while the writer runs. The writer is killed by `kill -9` right after it in any case:
    /// the default adds nothing to that.
    fn crash(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether the crash took the power from what the writer stands on, so that what it says once
    /// [`crash`](Self::crash) has begun is no promise: with real power it could not have said it.
    fn takes_power(&self) -> bool {
        false
    }

    /// What has to happen once the writer is gone and before anybody opens the stores again.
    fn repair(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Opens the stores in this process.
    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>>;

    /// Closes what [`open`](Self::open) gave.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// How often, and how long, to let a writer go on.
#[derive(Clone, Copy, Debug)]
pub struct CrashPlan {
    /// Crashes.
    pub rounds: u32,
    /// Of the draws.
    pub seed: u64,
    /// A writer is crashed after at most so many acknowledgements; sometimes before the first.
    pub acknowledgements_max: u32,
}

/// What the rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Crashes.
    pub rounds: u32,
    /// Of those, followed by another crash before anybody looked.
    pub unlooked: u32,
    /// Events acknowledged.
    pub events: u64,
    /// States acknowledged.
    pub states: u64,
    /// Snapshots acknowledged.
    pub snapshots: u64,
    /// Batches found that nobody was told of: they were under way.
    pub found_untold: u64,
}

/// Crashes `subject` as `plan` says, and looks after each crash, now and then after two or more in a row.
///
/// # Errors
/// With the first promise that was broken: what was acknowledged is lost, what nobody wrote is there, half a batch is
/// there, what was found once is gone, or the stores do not open.
pub async fn crash_rounds(subject: &mut dyn CrashSubject, plan: CrashPlan) -> Result<Tally, Violation> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let (mut told, mut unlooked) = (Told::default(), 0);
    for round in 0..plan.rounds {
        let patience = if random.random_ratio(1, 8) { 0 } else { random.random_range(1..=plan.acknowledgements_max) };
        let pause = Duration::from_micros(random.random_range(0..1_500));
        let in_round = |violation: Violation| violation.in_round(round);
        write_until_crashed(subject, patience, pause, &mut told).await.map_err(in_round)?;
        if round + 1 < plan.rounds && random.random_ratio(1, 6) {
            unlooked += 1;
            continue;
        }
        let stores = subject.open().await.map_err(|reason| in_round(Violation::new("does not open", reason)))?;
        let checked = told.check(&stores).await;
        drop(stores);
        subject.close().await;
        checked.map_err(in_round)?;
    }
    let (events, states, snapshots) = told.acknowledged();
    Ok(Tally { rounds: plan.rounds, unlooked, events, states, snapshots, found_untold: told.found_untold() })
}

/// Starts a writer, crashes after `patience` acknowledgements and a `pause`, and notes every one it managed to send.
async fn write_until_crashed(
    subject: &mut dyn CrashSubject,
    patience: u32,
    pause: Duration,
    told: &mut Told,
) -> Result<(), Violation> {
    let harness = |reason: String| Violation::new("harness", reason);
    let child = ChildProcess::start(subject.writer());
    let mut child = child.map_err(|error| harness(format!("the writer does not start: {error}")))?;
    let mut seen = 0;
    while seen < patience {
        let line = child.line().await.map_err(|silent| harness(format!("the writer: {silent}")))?;
        let line = line.ok_or_else(|| harness("the writer ended by itself".to_owned()))?;
        seen += u32::from(told.note(&line)?);
    }
    #[expect(clippy::disallowed_methods, reason = "a real process goes on meanwhile")]
    thread::sleep(pause);
    while let Some(line) = child.line_now() {
        told.note(&line)?;
    }
    let crashed = subject.crash().await;
    child.kill();
    while let Some(line) = child.line().await.map_err(|silent| harness(format!("the killed writer: {silent}")))? {
        if subject.takes_power() {
            told.note_late(&line)?;
        } else {
            told.note(&line)?;
        }
    }
    crashed.map_err(harness)?;
    subject.repair().await.map_err(harness)
}
