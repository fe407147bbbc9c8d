//! Who waits for whom: enough to see that an ask has come back to an actor that cannot answer it.
//!
//! An ask made inside a handler carries a [`Link`] to the receiver. When the receiver, handling that very message,
//! awaits an ask to an actor further up the chain, and that actor still awaits its own ask, nobody can move: the ask
//! fails with [`AskError::Cycle`](crate::AskError::Cycle). Independent chains are left to the time limit.

use std::any::type_name;
use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use pin_project_lite::pin_project;

use crate::event_stream::DeadLetterReason;
use crate::path::ActorPath;
use crate::system::ActorSystem;

thread_local! {
    /// The actor whose task this thread is polling.
    static CURRENT: RefCell<Option<Arc<Turn>>> = const { RefCell::new(None) };
}

/// What an actor is doing, as far as asks need to know.
pub(crate) struct Turn {
    path: ActorPath,
    system: ActorSystem,
    /// The ask behind the message in hand.
    cause: Mutex<Option<Arc<Link>>>,
    /// The task was polled anew since the actor last looked.
    resumed: AtomicBool,
    /// Which of its turns the actor takes.
    number: AtomicU64,
}

impl Turn {
    pub(crate) fn new(path: ActorPath, system: ActorSystem) -> Arc<Self> {
        Arc::new(Self {
            path,
            system,
            cause: Mutex::new(None),
            resumed: AtomicBool::new(false),
            number: AtomicU64::new(0),
        })
    }

    /// Counts messages to this actor that are dropped in its turn.
    pub(crate) fn dead_letters<M>(&self, count: usize, reason: DeadLetterReason) {
        for _ in 0..count {
            self.system.event_stream().dead_letter(&self.path, type_name::<M>(), reason);
        }
    }

    pub(crate) fn path(&self) -> &ActorPath {
        &self.path
    }

    pub(crate) fn set_cause(&self, cause: Option<Arc<Link>>) {
        *self.cause.lock() = cause;
    }

    /// A turn is over; asks put aside in it hold nobody up. Called by the actor's own task alone.
    pub(crate) fn next(&self) {
        self.number.store(self.number.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Whether the actor was suspended, so that any time may have passed, since it last called this. Only the actor's
    /// own task writes and reads.
    pub(crate) fn was_suspended(&self) -> bool {
        let resumed = self.resumed.load(Ordering::Relaxed);
        if resumed {
            self.resumed.store(false, Ordering::Relaxed);
        }
        resumed
    }

    /// The actor that is running on this thread, if any.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }
}

/// One ask made inside a handler.
pub(crate) struct Link {
    asker: Arc<Turn>,
    /// The ask behind the message in whose handling this one was made. Given up with this ask: nobody waits through it
    /// any more, and a chain of asks is as long as those that wait.
    cause: Mutex<Option<Arc<Link>>>,
    over: AtomicBool,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    /// The ask, once the asker's handler is suspended on it, and the number of that turn.
    awaited: Option<(u64, Arc<dyn Returning>)>,
    /// Asks that came back to the asker and would close a cycle as soon as it awaits.
    returning: Vec<Arc<dyn Returning>>,
}

/// An ask that can be told that it went in a circle.
pub(crate) trait Returning: Send + Sync {
    fn fail_with_cycle(&self);
    /// Whether its asker can go on.
    fn is_answered(&self) -> bool;
}

impl Link {
    /// A link for an ask made right now, if it is made inside a handler.
    pub(crate) fn for_ask_made_here() -> Option<Arc<Self>> {
        let asker = Turn::current()?;
        let cause = asker.cause.lock().as_ref().filter(|cause| !cause.is_over()).cloned();
        let (cause, over) = (Mutex::new(cause), AtomicBool::new(false));
        Some(Arc::new(Self { asker, cause, over, state: Mutex::default() }))
    }

    /// Called when this ask has no answer yet and its future is polled.
    ///
    /// Returns `true` if `target` can never answer because it waits, in the end, for this very ask.
    pub(crate) fn awaits(&self, target: &ActorPath, ask: &Arc<dyn Returning>) -> bool {
        // Piped to another task the ask blocks nobody.
        if !Turn::current().is_some_and(|turn| Arc::ptr_eq(&turn, &self.asker)) {
            return false;
        }
        if self.asker.path == *target {
            return true;
        }
        let returning = {
            let mut state = self.state.lock();
            state.awaited = Some((self.asker.number(), ask.clone()));
            mem::take(&mut state.returning)
        };
        returning.iter().for_each(|ask| ask.fail_with_cycle());

        let mut cause = self.cause();
        while let Some(link) = cause {
            if link.asker.path == *target {
                let mut state = link.state.lock();
                match &state.awaited {
                    Some((_, awaited)) if awaited.is_answered() => {}
                    Some((turn, _)) if *turn == link.asker.number() => return true,
                    // Sent but not awaited yet, or put aside: whoever comes second closes the circle.
                    Some(_) | None => state.returning.push(ask.clone()),
                }
            }
            cause = link.cause();
        }
        false
    }

    /// Whether the turn in which this ask was awaited, if any, is over: awaited now it is awaited anew.
    pub(crate) fn is_new_turn(&self) -> bool {
        self.state.lock().awaited.as_ref().is_none_or(|(turn, _)| *turn != self.asker.number())
    }

    fn cause(&self) -> Option<Arc<Self>> {
        self.cause.lock().clone()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The ask is answered, or given up.
    pub(crate) fn over(&self) {
        self.over.store(true, Ordering::Release);
        let over = mem::take(&mut *self.state.lock());
        let cause = self.cause.lock().take();
        drop((over, cause)); // outside the locks
    }
}

pin_project! {
    /// Runs an actor's task with its [`Turn`] as the current one.
    pub(crate) struct InTurn<F> {
        turn: Option<Arc<Turn>>,
        #[pin]
        future: F,
    }
}

impl<F: Future> InTurn<F> {
    pub(crate) fn new(turn: Arc<Turn>, future: F) -> Self {
        Self { turn: Some(turn), future }
    }
}

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        /// Also when the poll panics: the thread goes on with other actors.
        struct Leave<'a> {
            turn: &'a mut Option<Arc<Turn>>,
            outer: Option<Arc<Turn>>,
        }
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                *self.turn = CURRENT.replace(self.outer.take());
            }
        }
        if let Some(turn) = &*this.turn {
            turn.resumed.store(true, Ordering::Relaxed);
        }
        let outer = CURRENT.replace(this.turn.take());
        let _leave = Leave { turn: this.turn, outer };
        this.future.poll(cx)
    }
}
