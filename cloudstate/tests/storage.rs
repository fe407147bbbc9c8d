//! What callers and entities see when the store fails.

use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloudstate::store::Store;
use persistence::testkit::{FaultyJournal, FaultySnapshots};
use persistence::{
    Append, AppendError, BoxFuture, Fence, FenceScope, InMemoryJournal, InMemorySnapshotStore, InMemoryStateStore,
    Journal, JournalError, PersistenceId, RawEvent, RawSnapshot, ReplayLimit, SnapshotStore, Stored,
};
use tonic::Code;

use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, free_port};
use crate::scripted::{Model, ScriptedFunction, ScriptedStream, TestSidecar, answer, model_spec, reply, with_snapshot};

struct Faulty {
    journal: FaultyJournal<RawEvent>,
    snapshots: FaultySnapshots<RawSnapshot>,
    function: ScriptedFunction,
    client: Model,
    _sidecar: TestSidecar,
}

/// A sidecar over a store that fails on command, and an open entity with one event.
async fn start() -> (Faulty, ScriptedStream) {
    let journal = FaultyJournal::new(InMemoryJournal::default());
    let snapshots = FaultySnapshots::new(InMemorySnapshotStore::default());
    let mut function = ScriptedFunction::start(model_spec()).await;
    let store = Store::new(journal.clone(), snapshots.clone(), InMemoryStateStore::default());
    let sidecar = TestSidecar::over(store, &function, |_| {}).ready().await;
    let client = sidecar.client();
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "opened", &["one"])).await;
    answer(call).await.expect("served");
    (Faulty { journal, snapshots, function, client, _sidecar: sidecar }, stream)
}

/// Emits an event whose write ends with `code`; then the entity is replayed to and has `events`.
async fn write_that_fails(faulty: &mut Faulty, mut stream: ScriptedStream, code: Code, says: &str, events: usize) {
    let (failing, waiting) = (faulty.client.process("ada"), faulty.client.process("ada"));
    stream.command().await;
    stream.reply(reply(2, "never said", &["two"])).await;
    // The function may have been given the next command already: what it makes of it is void.
    let status = answer(failing).await.expect_err("not written");
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(says), "{status}");
    while stream.next_or_end().await.is_some() {}
    stream.end();
    let mut stream = faulty.function.stream().await;
    let command = stream.until_command(events).await;
    stream.reply(reply(command.id, "served after all", &[])).await;
    assert_eq!(answer(waiting).await.expect("waited"), "served after all");
}

#[tokio::test]
async fn a_write_that_is_certainly_not_stored_says_so_and_the_entity_goes_on() {
    let (mut faulty, stream) = start().await;
    faulty.journal.fail_next(AppendError::Unavailable { reason: "the disk is full".to_owned() });
    write_that_fails(&mut faulty, stream, Code::Unavailable, "were not stored: store unavailable: the disk is full", 1)
        .await;
}

