//! [`PoolRouter`]: a router whose routees are its children.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::logic::RoutingLogic;
use super::members::Members;
use super::route::{Broadcast, Owned, Phase, Router, Routes};
use crate::actor::{Actor, Behavior, Handled};
use crate::actor_ref::ActorRef;
use crate::block_queue::Posture;
use crate::clock::Tick;
use crate::context::ActorContext;
use crate::mailbox::Mailbox;
use crate::props::Props;
use crate::system::ActorSystem;

/// How often a routee that is leaving is looked at.
const LOOK_AFTER: Duration = Duration::from_millis(10);
const LOOK: &str = "look";
const TIME_IS_OVER: &str = "time is over";

/// A router that spawns its routees as children: workers that share what comes.
///
/// ```
/// use actors::{Actor, ActorContext, ActorSystem, Behavior, BoxError, Handled, PoolRouter, Props, ReplyTo};
/// use actors::{RoutingLogic, SupervisorStrategy};
/// use std::time::Duration;
///
/// #[derive(Default)]
/// struct Squarer;
///
/// struct Square(u64, ReplyTo<u64>);
///
/// impl Actor for Squarer {
///     type Message = Square;
///
///     async fn receive(&mut self, _ctx: &mut ActorContext<Square>, Square(number, reply_to): Square) -> Handled {
///         reply_to.tell(number.checked_mul(number).ok_or("too large")?);
///         Ok(Behavior::Same)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let system = ActorSystem::new("arithmetic");
/// let worker = || Props::new(Squarer::default).supervise(SupervisorStrategy::restart());
/// let squarers = PoolRouter::new(4, worker).logic(RoutingLogic::smallest_mailbox());
/// let squarers = system.spawn_pool("squarers", squarers);
///
/// let answer = squarers.ask(|reply_to| Square(12, reply_to), Duration::from_secs(1)).await?;
/// assert_eq!(answer, 144);
/// squarers.resize(8); // more is coming
/// # system.terminate().await;
/// # Ok(())
/// # }
/// ```
///
/// # Sending
///
/// [`PoolRef`] is an [`ActorRef`] with the same four verbs, and goes wherever one is wanted: nobody can tell whether one
/// actor answers or several. A message is routed in its sender's turn and goes straight into the routee's mailbox, so a
/// pool is no bottleneck and adds no hop.
///
/// - Messages of one task to one routee keep their order. Nothing is promised between two routees.
/// - [`try_tell`](ActorRef::try_tell) is refused for want of room only when no routee the message may go to has any, and
///   [`send`](ActorRef::send) waits for one; a change of the routees makes it look again.
/// - What comes before the pool has started waits for that.
///
/// # Routees
///
/// They are children of the router, `1` to its size by name, and live by their own [`Props`]: with the default strategy
/// one that fails stops. One that has stopped is removed, and with the last one the router stops. Its number is not
/// filled again by itself: supervise routees so that they restart, or [`resize`](PoolRef::resize).
///
/// # Its end
///
/// Messages wait with the routees, not with the router. [`ActorContext::stop`], [`ActorContext::drain`] and the end of the
/// system find nothing to wait for in the router and stop the routees, and what waits for those becomes dead letters.
/// [`PoolRef::drain`] has them handle it first.
///
/// Default logic: [round robin](RoutingLogic::round_robin).
#[must_use = "a router does nothing until it is spawned"]
pub struct PoolRouter<A: Actor> {
    size: usize,
    factory: Box<dyn FnMut() -> Props<A> + Send>,
    logic: RoutingLogic<A::Message>,
    broadcast: Option<Broadcast<A::Message>>,
}

impl<A: Actor> PoolRouter<A> {
    /// A pool of `size` routees, each spawned from what `factory` returns. The mailbox and the supervision of a routee
    /// are those of its [`Props`]: with the default strategy a routee that fails stops and the pool is smaller by one.
    ///
    /// # Panics
    /// When `size` is zero: there would be nobody to route to.
    pub fn new(size: usize, factory: impl FnMut() -> Props<A> + Send + 'static) -> Self {
        check(size);
        Self { size, factory: Box::new(factory), logic: RoutingLogic::round_robin(), broadcast: None }
    }

    /// Who gets the next message.
    pub fn logic(mut self, logic: RoutingLogic<A::Message>) -> Self {
        self.logic = logic;
        self
    }

