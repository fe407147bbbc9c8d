//! The example programs of actors, each run as a process: what they print, and for the chat what its users see.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Where cargo puts examples. `cargo test -p examples` builds them together with the tests; with the name of a test or a
/// target it does not, so it is made sure that they are not older than their source.
pub(super) fn program(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in a folder below the profile's");
    let path = folder.join("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).with_extension("rs");
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let is_fresh = written(&path) >= written(&source);
    assert!(is_fresh, "{} is missing or old: `cargo build -p examples --examples`", path.display());
    Command::new(path)
}

/// Runs an example to its end and returns what it printed.
fn run(name: &str) -> String {
    let output = program(name).output().expect("an example starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}, {errors}", output.status);
    String::from_utf8(output.stdout).expect("examples print text")
}

#[test]
fn the_counter_counts() {
    assert_eq!(run("counter"), "1 + 2 + … + 100 = 5050\n");
}

#[test]
fn the_importer_begins_anew_after_a_bad_row_and_the_rows_behind_it_wait() {
    assert_eq!(run("supervised_import"), "a row was bad: 42 is lost with this life\nthe life after it counted 21\n");
}

#[test]
fn the_rate_limiter_grants_a_burst_then_by_the_clock_and_refuses_the_rest() {
    let printed = run("rate_limiter");
    let requests: Vec<_> = printed.lines().collect();
    assert_eq!(requests.len(), 8);
    for (number, request) in (1..).zip(requests) {
        let granted = request == format!("request {number}: granted");
        let refused = request.starts_with(&format!("request {number}: refused, too many requests"));
        assert!(if number <= 5 { granted } else { refused }, "{printed}");
    }
}

#[test]
fn a_fence_whose_painter_fell_is_painted_by_another() {
    let printed = run("work_pulling");
    assert!(printed.ends_with("12 fences are painted\n"), "{printed}");
    let fallen = printed.lines().find_map(|line| line.strip_prefix("huck falls off the ladder over "));
    // Whether huck gets to a second fence depends on who pulls when.
    if let Some(fence) = fallen {
        let painters: Vec<_> = printed.lines().filter(|line| line.ends_with(&format!("has painted {fence}"))).collect();
        assert_eq!(painters.len(), 1, "{printed}");
        assert!(!painters[0].starts_with("huck"), "{printed}");
    }
}

#[test]
fn five_philosophers_have_three_meals_each() {
    let printed = run("dining_philosophers");
    for seat in 0..5 {
        let goes = format!("philosopher {seat} has had 3 meals and goes\n");
        assert!(printed.contains(&goes), "{printed}");
    }
    assert!(printed.ends_with("15 meals were had\n"), "{printed}");
}

/// The chat in a process of its own, ended when dropped.
struct Chat {
    process: Child,
    says: BufReader<ChildStdout>,
    port: u16,
}

impl Chat {
    fn start() -> Self {
        let mut process = program("chat_over_tcp").arg("0").stdout(Stdio::piped()).spawn().expect("an example starts");
        let mut says = BufReader::new(process.stdout.take().expect("its output is piped"));
        let mut first = String::new();
        says.read_line(&mut first).expect("it says where it listens");
        let port = first.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
        Self { process, says, port: port.unwrap_or_else(|| panic!("no port in {first:?}")) }
    }

    fn enter(&self, name: &str) -> User {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the door is open");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket takes a limit");
        writeln!(stream, "{name}").expect("it listens");
        let mut user = User { lines: BufReader::new(stream) };
        assert!(user.hear().starts_with(&format!("* welcome {name}, ")));
        user
    }

    /// Asks it to end, as ctrl-c does, and returns what it printed and its exit status.
    fn end(mut self) -> (String, Option<i32>) {
        let killed = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        assert!(killed.expect("`kill` is there").success());
        let mut printed = String::new();
        self.says.read_to_string(&mut printed).expect("it prints text");
        (printed, self.process.wait().expect("it ends").code())
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.process.kill(); // nothing to kill when it has ended
        let _ = self.process.wait();
    }
}

struct User {
    lines: BufReader<TcpStream>,
}

impl User {
    fn say(&mut self, text: &str) {
        writeln!(self.lines.get_mut(), "{text}").expect("it listens");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("somebody says something");
        line.trim_end().to_owned()
    }
}

#[test]
fn a_chat_passes_on_what_is_said_in_order_and_who_leaves() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    let mut ben = chat.enter("ben");
    assert_eq!(ann.hear(), "* ben enters");

    ann.say("hello");
    ann.say("is it you?");
    assert_eq!([ben.hear(), ben.hear()], ["ann: hello", "ann: is it you?"]);

    // He leaves in the middle of it, and nothing of what he said is lost.
    (0..50).for_each(|number| ben.say(&number.to_string()));
    drop(ben);
    (0..50).for_each(|number| assert_eq!(ann.hear(), format!("ben: {number}")));
    assert_eq!(ann.hear(), "* ben leaves");
}

#[test]
fn who_does_not_read_holds_up_nobody_and_is_told_what_it_missed() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    let mut sleeper = chat.enter("sleeper"); // reads nothing for now
    assert_eq!(ann.hear(), "* sleeper enters");
    let mut ben = chat.enter("ben");
    assert_eq!(ann.hear(), "* ben enters");

    // Far more than sockets and a mailbox hold; ben reads along and misses nothing.
    let text = "x".repeat(4_000);
    let mut said = 0;
    for round in 0..50 {
        for _ in 0..10 {
            ann.say(&text);
            said += 1;
        }
        for _ in 0..10 {
            assert_eq!(ben.hear().len(), "ann: ".len() + text.len(), "in round {round}");
        }
    }

    // Once it reads again it gets what fitted, and hears how much did not.
    assert_eq!(sleeper.hear(), "* ben enters");
    let mut heard = 0;
    let missed = loop {
        assert!(heard < 250, "half of it waited somewhere");
        ann.say("still there?");
        said += 1;
        match sleeper.hear() {
            line if line.starts_with("ann: ") => heard += 1,
            line => break line,
        }
    };
    let missed = missed.strip_prefix("* you missed ").and_then(|rest| rest.strip_suffix(" lines"));
    let missed: i32 = missed.and_then(|number| number.parse().ok()).expect("a number of lines");
    assert!(missed > 0 && heard > 0 && missed + heard <= said, "{missed} missed and {heard} heard of {said}");
}

#[test]
fn a_line_that_is_too_long_ends_the_connection_and_no_other() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    let mut ben = chat.enter("ben");
    assert_eq!(ann.hear(), "* ben enters");
    ben.say(&"x".repeat(4_095));
    assert_eq!(ann.hear().len(), "ben: ".len() + 4_095);
    ben.say(&"x".repeat(4_096));
    assert_eq!(ben.hear(), "* a line is too long");
    assert_eq!(ann.hear(), "* ben leaves");
}

#[test]
fn a_chat_that_is_told_to_end_says_goodbye() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    let mut ben = chat.enter("ben");
    assert_eq!(ann.hear(), "* ben enters");
    ben.say("hello");
    assert_eq!(ann.hear(), "ben: hello");

    let port = chat.port;
    let (printed, status) = chat.end();
    assert_eq!((printed.as_str(), status), ("closed\n", Some(0)));
    for user in [&mut ann, &mut ben] {
        assert_eq!(user.hear(), "* goodbye");
        assert_eq!(user.hear(), "", "the connection is closed");
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody is let in any more");
}
