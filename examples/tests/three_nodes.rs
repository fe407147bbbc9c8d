//! Three nodes as processes: who dies is missed, and what only one may do another one does.

use crate::programs::program;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No line may let wait for longer.
const PATIENCE: Duration = Duration::from_secs(120);

struct Nodes {
    process: Child,
    lines: Receiver<String>,
}

impl Nodes {
    fn start() -> Self {
        // Three free ones in a row, most likely: the first of them was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().min(65_000);
        let mut process = program("three_nodes")
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("an example starts");
        let out = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, lines }
    }

    fn say(&mut self, what: &str) {
        writeln!(self.process.stdin.as_mut().expect("piped"), "{what}").expect("the example reads");
    }

    /// The first line that `wanted` makes something of.
    fn until<T>(&self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let started = Instant::now();
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE.saturating_sub(started.elapsed()));
            let line = line.unwrap_or_else(|error| panic!("{what}: {error}; {seen:#?}"));
            if let Some(found) = wanted(&line) {
                return found;
            }
            seen.push(line);
        }
    }

    fn until_all_paint(&self, mut missing: Vec<u16>) {
        self.until("all paint", |line| {
            missing.retain(|number| !line.contains(&format!("node {number} has painted")));
            missing.is_empty().then_some(())
        });
    }

    fn foreman(&self) -> u16 {
        let on = |line: &str| line.split_once("the foreman works on node ").and_then(|(_, number)| number.parse().ok());
        self.until("a foreman", on)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // Its children end with their standard input.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_foreman_whose_node_is_killed_works_on_another_and_the_others_paint_on() {
    let mut nodes = Nodes::start();
    let first = nodes.foreman();
    nodes.until_all_paint(vec![1, 2, 3]);
    nodes.say(&format!("kill {first}"));
    let second = nodes.foreman();
    assert_ne!(second, first);
    nodes.until_all_paint((1..=3).filter(|number| *number != first).collect());
    nodes.say(&format!("start {first}"));
    nodes.until_all_paint(vec![first]);
    nodes.say("quit");
    assert!(nodes.process.wait().expect("it was started").success());
}
