//! [`LaneQueue`]: frames that wait for one lane to one node. Bounded by count and by bytes.
//!
//! Small frames wait as they go over the wire, one behind another: they are written with one call, and none has room of its
//! own. The buffers go round between the queue and the connection.

use super::{
    frame::HEADER,
    message::{Body, Head, Unwritten},
};
use crate::testkit::planted::{Bug, is_planted};
use std::collections::VecDeque;

/// Bytes of frames that wait in one buffer.
const BUFFER_MAX: usize = 64 * 1024;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

/// A frame, and which life it is for; none: whatever life is there.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: Option<u64>,
    pub(crate) head: Head,
    pub(crate) body: Body<'a>,
}

impl Outgoing<'_> {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Frames for one life, one behind another.
#[derive(Debug)]
struct Waiting {
    to: Option<u64>,
    /// Without headers.
    size: usize,
    frames: Unwritten,
}

/// Frames that wait, in order.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    room: Room,
    waiting: VecDeque<Waiting>,
    count: usize,
    /// Headers are not counted.
    bytes: usize,
    /// Empty: what came back from the connection.
    spare: Vec<u8>,
}

impl LaneQueue {
    pub(crate) fn new(room: Room) -> Self {
        Self { room, waiting: VecDeque::new(), count: 0, bytes: 0, spare: Vec::new() }
    }

    /// `false`: there is no room, and it was not taken.
    pub(crate) fn push(&mut self, outgoing: Outgoing<'_>) -> bool {
        let size = outgoing.len();
        if self.count >= self.room.count || self.bytes + size > self.room.bytes {
            return false;
        }
        self.count += 1;
        self.bytes += size;
        let Outgoing { to, head, body } = outgoing;
        let part = match body {
            Body::Small(part) => part,
            Body::Large(body) => {
                self.waiting.push_back(Waiting { to, size, frames: Unwritten::One { head, body } });
                return true;
            }
        };
        let last = match self.waiting.back_mut() {
            Some(last) if last.takes(to, size) => last,
            _ => {
                let frames = Unwritten::Many { count: 0, bytes: std::mem::take(&mut self.spare) };
                self.waiting.push_back_mut(Waiting { to, size: 0, frames })
            }
        };
        last.append(size, &head, part);
        true
    }

    /// The oldest, as many as lie in one buffer. `spare` is kept for those that come, if there is need of it.
    pub(crate) fn pop(&mut self, spare: &mut Vec<u8>) -> Option<Unwritten> {
        let Waiting { size, frames, .. } = self.waiting.pop_front()?;
        self.bytes -= size;
        self.count -= frames.count();
        if self.spare.capacity() == 0 {
            self.spare = std::mem::take(spare);
            self.spare.clear();
        }
        Some(frames)
    }

    /// Drops those for another life than `life`; says how many.
    pub(crate) fn keep_only(&mut self, life: u64) -> usize {
        let before = self.count;
        self.waiting.retain(|waiting| waiting.to.is_none_or(|to| to == life) || is_planted(Bug::LifeUnchecked));
        self.bytes = self.waiting.iter().map(|waiting| waiting.size).sum();
        self.count = self.waiting.iter().map(|waiting| waiting.frames.count()).sum();
        before - self.count
    }

    /// Drops all; says how many.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.count;
        *self = Self::new(self.room);
        count
    }

    /// How many frames wait.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Waiting {
    /// Whether a small frame of `size` bytes goes into the same buffer.
    fn takes(&self, to: Option<u64>, size: usize) -> bool {
        match &self.frames {
            Unwritten::Many { bytes, .. } => self.to == to && bytes.len() + HEADER + size <= BUFFER_MAX,
            Unwritten::One { .. } => false,
        }
    }

    fn append(&mut self, added: usize, head: &[u8], body: &[u8]) {
        if let Unwritten::Many { count, bytes } = &mut self.frames {
            *count += 1;
            self.size += added;
            bytes.reserve(HEADER + added);
            // Nothing that large is appended: it is less than a buffer.
            bytes.extend_from_slice(&(added as u32).to_be_bytes());
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::message::LARGE;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn room(count: usize, bytes: usize) -> LaneQueue {
        LaneQueue::new(Room { count, bytes })
    }

    /// With a byte for the channel, as all frames.
    fn push(queue: &mut LaneQueue, to: Option<u64>, body: &Bytes) -> bool {
        queue.push(Outgoing { to, head: Head::default().with(&[7]), body: Body::of(body) })
    }

    fn push_sized(queue: &mut LaneQueue, to: Option<u64>, size: usize) -> bool {
        push(queue, to, &Bytes::from(vec![0; size - 1]))
    }

    fn all(queue: &mut LaneQueue) -> Vec<Bytes> {
        let mut spare = Vec::new();
        std::iter::from_fn(|| queue.pop(&mut spare)).flat_map(Unwritten::frames).collect()
    }

    #[test]
    fn room_is_counted_in_frames_and_in_bytes() {
        let mut queue = room(3, 100);
        assert!(push_sized(&mut queue, None, 60) && !push_sized(&mut queue, None, 41));
        assert!(push_sized(&mut queue, Some(1), 38));
        assert!(push_sized(&mut queue, Some(2), 1) && !push_sized(&mut queue, None, 1), "three are three");
        assert_eq!(queue.keep_only(2), 1);
        assert!(push_sized(&mut queue, None, 39), "the room of one that was dropped is there again");
        let sizes: Vec<_> = all(&mut queue).iter().map(Bytes::len).collect();
        assert_eq!((sizes, queue.bytes, queue.len()), (vec![60, 1, 39], 0, 0));
    }

    #[test]
    fn small_frames_wait_in_buffers_that_go_round() {
        let mut queue = room(usize::MAX, usize::MAX);
        let mut spare = Vec::with_capacity(12_345);
        assert!(push_sized(&mut queue, Some(1), 100));
        let first = queue.pop(&mut spare);
        assert!(matches!(first, Some(Unwritten::Many { count: 1, .. })) && spare.capacity() == 0);
        let mut pushed = 0;
        while queue.waiting.len() < 3 {
            pushed += usize::from(push_sized(&mut queue, Some(1), 100));
        }
        let Some(Unwritten::Many { count, bytes }) = queue.pop(&mut spare) else { panic!("no frames") };
        assert_eq!((count, bytes.len()), (BUFFER_MAX / 104, BUFFER_MAX / 104 * 104));
        assert_eq!(queue.len(), pushed - count);
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_out_in_order(
            pushed in proptest::collection::vec((0_u64..3, prop_oneof![1_usize..50, LARGE - 2..LARGE + 2]), 0..40),
            kept in 1_u64..3,
        ) {
            let mut queue = room(usize::MAX, usize::MAX);
            let bodies: Vec<_> = pushed.iter().enumerate()
                .map(|(n, (to, size))| ((*to > 0).then_some(*to), Bytes::from(vec![n as u8; *size]))).collect();
            bodies.iter().for_each(|(to, body)| assert!(push(&mut queue, *to, body)));
            let stays = |to: &Option<u64>| to.is_none_or(|to| to == kept);
            let expected: Vec<_> = bodies.iter().filter(|(to, _)| stays(to)).map(|(_, body)| body.clone()).collect();
            prop_assert_eq!(queue.keep_only(kept), bodies.len() - expected.len());
            prop_assert_eq!(queue.len(), expected.len());
            let came: Vec<_> = all(&mut queue).into_iter().map(|frame| frame.slice(1..)).collect();
            prop_assert_eq!(came, expected);
            prop_assert_eq!((queue.len(), queue.bytes), (0, 0));
        }
    }
}
