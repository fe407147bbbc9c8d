//! Models of the queue under every interleaving a few threads can have. Blocks have one, two, four or
//! eight slots here.
//!
//! Whoever has to schedule the consumer runs it on the spot. That at most one does is for the checker to see: the consumer's
//! part lies in a cell that must not be reached by two without order between them. Nothing may be leaked, either.

mod closing;
mod room;
mod seams;
mod shutting;
mod sleep;

use std::collections::VecDeque;
use std::sync::Mutex as Plain;

use super::*;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, hint};

/// Runs `model` under all interleavings with at most three forced switches between threads, unless told otherwise.
fn check(model: impl Fn() + Send + Sync + 'static) {
    bounded(3, model);
}

fn bounded(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    builder.check(model);
}

/// A queue, and what its consumer has seen, in order.
struct Subject {
    queue: Queue<u32, u32>,
    messages: Plain<Vec<u32>>,
    internal: Plain<Vec<u32>>,
    /// Goes from hand to hand as it does in a run queue: with all that was done before.
    hint: crate::sync::atomic::AtomicBool,
}

impl Subject {
    /// Run by the caller.
    fn running(capacity: usize) -> Arc<Self> {
        let queue = Queue::new(capacity);
        Arc::new(Self {
            queue,
            messages: Plain::default(),
            internal: Plain::default(),
            hint: crate::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Asleep; in the order of things long ago.
    fn asleep(capacity: usize) -> Arc<Self> {
        let subject = Self::running(capacity);
        assert_eq!(receiver().park(&subject.queue, For::Messages), Park::Parked);
        subject
    }

    fn push(&self, value: u32) -> Wake {
        self.queue.push(value, Room::Ordinary).expect("room")
    }

    fn run_if_woken(&self, wake: Wake) {
        if wake == Wake::Schedule {
            self.run();
        }
    }

    /// Until it parks.
    fn run(&self) {
        loop {
            self.look();
            if receiver().park(&self.queue, For::Messages) == Park::Parked {
                return;
            }
            hint::spin_loop();
        }
    }

    /// Takes what is there.
    fn look(&self) {
        let mut receiver = receiver();
        while let Some(item) = receiver.next_internal(&self.queue) {
            self.internal.lock().unwrap().push(item);
        }
        while let Some(message) = receiver.pop(&self.queue) {
            self.messages.lock().unwrap().push(message);
        }
    }

    fn messages(&self) -> Vec<u32> {
        std::mem::take(&mut self.messages.lock().unwrap())
    }

    fn sorted(&self) -> Vec<u32> {
        let mut messages = self.messages();
        messages.sort_unstable();
        messages
    }

    fn internal(&self) -> Vec<u32> {
        let mut items = std::mem::take(&mut *self.internal.lock().unwrap());
        items.sort_unstable();
        items
    }
}

fn receiver() -> Receiver<u32, u32> {
    // SAFETY: the models use it only with the right; that they have it is what is checked.
    #[allow(unsafe_code)]
    unsafe {
        Receiver::new()
    }
}

fn with<R: 'static>(subject: &Arc<Subject>, f: impl FnOnce(&Subject) -> R + 'static) -> JoinHandle<R> {
    let subject = subject.clone();
    thread::spawn(move || f(&subject))
}
