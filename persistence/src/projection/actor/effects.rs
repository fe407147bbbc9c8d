//! What the state says is to be done, and pages of the feed.

use super::{Context, End, Own, ProjectionActor, READ_PAUSE, Turn, shares::forget_others};
use crate::{
    JournalError, Offset, ReplayLimit,
    projection::{
        Envelope, ParkedEvent,
        sink::Work,
        source::Page,
        state::{Effect, Replay},
    },
};
use std::{any::Any, sync::Arc};

impl<I: Envelope> ProjectionActor<I> {
    pub(super) fn perform(&mut self, ctx: &mut Context, effects: Vec<Effect<I>>) -> Turn {
        let Some(life) = &self.life else { return Ok(()) };
        let (setup, fence) = (Arc::clone(&self.setup), life.fence.clone());
        let store = setup.sink.store();
        let work = |items, replay| Work { fence: fence.clone(), items, replay, within: setup.settings.save_within };
        for effect in effects {
            match effect {
                Effect::Read { after, turn } => self.read(ctx, after, turn),
                Effect::Apply(items) => {
                    let applied = setup.sink.work(work(items, false), ctx.clock());
                    Self::pipe(ctx, applied, Own::Applied);
                }
                Effect::Save(offset) => {
                    let saved = store.save_offset(fence.clone(), offset);
                    Self::pipe(ctx, saved, move |result| Own::Saved { offset, result });
                }
                Effect::SaveSoon(after) => Self::later(ctx, "save", after, Own::SaveDue),
                Effect::GroupSoon(after) => Self::later(ctx, "group", after, Own::GroupDue),
                Effect::Retry(after) => Self::later(ctx, "retry", after, Own::Retry),
                Effect::Park { item, attempts, reason } => {
                    tracing::error!(
                        projection = %setup.id, offset = %item.offset(), entity = %item.id(), attempts, %reason,
                        "item is parked"
                    );
                    let parked = ParkedEvent {
                        projection: setup.id.clone(),
                        offset: item.offset(),
                        id: item.id().clone(),
                        seq_nr: item.number(),
                        attempts,
                        reason,
                        time_ms: ctx.clock().wall_ms(),
                        replay: false,
                    };
                    Self::pipe(ctx, store.park(fence.clone(), parked), Own::Parked);
                }
                Effect::Replay(Replay { parked, item }) => {
                    let applied = setup.sink.work(work(vec![item], true), ctx.clock());
                    Self::pipe(ctx, applied, move |result| Own::Replayed { parked, result });
                }
                Effect::Reset(offset) => {
                    let (setup, fence) = (Arc::clone(&setup), fence.clone());
                    let reset = async move {
                        forget_others(&*setup.sink.store(), &setup.id, offset).await?;
                        setup.sink.reset(fence, offset).await
                    };
                    Self::pipe(ctx, reset, move |result| Own::WasReset { offset, result });
                }
                Effect::Fail(reason) => return Err(End::Failed(reason)),
            }
        }
        Ok(())
    }

    fn read(&self, ctx: &mut Context, after: Offset, turn: u64) {
        let source = Arc::clone(&self.setup.source);
        let query = self.setup.query.clone();
        let limit = ReplayLimit { events: (self.setup.settings.read_ahead / 2).max(1), bytes: 4 << 20 };
        let mut changes = source.changes();
        let read = async move {
            loop {
                // Before the read: what is stored from here on ends the wait below.
                changes.mark();
                let page = source.page(query.clone(), after, limit).await?;
                if page.read_to > after {
                    return Ok(Box::new(page) as Box<dyn Any + Send>);
                }
                changes.changed().await;
            }
        };
        Self::pipe(ctx, read, move |page| Own::Page(turn, page));
    }

    pub(super) fn page(
        &mut self,
        ctx: &mut Context,
        turn: u64,
        page: Result<Box<dyn Any + Send>, JournalError>,
    ) -> Turn {
        if !self.life.as_ref().is_some_and(|life| life.state.is_current(turn)) {
            return Ok(()); // from before a reset, whatever it was
        }
        match page {
            Ok(page) => match page.downcast::<Page<I>>() {
                Ok(page) => self.turn(ctx, |state| state.page(turn, *page)),
                Err(_) => Ok(()),
            },
            Err(error) if error.is_permanent() => Err(End::Failed(error.to_string())),
            Err(error) => {
                tracing::warn!(projection = %self.setup.id, %error, "feed cannot be read, trying on");
                self.problem = Some(error.to_string());
                Self::later(ctx, "read", READ_PAUSE, Own::ReadAgain(turn));
                Ok(())
            }
        }
    }
}
