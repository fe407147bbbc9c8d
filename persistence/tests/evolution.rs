//! A log that outlives the program that began it: events added, renamed, split and given up, over real stores.

use actors::{AskError, ReplyTo, testkit::TestKit};
use persistence::{
    Effect, EventSourced, EventSourcedBehavior, Evolution, InMemoryJournal, Journal, MessagePack, PersistenceId,
    RawEvent, ReplayLimit, Retention,
};
use serde::{Deserialize, Serialize};
use std::{marker::PhantomData, sync::Arc, time::Duration};

const LONG: Duration = Duration::from_secs(3_600);

/// A counter of cents in whatever events its version has; the state is a text, to see all of them.
struct Book<E>(PhantomData<fn() -> E>);

enum BookCommand<E> {
    Write(Vec<E>),
    Read(ReplyTo<String>),
    Stop,
}

impl<E: Clone + Send + std::fmt::Debug + 'static> EventSourced for Book<E> {
    type Command = BookCommand<E>;
    type Event = E;
    type State = String;

    fn persistence_id(&self) -> PersistenceId {
        id()
    }

    fn handle_command(&self, state: &String, command: BookCommand<E>) -> Effect<Self> {
        match command {
            BookCommand::Write(events) => Effect::persist_all(events),
            BookCommand::Read(reply_to) => Effect::reply(reply_to, state.clone()),
            BookCommand::Stop => Effect::stop(),
        }
    }

    fn handle_event(state: &mut String, event: &E) {
        *state += &format!("{event:?};");
    }

    fn tags(&self, state: &String, event: &E) -> Vec<Arc<str>> {
        let first = state.is_empty().then(|| "first".into());
        let paid = format!("{event:?}").starts_with("Paid").then(|| "paid".into());
        first.into_iter().chain(paid).collect()
    }

    fn retention(&self) -> Retention {
        Retention::snapshot_every(2)
    }
}

fn id() -> PersistenceId {
    PersistenceId::of("book", "ada")
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Version1 {
    Paid { cents: u64, fee: u64 },
    Audited,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Version2 {
    Paid {
        cents: u64,
        #[serde(default)]
        note: String,
    },
    FeePaid {
        cents: u64,
    },
}

fn version_1() -> MessagePack<Version1> {
    MessagePack::new("book.Event", 1)
}

fn version_2() -> Evolution<Version2, MessagePack<Version2>> {
    Evolution::of(MessagePack::new("book.Event", 2)).reads("book.Event/1", |old: Version1| match old {
        Version1::Paid { cents, fee } => {
            vec![Version2::Paid { cents, note: String::new() }, Version2::FeePaid { cents: fee }]
        }
        Version1::Audited => Vec::new(),
    })
}

fn read<E: Clone + Send + std::fmt::Debug + 'static>(
    kit: &TestKit,
    name: &str,
    behavior: EventSourcedBehavior<Book<E>>,
    events: Vec<E>,
) -> Result<String, AskError> {
    let book = kit.spawn(name, behavior);
    if !events.is_empty() {
        book.tell(BookCommand::Write(events));
    }
    let state = kit.block_on(book.ask(BookCommand::Read, LONG));
    kit.settle();
    book.tell(BookCommand::Stop);
    kit.settle();
    state
}

fn over<E: Clone + Send + std::fmt::Debug + 'static>(
    journal: &InMemoryJournal<RawEvent>,
    adapter: impl persistence::EventAdapter<E>,
) -> EventSourcedBehavior<Book<E>> {
    EventSourcedBehavior::adapted(Book(PhantomData), journal.clone(), adapter)
}

