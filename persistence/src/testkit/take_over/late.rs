//! The process that is stopped, and goes on too late.

use super::owner::{Seen, event, snapshot, state};
use crate::{
    Append, AppendError, DeleteState, Fence, FenceScope, PersistenceId, PutState, RawEvent, RawState,
    testkit::OpenStores,
};
use std::io::{BufRead, Write};

/// Says "ready", and then does as it is told by lines of `input`, until that ends: `own NAME` claims an entity and writes
/// events, snapshots and states for it until a write is refused; then it tries everything else an owner may do, and says
/// of each whether it was refused as stale.
///
/// # Panics
/// When `output` is closed.
pub async fn write_late(stores: OpenStores, input: impl BufRead, mut output: impl Write) {
    let mut say = |line: String| output.write_all(format!("{line}\n").as_bytes()).and_then(|()| output.flush());
    say("ready".to_owned()).expect("somebody listens");
    for line in input.lines().map_while(Result::ok) {
        let Some(name) = line.strip_prefix("own ") else { continue };
        let id = PersistenceId::of("take-over", name);
        let fence = match stores.journal.claim(FenceScope::Entity(id.clone())).await {
            Ok(fence) => fence,
            Err(error) => {
                say(format!("claim refused: {error}")).expect("somebody listens");
                continue;
            }
        };
        let mut late = Late { stores: &stores, id, fence, seen: Seen::default() };
        late.seen.epoch = late.fence.epoch;
        let first = loop {
            if let Err(refusal) = late.write().await {
                break refusal;
            }
            say(late.seen.to_string()).expect("somebody listens");
        };
        say(late.verdict("write", &Err::<(), _>(first))).expect("somebody listens");
        for line in late.try_everything().await {
            say(line).expect("somebody listens");
        }
        say("done".to_owned()).expect("somebody listens");
    }
}

struct Late<'a> {
    stores: &'a OpenStores,
    id: PersistenceId,
    fence: Fence,
    seen: Seen,
}

impl Late<'_> {
    /// One of each, in turn.
    async fn write(&mut self) -> Result<(), AppendError> {
        let OpenStores { journal, snapshots, states } = self.stores;
        self.seen.highest = journal.append(self.append(self.seen.highest + 1)).await?;
        self.seen.revision = states.upsert(self.put()).await?;
        if self.seen.highest.is_multiple_of(6) {
            let highest = self.seen.highest;
            snapshots.save(self.id.clone(), highest, self.fence.clone(), 1, snapshot("late", highest)).await?;
            self.seen.snapshot = highest;
        }
        Ok(())
    }

    async fn try_everything(&self) -> Vec<String> {
        let OpenStores { journal, snapshots, states } = self.stores;
        let (id, fence, highest) = (&self.id, &self.fence, self.seen.highest);
        // The numbers the new owner has not used yet as well: nobody else stands in the way there.
        let events = journal.append(self.append(highest + 1)).await;
        let later = journal.append(self.append(highest + 20)).await;
        let save = snapshots.save(id.clone(), highest, fence.clone(), 1, snapshot("late", highest)).await;
        let delete_events = journal.delete_to(id.clone(), u64::MAX, fence.clone()).await;
        let delete_snapshots = snapshots.delete(id.clone(), u64::MAX, fence.clone()).await;
        let put = states.upsert(self.put()).await;
        let delete_state = states.delete(self.delete()).await;
        vec![
            self.verdict("events", &events),
            self.verdict("later events", &later),
            self.verdict("snapshot", &save),
            self.verdict("deletion of events", &delete_events),
            self.verdict("deletion of snapshots", &delete_snapshots),
            self.verdict("state", &put),
            self.verdict("deletion of the state", &delete_state),
        ]
    }

    fn verdict<T: std::fmt::Debug>(&self, what: &str, outcome: &Result<T, AppendError>) -> String {
        match outcome {
            Err(AppendError::Stale { held, .. }) if *held == self.fence.epoch => format!("stale {what}"),
            other => format!("a late {what} of {} was answered by {other:?}", self.id),
        }
    }

    fn append(&self, from: u64) -> Append<RawEvent> {
        Append {
            id: self.id.clone(),
            expected_seq: from,
            fence: self.fence.clone(),
            batch_id: rand::random(),
            events: (from..from + 2).map(|seq_nr| event("late", seq_nr)).collect(),
            tags: Vec::new(),
            time_ms: 1,
        }
    }

    fn delete(&self) -> DeleteState {
        let PutState { id, expected_revision, fence, batch_id, time_ms, .. } = self.put();
        DeleteState { id, expected_revision, fence, batch_id, time_ms, marker: None }
    }

    fn put(&self) -> PutState<RawState> {
        PutState {
            id: self.id.clone(),
            expected_revision: self.seen.revision,
            fence: self.fence.clone(),
            batch_id: rand::random(),
            time_ms: 1,
            state: state("late", self.seen.revision + 1),
            tag: None,
        }
    }
}
