//! Projections: every item is handled as often as promised, whatever ends or fails in between.

use actors::{ActorRef, ActorSystem, BoxError};
use parking_lot::Mutex;
use persistence::{
    Append, Coded, EventFeed, FeedEvent, FeedQuery, FenceScope, InMemoryJournal, InMemoryProjections, Journal,
    MessagePack, Offset, OnFailure, PersistenceId, Place, Projection, ProjectionId, ProjectionMessage,
    ProjectionSettings, ProjectionStatus, ProjectionStore, Projections, RawEvent, Selection, SqliteOptions,
    SqliteReadModel, SqliteStore, rusqlite::Transaction, slice_ranges,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(30);

type Journaled = InMemoryJournal<u64>;
type Handled = Arc<Mutex<Vec<(String, u64)>>>;

async fn append(journal: &impl Journal<u64>, entity: &str, events: &[u64]) -> (PersistenceId, u64) {
    let id = PersistenceId::of("account", entity);
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.unwrap();
    let expected_seq = journal.highest_seq(id.clone()).await.unwrap() + 1;
    let events = events.to_vec();
    let batch_id = rand::random();
    let append = Append { id: id.clone(), expected_seq, fence, batch_id, events, tags: Vec::new(), time_ms: 0 };
    (id, journal.append(append).await.unwrap())
}

fn accounts() -> FeedQuery {
    FeedQuery::of("account")
}

fn hasty() -> ProjectionSettings {
    let (min, max) = (Duration::from_millis(5), Duration::from_millis(20));
    let look_every = Duration::from_millis(20);
    let save_within = Duration::from_millis(5);
    let group_within = Duration::from_millis(5);
    ProjectionSettings {
        restart_min: min,
        restart_max: max,
        look_every,
        save_within,
        group_within,
        ..Default::default()
    }
}

async fn until(actor: &ActorRef<ProjectionMessage>, (id, number): (PersistenceId, u64)) {
    let place = Place::Number(id, number);
    actor.ask(|reply_to| ProjectionMessage::WaitUntil(place, reply_to), SOON).await.expect("handled in time");
}

/// Each life answers its own asks, so whoever waits asks again.
async fn until_some_life_has(actor: &ActorRef<ProjectionMessage>, (id, number): &(PersistenceId, u64)) {
    let place = || Place::Number(id.clone(), *number);
    let asking = async {
        while actor.ask(|to| ProjectionMessage::WaitUntil(place(), to), Duration::from_millis(100)).await.is_err() {}
    };
    soon("the projection has started again and handled all", asking).await;
}

/// Waits, but not for ever, for what has to happen.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

async fn status(actor: &ActorRef<ProjectionMessage>) -> ProjectionStatus {
    actor.ask(ProjectionMessage::Status, SOON).await.expect("a status")
}

async fn stop(actor: ActorRef<ProjectionMessage>) {
    actor.ask(ProjectionMessage::Stop, SOON).await.expect("stopped");
}

/// A handler that notes what it is given.
fn noting(handled: &Handled) -> impl Fn(Arc<FeedEvent<u64>>) -> std::future::Ready<Result<(), BoxError>> + use<> {
    let handled = Arc::clone(handled);
    move |event| {
        handled.lock().push((event.id.entity_id().to_owned(), event.stored.event));
        std::future::ready(Ok(()))
    }
}

#[tokio::test]
async fn events_are_handled_in_order_and_a_writer_can_wait_for_its_own() {
    let (journal, offsets, handled) = (Journaled::default(), InMemoryProjections::default(), Handled::default());
    append(&journal, "a", &[1, 2]).await;
    let system = ActorSystem::new("projections");
    let projection =
        Projection::events("log", journal.clone(), accounts()).at_least_once(offsets.clone(), noting(&handled));
    let id = projection.id().clone();
    let actor = system.spawn("log", projection);
    let last = append(&journal, "b", &[3]).await;
    until(&actor, last).await;
    let expected = [("a", 1), ("a", 2), ("b", 3)].map(|(entity, event)| (entity.to_owned(), event));
    assert_eq!(*handled.lock(), expected);
    let waiting =
        actor.ask(|to| ProjectionMessage::WaitUntil(Place::Number(PersistenceId::of("account", "c"), 1), to), SOON);
    let written = append(&journal, "c", &[4]);
    let (reached, _) = tokio::join!(waiting, written);
    assert_eq!(reached.expect("an event that was not there yet"), Offset::of_ordering(4));
    stop(actor).await;
    assert_eq!(offsets.take_over(id.clone()).await.unwrap().offset, Offset::of_ordering(4), "saved at the end");

    let again = Projection::events("log", journal, accounts()).at_least_once(offsets, noting(&handled));
    let actor = system.spawn("again", again);
    actor.ask(|to| ProjectionMessage::WaitUntil(Place::Offset(Offset::of_ordering(4)), to), SOON).await.unwrap();
    assert_eq!(handled.lock().len(), 4, "nothing is handled again after an orderly end");
}

/// A handler that fails at first: the projection starts again at that item, and nothing is left out.
#[tokio::test]
async fn a_projection_that_fails_goes_on_where_it_failed() {
    let (journal, handled) = (Journaled::default(), Handled::default());
    let last = append(&journal, "a", &[1, 2, 3]).await;
    let failures = AtomicU64::new(0);
    let note = noting(&handled);
    let handler = move |event: Arc<FeedEvent<u64>>| {
        let failed = event.stored.event == 2 && failures.fetch_add(1, Ordering::SeqCst) < 3;
        let done = note(event);
        async move { if failed { Err("not now".into()) } else { done.await } }
    };
    let projection = Projection::events("log", journal, accounts())
        .at_least_once(InMemoryProjections::default(), handler)
        .on_failure(OnFailure::fail())
        .settings(hasty())
        .unwrap();
    let system = ActorSystem::new("projections");
    let actor = system.spawn("log", projection);
    until_some_life_has(&actor, &last).await;
    let events: Vec<_> = handled.lock().iter().map(|(_, event)| *event).collect();
    assert_eq!(events, [1, 2, 2, 2, 2, 3], "the first one was saved when the projection failed");
}

#[tokio::test]
async fn a_bad_item_is_parked_and_handled_when_asked_for() {
    let (journal, offsets, handled) = (Journaled::default(), InMemoryProjections::default(), Handled::default());
    let last = append(&journal, "a", &[1, 2, 3]).await;
    let broken = Arc::new(AtomicBool::new(true));
    let (note, is_broken) = (noting(&handled), Arc::clone(&broken));
    let handler = move |event: Arc<FeedEvent<u64>>| {
        let failed = event.stored.event == 2 && is_broken.load(Ordering::SeqCst);
        let done = if failed { None } else { Some(note(event)) };
        async move {
            match done {
                Some(done) => done.await,
                None => Err("cannot digest this".into()),
            }
        }
    };
    let projection = Projection::events("log", journal, accounts())
        .at_least_once(offsets.clone(), handler)
        .on_failure(OnFailure::retry_then_park().attempts(2).delay(Duration::ZERO))
        .settings(hasty())
        .unwrap();
    let system = ActorSystem::new("projections");
    let actor = system.spawn("log", projection);
    until(&actor, last).await;
    let parked = offsets.parked(Selection::default(), None, 9).await.unwrap();
    let [parked] = &parked[..] else { panic!("{parked:?}") };
    assert_eq!((parked.seq_nr, parked.attempts, &*parked.reason), (2, 2, "cannot digest this"));
    assert_eq!(status(&actor).await.parked, 1);

    for (whole, attempts) in [(false, 3), (true, 0)] {
        broken.store(!whole, Ordering::SeqCst);
        offsets.replay_parked(Selection::default()).await.unwrap();
        actor.tell(ProjectionMessage::ParkedChanged);
        let tried = async {
            loop {
                let parked = offsets.parked(Selection::default(), None, 9).await.unwrap();
                if parked.first().map_or(0, |event| event.attempts) == attempts {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, tried).await.expect("tried again");
    }
    let events: Vec<_> = handled.lock().iter().map(|(_, event)| *event).collect();
    assert_eq!(events, [1, 3, 2], "the others did not wait");
}

#[tokio::test]
async fn a_paused_projection_waits_and_a_reset_begins_anew() {
    let (journal, offsets, handled) = (Journaled::default(), InMemoryProjections::default(), Handled::default());
    let last = append(&journal, "a", &[1]).await;
    let projection = || {
        Projection::events("log", journal.clone(), accounts())
            .at_least_once(offsets.clone(), noting(&handled))
            .settings(hasty())
            .unwrap()
    };
    let id = projection().id().clone();
    let system = ActorSystem::new("projections");
    let actor = system.spawn("log", projection());
    until(&actor, last).await;
    actor.ask(ProjectionMessage::Pause, SOON).await.unwrap().unwrap();
    let second = append(&journal, "a", &[2]).await;
    let place = Place::Number(second.0.clone(), second.1);
    let waited = actor.ask(|to| ProjectionMessage::WaitUntil(place, to), Duration::from_millis(30)).await;
    assert!(waited.is_err() && status(&actor).await.paused, "nothing is begun");
    stop(actor).await;
    let actor = system.spawn("log-2", projection());
    assert!(offsets.positions(Selection::of(&id)).await.unwrap()[0].paused);
    actor.ask(ProjectionMessage::Resume, SOON).await.unwrap().unwrap();
    until(&actor, second.clone()).await;
    actor.ask(|to| ProjectionMessage::Reset(Offset::START, to), SOON).await.unwrap().unwrap();
    until(&actor, second.clone()).await;
    let events: Vec<_> = handled.lock().iter().map(|(_, event)| *event).collect();
    assert_eq!(events, [1, 2, 1, 2]);

    // From outside, as another process would: noticed by and by.
    offsets.set_paused(id, true).await.unwrap();
    let noticed = async {
        while !status(&actor).await.paused {
            tokio::task::yield_now().await;
        }
    };
    soon("a pause from outside is noticed", noticed).await;
}

/// The instance that started last has the offset; the one before it notices and stops, and moves it no more.
#[tokio::test]
async fn an_instance_that_was_taken_over_stops() {
    let (journal, offsets, handled) = (Journaled::default(), InMemoryProjections::default(), Handled::default());
    let system = ActorSystem::new("projections");
    let spawn = |name: &str| {
        let feed = Projection::events("log", journal.clone(), accounts());
        let projection = feed.at_least_once(offsets.clone(), noting(&handled)).settings(hasty()).unwrap();
        system.spawn(name, projection)
    };
    let first = spawn("first");
    until(&first, append(&journal, "a", &[1]).await).await;
    let second = spawn("second");
    let gone = async {
        while !first.is_stopped() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the first one stops");
    until(&second, append(&journal, "a", &[2]).await).await;
    assert!(!second.is_stopped());
}

struct Accounts {
    folder: tempfile::TempDir,
    store: SqliteStore,
}

type Values = Coded<SqliteStore, MessagePack<u64>>;

impl Accounts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
        Self { folder, store }
    }

    fn values(&self) -> Values {
        Coded::new(self.store.clone(), MessagePack::new("account.Added", 1))
    }

    fn model(&self) -> SqliteReadModel {
        SqliteReadModel::open(self.folder.path().join("model.db"), |db| {
            db.execute_batch("CREATE TABLE IF NOT EXISTS total(entity TEXT PRIMARY KEY, sum INTEGER, events INTEGER)")
        })
        .unwrap()
    }
}

/// Adds, so that an event that is handled twice, or not, shows.
fn add(db: &Transaction<'_>, event: &FeedEvent<u64>) -> Result<(), BoxError> {
    let sql = "INSERT INTO total VALUES (?1, ?2, 1)
               ON CONFLICT DO UPDATE SET sum = sum + excluded.sum, events = events + 1";
    db.execute(sql, (event.id.entity_id(), event.stored.event as i64))?;
    Ok(())
}

async fn totals(model: &SqliteReadModel) -> HashMap<String, (u64, u64)> {
    model
        .read(|db| {
            let mut rows = db.prepare("SELECT entity, sum, events FROM total")?;
            let row = |row: &persistence::rusqlite::Row<'_>| {
                Ok((row.get::<_, String>(0)?, (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64)))
            };
            rows.query_map((), row)?.collect()
        })
        .await
        .unwrap()
}

/// Instances end suddenly in the middle, their number changes, handlers panic: each event counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_holds_over_sudden_ends_panics_and_changes_of_number() {
    const ENTITIES: u64 = 24;
    const ROUNDS: u64 = 14;
    let accounts = Accounts::new();
    let (values, model) = (accounts.values(), accounts.model());
    let mut last = Vec::new();
    for round in 0..ROUNDS {
        for entity in 0..ENTITIES {
            let place = append(&values, &entity.to_string(), &[round, 1]).await;
            if round == ROUNDS - 1 {
                last.push(place);
            }
        }
    }
    let calls = Arc::new(AtomicU64::new(0));
    for parts in [1, 3, 2] {
        let system = ActorSystem::new("projections");
        let (calls, before) = (Arc::clone(&calls), calls_of(&model).await);
        let handler = move |db: &Transaction<'_>, event: &FeedEvent<u64>| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            assert!(call % 17 != 16, "a panic now and then");
            add(db, event)
        };
        let settings = ProjectionSettings { transaction_max: 7, ..hasty() };
        let projection = Projection::events("total", values.clone(), accounts_query())
            .exactly_once(&model, handler)
            .on_failure(OnFailure::retry_then_fail().delay(Duration::ZERO))
            .settings(settings)
            .unwrap();
        let running = Projections::spawn(&system, projection, parts);
        if parts == 2 {
            for (id, number) in &last {
                running.wait_until(id, *number, SOON).await.expect("handled in time");
            }
        } else if parts == 3 {
            // One is left behind: whoever has some of its slices next must not begin with all of theirs where it was.
            let first = running.instances().next().expect("three");
            first.ask(ProjectionMessage::Pause, SOON).await.unwrap().unwrap();
            for (id, number) in last.iter().filter(|(id, _)| !slice_ranges(3)[0].contains(&id.slice())) {
                running.wait_until(id, *number, SOON).await.expect("handled in time");
            }
        } else {
            let enough = async {
                while calls_of(&model).await < before + 80 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(SOON, enough).await.expect("some are handled");
        }
        system.terminate().await; // in the middle of whatever is under way
    }
    let expected = ((0..ROUNDS).sum::<u64>() + ROUNDS, 2 * ROUNDS);
    let found = totals(&model).await;
    assert_eq!(found.len() as u64, ENTITIES);
    for (entity, total) in found {
        assert_eq!(total, expected, "the events of {entity}, each once");
    }
}

