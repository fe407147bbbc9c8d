//! Models of one answer and its asker under every interleaving. The timer is not touched: it is the asker's alone.

use std::sync::atomic::{AtomicUsize, Ordering as Plain};

use std::sync::Arc;

use loom::model::Builder;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::*;

/// Wakes a thread of the model. Who is never woken deadlocks, which the checker reports.
struct Bell(Mutex<bool>, Condvar);

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(false), Condvar::new()))
    }

    fn wait(&self) {
        let mut rung = self.0.lock().expect("no panic");
        while !*rung {
            rung = self.1.wait(rung).expect("no panic");
        }
        *rung = false;
    }
}

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock().expect("no panic") = true;
        self.1.notify_one();
    }
}

/// An answer that tells of its end.
struct Answer(u32, Arc<AtomicUsize>);

impl Drop for Answer {
    fn drop(&mut self) {
        self.1.fetch_add(1, Plain::Relaxed);
    }
}

/// `model` gets both ends of a slot and what counts the answers dropped, and says how many it has made.
fn check(model: impl Fn(Filler<Answer>, Asker<Answer>, &Arc<AtomicUsize>) -> usize + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (filler, asker) = pair();
        let made = model(filler, asker, &dropped);
        assert_eq!(dropped.load(Plain::Relaxed), made, "each answer is dropped once");
    });
}

fn fills(filler: Filler<Answer>, number: u32, dropped: &Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    let answer = Answer(number, dropped.clone());
    thread::spawn(move || filler.fill(Ok(answer)))
}

fn number(outcome: Result<Answer, AskError>) -> u32 {
    match outcome {
        Ok(answer) => answer.0,
        Err(AskError::Cycle) => CYCLE,
        Err(_) => 0,
    }
}

const CYCLE: u32 = 99;

fn poll(asker: &mut Asker<Answer>, waker: &Waker) -> Poll<u32> {
    asker.poll(&mut Context::from_waker(waker)).map(number)
}

fn waits(asker: &mut Asker<Answer>) -> u32 {
    let bell = Bell::new();
    let waker = bell.clone().into();
    loop {
        if let Poll::Ready(number) = poll(asker, &waker) {
            return number;
        }
        bell.wait();
    }
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn an_asker_that_goes_to_wait_is_woken() {
    check(|filler, mut asker, dropped| {
        let filler = fills(filler, 7, dropped);
        assert_eq!(waits(&mut asker), 7);
        assert_eq!(poll(&mut asker, Waker::noop()), Poll::Ready(0), "it was taken");
        join([filler]);
        1
    });
}

#[test]
fn of_two_that_answer_one_does() {
    check(|filler, mut asker, dropped| {
        let fillers = [fills(filler.clone(), 1, dropped), fills(filler, 2, dropped)];
        assert!(matches!(waits(&mut asker), 1 | 2));
        drop(asker);
        join(fillers);
        2
    });
}

/// The one that is left may take the short way, whatever the other did to the count.
#[test]
fn one_of_two_that_might_answer_only_leaves() {
    check(|filler, mut asker, dropped| {
        let other = filler.clone();
        let other = thread::spawn(move || {
            let _ = other.is_closed();
        });
        let filler = fills(filler, 1, dropped);
        assert_eq!(waits(&mut asker), 1);
        join([filler, other]);
        1
    });
}

/// The first waker is nobody's any more; only the second counts.
#[test]
fn who_polls_again_is_woken_by_the_last_waker() {
    check(|filler, mut asker, dropped| {
        let filler = fills(filler, 7, dropped);
        let number = match poll(&mut asker, Waker::noop()) {
            Poll::Ready(number) => number,
            Poll::Pending => waits(&mut asker),
        };
        assert_eq!(number, 7);
        join([filler]);
        1
    });
}

#[test]
fn an_answer_is_taken_by_who_gives_up_or_dropped() {
    check(|filler, mut asker, dropped| {
        let filler = fills(filler, 7, dropped);
        let bell = Bell::new();
        let ready = poll(&mut asker, &bell.clone().into());
        let late = asker.give_up();
        match ready {
            Poll::Ready(number) => assert!(number == 7 && late.is_none()),
            Poll::Pending => assert!(late.is_none_or(|outcome| number(outcome) == 7)),
        }
        assert!(asker.give_up().is_none());
        join([filler]);
        drop(asker);
        assert_eq!(Arc::strong_count(&bell), 1, "the waker goes with the slot");
        1
    });
}

/// Who gives up holds on to nobody that waits, however long the question is kept.
#[test]
fn a_waker_goes_when_the_asker_does() {
    check(|filler, mut asker, _| {
        let bell = Bell::new();
        assert!(poll(&mut asker, &bell.clone().into()).is_pending());
        let dropped = thread::spawn(move || drop(asker));
        let _ = filler.is_closed();
        join([dropped]);
        assert!(filler.is_closed());
        assert_eq!(Arc::strong_count(&bell), 1);
        0
    });
}

/// Two may answer while the asker leaves; whoever has the slot last drops what is in it.
#[test]
fn whoever_goes_last_drops_what_is_there() {
    check(|filler, mut asker, dropped| {
        let fillers = [fills(filler.clone(), 1, dropped), fills(filler, 2, dropped)];
        let _ = poll(&mut asker, Waker::noop());
        drop(asker);
        join(fillers);
        2
    });
}

#[test]
fn one_answers_while_the_asker_leaves() {
    check(|filler, asker, dropped| {
        let filler = fills(filler, 1, dropped);
        drop(asker);
        join([filler]);
        1
    });
}

/// An ask goes in a circle, or is answered; in either case the asker goes on, and once.
#[test]
fn a_circle_ends_an_ask_or_comes_too_late() {
    check(|filler, mut asker, dropped| {
        let circle = asker.circle();
        let circle = thread::spawn(move || circle.fail());
        let filler = fills(filler, 7, dropped);
        assert!(matches!(waits(&mut asker), 7 | CYCLE));
        drop(asker);
        join([filler, circle]);
        1
    });
}

/// The chain of asks comes to hold the slot while its only filler is on its way.
#[test]
fn a_circle_that_is_made_meanwhile_keeps_the_answer() {
    check(|filler, mut asker, dropped| {
        let filler = fills(filler, 7, dropped);
        let circle = asker.circle();
        assert_eq!(waits(&mut asker), 7);
        drop(asker);
        assert!(circle.is_answered());
        join([filler]);
        1
    });
}

#[test]
fn a_circle_and_two_that_answer() {
    check(|filler, mut asker, dropped| {
        let circle = asker.circle();
        let fillers = [fills(filler.clone(), 1, dropped), fills(filler, 2, dropped)];
        circle.fail();
        assert!(matches!(waits(&mut asker), 1 | 2 | CYCLE));
        drop((asker, circle));
        join(fillers);
        2
    });
}

#[test]
fn a_circle_and_an_asker_that_leaves() {
    check(|filler, mut asker, _| {
        let circle = asker.circle();
        let circle = thread::spawn(move || circle.fail());
        let bell = Bell::new();
        let _ = poll(&mut asker, &bell.clone().into());
        drop(asker);
        join([circle]);
        assert!(filler.is_closed());
        drop(filler);
        assert_eq!(Arc::strong_count(&bell), 1, "the waker goes with the slot");
        0
    });
}
