//! Every kind of sink: a parked item is handled only while it is parked, and a panic is a failure of an item.

use super::{
    InMemoryProjections, ParkedEvent, ProjectionFence, ProjectionId, ProjectionStore, Selection, SqliteReadModel,
    read_model::{Handler, IntoTables},
    sink::{ByGroup, OneByOne, Sink, Work},
    state::Applied,
};
use crate::{AppendError, FeedEvent, Offset, PersistenceId, Stored};
use actors::{BoxError, Clock};
use futures_util::FutureExt;
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

type Event = FeedEvent<u64>;

/// Handlers fail on this one.
const BAD: u64 = 1;
/// And panic on this one.
const UGLY: u64 = 2;

#[derive(Clone, Default)]
struct Handled(Arc<AtomicU64>);

impl Handled {
    /// Counts calls that come to an end.
    fn handle(&self, event: &Event) -> Result<(), BoxError> {
        assert!(event.stored.event != UGLY, "an ugly one");
        self.0.fetch_add(1, Ordering::SeqCst);
        if event.stored.event == BAD { Err("a bad one".into()) } else { Ok(()) }
    }
}

fn event(offset: u64, event: u64) -> Arc<Event> {
    let stored = Stored { seq_nr: offset, epoch: 1, time_ms: 0, event };
    Arc::new(FeedEvent { offset: Offset::of_ordering(offset), id: PersistenceId::of("account", "a"), stored })
}

