//! What released versions have stored is read for ever.
//!
//! `tests/golden` holds a file for each format in which anything was ever stored. These tests decode all of them, and
//! compare what this program writes with the newest file of each kind. Files are added, never changed.

use actors::{ActorRef, ActorSystem, ReplyTo};
use persistence::{
    Answered, Append, Codec, CommandId, DeleteState, Effect, EventFeed, EventSourced, EventSourcedBehavior, FeedQuery,
    FenceScope, Journal, KeptReply, MessagePack, Offset, Once, ParkedEvent, PersistenceId, ProjectionId,
    ProjectionStore, PutState, RawEvent, RawSnapshot, RawState, ReplayLimit, ReplyOnce, Selection, SnapshotStore,
    SqliteOptions, SqliteStore, StateFeed, StateStore, WindowLimits, decode_answered, decode_window, encode_answered,
    encode_window,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Every file with the CRC-32C of its contents, from `SUMS` beside them: a new line for a new file; the old lines stay as
/// they are.
fn files() -> Vec<(String, u32)> {
    let lines = fs::read_to_string(golden("SUMS")).unwrap();
    let line = |line: &str| {
        let (sum, name) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?} is no line of SUMS"));
        (name.to_owned(), u32::from_str_radix(sum, 16).unwrap())
    };
    lines.lines().map(line).collect()
}

/// What to do when this program writes something else than the newest file of its kind.
pub(crate) const INSTRUCTIONS: &str = "
The stored format has changed. Data in the old one is out there, in stores that nobody can convert:
 1. Give the new format a version of its own (manifest, version byte, schema step), and keep reading the old one.
 2. `cargo test -p persistence --test it golden::make -- --ignored` adds the file of the new version.
    and its line in SUMS.
 3. Say in `golden.rs`, or `golden_postgres.rs`, what must come out of it. Change no file and no line that is there.
If nothing was meant to change, this is the bug.";

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn bytes(name: &str) -> bytes::Bytes {
    fs::read(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}")).into()
}

/// The newest file of a kind, by number.
pub(crate) fn newest(kind: &str) -> String {
    let version = |name: &str| -> Option<u32> {
        let (of, rest) = name.rsplit_once('-')?;
        (of == kind).then(|| rest.split('.').next()?.parse().ok())?
    };
    let of_kind = files().into_iter().map(|(name, _)| name).filter(|name| version(name).is_some());
    of_kind.max_by_key(|name| version(name)).unwrap()
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum GoldenEvent {
    Opened { owner: String },
    Paid { cents: u64, note: Option<String> },
    Closed,
}

fn events() -> [GoldenEvent; 3] {
    [
        GoldenEvent::Opened { owner: "Ada".into() },
        GoldenEvent::Paid { cents: 1 << 40, note: Some("naïve".into()) },
        GoldenEvent::Closed,
    ]
}

fn codec() -> MessagePack<GoldenEvent> {
    MessagePack::new("golden.Event", 1)
}

fn answered() -> Answered {
    let command = CommandId::of("order-7", &[b"pay", b"\x05"]);
    Answered {
        command,
        reply: KeptReply::Reply(rmp_serde::to_vec_named(&7_u64).unwrap().into()),
        time_ms: 1_700_000_000_000,
    }
}

fn answers() -> Vec<Answered> {
    vec![
        Answered { command: CommandId::new("naïve"), reply: KeptReply::Nothing, time_ms: 1 },
        Answered {
            command: CommandId::of("large", &[b"x"]),
            reply: KeptReply::TooLarge { bytes: 1 << 40 },
            time_ms: 2,
        },
        answered(),
    ]
}

#[test]
fn no_file_is_changed_or_left_out() {
    let listed: Vec<_> = files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names(), listed, "tests/golden and its SUMS must name the same files, in order");
    for (name, sum) in files() {
        assert_eq!(crc32c::crc32c(&bytes(&name)), sum, "{name} was changed; put the released one back");
    }
}

