//! [`Told`]: what writers said is acknowledged, held against what is found.

use super::work::{self, KEPT, WRITERS};
use crate::{JournalError, Recovery, ReplayLimit, StoredState, testkit::OpenStores};
use std::{collections::BTreeMap, fmt};

/// What one writer was told is stored, or was found once: from then on it counts the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The highest event.
    pub highest: u64,
    /// The revision of its state.
    pub revision: u64,
    /// Number of its newest snapshot.
    pub snapshot: u64,
    /// Up to where its events are deleted.
    pub deleted: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: "lost", "invented", "torn" and the like.
    pub kind: &'static str,
    /// Where and how.
    pub text: String,
}

/// What all writers were told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    writers: BTreeMap<u64, Acknowledged>,
    late: BTreeMap<u64, Acknowledged>, // said while the power went: may be stored, and is no promise
    found_untold: u64,
    snapshots: u64,
}

impl Told {
    /// Takes a line of a writer; answers whether it was an acknowledgement. A line that was cut is none.
    ///
    /// # Errors
    /// When the line says that the store refused what it must not refuse.
    pub fn note(&mut self, line: &str) -> Result<bool, Violation> {
        let Some((writer, said)) = parse(line)? else { return Ok(false) };
        let known = self.writers.entry(writer).or_default();
        self.snapshots += u64::from(said.snapshot > known.snapshot);
        let deleted = said.deleted.max(known.deleted); // a writer that starts does not know it
        *known = Acknowledged { deleted, ..said };
        Ok(true)
    }

    /// Takes a line that a writer got to send while the power went. With real power it would not have: what it says may
    /// be stored, and is no promise. Nor is a refusal one: what a reader finds on a disk that is going is no sign of what
    /// will be on it.
    ///
    /// # Errors
    /// When nobody can read the line.
    pub fn note_late(&mut self, line: &str) -> Result<(), Violation> {
        if !line.starts_with(REFUSED)
            && let Some((writer, said)) = parse(line)?
        {
            self.late.insert(writer, said);
        }
        Ok(())
    }

    /// Holds what `stores` have against what was told, and takes what is found for told from now on.
    ///
    /// # Errors
    /// With the first promise that was broken.
    pub async fn check(&mut self, stores: &OpenStores) -> Result<(), Violation> {
        for writer in 0..WRITERS {
            let told = self.writers.get(&writer).copied().unwrap_or_default();
            let found = Found::read(stores, writer).await?;
            let late = self.late.remove(&writer).unwrap_or_default();
            found.against(told, late, writer)?;
            self.found_untold += u64::from(found.now.highest > told.highest);
            self.writers.insert(writer, found.now);
        }
        Ok(())
    }

    /// Events, states and snapshots acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> (u64, u64, u64) {
        let total = |count: fn(&Acknowledged) -> u64| self.writers.values().map(count).sum::<u64>();
        (total(|told| told.highest), total(|told| told.revision), self.snapshots)
    }

    /// How often a batch was found of which its writer was not told.
    #[must_use]
    pub fn found_untold(&self) -> u64 {
        self.found_untold
    }
}

/// What is stored of one writer.
struct Found {
    now: Acknowledged,
    first: u64, // the first event there is
}

