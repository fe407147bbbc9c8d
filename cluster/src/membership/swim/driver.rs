//! [`Swim`]: foca with what it leaves to its driver.
//!
//! # Time
//! foca is told what time it is by alarms alone, so they must come in order and after what had arrived by then: an answer
//! that lies in the inbox is no missing answer. [`Swim::turn`] keeps that order. A driver that could not run for a while
//! puts off all alarms by as long: to be out for three seconds gives nobody else three seconds to contradict.
//!
//! # Being alone
//! With nobody left foca stops altogether, and would stay alone for ever. So from the start, and whenever it is not
//! [connected](News::Connected), this node knocks at the doors of all seeds and of all addresses where somebody was in the
//! last 24 hours: at once, a second later, and then after twice as long each time, up to 15 seconds.
//!
//! # Going on under the next generation
//! Who learns that it was given up goes on as the next generation of the same life: [`News::Renewed`]. That is no restart.
//! It is not connected then until somebody has answered to the new name. If nobody has by the time that this node knocks
//! again, those that it knew are probed all the same: they may be gone, and nothing else would show it.
//!
//! If that generation is given up at once, too (as one is that others take for the earlier of two lives at its address),
//! this node waits before it believes it: a second, and twice as long each time, up to 15 seconds. Else it and the others
//! would answer each other as fast as they can.

use super::{
    codec::{self, Codec},
    contacts::{Contacts, KNOWN_MAX},
    health::Health,
    hints::{self, Hints, NewHints},
    identity::Identity,
    seal::{Dropped, KeyRing, Seal},
    settings::{DATAGRAM_MAX, InvalidSettings, LARGE, Settings},
    timers::{Alarm, Timers},
};
use crate::testkit::planted::{Bug, is_planted};
use crate::{
    member::{Address, UniqueAddress},
    membership::table::Digest,
    rng::Rng,
};
use actors::Tick;
use bytes::Bytes;
use foca::{Error, Foca, Identity as _, Notification, OwnedNotification, Timer};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What is to be done, in order.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Effects {
    /// Datagrams to send, as they are.
    pub(crate) send: Vec<(Address, Bytes)>,
    /// What this node has learnt.
    pub(crate) news: Vec<News>,
}

/// What a node learns about who is alive. Told again, it means the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is there.
    Alive(Identity),
    /// It was given up, by somebody. Told only of one that was alive.
    Unreachable(Identity),
    /// Another life has begun at this address, so the old one is over. Whether the new one is alive is told apart.
    Replaced {
        /// The life that is over.
        old: Identity,
        /// That which has begun.
        new: Identity,
    },
    /// Somebody is there.
    Connected,
    /// Nobody is there any more.
    Alone,
    /// This node was given up and goes on as this generation. It is not connected until that is told again.
    Renewed(u16),
    /// This node was given up and there is no further generation: only another life can go on.
    Defunct,
}

/// Finds out who is alive. The same seed and the same inputs make the same effects.
pub(crate) struct Swim {
    foca: Foca<Identity, Codec, Rng, Hints>,
    world: World,
    settings: Settings,
    is_large: bool,
    contacts: Contacts,
    state: State,
    /// How long after this knock the next one comes.
    patience: Duration,
    /// When this node was renewed last, and for how long afterwards it does not believe that it was given up again.
    renewed: Option<(Tick, Duration)>,
    dropped: BTreeMap<Dropped, u64>,
    hints: NewHints,
    hinted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alone,
    Connected,
    Left,
}

const KNOCK_FIRST: Duration = Duration::from_secs(1);
const KNOCK_LAST: Duration = Duration::from_secs(15);

/// For how long a generation must have lived for the next one to be believed at once that it was given up.
const CALM: Duration = Duration::from_secs(60);

/// From how many addresses on, those that are down included, nobody new is taken up.
const MEMBERS_MAX: usize = KNOWN_MAX;

