//! What comes from other nodes for actors of this one.

use super::{
    circles::Linked,
    dropped::Lost,
    frame::{self, Asks, Incoming, Kind, Numbered, To},
    packing::Unpack,
    peer::Peer,
    shared::Shared,
    slots::{error_of, no_answer},
    stub::Target,
};
use crate::{
    member::{Address, UniqueAddress},
    remote::{
        association::Ended,
        door::{Receiver, Remote},
        dropped::DropReason,
        frames::Bodies,
        landed::Landed,
        pack,
        transport::Lane,
    },
};
use actors::{
    AskError, DeadLetterReason, Tick,
    remote::{self, AnyActorRef, Undelivered},
};
use bytes::Bytes;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// Where a message goes that was read.
struct Arrival<'a> {
    id: u64,
    actor: &'a AnyActorRef,
    message: &'a mut dyn Landed,
    deadline: Option<Tick>,
    linked: Option<&'a Linked>,
}

/// Whom the message before was for: most often the next is for the same one.
type Last = Option<(u64, AnyActorRef)>;

impl Shared {
    /// None: it is no frame.
    fn frame(&self, remote: &dyn Remote, peer: &Arc<Peer>, system: bool, frame: &[u8], last: &mut Last) -> Option<()> {
        let (kind, rest) = frame.split_first()?;
        match Kind::of(*kind)? {
            Kind::Watch | Kind::Unwatch | Kind::Terminated if !system => return None,
            Kind::Hello => {}
            Kind::Message => self.message(remote, peer, Incoming::read(rest)?, last),
            Kind::Answer => {
                let (number, asks, bytes) = frame::read_answer(rest)?;
                self.answer(remote, peer, number, asks, bytes);
            }
            Kind::NoAnswer => {
                let [number, code] = frame::read_numbers(rest)?;
                let sink = peer.slots.lock().take(number);
                if let Some(sink) = sink {
                    sink.fail(error_of(code));
                }
            }
            Kind::Gone => {
                let [id] = frame::read_numbers(rest)?;
                peer.handles_of(&Target::Id(id)).iter().for_each(|handle| self.end(handle));
            }
            Kind::Granted => {
                let [row, number] = frame::read_numbers(rest)?;
                peer.granted(Numbered { row, number });
            }
            Kind::Probe => {
                let (to, numbered) = frame::read_probe(rest)?;
                self.probed(remote, peer, to, numbered);
            }
            Kind::Flush => {
                let [watch] = frame::read_numbers(rest)?;
                let ended = peer.watching.lock().flushed(watch);
                ended.iter().for_each(|handle| self.end(handle));
            }
            Kind::Circle => self.may_circle(peer, rest)?,
            Kind::Awaits => self.awaited(peer, rest)?,
            Kind::Cycle => self.circles(peer, rest)?,
            Kind::Watch => {
                let (watch, to) = frame::read_watch(rest)?;
                self.watched(remote, peer, watch, to);
            }
            Kind::Unwatch => {
                let [watch] = frame::read_numbers(rest)?;
                peer.watched.lock().remove(watch);
            }
            Kind::Terminated => {
                let [watch] = frame::read_numbers(rest)?;
                self.terminated(peer, watch);
            }
        }
        Some(())
    }

