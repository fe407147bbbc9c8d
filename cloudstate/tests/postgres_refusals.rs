//! What whoever runs PostgreSQL may get wrong, as the program says it: what to do, status 4, and nothing is served.

use std::process::Command;
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use persistence::testkit::{PostgresServer, PostgresServerOptions};

use crate::process::{cloudstate, free_port};

/// Longest wait for a program that is refused to end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

const ACCESS: &str = "
local all all trust
host all cloudstate 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
";

/// A server with roles that may do little.
static STRICT: LazyLock<PostgresServer> = LazyLock::new(|| {
    let server = PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    for role in ["plain", "limited CONNECTION LIMIT 3"] {
        server.sql("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD 'hunter2'")).expect("a role");
    }
    server.set_access(ACCESS).expect("access");
    server
});

/// Address of `database` for a role with a password.
fn url(role: &str, database: &str) -> String {
    format!("postgres://{role}:hunter2@127.0.0.1:{}/{database}", STRICT.port())
}

/// Exit status and both outputs.
fn ended(mut command: Command) -> (Option<i32>, String) {
    let (done, output) = mpsc::channel();
    thread::spawn(move || done.send(command.output()));
    let output = output.recv_timeout(ENDS_WITHIN).expect("it ends by itself").expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// The sidecar on this store ends with status 4, and says all of `says`, and no password.
fn refused(store: &str, says: &[&str]) {
    let mut command = cloudstate();
    command.args(["run", "--store", store]).env("HTTP_PORT", free_port().to_string());
    let (status, said) = ended(command);
    assert_eq!(status, Some(4), "{said}");
    for part in says.iter().chain(&["127.0.0.1", "--store or CLOUDSTATE_STORE"]) {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
    assert!(!said.contains("hunter2") && !said.contains("panicked"), "{said}");
}

/// Opens the store, which makes it where there is none, and closes it.
fn open(store: &str, settings: &[&str]) -> (Option<i32>, String) {
    let mut command = cloudstate();
    command.args(["events", "parked", "--store", store]).args(settings);
    ended(command)
}

fn opened(store: &str) {
    assert_eq!(open(store, &[]), (Some(0), "no event is parked\n".to_owned()));
}

#[test]
fn rights_that_are_missing_are_named_with_the_statement_that_gives_them() {
    let database = STRICT.create_database().expect("a database");
    let plain = url("plain", &database);
    let sql = |sql: &str| STRICT.sql(&database, sql).expect(sql);
    refused(&plain, &["run as the owner of the database", "GRANT CONNECT, CREATE ON DATABASE"]);
    opened(&STRICT.url(&database));
    refused(&plain, &["GRANT USAGE, CREATE ON SCHEMA \"cloudstate\""]);
    sql("GRANT USAGE, CREATE ON SCHEMA cloudstate TO plain");
    refused(&plain, &["GRANT ALL ON ALL TABLES IN SCHEMA \"cloudstate\""]);
    // What it says is enough.
    sql(
        "GRANT ALL ON ALL TABLES IN SCHEMA cloudstate TO plain; GRANT ALL ON ALL SEQUENCES IN SCHEMA cloudstate TO plain",
    );
    opened(&plain);
}

#[test]
fn a_database_that_is_read_only_is_said_to_be() {
    let database = STRICT.create_database().expect("a database");
    let store = STRICT.url(&database);
    opened(&store);
    let set = |on: &str| format!("ALTER DATABASE {database} SET default_transaction_read_only = {on}");
    STRICT.sql("postgres", &set("on")).expect("set");
    refused(&store, &["takes no writes", "default_transaction_read_only is on", "name the primary"]);
    STRICT.sql("postgres", &set("off")).expect("set");
    opened(&store);
}

#[test]
fn too_few_connections_are_said_with_how_many_it_takes() {
    let database = STRICT.create_database().expect("a database");
    STRICT.sql("postgres", &format!("GRANT CREATE ON DATABASE {database} TO limited")).expect("granted");
    let limited = url("limited", &database);
    refused(&limited, &["too few connections left for the 6", "CONNECTION LIMIT", "lower writers and readers"]);
    // Lowered as it says, once the server has seen that the program before has ended.
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'limited'";
    let asked_until = Instant::now() + ENDS_WITHIN;
    while STRICT.sql("postgres", connected).expect("a count").trim() != "0" {
        assert!(Instant::now() < asked_until, "its connections are still there");
        thread::sleep(Duration::from_millis(10));
    }
    let lowered = ["--set", "postgres.writers=1", "--set", "postgres.readers=1"];
    assert_eq!(open(&limited, &lowered), (Some(0), "no event is parked\n".to_owned()));
}

/// A store is moved by a dump: refused until somebody says that it may be taken over. Then the server it came from becomes
/// a replica: that takes no writes.
#[test]
fn a_restored_dump_and_a_replica_are_told_apart_from_a_store() {
    let source = PostgresServer::start(&PostgresServerOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let store = source.url(&source.create_database().expect("a database"));
    opened(&store);
    let dump = source.run("pg_dump", &["--no-owner", &store]).expect("a dump");
    let file = STRICT.add_file("dump.sql", &dump).expect("written");
    let copy = STRICT.url(&STRICT.create_database().expect("a database"));
    STRICT.run("psql", &["-q", "-X", "-f", file.to_str().expect("text"), &copy]).expect("restored");
    refused(&copy, &["written on another server", "nobody writes to the other one any more", "cloudstate store adopt"]);
    let mut adopt = cloudstate();
    adopt.args(["store", "adopt", "--store", &copy]);
    let (status, said) = ended(adopt);
    assert!(status == Some(0) && said.contains("as generation 2"), "{said}");
    opened(&copy);

    source.add_file("standby.signal", "").expect("written");
    source.restart().expect("as a replica");
    refused(&store, &["takes no writes", "it is a replica in recovery", "name the primary, or all hosts"]);
}
