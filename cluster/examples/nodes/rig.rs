//! [`Rig`]: nodes in a network of their own, and all that they said.

use crate::{judge::Judge, line, net::Net};
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

/// What one process said.
struct Said {
    number: usize,
    life: usize,
    /// None: it has ended.
    text: Option<String>,
}

/// A process that runs.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    life: usize,
    stopped: bool,
}

/// See the module's documentation.
pub(crate) struct Rig {
    pub(crate) net: Net,
    pub(crate) judge: Judge,
    client: Option<usize>,
    folder: PathBuf,
    all: File,
    processes: Vec<Option<Process>>,
    lives: usize,
    says: Sender<Said>,
    said: Receiver<Said>,
}

impl Rig {
    /// The nodes of that network, none of which runs yet, that write their logs to `folder`. One may be a client.
    pub(crate) fn new(net: Net, client: Option<usize>, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let all = File::create(folder.join("all")).context("cannot write there")?;
        let (says, said) = channel();
        let processes = (0..net.nodes()).map(|_| None).collect();
        let folder = folder.to_owned();
        Ok(Self { net, judge: Judge::default(), client, folder, all, processes, lives: 0, says, said })
    }

    pub(crate) fn nodes(&self) -> usize {
        self.processes.len()
    }

    /// Starts node `number`, which must not run. Its host has power from then on.
    pub(crate) fn start(&mut self, number: usize) -> anyhow::Result<()> {
        self.net.power_on(number)?;
        let what = if self.client == Some(number) { "client" } else { "node" };
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join(format!("log-{number}")))?;
        let mut command = self.net.command(number, std::env::current_exe()?);
        let command = command.args([what, &number.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(log).spawn().context("cannot start a node")?;
        self.lives += 1;
        let (life, says, output) = (self.lives, self.says.clone(), child.stdout.take());
        std::thread::spawn(move || {
            for text in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok) {
                let _ = says.send(Said { number, life, text: Some(text) });
            }
            let _ = says.send(Said { number, life, text: None });
        });
        let input = child.stdin.take();
        self.processes[number - 1] = Some(Process { child, input, life, stopped: false });
        self.judge.started(number, life);
        self.note(&format!("node {number} is started, life {life}"));
        Ok(())
    }

    /// Those that do not run.
    pub(crate) fn ended(&self) -> Vec<usize> {
        (1..=self.processes.len()).filter(|number| self.processes[number - 1].is_none()).collect()
    }

    /// Has it leave in good order.
    pub(crate) fn leave(&mut self, number: usize) {
        self.note(&format!("node {number} is to leave"));
        if let Some(process) = &mut self.processes[number - 1] {
            process.input = None;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.note(&format!("node {number} is killed"));
        if let Some(mut process) = self.processes[number - 1].take() {
            process.child.kill()?;
            process.child.wait()?;
            self.judge.killed(process.life);
        }
        Ok(())
    }

    /// Takes the power from its host: nobody is told of its end.
    pub(crate) fn power_off(&mut self, number: usize) -> anyhow::Result<()> {
        self.net.power_off(number);
        self.kill(number)
    }

    /// Stops it where it is, without an end, or has it go on.
    pub(crate) fn suspend(&mut self, number: usize, stopped: bool) -> anyhow::Result<()> {
        let Some(process) = self.processes[number - 1].as_mut().filter(|process| process.stopped != stopped) else {
            return Ok(());
        };
        let pid = i32::try_from(process.child.id()).ok().and_then(Pid::from_raw).context("it has no number")?;
        // Told before it can say anything.
        self.judge.suspended(process.life, stopped);
        kill_process(pid, if stopped { Signal::STOP } else { Signal::CONT })?;
        process.stopped = stopped;
        self.note(&format!("node {number} {}", if stopped { "is suspended" } else { "goes on" }));
        Ok(())
    }

    /// Has all that are suspended go on.
    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        (1..=self.processes.len()).try_for_each(|number| self.suspend(number, false))
    }

    /// Listens for so long.
    pub(crate) fn listen(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = line::now() + time;
        loop {
            let rest = until.saturating_sub(line::now());
            match self.said.recv_timeout(rest) {
                Ok(said) => self.hear(said)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn hear(&mut self, said: Said) -> anyhow::Result<()> {
        let Said { number, life, text } = said;
        let Some(text) = text else {
            self.note(&format!("node {number}, life {life}, has ended"));
            let process = self.processes[number - 1].take_if(|process| process.life == life);
            if let Some(mut process) = process {
                let status = process.child.wait()?;
                if !status.success() {
                    bail!("node {number}, life {life}, failed: {status}; see log-{number}");
                }
                self.judge.ended(life);
            }
            return Ok(());
        };
        writeln!(self.all, "{number}/{life} {text}")?;
        let Some((at, line)) = line::parse(&text) else { bail!("node {number} said what nobody understands: {text}") };
        self.judge.hear(number, life, at, &line)
    }

    /// Writes down what was done, among what was said.
    pub(crate) fn note(&mut self, what: &str) {
        let _ = writeln!(self.all, "- {} {what}", line::now().as_nanos());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().filter_map(Option::as_mut) {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}