async fn calls_of(model: &SqliteReadModel) -> u64 {
    totals(model).await.values().map(|(_, events)| events).sum()
}

fn accounts_query() -> FeedQuery {
    accounts()
}

/// A zombie's transaction is rolled back with all that it wrote.
#[tokio::test]
async fn a_late_instance_writes_nothing() {
    let accounts = Accounts::new();
    let (values, model) = (accounts.values(), accounts.model());
    let second = append(&values, "a", &[5]).await;
    let (entered_tx, entered) = std::sync::mpsc::channel::<()>();
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let opened = Mutex::new(opened);
    let feed = Projection::events("total", values.clone(), accounts_query());
    // The second event is handled with the gate shut: the writer of the tables does nothing else meanwhile.
    let at_gate = move |db: &Transaction<'_>, event: &FeedEvent<u64>| {
        if event.stored.event == 6 {
            let _ = entered_tx.send(());
            let _ = opened.lock().recv();
        }
        add(db, event)
    };
    let settings = ProjectionSettings { transaction_max: 1, ..hasty() };
    let projection = feed.exactly_once(&model, at_gate).settings(settings).unwrap();
    let id = projection.id().clone();
    let system = ActorSystem::new("projections");
    let actor = system.spawn("total", projection);
    until(&actor, second).await;
    append(&values, "a", &[6, 7]).await;
    let entered = tokio::task::spawn_blocking(move || entered.recv_timeout(SOON));
    entered.await.unwrap().expect("the second one is being handled");
    // Its transaction is open, so the take-over waits for it, and comes before the one of the third event.
    let mut taken = Box::pin(model.take_over(id));
    assert!(futures_util::poll!(&mut taken).is_pending(), "queued");
    gate.send(()).unwrap();
    let claimed = soon("the take-over", taken).await.unwrap();
    assert_eq!((claimed.fence.epoch, claimed.offset), (2, Offset::of_ordering(2)));
    let gone = async {
        while !actor.is_stopped() {
            tokio::task::yield_now().await;
        }
    };
    soon("the late one stops", gone).await;
    assert_eq!(totals(&model).await, HashMap::from([("a".to_owned(), (11, 2))]), "the third was rolled back");
}

