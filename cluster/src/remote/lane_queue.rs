//! [`LaneQueue`]: frames that wait for one lane to one node. Bounded by count and by bytes.

use super::message::Message;
use std::collections::VecDeque;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// A frame, and which life it is for; none: whatever life is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) to: Option<u64>,
    pub(crate) message: Message,
}

/// Frames that wait, in order.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    room: Room,
    waiting: VecDeque<Outgoing>,
    bytes: usize,
}

impl LaneQueue {
    pub(crate) fn new(room: Room) -> Self {
        Self { room, waiting: VecDeque::new(), bytes: 0 }
    }

    /// `false`: there is no room, and it was not taken.
    pub(crate) fn push(&mut self, outgoing: Outgoing) -> bool {
        let bytes = self.bytes + outgoing.message.len();
        let fits = self.waiting.len() < self.room.count && bytes <= self.room.bytes;
        if fits {
            self.bytes = bytes;
            self.waiting.push_back(outgoing);
        }
        fits
    }

    /// The oldest.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let Outgoing { message, .. } = self.waiting.pop_front()?;
        self.bytes -= message.len();
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
        Some(message)
    }

    /// Drops those for another life than `life`; says how many.
    pub(crate) fn keep_only(&mut self, life: u64) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|outgoing| outgoing.to.is_none_or(|to| to == life));
        self.bytes = self.waiting.iter().map(|outgoing| outgoing.message.len()).sum();
        before - self.waiting.len()
    }

    /// Drops all; says how many.
    pub(crate) fn clear(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).len()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn of(to: Option<u64>, size: usize) -> Outgoing {
        Outgoing { to, message: Bytes::from(vec![0; size]).into() }
    }

    #[test]
    fn room_is_counted_in_frames_and_in_bytes() {
        let mut queue = LaneQueue::new(Room { count: 3, bytes: 100 });
        assert!(queue.push(of(None, 60)) && !queue.push(of(None, 41)) && queue.push(of(Some(1), 38)));
        assert!(queue.push(of(Some(2), 1)) && !queue.push(of(None, 1)), "three are three");
        assert_eq!(queue.keep_only(2), 1);
        assert!(queue.push(of(None, 39)), "the room of one that was dropped is there again");
        let sizes: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|message| message.len()).collect();
        assert_eq!((sizes, queue.bytes), (vec![60, 1, 39], 0));
    }
}
