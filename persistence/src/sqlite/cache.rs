//! What the writer remembers of the tables, so that an append costs one insert and no look-up.
//!
//! Valid because the writer is the only one that writes: the store lock keeps other processes out. The writer clears it
//! all the same when it sees that somebody else wrote, so that no stale epoch is taken for the current one by a process
//! whose lock was removed under it. Whoever rolls back must [`clear`](Cache::clear).

use crate::PersistenceId;
use std::{collections::HashMap, sync::Arc};

/// Entities remembered; past it all are forgotten at once, which is rare and costs one look-up each.
const ENTITIES_MAX: usize = 65_536;

/// Manifests and tags remembered: programs have few, but they come from outside.
const NAMES_MAX: usize = 4_096;

/// Row of `entity`, with the highest sequence number that the journal holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntityRow {
    pub(crate) pid: i64,
    pub(crate) highest: u64,
    pub(crate) epoch: u64,
}

#[derive(Default)]
pub(crate) struct Cache {
    entities: HashMap<PersistenceId, EntityRow>,
    shards: HashMap<String, HashMap<u16, u64>>, // entity type → shard → claimed epoch
    manifests: Names,
    tags: Names,
}

type Names = HashMap<Arc<str>, i64>;

/// Which table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameTable {
    Manifest,
    Tag,
}

impl Cache {
    pub(crate) fn entity(&self, id: &PersistenceId) -> Option<EntityRow> {
        self.entities.get(id).copied()
    }

    pub(crate) fn set_entity(&mut self, id: &PersistenceId, row: EntityRow) {
        if let Some(known) = self.entities.get_mut(id) {
            *known = row;
            return;
        }
        if self.entities.len() >= ENTITIES_MAX {
            self.entities.clear();
        }
        self.entities.insert(id.clone(), row);
    }

    pub(crate) fn shard_epoch(&self, entity_type: &str, shard: u16) -> Option<u64> {
        self.shards.get(entity_type)?.get(&shard).copied()
    }

    pub(crate) fn set_shard_epoch(&mut self, entity_type: &str, shard: u16, epoch: u64) {
        match self.shards.get_mut(entity_type) {
            Some(shards) => shards.insert(shard, epoch),
            None => self.shards.entry(entity_type.to_owned()).or_default().insert(shard, epoch),
        };
    }

    pub(crate) fn name(&self, table: NameTable, name: &str) -> Option<i64> {
        self.names(table).get(name).copied()
    }

    pub(crate) fn set_name(&mut self, table: NameTable, name: &Arc<str>, id: i64) {
        let names = match table {
            NameTable::Manifest => &mut self.manifests,
            NameTable::Tag => &mut self.tags,
        };
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(Arc::clone(name), id);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn names(&self, table: NameTable) -> &Names {
        match table {
            NameTable::Manifest => &self.manifests,
            NameTable::Tag => &self.tags,
        }
    }
}
