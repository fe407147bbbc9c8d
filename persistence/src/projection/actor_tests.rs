//! What a projection's actor does when stores are slow or fail and others meddle, in virtual time.

use super::{
    Claimed, InMemoryProjections, OnFailure, ParkedEvent, Place, Position, Projection, ProjectionFeed, ProjectionFence,
    ProjectionId, ProjectionMessage, ProjectionSettings, ProjectionStatus, ProjectionStore, Projections, Selection,
    WaitError,
    source::{Page, ProjectionSource, Read},
};
use crate::{
    Append, AppendError, BoxFuture, Changes, FeedEvent, FeedQuery, FenceScope, InMemoryJournal, Journal, JournalError,
    Offset, PersistenceId, ReplayLimit, SLICES,
};
use actors::{ActorRef, AskError, BoxError, testkit::TestKit};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    future::ready,
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;

/// In virtual time: more than anything here waits.
const LONG: Duration = Duration::from_secs(60);

/// What can be made to go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    TakeOver,
    Save,
    Set,
    /// Held when it is read, before that is told.
    Positions,
    ToReplay,
    Park,
}

enum Fault {
    /// Waits, then goes on, or fails.
    Held(oneshot::Receiver<()>, Option<AppendError>),
    DoneButUnknown,
}

/// Offsets in memory, with some requests that do not go well.
#[derive(Clone, Default)]
struct Offsets {
    memory: InMemoryProjections,
    faults: Arc<Mutex<HashMap<Op, VecDeque<Fault>>>>,
}

impl Offsets {
    fn fault(&self, op: Op, fault: Fault) {
        self.faults.lock().entry(op).or_default().push_back(fault);
    }

    /// The next one waits until what this gives is used or dropped.
    fn hold(&self, op: Op) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        self.fault(op, Fault::Held(held, None));
        release
    }

    fn next(&self, op: Op) -> Option<Fault> {
        self.faults.lock().get_mut(&op).and_then(VecDeque::pop_front)
    }

    fn write<T: Send + 'static>(
        &self,
        op: Op,
        write: impl FnOnce(&InMemoryProjections) -> BoxFuture<'static, Result<T, AppendError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, AppendError>> {
        let (memory, fault) = (self.memory.clone(), self.next(op));
        async move {
            match fault {
                None => write(&memory).await,
                Some(Fault::Held(held, then)) => {
                    let _ = held.await;
                    if let Some(error) = then { Err(error) } else { write(&memory).await }
                }
                Some(Fault::DoneButUnknown) => {
                    write(&memory).await?;
                    Err(AppendError::Unknown { reason: "the connection is gone".to_owned() })
                }
            }
        }
        .boxed()
    }

    fn read<T: Send + 'static>(
        &self,
        op: Op,
        read: BoxFuture<'static, Result<T, JournalError>>,
    ) -> BoxFuture<'static, Result<T, JournalError>> {
        let fault = self.next(op);
        async move {
            let found = read.await;
            if let Some(Fault::Held(held, _)) = fault {
                let _ = held.await;
            }
            found
        }
        .boxed()
    }
}

impl ProjectionStore for Offsets {
    fn take_over(&self, projection: ProjectionId) -> BoxFuture<'static, Result<Claimed, AppendError>> {
        self.write(Op::TakeOver, |memory| memory.take_over(projection))
    }

    fn save_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Op::Save, move |memory| memory.save_offset(fence, offset))
    }

    fn set_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Op::Set, move |memory| memory.set_offset(fence, offset))
    }

    fn set_paused(&self, projection: ProjectionId, paused: bool) -> BoxFuture<'static, Result<(), AppendError>> {
        self.memory.set_paused(projection, paused)
    }

    fn positions(&self, selection: Selection) -> BoxFuture<'static, Result<Vec<Position>, JournalError>> {
        self.read(Op::Positions, self.memory.positions(selection))
    }

    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Op::Park, |memory| memory.park(fence, event))
    }

    fn unpark(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.memory.unpark(fence, offset)
    }

    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.memory.parked(selection, after, limit)
    }

    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.read(Op::ToReplay, self.memory.to_replay(selection, after, limit))
    }

    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.memory.parked_count(selection)
    }

    fn replay_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.memory.replay_parked(selection)
    }

    fn drop_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.memory.drop_parked(selection)
    }
}

