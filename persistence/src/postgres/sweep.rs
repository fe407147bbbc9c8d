//! Removes the rows of deleted events, in small steps, beside everything else.

use super::{Shared, options::chain, session::Session, statements::SWEEP, writer::Link};
use std::{sync::Arc, time::Duration};

/// How often it is looked for what other nodes have left behind.
const LOOK: Duration = Duration::from_secs(60);

/// Between two steps, so that others come in between.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn run(shared: Arc<Shared>, session: Session) {
    let mut link = Link::new(session);
    loop {
        while step(&shared, &mut link).await {
            shared.connector.clock().sleep(PAUSE).await;
        }
        let _ = shared.connector.clock().timeout(LOOK, shared.sweep.notified()).await;
    }
}

/// Answers whether there was something to remove.
async fn step(shared: &Shared, link: &mut Link) -> bool {
    let Ok(session) = link.session(shared, &[]).await else { return false };
    let within = shared.connector.answer_within();
    match shared.connector.clock().timeout(within, session.query(&SWEEP, &[])).await {
        Ok(Ok(rows)) => rows.first().is_some_and(|row| row.get::<_, i64>(0) > 0),
        Ok(Err(error)) => {
            tracing::warn!(place = %shared.connector.place(), error = %chain(&error), "removing deleted events failed");
            false
        }
        Err(elapsed) => {
            link.lose(shared, &elapsed.to_string());
            false
        }
    }
}