#[tokio::test]
async fn a_reset_from_scratch_empties_the_tables_with_the_offset() {
    let accounts = Accounts::new();
    let (values, model) = (accounts.values(), accounts.model());
    let last = append(&values, "a", &[5, 6]).await;
    let system = ActorSystem::new("projections");
    let feed = Projection::events("total", values, accounts_query());
    let empty = |db: &Transaction<'_>| db.execute("DELETE FROM total", ()).map(drop);
    let actor = system.spawn("total", feed.exactly_once_from_scratch(&model, add, empty));
    for _ in 0..3 {
        until(&actor, last.clone()).await;
        assert_eq!(totals(&model).await, HashMap::from([("a".to_owned(), (11, 2))]));
        actor.ask(|to| ProjectionMessage::Reset(Offset::START, to), SOON).await.unwrap().unwrap();
    }
}

/// What instances with other shares had handled is handled again too, though the process ends before anything is.
#[tokio::test]
async fn a_reset_reaches_what_others_have_handled_before() {
    let (journal, offsets, handled) = (Journaled::default(), InMemoryProjections::default(), Handled::default());
    let spawn = |system: &ActorSystem, parts| {
        let feed = Projection::events("log", journal.clone(), accounts());
        let projection = feed.at_least_once(offsets.clone(), noting(&handled)).settings(hasty()).unwrap();
        Projections::spawn(system, projection, parts)
    };
    let end = Offset::of_ordering(6);
    for entity in 0..6 {
        append(&journal, &entity.to_string(), &[entity]).await;
    }
    let system = ActorSystem::new("projections");
    for parts in [1, 2, 3] {
        let running = spawn(&system, parts);
        running.wait_until_offset(end, SOON).await.unwrap();
        running.stop(SOON).await.unwrap();
    }
    assert_eq!(handled.lock().len(), 6, "the number changed, and nothing was handled again");
    let running = spawn(&system, 2);
    for actor in running.instances() {
        actor.ask(ProjectionMessage::Pause, SOON).await.unwrap().unwrap();
        actor.ask(|to| ProjectionMessage::Reset(Offset::START, to), SOON).await.unwrap().unwrap();
    }
    running.stop(SOON).await.unwrap();
    let running = spawn(&system, 2);
    for actor in running.instances() {
        actor.ask(ProjectionMessage::Resume, SOON).await.unwrap().unwrap();
    }
    running.wait_until_offset(end, SOON).await.unwrap();
    assert_eq!(handled.lock().len(), 12, "all of it once more");
    running.reset(Offset::START, SOON).await.unwrap();
    running.wait_until_offset(end, SOON).await.unwrap();
    assert_eq!(handled.lock().len(), 18, "and once more");
}

