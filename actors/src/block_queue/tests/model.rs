//! Any sequence of calls, against a queue of plain parts.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::*;

#[derive(Clone, Debug)]
enum Step {
    Push(Room),
    Pop(usize),
    Reserve(Room),
    Use,
    GiveBack,
    Internal,
    NextInternal,
    PutBack,
    Park(For),
    Notify,
    Yield,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let room = || prop_oneof![6 => Just(Room::Ordinary), 2 => Just(Room::Adapted), 1 => Just(Room::Unbounded)];
    let until = prop_oneof![3 => Just(For::Messages), 1 => Just(For::Internal), 1 => Just(For::Waker)];
    prop_oneof![
        30 => room().prop_map(Step::Push),
        10 => (1..40usize).prop_map(Step::Pop),
        3 => room().prop_map(Step::Reserve),
        2 => Just(Step::Use),
        2 => Just(Step::GiveBack),
        4 => Just(Step::Internal),
        4 => Just(Step::NextInternal),
        1 => Just(Step::PutBack),
        6 => until.prop_map(Step::Park),
        4 => Just(Step::Notify),
        2 => Just(Step::Yield),
        1 => Just(Step::Close),
    ]
}

/// The same queue, of one thread and plain parts.
#[derive(Default)]
struct Model {
    capacity: usize,
    messages: VecDeque<(u64, bool)>,
    lane: VecDeque<u64>,
    taken: VecDeque<u64>,
    reserved: usize,
    parked: Option<For>,
    notified: bool,
    closed: bool,
}

impl Model {
    fn counted(&self) -> usize {
        self.messages.iter().filter(|(_, counted)| *counted).count()
    }

    fn refusal(&self, room: Room) -> Option<Refusal> {
        self.refusal_behind(0, room)
    }

    /// With so many more than there are.
    fn refusal_behind(&self, more: usize, room: Room) -> Option<Refusal> {
        let bound = match room {
            Room::Ordinary => self.capacity,
            Room::Adapted => self.capacity.saturating_mul(2),
            Room::Unbounded => usize::MAX,
        };
        let full = (self.counted() + self.reserved + more >= bound).then_some(Refusal::Full);
        if self.closed { Some(Refusal::Stopped) } else { full }
    }

    /// The message that woke the consumer may count as long as that runs.
    fn may_refuse(&self, room: Room, refused: bool) -> Option<Refusal> {
        self.refusal_behind(1, room).filter(|_| refused && self.runs() && self.capacity >= 16)
    }

    fn runs(&self) -> bool {
        self.parked.is_none()
    }

    fn wake(&mut self, wakes: &[For]) -> Wake {
        match self.parked {
            Some(until) if wakes.contains(&until) => {
                self.parked = None;
                Wake::Schedule
            }
            _ => Wake::No,
        }
    }

    fn park(&mut self, until: For) -> Park {
        let internal = until != For::Waker && !(self.lane.is_empty() && self.taken.is_empty());
        let messages = until == For::Messages && !self.messages.is_empty();
        if internal || std::mem::take(&mut self.notified) || messages {
            return Park::Busy;
        }
        self.parked = Some(until);
        Park::Parked
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_does_what_a_plain_queue_does(
        capacity in prop_oneof![1..5usize, Just(15usize), Just(17usize), Just(usize::MAX)],
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let queue = Queue::<u64, u64>::new(capacity);
        // SAFETY: the model says who may use it.
        #[allow(unsafe_code)]
        let mut receiver = unsafe { Receiver::new() };
        let mut model = Model { capacity, ..Model::default() };
        let mut permits = Vec::new();
        let mut number = 0;
        for step in steps {
            number += 1;
            match step {
                Step::Push(room) => {
                    let pushed = queue.push(number, room);
                    let expected = match model.refusal(room).or_else(|| model.may_refuse(room, pushed.is_err())) {
                        Some(refusal) => Err((refusal, number)),
                        None => {
                            model.messages.push_back((number, room != Room::Unbounded));
                            Ok(model.wake(&[For::Messages]))
                        }
                    };
                    prop_assert_eq!(pushed, expected);
                }
                Step::Pop(times) if model.runs() => {
                    for _ in 0..times {
                        prop_assert_eq!(receiver.pop(&queue), model.messages.pop_front().map(|(number, _)| number));
                    }
                    receiver.flush(&queue);
                }
                Step::Reserve(room) => {
                    let permit = queue.try_reserve(room);
                    let expected = model.refusal(room).or_else(|| model.may_refuse(room, permit.is_err()));
                    prop_assert_eq!(permit.as_ref().err().copied(), expected);
                    if let Ok(permit) = permit {
                        let counted = room != Room::Unbounded;
                        model.reserved += usize::from(counted);
                        permits.push((permit, counted));
                    }
                }
                Step::Use => {
                    if let Some((permit, counted)) = permits.pop() {
                        model.reserved -= usize::from(counted);
                        let expected = if model.closed {
                            Err(number)
                        } else {
                            model.messages.push_back((number, counted));
                            Ok(model.wake(&[For::Messages]))
                        };
                        prop_assert_eq!(permit.push(number), expected);
                    }
                }
                Step::GiveBack => {
                    if let Some((permit, counted)) = permits.pop() {
                        model.reserved -= usize::from(counted);
                        drop(permit);
                    }
                }
                Step::Internal => {
                    // Who finds others on the lane need not tell of them.
                    model.notified |= model.runs() && model.lane.is_empty();
                    model.lane.push_back(number);
                    let expected = model.wake(&[For::Messages, For::Internal]);
                    prop_assert_eq!(queue.push_internal(number), Ok(expected));
                }
                Step::NextInternal if model.runs() => {
                    if model.taken.is_empty() {
                        std::mem::swap(&mut model.taken, &mut model.lane);
                    }
                    prop_assert_eq!(receiver.next_internal(&queue), model.taken.pop_front());
                }
                Step::PutBack if model.runs() => {
                    receiver.put_back_internal(&queue, VecDeque::from([number, number + 1]));
                    model.taken.extend([number, number + 1]);
                    model.taken.rotate_right(2);
                    number += 1;
                }
                Step::Park(until) if model.runs() => {
                    let expected = model.park(until);
                    let park = receiver.park(&queue, until);
                    prop_assert_eq!(park, expected, "{:?}", until);
                }
                Step::Notify => {
                    model.notified |= model.runs();
                    let expected = model.wake(&[For::Messages, For::Internal, For::Waker]);
                    prop_assert_eq!(queue.notify(), expected);
                }
                Step::Yield if model.runs() => receiver.yield_now(&queue),
                Step::Close if model.runs() && number > 300 => {
                    model.closed = true;
                    let expected: VecDeque<_> = model.messages.drain(..).map(|(number, _)| number).collect();
                    prop_assert_eq!(receiver.close(&queue), expected);
                }
                _ => {}
            }
            prop_assert_eq!(queue.is_closed(), model.closed);
            if model.parked.is_some() || capacity < 16 {
                prop_assert_eq!(queue.len(), model.counted());
            }
        }
    }
}