type Event = FeedEvent<u64>;

/// A journal, offsets, and what was handled.
struct Scene {
    kit: TestKit,
    journal: InMemoryJournal<u64>,
    offsets: Offsets,
    handled: Arc<Mutex<Vec<u64>>>,
    /// What handling these comes to.
    failing: Arc<Mutex<Vec<u64>>>,
}

impl Scene {
    /// With events of the entity `a`, whose offsets are their numbers.
    fn new(events: &[u64]) -> Self {
        let scene = Self {
            kit: TestKit::new(),
            journal: InMemoryJournal::default(),
            offsets: Offsets::default(),
            handled: Arc::default(),
            failing: Arc::default(),
        };
        if !events.is_empty() {
            scene.append("a", events);
        }
        scene
    }

    fn append(&self, entity: &str, events: &[u64]) {
        let id = PersistenceId::of("account", entity);
        self.kit.block_on(async {
            let fence = self.journal.claim(FenceScope::Entity(id.clone())).await.unwrap();
            let expected_seq = self.journal.highest_seq(id.clone()).await.unwrap() + 1;
            let (events, batch_id) = (events.to_vec(), rand::random());
            let append = Append { id, expected_seq, fence, batch_id, events, tags: Vec::new(), time_ms: 0 };
            self.journal.append(append).await.unwrap();
        });
    }

    fn feed(&self) -> ProjectionFeed<Event> {
        Projection::events("log", self.journal.clone(), FeedQuery::of("account"))
    }

    /// Notes what it is given, unless that is to fail.
    fn handler(&self) -> impl Fn(Arc<Event>) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync + use<> {
        let (handled, failing) = (Arc::clone(&self.handled), Arc::clone(&self.failing));
        move |event| {
            let event = event.stored.event;
            handled.lock().push(event);
            let failed = failing.lock().contains(&event);
            ready(if failed { Err("cannot digest this".into()) } else { Ok(()) }).boxed()
        }
    }

    fn projection(&self) -> Projection<Event> {
        self.feed().at_least_once(self.offsets.clone(), self.handler()).on_failure(OnFailure::park())
    }

    fn start(&self, projection: Projection<Event>) -> ActorRef<ProjectionMessage> {
        let actor = self.kit.system().spawn_anonymous(projection);
        self.kit.settle();
        actor
    }

    fn status(&self, actor: &ActorRef<ProjectionMessage>) -> ProjectionStatus {
        self.kit.block_on(actor.ask(ProjectionMessage::Status, LONG)).unwrap()
    }

    fn handled(&self) -> Vec<u64> {
        self.handled.lock().clone()
    }

    /// All that is parked: by whom, and where.
    fn parked(&self) -> Vec<(String, u64)> {
        let all = self.kit.block_on(self.offsets.memory.parked(Selection::default(), None, usize::MAX)).unwrap();
        all.iter().map(|event| (event.projection.source.to_string(), event.offset.ordering())).collect()
    }

    fn replay(&self, actor: &ActorRef<ProjectionMessage>) {
        self.kit.block_on(self.offsets.memory.replay_parked(Selection::default())).unwrap();
        actor.tell(ProjectionMessage::ParkedChanged);
        self.kit.settle();
    }

    /// Parks an event under this name, as an instance did that ended before it saved its offset.
    fn park(&self, projection: &ProjectionId, id: &PersistenceId, offset: u64) {
        let event = ParkedEvent {
            projection: projection.clone(),
            offset: at(offset),
            id: id.clone(),
            seq_nr: 1,
            attempts: 3,
            reason: "no".to_owned(),
            time_ms: 0,
            replay: false,
        };
        self.kit.block_on(async {
            let fence = self.offsets.memory.take_over(projection.clone()).await.unwrap().fence;
            self.offsets.memory.park(fence, event).await.unwrap();
        });
    }
}

fn at(ordering: u64) -> Offset {
    Offset::of_ordering(ordering)
}

