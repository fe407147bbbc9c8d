//! [`StoredLease`]: a lease in a [`LeaseStore`], kept by a task of the node.

use super::{
    AcquireError, FencingToken, HostingDeadline, InvalidLeaseSettings, Lease, LeaseFuture, LeaseLost, LeaseOwner,
    LeaseSettings, LeaseStore, LeaseStoreError, OnLost, Stored, Swapped,
    state::{Answer, Effect, Input, LeaseState},
};
use crate::{seams::Spawner, uptime::Uptime};
use actors::{ActorSystem, Clock, Tick};
use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// How many calls may be under way.
const CALLS_MAX: usize = 64;

/// A lease in a [`LeaseStore`]. It is renewed until it is released, lost, or this value is dropped: then it expires. The
/// time that a machine is suspended counts: one that wakes up too late holds it no more, from the first [`check`](Lease::check).
pub struct StoredLease {
    name: Arc<str>,
    calls: mpsc::Sender<Call>,
    held: Arc<HeldNow>,
}

struct HeldNow {
    deadline: HostingDeadline,
    token: AtomicU64,
}

enum Call {
    Acquire { on_lost: OnLost, reply: oneshot::Sender<Result<FencingToken, AcquireError>> },
    Release { reply: oneshot::Sender<Result<(), LeaseStoreError>> },
}

enum Reply {
    Acquired(OnLost, oneshot::Sender<Result<FencingToken, AcquireError>>),
    Released(oneshot::Sender<Result<(), LeaseStoreError>>),
}

impl StoredLease {
    /// The lease called `name` in `store`, for this process: that of `system`, which no other is, not even a later one at
    /// the same place. It is not held yet.
    ///
    /// # Errors
    /// The settings cannot work together.
    pub fn start(
        system: &ActorSystem,
        name: impl Into<Arc<str>>,
        store: Arc<dyn LeaseStore>,
        settings: LeaseSettings,
    ) -> Result<Self, InvalidLeaseSettings> {
        let owner = LeaseOwner::from_stored(format!("{}#{:016x}", system.name(), system.uid()));
        let uptime = Uptime::of_machine(system.clock().clone());
        settings.validate()?;
        Ok(Self::new(name, store, owner, settings, uptime, system))
    }

    /// The lease called `name` in `store`, for `owner`, by settings that can work together. It is not held yet.
    pub(crate) fn new(
        name: impl Into<Arc<str>>,
        store: Arc<dyn LeaseStore>,
        owner: LeaseOwner,
        settings: LeaseSettings,
        uptime: Uptime,
        spawner: &dyn Spawner,
    ) -> Self {
        let name = name.into();
        let held = Arc::new(HeldNow { deadline: HostingDeadline::by(uptime.clone()), token: AtomicU64::new(0) });
        let (calls, receiver) = mpsc::channel(CALLS_MAX);
        let keeper = Keeper {
            name: name.clone(),
            store,
            uptime,
            operation_timeout: settings.operation_timeout,
            state: LeaseState::new(owner, settings),
            held: held.clone(),
            replies: BTreeMap::new(),
            on_lost: Vec::new(),
            next_id: 0,
            failure: None,
        };
        let _ends_with_its_calls = spawner.spawn(Box::pin(keeper.run(receiver)));
        Self { name, calls, held }
    }
}

impl Lease for StoredLease {
    fn name(&self) -> &str {
        &self.name
    }

    fn acquire(&self, on_lost: OnLost) -> LeaseFuture<'_, Result<FencingToken, AcquireError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let sent = self.calls.send(Call::Acquire { on_lost, reply }).await;
            match (sent, answer.await) {
                (Ok(()), Ok(answer)) => answer,
                _ => Err(AcquireError::Unknown(ended())),
            }
        })
    }

    fn release(&self) -> LeaseFuture<'_, Result<(), LeaseStoreError>> {
        self.held.deadline.clear();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let sent = self.calls.send(Call::Release { reply }).await;
            match (sent, answer.await) {
                (Ok(()), Ok(answer)) => answer,
                _ => Err(ended()),
            }
        })
    }

    fn check(&self) -> Option<FencingToken> {
        self.held.deadline.check().ok()?;
        Some(FencingToken(self.held.token.load(Ordering::Acquire)))
    }
}

fn ended() -> LeaseStoreError {
    LeaseStoreError("the node has ended".into())
}

/// The task behind a lease.
struct Keeper {
    name: Arc<str>,
    store: Arc<dyn LeaseStore>,
    uptime: Uptime,
    operation_timeout: std::time::Duration,
    state: LeaseState,
    held: Arc<HeldNow>,
    replies: BTreeMap<u64, Reply>,
    /// Of those to whom it was granted.
    on_lost: Vec<OnLost>,
    next_id: u64,
    /// Of the last operation that failed.
    failure: Option<LeaseStoreError>,
}

enum Operation {
    Read,
    Swap { expected: Option<super::Version>, record: super::LeaseRecord },
}

enum Done {
    Read(Result<Option<Stored>, LeaseStoreError>),
    Swap(Result<Swapped, LeaseStoreError>),
}

