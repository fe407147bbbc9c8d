//! [`News`]: what SWIM tells the members' table. It says who is thought alive, never who is a member.

use crate::member::UniqueAddress;

/// What changed in SWIM's opinion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// This life answers, for the first time or again.
    Alive(UniqueAddress),
    /// This life does not answer. It may again.
    Unreachable(UniqueAddress),
    /// A later life took over the address of an earlier one, which is gone for good. Told whenever one life displaces
    /// another, in SWIM's order of lives, also when the earlier one had been silent for long.
    Replaced {
        /// The life that ended.
        old: UniqueAddress,
        /// The one that is there now.
        new: UniqueAddress,
    },
    /// There is somebody again.
    Connected,
    /// Nobody answers any more.
    Alone,
}
