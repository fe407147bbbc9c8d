//! [`FeedQuery`]: which events or states of a store.

use crate::{PersistenceId, SLICES};
use std::{ops::RangeInclusive, sync::Arc};

/// Which events or states a reader wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FeedQuery {
    /// Those of entities of this type: the part of their ids before the `|`.
    pub entity_type: Arc<str>,
    /// Those of entities in these slices; see [`PersistenceId::slice`].
    pub slices: RangeInclusive<u16>,
    /// Only those stored with this tag.
    pub tag: Option<Arc<str>>,
}

impl FeedQuery {
    /// Everything of the type.
    pub fn of(entity_type: impl Into<Arc<str>>) -> Self {
        Self { entity_type: entity_type.into(), slices: 0..=SLICES - 1, tag: None }
    }

    /// Only what lies in `slices`. Ranges of different readers may overlap; an empty one finds nothing.
    #[must_use]
    pub fn slices(self, slices: RangeInclusive<u16>) -> Self {
        Self { slices, ..self }
    }

    /// Only what was stored with `tag`.
    #[must_use]
    pub fn tag(self, tag: impl Into<Arc<str>>) -> Self {
        Self { tag: Some(tag.into()), ..self }
    }

    /// Whether all slices are asked for.
    #[must_use]
    pub fn is_all_slices(&self) -> bool {
        *self.slices.start() == 0 && *self.slices.end() >= SLICES - 1
    }

    /// Whether what is stored for `id` with `tags` is meant.
    #[must_use]
    pub fn takes<'t>(&self, id: &PersistenceId, tags: impl IntoIterator<Item = &'t Arc<str>>) -> bool {
        id.entity_type() == &*self.entity_type
            && self.slices.contains(&id.slice())
            && self.tag.as_ref().is_none_or(|wanted| tags.into_iter().any(|tag| tag == wanted))
    }
}
