//! Nothing that comes is slept through, and one at a time runs the consumer.

use super::*;
use crate::sync::atomic::AtomicBool;

#[test]
fn two_pushes_wake_a_sleeper_once() {
    check(|| {
        let subject = Subject::asleep(usize::MAX);
        let other = with(&subject, |subject| {
            let wake = subject.push(1);
            subject.run_if_woken(wake);
        });
        let wake = subject.push(2);
        subject.run_if_woken(wake);
        other.join().unwrap();
        assert_eq!(subject.sorted(), [1, 2]);
    });
}

#[test]
fn a_push_while_the_consumer_goes_to_sleep_is_seen() {
    bounded(2, || {
        let subject = Subject::running(usize::MAX);
        let pushers = [1, 2].map(|number| {
            with(&subject, move |subject| {
                let wake = subject.push(number);
                subject.run_if_woken(wake);
            })
        });
        subject.run();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        assert_eq!(subject.sorted(), [1, 2]);
    });
}

#[test]
fn internal_items_are_not_slept_through() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let senders = [1, 2].map(|number| {
            with(&subject, move |subject| {
                let wake = subject.queue.push_internal(number).unwrap();
                subject.run_if_woken(wake);
            })
        });
        subject.run();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(subject.internal(), [1, 2]);
    });
}

#[test]
fn items_and_messages_that_come_together_are_both_seen() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let sender = with(&subject, |subject| {
            let wake = subject.queue.push_internal(1).unwrap();
            subject.run_if_woken(wake);
        });
        let pusher = with(&subject, |subject| {
            let wake = subject.push(2);
            subject.run_if_woken(wake);
        });
        subject.run();
        sender.join().unwrap();
        pusher.join().unwrap();
        assert_eq!((subject.internal(), subject.messages()), (vec![1], vec![2]));
    });
}

/// A handler awaits `ready`; message and internal item that come meanwhile are for later, but not lost.
fn awaits(ready: &AtomicBool, subject: &Subject, done: &AtomicBool) {
    loop {
        if !done.load(Ordering::Relaxed) {
            if !ready.load(Ordering::Relaxed) {
                if receiver().park(&subject.queue, For::Waker) == Park::Parked {
                    return;
                }
                hint::spin_loop();
                continue;
            }
            done.store(true, Ordering::Relaxed);
        }
        subject.look();
        if receiver().park(&subject.queue, For::Messages) == Park::Parked {
            return;
        }
        hint::spin_loop();
    }
}

fn a_waker_meets(other: impl Fn(&Subject) -> Wake + Copy + Send + Sync + 'static) -> impl Fn() + Send + Sync + 'static {
    move || {
        let subject = Subject::running(usize::MAX);
        let flags = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
        let go_on = |subject: &Subject, flags: &(AtomicBool, AtomicBool), wake| {
            if wake == Wake::Schedule {
                awaits(&flags.0, subject, &flags.1);
            }
        };
        let waker = {
            let flags = flags.clone();
            with(&subject, move |subject| {
                flags.0.store(true, Ordering::Relaxed);
                go_on(subject, &flags, subject.queue.notify());
            })
        };
        let sender = {
            let flags = flags.clone();
            with(&subject, move |subject| go_on(subject, &flags, other(subject)))
        };
        awaits(&flags.0, &subject, &flags.1);
        waker.join().unwrap();
        sender.join().unwrap();
        assert!(flags.1.load(Ordering::Relaxed), "the handler went on");
        assert_eq!(subject.messages().len() + subject.internal().len(), 1);
    }
}

#[test]
fn a_waker_is_heard_by_who_goes_to_wait_for_it_and_a_message_waits() {
    check(a_waker_meets(|subject| subject.push(1)));
}

#[test]
fn a_waker_is_heard_by_who_goes_to_wait_for_it_and_an_item_waits() {
    check(a_waker_meets(|subject| subject.queue.push_internal(1).unwrap()));
}

#[test]
fn between_two_lives_items_are_heard_and_messages_stay() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let until_item = |subject: &Subject| {
            loop {
                if let Some(item) = receiver().next_internal(&subject.queue) {
                    subject.internal.lock().unwrap().push(item);
                    return subject.run();
                }
                if receiver().park(&subject.queue, For::Internal) == Park::Parked {
                    return;
                }
                hint::spin_loop();
            }
        };
        let sender = with(&subject, move |subject| {
            if subject.queue.push_internal(1).unwrap() == Wake::Schedule {
                // The item may have been heard already, and this be told of it late: then the next life has begun.
                if subject.internal.lock().unwrap().is_empty() { until_item(subject) } else { subject.run() }
            }
        });
        let pusher = with(&subject, |subject| {
            let wake = subject.push(2);
            subject.run_if_woken(wake);
        });
        until_item(&subject);
        sender.join().unwrap();
        pusher.join().unwrap();
        assert_eq!((subject.internal(), subject.messages()), (vec![1], vec![2]));
    });
}

