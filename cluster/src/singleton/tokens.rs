//! [`Tokens`]: one between each two members that may host. Who hosts has all of its own.

use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One end of the token between this member and another.
#[derive(Clone, Copy, Debug)]
struct Token {
    here: bool,
    /// How many times it changed hands: a message that is late passes nothing.
    passed: u64,
}

/// All tokens of one member.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    with: BTreeMap<u64, Token>,
    /// Those that were removed with the token, and when they have certainly stopped.
    gone: BTreeMap<u64, Tick>,
    /// As others say of those that this member may never have known.
    wait_until: Option<Tick>,
}

impl Tokens {
    /// Both know of each other that they are up: the older has the token.
    pub(super) fn meet(&mut self, other: u64, older: bool) {
        self.with.entry(other).or_insert(Token { here: older, passed: 0 });
    }

    pub(super) fn knows(&self, other: u64) -> bool {
        self.with.contains_key(&other)
    }

    /// It is removed, and has certainly stopped at `free_at`.
    pub(super) fn removed(&mut self, other: u64, free_at: Tick) {
        if self.with.remove(&other).is_none_or(|token| !token.here) {
            self.gone.insert(other, free_at);
        }
    }

    /// The one with `other` is here from now on, unless that is old news.
    pub(super) fn take(&mut self, other: u64, passed: u64, wait: Duration, now: Tick) {
        if let Some(token) = self.with.get_mut(&other).filter(|token| token.passed < passed) {
            *token = Token { here: true, passed };
            self.wait_until = self.wait_until.max(Some(now + wait));
        }
    }

    /// Passes the one with `other` on, if it is here. How many times it was, then.
    pub(super) fn give(&mut self, other: u64) -> Option<u64> {
        let token = self.with.get_mut(&other)?;
        if token.here {
            *token = Token { here: false, passed: token.passed + 1 };
        }
        Some(token.passed)
    }

    /// How many times the one with `other` was passed.
    pub(super) fn passed(&self, other: u64) -> Option<u64> {
        self.with.get(&other).map(|token| token.passed)
    }

    /// Whose are not here.
    pub(super) fn missing(&self) -> BTreeSet<u64> {
        self.with.iter().filter(|(_, token)| !token.here).map(|(uid, _)| *uid).collect()
    }

    /// When all those that are gone have certainly stopped, if that is yet to come.
    pub(super) fn wait_until(&mut self, now: Tick) -> Option<Tick> {
        self.gone.retain(|_, free_at| *free_at > now);
        self.wait_until = self.wait_until.filter(|until| *until > now);
        self.gone.values().copied().max().max(self.wait_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::START + Duration::from_secs(seconds)
    }

    #[test]
    fn the_older_has_it_first_and_late_messages_pass_nothing() {
        let (mut old, mut young) = (Tokens::default(), Tokens::default());
        old.meet(2, true);
        young.meet(1, false);
        assert_eq!((old.missing(), young.missing()), ([].into(), [1].into()));

        let first = old.give(2).unwrap();
        assert_eq!(old.give(2), Some(first), "asked again it says the same");
        young.take(1, first, Duration::ZERO, at(0));
        assert_eq!((old.missing(), young.missing()), ([2].into(), [].into()));

        let second = young.give(1).unwrap();
        young.take(1, first, Duration::ZERO, at(1));
        assert_eq!(young.missing(), [1].into(), "that was the first time");
        old.take(2, second, Duration::ZERO, at(1));
        assert_eq!(old.missing(), [].into());
        old.meet(2, false);
        assert_eq!(old.missing(), [].into(), "they have met");
    }

    #[test]
    fn that_of_one_that_is_gone_is_there_again_once_it_has_certainly_stopped() {
        let mut tokens = Tokens::default();
        tokens.meet(1, false);
        tokens.meet(2, true);
        tokens.removed(2, at(90));
        assert_eq!(tokens.wait_until(at(0)), None, "it could not host without the token");
        tokens.removed(1, at(20));
        tokens.removed(3, at(10));
        assert_eq!((tokens.missing(), tokens.wait_until(at(0))), ([].into(), Some(at(20))));
        assert_eq!(tokens.wait_until(at(20)), None);

        tokens.meet(4, false);
        tokens.take(4, 1, Duration::from_secs(7), at(30));
        assert_eq!(tokens.wait_until(at(36)), Some(at(37)), "the other knows of one that is gone");
    }
}
