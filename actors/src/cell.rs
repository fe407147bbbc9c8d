//! What an actor shows to the outside: who it is, its mailbox, and who wants to hear of its end.

use std::any::{Any, TypeId, type_name};
use std::error::Error;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tracing::{Span, warn};

use crate::actor_ref::{Stopped, TryTellError};
use crate::ask::AskError;
use crate::ask_chain::Link;
use crate::audience::{Audience, Outside};
use crate::block_queue::{Note, Permit, Posture, Queue, Refusal, Room, Wake};
use crate::cell_ref::{CellRef, ControlRef};
use crate::clock::Tick;
use crate::discard;
use crate::envelope::{Envelope, Internal, Letter, Place, Question, until};
use crate::event_stream::DeadLetterReason;
use crate::foyer::Foyer;
use crate::guardian::Guardian;
use crate::inspect::{Lane, Probe};
use crate::lazy::Lazy;
use crate::lineage::{Lineage, ParentRef};
use crate::orders::{Ending, Limit, Limits};
use crate::own::Own;
use crate::path::ActorPath;
use crate::pinned::Pin;
use crate::remote::Elsewhere;
use crate::scheduler::Header;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::system::ActorSystem;
use crate::trace::Tracer;

/// So many messages that wait are a pile: more than one who asks and waits for the answer leaves.
pub(crate) const PILE: usize = 32;

/// An actor has stopped for good.
pub(crate) struct Ended {
    pub(crate) path: ActorPath,
    /// For its parent only.
    pub(crate) failure: Option<Cause>,
}

/// Who owns an actor.
#[derive(Clone)]
pub(crate) enum Parent {
    Actor(ControlRef),
    Guardian(Arc<Guardian>),
}

impl Parent {
    pub(crate) fn path(&self) -> &ActorPath {
        match self {
            Self::Actor(actor) => ParentRef::Actor(actor).path(),
            Self::Guardian(guardian) => ParentRef::Guardian(guardian).path(),
        }
    }
}

/// An actor, whatever its messages are.
pub(crate) trait Control: Send + Sync {
    fn head(&self) -> &Head;
    /// Begins the end of this actor. From now on it takes no messages.
    fn end(&self, how: Ending);
    fn stop(&self) {
        self.end(Ending::Stop);
    }
    fn is_closed(&self) -> bool;
    /// How many messages wait.
    fn queued(&self) -> usize;
    /// What it does, as it looks from outside.
    fn posture(&self) -> Posture;
    /// Somebody looks at it: the answer comes from its own turn.
    fn inspect(&self, probe: Box<Probe>);
    /// Somebody this actor watches has ended.
    fn notice_end(&self, ended: Ended);
    /// A child has ended: frees its place.
    fn child_ended(&self, place: Place);
    /// Nothing will run this actor any more: lets go of all it has, unless it is running at this moment, in which case
    /// whoever runs it does so afterwards.
    fn abandon(&self);
    fn message_type(&self) -> TypeId;
}

/// It was said that the mailbox is full.
const WARNED_FULL: u8 = 1;
/// The present life has come to the end of `started`.
const UP: u8 = 1 << 1;
/// It has ended, and those who watch it are told.
const ENDED: u8 = 1 << 2;

/// The part of a [`Cell`] that does not depend on the message type.
#[repr(C)]
pub(crate) struct Head {
    header: Header,
    /// Until when whoever asked the message in hand waits: a [`Tick`]. Written by the actor alone.
    deadline: AtomicU64,
    /// It has awaited an ask in this turn.
    awaited: AtomicBool,
    pub(crate) abandoned: AtomicBool,
    /// What [`crate::orders`] makes of it; zero: nothing.
    pub(crate) orders: AtomicU8,
    /// [`WARNED_FULL`], [`UP`], [`ENDED`].
    marks: AtomicU8,
    slot: u32,
    rare: Option<Box<Rare>>,
    /// The system comes first in it.
    lineage: Lineage,
    // What every run and every ask looks at lies above, in one cache line as allocators place it; the parent and the rest are
    // for its ends and for those who ask inside a handler.
    /// Changes from a turn in which the actor awaited an ask to the next. Written by its runner alone.
    turn: AtomicU64,
    /// What it is called if it was given no name, else 0.
    number: u64,
    /// Made when somebody wants to read it, unless it was given a name: most actors are never asked for it.
    path: Lazy<ActorPath>,
    held: Lazy<Mutex<Held>>,
}

