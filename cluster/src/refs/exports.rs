//! [`Exports`]: actors of this node that others can name, until they end.

use super::frame::To;
use crate::number_map::NumberMap;
use actors::{Terminated, remote::AnyActorRef};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
};

/// Actors, parts of their protocols included, that others may know at a time.
pub(super) const EXPORTS_MAX: usize = 1 << 20;

/// Parts of one actor's protocol that others may know at a time; beyond it the oldest is forgotten.
pub(super) const PARTS_MAX: usize = 256;

/// Well-known actors.
pub(super) const NAMES_MAX: usize = 4096;

/// Numbers of parts and of actors elsewhere begin here: those of actors are counted from below.
const PARTS: u64 = 1 << 63;

/// Is told when an actor has ended that others know.
pub(super) trait Ends: Send + Sync + 'static {
    /// Under this number nobody is found any more. So often as it was exported and no more.
    fn ended(&self, id: u64);
}

/// Why an actor cannot be named to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExportError {
    #[error("{EXPORTS_MAX} actors are known to other nodes already: send references to those who need them")]
    Full,
}

/// See the module's documentation.
pub(super) struct Exports<E> {
    ends: Weak<E>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    actors: NumberMap<u64, Entry>,
    /// Numbers of parts, by the actor and then the part.
    parts: BTreeMap<(u128, usize), u64>,
    /// In order of age, by the actor.
    part_ages: BTreeMap<u128, VecDeque<usize>>,
    names: BTreeMap<Arc<str>, u64>,
    next_part: u64,
}

struct Entry {
    actor: AnyActorRef,
    /// Held for its waker, which takes the entry out.
    wait: Option<Pin<Box<Terminated>>>,
}

/// The waker of one entry.
struct Ending<E> {
    ends: Weak<E>,
    id: u64,
}

impl<E: Ends> Wake for Ending<E> {
    fn wake(self: Arc<Self>) {
        if let Some(ends) = self.ends.upgrade() {
            ends.ended(self.id);
        }
    }
}

impl<E: Ends> Exports<E> {
    /// Whoever hears of an end is to [`remove`](Self::remove) the entry.
    pub(super) fn new(ends: Weak<E>) -> Self {
        Self { ends, table: Mutex::default() }
    }

    /// The number under which others find `actor`.
    ///
    /// # Errors
    /// There is no room for another.
    pub(super) fn export(&self, actor: &AnyActorRef) -> Result<u64, ExportError> {
        let key = key(actor);
        let mut oldest = None;
        let id = {
            let mut table = self.table.lock();
            let known = match actor.part() {
                None => Some(actor.path().uid()).filter(|id| table.actors.contains_key(id)),
                Some(part) => table.parts.get(&(key, part)).copied(),
            };
            if let Some(id) = known {
                return Ok(id);
            }
            if table.actors.len() >= EXPORTS_MAX {
                return Err(ExportError::Full);
            }
            let id = match actor.part() {
                None => actor.path().uid(),
                Some(part) => {
                    let ages = table.part_ages.entry(key).or_default();
                    let old = if ages.len() >= PARTS_MAX { ages.pop_front() } else { None };
                    ages.push_back(part);
                    if let Some(id) = old.and_then(|old| table.parts.remove(&(key, old))) {
                        oldest = table.actors.remove(&id);
                    }
                    let id = PARTS + table.next_part;
                    table.next_part += 1;
                    table.parts.insert((key, part), id);
                    id
                }
            };
            table.actors.insert(id, Entry { actor: actor.clone(), wait: None });
            id
        };
        drop(oldest); // outside the lock
        self.wait_for_end(id, actor);
        Ok(id)
    }

    fn wait_for_end(&self, id: u64, actor: &AnyActorRef) {
        let mut wait = Box::pin(actor.terminated());
        let waker = Waker::from(Arc::new(Ending { ends: self.ends.clone(), id }));
        match wait.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                let mut wait = Some(wait);
                if let Some(entry) = self.table.lock().actors.get_mut(&id) {
                    entry.wait = wait.take();
                }
                drop(wait); // it has ended in between
            }
            Poll::Ready(()) => waker.wake(),
        }
    }

    /// Takes an actor that has ended out of the table.
    pub(super) fn remove(&self, id: u64) {
        let removed = {
            let mut table = self.table.lock();
            let removed = table.actors.remove(&id);
            if let Some(Entry { actor, .. }) = &removed {
                if let Some(part) = actor.part() {
                    let key = key(actor);
                    table.parts.remove(&(key, part));
                    if let Some(ages) = table.part_ages.get_mut(&key) {
                        ages.retain(|age| *age != part);
                        if ages.is_empty() {
                            table.part_ages.remove(&key);
                        }
                    }
                }
                table.names.retain(|_, named| *named != id);
            }
            removed
        };
        drop(removed); // outside the lock
    }

    /// Who is found so.
    pub(super) fn find(&self, to: To<'_>) -> Option<(u64, AnyActorRef)> {
        let table = self.table.lock();
        let id = match to {
            To::Id(id) => id,
            To::Name(name) => *table.names.get(name)?,
        };
        table.actors.get(&id).map(|entry| (id, entry.actor.clone()))
    }

    /// From now on `actor`, which has this number, is who is called `name`. `false`: there is no room for another name.
    pub(super) fn name(&self, name: &str, id: u64) -> bool {
        let mut table = self.table.lock();
        if table.names.len() >= NAMES_MAX && !table.names.contains_key(name) {
            return false;
        }
        if table.actors.contains_key(&id) {
            table.names.insert(name.into(), id);
        }
        true
    }

    /// How many actors others can name.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.lock().actors.len()
    }
}

fn key(actor: &AnyActorRef) -> u128 {
    let path = actor.path();
    u128::from(path.system_uid()) << 64 | u128::from(path.uid())
}