    /// Messages for which `applies` is true go to all routees, as with [`RoutingLogic::broadcast`]. It runs in the
    /// sender's turn.
    pub fn broadcast_when(mut self, applies: impl Fn(&A::Message) -> bool + Send + Sync + 'static) -> Self
    where
        A::Message: Clone,
    {
        self.broadcast = Some(Broadcast::when(applies));
        self
    }

    fn spawn(self, system: &ActorSystem, spawn: impl FnOnce(Pool<A>) -> ActorRef<PoolMessage>) -> PoolRef<A::Message> {
        system.event_stream().suppress_dead_letters::<PoolMessage>();
        let router = Router::new(self.logic, self.broadcast, Mailbox::DEFAULT_CAPACITY, system);
        let pool = Pool {
            router: Owned(router.clone()),
            factory: self.factory,
            size: self.size,
            members: Members::new(),
            drain_until: None,
            past: Vec::new(),
            redelivers: false,
        };
        let pool = spawn(pool);
        router.belongs_to(pool.control_arc());
        PoolRef { actor_ref: ActorRef::of_router(router.clone()), router, pool }
    }
}

fn check(size: usize) {
    assert!(size > 0, "a pool needs at least one routee; to end it, stop the router");
}

impl<A: Actor> fmt::Debug for PoolRouter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolRouter").field("size", &self.size).field("logic", &self.logic).finish_non_exhaustive()
    }
}

/// The reference of a pool: an [`ActorRef`] to send to, and the means to resize it. Cheap to clone.
pub struct PoolRef<M> {
    actor_ref: ActorRef<M>,
    router: Arc<Router<M>>,
    pool: ActorRef<PoolMessage>,
}

impl<M: Send + 'static> PoolRef<M> {
    /// The pool as any other actor.
    pub fn actor_ref(&self) -> &ActorRef<M> {
        &self.actor_ref
    }

    /// Makes the pool `size` routees large; returns at once.
    ///
    /// No message is lost by it: a routee that is let go gets no new messages, handles those it has, and those it failed on and
    /// is to handle again, and only then stops. The youngest go first. What it has put aside itself, in a stash or for the answer to an ask of its own, ends with
    /// it.
    ///
    /// # Panics
    /// When `size` is zero. A pool ends by [`drain`](PoolRef::drain), when its parent stops it, or with its last routee.
    pub fn resize(&self, size: usize) {
        check(size);
        self.pool.tell(PoolMessage::Resize(size));
    }

    /// Ends the pool: from now on it takes no messages, its routees handle what waits in their mailboxes, each as by
    /// [`ActorContext::drain`], and with the last of them the router stops. When `within` is over they are stopped: each
    /// finishes the message in hand, and the rest become dead letters.
    ///
    /// Returns at once; watch the [`actor_ref`](PoolRef::actor_ref) to learn when the pool has ended. What the caller told
    /// the pool before is handled; what others tell it at the same time is, or comes back or becomes a dead letter. Of
    /// several calls the first counts, and none to [`resize`](PoolRef::resize) does after it.
    ///
    /// Any owner of this reference may call it: give those who only send the `actor_ref`.
    pub fn drain(&self, within: Duration) {
        self.pool.tell(PoolMessage::Drain(within));
    }

    /// How many routees take messages now: none before the pool has started and after its end.
    pub fn size(&self) -> usize {
        self.router.routes.load().routees.len()
    }
}

impl<M> Deref for PoolRef<M> {
    type Target = ActorRef<M>;

    fn deref(&self) -> &ActorRef<M> {
        &self.actor_ref
    }
}

impl<M> From<PoolRef<M>> for ActorRef<M> {
    fn from(pool: PoolRef<M>) -> Self {
        pool.actor_ref
    }
}

impl<M> Clone for PoolRef<M> {
    fn clone(&self) -> Self {
        Self { actor_ref: self.actor_ref.clone(), router: self.router.clone(), pool: self.pool.clone() }
    }
}

impl<M: Send + 'static> fmt::Debug for PoolRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PoolRef").field(self.actor_ref.path()).finish()
    }
}

impl ActorSystem {
    /// Spawns a pool at the top, as [`spawn`](ActorSystem::spawn) does an actor.
    ///
    /// # Panics
    /// As [`spawn`](ActorSystem::spawn).
    pub fn spawn_pool<A: Actor>(&self, name: impl AsRef<str>, pool: PoolRouter<A>) -> PoolRef<A::Message> {
        pool.spawn(self, |pool| self.spawn(name, pool))
    }
}

