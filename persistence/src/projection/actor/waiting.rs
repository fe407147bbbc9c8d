//! Asks that wait for a place: [`Waiting`].

use crate::{Offset, PersistenceId, projection::source::ProjectionSource};
use actors::{Clock, ReplyTo};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Asks of one kind that may wait; one too many has no answer.
pub(super) const WAITING_MAX: usize = 10_000;

/// How often it is looked whether an ask that waits for an event that there is not is over.
const ASK_CHECK: Duration = Duration::from_secs(1);

/// By the place they wait for.
#[derive(Default)]
pub(super) struct Waiting {
    asks: BTreeMap<Offset, Vec<ReplyTo<Offset>>>,
    count: usize,
    /// Of which the place is being looked for.
    finding: usize,
}

impl Waiting {
    pub(super) fn add(&mut self, offset: Offset, reply_to: ReplyTo<Offset>) {
        if self.count < WAITING_MAX {
            self.count += 1;
            self.asks.entry(offset).or_default().push(reply_to);
        }
    }

    /// Whether there is room for one more whose place is looked for; [`found`](Self::found) is to follow.
    pub(super) fn begin_to_find(&mut self) -> bool {
        let fits = self.finding < WAITING_MAX;
        self.finding += usize::from(fits);
        fits
    }

    pub(super) fn found(&mut self, offset: Option<Offset>, reply_to: ReplyTo<Offset>) {
        self.finding -= 1;
        if let Some(offset) = offset {
            self.add(offset, reply_to);
        }
    }

    /// Answers all that wait for a place up to this one.
    pub(super) fn answer(&mut self, done_to: Offset) {
        while let Some(first) = self.asks.first_entry() {
            if *first.key() > done_to {
                return;
            }
            let asks = first.remove();
            self.count -= asks.len();
            asks.into_iter().for_each(|ask| ask.tell(done_to));
        }
    }

    /// Forgets those whose time is over.
    pub(super) fn forget_closed(&mut self) {
        self.asks.retain(|_, asks| {
            asks.retain(|ask| !ask.is_closed());
            !asks.is_empty()
        });
        self.count = self.asks.values().map(Vec::len).sum();
    }
}

/// Where the item with this number is, once it is anywhere; `None` when nobody waits for that any more.
pub(super) async fn find<I: 'static>(
    source: Arc<dyn ProjectionSource<I>>,
    clock: Clock,
    id: PersistenceId,
    number: u64,
    reply_to: ReplyTo<Offset>,
) -> (Option<Offset>, ReplyTo<Offset>) {
    let mut changes = source.changes();
    loop {
        changes.mark();
        if reply_to.is_closed() {
            return (None, reply_to);
        }
        match source.offset_of(id.clone(), number).await {
            Ok(Some(offset)) => return (Some(offset), reply_to),
            // It may be written yet, and a store that cannot be read may be back soon.
            Ok(None) | Err(_) => drop(clock.timeout(ASK_CHECK, changes.changed()).await),
        }
    }
}