/// What an actor is called by its parent.
pub(crate) enum Name {
    /// It was given no name. Never 0.
    Numbered(u64),
    Given(Box<str>),
    /// Its path is [set](Head::set_path), as nobody here called it anything.
    Elsewhere,
}

impl Name {
    pub(crate) fn with<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Numbered(number) => read(&format!("${number}")),
            Self::Given(name) => read(name),
            Self::Elsewhere => read(""),
        }
    }
}

/// What not every actor has.
pub(crate) struct Rare {
    span: Option<Span>,
    pin: Option<Pin>,
    /// A [`Foyer`](crate::foyer::Foyer) for its messages.
    foyer: Option<Box<dyn Any + Send + Sync>>,
    tracer: Option<Tracer>,
    /// Its name, where it is not that of the type that is run.
    actor_type: Option<fn() -> &'static str>,
    /// Of a stand-in for an actor elsewhere.
    elsewhere: Option<Elsewhere>,
}

impl Rare {
    /// Of a stand-in.
    pub(crate) fn of_elsewhere(elsewhere: Elsewhere) -> Box<Self> {
        let elsewhere = Some(elsewhere);
        Box::new(Self { span: None, pin: None, foyer: None, tracer: None, actor_type: None, elsewhere })
    }

    /// `None` for an actor that has none of it.
    pub(crate) fn new(
        span: Span,
        pin: Option<Pin>,
        foyer: Option<Box<dyn Any + Send + Sync>>,
        tracer: Option<Tracer>,
        actor_type: Option<fn() -> &'static str>,
    ) -> Option<Box<Self>> {
        let span = Some(span).filter(|span| !span.is_disabled());
        let any = span.is_some() || pin.is_some() || foyer.is_some() || tracer.is_some() || actor_type.is_some();
        any.then(|| Box::new(Self { span, pin, foyer, tracer, actor_type, elsewhere: None }))
    }
}

/// What is rarely looked at, and made when it is needed.
#[derive(Default)]
pub(crate) struct Held {
    /// Of an actor that lives ([`ENDED`] is not set).
    watchers: Option<Box<Audience>>,
    /// What it ended with.
    failure: Option<Cause>,
    /// The ask behind the message in hand.
    cause: Option<Arc<Link>>,
    pub(crate) limits: Option<Box<Limits>>,
}

/// What an actor failed with for good.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

impl Head {
    /// `header`: of what begins with this.
    pub(crate) fn new(
        header: Header,
        system: &ActorSystem,
        parent: Parent,
        slot: u32,
        name: Name,
        limits: Option<Box<Limits>>,
        rare: Option<Box<Rare>>,
    ) -> Self {
        let lineage = Lineage::new(system, parent);
        let (number, path) = match name {
            Name::Numbered(number) => (number, Lazy::new()),
            Name::Given(name) => (0, Lazy::of(lineage.parent().path().child(header.uid(), &name))),
            Name::Elsewhere => (0, Lazy::new()),
        };
        Self {
            header,
            lineage,
            number,
            slot,
            path,
            held: match limits {
                None => Lazy::new(),
                limits => Lazy::of(Mutex::new(Held { limits, ..Held::default() })),
            },
            marks: AtomicU8::new(0),
            abandoned: AtomicBool::new(false),
            turn: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            orders: AtomicU8::new(0),
            deadline: AtomicU64::new(Tick::NEVER.nanos()),
            rare,
        }
    }

    /// The head of an actor whose life has begun.
    pub(crate) fn up(self) -> Self {
        self.marks.store(UP, Ordering::Relaxed);
        self
    }

    pub(crate) fn pin(&self) -> Option<&Pin> {
        self.rare.as_ref()?.pin.as_ref()
    }