#[test]
fn a_look_from_before_a_pause_does_not_end_it() {
    let scene = Scene::new(&[1]);
    let actor = scene.start(scene.projection());
    let (seen, next) = (scene.offsets.hold(Op::Positions), scene.offsets.hold(Op::Positions));
    actor.tell(ProjectionMessage::ParkedChanged);
    scene.kit.settle();
    scene.kit.block_on(actor.ask(ProjectionMessage::Pause, LONG)).unwrap().unwrap();
    drop(seen);
    scene.kit.settle();
    assert!(scene.status(&actor).paused, "what was seen before the pause has ended it");
    drop(next);
    scene.append("a", &[2]);
    scene.kit.advance(LONG);
    assert_eq!(scene.handled(), [1]);
    scene.kit.block_on(scene.offsets.set_paused(scene.projection().id().clone(), false)).unwrap();
    scene.kit.advance(LONG);
    assert_eq!(scene.handled(), [1, 2], "what others say is followed all the same");
}

#[test]
fn one_more_try_is_one_more_try() {
    let scene = Scene::new(&[1, 2]);
    scene.failing.lock().push(2);
    let actor = scene.start(scene.projection());
    assert_eq!(scene.handled(), [1, 2]);
    let stored = scene.offsets.hold(Op::Park);
    scene.replay(&actor);
    assert_eq!(scene.handled(), [1, 2, 2]);
    // It still says in the store that it is to be tried again.
    actor.tell(ProjectionMessage::ParkedChanged);
    scene.kit.advance(LONG);
    drop(stored);
    scene.kit.advance(LONG);
    assert_eq!(scene.handled(), [1, 2, 2], "tried twice for one question");
    assert_eq!(scene.status(&actor).parked, 1);
}

/// A look that began before the item was tried again, and ends after: by then it is parked anew, and nobody has asked.
#[test]
fn a_look_from_before_a_try_asks_for_no_other() {
    let scene = Scene::new(&[1, 2]);
    scene.failing.lock().push(2);
    let actor = scene.start(scene.projection());
    let (first, second) = (scene.offsets.hold(Op::ToReplay), scene.offsets.hold(Op::ToReplay));
    scene.replay(&actor);
    actor.tell(ProjectionMessage::ParkedChanged);
    scene.kit.settle();
    drop(first);
    scene.kit.settle();
    drop(second);
    scene.kit.advance(LONG);
    assert_eq!(scene.handled(), [1, 2, 2]);
}

#[test]
fn what_somebody_drops_meanwhile_is_not_tried_again() {
    let scene = Scene::new(&[1, 2]);
    scene.failing.lock().push(2);
    let actor = scene.start(scene.projection());
    scene.failing.lock().clear();
    let seen = scene.offsets.hold(Op::ToReplay);
    scene.replay(&actor);
    scene.kit.block_on(scene.offsets.drop_parked(Selection::default())).unwrap();
    drop(seen);
    scene.kit.advance(LONG);
    assert_eq!(scene.handled(), [1, 2], "it was dropped");
    assert_eq!(scene.status(&actor).parked, 0);
}

#[test]
fn a_reset_forgets_what_is_parked_behind_it() {
    let scene = Scene::new(&[1, 2, 3]);
    scene.failing.lock().extend([1, 3]);
    let actor = scene.start(scene.projection());
    assert_eq!(scene.parked().len(), 2);
    scene.failing.lock().clear();
    scene.kit.block_on(actor.ask(|to| ProjectionMessage::Reset(at(1), to), LONG)).unwrap().unwrap();
    scene.kit.settle();
    assert_eq!(scene.handled(), [1, 2, 3, 2, 3]);
    assert_eq!(scene.parked(), [("account".to_owned(), 1)], "the one before it, which is not handled again");
    assert_eq!(scene.status(&actor).parked, 1);
    scene.replay(&actor);
    assert_eq!(scene.handled(), [1, 2, 3, 2, 3, 1], "each once since the reset");
}

