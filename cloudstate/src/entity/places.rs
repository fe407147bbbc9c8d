//! Places for open entity streams, when the user function serves only so many.
//!
//! Some SDK servers give every stream a thread of a small pool (the published Python ones as many as there
//! are processors) and let further streams wait for ever. With a limit, the entity that has been idle for
//! longest is passivated to make room, and an entity that becomes idle while others wait goes at once.

use std::collections::HashMap;
use std::sync::Arc;

use actors::Tick;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::region::Passivate;

/// The places of one user function; clones share them.
#[derive(Debug, Clone)]
pub struct StreamPlaces(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    places: Arc<Semaphore>,
    max: usize,
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    holding: HashMap<u64, Holder>,
    next: u64,
    /// Entities that wait for a place.
    waiting: usize,
    /// Holders that have been asked to go and have not gone yet.
    asked: usize,
    /// Places of such holders that nobody has taken yet.
    freed: usize,
}

#[derive(Debug)]
struct Holder {
    passivate: Passivate,
    /// `None` while it is busy.
    idle_since: Option<Tick>,
    asked: bool,
}

/// The place of one open stream; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    key: u64,
    _permit: OwnedSemaphorePermit,
}

impl StreamPlaces {
    /// So many places; `None` for any number.
    pub fn new(max: Option<usize>) -> Self {
        Self(max.map(|max| {
            let (places, holders) = (Arc::new(Semaphore::new(max)), Mutex::default());
            Arc::new(Shared { places, max, holders })
        }))
    }

    /// How many there are; `None` for any number.
    pub fn max(&self) -> Option<usize> {
        Some(self.0.as_ref()?.max)
    }

    /// Waits for a place, first come first served; `None` when there is no limit. The holder counts as busy
    /// until it says otherwise, and is asked through `passivate` to go.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn.
    pub async fn take(&self, passivate: Passivate) -> Option<Place> {
        let shared = self.0.as_ref()?;
        let permit = match shared.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let mut waiting = Waiting::new(shared);
                let permit = shared.places.clone().acquire_owned().await.ok()?;
                waiting.served = true;
                permit
            }
        };
        let mut holders = shared.holders.lock();
        let key = holders.next;
        holders.next += 1;
        holders.holding.insert(key, Holder { passivate, idle_since: None, asked: false });
        Some(Place { shared: shared.clone(), key, _permit: permit })
    }
}

impl Holders {
    /// Asks as many idle holders to go as there are entities waiting, those idle for longest first.
    fn make_room(&mut self) {
        while self.waiting > self.asked + self.freed {
            let idle = self.holding.values_mut().filter(|holder| !holder.asked && holder.idle_since.is_some());
            let Some(holder) = idle.min_by_key(|holder| holder.idle_since) else { return };
            if !holder.passivate.request() {
                return; // the next turn of anybody idle tries again
            }
            holder.asked = true;
            self.asked += 1;
        }
    }
}

impl Place {
    /// The holder has nothing to do since `now`.
    pub fn idle(&self, now: Tick) {
        let mut holders = self.shared.holders.lock();
        if let Some(holder) = holders.holding.get_mut(&self.key) {
            holder.idle_since = Some(now);
            if holder.asked {
                // Again: the stop may have met a full mailbox. One that is under way is not disturbed.
                let _ = holder.passivate.request();
            }
        }
        holders.make_room();
    }

    /// The holder has something to do. One that has been asked to go goes all the same, when it is done.
    pub fn busy(&self) {
        if let Some(holder) = self.shared.holders.lock().holding.get_mut(&self.key) {
            holder.idle_since = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut holders = self.shared.holders.lock();
        if holders.holding.remove(&self.key).is_some_and(|holder| holder.asked) {
            holders.asked -= 1;
            holders.freed = (holders.freed + 1).min(holders.waiting);
        }
    }
}

/// Counts who waits, also when the waiting is given up.
struct Waiting<'a> {
    shared: &'a Shared,
    served: bool,
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut holders = shared.holders.lock();
        holders.waiting += 1;
        holders.make_room();
        Self { shared, served: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut holders = self.shared.holders.lock();
        holders.waiting -= 1;
        let taken = usize::from(self.served);
        holders.freed = holders.freed.saturating_sub(taken).min(holders.waiting);
    }
}
