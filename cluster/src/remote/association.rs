//! [`Association`]: what goes to and comes from one address, and the life that is behind it.
//!
//! Each lane has a queue and a connection of its own, made when there is something to send. System messages wait until
//! they are acknowledged, across connections; all others are sent once, and are dropped when there is no room or nobody
//! answers. When another life takes the address, what was meant for the old one is dropped.

use super::{
    dropped::{DropReason, Dropped},
    lane_queue::{LaneQueue, Outgoing, Room},
    message::{Message, Unwritten},
    rival::{Rival, Rivals},
    system_messages::{ControlFrame, GaveUp, SYSTEM_HEAD, SystemReceiver, SystemSender},
    transport::Lane,
};
use crate::member::{Address, UniqueAddress};
use crate::testkit::planted::{Bug, is_planted};
use actors::Tick;
use bytes::Bytes;
use std::time::Duration;

/// How long after an attempt to connect failed the next is made.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When nobody answered for so long what waits is dropped, system messages excepted.
pub(crate) const UNREACHABLE_AFTER: Duration = Duration::from_secs(20);

/// Connections over which nothing went for so long are closed.
pub(crate) const IDLE_AFTER: Duration = Duration::from_secs(5 * 60);

/// A life that nothing came from or went to for so long is given up, unless it is a member's.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(6 * 3600);

const MIB: usize = 1024 * 1024;

impl Lane {
    /// What may wait for it, per node.
    fn room(self) -> Room {
        match self {
            Self::Control => Room { count: 20_000, bytes: 64 * MIB },
            Self::Ordinary => Room { count: 3072, bytes: 64 * MIB },
            Self::Large => Room { count: 256, bytes: 64 * MIB },
        }
    }

    /// Bytes of a message.
    pub(crate) fn message_max(self) -> usize {
        match self {
            Self::Control => self.frame_max() - SYSTEM_HEAD,
            Self::Ordinary | Self::Large => self.frame_max(),
        }
    }
}

/// Why nothing passes to a life any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ended {
    /// Not quarantined: it is simply over.
    #[error("{0} took its address")]
    Replaced(UniqueAddress),
    /// Somebody else answered there.
    #[error("another life is behind its address")]
    NotThere,
    #[error("quarantined: {0}")]
    GaveUp(#[from] GaveUp),
    #[error("quarantined: messages of the control lane overflowed")]
    Overflow,
    #[error("quarantined: nothing came or went for 6 h")]
    Idle,
    #[error("quarantined: its frames are none")]
    Malformed,
    #[error("quarantined: it was removed")]
    Removed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Connect, and make a handshake; tell how it ended.
    Dial { to: Address, life: Option<u64>, lane: Lane },
    /// There is something to take for this connection, again.
    Ready { to: Address, lane: Lane },
    /// Close this node's connection to there, or stop trying.
    Hang { to: Address, lane: Lane },
    /// Close all connections that life made to this node.
    HangUpOn(UniqueAddress),
    /// A message came. System messages come once and in order.
    Deliver { from: UniqueAddress, lane: Lane, system: bool, message: Bytes },
    /// This life is behind the address now.
    Began(UniqueAddress),
    /// Nothing passes to or from that life any more, for good: all that was watched there is gone.
    Ended { node: UniqueAddress, why: Ended },
    /// So many messages to or from there were dropped.
    Dropped { peer: Address, reason: DropReason, count: usize },
}

/// Where this node's connection of a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// Since when nobody answers, and if no attempt is on its way when the next is made.
    Trying {
        since: Tick,
        next: Option<Tick>,
    },
    /// `told`: it was said that there is something to take, and not all was taken.
    Up {
        told: bool,
    },
}

#[derive(Debug)]
struct LaneState {
    lane: Lane,
    queue: LaneQueue,
    link: Link,
}

/// Which life is behind the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Unknown,
    /// There is something for this one; nobody was met yet.
    Expected(u64),
    /// It was met, or is a member.
    Met(u64),
}

impl Life {
    pub(crate) fn uid(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Expected(uid) | Self::Met(uid) => Some(uid),
        }
    }
}

