//! [`Inbox`]: an ordinary actor that does nothing but put aside what it is told, and the place it puts it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::actor::{Actor, Behavior, Handled, Signal};
use crate::actor_ref::ActorRef;
use crate::context::ActorContext;
use crate::path::ActorPath;

/// What came for one reader, and the reader if it waits.
pub(super) struct Tray<T>(Arc<Shared<T>>);

struct Shared<T> {
    contents: Mutex<Contents<T>>,
    /// Sees each item first.
    pilot: Mutex<Option<Box<Pilot<T>>>>,
}

struct Contents<T> {
    items: VecDeque<T>,
    reader: Option<Waker>,
}

pub(super) type Pilot<T> = dyn FnMut(T) -> Option<T> + Send;

impl<T> Tray<T> {
    pub(super) fn new() -> Self {
        let contents = Mutex::new(Contents { items: VecDeque::new(), reader: None });
        Self(Arc::new(Shared { contents, pilot: Mutex::new(None) }))
    }

    pub(super) fn set_pilot(&self, pilot: Box<Pilot<T>>) {
        *self.0.pilot.lock() = Some(pilot);
    }

    fn put(&self, item: T) {
        let left = match &mut *self.0.pilot.lock() {
            Some(pilot) => pilot(item),
            None => Some(item),
        };
        let Some(item) = left else { return };
        let mut contents = self.0.contents.lock();
        contents.items.push_back(item);
        if let Some(reader) = contents.reader.take() {
            drop(contents);
            reader.wake();
        }
    }

    /// The oldest, if one is there.
    pub(super) fn take(&self) -> Option<T> {
        self.0.contents.lock().items.pop_front()
    }

    pub(super) fn clear(&self) {
        let items = std::mem::take(&mut self.0.contents.lock().items);
        drop(items); // outside the lock: a message's destructor is not ours
    }

    /// The oldest; when there is none, `cx` is woken by the next.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut contents = self.0.contents.lock();
        match contents.items.pop_front() {
            Some(item) => Poll::Ready(item),
            None => {
                contents.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Clone for Tray<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Puts each message into its tray.
pub(crate) struct Inbox<M>(pub(super) Tray<M>);

impl<M: Send + 'static> Actor for Inbox<M> {
    type Message = M;

    async fn receive(&mut self, _ctx: &mut ActorContext<M>, message: M) -> Handled {
        self.0.put(message);
        Ok(Behavior::Same)
    }
}

/// Watches whom it is told to watch, for all probes of a kit: those speak only their own messages.
pub(super) struct Watcher(pub(super) Ends);

/// Makes the watcher watch.
pub(super) struct Watch(Box<Begin>);

type Begin = dyn FnOnce(&mut ActorContext<Watch>) + Send;

impl Watch {
    pub(super) fn new<N: Send + 'static>(target: ActorRef<N>) -> Self {
        Self(Box::new(move |ctx| ctx.watch(&target)))
    }
}

impl Actor for Watcher {
    type Message = Watch;

    async fn receive(&mut self, ctx: &mut ActorContext<Watch>, watch: Watch) -> Handled {
        watch.0(ctx);
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<Watch>, signal: Signal) -> Handled {
        if let Signal::Terminated(path) = signal {
            self.0.note(path);
        }
        Ok(Behavior::Same)
    }
}

/// Who of those watched has ended.
#[derive(Clone, Default)]
pub(super) struct Ends(Arc<Mutex<Ended>>);

#[derive(Default)]
struct Ended {
    paths: BTreeSet<ActorPath>,
    reader: Option<Waker>,
}

impl Ends {
    fn note(&self, path: ActorPath) {
        let mut ended = self.0.lock();
        ended.paths.insert(path);
        if let Some(reader) = ended.reader.take() {
            drop(ended);
            reader.wake();
        }
    }

    /// Ready once `path` has ended.
    pub(super) fn poll(&self, path: &ActorPath, cx: &mut Context<'_>) -> Poll<()> {
        let mut ended = self.0.lock();
        if ended.paths.contains(path) {
            return Poll::Ready(());
        }
        ended.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}
