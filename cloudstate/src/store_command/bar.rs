//! [`Bar`]: how far a long task is, on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use actors::Clock;
use persistence::admin::Progress;

use super::show::number;

/// Between two pictures.
const PERIOD: Duration = Duration::from_millis(200);

/// Characters between the brackets.
const WIDTH: u64 = 30;

/// Draws a task's progress on standard error, if that is a terminal.
pub(super) struct Bar {
    progress: Progress,
    clock: Clock,
    shown: bool,
}

impl Bar {
    pub(super) fn new(progress: Progress, clock: Clock) -> Self {
        Self { progress, clock, shown: io::stderr().is_terminal() }
    }

    /// What the task has to be given.
    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Wall clock, ms since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Runs `task` and shows how far it is.
    pub(super) async fn during<T>(&self, task: impl Future<Output = T>) -> T {
        let mut task = std::pin::pin!(task);
        loop {
            tokio::select! {
                biased;
                done = &mut task => {
                    self.draw("");
                    return done;
                }
                () = self.clock.sleep(PERIOD), if self.shown => self.draw(&picture(&self.progress)),
            }
        }
    }

    fn draw(&self, line: &str) {
        if self.shown {
            // Only a courtesy.
            let _ = write!(io::stderr(), "\r\x1b[2K{line}");
        }
    }
}

fn picture(progress: &Progress) -> String {
    let ((done, total), stage) = (progress.get(), progress.stage());
    if total == 0 {
        return if stage.is_empty() { String::new() } else { format!("{stage} ...") };
    }
    let full = usize::try_from(done.saturating_mul(WIDTH) / total).unwrap_or_default();
    let (full, empty) = ("#".repeat(full), ".".repeat(WIDTH as usize - full));
    let percent = done.saturating_mul(100) / total;
    format!("{stage}  [{full}{empty}]  {percent} %  {} of {}", number(done), number(total))
}