impl Swim {
    /// A node that knocks at the doors of its seeds when time first passes.
    ///
    /// # Errors
    /// The settings do not go together.
    pub(crate) fn new(identity: Identity, settings: Settings, rng: Rng, now: Tick) -> Result<Self, InvalidSettings> {
        settings.validate()?;
        let seal = Seal::new(settings.cluster.clone(), identity.uid, settings.keys.clone());
        let hints = NewHints::default();
        let handler = Hints::new(identity.uid, Arc::clone(&hints));
        let mut swim = Self {
            contacts: Contacts::new(identity.address.clone(), settings.seeds.iter().cloned()),
            world: World {
                own: identity.address.clone(),
                now,
                timers: Timers::default(),
                health: Health::new(now),
                seal,
                incarnation: 0,
                suspected: false,
                contradicted: 0,
                send: Vec::new(),
                notes: Vec::new(),
            },
            foca: Foca::with_custom_broadcast(identity, settings.foca(false), rng, Codec, handler),
            settings,
            is_large: false,
            state: State::Alone,
            patience: KNOCK_FIRST,
            renewed: None,
            dropped: BTreeMap::new(),
            hints,
            hinted: 0,
        };
        swim.world.timers.set(now, Alarm::Knock);
        Ok(swim)
    }

    /// One turn: takes in all that has arrived, then lets time pass.
    pub(crate) fn turn<D: AsRef<[u8]>>(&mut self, inbox: impl IntoIterator<Item = D>, now: Tick) -> Effects {
        let mut news = Vec::new();
        if self.late(now) > Health::LATE {
            // Whoever stood still for long may well have been given up again meanwhile.
            self.renewed = None;
        }
        for datagram in inbox {
            self.take_in(datagram.as_ref(), now, &mut news);
        }
        self.pass(now, &mut news);
        self.effects(news)
    }

    /// Takes in one datagram. One that is none of ours is counted and dropped.
    #[cfg(test)]
    pub(crate) fn datagram(&mut self, datagram: &[u8], now: Tick) -> Effects {
        let mut news = Vec::new();
        self.take_in(datagram, now, &mut news);
        self.effects(news)
    }

    /// When time must pass next.
    pub(crate) fn due(&self) -> Option<Tick> {
        self.world.timers.first()
    }

    /// Lets time pass until `now`. All that has arrived must have been taken in before.
    pub(crate) fn time(&mut self, now: Tick) -> Effects {
        let mut news = Vec::new();
        self.pass(now, &mut news);
        self.effects(news)
    }

    /// Knocks at the door of whoever is at `address`, once, and remembers it for when nobody else is there.
    pub(crate) fn announce(&mut self, address: &Address, now: Tick) -> Effects {
        self.world.now = now;
        let mut news = Vec::new();
        if self.state != State::Left {
            self.contacts.seen(address, now);
            self.knock_at(address.clone());
            self.learn(&mut news);
        }
        self.effects(news)
    }

    /// Has the others give this node up at once. Nothing else happens here from then on.
    pub(crate) fn leave(&mut self, now: Tick) -> Effects {
        self.world.now = now;
        let mut news = Vec::new();
        if self.state != State::Left {
            self.state = State::Left;
            // Told to a few at random, so three times: news of one's own death that is lost is told by nobody else.
            let _ = self.foca.leave_cluster(&mut self.world);
            let _ = self.foca.gossip(&mut self.world);
            let _ = self.foca.gossip(&mut self.world);
            self.learn(&mut news);
            // Whoever is told that it was given up would go on as the next generation.
            self.world.timers = Timers::default();
        }
        self.effects(news)
    }

    /// Goes on as a life that began after `start`, which is that of another life at this address: one that is over, but
    /// whose clock was ahead, so that nobody takes this one for the later. Does nothing if this one is the later already.
    pub(crate) fn outlive(&mut self, start: u64, now: Tick) -> Effects {
        self.world.now = now;
        let mut news = Vec::new();
        let own = self.foca.identity();
        if self.state != State::Left
            && own.start <= start
            && let Some(start) = start.checked_add(1)
        {
            let next = Identity { start, generation: 0, ..own.clone() };
            self.world.timers.disconnected();
            let _ = self.foca.change_identity(next.clone(), &mut self.world);
            self.world.notes.push(OwnedNotification::Rejoin(next));
            self.learn(&mut news);
        }
        self.effects(news)
    }

