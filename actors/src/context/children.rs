//! Children: spawned, found, stopped by their parent alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ActorContext;
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::{Name, Parent};
use crate::cell_ref::ControlRef;
use crate::envelope::Place;
use crate::orders::Ending;
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

/// So many places that become free are kept room for at once.
const FEW: usize = 16;

/// The children of one parent, those that are stopping included.
#[derive(Default)]
pub(crate) struct Children {
    slots: Vec<Option<ControlRef>>,
    free: Vec<u32>,
    by_name: BTreeMap<Box<str>, u32>, // those that were given one, by it as it is in the path
    unnamed: u64,
    closed: bool,
    /// Stop one after the other.
    pub(crate) in_reverse: bool,
}

impl Children {
    /// A name for a child that was given none.
    pub(crate) fn next_name(&mut self) -> Name {
        self.unnamed += 1;
        Name::Numbered(self.unnamed)
    }

    pub(crate) fn check(&self, parent: &ActorPath, name: &str) -> Result<Name, SpawnError> {
        if self.closed {
            return Err(SpawnError::ParentStopping { parent: parent.clone() });
        }
        if name.is_empty() {
            return Err(SpawnError::EmptyName);
        }
        if self.get(name).is_some() {
            return Err(SpawnError::NameTaken { parent: parent.clone(), name: name.to_owned() });
        }
        Ok(Name::Given(name.into()))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Where the next child will be.
    pub(crate) fn next_slot(&self) -> u32 {
        self.free
            .last()
            .copied()
            .unwrap_or_else(|| u32::try_from(self.slots.len()).expect("an actor has fewer than four billion children"))
    }

    /// Keeps a child, which says itself where.
    pub(crate) fn insert(&mut self, child: ControlRef) {
        let slot = child.head().place().slot;
        if let Some(name) = child.head().given_name() {
            self.by_name.insert(name.into(), slot);
        }
        if self.free.pop().is_some() {
            self.slots[slot as usize] = Some(child);
        } else {
            self.slots.push(Some(child));
        }
    }

    /// Frees the place and the name of a child that has ended.
    pub(crate) fn remove(&mut self, place: Place) {
        let Some(slot) = self.slots.get_mut(place.slot as usize) else { return };
        let Some(child) = slot.take_if(|child| child.head().place() == place) else { return };
        if self.free.is_empty() {
            self.free.reserve(self.slots.len().min(FEW));
        }
        self.free.push(place.slot);
        if let Some(name) = child.head().given_name() {
            self.by_name.remove(name);
        }
        if self.is_empty() {
            // What many children needed is not kept for none.
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&ControlRef> {
        if let Some(number) = name.strip_prefix('$').and_then(|number| number.parse::<u64>().ok()) {
            let unnamed = self.iter().find(|child| child.head().number() == Some(number));
            if unnamed.is_some() {
                return unnamed;
            }
        }
        let slot = self.by_name.get(&*encode_name(name))?;
        self.slots.get(*slot as usize)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ControlRef> {
        self.slots.iter().flatten()
    }

    /// The paths, by name.
    pub(crate) fn paths(&self) -> Vec<&ActorPath> {
        let mut paths: Vec<&ActorPath> = self.iter().map(|child| child.head().path()).collect();
        paths.sort_by(|one, other| one.name().cmp(other.name()));
        paths
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    /// Tells all of them to end, at once.
    pub(crate) fn end_all(&self, how: Ending) {
        self.iter().for_each(|child| child.end(how));
    }

    /// Tells the one that was spawned last to end.
    pub(crate) fn end_last(&self, how: Ending) {
        if let Some(last) = self.iter().max_by_key(|child| child.head().uid()) {
            last.end(how);
        }
    }

    /// No more children from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}

impl Drop for Children {
    /// Children outlive the registry only when nothing runs any more.
    fn drop(&mut self) {
        self.slots.drain(..).flatten().for_each(|child| child.abandon());
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
        let name = name.as_ref();
        match self.check(name) {
            Ok(name) => self.raise(name, props.into()),
            Err(SpawnError::ParentStopping { .. }) => Self::nursery(&self.this).stillborn::<A>(name),
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
        let name = self.check(name.as_ref())?;
        Ok(self.raise(name, props.into()))
    }

    /// Spawns a child under a name of its own.
    pub fn spawn_anonymous<A: Actor>(&mut self, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        let name = self.children.get_or_insert_default().next_name();
        if self.is_closed() {
            return name.with(|name| Self::nursery(&self.this).stillborn::<A>(name));
        }
        self.raise(name, props.into())
    }

    fn check(&mut self, name: &str) -> Result<Name, SpawnError> {
        let path = self.this.path();
        if self.is_closed() {
            return Err(SpawnError::ParentStopping { parent: path.clone() });
        }
        self.children.get_or_insert_default().check(path, name)
    }

    fn raise<A: Actor>(&mut self, name: Name, props: Props<A>) -> ActorRef<A::Message> {
        let nursery = Self::nursery(&self.this);
        let children = self.children.get_or_insert_default();
        let slot = children.next_slot();
        let recorder = self.extras.as_ref().and_then(|extras| extras.recorder.as_ref());
        let (child, wake) = match recorder {
            None => nursery.raise(name, slot, props, |child| children.insert(child)),
            Some(recorder) => {
                let stand_in = name.with(|text| {
                    recorder.spawned::<A>(text, matches!(name, Name::Numbered(_)));
                    recorder.stand_in(text, props)
                });
                nursery.raise(name, slot, stand_in, |child| children.insert(child))
            }
        };
        child.begin(wake);
        ActorRef::local(child)
    }

    /// The child named `name`, if there is one with messages of type `N`. One that is stopping is still there.
    pub fn child<N: Send + 'static>(&self, name: &str) -> Option<ActorRef<N>> {
        let cell = self.children.as_ref()?.get(name)?.downcast::<N>()?;
        Some(ActorRef::local(cell))
    }

    /// The paths of all children, those that are stopping included, by name.
    pub fn children(&self) -> impl Iterator<Item = &ActorPath> {
        self.children.as_ref().map(|children| children.paths()).unwrap_or_default().into_iter()
    }

    /// Stops a child: it finishes the message in hand, handles no further one, stops its own children and gets
    /// `PostStop`. From now on it takes no messages; what waits becomes dead letters when it ends.
    ///
    /// Returns at once; watch the child to learn when it has terminated. One that has stopped already may be stopped
    /// again.
    ///
    /// # Panics
    /// When `child` is not a child of this actor: only a parent stops an actor. This fails the caller.
    pub fn stop<N: Send + 'static>(&mut self, child: &ActorRef<N>) {
        self.end(child, Ending::Stop);
    }

    /// As [`stop`](ActorContext::stop), but when `limit` is over and the child has not ended, it and all below it that
    /// have not are killed as by [`kill`](ActorContext::kill). [`StopForced`](crate::StopForced) is published then.
    ///
    /// # Panics
    /// As [`stop`](ActorContext::stop).
    pub fn stop_within<N: Send + 'static>(&mut self, child: &ActorRef<N>, limit: Duration) {
        self.end(child, Ending::StopWithin(limit));
    }

    /// Lets a child handle what waits in its mailbox, and stops it then. From now on it takes no messages; it still gets
    /// timers, answers and the ends of those it watches. When `within` is over it is stopped: it finishes the message in
    /// hand, and the rest become dead letters.
    ///
    /// Messages it stashes and does not bring back become dead letters too. Those of a pool wait with its routees: use
    /// [`PoolRef::drain`](crate::PoolRef::drain). Returns at once.
    ///
    /// # Panics
    /// As [`stop`](ActorContext::stop).
    pub fn drain<N: Send + 'static>(&mut self, child: &ActorRef<N>, within: Duration) {
        self.end(child, Ending::Drain(within));
    }

    /// Ends a child, and all below it, at once: a handler that is suspended is dropped where it awaits, so that work of
    /// several steps may be half done; there is no `PostStop`; what waits becomes dead letters.
    /// [`ActorKilled`](crate::ActorKilled) is published for each. A handler that never awaits cannot be interrupted: it
    /// comes to its end first.
    ///
    /// Returns at once; the child has ended when its watchers hear so. For actors that are stuck; everything else is
    /// [`stop`](ActorContext::stop)'s.
    ///
    /// # Panics
    /// As [`stop`](ActorContext::stop).
    pub fn kill<N: Send + 'static>(&mut self, child: &ActorRef<N>) {
        self.end(child, Ending::Kill);
    }

    /// From now on, whenever this actor stops or restarts, its children do not stop side by side but one after the other,
    /// the last that was spawned first; each has ended when the next is told.
    pub fn stop_children_in_reverse(&mut self) {
        self.children.get_or_insert_default().in_reverse = true;
    }

    fn end<N: Send + 'static>(&mut self, child: &ActorRef<N>, how: Ending) {
        let path = child.path();
        assert!(
            child.control().head().is_child_of(self.head()),
            "{} cannot stop {path}, which is not its child; send it a message that makes it stop",
            self.path(),
        );
        self.record(|| Effect::of(&how, path.clone()));
        child.control_arc().end(how);
    }

    /// For who looks at the whole system.
    pub(crate) fn child_controls(&self) -> Vec<ControlRef> {
        self.children.as_ref().map(|children| children.iter().cloned().collect()).unwrap_or_default()
    }

    fn nursery(this: &ActorRef<M>) -> Nursery<'_> {
        let cell = this.cell().expect("an actor's own reference is a local one");
        Nursery::new(cell.head().system(), Parent::Actor(cell.clone().into()))
    }
}
