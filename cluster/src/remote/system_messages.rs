//! System messages: they arrive once and in order, as long as both lives last.
//!
//! Each gets a number, from 1, per pair of lives. The receiver takes them in order, drops what came before or too early,
//! and says up to which it has all. What is not acknowledged is sent again each second, from the first one missing, and
//! at once over a new connection. When too many wait, or one for too long, the other life is given up: quarantined, so
//! that a gap is never passed over.

use super::message::{Head, Message};
use crate::testkit::planted::{Bug, is_planted};
use actors::Tick;
use bytes::Bytes;
use std::{collections::VecDeque, time::Duration};

/// How many may wait for their acknowledgement.
pub(crate) const WAITING_MAX: usize = 20_000;

/// Bytes that may wait for their acknowledgement.
pub(crate) const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is not acknowledged within this time, counted from the last sign of progress, is sent again.
pub(crate) const RESEND_AFTER: Duration = Duration::from_secs(1);

/// When one was not acknowledged for so long the other life is given up.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Why the other life is to be quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GaveUp {
    #[error("{WAITING_MAX} system messages wait for their acknowledgement, or {WAITING_BYTES_MAX} bytes of them")]
    Overflow,
    #[error("a system message was not acknowledged for 6 h")]
    Unacknowledged,
}

/// What goes to one life of another node.
#[derive(Debug, Default)]
pub(crate) struct SystemSender {
    /// Of the first one that waits; numbers begin at 1, so this one is one less.
    acknowledged: u64,
    /// The highest that was ever handed out.
    sent: u64,
    /// Sent or not, in order, with the time it was accepted.
    waiting: VecDeque<(Tick, Message)>,
    bytes: usize,
    /// How many of those waiting were handed out since they were last taken back.
    handed_out: usize,
    /// When those handed out are taken back. Some while there are any.
    resend_at: Option<Tick>,
}

impl SystemSender {
    /// Accepts a message.
    ///
    /// # Errors
    /// There is no room: the life is to be given up. The message was not accepted.
    pub(crate) fn push(&mut self, message: Message, now: Tick) -> Result<(), GaveUp> {
        if self.waiting.len() >= WAITING_MAX || self.bytes + message.len() > WAITING_BYTES_MAX {
            return Err(GaveUp::Overflow);
        }
        self.bytes += message.len();
        self.waiting.push_back((now, message));
        Ok(())
    }

    /// The next one to send, with its number.
    pub(crate) fn next(&mut self, now: Tick) -> Option<(u64, Message)> {
        let (_, message) = self.waiting.get(self.handed_out)?;
        self.handed_out += 1;
        self.resend_at.get_or_insert(now + RESEND_AFTER);
        let number = self.acknowledged + self.handed_out as u64;
        self.sent = self.sent.max(number);
        Some((number, message.clone()))
    }

    /// The other life has all up to `number`. `false`: it cannot have, none of that number was ever sent.
    pub(crate) fn acknowledge(&mut self, number: u64, now: Tick) -> bool {
        let Some(done) = number.checked_sub(self.acknowledged).filter(|done| *done > 0) else { return true };
        if number > self.sent {
            return false;
        }
        // Those taken back may be among them: they were on their way.
        let done = done as usize;
        self.bytes -= self.waiting.drain(..done).map(|(_, message)| message.len()).sum::<usize>();
        self.acknowledged = number;
        self.handed_out = self.handed_out.saturating_sub(done);
        self.resend_at = (self.handed_out > 0).then(|| now + RESEND_AFTER);
        true
    }

    /// What was handed out may be lost: all that wait are sent again. For a new connection.
    pub(crate) fn take_back(&mut self) {
        self.handed_out = 0;
        self.resend_at = None;
    }

    /// Time passed.
    ///
    /// # Errors
    /// The life is to be given up.
    pub(crate) fn tick(&mut self, now: Tick) -> Result<(), GaveUp> {
        if self.waiting.front().is_some_and(|(accepted, _)| *accepted + GIVE_UP_AFTER <= now) {
            return Err(GaveUp::Unacknowledged);
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            self.take_back();
        }
        Ok(())
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub(crate) fn due(&self) -> Option<Tick> {
        let give_up = self.waiting.front().map(|(accepted, _)| *accepted + GIVE_UP_AFTER);
        [give_up, self.resend_at].into_iter().flatten().min()
    }

    /// How many were not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether [`next`](Self::next) has one.
    pub(crate) fn has_next(&self) -> bool {
        self.handed_out < self.waiting.len()
    }
}

/// What comes from one life of another node.
#[derive(Debug, Default)]
pub(crate) struct SystemReceiver {
    taken: u64,
    /// Whether the other node is to be told how far it got.
    owes: bool,
}

impl SystemReceiver {
    /// Whether the message of this number is the next one: then it is taken, and is to be delivered. Else it came before,
    /// or one before it is missing; it is to be dropped and will be sent again if need be.
    pub(crate) fn take(&mut self, number: u64) -> bool {
        self.owes = true;
        let is_next = number.checked_sub(1) == Some(self.taken);
        if is_next {
            self.taken = number;
        }
        is_next || is_planted(Bug::NotDeduplicated)
    }

