//! What a framework must offer to take part: one actor type driven by a
//! [`Body`], and a second one for the skynet tree.

use std::future::Future;

use crate::body::{Body, Sky, SkyMsg};

/// The runtime a run is measured on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// That many workers (for actix: arbiters).
    Multi(usize),
    /// Everything on one thread.
    Current,
}

impl Flavor {
    /// As `mt2`, `mt16` or `ct`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "ct" => Some(Flavor::Current),
            _ => name.strip_prefix("mt")?.parse().ok().filter(|workers| *workers > 0).map(Flavor::Multi),
        }
    }

    pub fn workers(self) -> usize {
        match self {
            Flavor::Multi(workers) => workers,
            Flavor::Current => 1,
        }
    }
}

/// Where an actor or a client task should live: the `index`-th of `of`. Only
/// frameworks without work stealing (actix) look at it; they place neighbours
/// together, which is the layout a user of such a framework would choose.
#[derive(Clone, Copy)]
pub struct Slot {
    pub index: usize,
    pub of: usize,
}

impl Slot {
    pub fn new(index: usize, of: usize) -> Self {
        Slot { index, of }
    }

    /// The bucket out of `n` that this slot falls into.
    pub fn bucket(self, n: usize) -> usize {
        self.index * n / self.of
    }
}

pub trait Framework: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// The mailbox behind [`Framework::Ref`], for the report.
    const MAILBOX: &'static str;
    /// Whether [`Framework::tell`] can fail for want of room.
    const BOUNDED: bool = false;
    /// Whether the skynet actor is implemented.
    const SKYNET: bool = true;

    /// Address of an actor driven by a [`Body`].
    type Ref: Clone + Send + Sync + 'static;
    /// Address of a node of the skynet tree.
    type Sky: Clone + Send + Sync + 'static;

    /// Runs the driver to completion.
    fn block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        tokio_block_on(flavor, driver)
    }

    /// Runs a client task concurrently with the actors.
    fn task<T, Fut>(_slot: Slot, task: Fut) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let handle = tokio::spawn(task);
        async move { handle.await.expect("client task") }
    }

    fn spawn(body: Body<Self>, slot: Slot) -> impl Future<Output = Self::Ref> + Send;

    /// Enqueues without waiting.
    fn tell(to: &Self::Ref, msg: u64);

    /// Enqueues, waiting for room if the mailbox is bounded.
    fn send(to: &Self::Ref, msg: u64) -> impl Future<Output = ()> + Send {
        async move { Self::tell(to, msg) }
    }

    fn ask(to: &Self::Ref, msg: u64) -> impl Future<Output = u64> + Send;

    /// Asks the actor to stop and gives the address up.
    fn stop(to: Self::Ref);

    fn spawn_sky(_sky: Sky<Self>, _slot: Option<Slot>) -> impl Future<Output = Self::Sky> + Send {
        async { unreachable!("{} has no skynet", Self::NAME) }
    }

    fn tell_sky(_to: &Self::Sky, _msg: SkyMsg) {
        unreachable!("{} has no skynet", Self::NAME)
    }
}

/// Runs the driver as a task of a fresh tokio runtime.
pub fn tokio_block_on<T, Fut>(flavor: Flavor, driver: Fut) -> T
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let runtime = match flavor {
        Flavor::Multi(workers) => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
        }
        Flavor::Current => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    }
    .expect("runtime");
    let out = runtime.block_on(async move { tokio::spawn(driver).await.expect("driver") });
    // Dropping a runtime with a million tasks is not what is being measured.
    runtime.shutdown_background();
    out
}
