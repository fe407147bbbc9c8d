//! What released versions have stored is read for ever.
//!
//! `tests/golden` holds a file for each format in which anything was ever stored. These tests decode all of them, and
//! compare what this program writes with the newest file of each kind. Files are added, never changed.

use actors::{ActorRef, ActorSystem, ReplyTo};
use persistence::{
    Answered, Append, Codec, CommandId, DeleteState, Effect, EventSourced, EventSourcedBehavior, FenceScope, Journal,
    KeptReply, MessagePack, Once, PersistenceId, PutState, RawEvent, RawSnapshot, RawState, ReplayLimit, ReplyOnce,
    SnapshotStore, SqliteOptions, SqliteStore, StateStore, WindowLimits, decode_answered, decode_window,
    encode_answered, encode_window,
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
const INSTRUCTIONS: &str = "
The stored format has changed. Data in the old one is out there, in stores that nobody can convert:
 1. Give the new format a version of its own (manifest, version byte, schema step), and keep reading the old one.
 2. `cargo test -p persistence --test it golden::make -- --ignored` adds the file of the new version.
    and its line in SUMS.
 3. Say in `golden.rs` what must come out of it. Change no file and no line that is there.
If nothing was meant to change, this is the bug.";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn bytes(name: &str) -> bytes::Bytes {
    fs::read(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}")).into()
}

/// The newest file of a kind, by number.
fn newest(kind: &str) -> String {
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

/// Stores what every database of the corpus holds. Whatever a new schema adds comes here as well.
async fn fill(store: &SqliteStore) {
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
}

#[tokio::test]
async fn databases_of_every_version_are_opened_and_read() {
    for (version, states) in [(1, false), (2, false), (3, true), (4, true)] {
        let name = format!("sqlite-{version}.db");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("store.db"), bytes(&name)).unwrap();
        let store = SqliteStore::open(folder.path(), SqliteOptions::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));

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
            let snapshot = SnapshotStore::load(&store, id.clone(), u64::MAX).await.unwrap().unwrap();
            assert_eq!((snapshot.seq_nr, snapshot.epoch, snapshot.time_ms), (2, 1, 1_234), "{name}");
            assert_eq!(decode_window(snapshot.snapshot.meta.as_ref()), Ok(answers()), "{name}");
            let state = StateStore::load(&store, id.clone()).await.unwrap();
            assert_eq!(state.is_some(), states, "{name}");
            if let Some(state) = state {
                let deleted = id == bob();
                assert_eq!(state.revision, if deleted { 3 } else { 2 }, "{name}");
                assert_eq!(state.state, (!deleted).then(|| raw_state("two")), "{name}");
                assert_eq!(
                    decode_window(state.marker.as_ref()),
                    Ok(if deleted { answers() } else { vec![] }),
                    "{name}"
                );
            }
            let fence = Journal::claim(&store, FenceScope::Entity(id)).await.unwrap();
            assert_eq!(fence.epoch, 2, "{name}: epochs go on");
        }

        // An entity of today goes on from there, and remembers.
        let system = ActorSystem::new(format!("golden-{version}"));
        // The answers are years old, so the window has no end.
        let window = WindowLimits { age: Duration::MAX, ..WindowLimits::default() };
        let behavior = EventSourcedBehavior::adapted(GoldenEntity, store.clone(), codec()).command_window(window);
        let entity = system.spawn("ada", behavior);
        assert_eq!(pay(&entity, "order-7").await, Ok(7), "{name}: answered as it was then");
        assert_eq!(pay(&entity, "order-8").await, Ok(4), "{name}");
        system.terminate().await;
        store.close().await;
    }
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
    let sum = |name: String| format!("{:08x} {name}\n", crc32c::crc32c(&bytes(&name)));
    fs::write(golden("SUMS"), names().into_iter().map(sum).collect::<String>()).unwrap();
}
