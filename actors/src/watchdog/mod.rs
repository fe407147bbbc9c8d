//! Notices actors that hold a thread for long and says which: [`TurnStuck`].
//!
//! A thread of its own looks now and then at what the carriers write down about themselves anyway: how many runs each has
//! begun, and whose the present one is. So the path of a message pays nothing, and the look works when every thread of the
//! runtime is held up, which is when it matters most. Carriers know actors by number only. Those at the top are found by
//! it at once; for one further down the tree is asked from the top, on a thread of the runtime's blocking pool, which runs
//! whoever is idle and has to answer. That happens once per actor that is stuck, and never otherwise.
//!
//! Not seen are turns on a thread that waits for the actor's answer and runs it meanwhile, and handlers that are
//! suspended: they hold no thread ([`ActorSystem::tree`] shows them).

mod find;
mod looks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::warn;

use self::looks::{Looks, Stuck};
use crate::cell::Control;
use crate::path::ActorPath;
use crate::scheduler::Observer;
use crate::system::{ActorSystem, WeakSystem};

/// The limit unless told otherwise.
pub(crate) const LIMIT: Duration = Duration::from_millis(100);
/// How long the tree is asked for the name of an actor.
const PATIENCE: Duration = Duration::from_secs(1);

/// An actor has held a thread for longer than the [watchdog](crate::ActorSystemBuilder::watchdog)'s limit, most likely in
/// one turn that blocks or computes. Other actors wait meanwhile. Published once per such run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnStuck {
    /// The actor.
    pub actor: ActorPath,
    /// The Rust type that was spawned.
    pub actor_type: &'static str,
    /// How long it had held the thread at least when it was noticed.
    pub age: Duration,
}

/// What a system knows of its watchdog.
#[derive(Clone)]
pub(crate) struct Watchdog {
    looks: Arc<Mutex<Looks>>,
    began: Instant,
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a thread is held is real time, whatever the system's clock says"
)]
fn now() -> Instant {
    Instant::now()
}

impl Watchdog {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { looks: Arc::new(Mutex::new(Looks::new(limit))), began: now() }
    }

    /// How long the actor has held a thread, at least, if it does.
    pub(crate) fn age_of(&self, uid: u64) -> Option<Duration> {
        self.looks.lock().age_of(uid, self.began.elapsed())
    }

    /// Looks on a thread of its own until the system has ended.
    pub(crate) fn start(&self, observer: Observer, system: WeakSystem) {
        let this = self.clone();
        let thread = thread::Builder::new().name("actors-watchdog".to_owned());
        if let Err(error) = thread.spawn(move || this.run(&observer, &system)) {
            warn!(%error, "no thread for the watchdog; turns that are stuck are not noticed");
        }
    }

    fn run(self, observer: &Observer, system: &WeakSystem) {
        let mut unnamed = Vec::new();
        let finding = Arc::new(AtomicBool::new(false));
        loop {
            thread::park_timeout(self.looks.lock().pause());
            let Some(workers) = observer.workers() else { return };
            unnamed.extend(self.looks.lock().look(&workers, self.began.elapsed()));
            if unnamed.is_empty() || finding.load(Ordering::Acquire) {
                continue;
            }
            let Some(system) = system.upgrade() else { return };
            unnamed.retain(|stuck| !report_if_at_top(&system, *stuck));
            if !unnamed.is_empty() {
                finding.store(true, Ordering::Release);
                let (unnamed, finding) = (std::mem::take(&mut unnamed), finding.clone());
                system.runtime().clone().spawn_blocking(move || {
                    report_found(&system, unnamed);
                    drop(system);
                    finding.store(false, Ordering::Release);
                });
            }
        }
    }
}

fn report_if_at_top(system: &ActorSystem, stuck: Stuck) -> bool {
    let actor = find::at_top(system, stuck.uid);
    if let Some(actor) = &actor {
        report(system, stuck, &**actor);
    }
    actor.is_some()
}

fn report_found(system: &ActorSystem, unnamed: Vec<Stuck>) {
    let uids: Vec<_> = unnamed.iter().map(|stuck| stuck.uid).collect();
    let found = find::anywhere(system, &uids, PATIENCE);
    for stuck in unnamed {
        match found.iter().find(|actor| actor.head().uid() == stuck.uid) {
            Some(actor) => report(system, stuck, &**actor),
            None => {
                count();
                warn!(
                    uid = stuck.uid,
                    age = ?stuck.age,
                    "an actor holds a thread, and those above it are too busy to tell which it is"
                );
            }
        }
    }
}

fn report(system: &ActorSystem, stuck: Stuck, actor: &dyn Control) {
    let (path, actor_type, age) = (actor.head().path().clone(), actor.head().actor_type(), stuck.age);
    count();
    warn!(
        %path,
        actor_type,
        ?age,
        "an actor holds a thread and keeps others from it; use `spawn_blocking` or a pinned actor for what blocks"
    );
    system.event_stream().publish(TurnStuck { actor: path, actor_type, age });
}

fn count() {
    metrics::counter!("actors_turns_stuck_total").increment(1);
}