    fn message(&self, remote: &dyn Remote, peer: &Arc<Peer>, incoming: Incoming<'_>, last: &mut Last) {
        let Incoming { head, asks, bytes } = incoming;
        if last.as_ref().is_none_or(|(id, _)| head.to != To::Id(*id)) {
            *last = self.exports.find(head.to);
        }
        let Some((id, actor)) = last else {
            fail(remote, peer, asks, AskError::Stopped);
            self.nobody_there(head.to);
            return self.gone(remote, peer, head.to);
        };
        let deadline = head.remaining.map(|micros| self.now() + Duration::from_micros(micros));
        let Some(agreement) = peer.agreement(remote) else {
            self.drops.add(Lost::UnknownHere);
            return fail(remote, peer, asks, AskError::NoReply);
        };
        let linked = match (head.hops, asks, deadline) {
            (Some(hops), Some(asks), Some(deadline)) => Some(self.linked(peer, asks, hops, deadline)),
            _ => None,
        };
        let link = linked.as_ref().map(|linked| &linked.link);
        let context = Unpack::new(self, peer, asks, deadline).ends(link);
        let passed = agreement.unpack(head.type_number, head.version, bytes, &context, &mut |message| {
            context.unread().for_each(|number| {
                peer.send(remote, Lane::Ordinary, no_answer(number, AskError::NoReply));
            });
            let arrival = Arrival { id: *id, actor, message, deadline, linked: linked.as_ref() };
            let arrive = || self.arrive(remote, peer, arrival, head.numbered);
            match &head.trace {
                Some(trace) => trace.enter(arrive),
                None => arrive(),
            }
        });
        if let Err(why) = passed {
            self.did_not_pass(peer, &why);
            actor.unread(DeadLetterReason::Unsendable);
            // Those that were read have said so when they were dropped.
            fail(remote, peer, asks, AskError::NoReply);
            if let Some(numbered) = head.numbered {
                self.taken(remote, peer, *id, numbered);
            }
        }
    }

    fn arrive(&self, remote: &dyn Remote, peer: &Arc<Peer>, arrival: Arrival<'_>, numbered: Option<Numbered>) {
        let Arrival { id, actor, message, deadline, linked } = arrival;
        let link = linked.map(|linked| &linked.link);
        let refused = if peer.is_busy(id) {
            Err(Undelivered::Full(message.boxed()))
        } else {
            message.tell(actor, deadline, link)
        };
        match (refused, numbered) {
            (Ok(()), None) => linked.into_iter().for_each(|linked| self.has_come(peer, linked, actor)),
            (Ok(()), Some(numbered)) => self.taken(remote, peer, id, numbered),
            (Err(Undelivered::Full(message)), Some(numbered)) => {
                self.wait_for_room(peer, id, actor.clone(), numbered, message);
            }
            (Err(Undelivered::Full(message)), None) => self.lose(actor, message, Lost::MailboxFull),
            (Err(Undelivered::Stopped(message)), _) => {
                self.lose(actor, message, Lost::NobodyThere);
                self.gone(remote, peer, To::Id(id));
            }
            (Err(Undelivered::OtherType(message)), _) => {
                tracing::warn!(
                    from = %peer.node, recipient = %actor.path(),
                    "a message of another type than its recipient's was dropped"
                );
                self.drops.add(Lost::OtherType);
                actor.unread(DeadLetterReason::Unsendable);
                drop(message);
            }
        }
    }

    fn answer(&self, remote: &dyn Remote, peer: &Arc<Peer>, number: u64, asks: Option<Asks>, bytes: &[u8]) {
        let sink = peer.slots.lock().take(number);
        // Whoever asked waits no longer; or never asked.
        let Some(sink) = sink else { return fail(remote, peer, asks, AskError::NoReply) };
        if let Err(error) = pack::check(bytes) {
            sink.fail(AskError::NoReply);
            self.drops.add(Lost::AnswerMalformed);
            tracing::warn!(from = %peer.node, %error, "an answer that is none was dropped");
            return fail(remote, peer, asks, AskError::NoReply);
        }
        let context = Unpack::new(self, peer, asks, None);
        let read = catch_unwind(AssertUnwindSafe(|| remote::unpack(&context, || sink.answer(bytes))));
        context.unread().for_each(|number| {
            peer.send(remote, Lane::Ordinary, no_answer(number, AskError::NoReply));
        });
        let error = match read {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => "reading it panicked".to_owned(),
        };
        self.drops.add(Lost::AnswerMalformed);
        tracing::warn!(from = %peer.node, error, "an answer that cannot be read was dropped");
    }

