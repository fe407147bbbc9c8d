//! [`EpochRegister`]: what one member keeps, and how it takes part.

use super::{Ballot, CouncilId, EpochMessage, Known, round::Round};
use actors::Tick;
use rand::rngs::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How many names there may be.
const NAMES_MAX: usize = 512;
/// Bytes of a name.
const NAME_MAX: usize = 128;
/// How often what was not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The members of a table that all full members have, as they count for epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Council {
    /// Of that table: no other is the same.
    pub(crate) id: CouncilId,
    /// Those that are up and do not leave: a majority of them decides.
    pub(crate) voters: BTreeSet<u64>,
    /// All that ever were up and are not down: those that leave know what they accepted before.
    pub(crate) present: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// All full members have this table; `None`: not all have the one that this node has.
    Council(Option<Council>),
    Message {
        from: u64,
        message: EpochMessage,
    },
    /// This node wants the next epoch of `name`, at least `floor`. Answered by [`Effect::Raised`] once it is to be had;
    /// a later wish for the same name takes this one's place.
    Raise {
        id: u64,
        name: Arc<str>,
        floor: u64,
    },
    Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Send { to: u64, message: EpochMessage },
    Raised { id: u64, name: Arc<str>, epoch: u64 },
    Dropped(Dropped),
}

/// Why something was not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dropped {
    /// It is about another council, or whoever asks is not in this one.
    OtherCouncil,
    /// Not everybody has told yet what they know. Asked again soon.
    NotReady,
    /// There are too many names, or one is too long.
    TooMany,
    /// It answers nothing that was asked.
    Late,
}

/// What one member keeps of one name.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    promised: Ballot,
    known: Known,
}

/// One member's part of the register.
pub(crate) struct EpochRegister {
    me: u64,
    rng: ChaCha8Rng,
    council: Option<Council>,
    /// Who has yet to tell what they know.
    missing: BTreeSet<u64>,
    pull_at: Tick,
    slots: BTreeMap<Arc<str>, Slot>,
    rounds: BTreeMap<Arc<str>, Round>,
    /// Of the last attempt: no ballot is used twice.
    number: u64,
    out: Vec<Effect>,
}

impl EpochRegister {
    /// The part of the life with that uid. `rng` keeps two that want the same from getting into each other's way for ever.
    pub(crate) fn new(me: u64, rng: ChaCha8Rng) -> Self {
        Self {
            me,
            rng,
            council: None,
            missing: BTreeSet::new(),
            pull_at: Tick::START,
            slots: BTreeMap::new(),
            rounds: BTreeMap::new(),
            number: 0,
            out: Vec::new(),
        }
    }

    #[cfg(test)]
    /// The highest epoch of `name` that this member has heard of. There may be higher ones.
    pub(crate) fn known(&self, name: &str) -> Known {
        self.slots.get(name).map(|slot| slot.known).unwrap_or_default()
    }

    /// Takes `input`, at `now`, which never goes back.
    pub(crate) fn step(&mut self, input: Input, now: Tick) -> Vec<Effect> {
        match input {
            Input::Council(council) => self.enter(council, now),
            Input::Message { from, message } => self.receive(from, message, now),
            Input::Raise { id, name, floor } => self.raise(id, name, floor, now),
            Input::Time => {}
        }
        self.pull(now);
        self.go_on(now);
        std::mem::take(&mut self.out)
    }

    /// When to step again, if nothing happens before.
    pub(crate) fn wake_at(&self) -> Option<Tick> {
        self.council.as_ref()?;
        let pull = (!self.missing.is_empty()).then_some(self.pull_at);
        let rounds = self.rounds.values().filter(|_| self.is_ready()).map(|round| round.ask_at);
        rounds.chain(pull).min()
    }

    fn enter(&mut self, council: Option<Council>, now: Tick) {
        if self.council == council {
            return;
        }
        self.rounds.values_mut().for_each(|round| round.restart(now));
        if let Some(council) = &council {
            self.missing = council.present.clone();
            self.missing.remove(&self.me);
            self.pull_at = now;
        }
        self.council = council;
    }

    fn pull(&mut self, now: Tick) {
        if let Some(council) = &self.council
            && !self.missing.is_empty()
            && self.pull_at <= now
        {
            let pull = EpochMessage::Pull { council: council.id };
            let pulls = self.missing.iter().map(|uid| Effect::Send { to: *uid, message: pull.clone() });
            self.out.extend(pulls);
            self.pull_at = now + ASK_AGAIN;
        }
    }

    /// Whether this member knows what all before it did, and has a vote.
    fn is_ready(&self) -> bool {
        self.missing.is_empty() && self.has_vote()
    }

    fn has_vote(&self) -> bool {
        self.council.as_ref().is_some_and(|council| council.voters.contains(&self.me))
    }

    fn is_council(&self, id: CouncilId) -> bool {
        self.council.as_ref().is_some_and(|council| council.id == id)
    }