    /// Up to which number all came, if that is to be told. Told once however many came meanwhile, and again when one comes
    /// again, as the answer may have been lost.
    pub(crate) fn acknowledgement(&mut self) -> Option<u64> {
        std::mem::take(&mut self.owes).then_some(self.taken)
    }

    /// Whether [`acknowledgement`](Self::acknowledgement) has one.
    pub(crate) fn owes(&self) -> bool {
        self.owes
    }
}

/// What the control lane carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlFrame {
    /// Sent once: heartbeats, gossip.
    Plain(Bytes),
    /// A system message, for the life `to` alone.
    System { to: u64, number: u64, message: Bytes },
    /// The life `to` sent all up to `number`, and they came.
    Acknowledged { to: u64, number: u64 },
}

/// Why a frame of the control lane is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no frame of the control lane: its kind is {kind:?}, and it has {size} bytes")]
pub(crate) struct NoControlFrame {
    kind: Option<u8>,
    size: usize,
}

/// The first byte of what is sent once.
pub(crate) const PLAIN: u8 = 1;
const SYSTEM: u8 = 2;
const ACKNOWLEDGED: u8 = 3;

/// Bytes before the message of a system message's frame.
pub(crate) const SYSTEM_HEAD: usize = 1 + 8 + 8;

impl ControlFrame {
    /// The frame's bytes before the message, and the message.
    pub(crate) fn encode(self) -> (Head, Bytes) {
        let numbers = |kind, to: u64, number: u64| {
            Head::default().with(&[kind]).with(&to.to_be_bytes()).with(&number.to_be_bytes())
        };
        match self {
            Self::Plain(message) => (Head::default().with(&[PLAIN]), message),
            Self::System { to, number, message } => (numbers(SYSTEM, to, number), message),
            Self::Acknowledged { to, number } => (numbers(ACKNOWLEDGED, to, number), Bytes::new()),
        }
    }