#[test]
fn resets_follow_each_other_and_each_is_answered_for_itself() {
    let scene = Scene::new(&[1, 2, 3]);
    let actor = scene.start(scene.projection());
    let first_stored = scene.offsets.hold(Op::Set);
    let second_stored = scene.offsets.hold(Op::Set);
    let mut first = Box::pin(actor.ask(|to| ProjectionMessage::Reset(Offset::START, to), LONG));
    let mut second = Box::pin(actor.ask(|to| ProjectionMessage::Reset(at(2), to), LONG));
    scene.kit.settle();
    drop(first_stored);
    scene.kit.settle();
    assert_eq!(first.as_mut().now_or_never(), Some(Ok(Ok(()))));
    assert_eq!(second.as_mut().now_or_never(), None, "answered before it is stored");
    drop(second_stored);
    assert_eq!(scene.kit.block_on(second), Ok(Ok(())));
    scene.kit.settle();
    assert_eq!(scene.handled(), [1, 2, 3, 3], "the last one holds");
}

#[test]
fn after_a_reset_of_unknown_outcome_the_store_says_where_to_go_on() {
    let scene = Scene::new(&[1, 2]);
    let actor = scene.start(scene.projection());
    scene.offsets.fault(Op::Set, Fault::DoneButUnknown);
    let answer = scene.kit.block_on(actor.ask(|to| ProjectionMessage::Reset(Offset::START, to), LONG)).unwrap();
    assert!(matches!(answer, Err(AppendError::Unknown { .. })), "{answer:?}");
    scene.kit.advance(LONG);
    assert_eq!(scene.handled(), [1, 2, 1, 2], "it was stored");
}

#[test]
fn a_stop_is_not_undone_by_a_look() {
    let scene = Scene::new(&[1, 2, 3]);
    let (release, held) = oneshot::channel::<()>();
    let (held, handled) = (Arc::new(Mutex::new(Some(held))), Arc::clone(&scene.handled));
    let handler = move |event: Arc<Event>| {
        handled.lock().push(event.stored.event);
        let held = held.lock().take();
        async move {
            if let Some(held) = held {
                let _ = held.await;
            }
            Ok(())
        }
    };
    let settings = ProjectionSettings { save_every: 1, ..ProjectionSettings::default() };
    let projection = scene.feed().at_least_once(scene.offsets.clone(), handler).settings(settings).unwrap();
    let actor = scene.start(projection);
    let mut stopped = Box::pin(actor.ask(ProjectionMessage::Stop, LONG));
    actor.tell(ProjectionMessage::ParkedChanged);
    scene.kit.settle();
    assert_eq!(stopped.as_mut().now_or_never(), None, "an item is being handled");
    drop(release);
    assert_eq!(scene.kit.block_on(stopped), Ok(()));
    assert_eq!(scene.handled(), [1], "nothing was begun any more");
    assert!(actor.is_stopped());
}

#[test]
fn a_stop_that_comes_before_the_offset_is_heard_though_that_fails() {
    let scene = Scene::new(&[1]);
    let (release, held) = oneshot::channel();
    let error = AppendError::Unavailable { reason: "the store is away".to_owned() };
    scene.offsets.fault(Op::TakeOver, Fault::Held(held, Some(error)));
    let actor = scene.start(scene.projection());
    let stopped = actor.ask(ProjectionMessage::Stop, LONG);
    scene.kit.settle();
    drop(release);
    assert_eq!(scene.kit.block_on(stopped), Ok(()));
    scene.kit.advance(LONG);
    assert!(actor.is_stopped());
    assert!(scene.handled().is_empty(), "it has not begun");
}

#[test]
fn a_store_that_does_not_answer_does_not_hold_up_the_end() {
    let scene = Scene::new(&[1]);
    let held: Vec<_> = (0..3).map(|_| scene.offsets.hold(Op::Save)).collect();
    let actor = scene.start(scene.projection());
    assert_eq!(scene.handled(), [1]);
    assert_eq!(scene.kit.block_on(actor.ask(ProjectionMessage::Stop, LONG)), Ok(()), "it waits for the store");
    drop(held);
}

