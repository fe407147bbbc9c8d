//! [`Manager`]: on each candidate, when to start the instance and when to stop it.

use super::{HostChoice, message::SingletonMessage, tokens::Tokens};
use crate::member::{Member, MemberStatus};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How often a token is asked for.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// After so many times without it somebody is told.
const STUCK_AFTER: u32 = 15;
/// How long an instance may be frozen before it is stopped.
const FROZEN_MAX: Duration = Duration::from_secs(5);
/// How long an instance may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(8);
/// When a term that was not to be had is asked for again.
const TERM_AGAIN: Duration = Duration::from_secs(5);
/// How soon an instance that ended by itself is started again: at first, and at most.
const START_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

#[derive(Clone, Debug)]
pub(super) enum Input {
    /// All members that may host, as this node knows them now, and those of which it learned just now that they are
    /// removed, each with when it has certainly stopped.
    Members {
        members: Vec<Member>,
        removed: Vec<(u64, Tick)>,
    },
    Message {
        from: u64,
        message: SingletonMessage,
    },
    /// Until when this node may serve what it hosts.
    HostUntil(Option<Tick>),
    /// It never may again.
    HostingEnded,
    /// Answers the last [`Effect::GetTerm`].
    Term(u64),
    /// So does this: it is not to be had now.
    NoTerm,
    /// The right to the term was taken away.
    TermLost,
    /// The instance has stopped.
    Stopped,
    Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Send {
        to: u64,
        message: SingletonMessage,
    },
    /// To all members, whether they may host or not.
    Tell(SingletonMessage),
    /// Above all that were there before, and at least the floor.
    GetTerm {
        floor: u64,
    },
    /// It is not needed any more.
    DropTerm,
    Start {
        term: u64,
    },
    /// Nothing may reach the instance.
    Freeze,
    Thaw,
    /// When it has what is under way to it. Answered by [`Input::Stopped`], as is the next.
    Stop,
    /// Without.
    Kill,
    /// This node hosts nothing, never will again, and its successor knows.
    HandedOver,
    /// These do not give their tokens.
    Stuck {
        waiting_for: BTreeSet<u64>,
    },
}

#[derive(Debug)]
enum Run {
    Idle,
    WantsTerm,
    Runs { term: u64, frozen: bool, end: End },
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    No,
    Stopping { since: Tick },
    Killed,
}

/// One candidate's part in one singleton.
pub(super) struct Manager {
    name: Arc<str>,
    choice: HostChoice,
    me: u64,
    members: BTreeMap<u64, Member>,
    tokens: Tokens,
    run: Run,
    host_until: Option<Tick>,
    ended: bool,
    /// The highest term it has heard of, and whose it is, if that is not over.
    term: u64,
    host: Option<u64>,
    /// The term of `host`: somebody may have told of a higher one, and not whose it is.
    hosted_in: u64,
    /// The highest term that is over.
    over: u64,
    /// That the last one here is over is told until somebody is heard to have the next.
    over_again: Option<Tick>,
    /// Who gets the token once the instance has stopped.
    promised: BTreeSet<u64>,
    /// Who has taken which version of the token.
    taken: BTreeMap<u64, u64>,
    ask_at: Tick,
    asked: u32,
    start_at: Tick,
    started_at: Tick,
    backoff: Duration,
    handed_over: bool,
    out: Vec<Effect>,
}

impl Manager {
    /// That of the life with the uid `me`, for the singleton called `name`.
    pub(super) fn new(me: u64, name: impl Into<Arc<str>>, choice: HostChoice) -> Self {
        Self {
            name: name.into(),
            choice,
            me,
            members: BTreeMap::new(),
            tokens: Tokens::default(),
            run: Run::Idle,
            host_until: None,
            ended: false,
            term: 0,
            host: None,
            hosted_in: 0,
            over: 0,
            over_again: None,
            promised: BTreeSet::new(),
            taken: BTreeMap::new(),
            ask_at: Tick::START,
            asked: 0,
            start_at: Tick::START,
            started_at: Tick::START,
            backoff: START_AGAIN.0,
            handed_over: false,
            out: Vec::new(),
        }
    }

