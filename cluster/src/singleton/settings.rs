//! [`Singleton`]: what a singleton is made of.

use super::HostChoice;
use crate::lease::{FencingToken, Lease};
use actors::{Actor, Props};
use std::{fmt, num::NonZeroUsize, sync::Arc};

/// Messages that a proxy keeps while it does not know where the instance is, if nothing else is said.
const BUFFER: NonZeroUsize = NonZeroUsize::new(1000).expect("it is not zero");
/// The most it may keep.
const BUFFER_MAX: usize = 10_000;

/// A singleton: how the instance is made, where it may run, and how it stops. All nodes must be given the same.
pub struct Singleton<A: Actor> {
    pub(super) name: Arc<str>,
    pub(super) props: Box<dyn FnMut(FencingToken) -> Props<A> + Send>,
    pub(super) role: Option<Arc<str>>,
    pub(super) choice: HostChoice,
    pub(super) stop_message: Option<Box<dyn Fn() -> A::Message + Send>>,
    pub(super) lease: Option<Arc<dyn Lease>>,
    pub(super) buffer: NonZeroUsize,
}

impl<A: Actor> Singleton<A> {
    /// The singleton called `name`: each instance is made by `props`, which must have a factory.
    pub fn new(name: impl Into<Arc<str>>, props: impl Into<Props<A>>) -> Self {
        let mut props = props.into().repeat();
        Self::with_term(name, move |_| props())
    }

    /// As [`new`](Self::new), for an instance that hands its term along with whatever it does outside of the cluster: each
    /// instance has a higher one than all before it, so who remembers the highest can refuse what comes late. What an instance
    /// counts for itself begins anew when it moves; a pair of term and number is there once.
    ///
    /// ```no_run
    /// # use actors::{Actor, ActorContext, BoxError, Handled, Behavior, Props};
    /// # use cluster::{Cluster, ClusterSingleton, FencingToken, Singleton, WireMessage};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Draw;
    /// # impl WireMessage for Draw { const NAME: &'static str = "guide.Draw"; }
    /// # struct Tickets { term: FencingToken, last: u64 }
    /// # impl Actor for Tickets {
    /// #     type Message = Draw;
    /// #     async fn receive(&mut self, _: &mut ActorContext<Draw>, _: Draw) -> Handled { Ok(Behavior::Same) }
    /// # }
    /// # fn example(cluster: &Cluster) -> Result<(), BoxError> {
    /// let tickets = Singleton::with_term("tickets", |term| Props::new(move || Tickets { term, last: 0 }));
    /// let tickets = ClusterSingleton::start(cluster, tickets)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_term(name: impl Into<Arc<str>>, props: impl FnMut(FencingToken) -> Props<A> + Send + 'static) -> Self {
        Self {
            name: name.into(),
            props: Box::new(props),
            role: None,
            choice: HostChoice::default(),
            stop_message: None,
            lease: None,
            buffer: BUFFER,
        }
    }

    /// Only members with that role host it. Default: all do.
    #[must_use]
    pub fn role(mut self, role: impl Into<Arc<str>>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Which of them does. Default: the oldest.
    #[must_use]
    pub fn host(mut self, choice: HostChoice) -> Self {
        self.choice = choice;
        self
    }

    /// What the instance is told when it is to move, behind all that others sent it; what they tell from then on waits for
    /// the next. It stops itself when it is done, within six seconds, or is killed. Default: it handles what it has, for five
    /// seconds at most, and stops; it gets nothing that it tells itself meanwhile.
    #[must_use]
    pub fn stop_message(mut self, make: impl Fn() -> A::Message + Send + 'static) -> Self {
        self.stop_message = Some(Box::new(make));
        self
    }

    /// It runs only while this node holds `lease` as well, whose tokens are its terms then. Lost, the instance is killed. For
    /// this singleton alone.
    #[must_use]
    pub fn lease(mut self, lease: Arc<dyn Lease>) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How many messages wait on each node while it does not know where the instance is; beyond it the oldest are dropped.
    /// Default 1000, at most 10 000.
    #[must_use]
    pub fn buffer(mut self, messages: NonZeroUsize) -> Self {
        self.buffer = messages.min(NonZeroUsize::new(BUFFER_MAX).unwrap_or(messages));
        self
    }
}

impl<A: Actor> fmt::Debug for Singleton<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Singleton")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("choice", &self.choice)
            .field("buffer", &self.buffer)
            .finish_non_exhaustive()
    }
}
