//! A queue that is shut takes no more messages, loses none it has taken, and is closed by its consumer as any other.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

/// A push that comes before is served, one that comes after is refused; who shut it sees only refusals.
#[test]
fn a_push_that_meets_a_shut_is_served_or_refused() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let pusher = with(&subject, |subject| {
            [1, 2].map(|number| match subject.queue.push(number, Room::Ordinary) {
                Ok(wake) => {
                    subject.run_if_woken(wake);
                    true
                }
                Err(refused) => {
                    assert_eq!(refused, (Refusal::Stopped, number));
                    false
                }
            })
        });
        let shutter = with(&subject, |subject| {
            subject.queue.shut();
            assert_eq!(subject.queue.push(3, Room::Adapted), Err((Refusal::Stopped, 3)));
        });
        subject.run();
        shutter.join().unwrap();
        let accepted = pusher.join().unwrap();
        assert!(accepted[0] || !accepted[1], "for good");
        assert_eq!(subject.messages(), [1, 2][..accepted.iter().filter(|accepted| **accepted).count()]);
    });
}

#[test]
fn a_shut_and_a_close_return_each_message_once() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let pusher = with(&subject, |subject| subject.queue.push(1, Room::Ordinary).is_ok());
        let shutter = with(&subject, |subject| subject.queue.shut());
        subject.look();
        let mut seen = subject.messages();
        seen.extend(receiver().close(&subject.queue));
        shutter.join().unwrap();
        assert_eq!(seen.len(), usize::from(pusher.join().unwrap()));
        assert!(subject.queue.is_closed());
        assert_eq!(subject.queue.push(2, Room::Unbounded), Err((Refusal::Stopped, 2)));
    });
}

/// A notice changes the flags of the word too.
#[test]
fn a_notice_is_taken_and_leaves_the_queue_shut() {
    check(|| {
        let subject = Subject::asleep(1);
        let watched = with(&subject, |subject| {
            let wake = subject.queue.push(7, Room::Unbounded).expect("not closed");
            subject.run_if_woken(wake);
        });
        subject.queue.shut();
        watched.join().unwrap();
        assert_eq!(subject.messages(), [7]);
        assert_eq!(subject.queue.push(1, Room::Ordinary), Err((Refusal::Stopped, 1)));
        assert!(matches!(subject.queue.try_reserve(Room::Ordinary), Err(Refusal::Stopped)));
    });
}

#[test]
fn room_set_aside_is_used_before_the_shut_or_refused() {
    check(|| {
        let subject = Subject::running(2);
        let late = subject.queue.try_reserve(Room::Ordinary).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let sender = with(&subject, |subject| match subject.queue.try_reserve(Room::Ordinary) {
            Ok(permit) => permit.push(1).is_ok(),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Stopped);
                false
            }
        });
        subject.queue.shut();
        assert_eq!(late.push(2), Err(2));
        let accepted = sender.join().unwrap();
        subject.run();
        assert_eq!(subject.messages().len(), usize::from(accepted));
    });
}

/// Who waits for room is told, and the consumer that makes some at this moment gives it to nobody for good.
#[test]
fn who_waits_is_refused_by_a_shut() {
    bounded(2, || {
        let subject = Subject::running(1);
        assert_eq!(subject.push(0), Wake::No);
        let sender = with(&subject, |subject| {
            let accepted = room::wait_for(subject.queue.reserve()).is_ok_and(|permit| permit.push(1).is_ok());
            let again = pin!(subject.queue.reserve()).poll(&mut Context::from_waker(Waker::noop()));
            assert!(accepted || again.is_ready(), "shut");
            accepted
        });
        let shutter = with(&subject, |subject| subject.queue.shut());
        subject.look();
        receiver().flush(&subject.queue);
        shutter.join().unwrap();
        let accepted = sender.join().unwrap();
        subject.look();
        assert_eq!(subject.messages().len(), 1 + usize::from(accepted));
    });
}
