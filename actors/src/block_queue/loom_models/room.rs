//! Bounds are exact whoever comes together, and room that is made is told to who waits for it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use loom::sync::{Condvar, Mutex};

use super::*;

/// Wakes a thread of the model.
struct Bell(Mutex<bool>, Condvar);

impl std::task::Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }
}

pub(super) fn wait_for<F: Future>(future: F) -> F::Output {
    let bell = std::sync::Arc::new(Bell(Mutex::new(false), Condvar::new()));
    let waker = bell.clone().into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut rung = bell.0.lock().unwrap();
        while !*rung {
            rung = bell.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

fn sends(number: u32) -> impl FnOnce(&Subject) -> bool {
    move |subject| match wait_for(subject.queue.reserve()) {
        Ok(permit) => match permit.push(number) {
            Ok(wake) => {
                subject.run_if_woken(wake);
                true
            }
            Err(back) => {
                assert_eq!(back, number);
                false
            }
        },
        Err(()) => false,
    }
}

#[test]
fn a_sender_that_comes_to_wait_is_granted_what_is_made_room() {
    check(|| {
        let subject = Subject::running(1);
        assert_eq!(subject.push(0), Wake::No);
        let sender = with(&subject, sends(1));
        subject.run();
        assert!(sender.join().unwrap());
        assert_eq!(subject.messages(), [0, 1]);
    });
}

#[test]
fn two_senders_that_wait_are_granted_one_after_the_other() {
    bounded(2, || {
        let subject = Subject::running(1);
        assert_eq!(subject.push(0), Wake::No);
        let senders = [with(&subject, sends(1)), with(&subject, sends(2))];
        subject.run();
        assert!(senders.into_iter().all(|sender| sender.join().unwrap()));
        assert_eq!(subject.sorted(), [0, 1, 2]);
    });
}

#[test]
fn a_place_that_is_given_up_goes_to_the_next() {
    bounded(2, || {
        let subject = Subject::running(1);
        assert_eq!(subject.push(0), Wake::No);
        let quitter = with(&subject, |subject| {
            let mut reserve = pin!(subject.queue.reserve());
            let _ = reserve.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).map(drop);
        });
        let sender = with(&subject, sends(1));
        subject.run();
        quitter.join().unwrap();
        assert!(sender.join().unwrap());
        assert_eq!(subject.messages(), [0, 1]);
    });
}

#[test]
fn who_waits_is_refused_by_a_close() {
    check(|| {
        let subject = Subject::running(1);
        assert_eq!(subject.push(0), Wake::No);
        let sender = with(&subject, |subject| wait_for(subject.queue.reserve()).is_err());
        assert_eq!(receiver().close(&subject.queue), [0]);
        assert!(sender.join().unwrap());
    });
}

#[test]
fn one_place_goes_to_a_push_or_a_permit() {
    check(|| {
        let subject = Subject::running(1);
        let pusher = with(&subject, |subject| subject.queue.push(1, Room::Ordinary).is_ok());
        let permit = subject.queue.try_reserve(Room::Ordinary);
        let pushed = pusher.join().unwrap();
        assert!(pushed != permit.is_ok(), "one of them");
        if let Ok(permit) = permit {
            assert!(subject.queue.push(2, Room::Ordinary).is_err());
            assert_eq!(permit.push(3), Ok(Wake::No));
        }
        assert!(subject.queue.push(4, Room::Ordinary).is_err());
        subject.run();
        assert_eq!(subject.messages().len(), 1);
    });
}

#[test]
fn permits_and_pushes_never_exceed_the_bound() {
    check(|| {
        let subject = Subject::running(2);
        let with_permit = with(&subject, |subject| match subject.queue.try_reserve(Room::Ordinary) {
            Ok(permit) => u32::from(permit.push(1).is_ok()),
            Err(_) => 0,
        });
        let pusher = with(&subject, |subject| {
            u32::from(subject.queue.push(2, Room::Ordinary).is_ok())
                + u32::from(subject.queue.push(3, Room::Ordinary).is_ok())
        });
        assert_eq!(with_permit.join().unwrap() + pusher.join().unwrap(), 2);
        assert_eq!(subject.queue.len(), 2);
    });
}

#[test]
fn a_notice_neither_takes_room_nor_makes_any() {
    check(|| {
        let subject = Subject::running(1);
        let watched = with(&subject, |subject| assert!(subject.queue.push(7, Room::Unbounded).is_ok()));
        let first = subject.queue.push(1, Room::Ordinary);
        let second = subject.queue.push(2, Room::Ordinary);
        watched.join().unwrap();
        assert_eq!((first, second), (Ok(Wake::No), Err((Refusal::Full, 2))));
        subject.run();
        assert_eq!(subject.sorted(), [1, 7]);
    });
}

#[test]
fn a_bounded_push_has_room_as_soon_as_the_consumer_sleeps() {
    check(|| {
        let subject = Subject::running(1);
        assert_eq!(subject.push(0), Wake::No);
        let pusher = with(&subject, |subject| match subject.queue.push(1, Room::Ordinary) {
            Ok(wake) => {
                subject.run_if_woken(wake);
                true
            }
            Err(_) => false,
        });
        subject.run();
        let second = pusher.join().unwrap();
        assert_eq!(subject.messages().len(), 1 + usize::from(second));
        let wake = subject.push(2);
        assert_eq!(wake, Wake::Schedule);
        subject.run_if_woken(wake);
        assert_eq!(subject.messages(), [2]);
    });
}

/// It counts until the run is over; then its room goes to who waits, while a permit is out.
#[test]
fn the_room_of_the_message_that_woke_the_consumer_is_granted() {
    bounded(2, || {
        let subject = Subject::asleep(2);
        let wake = subject.push(0);
        assert_eq!(wake, Wake::Schedule);
        let permit = subject.queue.try_reserve(Room::Ordinary).expect("room for two");
        let sender = with(&subject, sends(1));
        subject.run_if_woken(wake);
        assert!(sender.join().unwrap());
        assert_eq!(subject.messages(), [0, 1]);
        assert_eq!(permit.push(2), Ok(Wake::Schedule));
        subject.run();
        assert_eq!(subject.messages(), [2]);
    });
}
