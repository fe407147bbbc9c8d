//! [`PersistenceId`]: the name under which an entity's events, snapshots and epochs are stored.

use std::{cmp::Ordering, fmt, hash, sync::Arc};

/// How many slices ids are spread over; a slice is also the shard its ids belong to.
pub const SLICES: u16 = 1024;

/// Between entity type and entity id. The first one in the text separates, so an entity id may hold more of them.
const SEPARATOR: char = '|';

/// Names one entity for ever: `"type|entity"`.
///
/// Cheap to clone. Two ids are equal exactly when type and entity id are; they are ordered as their texts are, by bytes.
#[derive(Clone)]
pub struct PersistenceId {
    text: Arc<str>,
    type_len: usize, // invariant: text[type_len..] starts with the separator
}

impl PersistenceId {
    /// The id of entity `entity_id` of type `entity_type`.
    ///
    /// # Panics
    /// If `entity_type` contains `|`, which would make two different entities share one log. Use
    /// [`try_of`](Self::try_of) for a type that comes from outside the program.
    #[must_use]
    pub fn of(entity_type: &str, entity_id: &str) -> Self {
        match Self::try_of(entity_type, entity_id) {
            Ok(id) => id,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`of`](Self::of), for types that the program did not choose itself.
    ///
    /// # Errors
    /// [`InvalidEntityType`] if `entity_type` contains `|`.
    pub fn try_of(entity_type: &str, entity_id: &str) -> Result<Self, InvalidEntityType> {
        if entity_type.contains(SEPARATOR) {
            return Err(InvalidEntityType(entity_type.to_owned()));
        }
        Ok(Self { text: format!("{entity_type}{SEPARATOR}{entity_id}").into(), type_len: entity_type.len() })
    }

    /// Reads a stored id; `None` when it has no `|`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let type_len = text.find(SEPARATOR)?;
        Some(Self { text: text.into(), type_len })
    }

    /// What stands before the first `|`.
    #[must_use]
    pub fn entity_type(&self) -> &str {
        &self.text[..self.type_len]
    }

    /// What stands after the first `|`.
    #[must_use]
    pub fn entity_id(&self) -> &str {
        &self.text[self.type_len + SEPARATOR.len_utf8()..]
    }

    /// The whole id, as stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the texts of all ids of a type begin with.
    pub(crate) fn first_of(entity_type: &str) -> String {
        format!("{entity_type}{SEPARATOR}")
    }

    /// The first text behind those of all ids of a type.
    pub(crate) fn end_of(entity_type: &str) -> String {
        const AFTER_SEPARATOR: char = '}';
        format!("{entity_type}{AFTER_SEPARATOR}")
    }

    /// The slice, and so the shard, of this id: `0..SLICES`, the same on every machine and in every version.
    #[must_use]
    pub fn slice(&self) -> u16 {
        (crc32c::crc32c(self.text.as_bytes()) % u32::from(SLICES)) as u16
    }
}

impl PartialEq for PersistenceId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PersistenceId {}

impl PartialOrd for PersistenceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PersistenceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl hash::Hash for PersistenceId {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for PersistenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PersistenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersistenceId({:?})", self.text)
    }
}

/// The entity type holds `|`, which separates type and entity id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entity type {0:?} contains '|', which separates type and entity id; choose a type without it")]
pub struct InvalidEntityType(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slices_never_change_between_versions() {
        // Stored data is found by these numbers: a change here orphans every shard's epoch.
        let slices = ["wallet|a", "wallet|b", "cart|", "|x"].map(|text| PersistenceId::parse(text).unwrap().slice());
        assert_eq!(slices, [176, 836, 544, 499]);
    }

    #[test]
    fn a_type_with_the_separator_is_refused() {
        let error = PersistenceId::try_of("a|b", "c").unwrap_err();
        assert!(error.to_string().contains("\"a|b\""), "{error}");
    }

    #[test]
    fn ids_spread_evenly_over_the_slices() {
        let mut counts = vec![0_u32; usize::from(SLICES)];
        for entity in 0..102_400 {
            counts[usize::from(PersistenceId::of("cart", &entity.to_string()).slice())] += 1;
        }
        assert!(counts.iter().all(|count| (40..=180).contains(count)), "{counts:?}"); // mean 100
    }

    #[test]
    fn the_ids_of_a_type_lie_between_its_bounds_and_no_others() {
        let (first, end) = (PersistenceId::first_of("cart"), PersistenceId::end_of("cart"));
        for (kind, entity, within) in [
            ("cart", "", true),
            ("cart", "\u{10ffff}", true),
            ("cart", "}", true),
            ("car", "t", false),
            ("carts", "a", false),
            ("cart}", "a", false),
            ("cart{", "a", false),
        ] {
            let id = PersistenceId::of(kind, entity);
            assert_eq!(id.as_str() >= &*first && id.as_str() < &*end, within, "{id}");
        }
    }

    proptest! {
        #[test]
        fn parts_survive_storing_and_reading(kind in "[^|]{0,12}", entity in ".{0,24}") {
            let id = PersistenceId::of(&kind, &entity);
            let read = PersistenceId::parse(id.as_str()).unwrap();
            prop_assert_eq!(&read, &id);
            prop_assert_eq!((read.entity_type(), read.entity_id()), (kind.as_str(), entity.as_str()));
            prop_assert!(read.slice() < SLICES);
        }
    }
}