    fn receive(&mut self, from: u64, message: EpochMessage, now: Tick) {
        match message {
            // Who accepts in a council that is over for others tells only when it is over here too.
            EpochMessage::Pull { council } if self.is_council(council) || !self.has_vote() => {
                let entries = self.slots.iter().map(|(name, slot)| (name.clone(), slot.known)).collect();
                self.send(from, EpochMessage::State { council, entries }, now);
            }
            EpochMessage::State { council, entries } if self.is_council(council) => {
                if entries.into_iter().all(|(name, known)| self.learn(name, known)) {
                    self.missing.remove(&from);
                }
            }
            EpochMessage::Learn { name, known } => {
                self.learn(name, known);
            }
            EpochMessage::Prepare { council, .. } | EpochMessage::Accept { council, .. }
                if self.is_council(council) && !self.is_ready() =>
            {
                self.drop(Dropped::NotReady);
            }
            EpochMessage::Prepare { council, name, ballot } if self.is_asked(council, from, ballot) => {
                let Some(slot) = self.slot(&name) else {
                    return;
                };
                let answer = if slot.promised <= ballot {
                    slot.promised = ballot;
                    EpochMessage::Promise { council, name, ballot, known: slot.known }
                } else {
                    EpochMessage::Refused { council, name, ballot, promised: slot.promised }
                };
                self.send(from, answer, now);
            }
            EpochMessage::Accept { council, name, ballot, epoch } if self.is_asked(council, from, ballot) => {
                let Some(slot) = self.slot(&name) else {
                    return;
                };
                let answer = if slot.promised <= ballot {
                    slot.promised = ballot;
                    slot.known = slot.known.max(Known { epoch, owner: from });
                    EpochMessage::Accepted { council, name, ballot }
                } else {
                    EpochMessage::Refused { council, name, ballot, promised: slot.promised }
                };
                self.send(from, answer, now);
            }
            EpochMessage::Promise { council, name, ballot, known } if self.is_council(council) => {
                self.answered(&name, ballot, |round| round.promised(from, known));
            }
            EpochMessage::Accepted { council, name, ballot } if self.is_council(council) => {
                self.answered(&name, ballot, |round| round.accepted(from));
            }
            EpochMessage::Refused { council, name, ballot, promised } if self.is_council(council) => {
                let rng = &mut self.rng;
                if let Some(round) = self.rounds.get_mut(&name).filter(|round| round.ballot == Some(ballot)) {
                    round.refused(promised, rng, now);
                }
            }
            EpochMessage::Pull { .. }
            | EpochMessage::State { .. }
            | EpochMessage::Prepare { .. }
            | EpochMessage::Promise { .. }
            | EpochMessage::Accept { .. }
            | EpochMessage::Accepted { .. }
            | EpochMessage::Refused { .. } => self.drop(Dropped::OtherCouncil),
        }
    }

    /// By somebody who may.
    fn is_asked(&self, council: CouncilId, from: u64, ballot: Ballot) -> bool {
        let voter = self.council.as_ref().is_some_and(|council| council.voters.contains(&from));
        self.is_council(council) && voter && ballot.uid == from
    }

    /// Whether there was room for it.
    fn learn(&mut self, name: Arc<str>, known: Known) -> bool {
        let slot = self.slot(&name);
        let learned = slot.is_some();
        if let Some(slot) = slot {
            slot.known = slot.known.max(known);
        }
        learned
    }

    fn slot(&mut self, name: &Arc<str>) -> Option<&mut Slot> {
        let room = self.slots.contains_key(name) || self.slots.len() < NAMES_MAX;
        if !room || name.is_empty() || name.len() > NAME_MAX {
            self.drop(Dropped::TooMany);
            return None;
        }
        Some(self.slots.entry(name.clone()).or_default())
    }

    fn answered(&mut self, name: &str, ballot: Ballot, take: impl FnOnce(&mut Round)) {
        match self.rounds.get_mut(name).filter(|round| round.ballot == Some(ballot)) {
            Some(round) => take(round),
            None => self.drop(Dropped::Late),
        }
    }

    fn raise(&mut self, id: u64, name: Arc<str>, floor: u64, now: Tick) {
        if self.slot(&name).is_some() {
            self.rounds.entry(name).or_default().wish(id, floor, now);
        }
    }

    /// Takes each round as far as it goes: this member's own answers come at once.
    fn go_on(&mut self, now: Tick) {
        if !self.is_ready() {
            return;
        }
        let names: Vec<Arc<str>> = self.rounds.keys().cloned().collect();
        for name in names {
            self.go_on_with(&name, now);
        }
    }

    fn go_on_with(&mut self, name: &Arc<str>, now: Tick) {
        loop {
            let (Some(council), Some(round)) = (&self.council, self.rounds.get_mut(name)) else {
                return;
            };
            if let Some(epoch) = round.decided(&council.voters) {
                let known = Known { epoch, owner: self.me };
                let (id, mut learners) = (round.id, council.present.clone());
                learners.remove(&self.me);
                self.rounds.remove(name);
                self.learn(name.clone(), known);
                for uid in learners {
                    self.send(uid, EpochMessage::Learn { name: name.clone(), known }, now);
                }
                self.out.push(Effect::Raised { id, name: name.clone(), epoch });
                return;
            }
            let last = Ballot { number: self.number, uid: self.me };
            let Some(message) = round.ask(council.id, name, last, &council.voters, now) else {
                return;
            };
            round.ask_at = now + ASK_AGAIN;
            self.number = round.ballot.map_or(0, |ballot| ballot.number).max(self.number);
            let others: Vec<u64> = council.voters.iter().copied().filter(|uid| !round.has_answered(*uid)).collect();
            for uid in others {
                self.send(uid, message.clone(), now);
            }
        }
    }

    /// To itself at once.
    fn send(&mut self, to: u64, message: EpochMessage, now: Tick) {
        if to == self.me {
            self.receive(to, message, now);
        } else {
            self.out.push(Effect::Send { to, message });
        }
    }

    fn drop(&mut self, why: Dropped) {
        self.out.push(Effect::Dropped(why));
    }
}
