//! [`ChildProcess`]: a process that says lines, ended with its handle.

use actors::Clock;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use tokio::sync::mpsc;

/// How long it may say nothing. It has a few ms of work between two lines; the rest is for a machine that is busy.
const SILENCE_MAX: Duration = Duration::from_secs(120);

pub(super) struct ChildProcess {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl ChildProcess {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (sender, lines) = mpsc::channel(1_024);
        let out = child.stdout.take().expect("asked for above");
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line; `None` once it has ended.
    ///
    /// # Errors
    /// With what happened when it lives and says nothing for too long.
    pub(super) async fn line(&mut self) -> Result<Option<String>, String> {
        self.line_within(SILENCE_MAX).await
    }

    async fn line_within(&mut self, limit: Duration) -> Result<Option<String>, String> {
        let line = Clock::tokio().timeout(limit, self.lines.recv()).await;
        line.map_err(|_| format!("process {} lives, but has said nothing for {limit:?}", self.child.id()))
    }

    /// A line that is there already.
    pub(super) fn line_now(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Tells it something.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        let input = self.child.stdin.as_mut().expect("asked for at the start");
        writeln!(input, "{line}").and_then(|()| input.flush())
    }

    /// Stops it where it stands, every thread of it; back once that has happened.
    pub(super) fn stop(&self) -> io::Result<()> {
        kill_process(self.pid(), Signal::STOP)?;
        waitpid(Some(self.pid()), WaitOptions::UNTRACED)?;
        Ok(())
    }

    /// Lets it go on as if nothing had happened.
    pub(super) fn go_on(&self) -> io::Result<()> {
        Ok(kill_process(self.pid(), Signal::CONT)?)
    }

    /// Ends it by `kill -9`; what it said before can still be read.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill(); // it may have ended already
        let _ = self.child.wait();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> ChildProcess {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        ChildProcess::start(command).unwrap()
    }

    #[tokio::test]
    async fn silence_ends_with_a_word_about_it() {
        let mut silent = shell("echo ready; read -r line");
        assert_eq!(silent.line().await, Ok(Some("ready".to_owned())));
        let error = silent.line_within(Duration::from_millis(1)).await.unwrap_err();
        assert!(error.contains("lives, but has said nothing for 1ms"), "{error}");
        silent.say("go on").unwrap();
        assert_eq!(silent.line().await, Ok(None), "it has ended");
    }
}
