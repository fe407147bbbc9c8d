//! Children: spawned, found, stopped by their parent alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ActorContext;
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::{Cell, Control};
use crate::path::{ActorPath, encode_name};
use crate::props::Props;
use crate::spawn::Nursery;
use crate::testkit::Effect;

/// Why nothing was spawned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A child of that name exists. Its name is free once it has terminated; wait for that by watching it.
    #[error(
        "{parent} already has a child named `{name}`; choose another name, or watch it and spawn again once it has terminated"
    )]
    NameTaken {
        /// The parent.
        parent: ActorPath,
        /// The name both want.
        name: String,
    },
    /// The name is empty.
    #[error("an actor's name must not be empty; use `spawn_anonymous` for one that needs no name")]
    EmptyName,
    /// The parent is stopping or has stopped.
    #[error("{parent} is stopping and takes no more children")]
    ParentStopping {
        /// The parent.
        parent: ActorPath,
    },
}

/// The children of one parent, those that are stopping included.
#[derive(Default)]
pub(crate) struct Children {
    by_name: BTreeMap<Box<str>, Arc<dyn Control>>, // by the name as it is in the path
    unnamed: u64,
    closed: bool,
}

impl Children {
    /// A name for a child that was given none.
    pub(crate) fn next_name(&mut self) -> String {
        self.unnamed += 1;
        format!("${}", self.unnamed)
    }

    pub(crate) fn check(&self, parent: &ActorPath, name: &str) -> Result<(), SpawnError> {
        if self.closed {
            return Err(SpawnError::ParentStopping { parent: parent.clone() });
        }
        if name.is_empty() {
            return Err(SpawnError::EmptyName);
        }
        if self.by_name.contains_key(&*encode_name(name)) {
            return Err(SpawnError::NameTaken { parent: parent.clone(), name: name.to_owned() });
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, child: Arc<dyn Control>) {
        self.by_name.insert(child.head().path().name().into(), child);
    }

    /// Frees the name of a child that has ended.
    pub(crate) fn remove(&mut self, path: &ActorPath) {
        if self.contains(path) {
            self.by_name.remove(path.name());
        }
    }

    fn contains(&self, path: &ActorPath) -> bool {
        self.by_name.get(path.name()).is_some_and(|child| child.head().path() == path)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn Control>> {
        self.by_name.get(&*encode_name(name))
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &ActorPath> {
        self.by_name.values().map(|child| child.head().path())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Tells all of them to stop, at once.
    pub(crate) fn stop_all(&self) {
        self.by_name.values().for_each(|child| child.stop());
    }

    /// No more children from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// Spawns a child named `name` and returns at once; messages told to it wait until it has started.
    ///
    /// A child never outlives its parent. While this actor is stopping nothing is spawned: the reference returned then
    /// leads to dead letters.
    ///
    /// # Panics
    /// When a child of that name exists or the name is empty, which fails this actor;
    /// [`try_spawn`](ActorContext::try_spawn) returns an error instead.
    pub fn spawn<A: Actor>(&mut self, name: impl AsRef<str>, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        self.spawn_as(name.as_ref(), props.into(), false)
    }

    fn spawn_as<A: Actor>(&mut self, name: &str, props: Props<A>, anonymous: bool) -> ActorRef<A::Message> {
        let nursery = self.nursery();
        match self.children.check(self.cell.head().path(), name) {
            Ok(()) => ActorRef::local(match &self.recorder {
                None => nursery.raise(name, props, |child| self.children.insert(child)),
                Some(recorder) => {
                    recorder.spawned::<A>(name, anonymous);
                    nursery.raise(name, recorder.stand_in(name, props), |child| self.children.insert(child))
                }
            }),
            Err(SpawnError::ParentStopping { .. }) => nursery.stillborn::<A>(name),
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`spawn`](ActorContext::spawn), with an error where nothing can be spawned.
    ///
    /// # Errors
    /// [`SpawnError`] says which; nothing was spawned and the factory was not called.
    pub fn try_spawn<A: Actor>(
        &mut self,
        name: impl AsRef<str>,
        props: impl Into<Props<A>>,
    ) -> Result<ActorRef<A::Message>, SpawnError> {
        self.children.check(self.cell.head().path(), name.as_ref())?;
        Ok(self.spawn(name, props))
    }

    /// Spawns a child under a name of its own.
    pub fn spawn_anonymous<A: Actor>(&mut self, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        let name = self.children.next_name();
        self.spawn_as(&name, props.into(), true)
    }

    /// The child named `name`, if there is one with messages of type `N`. One that is stopping is still there.
    pub fn child<N: Send + 'static>(&self, name: &str) -> Option<ActorRef<N>> {
        let cell = self.children.get(name)?.clone().into_any().downcast::<Cell<N>>().ok()?;
        Some(ActorRef::local(cell))
    }

    /// The paths of all children, those that are stopping included, by name.
    pub fn children(&self) -> impl Iterator<Item = &ActorPath> {
        self.children.paths()
    }

    /// Stops a child: it finishes the message in hand, handles no further one, stops its own children and gets
    /// `PostStop`. Returns at once; watch the child to learn when it has terminated. One that has stopped already may
    /// be stopped again.
    ///
    /// # Panics
    /// When `child` is not a child of this actor: only a parent stops an actor. This fails the caller.
    pub fn stop<N: Send + 'static>(&mut self, child: &ActorRef<N>) {
        let path = child.path();
        assert!(
            path.is_child_of(self.path()),
            "{} cannot stop {path}, which is not its child; send it a message that makes it stop",
            self.path(),
        );
        self.record(|| Effect::Stopped { child: path.clone() });
        child.control().stop();
    }

    fn nursery(&self) -> Nursery {
        Nursery::new(self.system().clone(), self.path().clone(), self.cell.clone())
    }
}