    /// Copies nothing.
    ///
    /// # Errors
    /// The bytes are none.
    pub(crate) fn decode(frame: &Bytes) -> Result<Self, NoControlFrame> {
        let number = |at: usize| frame.get(at..at + 8).and_then(|part| part.try_into().ok()).map(u64::from_be_bytes);
        match (frame.first(), number(1), number(9)) {
            (Some(&PLAIN), ..) => Ok(Self::Plain(frame.slice(1..))),
            (Some(&SYSTEM), Some(to), Some(number)) => {
                Ok(Self::System { to, number, message: frame.slice(SYSTEM_HEAD..) })
            }
            (Some(&ACKNOWLEDGED), Some(to), Some(number)) if frame.len() == SYSTEM_HEAD => {
                Ok(Self::Acknowledged { to, number })
            }
            (kind, ..) => Err(NoControlFrame { kind: kind.copied(), size: frame.len() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::SmallRng};

    fn message(n: u64) -> Message {
        Bytes::from(n.to_be_bytes().to_vec()).into()
    }

    fn at(ms: u64) -> Tick {
        Tick::START + Duration::from_millis(ms)
    }

    /// Sends `count` over a network that loses, doubles and reorders; returns what was delivered.
    fn over_a_bad_network(seed: u64, count: u64) -> Vec<Message> {
        let mut random = SmallRng::seed_from_u64(seed);
        let (loss, double, break_up) = (random.random_range(0.0..0.4), random.random_range(0.0..0.3), 0.001);
        let (mut sender, mut receiver) = (SystemSender::default(), SystemReceiver::default());
        let mut messages: Vec<(u64, u64, Message)> = Vec::new();
        let mut answers: Vec<(u64, u64)> = Vec::new();
        let mut delivered = Vec::new();
        let mut pushed = 0;
        for now in (0..).step_by(10) {
            if pushed < count && random.random_bool(0.5) {
                pushed += 1;
                sender.push(message(pushed), at(now)).unwrap();
            }
            sender.tick(at(now)).unwrap();
            if random.random_bool(break_up) {
                sender.take_back();
            }
            while let Some((number, message)) = sender.next(at(now)) {
                let copies = if random.random_bool(double) { 2 } else { 1 };
                for _ in 0..copies {
                    if !random.random_bool(loss) {
                        messages.push((now + random.random_range(0..40), number, message.clone()));
                    }
                }
            }
            for (_, number, message) in messages.extract_if(.., |(due, ..)| *due <= now) {
                if receiver.take(number) {
                    delivered.push(message);
                }
            }
            if let Some(number) = receiver.acknowledgement() {
                let copies = if random.random_bool(double) { 2 } else { 1 };
                for _ in 0..copies {
                    if !random.random_bool(loss) {
                        answers.push((now + random.random_range(0..40), number));
                    }
                }
            }
            for (_, number) in answers.extract_if(.., |(due, _)| *due <= now) {
                assert!(sender.acknowledge(number, at(now)));
            }
            if pushed == count && sender.len() == 0 {
                return delivered;
            }
            assert!(now < 10_000_000, "seed {seed}: {} of {count} arrived", delivered.len());
        }
        unreachable!("the loop ends by one of its own")
    }

    #[test]
    fn over_a_bad_network_all_arrive_once_and_in_order() {
        for seed in 0..200 {
            let expected: Vec<_> = (1..=100).map(message).collect();
            assert_eq!(over_a_bad_network(seed, 100), expected, "seed {seed}");
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_each_second() {
        let mut sender = SystemSender::default();
        (1..=3).for_each(|n| sender.push(message(n), at(0)).unwrap());
        let sent = |sender: &mut SystemSender, now| {
            sender.tick(at(now)).unwrap();
            std::iter::from_fn(|| sender.next(at(now))).map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(sent(&mut sender, 0), [1, 2, 3]);
        assert_eq!(sender.due(), Some(at(1000)));
        assert_eq!(sent(&mut sender, 999), [0_u64; 0]);
        assert_eq!(sent(&mut sender, 1000), [1, 2, 3]);
        assert!(sender.acknowledge(1, at(1500)));
        assert_eq!(sent(&mut sender, 2000), [0_u64; 0], "there was progress half a second ago");
        assert_eq!(sent(&mut sender, 2500), [2, 3]);
        sender.take_back();
        assert_eq!(sent(&mut sender, 2500), [2, 3], "a new connection");
        assert!(sender.acknowledge(3, at(2600)));
        assert_eq!((sender.due(), sender.len(), sent(&mut sender, 9000)), (None, 0, vec![]));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
        let mut sender = SystemSender::default();
        (1..=2).for_each(|n| sender.push(message(n), at(0)).unwrap());
        assert_eq!(sender.next(at(0)), Some((1, message(1))));
        assert!(!sender.acknowledge(2, at(0)));
        assert!(!sender.acknowledge(u64::MAX, at(0)));
        assert!(sender.acknowledge(0, at(0)), "an old one is no lie");
        assert_eq!(sender.len(), 2);
    }

    #[test]
    fn too_many_or_too_old_means_giving_up() {
        let mut sender = SystemSender::default();
        (1..=WAITING_MAX as u64).for_each(|n| sender.push(message(n), at(n)).unwrap());
        assert_eq!(sender.push(message(0), at(0)), Err(GaveUp::Overflow));
        let six_hours_after_the_first = at(1) + GIVE_UP_AFTER;
        assert_eq!(sender.due(), Some(six_hours_after_the_first));
        assert_eq!(sender.tick(six_hours_after_the_first), Err(GaveUp::Unacknowledged));
        let mut sender = SystemSender::default();
        sender.push(Bytes::from(vec![0; WAITING_BYTES_MAX]).into(), at(0)).unwrap();
        assert_eq!(sender.push(message(1), at(0)), Err(GaveUp::Overflow), "bytes count too");
    }

    #[test]
    fn one_that_comes_again_is_answered_again() {
        let mut receiver = SystemReceiver::default();
        assert_eq!(receiver.acknowledgement(), None);
        assert!(receiver.take(1) && receiver.take(2));
        assert!(!receiver.take(4), "3 is missing");
        assert_eq!((receiver.acknowledgement(), receiver.acknowledgement()), (Some(2), None));
        assert!(!receiver.take(1) && !receiver.take(0));
        assert_eq!(receiver.acknowledgement(), Some(2), "the first answer may have been lost");
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written(to: u64, number: u64, message: Vec<u8>, kind in 0..3) {
            let message = Bytes::from(message);
            let frame = match kind {
                0 => ControlFrame::Plain(message),
                1 => ControlFrame::System { to, number, message },
                _ => ControlFrame::Acknowledged { to, number },
            };
            let (head, message) = frame.clone().encode();
            prop_assert_eq!(ControlFrame::decode(&[&head[..], &message[..]].concat().into()), Ok(frame));
        }

        #[test]
        fn garbage_is_no_frame_and_never_panics(bytes in proptest::collection::vec(0_u8..5, 0..40)) {
            let frame = Bytes::from(bytes);
            match ControlFrame::decode(&frame) {
                Ok(read) => {
                    let (head, message) = read.encode();
                    prop_assert_eq!([&head[..], &message[..]].concat(), frame);
                }
                Err(error) => prop_assert_eq!(error.size, frame.len()),
            }
        }
    }
}
