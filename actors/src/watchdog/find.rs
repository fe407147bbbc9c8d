//! Which actor has a number.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::now;
use crate::cell_ref::ControlRef;
use crate::inspect::{Answer, Lane, Listener};
use crate::system::ActorSystem;

/// Actors asked for their children, at most.
const ASKED_MAX: usize = 100_000;

/// The actor of this number, if it is one of those at the top.
pub(super) fn at_top(system: &ActorSystem, uid: u64) -> Option<ControlRef> {
    let tops = system.guardians();
    tops.into_iter().find_map(|guardian| guardian.controls().into_iter().find(|actor| actor.head().uid() == uid))
}

/// The actors of these numbers, as far as those above them tell within the time. Blocks this thread, and runs on it those
/// who are idle and have to answer: perhaps no other thread is free.
pub(super) fn anywhere(system: &ActorSystem, uids: &[u64], within: Duration) -> Vec<ControlRef> {
    let listener = Arc::new(Listener::default());
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let until = now() + within;
    let mut found = Vec::new();
    let mut asked = 0;
    let mut awaited = 0;
    let mut next: Vec<_> = system.guardians().into_iter().flat_map(|guardian| guardian.controls()).collect();
    loop {
        for actor in next.drain(..) {
            if uids.contains(&actor.head().uid()) {
                found.push(actor);
            } else if asked < ASKED_MAX {
                asked += 1;
                awaited += 1;
                system.inspector().ask(&actor, Lane::Internal, system.clock().now(), &listener, 0);
                system.scheduler().run_inline(actor.hint());
            }
        }
        if awaited == 0 || found.len() == uids.len() {
            return found;
        }
        match listener.poll(&mut Context::from_waker(&waker)) {
            Poll::Ready((_, _, answer)) => {
                awaited -= 1;
                if let Answer::About { children, .. } = answer {
                    next = children;
                }
            }
            Poll::Pending => {
                let left = until.saturating_duration_since(now());
                if left.is_zero() {
                    return found;
                }
                thread::park_timeout(left);
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
