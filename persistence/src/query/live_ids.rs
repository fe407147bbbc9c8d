//! [`LiveIds`]: which entities there are, and which come.

use super::{Changes, EntityIds};
use crate::{JournalError, PersistenceId};
use actors::{Clock, Tick};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// The ids there are, then each that comes: those with a first event or state.
///
/// None is missed, whatever happens to its events meanwhile; an id may be told more than once. In order are those of one
/// page only.
///
/// # Cost
/// The store is asked for its ids anew whenever something was stored, by pages, for which it reads keys and no events. Of
/// the time that takes ten times as much goes by before it is asked again, and a tenth of a second at least: so in a large
/// store an id may be told some seconds late. What was told is remembered, 16 bytes an id, of a million ids unless
/// [`remembering`](Self::remembering) says otherwise; those beyond are told again whenever the store is asked.
pub struct LiveIds {
    ids: Arc<dyn EntityIds>,
    changes: Changes,
    entity_type: Option<Arc<str>>,
    limit: usize,
    clock: Clock,
    told: Told,
    at: At,
}

/// Where reading is.
enum At {
    /// In a listing, after this id; reading has taken so long.
    Listing { after: Option<PersistenceId>, took: Duration },
    /// Behind its end; it is listed again then at the earliest.
    End { not_before: Tick },
    /// Something was stored: it is listed again then.
    Due { at: Tick },
}

/// Ids that were told, as far as they are remembered: as hashes, so wide that no two ids have the same.
struct Told {
    hashes: HashSet<u128>,
    max: usize,
}

/// Ids read at a time.
const PAGE: usize = 1_000;

/// Between two listings, and as a multiple of what the last one took.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_TIMES: u32 = 10;

const REMEMBERED: usize = 1_000_000;

impl LiveIds {
    /// Follows the ids of one type, or of all.
    pub fn new(ids: Arc<dyn EntityIds>, entity_type: Option<Arc<str>>, clock: Clock) -> Self {
        let changes = ids.id_changes();
        let told = Told { hashes: HashSet::new(), max: REMEMBERED };
        let at = At::Due { at: clock.now() };
        Self { ids, changes, entity_type, limit: PAGE, clock, told, at }
    }

    /// Remembers `ids` of those that were told.
    #[must_use]
    pub fn remembering(mut self, ids: usize) -> Self {
        self.told.max = ids;
        self
    }

    /// Reads so many ids at a time, one at least. Default 1000.
    #[must_use]
    pub fn pages_of(mut self, ids: usize) -> Self {
        self.limit = ids.max(1);
        self
    }

    /// The next ids, in the order of their texts and never none; waits for one to come.
    ///
    /// # Cancel safety
    /// Cancel safe: ids that were not returned are read again.
    ///
    /// # Errors
    /// As those of the ids; the next call tries the same page again.
    pub async fn next(&mut self) -> Result<Vec<PersistenceId>, JournalError> {
        loop {
            match &self.at {
                At::Listing { after, took } => {
                    let (after, took) = (after.clone(), *took);
                    let began = self.clock.now();
                    let page = self.ids.ids(self.entity_type.clone(), after, self.limit).await?;
                    let now = self.clock.now();
                    let took = took + (now - began);
                    self.at = match page.last() {
                        Some(last) if page.len() >= self.limit => At::Listing { after: Some(last.clone()), took },
                        _ => At::End { not_before: now + (took * PAUSE_TIMES).max(PAUSE_MIN) },
                    };
                    let new: Vec<_> = page.into_iter().filter(|id| self.told.is_new(id)).collect();
                    if !new.is_empty() {
                        return Ok(new);
                    }
                }
                At::End { not_before } => {
                    let at = *not_before;
                    self.changes.changed().await;
                    self.at = At::Due { at };
                }
                At::Due { at } => {
                    self.clock.sleep_until(*at).await;
                    // Before the first page: what is stored from here on has the ids listed again.
                    self.changes.mark();
                    self.at = At::Listing { after: None, took: Duration::ZERO };
                }
            }
        }
    }
}

impl Told {
    /// Whether it is to be told.
    fn is_new(&mut self, id: &PersistenceId) -> bool {
        let hash = wide_hash(id.as_str());
        if self.hashes.contains(&hash) {
            return false;
        }
        if self.hashes.len() < self.max {
            self.hashes.insert(hash);
        }
        true
    }
}

fn wide_hash(text: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Append, FenceScope, InMemoryJournal, Journal};
    use actors::testkit::TestKit;
    use futures_util::FutureExt;

    fn append(kit: &TestKit, journal: &InMemoryJournal<u64>, entity: &str) {
        let id = PersistenceId::of("account", entity);
        kit.block_on(async {
            let fence = journal.claim(FenceScope::Entity(id.clone())).await.unwrap();
            let expected_seq = journal.highest_seq(id.clone()).await.unwrap() + 1;
            let (events, batch_id) = (vec![1], rand::random());
            let append = Append { id, expected_seq, fence, batch_id, events, tags: Vec::new(), time_ms: 0 };
            journal.append(append).await.unwrap();
        });
    }

    fn live(kit: &TestKit, journal: &InMemoryJournal<u64>) -> LiveIds {
        LiveIds::new(Arc::new(journal.clone()), None, kit.system().clock().clone())
    }

    fn next(kit: &TestKit, live: &mut LiveIds) -> Vec<String> {
        let found = kit.block_on(live.next()).unwrap();
        found.iter().map(|id| id.entity_id().to_owned()).collect()
    }

    /// Given up while it waits for the time of the next listing: what was told it is not forgotten.
    #[test]
    fn who_gives_up_and_asks_again_misses_nothing() {
        let (kit, journal) = (TestKit::new(), InMemoryJournal::default());
        let mut live = live(&kit, &journal);
        append(&kit, &journal, "a");
        assert_eq!(next(&kit, &mut live), ["a"]);
        assert!(live.next().now_or_never().is_none());
        append(&kit, &journal, "b");
        assert!(live.next().now_or_never().is_none(), "it is too early to ask again");
        assert_eq!(next(&kit, &mut live), ["b"]);
    }

    /// Further events of an entity are no news, however often it is listed; with too many to remember some are told again.
    #[test]
    fn what_is_remembered_is_told_once() {
        let (kit, journal) = (TestKit::new(), InMemoryJournal::default());
        let mut all = live(&kit, &journal).pages_of(2);
        let mut some = live(&kit, &journal).remembering(2);
        for entity in ["a", "b", "c"] {
            append(&kit, &journal, entity);
        }
        assert_eq!((next(&kit, &mut all), next(&kit, &mut all)), (vec!["a".into(), "b".into()], vec!["c".into()]));
        assert_eq!(next(&kit, &mut some), ["a", "b", "c"]);
        append(&kit, &journal, "a");
        append(&kit, &journal, "d");
        assert_eq!(next(&kit, &mut all), ["d"]);
        assert_eq!(next(&kit, &mut some), ["c", "d"]);
    }
}