impl Keeper {
    async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        let (store, name, uptime) = (self.store.clone(), self.name.clone(), self.uptime.clone());
        let within = self.operation_timeout;
        let operate = |operation| operate(&*store, &name, uptime.clock(), within, operation);
        let mut under_way = None;
        loop {
            let wake_at = self.state.wake_at();
            let input = tokio::select! {
                biased;
                done = wait_for(&mut under_way) => {
                    under_way = None;
                    self.done(done)
                }
                () = wait_until(&uptime, wake_at) => Input::Time,
                call = calls.recv() => match call {
                    Some(call) => self.call(call),
                    None => break,
                },
            };
            let effects = self.state.step(input, uptime.now());
            if let Some(operation) = self.perform(effects) {
                under_way = Some(Box::pin(operate(operation)));
            }
        }
    }

    fn call(&mut self, call: Call) -> Input {
        let id = self.next_id;
        self.next_id += 1;
        match call {
            Call::Acquire { on_lost, reply } => {
                self.replies.insert(id, Reply::Acquired(on_lost, reply));
                Input::Acquire { id }
            }
            Call::Release { reply } => {
                self.replies.insert(id, Reply::Released(reply));
                Input::Release { id }
            }
        }
    }

    fn done(&mut self, done: Done) -> Input {
        match done {
            Done::Read(Ok(stored)) => Input::Read(Some(stored)),
            Done::Swap(Ok(swapped)) => Input::Swapped(Some(swapped)),
            Done::Read(Err(error)) => {
                self.failure = Some(error);
                Input::Read(None)
            }
            Done::Swap(Err(error)) => {
                self.failure = Some(error);
                Input::Swapped(None)
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Option<Operation> {
        let mut operation = None;
        for effect in effects {
            match effect {
                Effect::Read => operation = Some(Operation::Read),
                Effect::Swap { expected, record } => operation = Some(Operation::Swap { expected, record }),
                Effect::Held { token, until } => {
                    self.held.token.store(token, Ordering::Release);
                    self.held.deadline.set(until);
                }
                Effect::NotHeld(why) => {
                    self.held.deadline.clear();
                    let on_lost = std::mem::take(&mut self.on_lost);
                    if let Some(why) = why {
                        on_lost.into_iter().for_each(|on_lost| on_lost(why.clone()));
                    }
                }
                Effect::Answer { id, answer } => self.answer(id, answer),
            }
        }
        operation
    }

    fn answer(&mut self, id: u64, answer: Answer) {
        let mut failure = || self.failure.take().unwrap_or_else(|| LeaseStoreError("too many are waiting".into()));
        match self.replies.remove(&id) {
            Some(Reply::Acquired(on_lost, reply)) => {
                let answer = match answer {
                    Answer::Granted(token) => Ok(FencingToken(token)),
                    Answer::Denied(holder) => Err(AcquireError::Denied { holder }),
                    _ => Err(AcquireError::Unknown(failure())),
                };
                if answer.is_ok() {
                    self.on_lost.push(on_lost);
                }
                let _gone = reply.send(answer);
            }
            Some(Reply::Released(reply)) => {
                let answer = if answer == Answer::Released { Ok(()) } else { Err(failure()) };
                let _gone = reply.send(answer);
            }
            None => {}
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.held.deadline.end();
        std::mem::take(&mut self.on_lost).into_iter().for_each(|on_lost| on_lost(LeaseLost::Ended));
    }
}

async fn operate(
    store: &dyn LeaseStore,
    name: &str,
    clock: &Clock,
    within: std::time::Duration,
    operation: Operation,
) -> Done {
    let late = |elapsed| LeaseStoreError(Box::new(elapsed));
    match operation {
        Operation::Read => Done::Read(clock.timeout(within, store.read(name)).await.map_err(late).flatten()),
        Operation::Swap { expected, record } => {
            let swap = store.swap(name, expected.as_ref(), record);
            Done::Swap(clock.timeout(within, swap).await.map_err(late).flatten())
        }
    }
}

/// Never, if nothing is under way.
async fn wait_for<F: Future<Output = Done> + Unpin>(under_way: &mut Option<F>) -> Done {
    match under_way {
        Some(operation) => poll_fn(|cx| std::pin::Pin::new(&mut *operation).poll(cx)).await,
        None => pending().await,
    }
}

async fn wait_until(uptime: &Uptime, at: Option<Tick>) {
    match at {
        Some(at) => pin!(uptime.sleep_until(at)).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::InMemoryLeaseStore;
    use super::*;
    use std::{cell::Cell, time::Duration};

    thread_local! {
        static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// Its clock stands still meanwhile: no timer is due when it wakes up.
    #[tokio::test(start_paused = true)]
    async fn a_machine_that_was_suspended_for_too_long_holds_no_lease_when_it_wakes_up() {
        let runtime = tokio::runtime::Handle::current();
        let clock = Clock::paused(&runtime, 0);
        let store = Arc::new(InMemoryLeaseStore::new(clock.clone()));
        let owner = LeaseOwner::from_stored("sleeper");
        let uptime = Uptime::of_suspended(clock.clone(), || SUSPENDED.get());
        let lease = StoredLease::new("gate", store, owner, LeaseSettings::default(), uptime, &runtime);
        let (tell, lost) = oneshot::channel();
        let on_lost: OnLost = Box::new(|why| drop(tell.send(why)));
        let token = lease.acquire(on_lost).await.unwrap();

        let valid_for = LeaseSettings::default().valid_for();
        SUSPENDED.set(valid_for - Duration::from_secs(1));
        assert_eq!(lease.check(), Some(token), "it was not away for that long");
        SUSPENDED.set(valid_for);
        assert_eq!(lease.check(), None, "at once, whatever its clock says");
        assert_eq!(lost.await, Ok(LeaseLost::Expired), "whoever works under it is told");
    }
}