    fn deliver_from<'a>(&self, from: &UniqueAddress, system: bool, mut bodies: impl Iterator<Item = &'a [u8]>) {
        // Whoever watched there was told of the end: nothing comes after that.
        if self.peers.has_ended(from) {
            return;
        }
        let Some(peer) = self.peer(from) else { return bodies.for_each(|_| self.drops.add(Lost::Crowded)) };
        let remote = self.remote();
        let mut last = None;
        while let Some(body) = bodies.next().filter(|_| !peer.is_over()) {
            let read = remote.as_ref().and_then(|remote| self.frame(&**remote, &peer, system, body, &mut last));
            if read.is_none() {
                self.drops.add(Lost::NoFrame);
                tracing::warn!(%from, bytes = body.len(), "a frame for actors that is none was dropped");
            }
        }
    }

    /// A message that came and was read: a dead letter, and asks in it end.
    pub(super) fn lose(&self, actor: &AnyActorRef, message: Box<dyn Any + Send>, lost: Lost) {
        self.drops.add(lost);
        let is_full = lost == Lost::MailboxFull;
        let reason = if is_full { DeadLetterReason::MailboxFull } else { DeadLetterReason::Stopped };
        actor.undelivered(message, reason);
    }

    /// Whoever sent there need not do so again.
    fn gone(&self, remote: &dyn Remote, peer: &Peer, to: To<'_>) {
        if let To::Id(id) = to {
            peer.send(remote, Lane::Ordinary, frame::numbers(Kind::Gone, [id]));
        }
    }
}

fn fail(remote: &dyn Remote, peer: &Peer, asks: Option<Asks>, error: AskError) {
    let numbers = asks.into_iter().flat_map(Asks::numbers);
    numbers.for_each(|number| peer.send(remote, Lane::Ordinary, no_answer(number, error)));
}

impl Receiver for Shared {
    fn deliver(&self, from: &UniqueAddress, _lane: Lane, system: bool, body: Bytes) {
        self.deliver_from(from, system, [&body[..]].into_iter());
    }

    fn deliver_all(&self, from: &UniqueAddress, _lane: Lane, bodies: Bodies<'_>) {
        self.deliver_from(from, false, bodies);
    }

    fn agreed(&self, node: &UniqueAddress) {
        let (Some(peer), Some(this)) = (self.peers.get(node), self.this.upgrade()) else { return };
        self.seams.ordinary.spawn(Box::pin(async move {
            if let Some(remote) = this.remote() {
                this.drain(&peer, &*remote);
            }
        }));
    }

    fn ended(&self, node: &UniqueAddress, _why: &Ended) {
        self.life_ended(node);
    }

    fn dropped(&self, peer: &Address, reason: DropReason, _count: usize) {
        use DropReason::{LaneFull, OldLife, Quarantined, Stopped, TooManyPeers, Unreachable};
        if !matches!(reason, LaneFull | OldLife | Quarantined | Stopped | TooManyPeers | Unreachable) {
            // It came, or was on its way over a connection: that is no greeting of one that was not met.
            return;
        }
        let remote = self.remote();
        let is_met = |peer: &Peer| remote.as_ref().is_some_and(|remote| peer.agreement(&**remote).is_some());
        let waits = |known: &&Arc<Peer>| known.node.address == *peer && known.has_waiting() && !is_met(known);
        for peer in self.peers.all().iter().filter(waits) {
            // Of what waits nothing was sent but a greeting: if it was that, and a second one is dropped too or nobody has
            // answered for long, nobody will. It may have been for another life.
            let greets = |remote: Arc<dyn Remote>| peer.greet(&*remote).is_ok();
            if reason == Unreachable || !remote.clone().is_some_and(greets) {
                self.drop_waiting(peer, DeadLetterReason::Unreachable);
            }
        }
    }
}