    /// Has the word carried along that this node's table is another one now.
    pub(crate) fn hint(&mut self, digest: Digest) {
        self.hinted += 1;
        let item = hints::item(self.foca.identity(), self.hinted, digest);
        // It always fits, and the handler refuses nothing of this node's.
        let _ = self.foca.add_broadcast(&item);
    }

    /// Whose tables have changed, as was heard since this was asked last.
    pub(crate) fn take_hints(&mut self) -> Vec<(UniqueAddress, Digest)> {
        std::mem::take(&mut *self.hints.lock())
    }

    /// Goes on with other keys.
    pub(crate) fn rotate(&mut self, keys: KeyRing) {
        self.world.seal.rotate(keys);
    }

    /// By which name the others know this node now.
    pub(crate) fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// Those that are there.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Identity> {
        self.foca.iter_members().map(foca::Member::id)
    }

    /// Another life at this node's own address that others have told of. It is over, or another process has the address; if
    /// it is the later one the others listen to it alone, until this life [outlives](Self::outlive) it.
    pub(crate) fn rival(&self) -> Option<&Identity> {
        let own = self.identity();
        let mut known = self.foca.iter_membership_state().map(foca::Member::id);
        known.find(|other| other.address == own.address && other.uid != own.uid)
    }

    #[cfg(test)]
    pub(crate) fn health(&self) -> Health {
        self.world.health
    }

    /// Whether this node may say of others that it cannot reach them, or is sick itself.
    pub(crate) fn may_accuse(&self, now: Tick) -> bool {
        self.world.health.may_accuse(self.settings.probe_period, now)
    }

    /// How many news wait to be passed on. If it only grows, names change too often.
    pub(crate) fn backlog(&self) -> usize {
        self.foca.updates_backlog()
    }

    /// How often each news is passed on now.
    #[cfg(test)]
    pub(crate) fn transmissions(&self) -> u8 {
        self.settings.transmissions(self.is_large).get()
    }

    /// How many alarms are set.
    #[cfg(test)]
    pub(crate) fn alarms(&self) -> usize {
        self.world.timers.len()
    }

    /// How often others said that this node is gone, and it had to contradict.
    pub(crate) fn contradicted(&self) -> u64 {
        self.world.contradicted
    }

    /// How many datagrams were dropped, by reason.
    pub(crate) fn dropped(&self) -> &BTreeMap<Dropped, u64> {
        &self.dropped
    }

    /// When somebody will be given up first, as things stand.
    #[cfg(test)]
    pub(super) fn verdict(&self) -> Option<Tick> {
        self.world.timers.verdict()
    }

    fn effects(&mut self, news: Vec<News>) -> Effects {
        Effects { send: std::mem::take(&mut self.world.send), news }
    }

    fn take_in(&mut self, datagram: &[u8], now: Tick, news: &mut Vec<News>) {
        self.world.now = now;
        if let Err(dropped) = self.try_take_in(datagram) {
            *self.dropped.entry(dropped).or_default() += 1;
        }
        self.learn(news);
    }

    fn try_take_in(&mut self, datagram: &[u8]) -> Result<(), Dropped> {
        if self.state == State::Left {
            return Err(Dropped::Left);
        }
        if datagram.len() > DATAGRAM_MAX {
            return Err(Dropped::Malformed);
        }
        let message = self.world.seal.open(datagram, self.world.now)?;
        let doubts = self.renewed.is_some_and(|(at, doubt)| self.world.now < at + doubt);
        if doubts && codec::says_given_up(&message) {
            return Err(Dropped::Doubted);
        }
        if self.foca.iter_membership_state().len() >= MEMBERS_MAX {
            self.only_of_known(&message)?;
        }
        self.tell_of_later_life(&message);
        self.foca.handle_data(&message, &mut self.world).map_err(|error| match error {
            Error::DataFromOurselves => Dropped::Own,
            _ => Dropped::Malformed,
        })
    }

    /// Who comes from an address where a later life was heard of would only be told that it is given up, again and again. It
    /// is told of that life too: if its clock is behind, it can outlive it.
    fn tell_of_later_life(&mut self, message: &[u8]) {
        let Ok(from) = codec::sender(message) else { return };
        let later = |member: &&foca::Member<Identity>| {
            let known = member.id();
            known.address == from.address && known.uid != from.uid && known.win_addr_conflict(&from)
        };
        let Some(later) = self.foca.iter_membership_state().find(later).cloned() else { return };
        let incarnation = self.world.incarnation;
        if let Some(told) = codec::gossip_of(self.foca.identity(), incarnation, &from, &later) {
            self.world.send.push((from.address, self.world.seal.close(&told)));
        }
    }

    /// Refuses what would have one more address to remember.
    fn only_of_known(&self, message: &[u8]) -> Result<(), Dropped> {
        let named = codec::named(message).map_err(|_| Dropped::Malformed)?;
        let known: BTreeSet<_> = self.foca.iter_membership_state().map(|member| &member.id().address).collect();
        let all_known = named.iter().all(|named| known.contains(&named.address));
        if all_known { Ok(()) } else { Err(Dropped::Crowded) }
    }

    /// How long ago time should have passed.
    fn late(&self, now: Tick) -> Duration {
        self.due().map_or(Duration::ZERO, |due| now - due)
    }

    fn pass(&mut self, now: Tick, news: &mut Vec<News>) {
        self.world.now = now;
        let late = self.late(now);
        if late > Health::LATE && !is_planted(Bug::TimeFirst) {
            self.world.health.worse();
            self.world.timers.postpone(late);
        }
        while let Some(alarm) = self.world.timers.pop(now) {
            match alarm {
                Alarm::Foca(Timer::ProbeRandomMember(token)) => self.probe(token),
                // Errors tell of nothing that was not noticed where it happened.
                Alarm::Foca(timer) => drop(self.foca.handle_timer(timer, &mut self.world)),
                Alarm::Knock => self.knock(),
            }
            self.learn(news);
        }
    }

    /// Ends one round of probing and begins the next.
    fn probe(&mut self, token: foca::TimerToken) {
        self.world.suspected = false;
        match self.foca.handle_timer(Timer::ProbeRandomMember(token), &mut self.world) {
            Ok(()) if !self.world.suspected => self.world.health.clean(self.world.now),
            Err(Error::IncompleteProbeCycle) => self.world.health.worse(),
            _ => {}
        }
    }

    /// Knocks at all doors, and sets the alarm for the next time.
    fn knock(&mut self) {
        let now = self.world.now;
        let is_silent = is_planted(Bug::SilentWhenAlone);
        let unheard = self.renewed.is_some_and(|(at, doubt)| now > at + doubt);
        if unheard && self.state == State::Alone && self.foca.num_members() > 0 && !is_silent {
            // Has foca look at whom it knows, and begin to probe.
            let _ = self.foca.apply_many(std::iter::empty(), false, &mut self.world);
        }
        for address in self.contacts.doors(now) {
            if is_silent {
                break;
            }
            self.knock_at(address);
        }
        self.world.timers.set(now + self.patience, Alarm::Knock);
        self.patience = (self.patience * 2).min(KNOCK_LAST);
    }

    fn knock_at(&mut self, address: Address) {
        // A header always fits, so there is nothing to go wrong.
        let _ = self.foca.announce(Identity::whoever(address), &mut self.world);
    }

    /// Makes news of what foca has told since.
    fn learn(&mut self, news: &mut Vec<News>) {
        if self.world.notes.is_empty() {
            return;
        }
        self.follow_members();
        let mut notes = std::mem::take(&mut self.world.notes).into_iter().peekable();
        while let Some(note) = notes.next() {
            match note {
                OwnedNotification::MemberUp(who) if who.address != self.world.own => {
                    self.contacts.seen(&who.address, self.world.now);
                    news.push(News::Alive(who));
                }
                OwnedNotification::MemberDown(who) if who.address != self.world.own => {
                    self.contacts.seen(&who.address, self.world.now);
                    news.push(News::Unreachable(who));
                }
                OwnedNotification::Rename(old, new) if new.address != self.world.own => {
                    if old.uid != new.uid {
                        news.push(News::Replaced { old, new: new.clone() });
                    }
                    // What has become of it is told next, but if it is what it was.
                    let told = matches!(
                        notes.peek(),
                        Some(OwnedNotification::MemberUp(who) | OwnedNotification::MemberDown(who)) if *who == new
                    );
                    if !told {
                        // It may have been dead before anybody told this node that it was there.
                        let is_there = self.foca.iter_members().any(|member| *member.id() == new);
                        news.push(if is_there { News::Alive(new) } else { News::Unreachable(new) });
                    }
                }
                OwnedNotification::Active => self.connected(news),
                OwnedNotification::Idle => self.alone(news),
                OwnedNotification::Rejoin(as_now) => self.renewed(&as_now, news),
                OwnedNotification::Defunct if self.state != State::Left => news.push(News::Defunct),
                // Of this node's own address, or of itself after it has left.
                _ => {}
            }
        }
    }

    /// News needs more who pass it on where there are many to hear it. What is on its way already is passed on as before.
    fn follow_members(&mut self) {
        let is_large = self.foca.num_members() + 1 >= LARGE;
        // Refused only for other times between probes.
        if is_large != self.is_large && self.foca.set_config(self.settings.foca(is_large)).is_ok() {
            self.is_large = is_large;
        }
    }

    fn connected(&mut self, news: &mut Vec<News>) {
        self.state = State::Connected;
        self.patience = KNOCK_FIRST;
        self.world.timers.no_knock();
        news.push(News::Connected);
    }

    fn alone(&mut self, news: &mut Vec<News>) {
        self.state = State::Alone;
        self.patience = KNOCK_FIRST;
        self.world.timers.set(self.world.now, Alarm::Knock);
        news.push(News::Alone);
    }

    fn renewed(&mut self, as_now: &Identity, news: &mut Vec<News>) {
        self.world.incarnation = 0;
        self.world.contradicted += 1;
        // Others that are alive were last noted when they came.
        for member in self.foca.iter_members() {
            self.contacts.seen(&member.id().address, self.world.now);
        }
        let now = self.world.now;
        let doubt = match self.renewed {
            Some((before, doubt)) if now < before + CALM => (doubt * 2).min(KNOCK_LAST),
            _ => KNOCK_FIRST,
        };
        self.renewed = Some((now, doubt));
        // Somebody is there, so there will soon be more of them.
        self.patience = KNOCK_FIRST;
        self.world.timers.set(now + doubt, Alarm::Knock);
        self.state = State::Alone;
        news.push(News::Renewed(as_now.generation));
    }
}

