//! [`Closing`]: before an instance that is to move is told to stop, all who send to it have their say out.

use actors::Tick;
use std::{collections::BTreeSet, time::Duration};

/// How long others may take to say that nothing more comes. Who has no proxy says nothing.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How often those that have not are asked.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Which nodes have not yet said that nothing of theirs follows in a term that is about to end. What they say comes behind
/// all that they sent, so when the last has said it the instance has everything, and the next one gets what was told since.
#[derive(Debug)]
pub(super) struct Closing {
    term: u64,
    missing: BTreeSet<u64>,
    ask_at: Tick,
    until: Tick,
    over: bool,
}

impl Closing {
    /// Of the instance in `term`, begun `now`: these were asked.
    pub(super) fn new(term: u64, asked: BTreeSet<u64>, now: Tick) -> Self {
        Self { term, missing: asked, ask_at: now + ASK_AGAIN, until: now + CLOSE_WITHIN, over: false }
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// Nothing more comes from that life.
    pub(super) fn closed(&mut self, from: u64, term: u64) {
        if term == self.term {
            self.missing.remove(&from);
        }
    }

    /// Only from these anything can come.
    pub(super) fn only(&mut self, reachable: &BTreeSet<u64>) {
        self.missing.retain(|uid| reachable.contains(uid));
    }

    /// Who is to be asked again now.
    pub(super) fn ask_again(&mut self, now: Tick) -> BTreeSet<u64> {
        if self.over || now < self.ask_at {
            return BTreeSet::new();
        }
        self.ask_at = now + ASK_AGAIN;
        self.missing.clone()
    }

    /// Whether it is over, said once.
    pub(super) fn ends(&mut self, now: Tick) -> bool {
        let over = self.missing.is_empty() || self.until <= now;
        over && !std::mem::replace(&mut self.over, true)
    }

    /// When to look again, if nothing is heard before.
    pub(super) fn wake_at(&self) -> Option<Tick> {
        (!self.over).then(|| self.until.min(self.ask_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::START + Duration::from_millis(millis)
    }

    #[test]
    fn it_is_over_when_the_last_has_said_so_and_once() {
        let mut closing = Closing::new(7, [2, 3].into(), at(0));
        closing.closed(2, 7);
        closing.closed(3, 6);
        assert!(!closing.ends(at(0)), "what was said of another term counts for nothing");
        assert_eq!(closing.wake_at(), Some(at(250)));
        assert_eq!(closing.ask_again(at(249)), [].into());
        assert_eq!(closing.ask_again(at(250)), [3].into(), "the question or the answer may be lost");
        assert_eq!(closing.wake_at(), Some(at(500)));
        closing.closed(3, 7);
        assert!(closing.ends(at(251)));
        assert!(!closing.ends(at(252)));
        assert_eq!(closing.wake_at(), None);
    }

    #[test]
    fn who_is_gone_and_who_says_nothing_is_not_waited_for_for_ever() {
        let mut closing = Closing::new(7, [2, 3].into(), at(0));
        closing.only(&[1, 2].into());
        assert!(!closing.ends(at(1999)));
        assert!(closing.ends(at(2000)));
        assert!(Closing::new(7, [].into(), at(0)).ends(at(0)), "nobody to wait for");
    }
}