    pub(crate) fn foyer(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.rare.as_ref()?.foyer.as_deref()
    }

    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.rare.as_ref()?.elsewhere.as_ref()
    }

    /// Sets the path of a stand-in, before anybody knows it.
    pub(crate) fn set_path(&self, path: ActorPath) {
        self.path.get_or_init(|| path);
    }

    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.rare.as_ref()?.tracer.as_ref()
    }

    /// Whether the present life has come to the end of `started`. For those who look from outside.
    pub(crate) fn is_up(&self) -> bool {
        self.marks.load(Ordering::Relaxed) & UP != 0
    }

    pub(crate) fn set_up(&self, up: bool) {
        if up {
            self.marks.fetch_or(UP, Ordering::Relaxed);
        } else if self.is_up() {
            self.marks.fetch_and(!UP, Ordering::Relaxed);
        }
    }

    /// The Rust type that was spawned.
    pub(crate) fn actor_type(&self) -> &'static str {
        match self.rare.as_ref().and_then(|rare| rare.actor_type) {
            Some(actor_type) => actor_type(),
            None => self.header.type_name(),
        }
    }

    pub(crate) fn span(&self) -> Option<&Span> {
        self.rare.as_ref()?.span.as_ref()
    }

    pub(crate) fn path(&self) -> &ActorPath {
        self.path.get_or_init(|| Name::Numbered(self.number).with(|name| self.parent().path().child(self.uid(), name)))
    }

    pub(crate) fn uid(&self) -> u64 {
        self.header.uid()
    }

    /// What it is called if it was given no name.
    pub(crate) fn number(&self) -> Option<u64> {
        (self.number != 0).then_some(self.number)
    }

    /// What it was called, as it is in its path.
    pub(crate) fn given_name(&self) -> Option<&str> {
        (self.number == 0).then(|| self.path().name())
    }

    pub(crate) fn place(&self) -> Place {
        Place { slot: self.slot, uid: self.uid() }
    }

    pub(crate) fn parent(&self) -> ParentRef<'_> {
        self.lineage.parent()
    }

    /// Tells this incarnation from all others, those of other systems included.
    pub(crate) fn key(&self) -> u128 {
        if let Some(elsewhere) = self.elsewhere() {
            return elsewhere.key;
        }
        (u128::from(self.system().uid()) << 64) | u128::from(self.uid())
    }

    pub(crate) fn is_child_of(&self, other: &Head) -> bool {
        self.parent().path() == other.path()
    }

    pub(crate) fn system(&self) -> &ActorSystem {
        self.lineage.system()
    }

    pub(crate) fn set_cause(&self, cause: Option<Arc<Link>>) {
        if cause.is_some() || self.held.get().is_some() {
            let before = mem::replace(&mut self.held().cause, cause);
            drop(before); // outside the lock
        }
    }

    pub(crate) fn set_deadline(&self, deadline: Tick) {
        self.deadline.store(deadline.nanos(), Ordering::Relaxed);
    }

    /// Until when whoever asked the message in hand waits, by the clock of the system.
    pub(crate) fn deadline(&self) -> Tick {
        Tick::from_nanos(self.deadline.load(Ordering::Relaxed))
    }

    pub(crate) fn cause(&self) -> Option<Arc<Link>> {
        self.held.get()?.lock().cause.clone()
    }

    /// What is behind the message in hand, if it was asked.
    pub(crate) fn question(&self) -> Option<Question> {
        let deadline = self.deadline();
        if deadline == Tick::NEVER {
            return None;
        }
        Some(self.cause().map_or(Question::Until(deadline), Question::Link))
    }

    /// A turn is over; asks put aside in it hold nobody up. Called by whoever runs the actor alone.
    #[inline]
    pub(crate) fn next_turn(&self) {
        if self.awaited.load(Ordering::Relaxed) {
            self.awaited.store(false, Ordering::Relaxed);
            self.turn.store(self.turn.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
    }

    /// An ask is awaited in this turn. Called by whoever runs the actor alone.
    pub(crate) fn awaits(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    pub(crate) fn dead_letter<M>(&self, reason: DeadLetterReason) {
        self.system().event_stream().dead_letter(self.path(), type_name::<M>(), reason);
    }

    /// Warns once per actor: a full mailbox means that somebody sends without bound.
    pub(crate) fn warn_full(&self) {
        if self.marks.fetch_or(WARNED_FULL, Ordering::Relaxed) & WARNED_FULL == 0 {
            warn!(path = %self.path(), "mailbox is full; messages told to it become dead letters");
        }
    }

    /// When the actor has ended already nobody will call back: what it would have said is returned.
    pub(crate) fn add_watcher(&self, watcher: ControlRef) -> Option<Ended> {
        let mut held = self.held();
        if !self.has_ended() {
            held.watchers.get_or_insert_default().actors.insert(watcher.head().key(), watcher);
            return None;
        }
        let failure = held.failure.clone();
        drop(held);
        Some(self.ended(watcher.head(), failure.as_ref()))
    }

    fn ended(&self, watcher: &Head, failure: Option<&Cause>) -> Ended {
        let failure = failure.filter(|_| self.is_child_of(watcher)).cloned();
        Ended { path: self.path().clone(), failure }
    }

    pub(crate) fn remove_watcher(&self, watcher: &Head) {
        let removed = self.held.get().and_then(|held| held.lock().watchers.as_mut()?.actors.remove(&watcher.key()));
        drop(removed); // outside the lock: it may be the last hold on the watcher's cell
    }

    /// It will not end, for nothing runs any more: lets go of whoever waits for that, for they may hold it.
    pub(crate) fn forget_watchers(&self) {
        let watchers = self.held.get().and_then(|held| held.lock().watchers.take());
        drop(watchers); // outside the lock
    }

    /// From now on whoever watches learns at once that it has ended.
    pub(crate) fn end(&self, failure: Option<Cause>) {
        if failure.is_some() {
            self.held().failure = failure.clone();
        }
        // Who comes to watch makes the lock first and then looks for this mark: one of the two sees the other.
        self.marks.fetch_or(ENDED, Ordering::SeqCst);
        let before = self.held.get().and_then(|held| held.lock().watchers.take());
        if let Some(watchers) = before {
            let Audience { actors, outside } = *watchers;
            for watcher in actors.into_values() {
                let ended = self.ended(watcher.head(), failure.as_ref());
                watcher.notice_end(ended);
            }
            outside.wake();
        }
    }

    /// Whether anybody wants to hear of its end.
    pub(crate) fn is_watched(&self) -> bool {
        self.held.get().is_some_and(|held| held.lock().watchers.as_ref().is_some_and(|audience| !audience.is_empty()))
    }

    /// Shows `look` who waits for the end of this actor outside of any; `None` once it has ended.
    pub(crate) fn outside<R>(&self, look: impl FnOnce(Option<&mut Outside>) -> R) -> R {
        let mut held = self.held();
        look((!self.has_ended()).then(|| &mut held.watchers.get_or_insert_default().outside))
    }

    /// To be asked with the lock in hand by those who want to be told of it.
    fn has_ended(&self) -> bool {
        self.marks.load(Ordering::SeqCst) & ENDED != 0
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.get_or_init(Mutex::default).lock()
    }

    /// The limits to its end, if any have been set.
    pub(crate) fn with_limits<R>(&self, look: impl FnOnce(&mut Limits) -> R) -> Option<R> {
        self.held.get()?.lock().limits.as_deref_mut().map(look)
    }

    /// As [`with_limits`](Head::with_limits); sets some if there were none.
    pub(crate) fn with_own_limits<R>(&self, look: impl FnOnce(&mut Limits) -> R) -> R {
        look(self.held().limits.get_or_insert_default())
    }
}

/// An actor as its references see it, and, in one place with that, what belongs to whoever runs it.
///
/// The order keeps what senders write (the counts of holders, and the queue's first line) away from what the runner writes at
/// each message (the queue's last line and what follows), and what each of them writes together: between two processors it goes
/// by the line.
#[repr(C)]
pub(crate) struct Cell<M> {
    head: Head,
    queue: Queue<Envelope<M>, Internal<M>>,
    pub(crate) own: Own,
}

impl<M> Cell<M> {
    /// The first part of what the header in `head` was made for.
    pub(crate) fn new(head: Head, own: Own, queue: Queue<Envelope<M>, Internal<M>>) -> Self {
        Self { head, queue, own }
    }

    #[inline(always)]
    pub(crate) fn queue(&self) -> &Queue<Envelope<M>, Internal<M>> {
        &self.queue
    }

    #[inline(always)]
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

impl<M: Send + 'static> CellRef<M> {
    /// Sees to it that the actor runs, if `wake` says that somebody has to.
    pub(crate) fn schedule(&self, wake: Wake) {
        if let Some(right) = self.right(wake) {
            match self.head().pin() {
                None if self.own.is_fresh() => self.head().system().scheduler().begin(right),
                None => self.head().system().scheduler().schedule(right),
                Some(pin) => pin.schedule(right),
            }
        }
    }

    /// Sees to it that an actor that was just made runs, if `wake` says that somebody has to.
    pub(crate) fn begin(&self, wake: Wake) {
        if let Some(right) = self.right(wake) {
            match self.head().pin() {
                None => self.head().system().scheduler().begin(right),
                Some(pin) => pin.schedule(right),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn try_tell(&self, message: M, question: Option<Question>) -> Result<(), TryTellError<M>> {
        match question {
            None => match self.queue().claim() {
                Some(claim) => {
                    self.schedule(claim.counted(Envelope::Message(message), Note::NONE));
                    Ok(())
                }
                None => self.try_tell_hindered(Envelope::Message(message), Note::NONE),
            },
            Some(Question::Until(deadline)) => self.try_ask(message, deadline),
            question => {
                let Letter { envelope, note } = Letter::new(message, question);
                self.try_tell_hindered(envelope, note)
            }
        }
    }

    /// A message that somebody waits for the answer of.
    #[inline(always)]
    pub(crate) fn try_ask(&self, message: M, deadline: Tick) -> Result<(), TryTellError<M>> {
        match self.queue().claim_waking() {
            Some(claim) => {
                self.schedule(claim.counted(Envelope::Message(message), until(deadline)));
                Ok(())
            }
            None => self.try_tell_hindered(Envelope::Message(message), until(deadline)),
        }
    }

    #[inline(never)]
    fn try_tell_hindered(&self, envelope: Envelope<M>, note: Note) -> Result<(), TryTellError<M>> {
        match self.queue().push_counted(envelope, note, Room::Ordinary) {
            Ok((Wake::Schedule, _)) => self.schedule(Wake::Schedule),
            Ok((Wake::No, false)) => {}
            Ok((Wake::No, true)) => self.filled_a_block(),
            Err((refusal, envelope)) => return self.refused(refusal, envelope, note),
        }
        Ok(())
    }

    /// Work may pile up for an actor that nobody has begun to run.
    #[cold]
    fn filled_a_block(&self) {
        if self.queue().len() >= PILE {
            self.head().system().scheduler().hurry();
        }
    }

    #[cold]
    fn refused(&self, refusal: Refusal, envelope: Envelope<M>, note: Note) -> Result<(), TryTellError<M>> {
        let (refusal, envelope) = match (refusal, self.foyer()) {
            (Refusal::Full, Some(foyer)) => match self.tell_through(foyer, Letter { envelope, note }, Room::Ordinary) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
            _ => (refusal, envelope),
        };
        let message = match envelope {
            Envelope::Message(message) => message,
            Envelope::Asked(asked) => asked.0,
            Envelope::Adapted(_)
            | Envelope::Streamed(_)
            | Envelope::Ended(_)
            | Envelope::Inspect(_)
            | Envelope::Held => {
                unreachable!("whoever tells makes none of these")
            }
        };
        Err(match refusal {
            Refusal::Full => TryTellError::Full(message),
            Refusal::Stopped => TryTellError::Stopped(message),
        })
    }

    pub(crate) async fn send(&self, message: M) -> Result<(), Stopped<M>> {
        let message = match self.try_tell(message, None) {
            Ok(()) => return Ok(()),
            Err(TryTellError::Stopped(message)) => return Err(Stopped(message)),
            Err(TryTellError::Full(message)) => message,
        };
        if let Some(foyer) = self.foyer() {
            return Box::pin(self.send_through(foyer, message)).await;
        }
        match self.queue().reserve().await {
            Ok(permit) => match permit.push(Envelope::Message(message)) {
                Ok(wake) => {
                    self.schedule(wake);
                    Ok(())
                }
                Err(Envelope::Message(message)) => Err(Stopped(message)),
                Err(_) => unreachable!("the envelope made above is returned"),
            },
            Err(()) => Err(Stopped(message)),
        }
    }

    /// Delivers into room set aside before; should the actor have closed in between, to dead letters.
    pub(crate) fn deliver(&self, permit: Permit<'_, Envelope<M>, Internal<M>>, letter: Letter<M>) {
        match permit.push_noted(letter.envelope, letter.note) {
            Ok(wake) => self.schedule(wake),
            Err(envelope) => {
                self.head().dead_letter::<M>(DeadLetterReason::Stopped);
                discard::because(AskError::Stopped, envelope);
            }
        }
    }

    /// Hands something of the runtime's own to the actor; dropped once it has ended.
    pub(crate) fn push_internal(&self, item: Internal<M>) {
        match self.queue().push_internal(item) {
            Ok(wake) => self.schedule(wake),
            Err(item) => drop(item),
        }
    }
}

impl<M: Send + 'static> Control for CellRef<M> {
    fn head(&self) -> &Head {
        self.deref().head()
    }

    fn end(&self, how: Ending) {
        self.queue().shut();
        if let Some(foyer) = self.foyer() {
            foyer.shut();
        }
        let clock = self.head().system().clock();
        match how {
            Ending::Stop => self.head().order_stop(|| clock.now()),
            Ending::StopWithin(after) => {
                self.head().order_stop(|| clock.now());
                self.head().order_end_by(Limit { at: clock.now() + after, after });
            }
            Ending::Drain(within) => {
                let until = clock.now() + within;
                self.head().order_stop(|| until);
                self.push_internal(Internal::Drain { until });
            }
            Ending::Kill => self.head().order_kill(),
        }
        if !matches!(how, Ending::Drain(_)) {
            self.push_internal(Internal::Stop);
        }
        if self.head().is_ordered() {
            // The handler may be suspended, which the runtime's lane does not end.
            let wake = self.queue().notify();
            self.schedule(wake);
        }
    }

    fn is_closed(&self) -> bool {
        self.queue().is_closed()
    }

    fn queued(&self) -> usize {
        self.foyer().map_or_else(|| self.queue().len(), Foyer::len)
    }

    fn posture(&self) -> Posture {
        match self.queue().posture() {
            Posture::Runnable if self.own.is_running() => Posture::Running,
            posture => posture,
        }
    }

    fn inspect(&self, probe: Box<Probe>) {
        match probe.lane() {
            Lane::Internal => self.push_internal(Internal::Inspect(probe)),
            Lane::Messages => match self.queue().push(Envelope::Inspect(probe), Room::Unbounded) {
                Ok(wake) => self.schedule(wake),
                Err((_, probe)) => drop(probe), // it comes to its end
            },
        }
    }

    fn notice_end(&self, ended: Ended) {
        match self.queue().push(Envelope::Ended(Box::new(ended)), Room::Unbounded) {
            Ok(wake) => self.schedule(wake),
            Err((_, notice)) => drop(notice), // it stops and listens to nobody any more
        }
    }

    fn abandon(&self) {
        self.abandon_own();
    }

    fn child_ended(&self, place: Place) {
        self.push_internal(Internal::ChildEnded(place));
    }

    fn message_type(&self) -> TypeId {
        TypeId::of::<M>()
    }
}
