//! `cloudstate store` on PostgreSQL: beside a sidecar that runs, and from and to a store on SQLite.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use cloudstate::demo::SNAPSHOT_EVERY;
use persistence::testkit::{PostgresServer, PostgresServerOptions};
use serde_json::Value;

use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, free_port};
use crate::store_command::{
    archive, command, import, json_lines, peak_of, printed, refused, run, store_of, text, two_carts_are_looked_into,
    words,
};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(|| {
    PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"))
});

/// A database that no other test uses.
struct Database(String);

impl Database {
    fn new() -> Self {
        Self(SERVER.create_database().expect("a database"))
    }

    fn store(&self) -> String {
        SERVER.url(&self.0)
    }

    fn sql(&self, sql: &str) -> String {
        SERVER.sql(&self.0, &format!("SET search_path = cloudstate; {sql}")).expect("an answer")
    }
}

/// A sidecar with the shopping cart.
struct Running {
    function: u16,
    _function: Function,
    sidecar: Sidecar,
}

impl Running {
    async fn start(store: &str) -> (Self, CartClient) {
        let (port, function_port) = (free_port(), free_port());
        let function = Function::start(function_port);
        let sidecar = Sidecar::start(store, port, function_port);
        let mut client = CartClient::new(port);
        client.reconnect().await;
        client.until_answered("nobody", false).await;
        (Self { function: function_port, _function: function, sidecar }, client)
    }
}

/// Lines of an archive without what says of which store they are and when it was made: the header, the end, and the numbers
/// of events and states, whose order is compared instead. Entities and snapshots come as each store has them.
fn contents(archive: &str) -> Vec<String> {
    let (mut in_order, mut others) = (Vec::new(), Vec::new());
    for line in archive.lines() {
        let mut record: Value = serde_json::from_str(line).expect(line);
        if ["cloudstate_store", "end", "places"].iter().any(|name| record.get(name).is_some()) {
            continue;
        }
        let kind = ["event", "state"].into_iter().find(|kind| record.get(kind).is_some());
        match kind.and_then(|kind| record[kind].get_mut("offset")) {
            Some(offset) => {
                assert!(offset.take().is_string(), "{line}");
                in_order.push(record.to_string());
            }
            None => others.push(record.to_string()),
        }
    }
    assert!(!in_order.is_empty() && !others.is_empty(), "{archive}");
    others.sort();
    [others, in_order].concat()
}

#[tokio::test]
async fn a_store_on_postgres_is_looked_into_while_its_sidecar_serves() {
    let database = Database::new();
    let store = database.store();
    let (_running, mut client) = Running::start(&store).await;
    for (product, quantity) in [("apple", 2), ("pear", 3), ("plum", 4)] {
        client.add("ada", product, quantity, false).await.expect("added");
    }
    client.add("bob", "apple", 1, true).await.expect("added");

    let info = words(&printed(&store, &["info"]));
    assert!(info.contains("kind postgres, schema version") && info.contains(", generation 1"), "{info}");
    assert!(info.contains("events 4 ") && info.contains("shopping-cart 2 4 0 0"), "{info}");
    assert!(!info.contains("in use by"), "any number of sidecars may use it: {info}");
    let info: Value = serde_json::from_str(&printed(&store, &["info", "--json"])).expect("JSON");
    assert_eq!((&info["events"], &info["backend"]), (&4.into(), &"postgres".into()));
    assert!(info["highest_offset"].as_str().expect("text").starts_with("1."), "{info}");

    two_carts_are_looked_into(&store);
    let sql = printed(&store, &["sql", "SELECT count(*) AS n FROM journal; SELECT max(seq_nr) FROM journal"]);
    assert_eq!(sql, "n\n4\nmax\n  3\n");
    assert!(printed(&store, &["adopt"]).contains("as generation 1"), "the server that wrote it has it already");

    client.add("ada", "cherry", 5, false).await.expect("and it goes on serving");
    assert_eq!(client.get("ada", false).await.expect("a cart").len(), 4);
}

