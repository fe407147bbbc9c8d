//! The user function as a child process: real processes, all started by these tests and gone at their end.

use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use actors::Clock;
use cloudstate::child::{ChildCommand, Line, Output, StartError, Stream, UserFunctionChild};
use cloudstate::config::{ChildConfig, ProxyConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> ChildCommand {
    ChildCommand { program: "sh".to_owned(), args: vec!["-c".to_owned(), script.to_owned()], env: Vec::new() }
}

fn quick() -> ChildConfig {
    let mut config = ProxyConfig::default().child;
    config.restart.min = Duration::from_millis(5);
    config.restart.max = Duration::from_millis(20);
    config
}

/// A supervised child, its lines, and the means to stop it.
struct Running {
    lines: Receiver<Line>,
    stop: CancellationToken,
    supervised: JoinHandle<()>,
}

impl Running {
    async fn start(command: ChildCommand, config: ChildConfig) -> Self {
        let (sender, lines) = channel();
        let output = Output::to(64, move |line| {
            let _ = sender.send(line);
        });
        let child = UserFunctionChild::start(command, config, Clock::tokio(), output).await.expect("sh is there");
        let stop = CancellationToken::new();
        let supervised = tokio::spawn(child.supervise(stop.clone()));
        Self { lines, stop, supervised }
    }

    async fn line(&mut self) -> Line {
        let lines = std::mem::replace(&mut self.lines, channel().1);
        let (lines, line) = tokio::task::spawn_blocking(move || {
            let line = lines.recv_timeout(PATIENCE).expect("one more line");
            (lines, line)
        })
        .await
        .expect("no panic");
        self.lines = lines;
        line
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.supervised).await.expect("stops in time").expect("no panic");
    }
}

fn out(text: &str) -> Line {
    Line { stream: Stream::Out, text: text.to_owned() }
}

/// Gone, or a zombie that nobody has collected.
fn is_dead(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

async fn dies(pid: &str) {
    let gone = async {
        while !is_dead(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("process {pid} is still alive"));
}

/// A child that dies is started again and again; what it prints comes through line by line, the unfinished last one too.
#[tokio::test]
async fn a_child_that_dies_is_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = shell("echo life >> $LIVES; wc -l < $LIVES; echo trouble >&2; printf unfinished; exit 3");
    command.env.push(("LIVES".to_owned(), folder.path().join("lives").display().to_string()));
    let mut running = Running::start(command, quick()).await;
    let mut lives = 0;
    let mut unfinished = 0;
    let mut trouble = 0;
    while lives < 3 || unfinished < 3 || trouble < 3 {
        let line = running.line().await;
        match (line.stream, line.text.trim()) {
            (Stream::Err, "trouble") => trouble += 1,
            (Stream::Out, "unfinished") => unfinished += 1,
            (Stream::Out, count) => {
                lives += 1;
                assert_eq!(count, lives.to_string());
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    running.stop().await;
}

/// Stopping ends the whole family: here the child waits for a grandchild that would sleep for ever.
#[tokio::test]
async fn stopping_ends_grandchildren_too() {
    let mut running = Running::start(shell("sleep 100000 & echo $!; wait"), quick()).await;
    let grandchild = running.line().await.text;
    assert!(!is_dead(&grandchild));
    running.stop().await;
    dies(&grandchild).await;
}

#[tokio::test]
async fn a_child_has_time_to_clean_up() {
    let script = "trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let mut running = Running::start(shell(script), quick()).await;
    assert_eq!(running.line().await, out("ready"));
    let Running { lines, stop, supervised } = running;
    stop.cancel();
    supervised.await.expect("no panic");
    // The shell may add on standard error that its sleep was ended too.
    let lines = tokio::task::spawn_blocking(move || lines.iter().collect::<Vec<_>>()).await.expect("no panic");
    assert!(lines.contains(&out("cleaned up")), "{lines:?}");
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed() {
    let mut config = quick();
    config.stop_timeout = Duration::from_millis(50);
    let mut running = Running::start(shell("trap '' TERM; echo $$; while :; do sleep 0.02; done"), config).await;
    let pid = running.line().await.text;
    running.stop().await;
    dies(&pid).await;
}

/// Dropping the supervisor, as a panic would, leaves nobody behind.
#[tokio::test]
async fn a_dropped_supervisor_takes_the_child_along() {
    let mut running = Running::start(shell("echo $$; exec sleep 100000"), quick()).await;
    let pid = running.line().await.text;
    running.supervised.abort();
    dies(&pid).await;
}

/// Whoever reads our output may be stuck: the child must not be. What did not fit is counted.
#[tokio::test]
async fn a_stuck_reader_costs_lines_but_never_holds_the_child_back() {
    const LINES: u64 = 50_000;
    let (open, gate) = channel::<()>();
    let (sender, lines) = channel();
    let output = Output::to(64, move |line| {
        // Blocks at the first line until the gate is gone.
        let _ = gate.recv();
        let _ = sender.send(line.text);
    });
    let script = format!("seq {LINES}; echo finished > $DONE; sleep 100000");
    let folder = tempfile::tempdir().expect("a folder");
    let done = folder.path().join("done");
    let mut command = shell(&script);
    command.env.push(("DONE".to_owned(), done.display().to_string()));
    let child = UserFunctionChild::start(command, quick(), Clock::tokio(), output).await.expect("sh is there");
    let stop = CancellationToken::new();
    let supervised = tokio::spawn(child.supervise(stop.clone()));

    let written = async {
        while !done.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the child is not held back");
    stop.cancel();
    supervised.await.expect("no panic");
    drop(open);

    let texts: Vec<String> = tokio::task::spawn_blocking(move || lines.iter().collect()).await.expect("no panic");
    let (mut passed, mut dropped) = (0, 0);
    for text in texts {
        match text.strip_prefix('(') {
            Some(note) => {
                dropped += note.split(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")
            }
            None => passed += 1,
        }
    }
    assert!(dropped > 0, "64 lines fit, {LINES} came");
    assert_eq!(passed + dropped, LINES);
}

#[tokio::test]
async fn a_command_that_cannot_be_started_says_why() {
    let start = async |program: &str| {
        let command = ChildCommand { program: program.to_owned(), args: Vec::new(), env: Vec::new() };
        let refused = UserFunctionChild::start(command, quick(), Clock::tokio(), Output::to(1, drop)).await;
        refused.err().expect("must be refused")
    };
    let error = start("cloudstate-no-such-command").await;
    assert!(matches!(error, StartError::NotFound { .. }));
    assert_eq!(
        error.to_string(),
        "cannot start `cloudstate-no-such-command`: no such command; check the words after `--` and PATH"
    );

    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    let error = start(&path).await;
    assert_eq!(error.to_string(), format!("cannot start `{path}`: it is not executable; try `chmod +x {path}`"));
}
