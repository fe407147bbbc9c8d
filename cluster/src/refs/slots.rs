//! [`Slots`]: asks of this node that wait for an answer from one life of another. [`Reply`]: the other way.

use super::{
    dropped::Lost,
    frame::{self, Asks, Kind},
    peer::Peer,
    shared::Shared,
};
use crate::{number_map::NumberMap, remote::transport::Lane};
use actors::{
    AskError, Tick,
    remote::{AskLink, Gone, RemoteReply, ReplySink, WeakAskLink, Writing},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Asks of one life that wait at a time.
pub(super) const SLOTS_MAX: usize = 1 << 17;

/// Those nobody waits for any more are looked for when there are so many.
const SWEEP_AT_LEAST: usize = 1024;

#[derive(Default)]
pub(super) struct Slots {
    open: NumberMap<u64, Slot>,
    /// Of the last message with asks.
    message: u64,
    sweep_at: usize,
}

struct Slot {
    sink: Box<dyn ReplySink>,
    until: Option<Tick>,
    /// Of the ask with whose question it went out.
    link: Option<WeakAskLink>,
}

impl Slots {
    /// Whether there is room for the asks of one more message. What comes back is to be dropped outside of the lock.
    pub(super) fn make_room(&mut self, now: Tick) -> (bool, Vec<Box<dyn ReplySink>>) {
        let mut over = Vec::new();
        if self.open.len() >= self.sweep_at.max(SWEEP_AT_LEAST) {
            let is_over = |slot: &Slot| slot.until.is_some_and(|until| until < now) || slot.sink.is_closed();
            over.extend(self.open.extract_if(|_, slot| is_over(slot)).map(|(_, slot)| slot.sink));
            self.sweep_at = 2 * self.open.len();
        }
        (self.open.len() < SLOTS_MAX, over)
    }

    /// Keeps the asks of one message.
    pub(super) fn open(
        &mut self,
        sinks: Vec<Box<dyn ReplySink>>,
        until: Option<Tick>,
        link: Option<&WeakAskLink>,
    ) -> Asks {
        self.message += 1;
        let asks = Asks { message: self.message, count: u8::try_from(sinks.len()).unwrap_or(u8::MAX) };
        let slot = |(number, sink)| (number, Slot { sink, until, link: link.cloned() });
        self.open.extend(asks.numbers().zip(sinks).map(slot));
        asks
    }

    /// The ask whose question had these, if it waits.
    pub(super) fn link(&self, asks: Asks) -> Option<AskLink> {
        asks.numbers().find_map(|number| self.open.get(&number)?.link.as_ref()?.upgrade())
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Box<dyn ReplySink>> {
        self.open.remove(&number).map(|slot| slot.sink)
    }

    /// All of them: nothing will come.
    pub(super) fn take_all(&mut self) -> Vec<Box<dyn ReplySink>> {
        // In the order in which they were asked: those who hear of it are woken in one that can be told again.
        let mut all: Vec<_> = self.open.drain().collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, slot)| slot.sink).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

const ERRORS: [AskError; 5] =
    [AskError::Timeout, AskError::Stopped, AskError::NoReply, AskError::Full, AskError::Cycle];

/// Says that there is no answer under `number`.
pub(super) fn no_answer(number: u64, error: AskError) -> Vec<u8> {
    let code = ERRORS.iter().position(|known| *known == error).unwrap_or(2);
    frame::numbers(Kind::NoAnswer, [number, code as u64])
}

pub(super) fn error_of(code: u64) -> AskError {
    usize::try_from(code).ok().and_then(|code| ERRORS.get(code)).copied().unwrap_or(AskError::NoReply)
}

/// Answers a question that came from another node.
pub(super) struct Reply {
    pub(super) peer: Arc<Peer>,
    pub(super) number: u64,
    pub(super) until: Option<Tick>,
    pub(super) answered: AtomicBool,
    /// Of the question, if there was nothing else to answer in it.
    pub(super) link: Option<AskLink>,
}

impl Reply {
    fn shared(&self) -> Option<Arc<Shared>> {
        let first = !self.answered.swap(true, Ordering::AcqRel);
        self.link.iter().filter(|_| first).for_each(AskLink::over);
        self.peer.shared.upgrade().filter(|_| first && !self.peer.is_over())
    }
}

impl RemoteReply for Reply {
    fn answer(&self, answer: Writing<'_>) -> Option<Gone> {
        let shared = self.shared()?;
        let remote = shared.remote()?;
        match shared.pack_answer(&self.peer, self.number, self.until, &answer) {
            Ok((frame, gone)) => {
                self.peer.send(&*remote, Lane::Ordinary, frame);
                Some(gone)
            }
            Err(error) => {
                shared.drops.add(Lost::AnswerUnsendable);
                tracing::warn!(
                    to = %self.peer.node, answer = answer.type_name(), %error,
                    "an answer cannot be written for another node; the ask there ends without one"
                );
                self.peer.send(&*remote, Lane::Ordinary, no_answer(self.number, AskError::NoReply));
                None
            }
        }
    }

    fn fail(&self, error: AskError) {
        let Some(shared) = self.shared() else { return };
        if let Some(remote) = shared.remote() {
            self.peer.send(&*remote, Lane::Ordinary, no_answer(self.number, error));
        }
    }

    fn is_closed(&self) -> bool {
        let is_late = |until| self.peer.shared.upgrade().is_none_or(|shared| shared.now() > until);
        self.peer.is_over() || self.until.is_some_and(is_late)
    }
}

/// A question that is dropped while it is read, for instance: who asked must know at once.
impl Drop for Reply {
    fn drop(&mut self) {
        self.fail(AskError::NoReply);
    }
}
