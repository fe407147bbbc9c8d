//! The seams between blocks.

use super::*;

#[test]
fn one_producer_crosses_blocks_while_the_consumer_follows() {
    bounded(2, || {
        let subject = Subject::running(usize::MAX);
        let pusher = with(&subject, |subject| {
            for number in 0..4 {
                let wake = subject.push(number);
                subject.run_if_woken(wake);
            }
        });
        subject.run();
        pusher.join().unwrap();
        assert_eq!(subject.messages(), [0, 1, 2, 3]);
    });
}

#[test]
fn two_producers_cross_blocks_while_the_consumer_follows() {
    bounded(2, || {
        let subject = Subject::running(usize::MAX);
        let pushers = [0, 10].map(|first| {
            with(&subject, move |subject| {
                for number in first..first + 2 {
                    let wake = subject.push(number);
                    subject.run_if_woken(wake);
                }
            })
        });
        subject.run();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        let seen = subject.messages();
        let of =
            |first: u32| seen.iter().filter(|number| (first..first + 10).contains(number)).collect::<VecDeque<_>>();
        assert_eq!(of(0), [&0, &1]);
        assert_eq!(of(10), [&10, &11]);
    });
}

/// The spent block goes from the consumer to a producer that needs one, or back to the allocator.
#[test]
fn a_spent_block_is_used_again() {
    bounded(2, || {
        let subject = Subject::running(usize::MAX);
        for number in 0..4 {
            assert_eq!(subject.push(number), Wake::No);
        }
        let pusher = with(&subject, |subject| {
            for number in 4..8 {
                let wake = subject.push(number);
                subject.run_if_woken(wake);
            }
        });
        subject.run();
        pusher.join().unwrap();
        assert_eq!(subject.messages(), [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

/// Two blocks go to and fro, and what lies in them of the time before last is not taken for what comes now.
#[test]
fn a_block_that_turned_twice_is_as_good_as_new() {
    bounded(2, || {
        let subject = Subject::asleep(usize::MAX);
        let push = |subject: &Subject, number| {
            let wake = subject.push(number);
            subject.run_if_woken(wake);
        };
        (0..9).for_each(|number| push(&subject, number));
        let pusher = with(&subject, move |subject| (10..13).for_each(|number| push(subject, number)));
        (20..22).for_each(|number| push(&subject, number));
        pusher.join().unwrap();
        let seen = subject.messages();
        assert_eq!(seen[..9], (0..9).collect::<Vec<_>>());
        let of = |first: u32| seen.iter().filter(|&&number| number / 10 * 10 == first).collect::<VecDeque<_>>();
        assert_eq!(of(10), [&10, &11, &12]);
        assert_eq!(of(20), [&20, &21]);
    });
}