/// The files there are, in order.
fn names() -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(golden("")).unwrap().map(name).filter(|name| name != "SUMS").collect();
    names.sort();
    names
}

#[test]
fn events_of_every_version_are_read() {
    for (name, manifest) in [("event-1.bin", "golden.Event/1")] {
        let mut rest = &bytes(name)[..];
        for event in events() {
            let size = usize::from(rest[0]);
            let payload = bytes::Bytes::copy_from_slice(&rest[1..=size]);
            assert_eq!(codec().decode(manifest, &payload).as_ref(), Ok(&event), "{name}");
            rest = &rest[size + 1..];
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn answers_and_windows_of_every_version_are_read() {
    assert_eq!(decode_answered(&bytes("answer-1.bin"), answered().time_ms), Ok(Some(answered())));
    assert_eq!(decode_window(Some(&bytes("window-1.bin"))), Ok(answers()));
}

/// The files that this program would make, by kind.
fn of_today() -> [(&'static str, Vec<u8>); 3] {
    let encode = |event| {
        let (_, payload) = codec().encode(&event).unwrap();
        [&[payload.len() as u8][..], &payload].concat()
    };
    [
        ("event", events().map(encode).concat()),
        ("answer", encode_answered(&answered()).to_vec()),
        ("window", encode_window(&answers()).unwrap().to_vec()),
    ]
}

#[test]
fn this_program_writes_what_the_newest_files_hold() {
    for (kind, today) in of_today() {
        assert!(today == bytes(&newest(kind)), "{kind}: {INSTRUCTIONS}");
    }
}

fn ada() -> PersistenceId {
    PersistenceId::of("golden", "ada")
}

fn bob() -> PersistenceId {
    PersistenceId::of("golden", "bob")
}

fn raw_state(text: &'static str) -> RawState {
    RawState { manifest: "text/1".into(), payload: text.into(), meta: Some("beside".into()) }
}

/// A store that is everything at once.
pub(crate) trait All:
    Journal<RawEvent>
    + SnapshotStore<RawSnapshot>
    + StateStore<RawState>
    + ProjectionStore
    + EventFeed<RawEvent>
    + StateFeed<RawState>
    + Clone
{
}

impl<S> All for S where
    S: Journal<RawEvent>
        + SnapshotStore<RawSnapshot>
        + StateStore<RawState>
        + ProjectionStore
        + EventFeed<RawEvent>
        + StateFeed<RawState>
        + Clone
{
}

fn mailer() -> ProjectionId {
    ProjectionId { group: "mailer".into(), source: "golden".into() }
}

fn paused() -> ProjectionId {
    ProjectionId::of_states("naïve", &FeedQuery::of("golden").slices(0..=511).tag("vip"))
}

/// A place in a feed of another store.
fn elsewhere() -> Offset {
    Offset::new(3, 1 << 40, 9)
}

fn parked(id: PersistenceId, seq_nr: u64, offset: Offset, replay: bool) -> ParkedEvent {
    let reason = "naïve, as told".into();
    ParkedEvent { projection: mailer(), offset, id, seq_nr, attempts: 5, reason, time_ms: 1_234, replay }
}

/// Stores what every database of the corpus holds. Whatever a new schema adds comes here as well.
pub(crate) async fn fill<S: All>(store: &S) {
    for id in [ada(), bob()] {
        let fence = Journal::claim(store, FenceScope::Entity(id.clone())).await.unwrap();
        let mut meta = Some(encode_answered(&answered()));
        let raw = |event| {
            let (manifest, payload) = codec().encode(&event).unwrap();
            RawEvent { manifest, payload, meta: meta.take() }
        };
        let events = events().map(raw).into();
        let tags = vec![vec!["vip".into(), "naïve".into()]; 3];
        let time_ms = answered().time_ms;
        let append =
            Append { id: id.clone(), expected_seq: 1, fence: fence.clone(), batch_id: 7, events, tags, time_ms };
        assert_eq!(store.append(append).await, Ok(3));
        let meta = encode_window(&answers());
        let snapshot = RawSnapshot { manifest: "text/1".into(), payload: "after two".into(), meta };
        store.save(id.clone(), 2, fence.clone(), 1_234, snapshot).await.unwrap();
        if id == bob() {
            store.delete_to(id.clone(), 2, fence.clone()).await.unwrap();
        }
        let put = |expected_revision, text| PutState {
            id: id.clone(),
            expected_revision,
            fence: fence.clone(),
            batch_id: 9,
            time_ms: 1_234,
            state: raw_state(text),
            tag: Some("vip".into()),
        };
        store.upsert(put(0, "one")).await.unwrap();
        store.upsert(put(1, "two")).await.unwrap();
        if id == bob() {
            let marker = encode_window(&answers());
            let (expected_revision, batch_id, time_ms) = (2, 10, 1_234);
            let delete =
                DeleteState { id: id.clone(), expected_revision, fence: fence.clone(), batch_id, time_ms, marker };
            StateStore::delete(store, delete).await.unwrap();
        }
    }
    fill_projections(store).await;
}

/// Two consumers: one has read up to ada's second event and parked her first, the other waits in another feed.
async fn fill_projections(store: &impl All) {
    let place = async |id, number| EventFeed::offset_of(store, id, number).await.unwrap().unwrap();
    store.take_over(mailer()).await.unwrap();
    let fence = store.take_over(mailer()).await.unwrap().fence;
    let first = parked(ada(), 1, place(ada(), 1).await, false);
    store.park(fence.clone(), first.clone()).await.unwrap();
    store.park(fence.clone(), parked(bob(), 3, elsewhere(), false)).await.unwrap();
    assert_eq!(store.replay_parked(Selection::one(&mailer(), first.offset)).await, Ok(1));
    store.save_offset(fence, place(ada(), 2).await).await.unwrap();
    let fence = store.take_over(paused()).await.unwrap().fence;
    store.save_offset(fence, elsewhere()).await.unwrap();
    store.set_paused(paused(), true).await.unwrap();
}

/// What a database of the corpus holds besides events and snapshots.
#[derive(Clone, Copy)]
pub(crate) struct Holds {
    states: bool,
    tags_of_states: bool,
    consumers: bool,
}

impl Holds {
    pub(crate) const ALL: Self = Self { states: true, tags_of_states: true, consumers: true };
}

/// What a database of the corpus must hold, in the words of today.
pub(crate) async fn check(store: &impl All, name: &str, holds: Holds) {
    for (id, first) in [(ada(), 1), (bob(), 3)] {
        let replayed = store.replay(id.clone(), 1, u64::MAX, ReplayLimit::default()).await.unwrap();
        let expected: Vec<_> = events().into_iter().skip(first - 1).collect();
        let decoded: Vec<_> = replayed
            .iter()
            .map(|stored| codec().decode(&stored.event.manifest, &stored.event.payload).unwrap())
            .collect();
        assert_eq!(decoded, expected, "{name}");
        assert!(replayed.iter().all(|stored| stored.epoch == 1 && stored.time_ms == answered().time_ms), "{name}");
        assert_eq!(store.highest_seq(id.clone()).await, Ok(3), "{name}");
        let snapshot = SnapshotStore::load(store, id.clone(), u64::MAX).await.unwrap().unwrap();
        assert_eq!((snapshot.seq_nr, snapshot.epoch, snapshot.time_ms), (2, 1, 1_234), "{name}");
        assert_eq!(decode_window(snapshot.snapshot.meta.as_ref()), Ok(answers()), "{name}");
        let state = StateStore::load(store, id.clone()).await.unwrap();
        assert_eq!(state.is_some(), holds.states, "{name}");
        if let Some(state) = state {
            let deleted = id == bob();
            assert_eq!(state.revision, if deleted { 3 } else { 2 }, "{name}");
            assert_eq!(state.state, (!deleted).then(|| raw_state("two")), "{name}");
            assert_eq!(decode_window(state.marker.as_ref()), Ok(if deleted { answers() } else { vec![] }), "{name}");
        }
        let fence = Journal::claim(store, FenceScope::Entity(id)).await.unwrap();
        assert_eq!(fence.epoch, 2, "{name}: epochs go on");
    }
    check_feeds(store, name, holds).await;
    if holds.consumers {
        check_projections(store, name).await;
    }
}

/// Feeds by type and by tag, in the order of places that grow.
async fn check_feeds(store: &impl All, name: &str, holds: Holds) {
    for query in ["", "vip", "naïve"].map(|tag| match tag {
        "" => FeedQuery::of("golden"),
        tag => FeedQuery::of("golden").tag(tag),
    }) {
        let page = EventFeed::page(store, query.clone(), Offset::START, ReplayLimit::default()).await.unwrap();
        let found: Vec<_> = page.events.iter().map(|event| (event.id.clone(), event.stored.seq_nr)).collect();
        assert_eq!(found, [(ada(), 1), (ada(), 2), (ada(), 3), (bob(), 3)], "{name}: {query:?}");
        assert!(page.events.is_sorted_by(|one, next| one.offset < next.offset), "{name}: {page:?}");
        let page = StateFeed::page(store, query.clone(), Offset::START, ReplayLimit::default()).await.unwrap();
        let found: Vec<_> = page.states.iter().map(|change| (change.id.clone(), change.stored.revision)).collect();
        let is_found = match query.tag.as_deref() {
            None => holds.states,
            Some(tag) => holds.tags_of_states && tag == "vip",
        };
        assert_eq!(found, if is_found { vec![(ada(), 2), (bob(), 3)] } else { vec![] }, "{name}: {query:?}");
    }
}

/// Consumers go on where they were.
async fn check_projections(store: &impl All, name: &str) {
    let positions = store.positions(Selection::default()).await.unwrap();
    let [of_mailer, of_paused] = &positions[..] else { panic!("{name}: {positions:?}") };
    assert_eq!((&of_mailer.projection, of_mailer.epoch, of_mailer.paused), (&mailer(), 2, false), "{name}");
    let page = EventFeed::page(store, FeedQuery::of("golden"), of_mailer.offset, ReplayLimit::default()).await.unwrap();
    let found: Vec<_> = page.events.iter().map(|event| (event.id.clone(), event.stored.seq_nr)).collect();
    assert_eq!(found, [(ada(), 3), (bob(), 3)], "{name}: what comes after ada's second");
    assert_eq!((&of_paused.projection, of_paused.epoch, of_paused.paused), (&paused(), 1, true), "{name}");
    assert_eq!(of_paused.offset, elsewhere(), "{name}");
    let place = EventFeed::offset_of(store, ada(), 1).await.unwrap().unwrap();
    let first = parked(ada(), 1, place, true);
    let expected = [first.clone(), parked(bob(), 3, elsewhere(), false)];
    assert_eq!(store.parked(Selection::default(), None, 9).await.unwrap(), expected, "{name}");
    assert_eq!(store.to_replay(Selection::default(), None, 9).await.unwrap(), [first], "{name}");
    assert_eq!(store.take_over(mailer()).await.unwrap().fence.epoch, 3, "{name}: epochs go on");
}

/// An entity of today goes on from there, and remembers.
pub(crate) async fn go_on(store: &impl All, name: &str) {
    let system = ActorSystem::new("golden");
    // The answers are years old, so the window has no end.
    let window = WindowLimits { age: Duration::MAX, ..WindowLimits::default() };
    let behavior = EventSourcedBehavior::adapted(GoldenEntity, store.clone(), codec()).command_window(window);
    let entity = system.spawn("ada", behavior);
    assert_eq!(pay(&entity, "order-7").await, Ok(7), "{name}: answered as it was then");
    assert_eq!(pay(&entity, "order-8").await, Ok(4), "{name}");
    system.terminate().await;
}

const DATABASES: [(&str, Holds); 5] = [
    ("sqlite-1.db", Holds { states: false, tags_of_states: false, consumers: false }),
    ("sqlite-2.db", Holds { states: false, tags_of_states: false, consumers: false }),
    ("sqlite-3.db", Holds { tags_of_states: false, consumers: false, ..Holds::ALL }),
    ("sqlite-4.db", Holds { consumers: false, ..Holds::ALL }),
    ("sqlite-4-projections.db", Holds::ALL),
];

#[tokio::test]
async fn databases_of_every_version_are_opened_and_read() {
    for (name, holds) in DATABASES {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("store.db"), bytes(name)).unwrap();
        let store = SqliteStore::open(folder.path(), SqliteOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&store, name, holds).await;
        go_on(&store, name).await;
        store.close().await;
    }
}

#[test]
fn every_database_is_read() {
    let all = files().into_iter().map(|(name, _)| name).filter(|name| name.ends_with(".db"));
    let mut read = DATABASES.map(|(name, _)| name);
    read.sort_unstable();
    assert_eq!(all.collect::<Vec<_>>(), read, "say in DATABASES what must come out of it");
}

struct GoldenEntity;

struct Pay(ReplyOnce<u64>);

impl EventSourced for GoldenEntity {
    type Command = Pay;
    type Event = GoldenEvent;
    type State = u64;

    fn persistence_id(&self) -> PersistenceId {
        ada()
    }

    fn once<'c>(&self, command: &'c mut Pay) -> Option<&'c mut dyn Once> {
        Some(&mut command.0)
    }

    fn handle_command(&self, count: &u64, Pay(reply_to): Pay) -> Effect<Self> {
        Effect::persist(GoldenEvent::Closed).then_reply_once(reply_to, count + 1)
    }

    fn handle_event(count: &mut u64, _: &GoldenEvent) {
        *count += 1;
    }
}

async fn pay(entity: &ActorRef<Pay>, id: &str) -> Result<u64, actors::AskError> {
    let command = CommandId::of(id, &[b"pay", b"\x05"]);
    entity.ask(|reply_to: ReplyTo<u64>| Pay(ReplyOnce::new(command, reply_to)), Duration::from_secs(60)).await
}

/// The tables of a store, as SQL.
fn tables(file: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(file).unwrap();
    let mut names = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
    names.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn version(file: &Path) -> u32 {
    let db = rusqlite::Connection::open(file).unwrap();
    db.query_row("SELECT value FROM meta WHERE key = 'schema_version'", (), |row| row.get(0)).unwrap()
}

async fn new_database() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    fill(&store).await;
    store.close().await;
    let file = folder.path().join("store.db");
    (folder, file)
}

#[tokio::test]
async fn this_program_makes_the_tables_of_the_newest_database() {
    let (_folder, file) = new_database().await;
    let copy = tempfile::tempdir().unwrap();
    let newest = copy.path().join("store.db");
    fs::write(&newest, bytes(&self::newest("sqlite"))).unwrap();
    assert!((version(&file), tables(&file)) == (version(&newest), tables(&newest)), "sqlite: {INSTRUCTIONS}");
}

/// Makes the files that are missing; see [`INSTRUCTIONS`].
#[tokio::test]
#[ignore = "adds files to the repository"]
async fn make() {
    for (kind, today) in of_today() {
        let next = (1..).map(|version| golden(&format!("{kind}-{version}.bin"))).find(|path| !path.exists()).unwrap();
        let is_new = !fs::read_dir(golden("")).unwrap().any(|entry| fs::read(entry.unwrap().path()).unwrap() == today);
        if is_new {
            fs::write(&next, &today).unwrap();
            eprintln!("made {}", next.display());
        }
    }
    let (_folder, file) = new_database().await;
    let path = golden(&format!("sqlite-{}.db", version(&file)));
    if !path.exists() {
        fs::copy(&file, &path).unwrap();
        eprintln!("made {}", path.display());
    }
    crate::golden_postgres::make().await;
    let sum = |name: String| format!("{:08x} {name}\n", crc32c::crc32c(&bytes(&name)));
    fs::write(golden("SUMS"), names().into_iter().map(sum).collect::<String>()).unwrap();
}
