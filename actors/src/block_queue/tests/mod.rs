//! What one thread can see.

mod model;
mod stress;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;

/// A queue that runs, and its receiver.
fn running<T, I>(capacity: usize) -> (Queue<T, I>, Receiver<T, I>) {
    let queue = Queue::new(capacity);
    // SAFETY: the only one, and the tests stick to the protocol.
    #[allow(unsafe_code)]
    let receiver = unsafe { Receiver::new() };
    (queue, receiver)
}

fn drain<T, I>(receiver: &mut Receiver<T, I>, queue: &Queue<T, I>) -> Vec<T> {
    std::iter::from_fn(|| receiver.pop(queue)).collect()
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Waiter<'a, T, I> {
    reserve: Pin<Box<Reserve<'a, T, I>>>,
    woken: Arc<Woken>,
}

impl<'a, T, I> Waiter<'a, T, I> {
    fn new(queue: &'a Queue<T, I>) -> Self {
        Self { reserve: Box::pin(queue.reserve()), woken: Arc::default() }
    }

    fn poll(&mut self) -> Poll<Result<Permit<'a, T, I>, ()>> {
        self.reserve.as_mut().poll(&mut Context::from_waker(&Waker::from(self.woken.clone())))
    }

    fn times_woken(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_queue_is_small() {
    type Envelopes = Queue<[u64; 4], [u64; 4]>;
    let bytes = size_of::<Envelopes>() + size_of::<Receiver<[u64; 4], [u64; 4]>>();
    let of_a_message = size_of::<[u64; 4]>();
    assert!(bytes <= 112 + of_a_message, "{bytes} bytes");
}

#[test]
fn what_producers_and_consumer_write_often_lies_on_different_lines() {
    use std::mem::offset_of;
    type Envelopes = Queue<[u64; 2], &'static str>; // no envelope is smaller
    let read = offset_of!(Envelopes, tail) + Tail::<[u64; 2]>::LOOKED_AT;
    // What was taken is told of after many messages.
    assert!(offset_of!(Envelopes, own) >= read + 64 && offset_of!(Envelopes, taken) >= read + 56);
    assert!(offset_of!(Envelopes, tail) >= 16 && size_of::<Tail<[u64; 2]>>() <= 64, "a line for word and message");
}

#[test]
fn messages_keep_their_order_across_blocks() {
    let (queue, mut receiver) = running::<_, ()>(usize::MAX);
    for round in 0..5 {
        for number in 0..1_000 {
            assert_eq!(queue.push(round * 1_000 + number, Room::Ordinary), Ok(Wake::No));
        }
        assert_eq!(queue.len(), 1_000);
        assert_eq!(drain(&mut receiver, &queue), (round * 1_000..(round + 1) * 1_000).collect::<Vec<_>>());
        receiver.flush(&queue);
        assert_eq!(queue.len(), 0);
    }
}

/// By every way in: a claim, the end of a block, and where room is short; through blocks that come back again and again.
#[test]
fn a_note_comes_with_its_message() {
    let (queue, mut receiver) = running::<u64, ()>(64);
    let (mut permit, mut claimed) = (None, 0);
    for number in 0..3_000 {
        let note = if number % 3 == 0 { Note::NONE } else { Note::new(number) };
        if number == 2_000 {
            permit = queue.try_reserve(Room::Ordinary).ok();
        }
        if number % 50 == 7 {
            let here = queue.try_reserve(Room::Ordinary).expect("room");
            assert_eq!(here.push_noted(number, note), Ok(Wake::No));
        } else if let Some(claim) = queue.claim() {
            claimed += 1;
            assert_eq!(claim.counted(number, note), Wake::No);
        } else {
            assert!(queue.push_counted(number, note, Room::Ordinary).is_ok());
        }
        if number % 7 == 0 {
            while let Some((value, seen)) = receiver.pop_in_place(&queue) {
                let value = value.take();
                assert_eq!(seen.number(), if value % 3 == 0 { 0 } else { value });
            }
        }
    }
    assert!((1_000..2_000).contains(&claimed), "{claimed} of the first 2,000, and none while room is set aside");
    drop(permit);
    assert_eq!(Note::new(u64::MAX).number(), Note::MAX, "a larger number is the largest there is");
}

/// Blocks are small while little waits, and large where messages pile up.
#[test]
fn messages_keep_their_order_from_small_blocks_to_large_ones_and_back() {
    let (queue, mut receiver) = running::<_, ()>(usize::MAX);
    let mut next = 0;
    for burst in (1..200).chain([1; 100]).chain((1..50).rev()) {
        let numbers: Vec<u32> = (next..next + burst).collect();
        next += burst;
        numbers.iter().for_each(|number| assert_eq!(queue.push(*number, Room::Ordinary), Ok(Wake::No)));
        assert_eq!(drain(&mut receiver, &queue), numbers);
        receiver.flush(&queue);
    }
}

#[test]
fn whoever_finds_the_consumer_asleep_schedules_it_and_nobody_else_does() {
    for capacity in [10, 100] {
        let (queue, mut receiver) = running::<_, &str>(capacity);
        assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
        assert_eq!(queue.push(1, Room::Ordinary), Ok(Wake::Schedule));
        assert_eq!(receiver.park(&queue, For::Messages), Park::Busy, "a message waits");
        assert_eq!(queue.push(2, Room::Ordinary), Ok(Wake::No));
        assert_eq!((queue.len(), receiver.is_empty(&queue)), (2, false));
        assert_eq!(queue.notify(), Wake::No);
        assert_eq!(queue.push_internal("stop"), Ok(Wake::No));
        assert_eq!(receiver.park(&queue, For::Messages), Park::Busy);
        assert_eq!(receiver.next_internal(&queue), Some("stop"));
        assert_eq!(drain(&mut receiver, &queue), [1, 2]);
        assert_eq!(receiver.park(&queue, For::Messages), Park::Busy, "it was told more");
        assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    }
}

#[test]
fn a_handler_that_waits_is_woken_by_its_waker_alone() {
    let (queue, mut receiver) = running(10);
    assert_eq!(receiver.park(&queue, For::Waker), Park::Parked);
    assert_eq!(queue.push(1, Room::Ordinary), Ok(Wake::No));
    assert_eq!(queue.push_internal("timer"), Ok(Wake::No));
    assert_eq!(queue.notify(), Wake::Schedule);
    assert_eq!(receiver.next_internal(&queue), Some("timer"));
    assert_eq!(receiver.pop(&queue), Some(1));
}

#[test]
fn between_two_lives_messages_wait_and_the_runtime_is_heard() {
    let (queue, mut receiver) = running(10);
    assert_eq!(queue.push(1, Room::Ordinary), Ok(Wake::No));
    assert_eq!(receiver.park(&queue, For::Internal), Park::Parked);
    assert_eq!(queue.push(2, Room::Ordinary), Ok(Wake::No));
    assert_eq!(queue.push_internal("child ended"), Ok(Wake::Schedule));
    assert_eq!(receiver.park(&queue, For::Internal), Park::Busy);
    assert_eq!(receiver.next_internal(&queue), Some("child ended"));
    assert_eq!(receiver.park(&queue, For::Internal), Park::Parked);
    assert_eq!(queue.notify(), Wake::Schedule);
}

#[test]
fn what_is_told_during_a_run_keeps_the_consumer_from_parking_once() {
    for until in [For::Messages, For::Internal, For::Waker] {
        let (queue, mut receiver) = running::<u64, &str>(10);
        assert_eq!(queue.notify(), Wake::No);
        assert_eq!(receiver.park(&queue, until), Park::Busy);
        assert_eq!(receiver.park(&queue, until), Park::Parked);
    }
}

#[test]
fn the_right_to_run_is_given_out_once_until_it_is_given_up() {
    let (queue, mut receiver) = running(10);
    assert_eq!(queue.push(1, Room::Ordinary), Ok(Wake::No), "whoever made it has it");
    assert_eq!(drain(&mut receiver, &queue), [1]);
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert_eq!(queue.push(2, Room::Ordinary), Ok(Wake::Schedule));
    assert_eq!(queue.notify(), Wake::No);
    assert_eq!(queue.push_internal("stop"), Ok(Wake::No));
    receiver.yield_now(&queue);
    assert_eq!(queue.notify(), Wake::No, "handed on, not given up");
    assert_eq!(receiver.next_internal(&queue), Some("stop"));
    assert_eq!(receiver.pop(&queue), Some(2));
    assert_eq!(receiver.park(&queue, For::Messages), Park::Busy, "told meanwhile");
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert_eq!(queue.notify(), Wake::Schedule);
}

#[test]
fn a_bound_is_exact_and_adapted_messages_have_as_much_again() {
    for capacity in [1, 2, 7, 100] {
        let (queue, mut receiver) = running::<_, ()>(capacity);
        let all = capacity as u64;
        for round in 0..3 {
            for number in 0..all {
                assert!(queue.push(number, Room::Ordinary).is_ok(), "round {round}");
            }
            assert_eq!(queue.push(7, Room::Ordinary), Err((Refusal::Full, 7)));
            assert_eq!(queue.len(), capacity);
            for number in all..2 * all {
                assert!(queue.push(number, Room::Adapted).is_ok());
            }
            assert_eq!(queue.push(8, Room::Adapted), Err((Refusal::Full, 8)));
            assert_eq!(drain(&mut receiver, &queue), (0..2 * all).collect::<Vec<_>>());
            receiver.flush(&queue);
        }
    }
}

#[test]
fn a_small_bound_has_room_again_with_every_message_taken() {
    let (queue, mut receiver) = running::<_, ()>(2);
    assert!(queue.push(1, Room::Ordinary).is_ok() && queue.push(2, Room::Ordinary).is_ok());
    for number in 3..300 {
        assert!(queue.push(number, Room::Ordinary).is_err());
        assert_eq!(receiver.pop(&queue), Some(number - 2));
        assert!(queue.push(number, Room::Ordinary).is_ok());
    }
}

#[test]
fn notices_count_for_nothing() {
    let (queue, mut receiver) = running::<_, ()>(1);
    for number in 0..3 {
        assert!(queue.push(number, Room::Unbounded).is_ok());
        assert_eq!(queue.len(), 0);
    }
    assert!(queue.push(3, Room::Ordinary).is_ok());
    assert!(queue.push(4, Room::Ordinary).is_err());
    assert!(queue.push(5, Room::Unbounded).is_ok());
    for number in 0..3 {
        assert_eq!(receiver.pop(&queue), Some(number));
        assert!(queue.push(6, Room::Ordinary).is_err(), "a notice taken is no room gained");
    }
    assert_eq!(receiver.pop(&queue), Some(3));
    assert!(queue.push(7, Room::Ordinary).is_ok());
    assert_eq!(drain(&mut receiver, &queue), [5, 7]);
}

#[test]
fn a_permit_is_room_until_it_is_used_or_dropped() {
    let (queue, mut receiver) = running::<_, ()>(2);
    let permit = queue.try_reserve(Room::Ordinary).unwrap();
    assert!(queue.push(1, Room::Ordinary).is_ok());
    assert_eq!(queue.push(2, Room::Ordinary), Err((Refusal::Full, 2)));
    assert_eq!(queue.try_reserve(Room::Ordinary).err(), Some(Refusal::Full));
    let adapted = queue.try_reserve(Room::Adapted).unwrap();
    assert_eq!(receiver.pop(&queue), Some(1));
    assert_eq!(queue.push(3, Room::Ordinary), Err((Refusal::Full, 3)), "two permits");
    drop(adapted);
    assert!(queue.push(4, Room::Ordinary).is_ok());
    assert_eq!(permit.push(5), Ok(Wake::No));
    assert!(queue.push(6, Room::Ordinary).is_err());
    assert_eq!(drain(&mut receiver, &queue), [4, 5]);
    assert!(queue.push(7, Room::Ordinary).is_ok());
}

#[test]
fn who_waits_for_room_gets_it_in_order_and_is_not_overtaken() {
    let (queue, mut receiver) = running::<_, ()>(1);
    assert!(queue.push(0, Room::Ordinary).is_ok());
    let (mut first, mut second, mut third) = (Waiter::new(&queue), Waiter::new(&queue), Waiter::new(&queue));
    assert!(first.poll().is_pending() && second.poll().is_pending() && third.poll().is_pending());
    assert_eq!(receiver.pop(&queue), Some(0));
    assert_eq!([first.times_woken(), second.times_woken()], [1, 0]);
    assert!(queue.push(9, Room::Ordinary).is_err(), "the room is granted already");
    assert!(second.poll().is_pending());

    drop(second); // leaves the line
    let Poll::Ready(Ok(permit)) = first.poll() else { panic!("granted") };
    drop(permit); // the next in line gets it
    assert_eq!(third.times_woken(), 1);
    drop(third); // granted and never asked: the room is back
    assert!(queue.push(1, Room::Ordinary).is_ok());
    assert_eq!(receiver.pop(&queue), Some(1));

    let mut fourth = Waiter::new(&queue);
    let Poll::Ready(Ok(permit)) = fourth.poll() else { panic!("room") };
    assert_eq!(permit.push(2), Ok(Wake::No));
    assert_eq!(receiver.park(&queue, For::Messages), Park::Busy);
    assert_eq!(receiver.pop(&queue), Some(2));
}

/// It counts until it is known to be taken, so whoever waits for that room hears of it from a consumer that never sleeps too.
#[test]
fn the_room_of_the_message_that_woke_the_consumer_is_given_back_when_it_yields() {
    let (queue, mut receiver) = running::<_, ()>(17);
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert_eq!(queue.push(0, Room::Ordinary), Ok(Wake::Schedule));
    let _permits: Vec<_> = (0..16).map(|_| queue.try_reserve(Room::Ordinary).expect("room")).collect();
    let mut waiter = Waiter::new(&queue);
    assert!(waiter.poll().is_pending());
    receiver.yield_now(&queue);
    assert!(waiter.poll().is_pending(), "the message waits still");
    assert_eq!(receiver.pop(&queue), Some(0));
    receiver.yield_now(&queue);
    assert!(matches!(waiter.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn many_who_wait_are_all_granted() {
    let (queue, mut receiver) = running::<_, ()>(100);
    for number in 0..100 {
        assert!(queue.push(number, Room::Ordinary).is_ok());
    }
    let mut waiters: Vec<_> = (0..100).map(|_| Waiter::new(&queue)).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_pending()));
    assert_eq!(drain(&mut receiver, &queue).len(), 100);
    receiver.flush(&queue);
    assert!(waiters.iter().all(|waiter| waiter.times_woken() == 1));
    let permits: Vec<_> = waiters.iter_mut().map(Waiter::poll).collect();
    assert!(permits.iter().all(|permit| matches!(permit, Poll::Ready(Ok(_)))));
    assert!(queue.push(1, Room::Ordinary).is_err());
    drop(permits);
    assert!(queue.push(1, Room::Ordinary).is_ok());
}

#[test]
fn closing_returns_what_was_accepted_and_refuses_all_that_comes_later() {
    let (queue, mut receiver) = running(3);
    for number in 0..3 {
        assert!(queue.push(number, Room::Ordinary).is_ok());
    }
    assert!(queue.push(3, Room::Unbounded).is_ok());
    assert_eq!(receiver.pop(&queue), Some(0));
    let permit = queue.try_reserve(Room::Ordinary).unwrap();
    let mut waiter = Waiter::new(&queue);
    assert!(waiter.poll().is_pending());
    assert_eq!(queue.push_internal("early"), Ok(Wake::No));

    assert_eq!(receiver.close(&queue), [1, 2, 3]);
    assert_eq!(waiter.times_woken(), 1);
    assert!(matches!(waiter.poll(), Poll::Ready(Err(()))));
    assert_eq!(permit.push(4), Err(4));
    for room in [Room::Ordinary, Room::Adapted, Room::Unbounded] {
        assert_eq!(queue.push(5, room), Err((Refusal::Stopped, 5)));
        assert_eq!(queue.try_reserve(room).err(), Some(Refusal::Stopped));
    }
    assert!(matches!(Waiter::new(&queue).poll(), Poll::Ready(Err(()))));
    assert_eq!((queue.is_closed(), queue.len(), receiver.pop(&queue)), (true, 0, None));

    assert_eq!(queue.push_internal("late"), Ok(Wake::No), "the internal lane is open");
    assert_eq!(receiver.next_internal(&queue), Some("early"));
    receiver.put_back_internal(&queue, VecDeque::from(["put", "back"]));
    assert_eq!(receiver.end(&queue), (VecDeque::new(), VecDeque::from(["put", "back", "late"])));
    assert_eq!(queue.push_internal("too late"), Err("too late"));
    assert_eq!(receiver.next_internal(&queue), None);
    assert_eq!(receiver.park(&queue, For::Messages), Park::Busy, "it was told");
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
}

#[test]
fn a_shut_queue_keeps_what_it_has_takes_notices_and_refuses_messages_and_those_who_wait() {
    let (queue, mut receiver) = running::<u64, ()>(2);
    assert!(queue.push(0, Room::Ordinary).is_ok());
    let permit = queue.try_reserve(Room::Ordinary).unwrap();
    let mut waiter = Waiter::new(&queue);
    assert!(waiter.poll().is_pending());

    queue.shut();
    assert_eq!(waiter.times_woken(), 1);
    assert!(matches!(waiter.poll(), Poll::Ready(Err(()))));
    assert_eq!(permit.push(1), Err(1));
    for room in [Room::Ordinary, Room::Adapted] {
        assert_eq!(queue.push(2, room), Err((Refusal::Stopped, 2)));
        assert_eq!(queue.try_reserve(room).err(), Some(Refusal::Stopped));
    }
    assert!(matches!(Waiter::new(&queue).poll(), Poll::Ready(Err(()))));
    assert!(queue.is_closed());

    assert!(queue.push(3, Room::Unbounded).is_ok(), "a notice");
    assert!(!receiver.is_empty(&queue));
    assert_eq!(drain(&mut receiver, &queue), [0, 3]);
    assert!(receiver.is_empty(&queue));
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert_eq!(queue.push(4, Room::Unbounded), Ok(Wake::Schedule));
    assert_eq!(receiver.close(&queue), [4]);
    assert_eq!(queue.push(5, Room::Unbounded), Err((Refusal::Stopped, 5)));
}

#[test]
fn a_queue_that_never_had_a_message_can_be_closed() {
    let (queue, mut receiver) = running::<u64, ()>(3);
    assert!(receiver.close(&queue).is_empty());
    assert_eq!(queue.push(1, Room::Ordinary), Err((Refusal::Stopped, 1)));
    assert_eq!(receiver.pop(&queue), None);
}

/// Whoever drops a queue drops all that is in it, even if some of it does not want to.
#[test]
fn nothing_is_leaked() {
    struct Counted(Arc<AtomicUsize>, bool);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            assert!(!self.1, "a destructor that panics");
        }
    }
    for (pushed, popped, panics) in [(0, 0, false), (3, 0, false), (4, 4, false), (300, 190, false), (300, 84, true)] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (queue, mut receiver) = running(usize::MAX);
        for number in 0..pushed {
            let bad = panics && number == pushed - 5;
            assert!(queue.push(Counted(dropped.clone(), bad), Room::Ordinary).is_ok());
            assert!(queue.push_internal(Counted(dropped.clone(), false)).is_ok());
        }
        for _ in 0..popped {
            assert!(receiver.pop(&queue).is_some() && receiver.next_internal(&queue).is_some());
        }
        assert_eq!(dropped.load(Ordering::SeqCst), 2 * popped);
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(queue)));
        assert_eq!(end.is_err(), panics);
        assert_eq!((dropped.load(Ordering::SeqCst), Arc::strong_count(&dropped)), (2 * pushed, 1));
    }
}
