//! Turn-taking, cancellation and time limits: when the function is told of what changed elsewhere (CloudState protocol:
//! turn-taking, streamed commands).

use actors::Tick;
use proto::cloudstate::StreamCancelled;
use proto::cloudstate::crdt::CrdtDelta;
use proto::cloudstate::crdt::crdt_stream_in::Message;
use tonic::Code;

use super::{Cancel, Effect, Effects, FORGOTTEN_MAX, Phase, Stage, State};
use crate::call::CallError;
use crate::crdt::Crdt;
use crate::entity::crdt::value::{Difference, Value};

/// Something during which the function may change its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// A command that has not had its first reply.
    Command(i64),
    /// A cancellation that has not been answered.
    Cancel(i64),
}

impl State {
    fn may_tell(&self) -> bool {
        self.phase == Phase::Active && self.turns.is_empty() && self.replace.is_none()
    }

    /// The replicated value may have changed.
    pub(in crate::entity::crdt) fn changed(&mut self) -> Effects {
        if self.may_tell() { vec![Effect::Read] } else { Vec::new() }
    }

    /// This is the replicated value now; tells the function if it holds another.
    pub(in crate::entity::crdt) fn read(&mut self, value: Option<&Crdt>, now: Tick) -> Effects {
        let mut effects = Vec::new();
        if !self.may_tell() {
            return effects;
        }
        let new = value.map(|value| Value::of(value, &self.voters));
        let difference = match (&self.held, &new) {
            (None, None) => Difference::None,
            (None, Some(new)) => Difference::Delta(new.full()),
            (Some(_), None) => Difference::Incompatible,
            (Some(held), Some(new)) => match (new.correction(), held.difference(new)) {
                (Some(correction), Difference::None | Difference::Delta(_)) if self.uncertain => {
                    Difference::Delta(correction)
                }
                (_, difference) => difference,
            },
        };
        match difference {
            Difference::None => {}
            Difference::Delta(delta) => self.tell(delta, new, &mut effects),
            Difference::Incompatible => {
                tracing::info!("no delta leads from what the user function holds to the replicated value");
                self.replace = Some(now);
                self.close_when_done(now, &mut effects);
            }
        }
        effects
    }

    fn tell(&mut self, delta: CrdtDelta, new: Option<Value>, effects: &mut Effects) {
        self.held = new;
        self.uncertain = false;
        self.deltas += 1;
        effects.push(Effect::Send(Message::Delta(delta)));
    }

    /// A turn of the function is over.
    pub(super) fn end_turn(&mut self, turn: Turn, now: Tick, effects: &mut Effects) {
        self.turns.remove(&turn);
        if self.may_tell() && !self.stopping {
            effects.push(Effect::Read);
        }
        self.close_when_done(now, effects);
    }

    /// The client of a streamed call takes no more elements.
    pub(in crate::entity::crdt) fn gone(&mut self, id: i64, now: Tick) -> Effects {
        let mut effects = Vec::new();
        self.cancel(id, now, &mut effects);
        effects
    }

    /// Ends a streamed call from our side, once: drops the client's stream and tells the function.
    pub(super) fn cancel(&mut self, id: i64, now: Tick, effects: &mut Effects) {
        let on_stream = self.on_stream(id);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.sink = None;
        call.early.clear();
        if !on_stream || self.phase != Phase::Active {
            // There is nobody to tell; a reply that is still expected finds the call.
            if call.stage == Stage::Streaming {
                self.calls.remove(&id);
            }
            return;
        }
        if call.cancel != Cancel::No || call.stage == (Stage::Writing { streamed: false }) {
            return;
        }
        if call.stage == Stage::Streaming {
            call.stage = Stage::Left;
        }
        call.cancel = Cancel::Sent(now);
        self.turns.insert(Turn::Cancel(id));
        effects.push(Effect::Send(Message::StreamCancelled(StreamCancelled {
            entity_id: self.entity_id.to_string(),
            id: id - self.base,
        })));
        self.forget_oldest();
    }

