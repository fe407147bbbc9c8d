//! What was seen of one call: for each direction its messages in order, then how it ended.

use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use tokio::sync::mpsc;
use tonic::Status;

use super::client::failure;
use super::{Compared, EXPECTATION, shown, within};

/// Records per direction that a test may leave unread; more are an error of the test.
const UNREAD_MAX: usize = 1024;

/// One thing seen in one direction.
#[derive(Debug)]
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
pub(super) struct Recorder<T>(mpsc::Sender<Event<T>>);

/// Both directions of a call as a test reads them.
#[derive(Debug)]
pub struct Recorded<I, O> {
    /// Towards the user function.
    pub input: Direction<I>,
    /// From the user function.
    pub output: Direction<O>,
}

/// Both directions of a call as the interceptor writes them.
#[derive(Debug)]
pub(super) struct Recorders<I, O> {
    pub(super) input: Recorder<I>,
    pub(super) output: Recorder<O>,
}

/// A fresh record of a call.
pub(super) fn recorded<I, O>() -> (Recorders<I, O>, Recorded<I, O>) {
    let (input_recorder, input) = direction("towards the user function");
    let (output_recorder, output) = direction("from the user function");
    (Recorders { input: input_recorder, output: output_recorder }, Recorded { input, output })
}

/// A fresh record of one direction.
pub(super) fn direction<T>(name: &'static str) -> (Recorder<T>, Direction<T>) {
    let (sender, events) = mpsc::channel(UNREAD_MAX);
    (Recorder(sender), Direction { name, events })
}

impl<T> Recorder<T> {
    pub(super) fn message(&self, message: T) {
        self.put(Event::Message(message));
    }

    pub(super) fn completed(&self) {
        self.put(Event::Completed);
    }

    pub(super) fn failed(&self, status: Status) {
        self.put(Event::Failed(status));
    }

    /// Ends when nobody reads this any more.
    pub(super) async fn unread(&self) {
        self.0.closed().await;
    }

    fn put(&self, event: Event<T>) {
        // Nobody reads a call that its test is done with; and a test that misses a record because of a full queue
        // fails when it gets there, since the messages no longer match.
        let _ = self.0.try_send(event);
    }
}

impl<T: Compared> Direction<T> {
    /// The next record is `expected`, within the suite's time limit.
    ///
    /// # Errors
    /// Both messages, when they differ; what came instead, when no message did.
    pub async fn expect(&mut self, expected: T) -> Result<()> {
        match self.next(EXPECTATION).await {
            Ok(Event::Message(found)) => self.same(found, expected),
            Ok(other) => Err(self.differs(&shown(&expected), &other.shown())),
            Err(error) => bail!("{}:\n  expected {}\n  seen     {error}", self.name, shown(&expected)),
        }
    }

    /// As [`expect`](Self::expect), for what must have been seen already.
    ///
    /// # Errors
    /// As there.
    pub fn expect_now(&mut self, expected: T) -> Result<()> {
        match self.events.try_recv() {
            Ok(Event::Message(found)) => self.same(found, expected),
            Ok(other) => Err(self.differs(&shown(&expected), &other.shown())),
            Err(_) => Err(self.differs(&shown(&expected), "nothing so far")),
        }
    }

    /// Nothing is seen for `time`.
    ///
    /// # Errors
    /// What was seen.
    pub async fn nothing_for(&mut self, time: Duration) -> Result<()> {
        match within(time, self.events.recv()).await {
            Some(Some(event)) => Err(self.differs("nothing", &event.shown())),
            Some(None) => bail!("{}: the call was dropped", self.name),
            None => Ok(()),
        }
    }

    /// The next record is a message.
    ///
    /// # Errors
    /// What came instead.
    pub async fn message(&mut self) -> Result<T> {
        match self.next(EXPECTATION).await {
            Ok(Event::Message(message)) => Ok(message),
            Ok(other) => Err(self.differs("a message", &other.shown())),
            Err(error) => bail!("{}:\n  expected a message\n  seen     {error}", self.name),
        }
    }

    /// The next record is an end without error, `limit` at most from now.
    ///
    /// # Errors
    /// What came instead.
    pub async fn completed(&mut self, limit: Duration) -> Result<()> {
        match self.next(limit).await {
            Ok(Event::Completed) => Ok(()),
            Ok(other) => Err(self.differs("the end of the stream", &other.shown())),
            Err(error) => bail!("{}:\n  expected the end of the stream\n  seen     {error}", self.name),
        }
    }

    /// The next record is an end, with or without error.
    ///
    /// # Errors
    /// What came instead.
    pub async fn over(&mut self) -> Result<()> {
        match self.next(EXPECTATION).await? {
            Event::Completed | Event::Failed(_) => Ok(()),
            message @ Event::Message(_) => Err(self.differs("the end of the stream", &message.shown())),
        }
    }

    /// The next record is an error with this text, whatever its code.
    ///
    /// # Errors
    /// What came instead.
    pub async fn failed(&mut self, text: &str) -> Result<()> {
        match self.next(EXPECTATION).await? {
            Event::Failed(status) if status.message() == text => Ok(()),
            other => Err(self.differs(&format!("the failure {text:?}"), &other.shown())),
        }
    }

    fn same(&self, found: T, expected: T) -> Result<()> {
        let (found, expected) = (found.comparable(), expected.comparable());
        ensure!(found == expected, self.differs(&shown(&expected), &shown(&found)));
        Ok(())
    }

    fn differs(&self, expected: &str, seen: &str) -> anyhow::Error {
        anyhow!("{}:\n  expected {expected}\n  seen     {seen}", self.name)
    }

    fn unread(&mut self) -> String {
        let unread: Vec<_> = std::iter::from_fn(|| self.events.try_recv().ok()).map(|event| event.shown()).collect();
        format!("[{}]", unread.join(", "))
    }

    async fn next(&mut self, limit: Duration) -> Result<Event<T>> {
        match within(limit, self.events.recv()).await {
            Some(Some(event)) => Ok(event),
            Some(None) => bail!("nothing: the call was dropped"),
            None => bail!("nothing within {limit:?}"),
        }
    }
}

impl<I: Compared, O: Compared> Recorded<I, O> {
    /// "Closed" as the suite means it: the proxy half-closed, then the user function completed, both without error.
    ///
    /// # Errors
    /// What came instead.
    pub async fn closed(&mut self, limit: Duration) -> Result<()> {
        self.input.completed(limit).await?;
        self.output.completed(limit).await
    }

    /// For a failure: what was seen so far and not yet read.
    pub(super) fn describe(mut self) -> String {
        format!("in {}, out {}", self.input.unread(), self.output.unread())
    }
}

impl<T: Compared> Event<T> {
    fn shown(&self) -> String {
        match self {
            Self::Message(message) => shown(message),
            Self::Completed => "the end of the stream".to_owned(),
            Self::Failed(status) => failure(status),
        }
    }
}