/// A kind of sink, with what counts its calls.
type Kind = (&'static str, Arc<dyn Sink<Event>>, Handled);

/// Each kind. The folder outlives the tables.
fn sinks() -> (Vec<Kind>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = || Arc::new(InMemoryProjections::default());
    let mut sinks: Vec<Kind> = Vec::new();
    for at_most_once in [false, true] {
        let handled = Handled::default();
        let counting = handled.clone();
        let handler = Arc::new(move |event: Arc<Event>| ready(counting.handle(&event)).boxed());
        let name = if at_most_once { "at most once" } else { "at least once" };
        sinks.push((name, Arc::new(OneByOne { store: store(), handler, at_most_once }), handled));
    }
    let handled = Handled::default();
    let counting = handled.clone();
    let handler = move |events: Vec<Arc<Event>>| {
        let counting = counting.clone();
        async move { events.iter().try_for_each(|event| counting.handle(event)) }.boxed()
    };
    sinks.push(("grouped", Arc::new(ByGroup { store: store(), handler: Arc::new(handler) }), handled));
    for (name, grouped) in [("tables", false), ("tables by group", true)] {
        let model = SqliteReadModel::open(folder.path().join(name), |_| Ok(())).unwrap();
        let handled = Handled::default();
        let counting = handled.clone();
        let handler = if grouped {
            Handler::ByGroup(Arc::new(move |_, events: &[Arc<Event>]| {
                events.iter().try_for_each(|event| counting.handle(event))
            }))
        } else {
            Handler::OneByOne(Arc::new(move |_, event: &Event| counting.handle(event)))
        };
        sinks.push((name, Arc::new(IntoTables { model, handler: Arc::new(handler), on_reset: None }), handled));
    }
    (sinks, folder)
}

async fn claim(store: &dyn ProjectionStore) -> ProjectionFence {
    store.take_over(ProjectionId { group: "g".into(), source: "account".into() }).await.unwrap().fence
}

async fn park(store: &dyn ProjectionStore, fence: &ProjectionFence, event: &Event) {
    let parked = ParkedEvent {
        projection: fence.projection.clone(),
        offset: event.offset,
        id: event.id.clone(),
        seq_nr: event.stored.seq_nr,
        attempts: 1,
        reason: "no".to_owned(),
        time_ms: 0,
        replay: false,
    };
    store.park(fence.clone(), parked).await.unwrap();
}

async fn parked(store: &dyn ProjectionStore) -> u64 {
    store.parked_count(Selection::default()).await.unwrap()
}

async fn work(
    sink: &dyn Sink<Event>,
    fence: &ProjectionFence,
    items: Vec<Arc<Event>>,
    replay: bool,
) -> Result<Applied, AppendError> {
    let work = Work { fence: fence.clone(), items, replay, within: Duration::from_secs(60) };
    sink.work(work, &Clock::tokio()).await
}

fn good(done: usize) -> Result<Applied, AppendError> {
    Ok(Applied { done, failure: None })
}

fn bad(done: usize, reason: &str) -> Result<Applied, AppendError> {
    Ok(Applied { done, failure: Some(reason.to_owned()) })
}

#[tokio::test]
async fn what_is_parked_no_more_is_not_handled() {
    let (sinks, _folder) = sinks();
    for (name, sink, Handled(calls)) in sinks {
        let store = sink.store();
        let fence = claim(&*store).await;
        let item = event(7, 0);
        park(&*store, &fence, &item).await;
        assert_eq!(work(&*sink, &fence, vec![item.clone()], true).await, good(1), "{name}");
        assert_eq!((calls.load(Ordering::SeqCst), parked(&*store).await), (1, 0), "{name}");
        // Once more, as two looks would have it, or somebody who has dropped it meanwhile.
        assert_eq!(work(&*sink, &fence, vec![item], true).await, good(0), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}: handled twice");
        assert_eq!(claim(&*store).await.epoch, 2);
        assert_eq!(store.positions(Selection::default()).await.unwrap()[0].offset, Offset::START, "{name}");
    }
}

#[tokio::test]
async fn what_fails_once_more_stays_parked() {
    let (sinks, _folder) = sinks();
    for (name, sink, Handled(calls)) in sinks {
        let store = sink.store();
        let fence = claim(&*store).await;
        for (item, reason) in [(event(7, BAD), "a bad one"), (event(8, UGLY), "the handler panicked: an ugly one")] {
            park(&*store, &fence, &item).await;
            assert_eq!(work(&*sink, &fence, vec![item], true).await, bad(0, reason), "{name}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{name}");
        let expected = if name == "at most once" { 0 } else { 2 }; // it is parked anew by whoever asked
        assert_eq!(parked(&*store).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_item() {
    let (sinks, _folder) = sinks();
    for (name, sink, _) in sinks {
        let fence = claim(&*sink.store()).await;
        let grouped = name.contains("group");
        let found = work(&*sink, &fence, vec![event(1, 0), event(2, UGLY), event(3, 0)], false).await;
        assert_eq!(found, bad(if grouped { 0 } else { 1 }, "the handler panicked: an ugly one"), "{name}");
        let good_ones = work(&*sink, &fence, vec![event(2, 0), event(3, 0)], false).await;
        assert_eq!(good_ones, good(2), "{name}: what comes after it");
    }
}

#[tokio::test]
async fn tables_are_as_durable_as_the_offsets_of_other_stores() {
    let folder = tempfile::tempdir().unwrap();
    let model = SqliteReadModel::open(folder.path().join("model.db"), |_| Ok(())).unwrap();
    let level = model.write(|db| db.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0)));
    assert_eq!(level.await.unwrap(), 2, "each commit is synced");
}

#[tokio::test]
async fn a_panic_in_a_reset_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = SqliteReadModel::open(folder.path().join("model.db"), |_| Ok(())).unwrap();
    let handler = Arc::new(Handler::<Event>::OneByOne(Arc::new(|_, _| Ok(()))));
    let sink = IntoTables { model, handler, on_reset: Some(Arc::new(|_| panic!("no such table"))) };
    let store = Sink::<Event>::store(&sink);
    let fence = claim(&*store).await;
    store.save_offset(fence.clone(), Offset::of_ordering(5)).await.unwrap();
    let error = Sink::<Event>::reset(&sink, fence, Offset::START).await.unwrap_err();
    assert!(error.is_certain() && error.to_string().contains("no such table"), "{error}");
    assert_eq!(store.positions(Selection::default()).await.unwrap()[0].offset, Offset::of_ordering(5));
}
