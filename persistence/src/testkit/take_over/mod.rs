//! Two writers of one entity in two processes: one is stopped by SIGSTOP, the other takes over, the first goes on as if
//! nothing had happened. Whatever it was about to do, it changes nothing.
//!
//! A backend gives a [`TakeOverSubject`]: how to start the late process (one that opens the stores and calls
//! [`write_late`]), and how to open the stores here, where the take-over is made. [`take_overs`] does the rest.

mod late;
mod owner;

pub use late::write_late;

use super::{OpenStores, Violation, child::ChildProcess};
use crate::{BoxFuture, PersistenceId};
use owner::{Owner, Seen};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{process::Command, thread, time::Duration};

/// A backend with two processes on one store.
pub trait TakeOverSubject: Send {
    /// The command of a process that opens the stores and runs [`write_late`] with its standard input and output.
    fn late(&mut self) -> Command;

    /// Opens the same stores in this process. The late process is running and has them open.
    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>>;

    /// Whether a take-over can be made now, while the late process is stopped. It cannot where that holds a lock of the
    /// whole store: then it is let go on a little, and stopped elsewhere.
    fn can_take_over(&mut self) -> bool {
        true
    }
}

/// How often to take over.
#[derive(Clone, Copy, Debug)]
pub struct TakeOverPlan {
    /// Take-overs, each of an entity of its own.
    pub rounds: u32,
    /// Of the draws.
    pub seed: u64,
    /// Takes over without claiming: what must be found out.
    pub without_claim: bool,
}

/// What the rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakeOvers {
    /// Take-overs.
    pub rounds: u32,
    /// Of those, of the whole shard.
    pub of_shards: u32,
    /// Late writes refused: events, snapshots, states and deletions of each.
    pub refused: u64,
    /// Writes of the late process found by the take-over although it had not heard of them.
    pub found_unheard: u64,
    /// How often it had to be stopped elsewhere.
    pub stopped_elsewhere: u64,
}

/// Takes entities over from a process that is stopped, as `plan` says, and looks at what that process does later.
///
/// # Errors
/// With the first promise that was broken: a late write that was not refused as stale, or anything stored after the
/// take-over that is not the new owner's.
pub async fn take_overs(subject: &mut dyn TakeOverSubject, plan: TakeOverPlan) -> Result<TakeOvers, Violation> {
    let harness = |reason: String| Violation::new("harness", reason);
    let started = ChildProcess::start(subject.late());
    let mut late = started.map_err(|error| harness(format!("the late process does not start: {error}")))?;
    if late.line().await.map_err(harness)?.as_deref() != Some("ready") {
        return Err(harness("the late process does not open the stores".to_owned()));
    }
    let stores = subject.open().await.map_err(harness)?;
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut tally = TakeOvers { rounds: plan.rounds, ..TakeOvers::default() };
    for round in 0..plan.rounds {
        let id = PersistenceId::of("take-over", &round.to_string());
        let outcome = take_over(subject, &mut late, &stores, id, plan, &mut random, &mut tally).await;
        outcome.map_err(|violation| violation.in_round(round))?;
    }
    Ok(tally)
}

async fn take_over(
    subject: &mut dyn TakeOverSubject,
    late: &mut ChildProcess,
    stores: &OpenStores,
    id: PersistenceId,
    plan: TakeOverPlan,
    random: &mut StdRng,
    tally: &mut TakeOvers,
) -> Result<(), Violation> {
    let harness = |reason: String| Violation::new("harness", reason);
    let io = |error: std::io::Error| Violation::new("harness", error.to_string());
    late.say(&format!("own {}", id.entity_id())).map_err(io)?;
    let mut heard = Seen::default();
    for _ in 0..random.random_range(1..5) {
        let line = next_line(late).await?;
        heard = Seen::parse(&line).ok_or_else(|| harness(format!("{line:?} before the take-over")))?;
    }
    loop {
        #[expect(clippy::disallowed_methods, reason = "a real process goes on meanwhile")]
        thread::sleep(Duration::from_micros(random.random_range(0..1_500)));
        late.stop().map_err(io)?;
        if subject.can_take_over() {
            break;
        }
        late.go_on().map_err(io)?;
        tally.stopped_elsewhere += 1;
    }

    let of_shard = random.random_ratio(1, 3);
    tally.of_shards += u32::from(of_shard);
    let epoch = plan.without_claim.then_some(heard.epoch);
    let mut owner = Owner::take_over(stores, id, of_shard, epoch).await?;
    owner.write(random.random_range(1..4)).await?;
    late.go_on().map_err(io)?;

    loop {
        let line = next_line(late).await?;
        if line == "done" {
            break;
        }
        if line.starts_with("stale ") {
            tally.refused += 1;
        } else if let Some(told) = Seen::parse(&line) {
            // Stored before the take-over, heard after it: then the take-over found it.
            owner.must_have_found(told)?;
            heard = told;
        } else {
            return Err(Violation::new("late", line));
        }
    }
    tally.found_unheard += owner.found_beyond(heard);
    owner.check().await
}

async fn next_line(late: &mut ChildProcess) -> Result<String, Violation> {
    let harness = |reason: String| Violation::new("harness", reason);
    let line = late.line().await.map_err(|silent| harness(format!("the late process: {silent}")))?;
    line.ok_or_else(|| harness("the late process ended".to_owned()))
}
