//! The process that gets killed.

use super::work::{self, KEPT, SNAPSHOT_TURNS, WRITERS};
use crate::{AppendError, BoxFuture, Fence, FenceScope, JournalError, testkit::OpenStores};
use futures_util::future::join_all;
use std::{future::Future, io::Write, time::Duration};

/// Between two attempts at something that is not certain yet.
const PAUSE: Duration = Duration::from_millis(2);

/// Writes events, states and snapshots for eight entities, and deletes old events, until it is killed. Says on `out`, a
/// line each, what is acknowledged.
///
/// It begins as an entity would: claims, reads, and sends the batch it finds last once more, as a client does who never
/// got an answer. What is unknown or refused for the moment it tries again, the same batch with the same id, for ever: so
/// a server may be killed under it. Any other refusal is said, and ends it.
///
/// Waits on the runtime's clock.
pub async fn write_for_ever(stores: OpenStores, out: impl Write + Send + 'static) {
    let out = parking_lot::Mutex::new(out);
    let say = |line: String| {
        let mut out = out.lock();
        // One write a line: half a line is none. Nobody who listens, nobody to write for.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    };
    let writers = (0..WRITERS).map(|writer| {
        let (stores, say) = (&stores, &say);
        async move {
            if let Err(refusal) = write(stores, writer, say).await {
                say(format!("refused {writer} {refusal}\n"));
            }
        }
    });
    join_all(writers).await;
}

async fn write(stores: &OpenStores, writer: u64, say: &impl Fn(String)) -> Result<(), String> {
    let id = work::id(writer);
    let fence = read(|| stores.journal.claim(FenceScope::Entity(id.clone()))).await?;
    let mut highest = read(|| stores.journal.highest_seq(id.clone())).await?;
    let stored = read(|| stores.states.load(id.clone())).await?;
    let mut revision = stored.map_or(0, |stored| stored.revision);
    let snapshot = read(|| stores.snapshots.load(id.clone(), u64::MAX)).await?;
    let mut snapshot = snapshot.map_or(0, |snapshot| snapshot.seq_nr);
    let mut deleted = 0; // what is known of it so far
    let mut turn = 0;
    if highest > 0 {
        let last = work::turn_ending_with(highest).ok_or(format!("half a batch: it ends with {highest}"))?;
        turn = last + 1;
        append(stores, writer, last, highest + 1 - work::batch_size(last), &fence).await?;
    }
    if revision > 0 {
        put(stores, writer, revision - 1, &fence).await?;
    }
    say(format!("ack {writer} {highest} {revision} {snapshot} {deleted} .\n"));
    loop {
        highest = append(stores, writer, turn, highest + 1, &fence).await?;
        revision = put(stores, writer, revision, &fence).await?;
        say(format!("ack {writer} {highest} {revision} {snapshot} {deleted} .\n"));
        turn += 1;
        if turn.is_multiple_of(SNAPSHOT_TURNS) {
            let save = || stores.snapshots.save(id.clone(), highest, fence.clone(), 1, work::snapshot(writer, highest));
            settle(save).await?;
            snapshot = highest;
            say(format!("ack {writer} {highest} {revision} {snapshot} {deleted} .\n"));
            settle(|| stores.journal.delete_to(id.clone(), snapshot - KEPT, fence.clone())).await?;
            settle(|| stores.snapshots.delete(id.clone(), snapshot - 1, fence.clone())).await?;
            deleted = snapshot - KEPT;
            say(format!("ack {writer} {highest} {revision} {snapshot} {deleted} .\n"));
        }
    }
}

async fn append(stores: &OpenStores, writer: u64, turn: u64, from: u64, fence: &Fence) -> Result<u64, String> {
    let batch = work::batch(writer, turn, from, fence.clone());
    let highest = settle(|| stores.journal.append(batch.clone())).await?;
    let expected = from + work::batch_size(turn) - 1;
    if highest == expected { Ok(highest) } else { Err(format!("a batch to {expected} was acknowledged as {highest}")) }
}

async fn put(stores: &OpenStores, writer: u64, expected_revision: u64, fence: &Fence) -> Result<u64, String> {
    let put = work::put(writer, expected_revision, fence.clone());
    settle(|| stores.states.upsert(put.clone())).await
}

/// Sends the same write until it is certain.
async fn settle<T>(write: impl Fn() -> BoxFuture<'static, Result<T, AppendError>>) -> Result<T, String> {
    until(write, |error| matches!(error, AppendError::Unknown { .. } | AppendError::Unavailable { .. })).await
}

async fn read<T>(read: impl Fn() -> BoxFuture<'static, Result<T, JournalError>>) -> Result<T, String> {
    until(read, |error| !error.is_permanent()).await
}

async fn until<T, E: std::error::Error, F: Future<Output = Result<T, E>>>(
    attempt: impl Fn() -> F,
    passes: impl Fn(&E) -> bool,
) -> Result<T, String> {
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            #[expect(clippy::disallowed_methods, reason = "a process of its own, which runs no actor")]
            Err(error) if passes(&error) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.to_string()),
        }
    }
}