/// The hint in the run queue, popped by another worker, against the asker that takes it back.
#[test]
fn a_hint_an_asker_and_a_push_run_one_at_a_time() {
    check(|| {
        let subject = Subject::asleep(usize::MAX);
        fn put(subject: &Subject, wake: Wake) {
            if wake == Wake::Schedule {
                assert!(!subject.hint.swap(true, Ordering::AcqRel), "one hint at a time");
            }
        }
        fn pop_hint(subject: &Subject) {
            if subject.hint.swap(false, Ordering::AcqRel) {
                subject.run();
            }
        }
        let asker = with(&subject, |subject| {
            put(subject, subject.push(1));
            pop_hint(subject);
        });
        let pusher = with(&subject, |subject| {
            put(subject, subject.push(2));
            put(subject, subject.queue.notify());
            pop_hint(subject);
        });
        pop_hint(&subject);
        asker.join().unwrap();
        pusher.join().unwrap();
        pop_hint(&subject);
        assert_eq!(subject.sorted(), [1, 2]);
    });
}

#[test]
fn who_yields_is_run_again_by_one() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let pusher = with(&subject, |subject| {
            let wake = subject.push(1);
            subject.run_if_woken(wake);
        });
        subject.look();
        receiver().yield_now(&subject.queue);
        subject.run();
        pusher.join().unwrap();
        assert_eq!(subject.messages(), [1]);
    });
}

/// What woke the consumer lies in a place of its own, and comes first however many come behind it.
#[test]
fn the_message_that_wakes_comes_before_those_behind_it() {
    bounded(2, || {
        let subject = Subject::asleep(usize::MAX);
        let pushers = [0, 10].map(|first| {
            with(&subject, move |subject| {
                for number in first..first + 2 {
                    let wake = subject.push(number);
                    subject.run_if_woken(wake);
                }
            })
        });
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        let seen = subject.messages();
        assert_eq!(seen.len(), 4);
        let at = |number| seen.iter().position(|&seen| seen == number).unwrap();
        assert!(at(0) < at(1) && at(10) < at(11), "{seen:?}");
    });
}

/// A handler of the runtime's own comes in between: the message that woke waits, and those behind it too.
#[test]
fn the_message_that_woke_waits_for_a_handler_that_comes_before_it() {
    check(|| {
        let subject = Subject::asleep(usize::MAX);
        assert_eq!(subject.push(0), Wake::Schedule);
        let pusher = with(&subject, |subject| {
            let wake = subject.push(1);
            subject.run_if_woken(wake);
        });
        assert_eq!(receiver().park(&subject.queue, For::Waker), Park::Parked);
        let waker = with(&subject, |subject| subject.run_if_woken(subject.queue.notify()));
        waker.join().unwrap();
        pusher.join().unwrap();
        assert_eq!(subject.messages(), [0, 1]);
    });
}

/// Two come to end the sleep: one does, and a close returns what was accepted, once and in order.
#[test]
fn a_close_returns_the_message_that_woke() {
    check(|| {
        let subject = Subject::asleep(usize::MAX);
        let pushers =
            [0, 10].map(|number| with(&subject, move |subject| (number, subject.queue.push(number, Room::Ordinary))));
        let pushed = pushers.map(|pusher| pusher.join().unwrap());
        let woke = pushed.iter().filter(|(_, pushed)| *pushed == Ok(Wake::Schedule)).count();
        assert_eq!(woke, 1);
        let late = with(&subject, |subject| subject.queue.push(20, Room::Ordinary).is_ok());
        let first = pushed.iter().find(|(_, pushed)| *pushed == Ok(Wake::Schedule)).unwrap().0;
        let returned = receiver().close(&subject.queue);
        assert_eq!(returned[0], first);
        assert_eq!(returned.len(), 2 + usize::from(late.join().unwrap()));
    });
}