impl Found {
    /// Recovers as an entity does, with all its checks; every byte must be one the writer wrote.
    async fn read(stores: &OpenStores, writer: u64) -> Result<Self, Violation> {
        let id = work::id(writer);
        let unreadable = |error: JournalError| Violation::new("unreadable", error.to_string());
        let invented = |what: String| Violation::new("invented", format!("writer {writer}: {what}"));
        let highest = stores.journal.highest_seq(id.clone()).await.map_err(unreadable)?;
        let snapshot = stores.snapshots.load(id.clone(), u64::MAX).await.map_err(unreadable)?;
        if let Some(snapshot) = &snapshot
            && snapshot.snapshot != work::snapshot(writer, snapshot.seq_nr)
        {
            return Err(invented(format!("{snapshot:?}")));
        }
        let mut recovery = Recovery::new(id.clone());
        recovery.snapshot(snapshot.as_ref().map(|snapshot| (snapshot.seq_nr, snapshot.epoch)));
        let broken = |error| Violation::new("broken", format!("writer {writer}: {error}"));
        let (mut next, mut first) = (1, None);
        loop {
            let page = stores.journal.replay(id.clone(), next, u64::MAX, ReplayLimit::default()).await;
            let page = page.map_err(unreadable)?;
            let Some(last) = page.last() else { break };
            next = last.seq_nr + 1;
            for stored in page {
                first.get_or_insert(stored.seq_nr);
                if stored.event.payload != work::event_text(writer, stored.seq_nr) {
                    return Err(invented(format!("event {}: {:?}", stored.seq_nr, stored.event)));
                }
                if stored.seq_nr >= recovery.next_seq() {
                    recovery.event(stored.seq_nr, stored.epoch).map_err(broken)?;
                }
            }
        }
        recovery.finish(highest).map_err(broken)?;
        let state = stores.states.load(id).await.map_err(unreadable)?;
        let revision = state.as_ref().map_or(0, |state| state.revision);
        if let Some(StoredState { state, .. }) = state
            && state.as_ref().is_none_or(|state| state.payload != work::state_text(writer, revision))
        {
            return Err(invented(format!("revision {revision}: {state:?}")));
        }
        let first = first.unwrap_or(highest + 1);
        let snapshot = snapshot.map_or(0, |snapshot| snapshot.seq_nr);
        Ok(Self { now: Acknowledged { highest, revision, snapshot, deleted: first - 1 }, first })
    }

    fn against(&self, told: Acknowledged, late: Acknowledged, writer: u64) -> Result<(), Violation> {
        let Acknowledged { highest, revision, snapshot, deleted } = self.now;
        let violation = |kind, what: &str| {
            let text = format!("writer {writer}: {what}: told {told:?}, found {:?}", self.now);
            Err(Violation::new(kind, text))
        };
        if highest < told.highest {
            return violation("lost", "events");
        }
        if revision < told.revision {
            return violation("lost", "a state");
        }
        if snapshot < told.snapshot {
            return violation("lost", "a snapshot");
        }
        if deleted < told.deleted {
            return violation("lost", "a deletion");
        }
        if highest > 0 && work::turn_ending_with(highest).is_none() {
            return violation("torn", "half a batch");
        }
        // A writer has one batch of at most three events, or the state after it, in flight.
        if highest > told.highest.max(late.highest) + 3 || revision > told.revision.max(late.revision) + 1 {
            return violation("invented", "more than was under way");
        }
        if snapshot > highest || self.first > (snapshot + 1).saturating_sub(KEPT).max(1) {
            return violation("lost", "events that nobody deleted, or a snapshot ahead of the log");
        }
        Ok(())
    }
}

const REFUSED: &str = "refused ";

fn parse(line: &str) -> Result<Option<(u64, Acknowledged)>, Violation> {
    if line.starts_with(REFUSED) {
        return Err(Violation::new("refused", line.to_owned()));
    }
    // A test harness may have begun the line.
    let Some(rest) = line.split_once("ack ").and_then(|(_, rest)| rest.strip_suffix(" .")) else {
        return Ok(None);
    };
    let numbers: Vec<u64> = rest.split(' ').map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [writer, highest, revision, snapshot, deleted] => {
            Ok(Some((writer, Acknowledged { highest, revision, snapshot, deleted })))
        }
        _ => Err(Violation::new("harness", format!("cannot read {line:?}"))),
    }
}

impl Violation {
    pub(in crate::testkit) fn new(kind: &'static str, text: String) -> Self {
        Self { kind, text }
    }

    pub(in crate::testkit) fn in_round(self, round: u32) -> Self {
        Self { text: format!("round {round}: {}", self.text), ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

impl std::error::Error for Violation {}
