//! `cloudstate store`, beside a sidecar that runs and without one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use cloudstate::demo::SNAPSHOT_EVERY;
use serde_json::Value;

use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, cloudstate, free_port};

pub(crate) fn store_of(folder: &Path) -> String {
    format!("sqlite:{}", folder.display())
}

/// `cloudstate store WORDS --store STORE`.
pub(crate) fn command(store: &str, words: &[&str]) -> Command {
    let mut command = cloudstate();
    command.arg("store").args(words).args(["--store", store]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(store: &str, words: &[&str]) -> Output {
    command(store, words).output().expect("the command starts")
}

/// What a command prints that ends well.
pub(crate) fn printed(store: &str, words: &[&str]) -> String {
    let output = run(store, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The exit status and the error of one that does not.
pub(crate) fn refused(store: &str, words: &[&str]) -> (i32, String) {
    let output = run(store, words);
    (output.status.code().expect("an exit status"), text(&output.stderr))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// What is said of Ada's three events and Bob's one, whatever keeps them.
pub(crate) fn two_carts_are_looked_into(store: &str) {
    let entities = printed(store, &["entities"]);
    assert!(entities.contains("shopping-cart|ada") && entities.contains("shopping-cart|bob"), "{entities}");
    let one = printed(store, &["entities", "--type", "shopping-cart", "--prefix", "b", "--json"]);
    assert_eq!(json_lines(&one).iter().map(|it| it["id"].as_str()).collect::<Vec<_>>(), [Some("shopping-cart|bob")]);

    let events = printed(store, &["events", "shopping-cart|ada"]);
    assert_eq!(events.lines().filter(|line| line.starts_with('#')).count(), 3, "{events}");
    assert!(events.contains("ItemAdded") && events.contains(r#"1: {1: "pear" 2: "name of pear" 3: 3}"#), "{events}");
    let second = printed(store, &["events", "shopping-cart|ada", "--at", "2"]);
    assert!(second.starts_with("#2 ") && second.contains("batch") && second.contains("pear"), "{second}");
    let some = json_lines(&printed(store, &["events", "shopping-cart|ada", "--from", "2", "--to", "3", "--json"]));
    assert_eq!(some.iter().map(|it| it["seq_nr"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(3)]);
    assert!(some[0]["payload"].is_string() && some[0]["decoded"].as_str().expect("fields").contains("pear"));

    let state = words(&printed(store, &["state", "shopping-cart|ada"]));
    assert!(state.contains("it has events 1 to 3") && state.contains("snapshot none"), "{state}");
    assert!(printed(store, &["check"]).starts_with("nothing is wrong; checked 2 entities, 4 events"));
}

/// Words of a text, so that a test says nothing of the space between them.
pub(crate) fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A sidecar with the shopping cart, over a store in a folder of its own.
struct Running {
    folder: tempfile::TempDir,
    port: u16,
    function: u16,
    _function: Function,
    sidecar: Sidecar,
}

impl Running {
    async fn start() -> (Self, CartClient) {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, function_port) = (free_port(), free_port());
        let function = Function::start(function_port);
        let sidecar = Sidecar::start(&store_of(folder.path()), port, function_port);
        let mut client = CartClient::new(port);
        client.reconnect().await;
        client.until_answered("nobody", false).await;
        (Self { folder, port, function: function_port, _function: function, sidecar }, client)
    }

    fn store(&self) -> String {
        store_of(self.folder.path())
    }
}

#[tokio::test]
async fn a_store_is_looked_into_while_its_sidecar_serves() {
    let (running, mut client) = Running::start().await;
    for (product, quantity) in [("apple", 2), ("pear", 3), ("plum", 4)] {
        client.add("ada", product, quantity, false).await.expect("added");
    }
    client.add("bob", "apple", 1, true).await.expect("added");
    let store = running.store();

    let info = words(&printed(&store, &["info"]));
    assert!(info.contains(&format!("in use by process {}", running.sidecar.id())), "{info}");
    assert!(info.contains("events 4 ") && info.contains("shopping-cart 2 4 0 0"), "{info}");
    let info: Value = serde_json::from_str(&printed(&store, &["info", "--json"])).expect("JSON");
    assert_eq!((&info["events"], &info["highest_offset"]), (&4.into(), &"4".into()));

    two_carts_are_looked_into(&store);
    let sql = printed(&store, &["sql", "SELECT count(*) AS n FROM journal; SELECT max(seq_nr) FROM journal"]);
    assert_eq!(sql, "n\n4\nmax(seq_nr)\n          3\n");

    client.add("ada", "cherry", 5, false).await.expect("and it goes on serving");
    assert_eq!(client.get("ada", false).await.expect("a cart").len(), 4);
}

/// With the descriptors of the user function payloads are JSON.
#[tokio::test]
async fn payloads_are_json_where_their_type_is_known() {
    let (running, mut client) = Running::start().await;
    client.add("ada", "apple", 2, false).await.expect("added");
    let folder = tempfile::tempdir().expect("a folder");
    let source = "syntax = \"proto3\"; package com.example.shoppingcart.persistence;
        message ItemAdded { LineItem item = 1; } message LineItem { string id = 1; string name = 2; int32 quantity = 3; }";
    fs::write(folder.path().join("domain.proto"), source).expect("written");
    let set = protox::compile(["domain.proto"], [folder.path()]).expect("compiled");
    let file = folder.path().join("domain.desc");
    fs::write(&file, prost::Message::encode_to_vec(&set)).expect("written");
    let descriptors = file.to_str().expect("text");
    let events = printed(&running.store(), &["events", "shopping-cart|ada", "--descriptors", descriptors]);
    assert!(events.contains(r#"{"item":{"id":"apple","name":"name of apple","quantity":2}}"#), "{events}");
}

/// Backed up beside a client that writes, restored, and served by another sidecar: nothing acknowledged before is missing.
#[tokio::test]
async fn a_backup_of_a_busy_store_can_be_served_from() {
    let (running, mut client) = Running::start().await;
    for number in 0..20 {
        client.add("ada", &format!("product {number}"), 1, false).await.expect("added");
    }
    let backups = tempfile::tempdir().expect("a folder");
    let file = backups.path().join("monday.db");
    let backup = command(&running.store(), &["backup", file.to_str().expect("text")]).spawn().expect("it starts");
    let mut meanwhile = 0;
    let backup = tokio::task::spawn_blocking(move || backup.wait_with_output());
    while !backup.is_finished() {
        client.add("bob", &format!("product {meanwhile}"), 1, false).await.expect("added");
        meanwhile += 1;
    }
    let output = backup.await.expect("no panic").expect("an output");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("sound: "), "{}", text(&output.stdout));
    assert!(output.stderr.is_empty(), "no bar where there is no terminal: {}", text(&output.stderr));

    let restored = backups.path().join("restored");
    let store = store_of(&restored);
    assert!(printed(&store, &["restore", file.to_str().expect("text")]).contains(" events"));
    assert!(printed(&store, &["check"]).starts_with("nothing is wrong"));
    assert!(printed(&store, &["adopt"]).starts_with("nothing to adopt"));

    let port = free_port();
    let _sidecar = Sidecar::start(&store, port, running.function);
    let mut other = CartClient::new(port);
    other.reconnect().await;
    assert_eq!(other.until_answered("ada", false).await.len(), 20, "all that was acknowledged before");
    assert!(other.get("bob", false).await.expect("a cart").len() <= meanwhile);
    other.add("ada", "one more", 1, false).await.expect("added");
    assert_ne!(port, running.port);
}

#[tokio::test]
async fn an_export_is_a_store_again_somewhere_else() {
    let (mut running, mut client) = Running::start().await;
    for number in 0..SNAPSHOT_EVERY + 5 {
        client.add("ada", &format!("product {number}"), 1, false).await.expect("added");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("everything.jsonl");
    let file = file.to_str().expect("text");
    assert!(
        printed(&running.store(), &["export", file]).contains(&format!("{} events, 1 snapshot", SNAPSHOT_EVERY + 5))
    );
    running.sidecar.kill();

    let store = store_of(&folder.path().join("other"));
    assert!(printed(&store, &["import", file]).contains(&format!("{} events, 1 snapshot", SNAPSHOT_EVERY + 5)));
    let (first, again) = (printed(&running.store(), &["export"]), printed(&store, &["export", "-"]));
    let contents = |text: &str| {
        text.lines().skip(1).take_while(|it| !it.starts_with("{\"end\"")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(contents(&first), contents(&again), "all but the header is the same");

    let state = words(&printed(&store, &["state", "shopping-cart|ada"]));
    assert!(state.contains("snapshot #") && state.contains("5 events after it"), "{state}");
    let port = free_port();
    let _sidecar = Sidecar::start(&store, port, running.function);
    let mut other = CartClient::new(port);
    other.reconnect().await;
    assert_eq!(other.until_answered("ada", false).await.len() as i64, SNAPSHOT_EVERY + 5);
}

#[tokio::test]
async fn refusals_name_the_fix_and_leave_nothing() {
    let (running, mut client) = Running::start().await;
    client.add("ada", "apple", 2, false).await.expect("added");
    let (store, folder) = (running.store(), tempfile::tempdir().expect("a folder"));
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let nowhere = store_of(&folder.path().join("nowhere"));
    let cases: [(&str, &[&str], i32, &str); 12] = [
        (&nowhere, &["info"], 4, "there is no store in"),
        ("memory", &["info"], 2, "name a store with --store sqlite:FOLDER"),
        (&store, &["events", "ada"], 2, "must be type|entity"),
        (&store, &["events", "shopping-cart|eve"], 1, "there is no entity shopping-cart|eve"),
        (&store, &["events", "shopping-cart|ada", "--at", "7"], 1, "it has events 1 to 1"),
        (&store, &["sql", "DELETE FROM journal"], 1, "only statements that read"),
        (&store, &["restore", &path("nothing")], 4, "name the file or folder that `cloudstate store backup` wrote"),
        (&store, &["import", &path("nothing")], 1, "No such file"),
        (&store, &["backup", &path("no/such/folder.db")], 1, "No such file"),
        (&store, &["export", &path("no/such/folder.jsonl")], 1, "No such file"),
        (&store, &["events", "shopping-cart|ada", "--at", "1", "--from", "2"], 2, "cannot be used with"),
        (&store, &["events", "shopping-cart|ada", "--descriptors", &path("nothing")], 1, "No such file"),
    ];
    for (store, words, status, says) in cases {
        let (found, error) = refused(store, words);
        assert_eq!(found, status, "{words:?}: {error}");
        assert!(error.contains(says) && error.starts_with("error: "), "{words:?}: {error}");
    }
    assert!(!folder.path().join("nowhere").exists(), "looking makes no folder");

    let export = path("everything.jsonl");
    printed(&store, &["export", &export]);
    for words in [
        ["import", &export],
        ["export", &export],
        ["backup", &export],
        ["restore", running.folder.path().to_str().expect("text")],
    ] {
        let (status, error) = refused(&store, &words);
        assert!(
            matches!(status, 1 | 4) && (error.contains("not empty") || error.contains("is there already")),
            "{words:?}: {status} {error}"
        );
    }
    // Cut off: not one event of it becomes a store.
    let cut = path("cut.jsonl");
    let whole = fs::read(&export).expect("read");
    fs::write(&cut, &whole[..whole.len() - 30]).expect("written");
    let (status, error) = refused(&nowhere, &["import", &cut]);
    assert!(status == 1 && error.contains("line ") && error.contains("nothing was imported"), "{status} {error}");
    assert!(!folder.path().join("nowhere").exists());
    assert_eq!(refused(&nowhere, &["info"]).0, 4);
    assert_eq!(client.get("ada", false).await.expect("served").len(), 1);
}

/// What is damaged is named, the exit status says so, and scripts can read it.
#[tokio::test]
async fn a_check_names_what_is_wrong() {
    let (mut running, mut client) = Running::start().await;
    for product in ["apple", "pear", "plum"] {
        client.add("ada", product, 2, false).await.expect("added");
    }
    running.sidecar.kill();
    let database = rusqlite::Connection::open(running.folder.path().join("store.db")).expect("a database");
    database.execute("DELETE FROM journal WHERE seq_nr = 2", ()).expect("deleted");
    drop(database);
    let output = run(&running.store(), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = text(&output.stdout);
    let expected =
        "event shopping-cart|ada #3 (journal.ordering 3): event 2 is missing\n1 finding; checked 1 entity, 2 events";
    assert!(lines.starts_with(expected), "{lines}");
    let output = run(&running.store(), &["check", "--json"]);
    let lines = json_lines(&text(&output.stdout));
    assert_eq!(
        (&lines[0]["subject"], &lines[0]["seq_nr"], &lines[1]["findings"]),
        (&"event".into(), &3.into(), &1.into())
    );
    let copy = running.folder.path().join("copy.db");
    let path = copy.to_str().expect("text");
    let (status, error) = refused(&running.store(), &["backup", path]);
    assert!(status == 1 && error.contains("not sound: 1 findings") && error.contains("--no-check"), "{status} {error}");
    assert!(!copy.exists());
    // Whoever wants it all the same can have it, there and back.
    assert!(printed(&running.store(), &["backup", path, "--no-check"]).contains("not checked"));
    let restored = running.folder.path().join("restored");
    let store = store_of(&restored);
    let (status, error) = refused(&store, &["restore", path]);
    assert!(status == 1 && error.contains("not sound: 1 findings") && error.contains("--no-check"), "{status} {error}");
    assert!(!restored.exists(), "nothing is left of a restore that failed");
    assert!(printed(&store, &["restore", path, "--no-check"]).contains("not checked"));
    assert_eq!(refused(&store, &["check"]).0, 1);
}

/// Ctrl-C ends a command that waits for its standard input, and what was begun is gone.
#[test]
fn a_command_that_waits_for_input_can_be_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    let begun = folder.path().join("begun");
    let store = store_of(&begun);
    let mut import = command(&store, &["import", "-"]).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = import.stdin.take().expect("an input");
    let whole = archive(3, 2);
    input.write_all(&whole[..whole.len() / 2]).expect("written");
    while !begun.join("store.lock").exists() {
        std::thread::yield_now();
    }
    interrupt(&import);
    assert_eq!(import.wait().expect("it ends").code(), Some(130));
    assert!(!begun.exists());
    drop(input);

    self::import(&store, &whole);
    let mut sql = command(&store, &["sql", "--json"]).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = sql.stdin.take().expect("an input");
    input.write_all(b"SELECT 1 AS one;\n").expect("written");
    let mut line = String::new();
    BufReader::new(sql.stdout.take().expect("an output")).read_line(&mut line).expect("an answer");
    assert_eq!(line, "{\"one\":1}\n");
    interrupt(&sql);
    assert_eq!(sql.wait().expect("it ends").code(), Some(130));
}

fn interrupt(child: &Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::INT).expect("sent");
}

/// Half an export is none, and half a check says nothing of the rest: their reader must not go.
#[test]
fn a_reader_that_goes_away_fails_what_must_be_read_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of(folder.path());
    import(&store, &archive(3, 2));
    for (words, status) in
        [(&["check"][..], 1), (&["export"], 1), (&["export", "-"], 1), (&["info"], 0), (&["entities"], 0)]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(&store, words).stdout(writer).output().expect("the command starts");
        assert_eq!(output.status.code(), Some(status), "{words:?}: {}", text(&output.stderr));
    }
}

/// Statements come from standard input, and a reader that has seen enough is no error.
#[test]
fn sql_reads_a_script_and_its_reader_may_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of(folder.path());
    import(&store, &archive(3, 2));
    let mut script = command(&store, &["sql", "--json"]).stdin(Stdio::piped()).spawn().expect("it starts");
    let statements =
        "SELECT persistence_id AS id\nFROM entity -- all; of them\nORDER BY 1 LIMIT 1;\nSELECT ';' AS semicolon";
    script.stdin.take().expect("an input").write_all(statements.as_bytes()).expect("written");
    let output = script.wait_with_output().expect("an output");
    assert_eq!(text(&output.stdout), "{\"id\":\"big|0\"}\n{\"semicolon\":\";\"}\n", "{}", text(&output.stderr));

    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let mut asked = command(&store, &["sql", endless]).spawn().expect("it starts");
    drop(asked.stdout.take());
    assert!(asked.wait().expect("it ends").success());
}

/// A store of 300,000 events is imported, looked into, checked, copied and exported by processes that stay small.
#[test]
#[ignore = "a minute in a debug build: part of the long command"]
fn a_big_store_needs_no_big_process() {
    const LIMIT_KIB: u64 = 80 << 10;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    fs::write(path("big.jsonl"), archive(3_000, 100)).expect("written");
    let (store, copy) = (store_of(&folder.path().join("big")), path("copy.db"));
    let restored = store_of(&folder.path().join("restored"));
    let commands: [(&str, &[&str]); 9] = [
        (&store, &["import", &path("big.jsonl")]),
        (&store, &["info"]),
        (&store, &["entities"]),
        (&store, &["events", "big|17"]),
        (&store, &["check"]),
        (&store, &["backup", &copy, "--no-check"]),
        (&restored, &["restore", &copy]),
        (&restored, &["export", &path("again.jsonl")]),
        (&restored, &["sql", "SELECT * FROM journal ORDER BY payload"]),
    ];
    for (store, words) in commands {
        let peak = peak_of(store, words, &folder.path().join("output"));
        assert!(peak < LIMIT_KIB, "{words:?} took {peak} KiB");
    }
    let sizes = ["big.jsonl", "again.jsonl"].map(|name| fs::metadata(path(name)).expect("a file").len());
    assert!(sizes[0].abs_diff(sizes[1]) < 1_000, "{sizes:?}");
}

/// KiB that a command had at most, which ends well and whose output goes into a file.
pub(crate) fn peak_of(store: &str, words: &[&str], output: &Path) -> u64 {
    let mut command = command(store, words);
    let output = fs::File::create(output).expect("a file");
    let (status, peak) = wait_for(command.stdout(output).stderr(Stdio::inherit()).spawn().expect("it starts"));
    assert!(status.success(), "{words:?}");
    peak
}

/// How the process ended, and the KiB that it had at most.
#[expect(unsafe_code, reason = "the only call that tells how much memory a process took that has ended")]
fn wait_for(child: Child) -> (ExitStatus, u64) {
    let mut status = 0;
    // SAFETY: a structure of numbers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types that the call writes.
    let ended = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    assert_eq!(ended, child.id().cast_signed(), "{}", std::io::Error::last_os_error());
    (ExitStatus::from_raw(status), u64::try_from(usage.ru_maxrss).expect("a size"))
}

pub(crate) fn import(store: &str, archive: &[u8]) {
    let mut import = command(store, &["import", "-"]).stdin(Stdio::piped()).spawn().expect("it starts");
    import.stdin.take().expect("an input").write_all(archive).expect("written");
    let output = import.wait_with_output().expect("an output");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What an export of so many entities with so many events each looks like: the format that is documented, made by hand.
pub(crate) fn archive(entities: u64, events: u64) -> Vec<u8> {
    let mut lines = String::new();
    let mut line = |line: String| lines.push_str(&format!("{line}\n"));
    line(r#"{"cloudstate_store":1,"from":"sqlite","exported_at_ms":1,"program":"a test"}"#.into());
    line(format!(r#"{{"places":{{"events":"{}"}}}}"#, entities * events));
    for shard in 0..1024 {
        line(format!(
            r#"{{"owner":{{"entity_type":"big","shard":{shard},"epoch":1,"entity_epoch_max":0,"owner":""}}}}"#
        ));
    }
    for entity in 0..entities {
        line(format!(r#"{{"entity":{{"id":"big|{entity}","epoch":0,"highest_seq":{events},"deleted_to":0}}}}"#));
    }
    for seq_nr in 1..=events {
        for entity in 0..entities {
            let offset = (seq_nr - 1) * entities + entity + 1;
            line(format!(
                r#"{{"event":{{"id":"big|{entity}","seq_nr":{seq_nr},"offset":"{offset}","epoch":1,"time_ms":{offset},"manifest":"added/1","payload":"aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxkLCBoZWxsbyB3b3JsZA=="}}}}"#
            ));
        }
    }
    let end = format!(
        r#"{{"end":{{"totals":{{"owners":1024,"projections":0,"parked":0,"entities":{entities},"events":{},"snapshots":0,"states":0}},"crc32c":"{:08x}"}}}}"#,
        entities * events,
        crc32c::crc32c(lines.as_bytes())
    );
    lines.push_str(&end);
    lines.push('\n');
    lines.into_bytes()
}