impl<N: Send + 'static> ActorContext<N> {
    /// Spawns a pool as a child, as [`spawn`](ActorContext::spawn) does an actor.
    ///
    /// # Panics
    /// As [`spawn`](ActorContext::spawn).
    pub fn spawn_pool<A: Actor>(&mut self, name: impl AsRef<str>, pool: PoolRouter<A>) -> PoolRef<A::Message> {
        let system = self.system().clone();
        pool.spawn(&system, |pool| self.spawn(name, pool))
    }
}

enum PoolMessage {
    Resize(usize),
    Drain(Duration),
    /// The routees had their time to drain.
    TimeIsOver,
    /// The routee of that number has.
    Ended(u32),
    /// Whether those that leave are done.
    Look,
}

/// The router's actor. It owns the routees; messages do not pass through it.
struct Pool<A: Actor> {
    router: Owned<A::Message>,
    factory: Box<dyn FnMut() -> Props<A> + Send>,
    /// How large to start.
    size: usize,
    members: Members<ActorRef<A::Message>>,
    /// Until when the routees may drain, once they are told to.
    drain_until: Option<Tick>,
    /// Tables that are replaced, and perhaps still in the hands of a sender.
    past: Vec<Arc<Routes<A::Message>>>,
    /// Routees may keep a message they failed on, to handle it again.
    redelivers: bool,
}

impl<A: Actor> Actor for Pool<A> {
    type Message = PoolMessage;

    async fn started(&mut self, ctx: &mut ActorContext<PoolMessage>) -> Handled {
        self.router.0.belongs_to(ctx.this().control_arc());
        self.grow(ctx, self.size);
        self.router.0.open(self.members.active());
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<PoolMessage>, message: PoolMessage) -> Handled {
        match message {
            PoolMessage::Resize(_) | PoolMessage::Drain(_) if self.drain_until.is_some() => {}
            PoolMessage::Drain(within) => {
                self.drain_until = Some(ctx.clock().now() + within);
                ctx.timers().start_single(TIME_IS_OVER, within, PoolMessage::TimeIsOver);
                self.members.shrink(0);
                self.past.push(self.router.0.close());
            }
            PoolMessage::TimeIsOver => return Ok(Behavior::Stopped),
            PoolMessage::Resize(size) => {
                let before = self.members.size();
                self.grow(ctx, size);
                self.members.shrink(size);
                if self.members.size() != before {
                    self.publish();
                }
            }
            PoolMessage::Ended(number) => {
                if self.members.ended(number) {
                    self.publish();
                }
                if self.members.is_empty() {
                    return Ok(Behavior::Stopped);
                }
            }
            PoolMessage::Look => {}
        }
        self.dismiss(ctx);
        Ok(Behavior::Same)
    }
}

impl<A: Actor> Pool<A> {
    fn grow(&mut self, ctx: &mut ActorContext<PoolMessage>, size: usize) {
        while self.members.size() < size {
            let number = self.members.free_number();
            let props = (self.factory)();
            self.redelivers |= props.failed.is_some();
            let routee = ctx.spawn(number.to_string(), props);
            ctx.watch_with(&routee, PoolMessage::Ended(number));
            self.members.join(number, routee);
        }
    }

    fn publish(&mut self) {
        debug_assert!(self.router.0.routes.load().phase == Phase::Open);
        let before = self.router.0.replace(self.members.active());
        self.past.push(before);
    }

    /// Stops those who leave and have nothing more to do, and drains them where all leave.
    fn dismiss(&mut self, ctx: &mut ActorContext<PoolMessage>) {
        // A sender with an old table in hand may be about to send by it. Once it is nobody's, all by it has been sent.
        self.past.retain_mut(|table| Arc::get_mut(table).is_none());
        if self.past.is_empty() {
            let drain_until = self.drain_until;
            let redelivers = self.redelivers;
            // A message that is to be handled again is in no mailbox; whoever sleeps has none.
            let is_done = |routee: &ActorRef<A::Message>| {
                routee.queued() == 0 && (!redelivers || routee.control().posture() == Posture::Asleep)
            };
            for routee in self.members.dismiss(|routee| drain_until.is_some() || is_done(routee)) {
                match drain_until {
                    Some(until) => {
                        let within = until - ctx.clock().now();
                        ctx.drain(&routee, within);
                    }
                    None => ctx.stop(&routee),
                }
            }
        }
        if self.members.any_leaving() {
            ctx.timers().start_single(LOOK, LOOK_AFTER, PoolMessage::Look);
        }
    }
}
