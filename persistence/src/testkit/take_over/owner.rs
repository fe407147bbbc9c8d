//! The new owner: claims, reads, writes, and looks later whether all is as it left it.

use crate::{
    Append, AppendError, Fence, FenceScope, JournalError, PersistenceId, PutState, RawEvent, RawSnapshot, RawState,
    Recovery, ReplayLimit,
    testkit::{OpenStores, Violation},
};
use std::fmt;

/// How far a writer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) epoch: u64,
    pub(super) highest: u64,
    pub(super) revision: u64,
    pub(super) snapshot: u64,
}

pub(super) struct Owner<'a> {
    stores: &'a OpenStores,
    id: PersistenceId,
    fence: Fence,
    found: Seen, // right after the claim
    now: Seen,   // after what this owner wrote itself
}

impl<'a> Owner<'a> {
    /// Fence, then read. With `epoch` it leaves out the claim and uses that epoch.
    pub(super) async fn take_over(
        stores: &'a OpenStores,
        id: PersistenceId,
        of_shard: bool,
        epoch: Option<u64>,
    ) -> Result<Self, Violation> {
        let scope = if of_shard { FenceScope::shard_of(&id) } else { FenceScope::Entity(id.clone()) };
        let fence = match epoch {
            Some(epoch) => Fence { scope: FenceScope::Entity(id.clone()), epoch },
            None => stores.journal.claim(scope).await.map_err(unreadable)?,
        };
        let mut owner = Self { stores, id, fence, found: Seen::default(), now: Seen::default() };
        let found = owner.read().await?;
        (owner.found, owner.now) = (found, found);
        Ok(owner)
    }

    /// So many batches, as many states, and a snapshot.
    pub(super) async fn write(&mut self, turns: u64) -> Result<(), Violation> {
        let refused = |error: AppendError| Violation::new("refused", format!("the owner of a take-over: {error}"));
        for _ in 0..turns {
            let from = self.now.highest + 1;
            let append = Append {
                id: self.id.clone(),
                expected_seq: from,
                fence: self.fence.clone(),
                batch_id: rand::random(),
                events: vec![event("owner", from)],
                tags: Vec::new(),
                time_ms: 1,
            };
            self.now.highest = self.stores.journal.append(append).await.map_err(refused)?;
            let put = PutState {
                id: self.id.clone(),
                expected_revision: self.now.revision,
                fence: self.fence.clone(),
                batch_id: rand::random(),
                time_ms: 1,
                state: state("owner", self.now.revision + 1),
                tag: None,
            };
            self.now.revision = self.stores.states.upsert(put).await.map_err(refused)?;
        }
        self.now.snapshot = self.now.highest;
        let (id, fence, at) = (self.id.clone(), self.fence.clone(), self.now.snapshot);
        self.stores.snapshots.save(id, at, fence, 1, snapshot("owner", at)).await.map_err(refused)
    }

    /// What the late process was told before, or had stored and was told after: the claim came later, so it was there.
    pub(super) fn must_have_found(&self, told: Seen) -> Result<(), Violation> {
        let Seen { highest, revision, snapshot, .. } = self.found;
        if told.highest <= highest && told.revision <= revision && told.snapshot <= snapshot {
            return Ok(());
        }
        let text = format!("{}: told {told:?} and went on, the take-over found {:?}", self.id, self.found);
        Err(Violation::new("late", text))
    }

    /// Whether anything was found that the late process never heard of.
    pub(super) fn found_beyond(&self, heard: Seen) -> u64 {
        u64::from(self.found.highest > heard.highest || self.found.revision > heard.revision)
    }

    /// Everything is as this owner left it.
    pub(super) async fn check(&self) -> Result<(), Violation> {
        let found = self.read().await?;
        if found == self.now {
            return Ok(());
        }
        let text = format!("{}: the owner left {:?}, and later there is {found:?}", self.id, self.now);
        Err(Violation::new("changed", text))
    }

    /// What is stored; everything up to what was found must be the late process's, the rest this owner's.
    async fn read(&self) -> Result<Seen, Violation> {
        let OpenStores { journal, snapshots, states } = self.stores;
        let highest = journal.highest_seq(self.id.clone()).await.map_err(unreadable)?;
        let events = journal.replay(self.id.clone(), 1, u64::MAX, ALL).await.map_err(unreadable)?;
        let newest = snapshots.load(self.id.clone(), u64::MAX).await.map_err(unreadable)?;
        let stored = states.load(self.id.clone()).await.map_err(unreadable)?;
        let broken = |what: String| Violation::new("changed", format!("{}: {what}", self.id));
        let before = self.now != Seen::default();
        let whose = |number: u64, found: u64| if before && number > found { "owner" } else { "late" };
        let mut recovery = Recovery::new(self.id.clone());
        for stored in &events {
            recovery.event(stored.seq_nr, stored.epoch).map_err(|error| broken(error.to_string()))?;
            if stored.event != event(whose(stored.seq_nr, self.found.highest), stored.seq_nr) {
                return Err(broken(format!("event {}: {:?}", stored.seq_nr, stored.event)));
            }
        }
        recovery.finish(highest).map_err(|error| broken(error.to_string()))?;
        let at = newest.as_ref().map_or(0, |newest| newest.seq_nr);
        if newest.is_some_and(|newest| newest.snapshot != snapshot(whose(at, self.found.highest), at)) {
            return Err(broken(format!("snapshot at {at}")));
        }
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        let expected = (revision > 0).then(|| state(whose(revision, self.found.revision), revision));
        if stored.and_then(|stored| stored.state) != expected {
            return Err(broken(format!("state of revision {revision}")));
        }
        Ok(Seen { epoch: self.fence.epoch, highest, revision, snapshot: at })
    }
}

const ALL: ReplayLimit = ReplayLimit { events: usize::MAX, bytes: usize::MAX };

pub(super) fn event(whose: &str, seq_nr: u64) -> RawEvent {
    RawEvent { manifest: "text/1".into(), payload: format!("event {seq_nr} of the {whose}").into(), meta: None }
}

pub(super) fn state(whose: &str, revision: u64) -> RawState {
    RawState { manifest: "text/1".into(), payload: format!("state {revision} of the {whose}").into(), meta: None }
}

pub(super) fn snapshot(whose: &str, seq_nr: u64) -> RawSnapshot {
    RawSnapshot { manifest: "text/1".into(), payload: format!("the {whose} at {seq_nr}").into(), meta: None }
}

fn unreadable(error: JournalError) -> Violation {
    Violation::new("unreadable", error.to_string())
}

impl Seen {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix("wrote ")?.split(' ');
        let numbers: Vec<u64> = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let [epoch, highest, revision, snapshot] = numbers[..] else { return None };
        Some(Self { epoch, highest, revision, snapshot })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrote {} {} {} {}", self.epoch, self.highest, self.revision, self.snapshot)
    }
}
