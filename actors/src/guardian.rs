//! [`Guardian`]: a root of the supervision tree. Actors spawned from outside any actor are its children.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::Parent;
use crate::cell_ref::ControlRef;
use crate::context::SpawnError;
use crate::context::children::Children;
use crate::envelope::Place;
use crate::orders::Ending;
use crate::path::ActorPath;
use crate::props::Props;
use crate::spawn::Nursery;
use crate::system::ActorSystem;

/// Owns the actors at the top. Not an actor itself: it has to answer `spawn` at once, from any thread.
pub(crate) struct Guardian {
    path: ActorPath,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    children: Children,
    awaiting_end: Vec<Waker>,
}

impl Guardian {
    pub(crate) fn new(path: ActorPath) -> Arc<Self> {
        Arc::new(Self { path, state: Mutex::default() })
    }

    pub(crate) fn own_path(&self) -> &ActorPath {
        &self.path
    }

    pub(crate) fn spawn<A: Actor>(
        self: &Arc<Self>,
        system: &ActorSystem,
        name: Option<&str>,
        props: Props<A>,
    ) -> Result<ActorRef<A::Message>, SpawnError> {
        let mut state = self.state.lock();
        let name = match name {
            Some(name) => state.children.check(&self.path, name)?,
            None if state.children.is_closed() => {
                return Err(SpawnError::ParentStopping { parent: self.path.clone() });
            }
            None => state.children.next_name(),
        };
        let slot = state.children.next_slot();
        let nursery = self.nursery(system);
        let (child, wake) = nursery.raise(name, slot, props, |child| state.children.insert(child));
        drop(state);
        child.begin(wake); // outside the lock: what no carrier takes any more is let go of here
        Ok(ActorRef::local(child))
    }

    pub(crate) fn nursery<'a>(self: &Arc<Self>, system: &'a ActorSystem) -> Nursery<'a> {
        Nursery::new(system, Parent::Guardian(self.clone()))
    }

    /// Takes no more children, stops those there are, and waits until each has terminated.
    pub(crate) async fn stop(&self) {
        {
            self.state.lock().children.close();
            self.end_all(Ending::Stop);
        }
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.children.is_empty() {
                return Poll::Ready(());
            }
            state.awaiting_end.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Kills all that have not ended.
    pub(crate) fn kill(&self) {
        self.state.lock().children.close();
        self.end_all(Ending::Kill);
    }

    /// Outside the lock, as whatever tells an actor something.
    fn end_all(&self, how: Ending) {
        self.controls().iter().for_each(|child| child.end(how));
    }

    /// Nothing runs any more: lets go of all children, and theirs.
    pub(crate) fn abandon(&self) {
        let children = std::mem::take(&mut self.state.lock().children);
        drop(children); // outside the lock: what they are made of is not ours
    }

    pub(crate) fn controls(&self) -> Vec<ControlRef> {
        self.state.lock().children.iter().cloned().collect()
    }

    pub(crate) fn alive(&self) -> Vec<ActorPath> {
        self.state.lock().children.paths().into_iter().cloned().collect()
    }

    pub(crate) fn child_ended(&self, place: Place) {
        let mut state = self.state.lock();
        state.children.remove(place);
        let awake = if state.children.is_empty() { std::mem::take(&mut state.awaiting_end) } else { Vec::new() };
        drop(state);
        awake.into_iter().for_each(Waker::wake);
    }
}