    /// Whether the stream that a call was sent on is still there.
    pub(super) fn on_stream(&self, id: i64) -> bool {
        id > self.base && matches!(self.phase, Phase::Active | Phase::Closing { .. })
    }

    /// Keeps the calls that nobody waits for any more from piling up.
    fn forget_oldest(&mut self) {
        let forgotten =
            |(id, call): &(&i64, &super::Call)| !call.is_open() && !self.turns.contains(&Turn::Cancel(**id));
        let mut ids: Vec<i64> = self.calls.iter().filter(forgotten).map(|(id, _)| *id).collect();
        ids.truncate(ids.len().saturating_sub(FORGOTTEN_MAX));
        ids.iter().for_each(|id| drop(self.calls.remove(id)));
    }

    /// When `tick` has something to do, unless something else happens first.
    pub(in crate::entity::crdt) fn due(&self) -> Option<Tick> {
        // Only who has a turn is waited for, however many streams are open.
        let calls = self.turns.iter().filter_map(|turn| match turn {
            Turn::Command(id) => {
                let call = self.calls.get(id).filter(|call| call.stage == Stage::Awaiting)?;
                Some(call.since + self.limits.command_timeout)
            }
            Turn::Cancel(id) => match self.calls.get(id)?.cancel {
                Cancel::Sent(since) => Some(since + self.limits.cancel_timeout),
                _ => None,
            },
        });
        let replace = self.replace.map(|since| since + self.limits.command_timeout);
        calls.chain(replace).chain(self.close_due()).min()
    }

    /// When the function has had time enough to end the stream: as long as for a command while it owes replies.
    fn close_due(&self) -> Option<Tick> {
        let Phase::Closing { since } = self.phase else { return None };
        let owes = self.calls.iter().any(|(id, call)| self.on_stream(*id) && call.stage == Stage::Awaiting);
        Some(since + if owes { self.limits.command_timeout } else { self.limits.close_timeout })
    }

    /// Looks at all time limits.
    pub(in crate::entity::crdt) fn tick(&mut self, now: Tick) -> Effects {
        let mut effects = Vec::new();
        let late = |since: Tick, limit| since + limit <= now;
        let limits = self.limits;
        if self.close_due().is_some_and(|due| due <= now) {
            tracing::warn!("user function did not end its stream in time, it is reset");
            return self.closed();
        }
        if self.replace.is_some_and(|since| late(since, limits.command_timeout)) {
            return self.crash("Entity crashed: the user function owes replies on a stream that is to be replaced");
        }
        let waited_for = self.turns.iter().map(|turn| match turn {
            Turn::Command(id) | Turn::Cancel(id) => *id,
        });
        let waited_for: Vec<i64> = waited_for.collect();
        for id in waited_for {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if matches!(call.cancel, Cancel::Sent(since) if late(since, limits.cancel_timeout)) {
                // The answer is optional. One that comes later is still heeded.
                call.cancel = Cancel::Overdue { deltas: self.deltas };
                self.end_turn(Turn::Cancel(id), now, &mut effects);
            }
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if call.stage == Stage::Awaiting && late(call.since, limits.command_timeout) {
                if self.received_at <= call.since {
                    let text =
                        "Entity crashed: the user function has not sent anything for as long as a command may take";
                    effects.extend(self.crash(text));
                    return effects;
                }
                let error = CallError::status(Code::DeadlineExceeded, "the user function did not answer in time");
                let (reply_to, sink) = (call.reply_to.take(), call.sink.take());
                call.stage = Stage::Overdue { deltas: self.deltas };
                let (origin, received_at) = (call.origin.clone(), call.received_at);
                match (reply_to, sink) {
                    (Some(reply_to), _) => {
                        effects.push(Effect::Answer { origin, received_at, reply_to, answer: Err(error) });
                    }
                    (None, Some(sink)) => effects.push(Effect::Fail { sink, error }),
                    (None, None) => {}
                }
                self.end_turn(Turn::Command(id), now, &mut effects);
            }
        }
        self.forget_oldest();
        effects
    }
}