#[tokio::test]
async fn a_rejected_write_does_not_wedge_the_entity() {
    let (mut faulty, stream) = start().await;
    faulty.journal.reject_next("too odd");
    write_that_fails(&mut faulty, stream, Code::FailedPrecondition, "were not stored", 1).await;
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_asking_again() {
    for stored in [true, false] {
        let (mut faulty, mut stream) = start().await;
        faulty.journal.unknown_next(stored);
        let call = faulty.client.process("ada");
        stream.command().await;
        stream.reply(reply(2, "certain", &["two"])).await;
        assert_eq!(answer(call).await.expect("settled"), "certain");
        stream.over().await;
        // Once, whether the first attempt was stored or not.
        let call = faulty.client.process("ada");
        faulty.function.stream().await.until_command(2).await;
        call.abort();
    }
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_called_so_and_the_log_decides() {
    for (stored, events) in [(true, 2), (false, 1)] {
        let (mut faulty, stream) = start().await;
        faulty.journal.unknown_next(stored);
        faulty.journal.fail_next(AppendError::Unavailable { reason: "gone".to_owned() });
        write_that_fails(&mut faulty, stream, Code::Unknown, "unknown whether", events).await;
    }
}

#[tokio::test]
async fn nothing_is_answered_before_the_write_is_durable() {
    let (faulty, mut stream) = start().await;
    faulty.journal.hold();
    let mut call = faulty.client.process("ada");
    stream.command().await;
    stream.reply(reply(2, "held", &["two"])).await;
    // Another entity's whole exchange fits in between: the reply had every chance to slip out.
    let other = faulty.client.process("bob");
    let mut function = faulty.function;
    let mut second = function.stream().await;
    second.until_command(0).await;
    second.reply(reply(1, "no events", &[])).await;
    answer(other).await.expect("needs no write");
    assert!(futures_util::poll!(&mut call).is_pending());
    faulty.journal.release();
    assert_eq!(answer(call).await.expect("written"), "held");
}

/// Opens "ada", and has the function answer four more commands while the journal is held: three with an event, one
/// without. The callers wait, in order.
async fn four_held() -> (Faulty, ScriptedStream, Vec<tokio::task::JoinHandle<Result<String, tonic::Status>>>) {
    let (faulty, mut stream) = start().await;
    faulty.journal.hold();
    let mut calls = Vec::new();
    for id in 2..=5 {
        let mut call = faulty.client.process("ada");
        assert_eq!(stream.command().await.id, id, "before the writes of the commands before it are done");
        let event = format!("event {id}");
        let events: &[&str] = if id == 5 { &[] } else { &[&event] };
        stream.reply(reply(id, &format!("reply {id}"), events)).await;
        assert!(futures_util::poll!(&mut call).is_pending());
        calls.push(call);
    }
    (faulty, stream, calls)
}

#[tokio::test]
async fn a_hot_entity_works_on_while_its_replies_wait_for_their_writes() {
    let (faulty, _stream, mut calls) = four_held().await;
    for call in &mut calls {
        assert!(futures_util::poll!(call).is_pending(), "nothing is durable yet");
    }
    faulty.journal.release();
    for (call, id) in calls.into_iter().zip(2..) {
        assert_eq!(answer(call).await.expect("written"), format!("reply {id}"));
    }
}

#[tokio::test]
async fn a_failed_sync_after_a_pipelined_command_loses_nothing_and_invents_nothing() {
    let (mut faulty, mut stream) = start().await;
    faulty.journal.hold();
    let mut calls = Vec::new();
    for id in 2..=5 {
        let call = faulty.client.process("ada");
        assert_eq!(stream.command().await.id, id);
        if id == 3 {
            // For when the disk is let go; the write before it has been asked for.
            faulty.journal.fail_next(AppendError::Unavailable { reason: "the sync failed".to_owned() });
        }
        stream.reply(reply(id, &format!("reply {id}"), &[&format!("event {id}")])).await;
        calls.push(call);
    }
    faulty.journal.release();
    let mut calls = calls.into_iter();
    assert_eq!(answer(calls.next().expect("2")).await.expect("stored"), "reply 2");
    let refused = answer(calls.next().expect("3")).await.expect_err("not stored");
    assert!(refused.message().contains("were not stored"), "{refused}");

    // The function is replayed to what is stored and nothing else, and is given what it had answered too early.
    while stream.next_or_end().await.is_some() {}
    stream.end();
    let mut stream = faulty.function.stream().await;
    stream.init().await;
    for (sequence, text) in [(1, "one"), (2, "event 2")] {
        let event = stream.event().await;
        assert_eq!((event.sequence, crate::scripted::text(event.payload).as_str()), (sequence, text));
    }
    for (id, call) in (1..).zip(calls) {
        assert_eq!(stream.command().await.id, id);
        stream.reply(reply(id, &format!("again {id}"), &[&format!("event again {id}")])).await;
        assert_eq!(answer(call).await.expect("stored now"), format!("again {id}"));
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_told_to_those_who_wait() {
    let (mut faulty, stream) = start().await;
    stream.over().await;
    faulty.journal.fail_next_read(JournalError::Unavailable { reason: "cable out".to_owned() });
    let status = answer(faulty.client.process("ada")).await.expect_err("not read");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "Error recovering event log"));

    let call = faulty.client.process("ada");
    // The first attempt had opened a stream by then; the second one serves.
    let mut stream = faulty.function.stream().await;
    let command = match stream.init().await.snapshot {
        None => loop {
            match stream.next_or_end().await {
                Some(command) => break command,
                None => {
                    stream = faulty.function.stream().await;
                    stream.init().await;
                }
            }
        },
        Some(_) => panic!("there is no snapshot"),
    };
    stream.reply(reply(command.id, "readable again", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "readable again");
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_saved_loses_nothing() {
    let (mut faulty, mut stream) = start().await;
    faulty.snapshots.fail_next(AppendError::Unavailable { reason: "no room".to_owned() });
    let call = faulty.client.process("ada");
    stream.command().await;
    stream.reply(with_snapshot(reply(2, "kept", &["two"]), "onetwo")).await;
    assert_eq!(answer(call).await.expect("the events are what counts"), "kept");
    stream.over().await;
    let call = faulty.client.process("ada");
    faulty.function.stream().await.until_command(2).await;
    call.abort();
}

/// The numbers of ada's snapshots, the newest first.
async fn snapshot_numbers(snapshots: &impl SnapshotStore<RawSnapshot>) -> Vec<u64> {
    let (id, mut numbers) = (PersistenceId::of("model", "ada"), Vec::new());
    while let Some(up_to) = numbers.last().map_or(Some(u64::MAX), |number: &u64| number.checked_sub(1)) {
        match snapshots.load(id.clone(), up_to).await.expect("readable") {
            Some(stored) => numbers.push(stored.seq_nr),
            None => break,
        }
    }
    numbers
}

/// Waits until these are ada's snapshots.
async fn until_snapshots(snapshots: &impl SnapshotStore<RawSnapshot>, expected: &[u64]) {
    let mut found = Vec::new();
    for _ in 0..2_000 {
        found = snapshot_numbers(snapshots).await;
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{found:?} instead of {expected:?}");
}

/// One more command, with the event and the snapshot of that number.
async fn with_event_and_snapshot(client: &Model, stream: &mut ScriptedStream, number: u64) {
    let call = client.process("ada");
    let command = stream.command().await;
    let event = format!("event {number}");
    stream.reply(with_snapshot(reply(command.id, "kept", &[&event]), &format!("state {number}"))).await;
    assert_eq!(answer(call).await.expect("the event is what counts"), "kept");
}

/// The two newest stay. None goes while the newer one may still be lost, or when it is; what could not be deleted goes
/// with the next, in this life of the entity or a later one.
#[tokio::test]
async fn older_snapshots_go_once_a_newer_one_is_durable() {
    let (mut faulty, mut stream) = start().await;
    let (client, snapshots) = (faulty.client.clone(), faulty.snapshots.clone());
    for (number, left) in [(2, &[2][..]), (3, &[3, 2]), (4, &[4, 3])] {
        with_event_and_snapshot(&client, &mut stream, number).await;
        until_snapshots(&snapshots, left).await;
    }
    let no_room = || AppendError::Unavailable { reason: "no room".to_owned() };

    snapshots.hold();
    with_event_and_snapshot(&client, &mut stream, 5).await;
    // Another entity's whole exchange fits in between: a deletion had every chance.
    let other = client.process("bob");
    let mut second = faulty.function.stream().await;
    second.until_command(0).await;
    second.reply(reply(1, "no events", &[])).await;
    answer(other).await.expect("needs no write");
    assert_eq!(snapshot_numbers(&snapshots).await, [4, 3], "the new one is not durable yet");
    snapshots.release();
    until_snapshots(&snapshots, &[5, 4]).await;

    snapshots.fail_next(no_room());
    with_event_and_snapshot(&client, &mut stream, 6).await;
    snapshots.hold();
    with_event_and_snapshot(&client, &mut stream, 7).await;
    assert_eq!(snapshot_numbers(&snapshots).await, [5, 4], "the one that failed takes none with it");
    snapshots.fail_next(no_room()); // the deletion, for the save has been asked for
    snapshots.release();
    until_snapshots(&snapshots, &[7, 5, 4]).await;

    stream.over().await;
    let call = client.process("ada");
    let mut stream = faulty.function.stream().await;
    assert_eq!(stream.init().await.snapshot.expect("the newest").snapshot_sequence, 7);
    let command = stream.command().await;
    stream.reply(with_snapshot(reply(command.id, "a new life", &["event 8"]), "state 8")).await;
    assert_eq!(answer(call).await.expect("served"), "a new life");
    until_snapshots(&snapshots, &[8, 7]).await;
}

/// A snapshot is an optimisation: while there is none to be had the log serves, if it is whole.
#[tokio::test]
async fn an_unreachable_snapshot_store_costs_a_replay_and_nothing_else() {
    let (mut faulty, mut stream) = start().await;
    let (client, snapshots) = (faulty.client.clone(), faulty.snapshots.clone());
    let unreachable = || JournalError::Unavailable { reason: "cable out".to_owned() };
    with_event_and_snapshot(&client, &mut stream, 2).await;
    until_snapshots(&snapshots, &[2]).await;
    stream.over().await;

    snapshots.fail_next_load(unreachable());
    let call = client.process("ada");
    let mut stream = faulty.function.stream().await;
    let command = stream.until_command(2).await;
    stream.reply(reply(command.id, "from the log", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "from the log");
    stream.over().await;

    // Without its events, the log alone would make another state.
    let id = PersistenceId::of("model", "ada");
    let fence = faulty.journal.claim(FenceScope::Entity(id.clone())).await.expect("claimed");
    faulty.journal.delete_to(id, 1, fence).await.expect("deleted");
    snapshots.fail_next_load(unreachable());
    let refused = answer(client.process("ada")).await.expect_err("half a log is not believed");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "Error recovering event log"));

    let call = client.process("ada");
    // The stream of the attempt before may come first, or never.
    let (mut stream, snapshot) = loop {
        let mut stream = faulty.function.stream().await;
        if let Some(snapshot) = stream.init_if_open().await.and_then(|init| init.snapshot) {
            break (stream, snapshot);
        }
    };
    assert_eq!(snapshot.snapshot_sequence, 2);
    let command = stream.command().await;
    stream.reply(reply(command.id, "from the snapshot", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "from the snapshot");
}

/// A journal that refuses the first claims of one entity type.
struct ClaimRefused {
    journal: InMemoryJournal<RawEvent>,
    entity_type: &'static str,
    times: AtomicUsize,
}

impl Journal<RawEvent> for ClaimRefused {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.journal.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        let refused = &*entity_type == self.entity_type
            && self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if refused {
            return Box::pin(async { Err(JournalError::Unavailable { reason: "cable out".to_owned() }) });
        }
        self.journal.claim_all(entity_type, shards)
    }

    fn append(&self, append: Append<RawEvent>) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.journal.append(append)
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<RawEvent>>, JournalError>> {
        self.journal.replay(id, from, to, limit)
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.journal.highest_seq(id)
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.journal.delete_to(id, seq, fence)
    }
}

#[tokio::test]
async fn a_claim_that_fails_is_tried_again_and_then_everything_is_served() {
    let journal = InMemoryJournal::raw();
    let snapshots = journal.snapshots();
    let refusing = ClaimRefused { journal, entity_type: "two", times: AtomicUsize::new(2) };
    let mut function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::over(Store::new(refusing, snapshots, InMemoryStateStore::default()), &function, |_| {})
        .ready()
        .await;
    assert_eq!(function.discovered(), 3, "each attempt on a connection of its own");
    let call = sidecar.client().process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "served", &["one"])).await;
    assert_eq!(answer(call).await.expect("claimed in the end"), "served");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let (function_port, http_port) = (free_port(), free_port());
    let _function = Function::start(function_port);
    // A file system of 2 MiB that only the sidecar sees, without being root.
    let mount = format!("mount -t tmpfs -o size=2m none {0} && exec \"$@\"", folder.path().display());
    let store = format!("sqlite:{}", folder.path().display());
    let _sidecar = Sidecar::start_with(&store, http_port, function_port, |sidecar| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"]);
        command.arg(sidecar.get_program()).args(sidecar.get_args());
        command.envs(sidecar.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdout(Stdio::null());
        *sidecar = command;
        sidecar.process_group(0);
    });
    let mut client = CartClient::new(http_port);
    client.until_answered("ada", true).await;

    let mut added = 0;
    let refusal = loop {
        let product = format!("p{added}-{}", "x".repeat(100_000));
        match client.add("ada", &product, 1, added % 2 == 0).await {
            Ok(()) => added += 1,
            Err(refusal) => break refusal,
        }
        assert!(added < 100, "2 MiB hold no more than 20 of these");
    };
    assert!(refusal.contains("were not stored") || refusal.contains("unknown whether"), "{refusal}");
    assert!(added > 0);
    for by_http in [true, false] {
        let items = tokio::time::timeout(Duration::from_secs(20), client.until_answered("ada", by_http)).await;
        let items = items.expect("reads are served");
        assert!((added..=added + 1).contains(&items.len()), "{added} acknowledged, {} there", items.len());
    }
}
