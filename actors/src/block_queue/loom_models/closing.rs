//! What is accepted is taken or returned; what is refused comes back.

use super::*;

fn pushes(numbers: std::ops::Range<u32>) -> impl FnOnce(&Subject) -> Vec<u32> {
    move |subject| {
        let accepted = |number: &u32| match subject.queue.push(*number, Room::Ordinary) {
            Ok(wake) => {
                assert_eq!(wake, Wake::No, "it runs");
                true
            }
            Err(refused) => {
                assert_eq!(refused, (Refusal::Stopped, *number));
                false
            }
        };
        numbers.filter(accepted).collect()
    }
}

#[test]
fn a_push_that_meets_a_close_is_returned_or_refused() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let pushers = [with(&subject, pushes(0..1)), with(&subject, pushes(10..11))];
        subject.look();
        let mut seen = subject.messages();
        seen.extend(receiver().close(&subject.queue));
        let mut accepted: Vec<_> = pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect();
        accepted.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, accepted);
        assert_eq!(receiver().pop(&subject.queue), None);
    });
}

#[test]
fn a_close_returns_all_blocks_in_order() {
    bounded(2, || {
        let subject = Subject::running(usize::MAX);
        let pusher = with(&subject, pushes(0..5));
        assert!(receiver().pop(&subject.queue).is_none_or(|message| {
            subject.messages.lock().unwrap().push(message);
            true
        }));
        let returned = receiver().close(&subject.queue);
        let mut seen = subject.messages();
        seen.extend(returned);
        assert_eq!(seen, pusher.join().unwrap());
    });
}

#[test]
fn what_comes_after_the_end_comes_back() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let late = with(&subject, |subject| {
            let message = subject.queue.push(1, Room::Unbounded).is_ok();
            let item = subject.queue.push_internal(2).is_ok();
            (message, item)
        });
        let (messages, items) = receiver().end(&subject.queue);
        let (message, item) = late.join().unwrap();
        assert_eq!(messages.len(), usize::from(message));
        assert_eq!(items.len(), usize::from(item));
        assert_eq!(subject.queue.push_internal(3), Err(3));
        assert_eq!(subject.queue.push(4, Room::Ordinary), Err((Refusal::Stopped, 4)));
    });
}

/// Nobody consumes any more; whoever goes last drops what is left.
#[test]
fn a_queue_is_dropped_with_what_is_in_it() {
    check(|| {
        let subject = Subject::running(usize::MAX);
        let pusher = with(&subject, |subject| {
            let _ = subject.push(1);
            let _ = subject.push(2);
        });
        assert!(subject.queue.push_internal(3).is_ok());
        let _ = receiver().pop(&subject.queue);
        drop(subject);
        pusher.join().unwrap();
    });
}
