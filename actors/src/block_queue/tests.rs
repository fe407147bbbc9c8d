//! What one thread can see, and what many threads add up to.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use proptest::prelude::*;

use super::*;

type Plain = Queue<u64, &'static str>;

/// A queue that runs, and its receiver.
fn running<T, I>(capacity: usize) -> (Queue<T, I>, Receiver<T, I>) {
    let queue = Queue::new(capacity);
    assert!(queue.claim(), "born runnable");
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
    assert!(bytes <= 128, "{bytes} bytes");
}

#[test]
fn what_producers_and_consumer_write_often_lies_on_different_lines() {
    use std::mem::offset_of;
    assert_eq!(offset_of!(Plain, tail), 0);
    assert!(offset_of!(Plain, lane) >= 64 && offset_of!(Plain, own) >= 64);
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

#[test]
fn whoever_finds_the_consumer_asleep_schedules_it_and_nobody_else_does() {
    let (queue, mut receiver) = running::<_, &str>(10);
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert!(!queue.claim(), "nothing to run");
    assert_eq!(queue.push(1, Room::Ordinary), Ok(Wake::Schedule));
    assert_eq!(queue.push(2, Room::Ordinary), Ok(Wake::No));
    assert_eq!(queue.notify(), Wake::No);
    assert_eq!(queue.push_internal("stop"), Ok(Wake::No));
    assert!(queue.claim());
    assert!(!queue.claim(), "claimed already");
    assert_eq!(receiver.park(&queue, For::Messages), Park::Busy);
    assert_eq!(receiver.next_internal(&queue), Some("stop"));
    assert_eq!(drain(&mut receiver, &queue), [1, 2]);
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
}

#[test]
fn a_handler_that_waits_is_woken_by_its_waker_alone() {
    let (queue, mut receiver) = running(10);
    assert_eq!(receiver.park(&queue, For::Waker), Park::Parked);
    assert_eq!(queue.push(1, Room::Ordinary), Ok(Wake::No));
    assert_eq!(queue.push_internal("timer"), Ok(Wake::No));
    assert_eq!(queue.notify(), Wake::Schedule);
    assert!(queue.claim());
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
    assert!(queue.claim());
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
fn a_stale_hint_neither_runs_the_consumer_nor_takes_its_notice_away() {
    let (queue, mut receiver) = running(10);
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert_eq!(queue.push(1, Room::Ordinary), Ok(Wake::Schedule)); // the hint lies in a run queue
    assert!(queue.claim_inline());
    assert!(!queue.claim_inline());
    assert_eq!(receiver.pop(&queue), Some(1));
    assert_eq!(queue.notify(), Wake::No);
    assert!(!queue.claim(), "stale");
    assert_eq!(receiver.park(&queue, For::Messages), Park::Busy);
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert_eq!(queue.push(2, Room::Ordinary), Ok(Wake::Schedule), "the hint is gone");

    assert!(queue.claim_inline());
    assert_eq!(receiver.pop(&queue), Some(2));
    assert_eq!(receiver.park(&queue, For::Messages), Park::Parked);
    assert_eq!(queue.push_internal("stop"), Ok(Wake::No), "the hint is still there");
    assert!(queue.claim());
    assert_eq!(receiver.yield_now(&queue), Wake::Schedule);
    assert!(queue.claim_inline());
    assert_eq!(receiver.yield_now(&queue), Wake::No, "one hint is enough");
    assert!(queue.claim());
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

const PRODUCERS: u64 = 8;
const EACH: u64 = if cfg!(miri) { 50 } else { 3_000 };

/// What the consumer of the stress below has seen.
#[derive(Default)]
struct Seen {
    next: [u64; PRODUCERS as usize],
    internal: u64,
    turns: u64,
}

struct Stress {
    queue: Queue<(usize, u64), u64>,
    /// Taken out by whoever runs the consumer.
    seen: Mutex<Option<Seen>>,
    hints: std::sync::mpsc::Sender<()>,
}

impl Stress {
    fn schedule(&self, wake: Wake) {
        if wake == Wake::Schedule {
            self.hints.send(()).unwrap();
        }
    }

    /// Either leaves the consumer to the workers, or runs it here, with or without a hint left behind.
    fn run_somewhere(&self, wake: Wake, dice: u64) {
        if wake == Wake::Schedule {
            match dice % 3 {
                0 => self.hints.send(()).unwrap(),
                1 => self.run_if(self.queue.claim()),
                _ => {
                    self.hints.send(()).unwrap();
                    self.run_if(self.queue.claim_inline());
                }
            }
        }
    }

    fn run_if(&self, claimed: bool) {
        if !claimed {
            return;
        }
        let queue = &self.queue;
        // SAFETY: used while the claim is held, which `seen` checks.
        #[allow(unsafe_code)]
        let mut receiver = unsafe { Receiver::new() };
        loop {
            let mut seen = self.seen.lock().take().expect("one at a time");
            seen.turns += 1;
            while let Some(item) = receiver.next_internal(queue) {
                seen.internal += item;
            }
            let mut budget = 1 + seen.turns % 90;
            while budget > 0
                && let Some((producer, number)) = receiver.pop(queue)
            {
                assert_eq!(seen.next[producer], number, "producer {producer}");
                seen.next[producer] += 1;
                budget -= 1;
            }
            let until = if seen.turns.is_multiple_of(5) { For::Waker } else { For::Messages };
            *self.seen.lock() = Some(seen);
            if budget == 0 {
                return self.schedule(receiver.yield_now(queue));
            }
            if receiver.park(queue, until) == Park::Parked {
                return;
            }
        }
    }
}

#[test]
fn what_many_threads_push_is_run_by_one_at_a_time_and_in_order() {
    for capacity in [1, 64, usize::MAX] {
        let (hints, hinted) = std::sync::mpsc::channel();
        let stress = Stress { queue: Queue::new(capacity), seen: Mutex::new(Some(Seen::default())), hints };
        let hinted = std::sync::Mutex::new(hinted);
        let done = std::sync::atomic::AtomicBool::new(false);
        stress.schedule(Wake::Schedule);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        match hinted.lock().unwrap().try_recv() {
                            Ok(()) => stress.run_if(stress.queue.claim()),
                            Err(_) => thread::yield_now(),
                        }
                    }
                });
            }
            let producers: Vec<_> = (0..PRODUCERS as usize)
                .map(|producer| {
                    let stress = &stress;
                    scope.spawn(move || {
                        for number in 0..EACH {
                            let mut message = (producer, number);
                            let wake = loop {
                                match stress.queue.push(message, Room::Ordinary) {
                                    Ok(wake) => break wake,
                                    Err((refusal, back)) => {
                                        assert_eq!((refusal, back), (Refusal::Full, message));
                                        message = back;
                                        stress.run_somewhere(stress.queue.notify(), number);
                                        thread::yield_now();
                                    }
                                }
                            };
                            stress.run_somewhere(wake, number);
                            if number % 7 == 0 {
                                stress.run_somewhere(stress.queue.push_internal(number).unwrap(), number / 7);
                            }
                        }
                    })
                })
                .collect();
            for producer in producers {
                producer.join().unwrap();
            }
            let all = |seen: &Seen| seen.next == [EACH; PRODUCERS as usize];
            while !stress.seen.lock().as_ref().is_some_and(all) || stress.queue.notify() == Wake::No {
                stress.schedule(stress.queue.notify());
                thread::yield_now();
            }
            stress.schedule(Wake::Schedule); // the hint that ended the loop
            while !stress.queue.tail_is_asleep() {
                thread::yield_now();
            }
            done.store(true, Ordering::SeqCst);
        });
        let seen = stress.seen.into_inner().unwrap();
        let internal: u64 = (0..EACH).step_by(7).sum();
        assert_eq!(seen.internal, PRODUCERS * internal);
        assert_eq!(stress.queue.len(), 0);
    }
}