/// Items of one piece of work share a limit of time, which is the projection's own.
#[test]
fn an_offset_is_saved_while_a_later_item_takes_long() {
    let scene = Scene::new(&[1, 2]);
    let handler = |event: Arc<Event>| {
        if event.stored.event == 1 { ready(Ok(())).boxed() } else { std::future::pending().boxed() }
    };
    let settings = ProjectionSettings { save_within: Duration::ZERO, ..ProjectionSettings::default() };
    let projection = scene.feed().at_least_once(scene.offsets.clone(), handler).settings(settings).unwrap();
    let id = projection.id().clone();
    let _actor = scene.start(projection);
    scene.kit.advance(LONG);
    let found = scene.kit.block_on(scene.offsets.memory.positions(Selection::of(&id))).unwrap();
    assert_eq!(found[0].offset, at(1));
}

/// Pages that fail for good once they are released.
struct LateFailure {
    source: Arc<dyn ProjectionSource<Event>>,
    held: Mutex<Option<oneshot::Receiver<()>>>,
}

impl ProjectionSource<Event> for LateFailure {
    fn page(&self, query: FeedQuery, after: Offset, limit: ReplayLimit) -> Read<Page<Event>> {
        let held = if after == Offset::START { None } else { self.held.lock().take() };
        let page = self.source.page(query, after, limit);
        async move {
            let Some(held) = held else { return page.await };
            let _ = held.await;
            let (place, reason) = (String::new(), "torn".to_owned());
            Err(JournalError::Damaged { id: PersistenceId::of("account", "a"), seq_nr: 3, place, reason })
        }
        .boxed()
    }

    fn changes(&self) -> Changes {
        self.source.changes()
    }

    fn offset_of(&self, id: PersistenceId, number: u64) -> Read<Option<Offset>> {
        self.source.offset_of(id, number)
    }

    fn look_up(&self, id: PersistenceId, number: u64, offset: Offset) -> Read<Option<Event>> {
        self.source.look_up(id, number, offset)
    }
}

#[test]
fn what_could_not_be_read_before_a_reset_is_of_no_account_after_it() {
    let scene = Scene::new(&[1, 2]);
    let (release, held) = oneshot::channel();
    let mut feed = scene.feed();
    feed.source = Arc::new(LateFailure { source: feed.source, held: Mutex::new(Some(held)) });
    let settings = ProjectionSettings { restart_min: 10 * LONG, restart_max: 10 * LONG, ..Default::default() };
    let projection = feed.at_least_once(scene.offsets.clone(), scene.handler()).settings(settings).unwrap();
    let actor = scene.start(projection);
    scene.kit.block_on(actor.ask(|to| ProjectionMessage::Reset(Offset::START, to), LONG)).unwrap().unwrap();
    scene.kit.settle();
    drop(release);
    scene.kit.settle();
    let status = scene.status(&actor);
    assert!(status.running && status.problem.is_none(), "{status:?}");
    assert_eq!(scene.handled(), [1, 2, 1, 2]);
}

/// The entity of each half of the slices.
fn halves() -> [PersistenceId; 2] {
    let of = |upper: bool| {
        let ids = (0..).map(|number: u32| PersistenceId::of("account", &number.to_string()));
        ids.into_iter().find(|id| (id.slice() >= SLICES / 2) == upper).unwrap()
    };
    [of(false), of(true)]
}

/// What an instance has parked is parked by the one that has its slice now, and handled once, though the former instance
/// ended before its offset passed it.
#[test]
fn what_other_shares_have_parked_is_ours_when_its_slice_is() {
    let scene = Scene::new(&[]);
    let [low, high] = halves();
    scene.append(low.entity_id(), &[10]);
    scene.append(high.entity_id(), &[20]);
    let whole = scene.projection().id().clone();
    scene.park(&whole, &low, 1);
    scene.park(&whole, &high, 2);
    let one = Selection::one(&whole, at(2));
    assert_eq!(scene.kit.block_on(scene.offsets.replay_parked(one)), Ok(1));

    let [first, second] = &scene.projection().divided(2)[..] else { panic!("two") };
    let upper = scene.start(second.divided(1).remove(0));
    assert_eq!(scene.handled(), [20], "the one that was to be tried again, and not from the feed too");
    assert_eq!(scene.parked(), [("account".to_owned(), 1)], "the other one is still whose it was");
    assert_eq!(scene.status(&upper).parked, 0);
    let lower = scene.start(first.divided(1).remove(0));
    assert_eq!(scene.status(&lower).parked, 1);
    assert_eq!(scene.parked(), [("account|0-511".to_owned(), 1)]);
    scene.replay(&lower);
    assert_eq!((scene.handled(), scene.parked()), (vec![20, 10], vec![]));
}

