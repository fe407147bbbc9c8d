//! User function and proxy as processes that the suite starts itself.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::within;

/// Lines shown of what a process has written.
const LINES_SHOWN: usize = 60;

/// From the request to stop to the kill.
const STOPPING: Duration = Duration::from_secs(5);

/// A running process, everything it has started in turn, and a file with what they write; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with a shell; what it writes goes to `<name>.log` in `folder`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(name: &'static str, command: &str, env: &[(&str, String)], folder: &Path) -> io::Result<Self> {
        let output = folder.join(format!("{}.log", name.replace(' ', "-")));
        let file = File::create(&output)?;
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { name, child, output })
    }

    /// The file with what it writes.
    #[must_use]
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// The end of what it has written.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
        format!("--- {} ---\n{end}\n", self.name)
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to stop, as somebody at the terminal would, and kills it when it takes longer than five seconds.
    pub async fn stop(mut self) {
        // A proxy that is asked by SIGTERM may go on for a while, for clients that still come.
        self.signal(Signal::INT);
        // Whether it has ended or not, the rest of its group is killed when it is dropped.
        let _ = within(STOPPING, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        // Without an id it has ended and was waited for: its group's number may be somebody else's by now.
        let group = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = group {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
