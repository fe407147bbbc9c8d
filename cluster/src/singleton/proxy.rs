//! [`Proxy`]: on every node, where messages for the instance go, and what is kept while nobody knows.

use super::message::SingletonMessage;
use crate::member::{Member, MemberStatus};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// How often those that may host are asked who does.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How many are asked each time.
const ASKED_AT_ONCE: usize = 3;

#[derive(Debug)]
pub(super) enum Input<M> {
    /// All members that may host, and those of them that cannot be reached.
    Members {
        members: Vec<Member>,
        unreachable: BTreeSet<u64>,
    },
    Message {
        from: u64,
        message: SingletonMessage,
    },
    /// For the instance.
    Tell(M),
    Time,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect<M> {
    Send {
        to: u64,
        message: SingletonMessage,
    },
    /// To the instance, which is with that life.
    Forward {
        to: u64,
        message: M,
    },
    /// The oldest of those that waited, for there was no room.
    Overflow(M),
}

/// One node's way to a singleton. Messages of one proxy reach an instance in the order in which they were told, and so they
/// do when it moves in good order: none is left behind then. Those that are under way when its node ends are lost.
#[derive(Debug)]
pub(super) struct Proxy<M> {
    capacity: usize,
    members: BTreeMap<u64, Member>,
    unreachable: BTreeSet<u64>,
    /// Where the instance is, and its term.
    host: Option<(u64, u64)>,
    /// The highest term that it has heard of as begun, and as over or about to be.
    term: u64,
    over: u64,
    hint: Option<u64>,
    waiting: VecDeque<M>,
    ask_at: Tick,
    /// Who was asked last.
    asked: u64,
    out: Vec<Effect<M>>,
}

impl<M> Proxy<M> {
    /// One that keeps at most so many messages while it does not know where the instance is.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            members: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            host: None,
            term: 0,
            over: 0,
            hint: None,
            waiting: VecDeque::new(),
            ask_at: Tick::START,
            asked: 0,
            out: Vec::new(),
        }
    }

    /// Takes `input`, at `now`, which never goes back.
    pub(super) fn step(&mut self, input: Input<M>, now: Tick) -> Vec<Effect<M>> {
        match input {
            Input::Members { members, unreachable } => {
                self.members = members.into_iter().map(|member| (member.node.uid, member)).collect();
                self.unreachable = unreachable;
                if self.host.is_some_and(|(host, _)| !self.is_there(host)) {
                    self.lose(now);
                }
            }
            Input::Message { from, message } => self.receive(from, message, now),
            Input::Tell(message) => self.tell(message),
            Input::Time => {}
        }
        self.ask(now);
        std::mem::take(&mut self.out)
    }

    /// When to step again, if nothing happens before.
    pub(super) fn wake_at(&self) -> Option<Tick> {
        (self.host.is_none() && self.members.keys().any(|uid| self.is_there(*uid))).then_some(self.ask_at)
    }

    /// Where the instance is, as far as is known.
    pub(super) fn host(&self) -> Option<u64> {
        self.host.map(|(host, _)| host)
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits, or nobody but `me` is there who may host.
    pub(super) fn is_done(&self, me: u64) -> bool {
        let may_host = |member: &Member| {
            let status = member.status;
            member.node.uid != me && status < MemberStatus::Leaving && !self.unreachable.contains(&member.node.uid)
        };
        self.waiting.is_empty() || !self.members.values().any(may_host)
    }

    /// Whether messages reach it that it may still take.
    fn is_there(&self, uid: u64) -> bool {
        let status = self.members.get(&uid).map(|member| member.status);
        status.is_some_and(|status| status.is_full() || status == MemberStatus::Exiting)
            && !self.unreachable.contains(&uid)
    }

    fn receive(&mut self, from: u64, message: SingletonMessage, now: Tick) {
        match message {
            SingletonMessage::Hosting { term } if term >= self.term && term > self.over && self.is_there(from) => {
                (self.host, self.term) = (Some((from, term)), term);
                for message in std::mem::take(&mut self.waiting) {
                    self.out.push(Effect::Forward { to: from, message });
                }
            }
            SingletonMessage::Over { term } => self.over(term, now),
            SingletonMessage::Closing { term } => {
                self.over(term, now);
                self.out.push(Effect::Send { to: from, message: SingletonMessage::Closed { term } });
            }
            SingletonMessage::NotHere { hint } => {
                self.hint = hint;
                if self.host() == Some(from) {
                    self.lose(now);
                }
            }
            _ => {}
        }
    }

    fn over(&mut self, term: u64, now: Tick) {
        self.over = term.max(self.over);
        if self.host.is_some_and(|(_, term)| term <= self.over) {
            self.lose(now);
        }
    }

    fn lose(&mut self, now: Tick) {
        self.host = None;
        self.ask_at = now;
    }

    fn tell(&mut self, message: M) {
        if let Some((to, _)) = self.host {
            self.out.push(Effect::Forward { to, message });
            return;
        }
        self.waiting.push_back(message);
        if self.waiting.len() > self.capacity {
            self.out.extend(self.waiting.pop_front().map(Effect::Overflow));
        }
    }

    /// The oldest, whoever was named, and the others in turn.
    fn ask(&mut self, now: Tick) {
        if self.host.is_some() || self.ask_at > now {
            return;
        }
        let there: Vec<u64> = self.members.keys().copied().filter(|uid| self.is_there(*uid)).collect();
        let oldest = there.iter().filter_map(|uid| self.members.get(uid)).min_by(|one, two| one.by_age(two));
        let oldest = oldest.map(|member| member.node.uid);
        let next = there.partition_point(|uid| *uid <= self.asked);
        let in_turn = there.iter().cycle().skip(next).take(there.len()).copied();
        let hint = self.hint.filter(|hint| there.contains(hint));
        let mut asked: Vec<u64> = Vec::new();
        for uid in oldest.into_iter().chain(hint).chain(in_turn) {
            if asked.len() < ASKED_AT_ONCE && !asked.contains(&uid) {
                asked.push(uid);
            }
        }
        self.asked = asked.last().copied().unwrap_or_default();
        for uid in asked {
            self.out.push(Effect::Send { to: uid, message: SingletonMessage::WhoHosts });
            self.ask_at = now + ASK_AGAIN;
        }
    }
}