#[test]
fn an_instance_sees_its_own_however_many_others_have_parked() {
    let scene = Scene::new(&[]);
    let [low, high] = halves();
    let [first, second] = &scene.projection().divided(2)[..] else { panic!("two") };
    for _ in 0..100 {
        scene.append(low.entity_id(), &[10]);
    }
    scene.append(high.entity_id(), &[20]);
    (1..=100).for_each(|offset| scene.park(first.id(), &low, offset));
    scene.park(second.id(), &high, 101);
    let settings = ProjectionSettings { parked_max: 2, ..ProjectionSettings::default() };
    let upper = scene.start(second.divided(1).remove(0).settings(settings).unwrap());
    assert_eq!(scene.status(&upper).parked, 1);
    scene.replay(&upper);
    assert_eq!(scene.handled(), [20]);
}

#[test]
fn a_share_is_a_share_of_what_the_query_reads() {
    let scene = Scene::new(&[]);
    let query = FeedQuery::of("account").slices(10..=19);
    let feed = Projection::events("log", scene.journal.clone(), query);
    let projection = feed.at_least_once(scene.offsets.clone(), scene.handler());
    let names: Vec<_> = projection.divided(3).iter().map(|part| part.id().source.to_string()).collect();
    assert_eq!(names, ["account|10-12", "account|13-15", "account|16-19"]);
}

#[test]
fn whoever_waits_for_what_nobody_reads_is_told() {
    let scene = Scene::new(&[1]);
    let [low, high] = halves();
    let running = Projections::spawn(scene.kit.system(), scene.projection(), 1);
    let wait = |running: &Projections, id: &PersistenceId| scene.kit.block_on(running.wait_until(id, 1, LONG));
    let other = PersistenceId::of("other", "a");
    assert_eq!(wait(&running, &other), Err(WaitError::NotRead { id: other.clone() }));
    assert_eq!(wait(&running, &PersistenceId::of("account", "a")), Ok(()));
    assert_eq!(wait(&running, &low), Err(WaitError::NoAnswer(AskError::Timeout)), "it may be written yet");
    scene.kit.block_on(running.stop(LONG)).unwrap();
    let lower = FeedQuery::of("account").slices(0..=SLICES / 2 - 1);
    let feed = Projection::events("log", scene.journal.clone(), lower);
    let projection = feed.at_least_once(scene.offsets.clone(), scene.handler());
    let running = Projections::spawn(scene.kit.system(), projection, 1);
    assert_eq!(wait(&running, &high), Err(WaitError::NotRead { id: high.clone() }));
}

/// A handler that panics has failed on its item; the projection itself goes on, and so do those who wait.
#[test]
fn a_panic_of_a_handler_is_a_failure_of_its_item() {
    let scene = Scene::new(&[1, 2, 3]);
    let handled = Arc::clone(&scene.handled);
    let handler = move |event: Arc<Event>| {
        assert!(event.stored.event != 2, "two is not a number");
        handled.lock().push(event.stored.event);
        ready(Ok(()))
    };
    let projection = scene.feed().at_least_once(scene.offsets.clone(), handler).on_failure(OnFailure::park());
    let actor = scene.kit.spawn("log", projection);
    let place = Place::Number(PersistenceId::of("account", "a"), 3);
    let waited = scene.kit.block_on(actor.ask(|to| ProjectionMessage::WaitUntil(place, to), LONG));
    assert_eq!(waited, Ok(at(3)));
    assert_eq!(scene.handled(), [1, 3]);
    let parked = scene.kit.block_on(scene.offsets.memory.parked(Selection::default(), None, 9)).unwrap();
    assert_eq!(parked[0].reason, "the handler panicked: two is not a number");
}
