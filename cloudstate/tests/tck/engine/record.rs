//! What was seen of one call: for each direction its messages in order, then how it ended.

use std::fmt::{self, Debug, Formatter};
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use tokio::sync::mpsc;
use tonic::Status;

use super::EXPECTATION;

/// Records per direction that a test may leave unread; more are an error of the test.
const UNREAD_MAX: usize = 1024;

/// One thing seen in one direction.
enum Event<T> {
    Message(T),
    /// The sender ended its side without error.
    Completed,
    /// The sender broke off: a reset, a lost connection or a status other than OK.
    Failed(Status),
}

/// The reading end of one direction.
#[derive(Debug)]
pub struct Direction<T> {
    name: &'static str,
    events: mpsc::Receiver<Event<T>>,
}

/// The writing end of one direction.
#[derive(Debug)]
pub struct Recorder<T>(mpsc::Sender<Event<T>>);

/// Both directions of a call as a test reads them.
#[derive(Debug)]
pub struct Recorded<I, O> {
    pub input: Direction<I>,
    pub output: Direction<O>,
}

/// Both directions of a call as the interceptor writes them.
#[derive(Debug)]
pub struct Recorders<I, O> {
    pub input: Recorder<I>,
    pub output: Recorder<O>,
}

/// A fresh record of a call.
pub fn recorded<I, O>() -> (Recorders<I, O>, Recorded<I, O>) {
    let (input_recorder, input) = direction("towards the user function");
    let (output_recorder, output) = direction("from the user function");
    (Recorders { input: input_recorder, output: output_recorder }, Recorded { input, output })
}

/// A fresh record of one direction.
pub fn direction<T>(name: &'static str) -> (Recorder<T>, Direction<T>) {
    let (sender, events) = mpsc::channel(UNREAD_MAX);
    (Recorder(sender), Direction { name, events })
}

impl<T> Recorder<T> {
    pub fn message(&self, message: T) {
        self.put(Event::Message(message));
    }

    pub fn completed(&self) {
        self.put(Event::Completed);
    }

    pub fn failed(&self, status: Status) {
        self.put(Event::Failed(status));
    }

    fn put(&self, event: Event<T>) {
        // Nobody reads a call that its test is done with; and a test that misses a record because of a full queue
        // fails when it gets there, since the messages no longer match.
        let _ = self.0.try_send(event);
    }
}

impl<T: Debug + PartialEq> Direction<T> {
    /// The next record is exactly `expected`, within the suite's time limit.
    pub async fn expect(&mut self, expected: T) -> Result<()> {
        let found = self.message().await.map_err(|error| anyhow!("{error}; expected {expected:?}"))?;
        self.same(&found, &expected)
    }

    /// As [`expect`](Self::expect), for what must have been seen already.
    pub fn expect_now(&mut self, expected: T) -> Result<()> {
        match self.events.try_recv() {
            Ok(Event::Message(found)) => self.same(&found, &expected),
            other => bail!("{}: {other:?} so far; expected {expected:?}", self.name),
        }
    }

    fn same(&self, found: &T, expected: &T) -> Result<()> {
        ensure!(found == expected, "{}:\n   expected {expected:?}\n        got {found:?}", self.name);
        Ok(())
    }
}

impl<T: Debug> Direction<T> {
    /// The next record is a message.
    pub async fn message(&mut self) -> Result<T> {
        match self.next(EXPECTATION).await? {
            Event::Message(message) => Ok(message),
            other => bail!("{}: {other:?} instead of a message", self.name),
        }
    }

    /// The next record is an end without error, `within` the given time.
    pub async fn completed(&mut self, within: Duration) -> Result<()> {
        match self.next(within).await? {
            Event::Completed => Ok(()),
            other => bail!("{}: {other:?} instead of the end of the stream", self.name),
        }
    }

    fn unread(&mut self) -> Vec<Event<T>> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    async fn next(&mut self, within: Duration) -> Result<Event<T>> {
        match tokio::time::timeout(within, self.events.recv()).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => bail!("{}: the call was dropped", self.name),
            Err(_) => bail!("{}: nothing within {within:?}", self.name),
        }
    }
}

impl<I: Debug, O: Debug> Recorded<I, O> {
    /// "Closed" as the suite means it: the sidecar half-closed, then the user function completed, both without error.
    pub async fn closed(&mut self, within: Duration) -> Result<()> {
        self.input.completed(within).await?;
        self.output.completed(within).await
    }

    /// For a failure: what was seen so far.
    pub fn describe(mut self) -> String {
        format!("in {:?}, out {:?}", self.input.unread(), self.output.unread())
    }
}

impl<T: Debug> Debug for Event<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => message.fmt(f),
            Self::Completed => f.write_str("Completed"),
            // A status prints its headers too, which say nothing here.
            Self::Failed(status) => write!(f, "Failed({:?}, {:?})", status.code(), status.message()),
        }
    }
}