/// Split, given up and new events come out of the old log in their order; sequence numbers stay those of the rows.
#[test]
fn a_new_version_reads_the_log_of_the_old_one() {
    let (kit, journal) = (TestKit::new(), InMemoryJournal::raw());
    let old = vec![Version1::Audited, Version1::Paid { cents: 5, fee: 1 }, Version1::Audited];
    read(&kit, "old", over(&journal, version_1()), old).unwrap();
    let paid = vec![Version2::Paid { cents: 7, note: "new".into() }];
    let state = read(&kit, "new", over(&journal, version_2()), paid).unwrap();
    assert_eq!(state, r#"Paid { cents: 5, note: "" };FeePaid { cents: 1 };Paid { cents: 7, note: "new" };"#);
    assert_eq!(kit.block_on(journal.highest_seq(id())), Ok(4));
    let again = read(&kit, "again", over(&journal, version_2()), vec![]).unwrap();
    assert_eq!(again, state);
}

/// What an adapter does not know it does not skip: the entity does not start, and nothing is lost.
#[test]
fn an_unknown_event_stops_the_entity_loudly() {
    let (kit, journal) = (TestKit::new(), InMemoryJournal::raw());
    read(&kit, "new", over(&journal, version_2()), vec![Version2::FeePaid { cents: 1 }]).unwrap();
    let behavior = over(&journal, version_1()).restart_with_backoff(Duration::from_secs(1), Duration::from_secs(1));
    let state = read(&kit, "old", behavior, vec![]);
    assert_eq!(state, Err(AskError::Stopped), "parked after three equal failures");
    assert_eq!(kit.block_on(journal.highest_seq(id())), Ok(1));
}

/// A snapshot that today's program cannot read costs the replay of all events, as long as they are there.
#[test]
fn an_unreadable_snapshot_is_passed_over() {
    let (kit, journal) = (TestKit::new(), InMemoryJournal::raw());
    let snapshots = journal.snapshots();
    let old = over(&journal, version_1()).adapted_snapshots(snapshots.clone(), MessagePack::new("book.State", 1));
    let paid = || vec![Version1::Paid { cents: 5, fee: 1 }, Version1::Paid { cents: 6, fee: 1 }];
    let before = read(&kit, "old", old, paid()).unwrap();
    let readable = over(&journal, version_1()).adapted_snapshots(snapshots.clone(), MessagePack::new("book.State", 1));
    assert_eq!(read(&kit, "readable", readable, vec![]), Ok(before.clone()));
    let new = over(&journal, version_1()).adapted_snapshots(snapshots, MessagePack::new("book.State", 2));
    assert_eq!(read(&kit, "new", new, vec![]), Ok(before), "from the events");
}

/// Tags come from the entity and from the adapter; each event has its own.
#[test]
fn tags_are_stored_with_the_write() {
    let (kit, journal) = (TestKit::new(), InMemoryJournal::raw());
    let seen = Seen::default();
    let spy = Spy { journal: journal.clone(), seen: Arc::clone(&seen) };
    let adapter = version_2().tagged(|event| match event {
        Version2::FeePaid { .. } => vec!["fee".into(), "paid".into()],
        Version2::Paid { .. } => vec![],
    });
    let behavior = EventSourcedBehavior::adapted(Book(PhantomData), spy, adapter);
    let events = vec![Version2::Paid { cents: 1, note: String::new() }, Version2::FeePaid { cents: 1 }];
    read(&kit, "book", behavior, events).unwrap();
    let tags = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
    assert_eq!(*seen.lock(), [vec![tags(&["first", "paid"]), tags(&["first", "fee", "paid"])]]);
    let limit = ReplayLimit::default();
    assert_eq!(kit.block_on(journal.replay(id(), 1, 9, limit)).unwrap().len(), 2);
}

/// By write and event.
type Seen = Arc<parking_lot::Mutex<Vec<Vec<Vec<Arc<str>>>>>>;

/// A journal that shows the tags it was given.
struct Spy {
    journal: InMemoryJournal<RawEvent>,
    seen: Seen,
}

impl Journal<RawEvent> for Spy {
    fn claim(
        &self,
        scope: persistence::FenceScope,
    ) -> persistence::BoxFuture<'static, Result<persistence::Fence, persistence::JournalError>> {
        self.journal.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: std::ops::Range<u16>,
    ) -> persistence::BoxFuture<'static, Result<Vec<persistence::Fence>, persistence::JournalError>> {
        self.journal.claim_all(entity_type, shards)
    }

    fn append(
        &self,
        append: persistence::Append<RawEvent>,
    ) -> persistence::BoxFuture<'static, Result<u64, persistence::AppendError>> {
        self.seen.lock().push(append.tags.clone());
        self.journal.append(append)
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> persistence::BoxFuture<'static, Result<Vec<persistence::Stored<RawEvent>>, persistence::JournalError>> {
        self.journal.replay(id, from, to, limit)
    }

    fn highest_seq(
        &self,
        id: PersistenceId,
    ) -> persistence::BoxFuture<'static, Result<u64, persistence::JournalError>> {
        self.journal.highest_seq(id)
    }

    fn delete_to(
        &self,
        id: PersistenceId,
        seq: u64,
        fence: persistence::Fence,
    ) -> persistence::BoxFuture<'static, Result<(), persistence::AppendError>> {
        self.journal.delete_to(id, seq, fence)
    }
}
