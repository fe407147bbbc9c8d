//! Eight producers against a consumer that parks, yields, and is run by whoever has to.

use std::sync::atomic::Ordering;
use std::thread;

use super::*;

const PRODUCERS: u64 = 8;
const EACH: u64 = if cfg!(miri) { 50 } else { 1_000 };

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

    /// Either leaves the consumer to the workers, or runs it here.
    fn run_somewhere(&self, wake: Wake, dice: u64) {
        if wake == Wake::Schedule {
            match dice % 3 {
                0 => self.hints.send(()).unwrap(),
                _ => self.run(),
            }
        }
    }

    fn run(&self) {
        let queue = &self.queue;
        // SAFETY: used while it has the right, which `seen` checks.
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
                receiver.yield_now(queue);
                return self.schedule(Wake::Schedule);
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
                            Ok(()) => stress.run(),
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
