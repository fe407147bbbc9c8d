//! Death watch, seen from the watcher.
//!
//! Invariant: a notice is delivered only while its registration stands, and takes the registration with it. So there is
//! one signal per watch, and none after `unwatch`, whatever is queued.

use std::collections::BTreeMap;

use super::ActorContext;
use crate::actor_ref::ActorRef;
use crate::cell::{Control, Head};
use crate::cell_ref::ControlRef;
use crate::discard;
use crate::path::ActorPath;
use crate::remote::audience_changed;
use crate::testkit::Effect;

/// Whom an actor watches.
pub(crate) struct Watching<M>(BTreeMap<ActorPath, Watch<M>>);

pub(crate) struct Watch<M> {
    target: ControlRef,
    /// What to deliver in place of a signal.
    pub(crate) message: Option<M>,
}

impl<M> Watch<M> {
    fn give_up(self, watcher: &Head) {
        self.target.head().remove_watcher(watcher);
        audience_changed(&self.target);
        discard::caught(|| drop(self));
    }
}

impl<M> Default for Watching<M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<M> Watching<M> {
    pub(crate) fn take(&mut self, path: &ActorPath) -> Option<Watch<M>> {
        self.0.remove(path)
    }

    /// Gives up the watch of `path`, as `watcher`.
    pub(crate) fn forget(&mut self, path: &ActorPath, watcher: &Head) {
        if let Some(watch) = self.take(path) {
            watch.give_up(watcher);
        }
    }

    /// Gives up all watches, as `watcher`.
    pub(crate) fn clear(&mut self, watcher: &Head) {
        std::mem::take(&mut self.0).into_values().for_each(|watch| watch.give_up(watcher));
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// Delivers [`Signal::Terminated`](crate::Signal::Terminated) once when `target` stops for good, after all it told
    /// this actor; at once if it has stopped already. A restart is not an end. If it is a child that failed,
    /// [`Signal::ChildFailed`](crate::Signal::ChildFailed) comes instead. Left unhandled, the signal makes this actor
    /// fail with a [`DeathPact`](crate::DeathPact).
    ///
    /// Watching twice gives one signal; of `watch` and `watch_with` the last call counts. Watches outlive a restart of
    /// the watcher, except those of children the restart stops. Watching oneself does nothing.
    pub fn watch<N: Send + 'static>(&mut self, target: &ActorRef<N>) {
        self.register(target.control_arc(), None);
    }

    /// As [`watch`](ActorContext::watch), but delivers `message` in place of the signal; there is no death pact. The
    /// message cannot say whether a child has failed: where that matters, [`watch`](ActorContext::watch) it.
    pub fn watch_with<N: Send + 'static>(&mut self, target: &ActorRef<N>, message: M) {
        self.register(target.control_arc(), Some(message));
    }

    /// Ends a watch: no signal or message of it is delivered from now on, even if its target has terminated already.
    pub fn unwatch<N: Send + 'static>(&mut self, target: &ActorRef<N>) {
        self.record(|| Effect::Unwatched { target: target.path().clone() });
        if let Some(watch) = self.take_watch(target.path()) {
            watch.target.head().remove_watcher(self.head());
            audience_changed(&watch.target);
        }
    }

    fn register(&mut self, target: ControlRef, message: Option<M>) {
        let path = target.head().path().clone();
        if path == *self.path() {
            return;
        }
        self.record(|| Effect::Watched { target: path.clone(), with_message: message.is_some() });
        let watch = Watch { target: target.clone(), message };
        if self.watching.get_or_insert_default().0.insert(path, watch).is_some() {
            return; // registered with the target already
        }
        let this = self.cell().clone();
        if let Some(ended) = target.head().add_watcher(this.clone().into()) {
            this.notice_end(ended);
        } else {
            audience_changed(&target);
        }
    }
}
