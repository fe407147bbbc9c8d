//! Looking what others have done to this projection, and trying parked items again.

use super::{Context, End, Life, Own, ProjectionActor, Turn};
use crate::{
    AppendError, JournalError,
    projection::{
        Envelope, ParkedEvent, Position, Selection,
        state::{Applied, Replay},
    },
};
use std::{any::Any, sync::Arc, time::Duration};

/// Parked items tried again at once; the rest is when these are done.
const REPLAYS_MAX: usize = 64;

/// What was changed so far: a look that began before a change says nothing about it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    pauses: u64,
    parked: u64,
}

/// The looks at the store, one at a time.
#[derive(Default)]
pub(super) struct Looks {
    seen: Seen,
    looking: bool,
    /// Once more when this one is over.
    again: bool,
    /// Items to be tried again are being read.
    looking_up: bool,
}

/// What a look has found.
pub(super) struct Looked {
    seen: Seen,
    position: Option<Position>,
    parked: u64,
    to_replay: Vec<ParkedEvent>,
}

impl Looks {
    /// Somebody has asked for a pause or its end, or that is stored.
    pub(super) fn paused_changed(&mut self) {
        self.seen.pauses += 1;
    }

    /// Something was parked, tried again or forgotten.
    pub(super) fn parked_changed(&mut self) {
        self.seen.parked += 1;
    }
}

impl<I: Envelope> ProjectionActor<I> {
    pub(super) fn look_soon(&self, ctx: &mut Context) {
        Self::later(ctx, "look", Duration::ZERO, Own::Look);
    }

    pub(super) fn look(&mut self, ctx: &mut Context) {
        Self::later(ctx, "look", self.setup.settings.look_every, Own::Look);
        self.waiting.forget_closed();
        if std::mem::replace(&mut self.looks.looking, true) {
            self.looks.again = true;
            return;
        }
        let (store, ours, seen) = (self.setup.sink.store(), Selection::of(&self.setup.id), self.looks.seen);
        let looked = async move {
            let position = store.positions(ours.clone()).await?.into_iter().next();
            let parked = store.parked_count(ours.clone()).await?;
            let to_replay = store.to_replay(ours, None, REPLAYS_MAX).await?;
            Ok(Looked { seen, position, parked, to_replay })
        };
        Self::pipe(ctx, looked, Own::Looked);
    }

    pub(super) fn looked(&mut self, ctx: &mut Context, looked: Result<Looked, JournalError>) -> Turn {
        self.looks.looking = false;
        if std::mem::take(&mut self.looks.again) {
            self.look(ctx);
        }
        let Some(life) = &mut self.life else { return Ok(()) };
        let Looked { seen, position, parked, to_replay } = match looked {
            Ok(looked) => looked,
            Err(error) => {
                tracing::warn!(projection = %self.setup.id, %error, "offsets cannot be read, trying on");
                return Ok(());
            }
        };
        let Some(position) = position else { return Ok(()) };
        if position.epoch > life.fence.epoch {
            return Err(End::TakenOver);
        }
        if seen != self.looks.seen {
            self.look(ctx); // part of this is of the past
        }
        let Some(life) = &mut self.life else { return Ok(()) };
        if seen.parked == self.looks.seen.parked {
            life.state.set_parked_count(parked as usize);
            if !to_replay.is_empty() && !self.looks.looking_up && !life.state.is_replaying() {
                self.look_up(ctx, to_replay);
            }
        }
        if seen.pauses != self.looks.seen.pauses || self.is_paused() == position.paused {
            return Ok(());
        }
        self.turn(ctx, |state| state.set_paused(position.paused))
    }

    fn is_paused(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.state.is_paused())
    }

    /// Items that are to be tried again are read from the store.
    fn look_up(&mut self, ctx: &mut Context, asked: Vec<ParkedEvent>) {
        let Some(Life { fence, .. }) = &self.life else { return };
        let (source, store, fence) = (Arc::clone(&self.setup.source), self.setup.sink.store(), fence.clone());
        self.looks.looking_up = true;
        let looked_up = async move {
            let (mut replays, mut changed) = (Vec::with_capacity(asked.len()), false);
            for parked in asked {
                let reason = match source.look_up(parked.id.clone(), parked.seq_nr, parked.offset).await {
                    Ok(Some(item)) => {
                        replays.push(Replay { parked, item: Arc::new(item) });
                        continue;
                    }
                    Ok(None) => "it has been deleted from the store; drop it here too".to_owned(),
                    Err(error) if error.is_permanent() => error.to_string(),
                    Err(_) => continue, // it is asked for again at the next look
                };
                changed |= store.park(fence.clone(), ParkedEvent { reason, ..parked }).await.is_ok();
            }
            (Box::new(replays) as Box<dyn Any + Send>, changed)
        };
        Self::pipe(ctx, looked_up, |(replays, changed)| Own::LookedUp { replays, changed });
    }

    pub(super) fn looked_up(&mut self, ctx: &mut Context, replays: Box<dyn Any + Send>, changed: bool) -> Turn {
        self.looks.looking_up = false;
        self.looks.parked_changed();
        let Ok(replays) = replays.downcast::<Vec<Replay<I>>>() else { return Ok(()) };
        if replays.is_empty() && changed {
            self.look_soon(ctx); // there may be more than fit at once
        }
        self.turn(ctx, |state| state.replay(*replays))
    }

    /// One that failed once more is parked once more, before anything else is handled.
    pub(super) fn replayed(
        &mut self,
        ctx: &mut Context,
        parked: ParkedEvent,
        result: Result<Applied, AppendError>,
    ) -> Turn {
        let applied = self.worked(result)?;
        let (Some(reason), Some(life)) = (applied.failure, &self.life) else {
            return self.replay_ended(ctx, applied.done > 0);
        };
        let attempts = parked.attempts.saturating_add(1);
        let again = ParkedEvent { attempts, reason, ..parked };
        let stored = self.setup.sink.store().park(life.fence.clone(), again);
        Self::pipe(ctx, stored, Own::ParkedAgain);
        Ok(())
    }

    pub(super) fn replay_ended(&mut self, ctx: &mut Context, handled: bool) -> Turn {
        self.looks.parked_changed();
        self.turn(ctx, |state| state.replayed(handled))?;
        if self.life.as_ref().is_some_and(|life| !life.state.is_replaying()) {
            self.look_soon(ctx); // there may be more than fit at once
        }
        Ok(())
    }
}
