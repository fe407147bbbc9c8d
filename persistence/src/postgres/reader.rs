//! Readers: each has a connection and serves one read at a time. They never hold a writer up.

use super::{
    Shared,
    fault::Fault,
    rows::{READERS, ReadError},
    session::Session,
    writer::Link,
};
use crate::{BoxFuture, JournalError};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

pub(crate) type ReadQueue = Arc<Mutex<mpsc::Receiver<Box<dyn Read>>>>;

/// One read, and who waits for it.
pub(crate) trait Read: Send {
    fn serve<'a>(self: Box<Self>, shared: &'a Shared, link: &'a mut Link) -> BoxFuture<'a, ()>;
}

/// Asks a session something, as often as need be.
pub(crate) struct Question<T, F> {
    pub(crate) ask: F,
    pub(crate) reply: oneshot::Sender<Result<T, JournalError>>,
}

pub(crate) async fn run(shared: Arc<Shared>, session: Session, queue: ReadQueue) {
    let mut link = Link::new(session);
    loop {
        let Some(read) = next(&shared, &queue).await else { return };
        read.serve(&shared, &mut link).await;
    }
}

/// The next read; `None` once the store is closed and all that came before is served.
async fn next(shared: &Shared, queue: &ReadQueue) -> Option<Box<dyn Read>> {
    // Whoever holds the lock is the one that waits; the others wait for the lock.
    let mut queue = queue.lock().await;
    tokio::select! {
        biased;
        next = queue.recv() => next,
        () = shared.closing.notified() => {
            queue.close();
            queue.recv().await
        }
    }
}

impl<T, F> Read for Question<T, F>
where
    T: Send + 'static,
    F: for<'s> Fn(&'s Session) -> BoxFuture<'s, Result<T, ReadError>> + Send + Sync + 'static,
{
    fn serve<'a>(self: Box<Self>, shared: &'a Shared, link: &'a mut Link) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.reply.is_closed() {
                return; // nobody waits any more
            }
            let Self { ask, reply } = *self;
            let (mut answer, lost) = attempt(&ask, shared, link).await;
            if lost {
                // A read changes nothing, so it may be asked again on a new connection.
                answer = attempt(&ask, shared, link).await.0;
            }
            let _ = reply.send(answer);
        })
    }
}

/// The answer, and whether the connection was lost over it.
async fn attempt<T, F>(ask: &F, shared: &Shared, link: &mut Link) -> (Result<T, JournalError>, bool)
where
    F: for<'s> Fn(&'s Session) -> BoxFuture<'s, Result<T, ReadError>>,
{
    let unavailable = |reason: String| Err(JournalError::Unavailable { reason });
    let session = match link.session(shared, READERS).await {
        Ok(session) => session,
        Err(reason) => return (unavailable(reason), false),
    };
    let within = shared.connector.answer_within();
    match shared.connector.clock().timeout(within, ask(session)).await {
        Ok(Ok(found)) => (Ok(found), false),
        Ok(Err(ReadError::Damaged(damage))) => (Err(damage), false),
        Ok(Err(ReadError::Postgres(error))) => match Fault::before_commit(&error) {
            Fault::Refused(reason) => (Err(JournalError::Rejected { reason }), false),
            Fault::Contended(reason) | Fault::Unavailable(reason) => (unavailable(reason), false),
            Fault::Leaving(reason) | Fault::Lost(reason) => {
                link.lose(shared, &reason);
                (unavailable(reason), true)
            }
        },
        Err(elapsed) => {
            let reason = format!("the server did not answer: {elapsed}");
            link.lose(shared, &reason);
            (unavailable(reason), false)
        }
    }
}
