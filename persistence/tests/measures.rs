//! What is told of projections and feeds to those who watch.

use crate::{
    postgres_server::{Postgres, until},
    store::Entity,
};
use actors::{ActorRef, testkit::TestKit};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use persistence::{
    Append, EventFeed, FeedEvent, FeedQuery, FenceScope, InMemoryJournal, InMemoryProjections, Journal, LiveFeed,
    Offset, PersistenceId, Progress, Projection, ProjectionMessage, ProjectionSettings, ProjectionStatus, ReplayLimit,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// Counters and gauges, by name and labels.
#[derive(Clone, Default)]
struct Series(Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>);

impl Series {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::clone(self.0.lock().entry(format!("{}{{{}}}", key.name(), labels.join(","))).or_default())
    }

    fn raw(&self, series: &str) -> u64 {
        let all = self.0.lock();
        all.get(series).unwrap_or_else(|| panic!("no {series} among {:?}", all.keys())).load(Ordering::SeqCst)
    }

    fn gauge(&self, series: &str) -> f64 {
        f64::from_bits(self.raw(series))
    }
}

impl Recorder for Series {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

const LONG: Duration = Duration::from_secs(3_600);

/// Events of two types in turns, and a projection of one that handles as many as it may.
struct Scene {
    kit: TestKit,
    journal: InMemoryJournal<u64>,
    permits: Arc<Semaphore>,
}

impl Scene {
    /// With so many events of each type, which are half a minute old.
    fn new(events: u64) -> Self {
        let kit = TestKit::new();
        let scene = Self { kit, journal: InMemoryJournal::default(), permits: Arc::new(Semaphore::new(0)) };
        for number in 1..=events {
            for kind in ["account", "other"] {
                scene.append(kind, number);
            }
        }
        scene
    }

    fn append(&self, kind: &str, number: u64) {
        let id = PersistenceId::of(kind, "a");
        let time_ms = self.kit.system().clock().wall_ms() - 30_000;
        self.kit.block_on(async {
            let fence = self.journal.claim(FenceScope::Entity(id.clone())).await.unwrap();
            let (events, batch_id) = (vec![number], rand::random());
            let append = Append { id, expected_seq: number, fence, batch_id, events, tags: Vec::new(), time_ms };
            self.journal.append(append).await.unwrap();
        });
    }

    fn start(&self) -> ActorRef<ProjectionMessage> {
        let permits = Arc::clone(&self.permits);
        let handler = move |_: Arc<FeedEvent<u64>>| {
            let permits = Arc::clone(&permits);
            async move {
                permits.acquire().await?.forget();
                Ok(())
            }
        };
        let projection = Projection::events("log", self.journal.clone(), FeedQuery::of("account"))
            .at_least_once(InMemoryProjections::default(), handler)
            // One at a time, so that each shows.
            .settings(ProjectionSettings { save_every: 1, ..ProjectionSettings::default() })
            .unwrap();
        let actor = self.kit.spawn("log", projection);
        self.kit.settle();
        actor
    }

    fn handle(&self, events: usize) {
        self.permits.add_permits(events);
        self.kit.settle();
    }

    fn status(&self, actor: &ActorRef<ProjectionMessage>) -> ProjectionStatus {
        self.kit.block_on(actor.ask(ProjectionMessage::Status, LONG)).unwrap()
    }
}

#[test]
fn a_projection_tells_how_far_behind_it_is() {
    let series = Series::default();
    metrics::with_local_recorder(&series, || {
        let scene = Scene::new(10);
        let projection = scene.start();
        let told = |of: &str| format!("persistence_projection_{of}{{projection=log,source=account}}");
        let lag = || (series.gauge(&told("lag_offsets")), series.gauge(&told("lag_seconds")));
        let doing = || {
            let ProjectionStatus { offset, behind, age, progress, .. } = scene.status(&projection);
            (offset.ordering(), behind, age.as_secs(), progress)
        };
        let progress = |done, of_about, per_second| Progress { done, of_about, per_second };

        assert_eq!(doing(), (0, 20, 30, progress(0, 20, 0.0)), "nothing is known yet of what the others are");
        assert_eq!(lag(), (20.0, 30.0));
        scene.handle(4);
        // The fourth is at 7; of what was passed four sevenths are its own, so of the 13 ahead that share.
        assert_eq!(lag(), (13.0, 30.0));
        assert_eq!(doing().3.of_about, 4 + 7);
        assert_eq!(series.raw(&told("handled_total")), 4);

        scene.kit.advance(Duration::from_secs(8));
        assert_eq!(doing(), (7, 13, 38, progress(4, 11, 0.5)), "four in eight seconds");
        scene.kit.advance(Duration::from_secs(12));
        assert_eq!(lag(), (13.0, 50.0), "one that hangs is told too, with the looks at its store");

        scene.handle(6);
        assert_eq!(lag(), (0.0, 0.0), "all is handled, and what others have stored since is passed");
        let (offset, behind, age, Progress { done, of_about, .. }) = doing();
        assert_eq!((offset, behind, age, done, of_about), (20, 0, 0, 10, 10));
        scene.append("account", 11);
        scene.kit.settle();
        assert_eq!(lag(), (1.0, 30.0), "and the next is ahead");
        assert_eq!(doing().3.of_about, 11, "half of 1, rounded");
    });
}

/// Somebody's transaction holds a feed back: it is told how long, and that it is over.
#[tokio::test]
async fn a_feed_that_is_held_back_tells_how_long() {
    const HELD: &str = "persistence_feed_held_back_seconds{}";
    let series = Series::default();
    let _recording = metrics::set_default_local_recorder(&series);
    let node = Postgres::apart(|options| options).await;
    let feed: Arc<dyn EventFeed<persistence::RawEvent>> = Arc::new(node.store.clone());
    let mut live = LiveFeed::new(feed, FeedQuery::of("test"), Offset::START, ReplayLimit::default());
    let holder = node.client().await;
    holder.batch_execute("BEGIN; CREATE TABLE held(number INT)").await.unwrap();
    let mut entity = Entity::claim(&node.store, "held").await;
    entity.append(&node.store, &["a"]).await.unwrap();
    let held = || series.0.lock().get(HELD).map_or(0.0, |held| f64::from_bits(held.load(Ordering::SeqCst)));
    until("it is told that the feed is held back", async || held() > 0.0).await;
    let before = held();
    until("it is told how long", async || held() > before).await;
    assert!(futures_util::FutureExt::now_or_never(live.next()).is_none(), "the event is behind the transaction");
    holder.batch_execute("ROLLBACK").await.unwrap();
    let page = crate::postgres_server::soon("the event is seen", live.next()).await.unwrap();
    assert_eq!(page.events.len(), 1);
    until("it is told that it is over", async || held() == 0.0).await;
}
