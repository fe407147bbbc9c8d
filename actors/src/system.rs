//! [`ActorSystem`]: start, spawn, terminate.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::{runtime::Handle, task::AbortHandle};
use tracing::warn;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::Parent;
use crate::clock::Clock;
use crate::context::SpawnError;
use crate::event_stream::EventStream;
use crate::extension::Extensions;
use crate::gate::{Gate, Gatekeeper};
use crate::guardian::Guardian;
use crate::inspect::Inspector;
use crate::parked::{self, ParkingLot};
use crate::path::ActorPath;
use crate::props::Props;
use crate::receptionist::{self, Receptionist, ReceptionistActor, ReceptionistMessage};
use crate::scheduler::{Order, Scheduler};
use crate::shutdown::CoordinatedShutdown;
use crate::trace::Tracing;
use crate::watchdog::{self, Watchdog};

const SYSTEM_UID: u64 = 1;
const USER_UID: u64 = 2;
const DEFAULT_THROUGHPUT: u32 = 128;

/// The root of a tree of actors, with its clock, event stream and shutdown. Cheap to clone; no part of it is global,
/// so any number of systems may live in one process.
#[derive(Clone)]
pub struct ActorSystem(Arc<Inner>);

struct Inner {
    name: String,
    uid: u64,
    clock: Clock,
    runtime: Handle,
    scheduler: Scheduler,
    throughput: u32,
    uids: AtomicU64,
    random: Mutex<SmallRng>,
    events: EventStream,
    user: Arc<Guardian>,
    internal: Arc<Guardian>,
    shutdown: OnceLock<CoordinatedShutdown>,
    /// While it lives.
    receptionist: Mutex<Option<Receptionist>>,
    shutdown_budget: Option<Duration>,
    parking_lot: ParkingLot,
    inspector: Arc<Inspector>,
    watchdog: Option<Watchdog>,
    tracing: Option<Tracing>,
    gate: Gatekeeper,
    extensions: Extensions,
}