/// Backed up beside a client that writes, restored as both kinds of store, and served by another sidecar.
#[tokio::test]
async fn a_backup_of_a_busy_store_on_postgres_can_be_served_from() {
    let (database, other) = (Database::new(), Database::new());
    let (running, mut client) = Running::start(&database.store()).await;
    for number in 0..20 {
        client.add("ada", &format!("product {number}"), 1, false).await.expect("added");
    }
    let backups = tempfile::tempdir().expect("a folder");
    let folder = format!("{}/monday/", backups.path().display());
    let backup = command(&database.store(), &["backup", &folder]).spawn().expect("it starts");
    let mut meanwhile = 0;
    let backup = tokio::task::spawn_blocking(move || backup.wait_with_output());
    while !backup.is_finished() {
        client.add("bob", &format!("product {meanwhile}"), 1, false).await.expect("added");
        meanwhile += 1;
    }
    let output = backup.await.expect("no panic").expect("an output");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("monday/store.jsonl") && text(&output.stdout).contains("sound: "));
    assert!(output.stderr.is_empty(), "no bar where there is no terminal: {}", text(&output.stderr));

    let store = other.store();
    assert!(printed(&store, &["restore", &folder]).contains(" events"));
    assert!(printed(&store, &["check"]).starts_with("nothing is wrong"));
    assert!(words(&printed(&store, &["info"])).contains(", generation 2 "));
    assert!(printed(&store, &["adopt"]).contains("as generation 2"), "nothing is left to adopt");
    let port = free_port();
    let _sidecar = Sidecar::start(&store, port, running.function);
    let mut served = CartClient::new(port);
    served.reconnect().await;
    assert_eq!(served.until_answered("ada", false).await.len(), 20, "all that was acknowledged before");
    assert!(served.get("bob", false).await.expect("a cart").len() <= meanwhile);
    served.add("ada", "one more", 1, false).await.expect("added");
    let last = json_lines(&printed(&store, &["events", "shopping-cart|ada", "--from", "21", "--json"]));
    assert!(last[0]["offset"].as_str().expect("text").starts_with("2."), "behind all that was restored: {last:?}");
    assert!(printed(&store, &["check"]).starts_with("nothing is wrong"));

    let file = backups.path().join("monday/store.jsonl");
    let on_sqlite = store_of(&backups.path().join("sqlite"));
    printed(&on_sqlite, &["restore", file.to_str().expect("text")]);
    let copy = backups.path().join("tuesday.db");
    printed(&on_sqlite, &["backup", copy.to_str().expect("text")]);
    let again = Database::new().store();
    assert!(printed(&again, &["restore", copy.to_str().expect("text")]).starts_with("restored "));
    let exported = contents(&printed(&again, &["export"]));
    assert_eq!(exported, contents(&fs::read_to_string(file).expect("read")));
}

#[tokio::test]
async fn an_export_goes_from_sqlite_to_postgres_and_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let on_sqlite = store_of(&folder.path().join("first"));
    let (mut running, mut client) = Running::start(&on_sqlite).await;
    for number in 0..SNAPSHOT_EVERY + 5 {
        client.add("ada", &format!("product {number}"), 1, false).await.expect("added");
    }
    client.add("bob", "apple", 1, false).await.expect("added");
    running.sidecar.kill();
    let amount = format!("{} events, 1 snapshot", SNAPSHOT_EVERY + 6);
    assert!(printed(&on_sqlite, &["export", &path("first.jsonl")]).contains(&amount));

    let database = Database::new();
    assert!(printed(&database.store(), &["import", &path("first.jsonl")]).contains(&amount));
    assert!(printed(&database.store(), &["export", &path("second.jsonl")]).contains(&amount));
    let back = store_of(&folder.path().join("back"));
    printed(&back, &["import", &path("second.jsonl")]);
    let read = |name: &str| contents(&fs::read_to_string(path(name)).expect("read"));
    assert_eq!(read("second.jsonl"), read("first.jsonl"));
    assert_eq!(contents(&printed(&back, &["export"])), read("first.jsonl"));
    // From one server to another nothing is numbered anew: line by line it is the same.
    let other = Database::new();
    printed(&other.store(), &["import", &path("second.jsonl")]);
    let lines = |text: &str| {
        text.lines().skip(2).map(str::to_owned).take_while(|it| !it.starts_with("{\"end\"")).collect::<Vec<_>>()
    };
    let second = fs::read_to_string(path("second.jsonl")).expect("read");
    assert_eq!(lines(&printed(&other.store(), &["export"])), lines(&second));

    let state = words(&printed(&other.store(), &["state", "shopping-cart|ada"]));
    assert!(state.contains("snapshot #") && state.contains("5 events after it"), "{state}");
    let port = free_port();
    let _sidecar = Sidecar::start(&other.store(), port, running.function);
    let mut served = CartClient::new(port);
    served.reconnect().await;
    assert_eq!(served.until_answered("ada", false).await.len() as i64, SNAPSHOT_EVERY + 5);
}