/// One address, from this node's side.
#[derive(Debug)]
pub(crate) struct Association {
    peer: Address,
    life: Life,
    lanes: [LaneState; 3],
    system: SystemSender,
    received: SystemReceiver,
    is_member: bool,
    /// A time by which this life had begun, if it was heard of by a handshake and not in the table alone.
    begun_by: Option<Tick>,
    rivals: Rivals,
    /// When an attempt to connect may be given up for another that decides about more rivals: not all the time.
    ask_again: Tick,
    used: Tick,
    dropped: Dropped,
}

impl Association {
    pub(crate) fn new(peer: Address, now: Tick) -> Self {
        Self {
            peer,
            life: Life::Unknown,
            lanes: Lane::ALL.map(|lane| LaneState { lane, queue: LaneQueue::new(lane.room()), link: Link::Down }),
            system: SystemSender::default(),
            received: SystemReceiver::default(),
            is_member: false,
            begun_by: None,
            rivals: Rivals::default(),
            ask_again: Tick::START,
            used: now,
            dropped: Dropped::default(),
        }
    }

    pub(crate) fn life(&self) -> Life {
        self.life
    }

    pub(crate) fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    pub(crate) fn set_member(&mut self, is_member: bool) {
        self.is_member = is_member;
    }

    /// The life that was met shook hands, and had begun by `then`. The first time says most: later ones may be of a hello that
    /// came late.
    pub(super) fn shook_hands(&mut self, then: Tick) {
        self.begun_by.get_or_insert(then);
    }

    /// Whether one that dialled may be over although it was let in: another was met, and since that one began it has
    /// `answered` nothing.
    pub(super) fn is_doubtful(&self, uid: u64, answered: Option<Tick>) -> bool {
        let other = matches!(self.life, Life::Met(met) if met != uid);
        other && self.begun_by.is_some_and(|begun| answered.is_none_or(|since| since < begun))
    }

    /// Whether it was there itself, which counts for more than that a table has another life at its address.
    pub(super) fn is_proven(&self) -> bool {
        matches!(self.life, Life::Met(_)) && self.begun_by.is_some()
    }

    /// Those that may be behind the address in its place.
    pub(super) fn rivals(&mut self) -> &mut Rivals {
        &mut self.rivals
    }

    /// Another life may be behind the address: whoever answers a connection that is made from now on is there. Another that
    /// must be taken to be over, if there are too many.
    pub(super) fn doubt(&mut self, rival: u64, is_member: bool, now: Tick, effects: &mut Vec<Effect>) -> Option<Rival> {
        if let Some(known) = self.rivals.get_mut(rival) {
            if is_member {
                known.set_member();
            }
            return None;
        }
        let crowded_out = self.rivals.add(Rival::new(rival, is_member, SystemSender::default()));
        if self.ask_again <= now {
            self.ask(now, effects);
        }
        crowded_out
    }

    /// Begins a connection anew, that decides about all rivals there are.
    fn ask(&mut self, now: Tick, effects: &mut Vec<Effect>) {
        self.ask_again = now + RETRY_AFTER;
        let lane = Lane::Control;
        self.system.take_back();
        let since = match self.state(lane).link {
            Link::Trying { since, .. } => since,
            Link::Down | Link::Up { .. } => now,
        };
        if self.state(lane).link != Link::Down {
            effects.push(Effect::Hang { to: self.peer.clone(), lane });
        }
        self.state(lane).link = Link::Trying { since, next: None };
        effects.push(self.dial(lane));
    }

    /// Whether the life that is there may stand aside: it never answered, so nothing that must arrive was sent to it, and
    /// somebody counts on it.
    pub(super) fn may_stand_aside(&self) -> bool {
        !self.is_proven() && (self.is_member || self.system.len() > 0)
    }

    /// Another life takes the place, and this one may yet be the one that is there. Another that must be taken to be over, if
    /// there are too many.
    pub(super) fn stand_aside(&mut self) -> Option<Rival> {
        let system = std::mem::take(&mut self.system);
        self.rivals.add(Rival::new(self.life.uid()?, self.is_member, system))
    }

    /// The rival is the one behind the address, and is met or expected next: what waits for it is to be sent.
    pub(super) fn yield_to(&mut self, rival: Rival) {
        self.is_member = rival.is_member();
        self.system = rival.into_system();
    }