impl ActorSystem {
    /// A system on the ambient tokio runtime, with production settings.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(name: impl Into<String>) -> Self {
        Self::builder(name).start()
    }

    /// A system with settings of its own.
    pub fn builder(name: impl Into<String>) -> ActorSystemBuilder {
        ActorSystemBuilder {
            name: name.into(),
            clock: None,
            seed: None,
            runtime: None,
            shutdown_budget: None,
            throughput: DEFAULT_THROUGHPUT,
            workers: None,
            parked_max: parked::CAPACITY,
            order: Order::Fast,
            watchdog: Watching::Default,
            tracing: None,
            gate: Gatekeeper::default(),
        }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Tells this system from all others, earlier runs under the same name included.
    pub fn uid(&self) -> u64 {
        self.0.uid
    }

    /// The clock of this system and all its actors.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Local publish and subscribe, and the counts of dead letters.
    pub fn event_stream(&self) -> &EventStream {
        &self.0.events
    }

    /// The one `T` of this system, made when somebody first asks for it: for what the actors of a node share without being
    /// given it. It is kept until the system ends, and must not hold the system itself.
    pub fn extension<T: std::any::Any + Default + Send + Sync>(&self) -> Arc<T> {
        self.0.extensions.of()
    }

    /// What is done, in which order, before this system ends.
    pub fn coordinated_shutdown(&self) -> &CoordinatedShutdown {
        self.0
            .shutdown
            .get_or_init(|| CoordinatedShutdown::new(WeakSystem(Arc::downgrade(&self.0)), self.0.shutdown_budget))
    }

    /// Who registers the actors of this system under what they do and finds them by it. Starts with the first call.
    pub fn receptionist(&self) -> Receptionist {
        let mut known = self.0.receptionist.lock();
        if let Some(receptionist) = &*known {
            return receptionist.clone();
        }
        self.0.events.suppress_dead_letters::<ReceptionistMessage>();
        let internal = &self.0.internal;
        let actor = internal.spawn(self, Some("receptionist"), receptionist::props(self));
        // The name may be somebody's, or still that of one that failed.
        let actor = actor.or_else(|_| internal.spawn(self, None, receptionist::props(self)));
        match actor {
            Ok(actor) => known.insert(Receptionist { actor }).clone(),
            Err(_) => Receptionist { actor: internal.nursery(self).stillborn::<ReceptionistActor>("receptionist") },
        }
    }

    pub(crate) fn forget_receptionist(&self, path: &ActorPath) {
        let mut known = self.0.receptionist.lock();
        let forgotten = known.take_if(|receptionist| receptionist.actor.path() == path);
        drop(known); // outside the lock: it may be the last hold on its cell
        drop(forgotten);
    }

    /// Messages that actors failed on and that were parked, for people to look at.
    pub fn parking_lot(&self) -> &ParkingLot {
        &self.0.parking_lot
    }

    pub(crate) fn watchdog(&self) -> Option<&Watchdog> {
        self.0.watchdog.as_ref()
    }

    pub(crate) fn inspector(&self) -> &Arc<Inspector> {
        &self.0.inspector
    }

    pub(crate) fn guardians(&self) -> [&Arc<Guardian>; 2] {
        [&self.0.user, &self.0.internal]
    }

    /// The runtime its actors run on.
    pub fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// Spawns an actor at the top, under `/user`, and returns at once; messages told to it wait until it has started.
    /// After [`terminate`](ActorSystem::terminate) nothing is spawned: the reference returned leads to dead letters.
    ///
    /// # Panics
    /// When an actor of that name exists at the top or the name is empty; [`try_spawn`](ActorSystem::try_spawn) returns
    /// an error instead.
    pub fn spawn<A: Actor>(&self, name: impl AsRef<str>, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        self.expect_spawned::<A>(&self.0.user, Some(name.as_ref()), props.into())
    }

    /// As [`spawn`](ActorSystem::spawn), with an error where nothing can be spawned.
    ///
    /// # Errors
    /// [`SpawnError`] says which; nothing was spawned and the factory was not called.
    pub fn try_spawn<A: Actor>(
        &self,
        name: impl AsRef<str>,
        props: impl Into<Props<A>>,
    ) -> Result<ActorRef<A::Message>, SpawnError> {
        self.0.user.spawn(self, Some(name.as_ref()), props.into())
    }

    /// Spawns an actor at the top under a name of its own.
    pub fn spawn_anonymous<A: Actor>(&self, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        self.expect_spawned::<A>(&self.0.user, None, props.into())
    }

    /// Spawns an actor of the infrastructure, under `/system`: it stops after all those under `/user` have, or when three
    /// quarters of the time for [`Phase::ActorSystemTerminate`](crate::Phase::ActorSystemTerminate) are over.
    ///
    /// # Panics
    /// As [`spawn`](ActorSystem::spawn).
    pub fn spawn_internal<A: Actor>(&self, name: impl AsRef<str>, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        self.expect_spawned::<A>(&self.0.internal, Some(name.as_ref()), props.into())
    }

    pub(crate) fn spawn_internal_anonymous<A: Actor>(&self, props: impl Into<Props<A>>) -> ActorRef<A::Message> {
        self.expect_spawned::<A>(&self.0.internal, None, props.into())
    }

    fn expect_spawned<A: Actor>(
        &self,
        guardian: &Arc<Guardian>,
        name: Option<&str>,
        props: Props<A>,
    ) -> ActorRef<A::Message> {
        match guardian.spawn(self, name, props) {
            Ok(reference) => reference,
            Err(SpawnError::ParentStopping { .. }) => guardian.nursery(self).stillborn::<A>(name.unwrap_or("$")),
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs the coordinated shutdown and waits for its end: every actor has stopped, or had the time its phase allows.
    /// However often it is called, the shutdown runs once. Cancel safe: the shutdown goes on.
    ///
    /// Awaited inside a handler it waits for the very actor that waits; an actor ends the system with
    /// [`CoordinatedShutdown::start`].
    pub async fn terminate(&self) {
        self.coordinated_shutdown().run().await;
    }

    /// Waits until the coordinated shutdown has ended, whoever starts it. Cancel safe.
    pub async fn terminated(&self) {
        self.coordinated_shutdown().ended().await;
    }

    /// Stops all actors: first those under `/user`, then the infrastructure; when three quarters of `within` are over
    /// the infrastructure no longer waits for the others. Comes back once all have stopped, however long that takes.
    pub(crate) async fn stop_actors(&self, within: Duration) {
        self.0.events.log_no_more();
        let mut user = pin!(self.0.user.stop());
        if self.clock().timeout(within - within / 4, user.as_mut()).await.is_ok() {
            self.0.internal.stop().await;
            return;
        }
        warn!(still_stopping = ?self.0.user.alive(), "actors do not stop; their infrastructure stops without them");
        futures_util::future::join(user, self.0.internal.stop()).await;
    }

    /// Ends everything at once, as the end of the process would: no handler begins or goes on, nobody is told, no shutdown
    /// runs. For simulations. Only values are dropped, and what their destructors send goes nowhere; those of an actor
    /// whose handler waits for something are dropped when nobody holds a reference to it.
    pub fn crash(&self) {
        self.0.scheduler.stop();
        self.abandon();
    }

    pub(crate) fn gate(&self) -> &Gatekeeper {
        &self.0.gate
    }

    /// Nothing runs any more: lets go of all actors, and of what a shutdown would have done.
    pub(crate) fn abandon(&self) {
        self.0.user.abandon();
        self.0.internal.abandon();
        if let Some(shutdown) = self.0.shutdown.get() {
            shutdown.abandon();
        }
    }

    /// The actors at the top that have not stopped.
    pub(crate) fn alive_at_top(&self) -> Vec<ActorPath> {
        let mut alive = self.0.user.alive();
        alive.extend(self.0.internal.alive());
        alive
    }

    /// Whoever has no actor for a parent.
    pub(crate) fn roots(&self) -> Parent {
        Parent::Guardian(self.0.internal.clone())
    }

    pub(crate) fn scheduler(&self) -> &Scheduler {
        &self.0.scheduler
    }

    /// Turns an actor may take in a row.
    #[inline]
    pub(crate) fn throughput(&self) -> u32 {
        self.0.throughput
    }

    /// Whether runs are to be repeatable, which they would not be with threads of their own for some actors.
    pub(crate) fn is_simulated(&self) -> bool {
        self.clock().is_virtual() || self.scheduler().is_ordered()
    }

    pub(crate) fn next_uid(&self) -> u64 {
        self.0.uids.fetch_add(1, Ordering::Relaxed)
    }

    /// How all actors under `/user` are traced that do not say it themselves.
    pub(crate) fn tracing(&self) -> Option<Tracing> {
        self.0.tracing
    }

    /// Runs `task` on the system's runtime until it is done or the handle says otherwise; it does not end with the system.
    /// In a simulation it stands still as the system's actors do, and goes on no more once they end: it is dropped when it would
    /// go on, at the latest with the runtime.
    pub fn spawn_task(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.runtime().spawn(self.gate().guard(task)).abort_handle()
    }

    /// 64 bits from where all randomness of this system comes from: its seed, or the operating system. Two systems with one
    /// seed draw the same.
    #[must_use]
    pub fn random_bits(&self) -> u64 {
        self.0.random.lock().random()
    }

    /// In 0..1.
    pub(crate) fn random(&self) -> f64 {
        self.0.random.lock().random()
    }
}

impl Drop for Inner {
    /// Nobody can reach the actors any more.
    fn drop(&mut self) {
        self.scheduler.stop();
    }
}

impl fmt::Debug for ActorSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorSystem").field("name", &self.0.name).field("uid", &self.0.uid).finish_non_exhaustive()
    }
}

