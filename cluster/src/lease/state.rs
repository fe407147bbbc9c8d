//! [`LeaseState`]: when to read, claim, renew and give back. Nothing here waits or does I/O.
//!
//! # Why two owners never overlap
//! Whoever holds the lease counts on it for a while from when it *began* to renew. Whoever wants it takes it only when the
//! same version was there for longer than that, as far as it has *seen* with its own clock or the store with its; and the
//! swap fails if the version changed meanwhile. So only the rates of clocks matter.

use super::{LeaseLost, LeaseOwner, LeaseRecord, LeaseSettings, Stored, Swapped, Version};
use actors::Tick;
use std::{collections::VecDeque, time::Duration};

/// How many may wait for one lease.
const WAITING_MAX: usize = 64;
/// When a renewal that failed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Input {
    /// Answered by [`Effect::Answer`] with the same id.
    Acquire {
        id: u64,
    },
    /// So is this.
    Release {
        id: u64,
    },
    /// Of [`Effect::Read`]. `None`: it failed.
    Read(Option<Option<Stored>>),
    /// Of [`Effect::Swap`]. `None`: it is done or not.
    Swapped(Option<Swapped>),
    Time,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Swap {
        expected: Option<Version>,
        record: LeaseRecord,
    },
    /// Replaces what was said before.
    Held {
        token: u64,
        until: Tick,
    },
    /// Before anything else is done.
    NotHeld(Option<LeaseLost>),
    Answer {
        id: u64,
        answer: Answer,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted(u64),
    Denied(LeaseOwner),
    /// It is granted or not.
    Unknown,
    Released,
    /// It expires.
    NotReleased,
    /// Too many are waiting.
    Busy,
}

#[derive(Debug)]
struct Held {
    token: u64,
    version: Version,
    until: Tick,
    renew_at: Tick,
}

/// What is under way.
#[derive(Debug)]
enum Pending {
    Read,
    Claim { token: u64, begun: Tick },
    Renew { begun: Tick },
    Release { token: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Acquire,
    Release,
}

/// One owner's view of one lease.
#[derive(Debug)]
pub(super) struct LeaseState {
    owner: LeaseOwner,
    settings: LeaseSettings,
    held: Option<Held>,
    pending: Option<Pending>,
    wishes: VecDeque<(u64, Wish)>,
    /// What somebody else's record was last, and since when.
    seen: Option<(Version, Tick)>,
    out: Vec<Effect>,
}

impl LeaseState {
    pub(super) fn new(owner: LeaseOwner, settings: LeaseSettings) -> Self {
        Self { owner, settings, held: None, pending: None, wishes: VecDeque::new(), seen: None, out: Vec::new() }
    }

    /// Takes `input`, at `now`, which never goes back. Each read and swap must be answered before the next step with one.
    pub(super) fn step(&mut self, input: Input, now: Tick) -> Vec<Effect> {
        self.expire(now);
        match input {
            Input::Acquire { id } => self.wish(id, Wish::Acquire),
            Input::Release { id } => self.wish(id, Wish::Release),
            Input::Read(stored) => self.read(stored, now),
            Input::Swapped(swapped) => self.swapped(swapped, now),
            Input::Time => {}
        }
        self.expire(now);
        while self.pending.is_none() && self.go_on(now) {}
        std::mem::take(&mut self.out)
    }

    /// When to step again, if nothing happens before.
    pub(super) fn wake_at(&self) -> Option<Tick> {
        let held = self.held.as_ref()?;
        Some(if self.pending.is_some() { held.until } else { held.until.min(held.renew_at) })
    }

    fn wish(&mut self, id: u64, wish: Wish) {
        if self.wishes.len() < WAITING_MAX {
            self.wishes.push_back((id, wish));
        } else {
            self.out.push(Effect::Answer { id, answer: Answer::Busy });
        }
    }

    fn expire(&mut self, now: Tick) {
        if self.held.as_ref().is_some_and(|held| held.until <= now) {
            self.lose(LeaseLost::Expired);
        }
    }

    fn lose(&mut self, why: LeaseLost) {
        self.held = None;
        self.out.push(Effect::NotHeld(Some(why)));
    }

    /// Begins what is to be done next. Whether there may be more.
    fn go_on(&mut self, now: Tick) -> bool {
        match (self.wishes.front(), &self.held) {
            (Some((_, Wish::Acquire)), Some(held)) => {
                let token = held.token;
                self.answer(Answer::Granted(token));
                true
            }
            (Some((_, Wish::Acquire)), None) => {
                self.pending = Some(Pending::Read);
                self.out.push(Effect::Read);
                false
            }
            (Some((_, Wish::Release)), Some(held)) => {
                let (token, version) = (held.token, held.version.clone());
                self.held = None;
                self.out.push(Effect::NotHeld(None));
                self.release(token, version);
                false
            }
            (Some((_, Wish::Release)), None) => {
                self.answer(Answer::Released);
                true
            }
            (None, Some(held)) if held.renew_at <= now => {
                let record = LeaseRecord { owner: Some(self.owner.clone()), token: held.token };
                let expected = Some(held.version.clone());
                self.pending = Some(Pending::Renew { begun: now });
                self.out.push(Effect::Swap { expected, record });
                false
            }
            (None, _) => false,
        }
    }