    /// Takes `input`, at `now`, which never goes back.
    pub(super) fn step(&mut self, input: Input, now: Tick) -> Vec<Effect> {
        match input {
            Input::Members { members, removed } => self.members_changed(members, removed, now),
            Input::Message { from, message } => self.receive(from, message, now),
            Input::HostUntil(until) => self.host_until = until,
            Input::HostingEnded => self.ended = true,
            Input::Term(term) => self.start(term, now),
            Input::NoTerm if matches!(self.run, Run::WantsTerm) => {
                self.run = Run::Idle;
                self.start_at = now + TERM_AGAIN;
            }
            Input::TermLost => {
                self.kill();
                self.start_at = now + TERM_AGAIN;
            }
            Input::Stopped => self.stopped(now),
            Input::NoTerm | Input::Time => {}
        }
        self.fence(now);
        self.end_if_due(now);
        self.begin_if_due(now);
        self.check_handed_over(now);
        self.tell_over(now);
        std::mem::take(&mut self.out)
    }

    /// When to step again, if nothing happens before.
    pub(super) fn wake_at(&mut self, now: Tick) -> Option<Tick> {
        let fence = match (&self.run, self.host_until) {
            (Run::Runs { end: End::Killed, .. }, _) => None,
            (Run::Runs { frozen: false, .. }, until) => until,
            (Run::Runs { frozen: true, .. }, until) => Some(until.unwrap_or(now) + FROZEN_MAX),
            _ => None,
        };
        let stop = match &self.run {
            Run::Runs { end: End::Stopping { since }, .. } => Some(*since + STOP_MAX),
            _ => None,
        };
        let begins = matches!(self.run, Run::Idle) && self.may_host();
        let begin = begins.then(|| {
            let missing = (!self.tokens.missing().is_empty()).then_some(self.ask_at);
            let start_at = (self.start_at > now).then_some(self.start_at);
            missing.or(self.tokens.wait_until(now).max(start_at))
        });
        [fence, stop, begin.flatten(), self.over_again].into_iter().flatten().min()
    }

    /// The term in which the instance runs here.
    pub(super) fn runs(&self) -> Option<u64> {
        match self.run {
            Run::Runs { term, .. } => Some(term),
            _ => None,
        }
    }

    fn members_changed(&mut self, members: Vec<Member>, removed: Vec<(u64, Tick)>, now: Tick) {
        let before = self.chosen();
        self.members = members.into_iter().map(|member| (member.node.uid, member)).collect();
        if let Some(mine) = self.members.get(&self.me).filter(|mine| mine.up_number.is_some()) {
            for other in self.members.values().filter(|other| other.up_number.is_some() && other.node != mine.node) {
                self.tokens.meet(other.node.uid, mine.by_age(other).is_lt());
            }
        }
        for (uid, free_at) in removed {
            self.members.remove(&uid);
            self.promised.remove(&uid);
            self.taken.remove(&uid);
            self.tokens.removed(uid, free_at);
            if self.host == Some(uid) {
                self.host = None;
                self.over(self.hosted_in);
            }
        }
        if self.chosen() != before {
            (self.ask_at, self.asked) = (now, 0);
        }
    }

    fn chosen(&self) -> Option<u64> {
        let host = if self.runs().is_some() { Some(self.me) } else { self.host };
        self.choice.of(&self.name, self.members.values(), host)
    }

    fn my_status(&self) -> Option<MemberStatus> {
        self.members.get(&self.me).map(|mine| mine.status)
    }

    fn is_chosen(&self) -> bool {
        !self.ended && self.chosen() == Some(self.me)
    }

    /// Whether it is to host, and may begin to.
    fn may_host(&self) -> bool {
        self.is_chosen() && self.my_status().is_some_and(|mine| mine.is_full() && mine != MemberStatus::Leaving)
    }