/// Knows a system without keeping it.
pub(crate) struct WeakSystem(Weak<Inner>);

impl WeakSystem {
    pub(crate) fn upgrade(&self) -> Option<ActorSystem> {
        self.0.upgrade().map(ActorSystem)
    }
}

/// Settings of an [`ActorSystem`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct ActorSystemBuilder {
    name: String,
    clock: Option<Clock>,
    seed: Option<u64>,
    runtime: Option<Handle>,
    shutdown_budget: Option<Duration>,
    throughput: u32,
    workers: Option<usize>,
    order: Order,
    parked_max: usize,
    watchdog: Watching,
    tracing: Option<Tracing>,
    gate: Gatekeeper,
}

/// Whether there is a watchdog.
#[derive(Clone, Copy, Debug)]
enum Watching {
    /// Where time is real.
    Default,
    Limit(Duration),
    Off,
}

impl ActorSystemBuilder {
    /// The clock. Default: [`Clock::tokio`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where all randomness of this system comes from, its uid included: the same seed, the same run. Default: the
    /// operating system's.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The runtime its actors run on. Default: the ambient one.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// How long a shutdown may take; see [`CoordinatedShutdown::set_budget`]. Default: no budget.
    pub fn shutdown_budget(mut self, budget: Duration) -> Self {
        self.shutdown_budget = Some(budget);
        self
    }

