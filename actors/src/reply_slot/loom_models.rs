//! Models of one answer and its asker under every interleaving. The timer is not touched: it is the asker's alone.

use std::sync::atomic::{AtomicUsize, Ordering as Plain};

use loom::model::Builder;
use loom::sync::{Arc as Checked, Condvar, Mutex};
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

type Slot = Checked<ReplySlot<Answer>>;

/// `model` gets a slot and what counts the answers dropped, and says how many it has made.
fn check(model: impl Fn(Slot, &Arc<AtomicUsize>) -> usize + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(move || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let made = model(Checked::from_std(ReplySlot::new()), &dropped);
        assert_eq!(dropped.load(Plain::Relaxed), made, "each answer is dropped once");
    });
}

fn fills(slot: &Slot, number: u32, dropped: &Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    let (slot, answer) = (slot.clone(), Answer(number, dropped.clone()));
    thread::spawn(move || slot.fill(Ok(answer)))
}

fn poll(slot: &Slot, waker: &Waker) -> Poll<u32> {
    slot.poll(&mut Context::from_waker(waker)).map(|outcome| outcome.map_or(0, |answer| answer.0))
}

fn waits(slot: &Slot) -> u32 {
    let bell = Bell::new();
    let waker = bell.clone().into();
    loop {
        if let Poll::Ready(number) = poll(slot, &waker) {
            return number;
        }
        bell.wait();
    }
}

#[test]
fn an_asker_that_goes_to_wait_is_woken() {
    check(|slot, dropped| {
        let filler = fills(&slot, 7, dropped);
        assert_eq!(waits(&slot), 7);
        assert!(slot.is_over());
        assert_eq!(poll(&slot, Waker::noop()), Poll::Ready(0), "it was taken");
        filler.join().expect("no panic");
        1
    });
}

#[test]
fn of_two_that_answer_one_does() {
    check(|slot, dropped| {
        let fillers = [fills(&slot, 1, dropped), fills(&slot, 2, dropped)];
        assert!(matches!(waits(&slot), 1 | 2));
        drop(slot);
        fillers.into_iter().for_each(|filler| filler.join().expect("no panic"));
        2
    });
}

/// The first waker is nobody's any more; only the second counts.
#[test]
fn who_polls_again_is_woken_by_the_last_waker() {
    check(|slot, dropped| {
        let filler = fills(&slot, 7, dropped);
        let number = match poll(&slot, Waker::noop()) {
            Poll::Ready(number) => number,
            Poll::Pending => waits(&slot),
        };
        assert_eq!(number, 7);
        filler.join().expect("no panic");
        1
    });
}

#[test]
fn an_answer_is_taken_by_who_gives_up_or_dropped() {
    check(|slot, dropped| {
        let filler = fills(&slot, 7, dropped);
        let bell = Bell::new();
        let ready = poll(&slot, &bell.clone().into());
        let late = slot.give_up();
        match ready {
            Poll::Ready(number) => assert!(number == 7 && late.is_none()),
            Poll::Pending => assert!(late.is_none_or(|outcome| outcome.is_ok_and(|answer| answer.0 == 7))),
        }
        assert!(slot.is_over());
        assert!(slot.give_up().is_none());
        filler.join().expect("no panic");
        drop(slot);
        assert_eq!(Arc::strong_count(&bell), 1, "the waker goes with the slot");
        1
    });
}

/// Two may answer while the asker leaves; whoever has the slot last drops what is in it.
#[test]
fn whoever_goes_last_drops_what_is_there() {
    check(|slot, dropped| {
        let fillers = [fills(&slot, 1, dropped), fills(&slot, 2, dropped)];
        let _ = poll(&slot, Waker::noop());
        drop(slot);
        fillers.into_iter().for_each(|filler| filler.join().expect("no panic"));
        2
    });
}
