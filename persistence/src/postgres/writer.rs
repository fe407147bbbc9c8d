//! A writer: collects requests, sends them together as one transaction, then answers all.
//!
//! There is no timer: the next batch collects while the last one is on its way, so a lone request waits for nobody and a
//! crowd shares one commit.
//!
//! Invariants: nobody is told "stored" before the commit was confirmed; a write is told to have failed only when the server
//! said so or it was never sent; and the data of one entity is always written by the same writer, one transaction after the
//! other.

use super::{
    Shared,
    fault::Fault,
    known::Known,
    pending::{BatchLimit, Kind, Pending},
    request::{Work, WriteRequest, Written},
    session::Session,
    statements,
    transaction::{self, Committed, Frame, Outcome},
};
use crate::AppendError;
use actors::Tick;
use std::{mem, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// How often a request that others are in the way of is sent.
const ATTEMPTS: u32 = 8;

/// Batches looked through for the next one.
const LOOKAHEAD: usize = 4;

/// How often a writer gives way between two batches.
const YIELDS: u32 = 4;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<WriteRequest>,
    pending: Pending,
    closed: Vec<oneshot::Sender<Result<Written, AppendError>>>, // who waits for the end
    link: Link,
    frame: Frame,
    known: Known,
}

/// A connection that is made again when it is lost.
pub(crate) struct Link {
    session: Option<Session>,
    /// How many were made, this one included.
    made: u64,
    wait: Duration,
    next_attempt: Option<Tick>,
    last_error: String,
}

const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, session: Session, queue: mpsc::Receiver<WriteRequest>) -> Self {
        let frame = Frame {
            begin: shared.connector.begin(),
            is_session: !shared.connector.options().pooler,
            generation: shared.identity.generation,
            owner: format!("process {}", std::process::id()),
        };
        Self {
            shared,
            queue,
            pending: Pending::default(),
            closed: Vec::new(),
            link: Link::new(session),
            frame,
            known: Known::default(),
        }
    }

    /// Serves until every handle is gone or [`Work::Close`] arrives.
    pub(crate) async fn run(mut self) {
        let options = self.shared.connector.options();
        let limit = BatchLimit { requests: options.batch_requests, bytes: options.batch_bytes };
        loop {
            if self.pending.len() == 0 {
                match self.queue.recv().await {
                    Some(request) => self.take(request),
                    None => break,
                }
            }
            while self.pending.len() < limit.requests * LOOKAHEAD
                && let Ok(request) = self.queue.try_recv()
            {
                self.take(request);
            }
            if let Some((kind, batch)) = self.pending.next(limit) {
                self.serve(kind, batch).await;
                self.let_others_send().await;
            } else if !self.closed.is_empty() {
                break;
            }
        }
        self.link.session = None;
        for closed in self.closed.drain(..) {
            let _ = closed.send(Ok(Written::Done));
        }
    }

    /// Those just answered have their turn first, for as long as more comes of it: what they send next shares a commit.
    async fn let_others_send(&self) {
        let mut waiting = self.queue.len();
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
            let before = mem::replace(&mut waiting, self.queue.len());
            if waiting <= before {
                break;
            }
        }
    }

    fn take(&mut self, request: WriteRequest) {
        if matches!(request.work, Work::Close) {
            self.closed.push(request.reply);
            // What comes after it finds the queue closed.
            self.queue.close();
        } else if self.closed.is_empty() {
            self.pending.push(request);
        } else {
            let _ = request.reply.send(Err(AppendError::Unavailable { reason: "store is closed".into() }));
        }
    }

    async fn serve(&mut self, kind: Kind, batch: Vec<WriteRequest>) {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let made = self.link.made;
            if let Err(reason) = self.link.session(&self.shared, statements::WRITERS).await {
                answer_all(part, &AppendError::Unavailable { reason });
                continue;
            }
            if self.link.made != made {
                // Another server may be there now, which lacks what was the last to be stored on the one before.
                self.known.clear();
            }
            let Some(session) = &self.link.session else { continue };
            let within = self.shared.connector.answer_within();
            let sent = async {
                match kind {
                    Kind::Claims => transaction::claim(session, &self.frame, &part).await,
                    Kind::Fenced => transaction::write(session, &self.frame, &part, &mut self.known).await,
                    Kind::Alone => transaction::project(session, &self.frame, &part).await,
                }
            };
            let done = self.shared.connector.clock().timeout(within, Box::pin(sent)).await;
            let done = done.unwrap_or_else(|elapsed| Err(Fault::Lost(format!("the server did not answer: {elapsed}"))));
            match done {
                Ok(committed) => parts.extend(self.answer(part, committed)),
                Err(fault) => parts.extend(self.fail(part, fault)),
            }
        }
    }

    /// Answers what is settled, and returns what has to be sent again.
    fn answer(&self, part: Vec<WriteRequest>, committed: Committed) -> Option<Vec<WriteRequest>> {
        let Committed { outcomes, events, deleted, states, tx } = committed;
        self.shared.committed(part.len(), events, states, tx);
        if deleted {
            self.shared.sweep.notify_one();
        }
        let mut again = Vec::new();
        for (mut request, outcome) in part.into_iter().zip(outcomes) {
            match outcome {
                // A caller that went away is no error: its write is stored all the same.
                Outcome::Answer(answer) => drop(request.reply.send(answer)),
                Outcome::Again if request.attempts < ATTEMPTS => {
                    request.attempts += 1;
                    again.push(request);
                }
                Outcome::Again => answer_all(vec![request], &contended("another writer was always first")),
            }
        }
        (!again.is_empty()).then_some(again)
    }

    /// Answers what is settled by an error, and returns the parts that have to be sent again.
    fn fail(&mut self, mut part: Vec<WriteRequest>, fault: Fault) -> Vec<Vec<WriteRequest>> {
        tracing::debug!(place = %self.shared.connector.place(), requests = part.len(), ?fault, "transaction failed");
        self.known.clear();
        match fault {
            // One request that the server will not take must not fail its neighbours.
            Fault::Refused(_) | Fault::Contended(_) if part.len() > 1 => {
                let second = part.split_off(part.len() / 2);
                return vec![second, part];
            }
            Fault::Refused(reason) => answer_all(part, &AppendError::Rejected { reason }),
            Fault::Contended(_) if part[0].attempts < ATTEMPTS => {
                part[0].attempts += 1;
                return vec![part];
            }
            Fault::Contended(reason) => answer_all(part, &contended(&reason)),
            Fault::Unavailable(reason) => answer_all(part, &AppendError::Unavailable { reason }),
            Fault::Leaving(reason) => {
                self.link.lose(&self.shared, &reason);
                answer_all(part, &AppendError::Unavailable { reason });
            }
            Fault::Lost(reason) => {
                self.link.lose(&self.shared, &reason);
                answer_all(part, &AppendError::Unknown { reason });
            }
        }
        Vec::new()
    }
}