    /// How many turns an actor may take before it lets others run; it lets them earlier when its turns take long.
    /// Default: 128. Fewer make the delay of others shorter and every message dearer.
    ///
    /// # Panics
    /// When `turns` is zero.
    pub fn throughput(mut self, turns: u32) -> Self {
        assert!(turns > 0, "throughput: an actor needs at least one turn to get anywhere");
        self.throughput = turns;
        self
    }

    /// How many actors may run at the same time. Default: as many as the runtime has workers.
    ///
    /// # Panics
    /// When `workers` is zero.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "workers: somebody has to run the actors");
        self.workers = Some(workers);
        self
    }

    /// One actor at a time, first come first served.
    pub(crate) fn fixed_order(mut self) -> Self {
        self.order = Order::Fifo;
        self
    }

    /// One actor at a time, in an order drawn from `seed`: on a runtime of one thread, the same seed makes the same order.
    /// For simulations: it leaves all other threads idle.
    pub fn seeded_order(mut self, seed: u64) -> Self {
        self.order = Order::Seeded(seed);
        self
    }

    /// Has every task of this system pass `gate` each time it is to run. For simulations, on a runtime of one thread and
    /// with [`seeded_order`](ActorSystemBuilder::seeded_order): other orders have tasks that pass no gate.
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Gatekeeper(Some(gate));
        self
    }

    /// How many failed messages the [`ParkingLot`] holds. Default: 1,000.
    pub fn parking_lot_capacity(mut self, capacity: usize) -> Self {
        self.parked_max = capacity;
        self
    }

    /// From when on an actor that holds a thread is reported: in the log, as [`TurnStuck`](crate::TurnStuck) on the event
    /// stream and in the counter `actors_turns_stuck_total`. Default: 100 ms; in virtual time there is no watchdog.
    ///
    /// It costs one thread that sleeps most of the time, and messages nothing. What lasts less than two limits may go
    /// unnoticed.
    ///
    /// # Panics
    /// When `limit` is below a millisecond.
    pub fn watchdog(mut self, limit: Duration) -> Self {
        assert!(limit >= Duration::from_millis(1), "watchdog: `limit` must be a millisecond at least, not {limit:?}");
        self.watchdog = Watching::Limit(limit);
        self
    }

    /// No [`watchdog`](ActorSystemBuilder::watchdog).
    pub fn without_watchdog(mut self) -> Self {
        self.watchdog = Watching::Off;
        self
    }

    /// Traces all actors under `/user`, except those whose [`Props::tracing`] says something else. Off by default; see
    /// [`Tracing`] for what it costs.
    pub fn tracing(mut self, tracing: Tracing) -> Self {
        self.tracing = Some(tracing);
        self
    }

    /// Starts the system.
    ///
    /// # Panics
    /// When no runtime was given and there is no ambient one.
    pub fn start(self) -> ActorSystem {
        let runtime = self.runtime.unwrap_or_else(|| {
            Handle::try_current()
                .expect("an actor system needs a tokio runtime: start it inside one or give one to the builder")
        });
        let clock = self.clock.unwrap_or_else(|| {
            let _entered = runtime.enter();
            Clock::tokio()
        });
        let mut random = self.seed.map_or_else(SmallRng::from_os_rng, SmallRng::seed_from_u64);
        let uid = random.random();
        let scheduler = Scheduler::start_behind(&self.gate, &runtime, self.order, self.workers);
        scheduler.guard(clock.clone());
        let observer = scheduler.observer();
        let watchdog = match self.watchdog {
            Watching::Off => None,
            Watching::Limit(limit) => Some(Watchdog::new(limit)),
            Watching::Default => (!clock.is_virtual()).then(|| Watchdog::new(watchdog::LIMIT)),
        };
        let system = ActorSystem(Arc::new(Inner {
            name: self.name,
            uid,
            events: EventStream::new(clock.clone()),
            clock,
            scheduler,
            throughput: self.throughput,
            runtime,
            uids: AtomicU64::new(USER_UID + 1),
            random: Mutex::new(random),
            user: Guardian::new(ActorPath::root(uid, USER_UID, "user")),
            internal: Guardian::new(ActorPath::root(uid, SYSTEM_UID, "system")),
            shutdown: OnceLock::new(),
            receptionist: Mutex::new(None),
            shutdown_budget: self.shutdown_budget,
            parking_lot: ParkingLot::new(self.parked_max),
            inspector: Arc::default(),
            watchdog,
            tracing: self.tracing,
            gate: self.gate,
            extensions: Extensions::default(),
        }));
        // Actors and their system hold each other. Those that nobody can run any more let go.
        let known = WeakSystem(Arc::downgrade(&system.0));
        system.scheduler().when_lost(move || {
            if let Some(system) = known.upgrade() {
                system.abandon();
            }
        });
        if let Some(watchdog) = system.watchdog() {
            watchdog.start(observer, WeakSystem(Arc::downgrade(&system.0)));
        }
        system
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::actor::{Behavior, Handled};
    use crate::context::ActorContext;
    use crate::receptionist::ServiceKey;
    use crate::shutdown::Phase;
    use crate::testkit::TestKit;

    #[test]
    fn a_system_that_has_ended_is_not_kept_by_its_receptionist() {
        let kit = TestKit::new();
        let key = ServiceKey::<u32>::new("numbers");
        kit.system().receptionist().register(&key, &kit.probe().actor_ref());
        kit.block_on(kit.system().terminate());
        let system = Arc::downgrade(&kit.system().0);
        drop(kit);
        assert_eq!(system.strong_count(), 0);
    }

    #[test]
    fn a_system_that_crashed_is_not_kept_by_what_its_shutdown_would_have_done() {
        let kit = TestKit::new();
        let kept = kit.system().clone();
        let task = kit.system().coordinated_shutdown().add_task(Phase::ServiceUnbind, "unbind", move || async move {
            drop(kept);
            Ok(())
        });
        task.expect("it has not begun");
        kit.system().crash();
        let system = Arc::downgrade(&kit.system().0);
        drop(kit);
        assert_eq!(system.strong_count(), 0);
    }

    /// Watches whom it is told of, for good.
    struct Watching;

    struct Watch(crate::ActorRef<Watch>);

    impl Actor for Watching {
        type Message = Watch;

        async fn receive(&mut self, ctx: &mut ActorContext<Watch>, Watch(other): Watch) -> Handled {
            ctx.watch(&other);
            Ok(Behavior::Same)
        }
    }

    #[test]
    fn a_system_that_crashed_is_not_kept_by_actors_that_watch_each_other() {
        let kit = TestKit::new();
        let (one, two) = (kit.system().spawn("one", Watching), kit.system().spawn("two", Watching));
        one.tell(Watch(two.clone()));
        two.tell(Watch(one.clone()));
        kit.settle();
        kit.system().crash();
        drop((one, two));
        let system = Arc::downgrade(&kit.system().0);
        drop(kit);
        assert_eq!(system.strong_count(), 0);
    }

    /// Waits while it handles a message, and so is there still when its time to stop begins.
    struct Slow;

    impl Actor for Slow {
        type Message = ();

        async fn receive(&mut self, ctx: &mut ActorContext<()>, (): ()) -> Handled {
            let clock = ctx.clock().clone();
            clock.sleep(Duration::from_secs(1)).await;
            Ok(Behavior::Same)
        }
    }

    #[test]
    fn an_actor_that_ended_in_time_is_not_kept_by_the_time_it_had() {
        let kit = TestKit::new();
        let slow = kit.spawn("slow", Props::from(Slow).stop_timeout(Duration::from_secs(3_600)));
        slow.tell(());
        kit.settle();
        kit.system().stop(&slow);
        kit.settle();
        kit.advance(Duration::from_secs(1));
        kit.probe::<()>().expect_terminated(&slow);
        assert_eq!(slow.cell().map(|cell| cell.hint().holders()), Some(1), "this reference alone");
    }

    #[test]
    fn who_was_made_asleep_has_not_run_before_something_comes() {
        struct Plain;

        impl Actor for Plain {
            type Message = ();

            async fn receive(&mut self, _: &mut ActorContext<()>, (): ()) -> Handled {
                Ok(Behavior::Same)
            }
        }

        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let system = ActorSystem::new("sleepers");
            let runs = || system.scheduler().workers().iter().map(|worker| worker.runs).sum::<u64>();
            let settle = async || {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            };
            let sleepers: Vec<_> = (0..100).map(|_| system.spawn_anonymous(Plain)).collect();
            let supervised = system.spawn_anonymous(Props::new(|| Plain));
            settle().await;
            assert_eq!(runs(), 1, "the one that is made by a factory");
            sleepers.iter().for_each(|sleeper| sleeper.tell(()));
            settle().await;
            assert_eq!(runs(), 101);
            drop(supervised);
        });
    }
}