    /// The life as it is known to others.
    pub(crate) fn node(&self) -> Option<UniqueAddress> {
        self.life.uid().map(|uid| UniqueAddress { address: self.peer.clone(), uid })
    }

    /// How many messages wait: per lane, and of the system.
    pub(crate) fn waiting(&self) -> ([usize; 3], usize) {
        (self.lanes.each_ref().map(|state| state.queue.len()), self.system.len() + self.rivals.waiting())
    }

    /// A message to be sent once.
    ///
    /// # Errors
    /// The life is to be given up.
    pub(crate) fn send(
        &mut self,
        lane: Lane,
        outgoing: Outgoing<'_>,
        now: impl FnOnce() -> Tick,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Ended> {
        if 1 + outgoing.body.len() > lane.message_max() {
            self.drop(DropReason::TooLarge, 1, effects);
        } else if let (Life::Met(met), Some(to)) = (self.life, outgoing.to)
            && met != to
            && !is_planted(Bug::LifeUnchecked)
        {
            self.drop(DropReason::OldLife, 1, effects);
        } else if self.state(lane).queue.push(outgoing) {
            // With a connection that is told, it is noted when the frame is taken.
            if self.state(lane).link != (Link::Up { told: true }) {
                self.used = now();
                self.wake(lane, self.used, effects);
            }
        } else {
            self.drop(DropReason::LaneFull, 1, effects);
            if lane == Lane::Control && matches!(self.life, Life::Met(_)) {
                return Err(Ended::Overflow);
            }
        }
        Ok(())
    }

    /// A message to be sent until it is acknowledged, for the life that is behind the address or expected there, or for one
    /// of its rivals. It is not too large.
    ///
    /// # Errors
    /// That life is to be given up.
    pub(crate) fn send_system(
        &mut self,
        to: u64,
        message: Message,
        now: Tick,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Ended> {
        match self.rivals.get_mut(to) {
            Some(rival) => rival.send_system(message, now)?,
            None => self.system.push(message, now)?,
        }
        self.used = now;
        self.wake(Lane::Control, now, effects);
        Ok(())
    }

    /// There is something for `life` and nobody was met.
    pub(crate) fn expect(&mut self, life: u64, effects: &mut Vec<Effect>) {
        self.life = Life::Expected(life);
        // Whoever answers what was begun before may be an earlier life.
        self.dial_again(None, effects);
    }

    /// This life is behind the address.
    pub(crate) fn meet(&mut self, life: u64, effects: &mut Vec<Effect>) {
        self.life = Life::Met(life);
        let strangers = self.lanes.iter_mut().map(|state| state.queue.keep_only(life)).sum();
        self.drop(DropReason::OldLife, strangers, effects);
        effects.extend(self.node().map(Effect::Began));
    }

    /// Begins again, for the life that is there, whatever attempt to connect is on its way: but that of lane `kept`.
    pub(super) fn dial_again(&mut self, kept: Option<Lane>, effects: &mut Vec<Effect>) {
        for lane in Lane::ALL.into_iter().filter(|lane| kept != Some(*lane)) {
            if let Link::Trying { next: None, .. } = self.state(lane).link {
                effects.push(Effect::Hang { to: self.peer.clone(), lane });
                effects.push(self.dial(lane));
            }
        }
    }

    /// The life behind the address is over, and what was meant for it is dropped. What is meant for whoever is there stays
    /// if `address_stays`, and the connection of lane `kept`.
    pub(crate) fn end_life(
        &mut self,
        address_stays: bool,
        kept: Option<Lane>,
        why: DropReason,
        effects: &mut Vec<Effect>,
    ) {
        let system = std::mem::take(&mut self.system);
        self.received = SystemReceiver::default();
        self.life = Life::Unknown;
        self.begun_by = None;
        let mut count = system.len();
        for state in &mut self.lanes {
            // Uid 0 is nobody's: only what is for anybody is kept.
            count += if address_stays { state.queue.keep_only(0) } else { state.queue.clear() };
            if state.link != Link::Down && kept != Some(state.lane) {
                state.link = Link::Down;
                effects.push(Effect::Hang { to: self.peer.clone(), lane: state.lane });
            }
        }
        self.drop(why, count, effects);
    }

    /// Connects each lane that has something to send and no connection.
    pub(crate) fn wake_all(&mut self, now: Tick, effects: &mut Vec<Effect>) {
        Lane::ALL.into_iter().for_each(|lane| self.wake(lane, now, effects));
    }

    /// The connection of a lane stands.
    pub(crate) fn connected(&mut self, lane: Lane, now: Tick, effects: &mut Vec<Effect>) {
        if lane == Lane::Control {
            // What the one before carried may be lost.
            self.system.take_back();
        }
        if is_planted(Bug::DroppedUncounted) {
            self.state(lane).queue.clear();
        }
        self.state(lane).link = Link::Up { told: false };
        self.used = now;
        self.wake(lane, now, effects);
    }

    /// An attempt to connect failed, or a connection broke.
    pub(crate) fn disconnected(&mut self, lane: Lane, now: Tick, effects: &mut Vec<Effect>) {
        if lane == Lane::Control {
            self.system.take_back();
        }
        let since = match self.state(lane).link {
            Link::Down => return,
            Link::Trying { since, .. } => since,
            Link::Up { .. } => now,
        };
        if since + UNREACHABLE_AFTER <= now {
            let count = self.state(lane).queue.clear();
            self.used = now;
            self.drop(DropReason::Unreachable, count, effects);
        }
        self.state(lane).link = match self.has_more(lane) {
            true => Link::Trying { since, next: Some(now + RETRY_AFTER) },
            false => Link::Down,
        };
    }

    /// The next frames for the connection of a lane. Asked until there are none. `spare` is a buffer it has no need of.
    pub(crate) fn take(&mut self, lane: Lane, now: Tick, spare: &mut Vec<u8>) -> Option<Unwritten> {
        if !matches!(self.state(lane).link, Link::Up { .. }) {
            return None;
        }
        let system = if lane == Lane::Control { self.take_system(now) } else { None };
        let frames = system.or_else(|| self.state(lane).queue.pop(spare));
        if frames.is_some() {
            self.used = now;
        }
        self.state(lane).link = Link::Up { told: frames.is_some() };
        frames
    }

    /// A frame came from the life that was met.
    ///
    /// # Errors
    /// It is to be given up.
    pub(crate) fn arrived(
        &mut self,
        me: u64,
        lane: Lane,
        frame: Bytes,
        now: Tick,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Ended> {
        self.used = now;
        let Some(from) = self.node() else { return Ok(()) };
        if lane != Lane::Control {
            effects.push(Effect::Deliver { from, lane, system: false, message: frame });
            return Ok(());
        }
        match ControlFrame::decode(&frame) {
            Err(_) => {
                self.drop(DropReason::Malformed, 1, effects);
                return Err(Ended::Malformed);
            }
            Ok(ControlFrame::System { to, .. } | ControlFrame::Acknowledged { to, .. })
                if to != me && !is_planted(Bug::LifeUnchecked) =>
            {
                self.drop(DropReason::Stale, 1, effects);
            }
            Ok(ControlFrame::Plain(message)) => {
                effects.push(Effect::Deliver { from, lane, system: false, message });
            }
            Ok(ControlFrame::System { number, message, .. }) => {
                if self.received.take(number) {
                    effects.push(Effect::Deliver { from, lane, system: true, message });
                } else {
                    self.drop(DropReason::OutOfOrder, 1, effects);
                }
                self.wake(lane, now, effects);
            }
            Ok(ControlFrame::Acknowledged { number, .. }) => {
                if !self.system.acknowledge(number, now) {
                    self.drop(DropReason::Malformed, 1, effects);
                }
            }
        }
        Ok(())
    }

    /// Time passed. `true`: it may be forgotten, for there is nothing to know of it.
    ///
    /// # Errors
    /// The life is to be given up.
    pub(crate) fn tick(&mut self, now: Tick, effects: &mut Vec<Effect>) -> Result<bool, Ended> {
        self.system.tick(now)?;
        for lane in Lane::ALL {
            if let Link::Trying { since, next: Some(next) } = self.state(lane).link
                && next <= now
            {
                self.state(lane).link = Link::Trying { since, next: None };
                effects.push(self.dial(lane));
            }
        }
        if self.rivals.is_unasked() && self.ask_again <= now {
            self.ask(now, effects);
        }
        self.wake(Lane::Control, now, effects);
        if self.is_busy() || self.used + IDLE_AFTER > now {
            return Ok(false);
        }
        for state in &mut self.lanes {
            if state.link != Link::Down {
                state.link = Link::Down;
                effects.push(Effect::Hang { to: self.peer.clone(), lane: state.lane });
            }
        }
        match self.life {
            Life::Unknown => Ok(true),
            _ if self.is_member || self.used + FORGOTTEN_AFTER > now => Ok(false),
            _ => Err(Ended::Idle),
        }
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub(crate) fn due(&self) -> Option<Tick> {
        let retries = self.lanes.iter().filter_map(|state| match state.link {
            Link::Trying { next, .. } => next,
            _ => None,
        });
        let has_link = self.lanes.iter().any(|state| state.link != Link::Down);
        let idle = match (self.is_busy(), self.life) {
            (true, _) => None,
            (false, Life::Unknown) => Some(self.used + IDLE_AFTER),
            (false, _) if has_link => Some(self.used + IDLE_AFTER),
            (false, _) if self.is_member => None,
            (false, _) => Some(self.used + FORGOTTEN_AFTER),
        };
        let ask = self.rivals.is_unasked().then_some(self.ask_again);
        retries.chain(self.system.due()).chain(self.rivals.due()).chain(ask).chain(idle).min()
    }

    /// Counts, and tells.
    pub(crate) fn drop(&mut self, reason: DropReason, count: usize, effects: &mut Vec<Effect>) {
        if count > 0 {
            self.dropped.add(reason, count);
            effects.push(Effect::Dropped { peer: self.peer.clone(), reason, count });
        }
    }

    fn state(&mut self, lane: Lane) -> &mut LaneState {
        &mut self.lanes[lane as usize]
    }

    fn dial(&mut self, lane: Lane) -> Effect {
        if lane == Lane::Control {
            self.rivals.ask();
        }
        Effect::Dial { to: self.peer.clone(), life: self.life.uid(), lane }
    }

    fn is_busy(&self) -> bool {
        self.system.len() > 0
            || !self.rivals.is_empty()
            || self.received.owes()
            || self.lanes.iter().any(|state| !state.queue.is_empty())
    }

    fn has_more(&self, lane: Lane) -> bool {
        let queued = !self.lanes[lane as usize].queue.is_empty();
        queued || (lane == Lane::Control && (self.system.has_next() || self.received.owes() || !self.rivals.is_empty()))
    }

    /// If the lane has something to send: connects it, or says so to the connection, once.
    fn wake(&mut self, lane: Lane, now: Tick, effects: &mut Vec<Effect>) {
        if !self.has_more(lane) {
            return;
        }
        match self.state(lane).link {
            Link::Down => {
                self.state(lane).link = Link::Trying { since: now, next: None };
                effects.push(self.dial(lane));
            }
            Link::Up { told: false } => {
                self.state(lane).link = Link::Up { told: true };
                effects.push(Effect::Ready { to: self.peer.clone(), lane });
            }
            Link::Up { told: true } | Link::Trying { .. } => {}
        }
    }

    /// How far the other got, then system messages.
    fn take_system(&mut self, now: Tick) -> Option<Unwritten> {
        let Life::Met(to) = self.life else { return None };
        if let Some(number) = self.received.acknowledgement() {
            let (head, body) = ControlFrame::Acknowledged { to, number }.encode();
            return Some(Unwritten::One { head, body });
        }
        let (number, Message { channel, body }) = self.system.next(now)?;
        let (head, body) = ControlFrame::System { to, number, message: body }.encode();
        Some(Unwritten::new(head, Message { channel, body }))
    }

    /// Whether frames of a lane other than control are to be delivered as they come.
    pub(crate) fn admits(&mut self, life: u64, now: Tick) -> bool {
        let is_met = self.life == Life::Met(life);
        if is_met {
            self.used = now;
        }
        is_met
    }
}
