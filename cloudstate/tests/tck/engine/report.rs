//! Runs the tests of a group one after the other and keeps the outcome of each by name.

use std::fmt::Write;
use std::future::Future;

use anyhow::Result;

/// The outcomes of one group.
#[derive(Debug)]
pub struct Report {
    group: &'static str,
    passed: usize,
    failures: Vec<String>,
}

impl Report {
    pub fn new(group: &'static str) -> Self {
        Self { group, passed: 0, failures: Vec::new() }
    }

    /// Runs one test. A failure does not keep the ones after it from running.
    pub async fn run(&mut self, name: &str, test: impl Future<Output = Result<()>>) {
        // Boxed, as the futures of long conversations are large.
        match Box::pin(test).await {
            Ok(()) => {
                self.passed += 1;
                eprintln!("{}: {name} ... ok", self.group);
            }
            Err(error) => {
                eprintln!("{}: {name} ... FAILED", self.group);
                self.failures.push(format!("{name}: {error:#}"));
            }
        }
    }

    /// Panics with all failures and `context`, for instance the end of the logs, unless `tests` have passed.
    #[track_caller]
    pub fn finish(self, tests: usize, context: impl FnOnce() -> String) {
        let run = self.passed + self.failures.len();
        if self.failures.is_empty() && run == tests {
            return;
        }
        let mut text = format!("{}: {} of {tests} tests passed, {run} run\n", self.group, self.passed);
        for failure in &self.failures {
            let _ = writeln!(text, "- {failure}");
        }
        panic!("{text}{}", context());
    }
}
