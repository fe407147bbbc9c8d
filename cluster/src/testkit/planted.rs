//! [`Bug`]: mistakes that are made on purpose, to see whether simulations find them. In tests alone.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Who acts for all does not wait until all have seen the table.
    NoSeenSet,
    /// Nobody decides about those that cannot be reached.
    ResolverOff,
    /// Of two halves each goes on.
    TieBrokenWrongly,
    /// Whoever is alone knocks at no door.
    SilentWhenAlone,
    /// A frame counts whichever life it was for.
    LifeUnchecked,
    /// A system message that comes again is delivered again.
    NotDeduplicated,
    /// One that hears that a single peer has cut it off stops.
    QuarantineByOne,
    /// One that stood still lets all that time pass, and then takes in what has arrived.
    TimeFirst,
    /// An instance is started as soon as its host cannot be reached, in a term that nobody agreed to.
    StartedOnUnreachable,
    /// What waited for a connection is gone when there is one, and nobody counts it.
    DroppedUncounted,
    /// Whoever holds a lease counts on it longer than others do.
    HeldTooLong,
    /// What actors of one that was removed had registered stays listed.
    ListedForEver,
    /// Each node of a group gets what one of it should.
    SharedByAll,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether `bug` is to be made on this thread.
#[cfg(test)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Never, outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn is_planted(_: Bug) -> bool {
    false
}

/// Runs `test` with `bug` made on this thread.
#[cfg(test)]
pub(crate) fn with<R>(bug: Bug, test: impl FnOnce() -> R) -> R {
    PLANTED.set(Some(bug));
    let outcome = test();
    PLANTED.set(None);
    outcome
}
