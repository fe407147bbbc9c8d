//! [`Offset`]: a place in the order in which a store committed its events and states.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// A place in commit order. To be compared, kept and handed back; what its parts mean is the store's business.
///
/// Stores whose one writer numbers what it commits, in memory and on SQLite, use `ordering` alone. PostgreSQL orders by
/// the generation of its server, then the transaction, then the row. Offsets of different stores cannot be compared.
///
/// As text it is `17` where only `ordering` is used, else `1.7345.17`; the same as a string in serde's formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    generation: u32,
    tx: u64,
    ordering: u64,
}

impl Offset {
    /// Before everything.
    pub const START: Self = Self::of_ordering(0);

    /// A place in a store that only counts.
    #[must_use]
    pub const fn of_ordering(ordering: u64) -> Self {
        Self::new(0, 0, ordering)
    }

    /// A place in a store of several generations and transactions.
    #[must_use]
    pub const fn new(generation: u32, tx: u64, ordering: u64) -> Self {
        Self { generation, tx, ordering }
    }

    /// How often the store was moved to a server that counts transactions anew.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The transaction.
    #[must_use]
    pub const fn tx(self) -> u64 {
        self.tx
    }

    /// The row's number. Two of them tell about how many rows lie between two places, of whatever type, not exactly.
    #[must_use]
    pub const fn ordering(self) -> u64 {
        self.ordering
    }

    /// Whether a store that only counts may have given this out.
    #[must_use]
    pub const fn is_plain(self) -> bool {
        self.generation == 0 && self.tx == 0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, tx, ordering } = self;
        if self.is_plain() { write!(f, "{ordering}") } else { write!(f, "{generation}.{tx}.{ordering}") }
    }
}

/// The text is no offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no offset: it looks like 17 or 1.7345.17")]
pub struct InvalidOffset(pub String);

impl FromStr for Offset {
    type Err = InvalidOffset;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Digits only: a sign that the number parser would take is not ours.
        let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok());
        let parts: Option<Vec<u64>> = text.split('.').map(|part| number(part).flatten()).collect();
        let offset = match parts.as_deref() {
            Some(&[ordering]) => Some(Self::of_ordering(ordering)),
            Some(&[generation, tx, ordering]) => {
                u32::try_from(generation).ok().map(|generation| Self::new(generation, tx, ordering))
            }
            _ => None,
        };
        offset.ok_or_else(|| InvalidOffset(text.to_owned()))
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_are_no_offset_are_refused() {
        for text in ["", ".", "a", "1.2", "1.2.3.4", "-1", "+1", "1..3", "18446744073709551616", "4294967296.0.1", " 1"]
        {
            let error = text.parse::<Offset>().unwrap_err();
            assert!(error.to_string().contains("1.7345.17"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_later_generation_is_behind_every_place_of_the_one_before() {
        let places = [(0, 0, 0), (0, 0, 9), (1, 7, 30), (1, 8, 2), (2, 1, 1)].map(|(g, t, o)| Offset::new(g, t, o));
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(places.map(|place| place.to_string()), ["0", "9", "1.7.30", "1.8.2", "2.1.1"]);
    }

    proptest! {
        #[test]
        fn a_place_survives_being_written_down(generation in any::<u32>(), tx in any::<u64>(), ordering in any::<u64>()) {
            for offset in [Offset::new(generation, tx, ordering), Offset::of_ordering(ordering)] {
                prop_assert_eq!(offset.to_string().parse(), Ok(offset));
                let bytes = rmp_serde::to_vec(&offset).unwrap();
                prop_assert_eq!(rmp_serde::from_slice::<Offset>(&bytes).unwrap(), offset);
            }
        }
    }
}