impl<T, I> Queue<T, I> {
    fn tail_is_asleep(&self) -> bool {
        self.tail.word.load(Ordering::SeqCst) & (ASLEEP | AWAITING) != 0
    }
}

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
    Claim,
    Inline,
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
        6 => Just(Step::Claim),
        2 => Just(Step::Inline),
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
    runnable: bool,
    queued: bool,
    notified: bool,
    closed: bool,
}

impl Model {
    fn counted(&self) -> usize {
        self.messages.iter().filter(|(_, counted)| *counted).count()
    }

    fn refusal(&self, room: Room) -> Option<Refusal> {
        let bound = match room {
            Room::Ordinary => self.capacity,
            Room::Adapted => self.capacity.saturating_mul(2),
            Room::Unbounded => usize::MAX,
        };
        let full = (self.counted() + self.reserved >= bound).then_some(Refusal::Full);
        if self.closed { Some(Refusal::Stopped) } else { full }
    }

    fn runs(&self) -> bool {
        self.parked.is_none() && !self.runnable
    }

    fn wake(&mut self, wakes: &[For]) -> Wake {
        match self.parked {
            Some(until) if wakes.contains(&until) => {
                self.parked = None;
                self.make_runnable()
            }
            _ => Wake::No,
        }
    }

    fn make_runnable(&mut self) -> Wake {
        (self.runnable, self.notified) = (true, false);
        if std::mem::replace(&mut self.queued, true) { Wake::No } else { Wake::Schedule }
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
        capacity in prop_oneof![1..5usize, Just(15usize), Just(usize::MAX)],
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let queue = Queue::<u64, u64>::new(capacity);
        // SAFETY: the model says who may use it.
        #[allow(unsafe_code)]
        let mut receiver = unsafe { Receiver::new() };
        let mut model = Model { capacity, runnable: true, queued: true, ..Model::default() };
        let mut permits = Vec::new();
        let mut number = 0;
        for step in steps {
            number += 1;
            match step {
                Step::Push(room) => {
                    let expected = match model.refusal(room) {
                        Some(refusal) => Err((refusal, number)),
                        None => {
                            model.messages.push_back((number, room != Room::Unbounded));
                            Ok(model.wake(&[For::Messages]))
                        }
                    };
                    prop_assert_eq!(queue.push(number, room), expected);
                }
                Step::Pop(times) if model.runs() => {
                    for _ in 0..times {
                        prop_assert_eq!(receiver.pop(&queue), model.messages.pop_front().map(|(number, _)| number));
                    }
                    receiver.flush(&queue);
                }
                Step::Reserve(room) => {
                    let permit = queue.try_reserve(room);
                    prop_assert_eq!(permit.as_ref().err().copied(), model.refusal(room));
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
                Step::Claim => {
                    prop_assert_eq!(queue.claim(), std::mem::take(&mut model.runnable));
                    model.queued = false;
                }
                Step::Inline => prop_assert_eq!(queue.claim_inline(), std::mem::take(&mut model.runnable)),
                Step::Yield if model.runs() => prop_assert_eq!(receiver.yield_now(&queue), model.make_runnable()),
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
