//! Circuit breakers between the sidecar and its store: a store that fails is left in peace, callers are refused at once,
//! and what comes back is served.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actors::Clock;
use cloudstate::store::{EventStore, Store};
use persistence::{
    Append, AppendError, BoxFuture, BreakerSettings, Changes, EventFeed, FeedPage, FeedQuery, Fence, FenceScope,
    Journal, JournalError, Offset, PersistenceId, RawEvent, ReplayLimit, Stored,
};
use tonic::Code;

use crate::eventing::{Log, OF_CART, hasty, next_text, subscribers};
use crate::scripted::{ScriptedFunction, ScriptedStream, TestSidecar, answer, model_spec, reply, soon};

/// Opens after three failures and looks again soon, so that a test need not wait.
const HASTY: BreakerSettings =
    BreakerSettings { failures_max: 3, call_timeout: Duration::from_secs(10), reset_after: Duration::from_millis(300) };

/// What stands between the sidecar and its store, and can be pulled out.
#[derive(Default)]
struct Cable {
    is_out: AtomicBool,
    /// Requests that came this far.
    requests: AtomicUsize,
}

impl Cable {
    fn passes(&self) -> bool {
        self.requests.fetch_add(1, Ordering::SeqCst);
        !self.is_out.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn pull(&self, out: bool) {
        self.is_out.store(out, Ordering::SeqCst);
    }

    fn read<T: Send + 'static>(
        &self,
        answer: BoxFuture<'static, Result<T, JournalError>>,
    ) -> BoxFuture<'static, Result<T, JournalError>> {
        if self.passes() {
            return answer;
        }
        Box::pin(async { Err(JournalError::Unavailable { reason: "cable out".to_owned() }) })
    }

    fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce() -> BoxFuture<'static, Result<T, AppendError>>,
    ) -> BoxFuture<'static, Result<T, AppendError>> {
        if self.passes() {
            return write();
        }
        Box::pin(async { Err(AppendError::Unavailable { reason: "cable out".to_owned() }) })
    }
}

/// A part of a store behind the cable.
struct Wired<T: ?Sized> {
    cable: Arc<Cable>,
    part: Arc<T>,
}

impl Journal<RawEvent> for Wired<dyn Journal<RawEvent>> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.cable.read(self.part.claim(scope))
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.cable.read(self.part.claim_all(entity_type, shards))
    }

    fn append(&self, append: Append<RawEvent>) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.cable.write(|| self.part.append(append))
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<RawEvent>>, JournalError>> {
        self.cable.read(self.part.replay(id, from, to, limit))
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.cable.read(self.part.highest_seq(id))
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.cable.write(|| self.part.delete_to(id, seq, fence))
    }
}

impl EventFeed<RawEvent> for Wired<dyn EventFeed<RawEvent>> {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<RawEvent>, JournalError>> {
        self.cable.read(self.part.page(query, after, limit))
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.cable.read(self.part.offset_of(id, seq_nr))
    }

    fn changes(&self) -> Changes {
        self.part.changes()
    }
}

/// Answers every command with an event, on every stream there will be.
fn play(mut function: ScriptedFunction) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let Ok(stream) = tokio::time::timeout(Duration::from_secs(60), function.any_stream()).await else { return };
            tokio::spawn(play_stream(stream));
        }
    })
}

async fn play_stream(mut stream: ScriptedStream) {
    while let Some(command) = stream.next_or_end_however_late().await {
        stream.reply_if_open(reply(command.id, "done", &["event"])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_fails_is_left_in_peace_and_served_from_again() {
    let cable = Arc::new(Cable::default());
    let mut store = Store::in_memory();
    let below = store.journal.clone();
    store.journal = Arc::new(Wired { cable: cable.clone(), part: store.journal });
    let function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::over(store.guarded_by(&Clock::tokio(), HASTY, HASTY), &function, |_| {}).ready().await;
    let client = sidecar.client();
    let playing = play(function);
    assert_eq!(answer(client.process("ada")).await.expect("served"), "done");
    let mut acknowledged = 1;

    cable.pull(true);
    // Until a call is refused without a request to the store: that is an open breaker.
    let mut opened = false;
    for _ in 0..20 {
        let before = cable.requests();
        let refused = answer(client.process("ada")).await.expect_err("the store is away");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        opened |= cable.requests() == before;
        if opened {
            break;
        }
    }
    assert!(opened, "after twenty failures the store is still asked");
    // Refused at once, all of them: at most one attempt is made each time the rest is over.
    let before = cable.requests();
    for id in 0..200 {
        let refused = answer(client.process(&format!("cart {}", id % 5))).await.expect_err("refused");
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    let asked = cable.requests() - before;
    assert!(asked < 50, "200 calls came to {asked} requests");

    cable.pull(false);
    let back = async {
        while answer(client.process("ada")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the recovery of the breaker", back).await;
    acknowledged += 1;
    for _ in 0..5 {
        assert_eq!(answer(client.process("ada")).await.expect("served"), "done");
        acknowledged += 1;
    }
    let stored = below.highest_seq(PersistenceId::of("model", "ada")).await.expect("read");
    assert_eq!(stored, acknowledged, "what was refused is not stored, what was acknowledged is");
    playing.abort();
}

/// The feed has a breaker of its own: consumers wait for it, and commands are served meanwhile.
#[tokio::test]
async fn a_feed_that_fails_is_left_in_peace_and_nobody_else_is() {
    let cable = Arc::new(Cable::default());
    let mut store = Store::in_memory();
    let EventStore { feed, projections } = store.events.take().expect("with events");
    store.events = Some(EventStore { feed: Arc::new(Wired { cable: cable.clone(), part: feed }), projections });
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let guarded = store.clone().guarded_by(&Clock::tokio(), HASTY, HASTY);
    let sidecar = TestSidecar::over(guarded.clone(), &function, hasty(1)).ready().await;
    Log::of(&store, "cart", "a").await.texts(&["1"]).await;
    assert_eq!(next_text(&mut function).await, "1");

    cable.pull(true);
    let log = Log::of(&store, "cart", "a").await;
    log.texts(&["2"]).await;
    let eventing = sidecar.proxy.eventing();
    let open = async {
        loop {
            let problem = eventing.status().await.0.into_iter().next().and_then(|consumer| consumer.problem);
            if problem.is_some_and(|problem| problem.contains("feed: circuit breaker is open")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("an open breaker before the feed", open).await;
    let journal = guarded.journal.highest_seq(PersistenceId::of("cart", "a")).await;
    assert_eq!(journal, Ok(2), "that of the journal is closed");
    cable.pull(false);
    assert_eq!(next_text(&mut function).await, "2");
}
