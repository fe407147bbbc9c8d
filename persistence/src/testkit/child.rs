//! [`ChildProcess`]: a process that says lines, ended with its handle.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
};
use tokio::sync::mpsc;

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
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
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