    fn receive(&mut self, from: u64, message: SingletonMessage, now: Tick) {
        match message {
            SingletonMessage::Ask => self.asked_by(from, now),
            SingletonMessage::InProgress => self.asked = 0,
            SingletonMessage::Give { passed, wait_ms, term } => {
                if self.tokens.knows(from) {
                    self.tokens.take(from, passed, Duration::from_millis(wait_ms), now);
                    self.term = self.term.max(term);
                    self.send(from, SingletonMessage::Took { passed });
                }
            }
            SingletonMessage::Took { passed } => {
                let taken = self.taken.entry(from).or_default();
                *taken = passed.max(*taken);
            }
            SingletonMessage::WhoHosts => {
                let answer = match self.runs() {
                    Some(term) => SingletonMessage::Hosting { term },
                    None => SingletonMessage::NotHere { hint: self.host },
                };
                self.send(from, answer);
            }
            // Nobody whom it asked for a term has heard of that one. Whoever has would not follow it.
            SingletonMessage::Hosting { term } if term < self.over => {
                self.send(from, SingletonMessage::Over { term: self.over });
            }
            SingletonMessage::Hosting { term } => self.hosted(from, term),
            SingletonMessage::Over { term } => {
                self.over(term);
                if self.runs().is_some_and(|mine| mine < term) {
                    self.stop(now); // and begins again, in a higher one
                }
            }
            SingletonMessage::Closing { .. } | SingletonMessage::Closed { .. } | SingletonMessage::NotHere { .. } => {}
        }
    }

    fn hosted(&mut self, by: u64, term: u64) {
        if term >= self.term && term > self.over {
            (self.term, self.hosted_in, self.host) = (term, term, Some(by));
            self.over_again = None;
        }
    }

    fn over(&mut self, term: u64) {
        self.over = term.max(self.over);
        if self.over >= self.term {
            (self.term, self.host) = (self.over, None);
        }
    }

    fn asked_by(&mut self, other: u64, now: Tick) {
        if !self.tokens.knows(other) {
            return;
        }
        // Whoever asks knows more of the members than this node, or less: the next news says which.
        let has_it = !self.tokens.missing().contains(&other);
        match self.runs() {
            Some(term) if has_it && self.is_chosen_to_stay() => self.send(other, SingletonMessage::Hosting { term }),
            Some(_) if has_it => {
                self.promised.insert(other);
                self.stop(now);
                self.send(other, SingletonMessage::InProgress);
            }
            None if has_it && self.is_chosen() => {}
            _ => self.give(other, now),
        }
    }

    fn is_chosen_to_stay(&self) -> bool {
        self.is_chosen() && matches!(self.run, Run::Runs { end: End::No, .. })
    }

    /// Only while nothing runs here.
    fn give(&mut self, other: u64, now: Tick) {
        if matches!(self.run, Run::WantsTerm) {
            self.run = Run::Idle;
            self.out.push(Effect::DropTerm);
        }
        let wait = self.tokens.wait_until(now).map_or(Duration::ZERO, |until| until - now);
        if let Some(passed) = self.tokens.give(other) {
            // Never less than it is.
            let wait_ms =
                u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(u64::from(!wait.is_zero()));
            self.send(other, SingletonMessage::Give { passed, wait_ms, term: self.term });
        }
    }

    fn begin_if_due(&mut self, now: Tick) {
        if !matches!(self.run, Run::Idle) || !self.may_host() {
            return;
        }
        let missing = self.tokens.missing();
        if missing.is_empty() {
            let valid = self.host_until.is_some_and(|until| now < until);
            if valid && now >= self.start_at && self.tokens.wait_until(now).is_none() {
                self.run = Run::WantsTerm;
                self.out.push(Effect::GetTerm { floor: self.term.saturating_add(1) });
            }
        } else if self.ask_at <= now {
            missing.iter().for_each(|uid| self.out.push(Effect::Send { to: *uid, message: SingletonMessage::Ask }));
            self.ask_at = now + ASK_AGAIN;
            self.asked += 1;
            if self.asked.is_multiple_of(STUCK_AFTER) {
                self.out.push(Effect::Stuck { waiting_for: missing });
            }
        }
    }