/// On both kinds of store: of the snapshots of a cart the newest stay, as many as the setting says, and those are what a
/// later sidecar starts from.
#[tokio::test]
async fn old_snapshots_go() {
    let (folder, database) = (tempfile::tempdir().expect("a folder"), Database::new());
    let numbers = |store: &str| {
        let sql = "SELECT seq_nr FROM snapshot ORDER BY seq_nr";
        let printed = printed(store, &["sql", sql]);
        printed.lines().skip(1).map(|line| line.trim().parse().expect("a number")).collect::<Vec<i64>>()
    };
    for store in [store_of(folder.path()), database.store()] {
        let (mut running, mut client) = Running::start(&store).await;
        for number in 0..4 * SNAPSHOT_EVERY + 1 {
            client.add("ada", &format!("product {}", number % 7), 1, false).await.expect("added");
        }
        let newest = [3 * SNAPSHOT_EVERY, 4 * SNAPSHOT_EVERY];
        for _ in 0..500 {
            if numbers(&store) == newest {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(numbers(&store), newest, "{store}");
        running.sidecar.kill();

        // Another one, that is to keep one: what is there goes with the first that it saves.
        let port = free_port();
        let one = |command: &mut std::process::Command| {
            command.args(["--set", "eventsourced-entity.snapshots-kept=1"]);
        };
        let _sidecar = Sidecar::start_with(&store, port, running.function, one);
        let mut client = CartClient::new(port);
        client.reconnect().await;
        assert_eq!(client.until_answered("ada", false).await.values().sum::<i32>() as i64, 4 * SNAPSHOT_EVERY + 1);
        for _ in 0..SNAPSHOT_EVERY {
            client.add("ada", "apple", 1, false).await.expect("added");
        }
        for _ in 0..500 {
            if numbers(&store).len() == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(numbers(&store), [5 * SNAPSHOT_EVERY], "{store}");
        assert!(printed(&store, &["check"]).starts_with("nothing is wrong"), "{store}");
    }
}

/// What is damaged is named, the exit status says so, and there is no backup of it.
#[tokio::test]
async fn a_check_on_postgres_names_what_is_wrong() {
    let database = Database::new();
    let store = database.store();
    let (mut running, mut client) = Running::start(&store).await;
    for product in ["apple", "pear", "plum"] {
        client.add("ada", product, 2, false).await.expect("added");
    }
    client.add("bob", "apple", 2, false).await.expect("added");
    running.sidecar.kill();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    printed(&store, &["backup", &path("sound.jsonl")]);
    let cases = [
        ("DELETE FROM journal WHERE seq_nr = 3", "entity shopping-cart|ada: event 3 is missing\n"),
        ("DELETE FROM journal WHERE seq_nr = 2", "event shopping-cart|ada #3: event 2 is missing\n"),
        ("UPDATE journal SET epoch = 9 WHERE seq_nr = 3", "its last event has epoch 9, but only "),
        ("UPDATE journal SET payload = '' WHERE seq_nr = 3", "event shopping-cart|ada #3: checksum does not match\n"),
        ("DELETE FROM entity WHERE persistence_id LIKE '%bob'", "event shopping-cart|bob #1: its entity is missing\n"),
    ];
    let tables = "entity, owner, journal, sweep, snapshot, state, projection, parked";
    for (sql, says) in cases {
        database.sql(&format!("TRUNCATE {tables}"));
        // An import notes the highest number of each entity: so a lost tail shows.
        printed(&store, &["restore", &path("sound.jsonl")]);
        assert!(printed(&store, &["check"]).starts_with("nothing is wrong"));
        database.sql(sql);
        let output = run(&store, &["check"]);
        let lines = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{sql}: {lines}");
        assert!(lines.contains(says), "{sql}: {lines}");
        let found = json_lines(&text(&run(&store, &["check", "--json"]).stdout));
        assert_eq!(found.last().expect("a summary")["findings"], found.len() as u64 - 1);
    }
    let (status, error) = refused(&store, &["backup", &path("copy.jsonl")]);
    assert!(status == 1 && error.contains("not sound: "), "{status} {error}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "only the sound one");
}

#[test]
fn refusals_on_postgres_name_the_fix_and_leave_nothing() {
    let (database, empty) = (Database::new(), Database::new());
    let (store, nowhere) = (database.store(), empty.store());
    import(&store, &archive(3, 2));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let sound = archive(2, 2);
    fs::write(path("cut.jsonl"), &sound[..sound.len() - 30]).expect("written");
    let unreachable = format!("postgres://app:hunter2@127.0.0.1:{}/shop", free_port());
    let cases: [(&str, &[&str], i32, &str); 11] = [
        (&nowhere, &["restore", &path("cut.jsonl"), "--no-check"], 2, "--no-check is for a SQLite database"),
        (&nowhere, &["info"], 4, "there is no store in schema cloudstate"),
        (&nowhere, &["adopt"], 4, "there is no store to adopt"),
        (&unreachable, &["info"], 4, "no PostgreSQL server answers at app@127.0.0.1"),
        (&store, &["events", "big|17"], 1, "there is no entity big|17"),
        (&store, &["events", "big|1", "--at", "7"], 1, "it has events 1 to 2"),
        (&store, &["sql", "DELETE FROM journal"], 1, "only statements that read"),
        (&store, &["sql", "SELECT 1 FROM entity FOR UPDATE"], 1, "only statements that read"),
        (&store, &["import", &path("cut.jsonl")], 4, "is not empty: it holds rows in table entity"),
        (&nowhere, &["import", &path("cut.jsonl")], 1, "nothing was imported"),
        (&nowhere, &["restore", &path("nothing")], 4, "there is no store in"),
    ];
    for (store, words, status, says) in cases {
        let (found, error) = refused(store, words);
        assert_eq!(found, status, "{words:?}: {error}");
        assert!(error.contains(says) && error.starts_with("error: "), "{words:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    assert_eq!(empty.sql("SELECT count(*) FROM journal"), "0", "what was cut off is not there");
    assert_eq!(database.sql("SELECT count(*) FROM journal"), "6");
}

/// A store that another server wrote can be looked into; sidecars take it when it was adopted.
#[test]
fn a_store_of_another_server_is_adopted_once() {
    let database = Database::new();
    let store = database.store();
    import(&store, &archive(3, 2));
    database.sql("UPDATE meta SET value = '17' WHERE key = 'system_identifier'");
    assert!(printed(&store, &["check"]).starts_with("nothing is wrong"));
    for _ in 0..2 {
        assert!(printed(&store, &["adopt"]).contains("as generation 2"));
    }
    assert!(words(&printed(&store, &["info"])).contains(", generation 2 "));
}

/// What a command needs does not grow with the store: ten times as much takes as little.
#[test]
#[ignore = "a minute in a debug build: part of the long command"]
fn a_big_store_on_postgres_needs_no_big_process() {
    const LIMIT_KIB: u64 = 80 << 10;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    fs::write(path("big.jsonl"), archive(3_000, 100)).expect("written");
    let (store, restored) = (Database::new().store(), Database::new().store());
    let commands: [(&str, &[&str]); 9] = [
        (&store, &["import", &path("big.jsonl")]),
        (&store, &["info"]),
        (&store, &["entities"]),
        (&store, &["events", "big|17"]),
        (&store, &["check"]),
        (&store, &["backup", &path("copy.jsonl")]),
        (&restored, &["restore", &path("copy.jsonl")]),
        (&restored, &["export", &path("again.jsonl")]),
        (&restored, &["sql", "SELECT * FROM journal ORDER BY payload"]),
    ];
    for (store, words) in commands {
        let peak = peak_of(store, words, &folder.path().join("output"));
        assert!(peak < LIMIT_KIB, "{words:?} took {peak} KiB");
    }
    let lines = |name: &str| fs::read_to_string(Path::new(&path(name))).expect("read").lines().count();
    assert_eq!(lines("again.jsonl"), lines("big.jsonl"));
}
