//! The wallets with a read model, as a process that is killed: nothing is lost, and nothing is counted twice.

use super::programs::program;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

/// The server in a process of its own, killed when dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = program("wallet_server");
        let mut process = command.arg(folder).arg("0").stdout(Stdio::piped()).spawn().expect("an example starts");
        let mut first = String::new();
        let says = process.stdout.take().expect("its output is piped");
        BufReader::new(says).read_line(&mut first).expect("it says where it listens");
        let port = first.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
        Self { process, port: port.unwrap_or_else(|| panic!("no port in {first:?}")) }
    }

    /// What `curl` would print, unless the server is gone before it has answered.
    fn curl(&self, method: &str, path: &str) -> Option<(u16, String)> {
        self.curl_with("", method, path)
    }

    /// The same, with more lines of header.
    fn curl_with(&self, header: &str, method: &str, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket takes a limit");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n{header}\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    fn deposit(&self, wallet: &str, cents: u64) -> Option<Value> {
        let (status, body) = self.curl("POST", &format!("/wallets/{wallet}/deposit/{cents}"))?;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).ok()
    }

    fn richest(&self, after: &str) -> Value {
        let (status, body) = self.curl("GET", &format!("/richest?after={after}")).expect("an answer");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL: it has no chance to tidy up.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn who_has_written_sees_it_and_what_is_not_there_is_not_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    for (wallet, cents) in [("ada", 500), ("bob", 700)] {
        let changed = server.deposit(wallet, cents).expect("an answer");
        assert_eq!((&changed["balance"], &changed["number"]), (&cents.into(), &1.into()));
    }
    let (status, body) = server.curl("POST", "/wallets/bob/withdraw/300").expect("an answer");
    assert_eq!((status, &*body), (200, r#"{"balance":400,"number":2}"#));
    let rows = server.richest("bob:2");
    assert_eq!(rows[0], serde_json::json!({"wallet": "ada", "cents": 500, "changes": 1}));
    assert_eq!(rows[1], serde_json::json!({"wallet": "bob", "cents": 400, "changes": 2}));
    assert_eq!(server.curl("POST", "/wallets/bob/withdraw/401").expect("an answer").0, 409);
    assert_eq!(server.curl("GET", "/richest?after=bob").expect("an answer").0, 400);
}

/// What the read model could not hold is not stored, so that it goes on.
#[test]
fn an_amount_that_the_read_model_cannot_hold_is_refused() {
    const MOST: u64 = i64::MAX as u64;
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    let refused = |path: &str, says: &str| {
        let (status, body) = server.curl("POST", path).expect("an answer");
        assert!(status == 400 && body.contains(says), "{path}: {status} {body}");
    };
    let most = MOST.to_string();
    for cents in [u64::MAX.to_string(), (MOST + 1).to_string(), format!("{}0", u64::MAX), "-1".to_owned()] {
        refused(&format!("/wallets/ada/deposit/{cents}"), &most);
    }
    assert_eq!(server.deposit("ada", MOST).expect("an answer")["balance"], MOST);
    refused("/wallets/ada/deposit/1", "deposit at most 0\n");
    assert_eq!(server.curl("POST", "/wallets/ada/withdraw/5").expect("an answer").0, 200);
    refused("/wallets/ada/deposit/6", "deposit at most 5\n");
    assert_eq!(server.deposit("ada", 5).expect("an answer")["number"], 3, "nothing refused was stored");
    server.deposit("bob", 1).expect("an answer");
    let rows = server.richest("bob:1");
    assert_eq!(rows[0], serde_json::json!({"wallet": "ada", "cents": MOST, "changes": 3}));
    assert_eq!(rows[1], serde_json::json!({"wallet": "bob", "cents": 1, "changes": 1}));
}

/// A query changes nothing: its refusal says where the read model is, and nothing about what was stored.
#[test]
fn a_query_that_waits_in_vain_says_that_the_read_model_is_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path());
    server.deposit("ada", 1).expect("an answer");
    let (status, body) = server.curl("GET", "/richest?after=ada:99").expect("an answer");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("has not seen ada:99") && body.contains("ask again") && !body.contains("stored"), "{body}");
}

/// Whoever got no answer sends the command again, with the same key.
#[test]
fn a_command_sent_again_is_carried_out_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(folder.path());
    let send = |server: &Server, key: &str, path: &str| {
        server.curl_with(&format!("idempotency-key: {key}\r\n"), "POST", path).expect("an answer")
    };
    let first = send(&server, "k1", "/wallets/ada/deposit/500");
    assert_eq!(first, (200, r#"{"balance":500,"number":1}"#.to_owned()));
    assert_eq!(send(&server, "k2", "/wallets/ada/withdraw/20").0, 200);
    assert_eq!(send(&server, "k1", "/wallets/ada/deposit/500"), first);
    // Through SIGKILL too: the answer was stored with the event.
    drop(server);
    server = Server::start(folder.path());
    assert_eq!(send(&server, "k1", "/wallets/ada/deposit/500"), first);
    assert_eq!(send(&server, "k1", "/wallets/bob/deposit/7").0, 200, "a key is good for one command of one wallet");
    for other in ["/wallets/ada/deposit/501", "/wallets/ada/withdraw/500"] {
        let (status, body) = send(&server, "k1", other);
        assert!(status == 422 && body.contains("another command"), "{status} {body}");
    }
    for bad in ["", &"x".repeat(257)] {
        let (status, body) = send(&server, bad, "/wallets/ada/deposit/1");
        assert!(status == 400 && body.contains("1 to 256 bytes"), "{status} {body}");
    }
    assert_eq!(server.deposit("ada", 1).expect("an answer"), serde_json::json!({"balance": 481, "number": 3}));
    assert_eq!(server.richest("ada:3")[0], serde_json::json!({"wallet": "ada", "cents": 481, "changes": 3}));
}

/// Killed while deposits come in, again and again: the journal has every deposit that was answered, and the table says
/// what the journal says.
#[test]
fn killed_again_and_again_it_loses_nothing_and_counts_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut answered = 0;
    let mut unanswered = 0;
    for round in 1..=6 {
        let mut server = Server::start(folder.path());
        for _ in 0..round * 7 {
            assert!(server.deposit("ada", 1).is_some());
            answered += 1;
        }
        let under_way = std::thread::scope(|scope| {
            let more = scope.spawn(|| (0..).map_while(|_| server_at(server.port)).count());
            std::thread::sleep(Duration::from_millis(round * 3));
            let _ = kill(&server.process);
            more.join().expect("no panic")
        });
        let _ = server.process.wait();
        answered += under_way as u64;
        unanswered += 1; // the one that was under way
    }
    let server = Server::start(folder.path());
    let last = server.deposit("ada", 1).expect("an answer");
    answered += 1;
    let (balance, number) = (last["balance"].as_u64().expect("a number"), last["number"].as_u64().expect("a number"));
    assert!((answered..=answered + unanswered).contains(&balance), "{balance} after {answered} answers");
    assert_eq!(balance, number, "one cent each");
    let rows = server.richest(&format!("ada:{number}"));
    assert_eq!(rows, serde_json::json!([{"wallet": "ada", "cents": balance, "changes": number}]));
}

/// One more deposit, if the server is there to answer.
fn server_at(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request =
        "POST /wallets/ada/deposit/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(())
}

/// SIGKILL by process id, for a child that is lent out.
fn kill(process: &Child) -> std::io::Result<std::process::ExitStatus> {
    std::process::Command::new("kill").args(["-KILL", &process.id().to_string()]).status()
}