impl Link {
    pub(crate) fn new(session: Session) -> Self {
        Self { session: Some(session), made: 1, wait: WAIT_MIN, next_attempt: None, last_error: String::new() }
    }

    /// One that is made when it is first needed.
    pub(crate) fn idle() -> Self {
        Self { session: None, made: 0, wait: WAIT_MIN, next_attempt: None, last_error: String::new() }
    }

    /// The connection; makes a new one when the last one is lost, unless the last attempt was a moment ago.
    pub(crate) async fn session(
        &mut self,
        shared: &Shared,
        statements: &[&'static super::session::Sql],
    ) -> Result<&Session, String> {
        if self.session.as_ref().is_some_and(Session::is_closed) {
            self.lose(shared, "the server closed it");
        }
        if self.session.is_none() {
            let clock = shared.connector.clock();
            if self.next_attempt.is_some_and(|next| clock.now() < next) {
                return Err(self.last_error.clone());
            }
            match shared.reconnect(statements).await {
                Ok(session) => {
                    tracing::info!(place = %shared.connector.place(), "connected to PostgreSQL again");
                    self.session = Some(session);
                    self.made += 1;
                    (self.wait, self.next_attempt) = (WAIT_MIN, None);
                }
                Err(error) => {
                    // Not all nodes at the same moment.
                    let wait = self.wait.mul_f64(rand::random_range(0.5..1.0));
                    self.next_attempt = Some(clock.now() + wait);
                    self.wait = (self.wait * 2).min(WAIT_MAX);
                    self.last_error = error.to_string();
                    return Err(self.last_error.clone());
                }
            }
        }
        Ok(self.session.as_ref().expect("connected above"))
    }

    pub(crate) fn lose(&mut self, shared: &Shared, reason: &str) {
        tracing::warn!(place = %shared.connector.place(), reason, "connection to PostgreSQL lost");
        metrics::counter!("persistence_reconnects_total").increment(1);
        self.session = None;
    }
}

fn contended(reason: &str) -> AppendError {
    AppendError::Unavailable { reason: format!("others were in the way {ATTEMPTS} times: {reason}") }
}

fn answer_all(batch: Vec<WriteRequest>, answer: &AppendError) {
    for request in batch {
        let _ = request.reply.send(Err(answer.clone()));
    }
}