    fn start(&mut self, term: u64, now: Tick) {
        if !matches!(self.run, Run::WantsTerm) {
            return;
        }
        let valid = self.host_until.is_some_and(|until| now < until);
        // It may have met others meanwhile, and they are younger; or gone are some that it did not know to be.
        if !self.may_host() || !valid || !self.tokens.missing().is_empty() || self.tokens.wait_until(now).is_some() {
            self.run = Run::Idle;
            self.out.push(Effect::DropTerm);
            return;
        }
        self.hosted(self.me, term);
        self.started_at = now;
        self.run = Run::Runs { term, frozen: false, end: End::No };
        self.out.push(Effect::Start { term });
        self.out.push(Effect::Tell(SingletonMessage::Hosting { term }));
    }

    /// Past the deadline nothing may reach the instance, and if that does not change soon it ends.
    fn fence(&mut self, now: Tick) {
        let Run::Runs { frozen, end, .. } = &mut self.run else {
            return;
        };
        let valid = !self.ended && self.host_until.is_some_and(|until| now < until);
        if valid == *frozen && *end != End::Killed {
            *frozen = !valid;
            self.out.push(if valid { Effect::Thaw } else { Effect::Freeze });
        }
        let overdue = self.host_until.is_none_or(|until| now >= until + FROZEN_MAX);
        if !valid && (overdue || self.ended) {
            self.kill();
        }
    }

    fn end_if_due(&mut self, now: Tick) {
        match &self.run {
            Run::Runs { end: End::No, .. } if !self.is_chosen() => self.stop(now),
            Run::Runs { end: End::Stopping { since }, .. } if now >= *since + STOP_MAX => self.kill(),
            Run::WantsTerm if !self.may_host() => {
                self.run = Run::Idle;
                self.out.push(Effect::DropTerm);
            }
            _ => {}
        }
    }

    fn stop(&mut self, now: Tick) {
        if let Run::Runs { end: end @ End::No, .. } = &mut self.run {
            *end = End::Stopping { since: now };
            self.out.push(Effect::Stop);
        }
    }

    fn kill(&mut self) {
        if let Run::Runs { end, .. } = &mut self.run
            && *end != End::Killed
        {
            *end = End::Killed;
            self.out.push(Effect::Kill);
        }
    }

    fn stopped(&mut self, now: Tick) {
        let Run::Runs { term, ref end, .. } = self.run else {
            return;
        };
        if *end == End::No {
            // By itself.
            let long = now - self.started_at > START_AGAIN.1;
            let backoff = if long { START_AGAIN.0 } else { self.backoff };
            self.start_at = now + backoff;
            self.backoff = (backoff * 2).min(START_AGAIN.1);
        }
        self.run = Run::Idle;
        self.over(term);
        self.out.push(Effect::DropTerm);
        self.over_again = Some(now);
        self.tell_over(now);
        let successor = self.chosen().filter(|chosen| *chosen != self.me);
        let promised = std::mem::take(&mut self.promised);
        for other in promised.into_iter().chain(successor).collect::<BTreeSet<u64>>() {
            if self.tokens.knows(other) {
                self.give(other, now);
            }
        }
    }

    fn tell_over(&mut self, now: Tick) {
        if self.over_again.is_some_and(|at| at <= now) {
            self.over_again = matches!(self.run, Run::Idle | Run::WantsTerm).then_some(now + ASK_AGAIN);
            self.out.push(Effect::Tell(SingletonMessage::Over { term: self.over }));
        }
    }

    fn check_handed_over(&mut self, now: Tick) {
        if self.handed_over || !matches!(self.run, Run::Idle) || self.my_status() != Some(MemberStatus::Exiting) {
            return;
        }
        let knows = match self.chosen().filter(|successor| self.tokens.knows(*successor)) {
            Some(successor) => {
                if !self.tokens.missing().contains(&successor) {
                    self.give(successor, now);
                }
                let passed = self.tokens.passed(successor).unwrap_or_default();
                passed == 0 || self.taken.get(&successor) == Some(&passed)
            }
            None => true,
        };
        if knows {
            self.handed_over = true;
            self.out.push(Effect::HandedOver);
        }
    }

    fn send(&mut self, to: u64, message: SingletonMessage) {
        self.out.push(Effect::Send { to, message });
    }
}