#[tokio::test]
async fn groups_are_handled_together_and_a_bad_one_alone() {
    let (journal, offsets) = (Journaled::default(), InMemoryProjections::default());
    let last = append(&journal, "a", &(1..=50).collect::<Vec<_>>()).await;
    let groups = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&groups);
    let handler = move |events: Vec<Arc<FeedEvent<u64>>>| {
        let numbers: Vec<u64> = events.iter().map(|event| event.stored.event).collect();
        let bad = numbers.contains(&33);
        if !bad {
            noted.lock().push(numbers);
        }
        std::future::ready(if bad { Err(BoxError::from("33")) } else { Ok(()) })
    };
    let projection = Projection::events("groups", journal, accounts())
        .grouped(offsets.clone(), handler)
        .on_failure(OnFailure::park())
        .settings(hasty())
        .unwrap();
    let system = ActorSystem::new("projections");
    let actor = system.spawn("groups", projection);
    until(&actor, last).await;
    let groups = groups.lock().clone();
    assert_eq!(groups[0].len(), 20, "as many as fit");
    let all: Vec<u64> = groups.iter().flatten().copied().collect();
    assert_eq!(all, (1..=50).filter(|number| *number != 33).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(offsets.parked(Selection::default(), None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn at_most_once_an_item_that_failed_is_not_seen_again() {
    let (journal, offsets, handled) = (Journaled::default(), InMemoryProjections::default(), Handled::default());
    let last = append(&journal, "a", &[1, 2, 3]).await;
    let note = noting(&handled);
    let handler = move |event: Arc<FeedEvent<u64>>| {
        let failed = event.stored.event == 2;
        let done = note(event);
        async move { if failed { Err("no".into()) } else { done.await } }
    };
    let feed = Projection::events("once", journal, accounts());
    let projection = feed.at_most_once(offsets, handler).on_failure(OnFailure::fail()).settings(hasty()).unwrap();
    let system = ActorSystem::new("projections");
    let actor = system.spawn("once", projection);
    until_some_life_has(&actor, &last).await;
    let events: Vec<_> = handled.lock().iter().map(|(_, event)| *event).collect();
    assert_eq!(events, [1, 2, 3], "not even after the projection failed and started again");
}

/// Names are kept for ever: a projection of all slices has the name that consumers of a type always had.
#[test]
fn offsets_are_kept_under_names_that_do_not_change() {
    let of = |query: &FeedQuery| ProjectionId::of_events("total", query).source.to_string();
    assert_eq!(of(&accounts()), "account");
    assert_eq!(of(&accounts().slices(0..=255)), "account|0-255");
    assert_eq!(of(&accounts().tag("vip")), "account|0-1023|events|vip");
    assert_eq!(&*ProjectionId::of_states("total", &accounts()).source, "account|0-1023|states");
}

/// What is read is bytes; a value that cannot be read stops there, and what comes before it is handled.
#[tokio::test]
async fn what_comes_before_an_unreadable_event_is_read() {
    let accounts = Accounts::new();
    append(&accounts.values(), "a", &[5]).await;
    let id = PersistenceId::of("account", "b");
    let fence = Journal::<RawEvent>::claim(&accounts.store, FenceScope::Entity(id.clone())).await.unwrap();
    let event = RawEvent { manifest: "unknown/1".into(), payload: bytes::Bytes::new(), meta: None };
    let batch = Append { id, expected_seq: 1, fence, batch_id: 1, events: vec![event], tags: Vec::new(), time_ms: 0 };
    accounts.store.append(batch).await.unwrap();
    let page = |after| EventFeed::<u64>::page(&accounts.values(), accounts_query(), after, Default::default());
    let first = page(Offset::START).await.unwrap();
    assert_eq!((first.events.len(), first.read_to), (1, Offset::of_ordering(1)));
    let error = page(first.read_to).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("unknown/1"), "{error}");
}