/// What foca acts on.
struct World {
    own: Address,
    now: Tick,
    timers: Timers,
    health: Health,
    seal: Seal,
    /// What was last sent as this node's own.
    incarnation: u16,
    /// Whether a suspect was found.
    suspected: bool,
    /// How often this node contradicted that it is dead.
    contradicted: u64,
    send: Vec<(Address, Bytes)>,
    notes: Vec<OwnedNotification<Identity>>,
}

impl foca::Runtime<Identity> for World {
    fn notify(&mut self, note: Notification<'_, Identity>) {
        if matches!(note, Notification::Idle | Notification::Defunct | Notification::Rejoin(_)) {
            self.timers.disconnected();
        }
        self.notes.push(note.to_owned());
    }

    fn send_to(&mut self, to: Identity, message: &[u8]) {
        if to.address == self.own {
            return;
        }
        // Raised: this node has just contradicted that it is dead.
        if let Some(incarnation) = codec::incarnation(message).filter(|sent| *sent > self.incarnation) {
            self.incarnation = incarnation;
            self.contradicted += 1;
            self.health.worse();
        }
        self.send.push((to.address, self.seal.close(message)));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        self.suspected |= matches!(timer, Timer::ChangeSuspectToDown { .. });
        let times = match timer {
            Timer::ProbeRandomMember(_) | Timer::SendIndirectProbe { .. } | Timer::ChangeSuspectToDown { .. } => {
                self.health.factor()
            }
            _ => 1,
        };
        self.timers.set(self.now + after * times, Alarm::Foca(timer));
    }
}