    /// To whoever has waited longest.
    fn answer(&mut self, answer: Answer) {
        if let Some((id, _)) = self.wishes.pop_front() {
            self.out.push(Effect::Answer { id, answer });
        }
    }

    fn release(&mut self, token: u64, version: Version) {
        self.pending = Some(Pending::Release { token });
        self.out.push(Effect::Swap { expected: Some(version), record: LeaseRecord { owner: None, token } });
    }

    fn read(&mut self, stored: Option<Option<Stored>>, now: Tick) {
        if !matches!(self.pending, Some(Pending::Read)) {
            return;
        }
        self.pending = None;
        match stored {
            Some(stored) => self.claim(stored, now),
            None => self.answer(Answer::Unknown),
        }
    }

    /// Takes what is stored, if it may.
    fn claim(&mut self, stored: Option<Stored>, now: Tick) {
        let (expected, token) = match stored {
            None => (None, 0),
            Some(stored) => match self.holder(&stored, now) {
                Some(holder) => return self.answer(Answer::Denied(holder)),
                None => (Some(stored.version), stored.record.token),
            },
        };
        let token = token + 1;
        self.pending = Some(Pending::Claim { token, begun: now });
        let record = LeaseRecord { owner: Some(self.owner.clone()), token };
        self.out.push(Effect::Swap { expected, record });
    }

    /// Who keeps this one from taking it.
    fn holder(&mut self, stored: &Stored, now: Tick) -> Option<LeaseOwner> {
        let other = stored.record.owner.as_ref().filter(|owner| **owner != self.owner)?;
        let since = match &self.seen {
            Some((version, since)) if *version == stored.version => *since,
            _ => now,
        };
        self.seen = Some((stored.version.clone(), since));
        let watched = (now - since).max(stored.age.unwrap_or_default());
        (watched < self.settings.expires_after).then(|| other.clone())
    }

    fn swapped(&mut self, swapped: Option<Swapped>, now: Tick) {
        match (self.pending.take(), swapped) {
            (Some(Pending::Claim { token, begun }), Some(Swapped::Done(version))) => {
                self.hold(token, version, begun);
                self.expire(now);
                let answer = if self.held.is_some() { Answer::Granted(token) } else { Answer::Unknown };
                self.answer(answer);
            }
            (Some(Pending::Claim { .. }), Some(Swapped::Changed(stored))) => self.claim(stored, now),
            (Some(Pending::Claim { .. }), None) => self.answer(Answer::Unknown),
            (Some(Pending::Renew { begun }), Some(Swapped::Done(version))) => {
                if let Some(token) = self.held.as_ref().map(|held| held.token) {
                    self.hold(token, version, begun);
                }
            }
            (Some(Pending::Renew { .. }), Some(Swapped::Changed(stored))) => self.renewal_refused(stored, now),
            (Some(Pending::Renew { .. }), None) => {
                if let Some(held) = &mut self.held {
                    held.renew_at = now + RENEW_AGAIN;
                }
            }
            (Some(Pending::Release { token }), Some(Swapped::Changed(Some(stored))))
                if self.is_mine(&stored, token) =>
            {
                self.release(token, stored.version);
            }
            (Some(Pending::Release { .. }), Some(_)) => self.answer(Answer::Released),
            (Some(Pending::Release { .. }), None) => self.answer(Answer::NotReleased),
            // Answers nothing that was asked.
            (other @ (Some(Pending::Read) | None), _) => self.pending = other,
        }
    }

    fn hold(&mut self, token: u64, version: Version, begun: Tick) {
        let until = begun + self.settings.valid_for();
        self.held = Some(Held { token, version, until, renew_at: begun + self.settings.renew_every });
        self.out.push(Effect::Held { token, until });
    }

    fn renewal_refused(&mut self, stored: Option<Stored>, now: Tick) {
        let Some(token) = self.held.as_ref().map(|held| held.token) else {
            return;
        };
        match stored {
            // A renewal of which nobody knew whether it was done.
            Some(stored) if self.is_mine(&stored, token) => {
                if let Some(held) = &mut self.held {
                    held.version = stored.version;
                    held.renew_at = now;
                }
            }
            stored => self.lose(LeaseLost::Taken { by: stored.and_then(|stored| stored.record.owner) }),
        }
    }

    fn is_mine(&self, stored: &Stored, token: u64) -> bool {
        stored.record.owner.as_ref() == Some(&self.owner) && stored.record.token == token
    }
}
