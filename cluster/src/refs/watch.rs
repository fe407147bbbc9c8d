//! Ends across nodes, and room for messages that wait for it.
//!
//! A notice of an end goes twice: over the control lane, where it is sent until it is there, and behind all that the actor said
//! before over the ordinary one, where it may be lost. Whoever watches hears of it when both have come, or
//! [`FLUSH_WITHIN`] after the first.

use super::{
    dropped::Lost,
    frame::{self, Kind, Numbered, To},
    peer::Peer,
    shared::{Shared, Starving},
    stub::Stub,
};
use crate::{
    member::UniqueAddress,
    remote::{door::Remote, transport::Lane},
};
use actors::{
    DeadLetterReason,
    remote::{AnyActorRef, Handle, Undelivered},
};
use std::{
    any::Any,
    sync::{Arc, Weak},
    time::Duration,
};

/// How long what an actor said before its end may take to arrive after the notice.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// How often whoever waits for room asks again.
const PROBE_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Somebody came or went who waits for the end of an actor elsewhere.
    pub(super) fn audience_changed(&self, stub: &Stub, actor: &Handle) {
        let Some(remote) = self.remote() else { return actor.end() };
        let peer = &stub.peer;
        let (begun, over) = {
            let mut watch = stub.watch.lock();
            match (actor.is_watched(), *watch) {
                (true, None) => {
                    let number = self.next_number();
                    *watch = Some(number);
                    peer.watching.lock().insert(number, actor.clone());
                    (Some(number), None)
                }
                (false, Some(number)) => {
                    *watch = None;
                    (None, Some((number, peer.watching.lock().remove(number))))
                }
                _ => return,
            }
        };
        if let Some(number) = begun {
            if peer.is_over() {
                return self.end(actor);
            }
            peer.send_system(&*remote, frame::watch(number, stub.target.to()));
        }
        if let Some((number, kept)) = over {
            peer.send_system(&*remote, frame::numbers(Kind::Unwatch, [number]));
            drop(kept); // outside the locks
        }
    }

    /// Another node waits for the end of an actor of this one.
    pub(super) fn watched(&self, remote: &dyn Remote, peer: &Peer, watch: u64, to: To<'_>) {
        let found = self.exports.find(to).map(|(id, _)| id);
        let is_watched = found.is_some_and(|id| {
            // Looked for once more behind it: whoever takes it out tells those who came before.
            peer.watched.lock().insert(watch, id)
                && (self.exports.find(To::Id(id)).is_some() || {
                    peer.watched.lock().remove(watch);
                    false
                })
        });
        if !is_watched {
            tell_terminated(remote, peer, watch);
        }
    }

    /// An actor of this node has ended.
    pub(super) fn tell_end(&self, id: u64) {
        let Some(remote) = self.remote() else { return };
        for peer in self.peers.all() {
            let watches = peer.watched.lock().ended(id);
            watches.into_iter().for_each(|watch| tell_terminated(&*remote, &peer, watch));
            let waiting = peer.rows.lock().remove(id);
            drop(waiting); // their actor is gone; asks in them end, outside of the lock
        }
    }

    /// An actor elsewhere has ended.
    pub(super) fn terminated(&self, peer: &Peer, watch: u64) {
        let until = self.seams.clock.now() + FLUSH_WITHIN;
        let ended = peer.watching.lock().terminated(watch, until);
        match ended {
            Some(handle) => self.end(&handle),
            None => self.hurry.notify_one(),
        }
    }

    /// Nothing passes to or from that life any more.
    pub(super) fn life_ended(&self, node: &UniqueAddress) {
        let Some(peer) = self.peers.end(node, self.seams.clock.now()) else { return };
        if !peer.set_over() {
            return;
        }
        self.fail_asks(&peer);
        self.drop_waiting(&peer, DeadLetterReason::Stopped);
        peer.watched.lock().clear();
        let watched = peer.watching.lock().take_all();
        watched.iter().chain(&peer.handles()).for_each(|handle| self.end(handle));
    }

    /// Somebody waits for room to send to an actor elsewhere.
    pub(super) fn starves(&self, stub: &Stub) {
        if stub.window.begins_to_starve() {
            let (peer, target) = (Arc::clone(&stub.peer), stub.target.clone());
            self.starving.lock().push(Starving { peer, target, lane: stub.lane, window: stub.window.clone() });
            self.hurry.notify_one();
        }
    }

    /// A message of [`actors::ActorRef::send`] is through.
    pub(super) fn taken(&self, remote: &dyn Remote, peer: &Peer, id: u64, numbered: Numbered) {
        let tell = peer.rows.lock().taken(id, numbered);
        if let Some(Numbered { row, number }) = tell {
            peer.send(remote, Lane::Ordinary, frame::numbers(Kind::Granted, [row, number]));
        }
    }

    /// The sender of such messages wants to know how many are through.
    pub(super) fn probed(&self, remote: &dyn Remote, peer: &Peer, to: To<'_>, numbered: Numbered) {
        let Some((id, _)) = self.exports.find(to) else {
            if let To::Id(id) = to {
                peer.send(remote, Lane::Ordinary, frame::numbers(Kind::Gone, [id]));
            }
            return;
        };
        let Numbered { row, number } = peer.rows.lock().probed(id, numbered);
        peer.send(remote, Lane::Ordinary, frame::numbers(Kind::Granted, [row, number]));
    }

    /// A message of [`actors::ActorRef::send`] has come and finds no room.
    pub(super) fn wait_for_room(
        &self,
        peer: &Arc<Peer>,
        id: u64,
        actor: AnyActorRef,
        numbered: Numbered,
        message: Box<dyn Any + Send>,
    ) {
        let (waits, busy) = {
            let mut rows = peer.rows.lock();
            (rows.wait(id, numbered, message), rows.busy())
        };
        peer.set_busy(busy);
        match waits {
            Ok(false) => {}
            Ok(true) => {
                let Some(this) = self.this.upgrade() else { return };
                let peer = Arc::clone(peer);
                self.seams.ordinary.spawn(Box::pin(async move { this.pass_on(&peer, id, &actor).await }));
            }
            Err(message) => self.lose(&actor, message, Lost::MailboxFull),
        }
    }

    /// Hands on what waits for room, in order, until nothing does.
    async fn pass_on(&self, peer: &Peer, id: u64, actor: &AnyActorRef) {
        loop {
            let (next, busy) = {
                let mut rows = peer.rows.lock();
                (rows.next(id), rows.busy())
            };
            peer.set_busy(busy);
            let Some((numbered, message)) = next else { return };
            if peer.is_over() {
                actor.undelivered(message, DeadLetterReason::Stopped);
                continue;
            }
            match actor.send(message).await {
                Ok(()) => {}
                Err(Undelivered::Full(message) | Undelivered::Stopped(message) | Undelivered::OtherType(message)) => {
                    self.lose(actor, message, Lost::NobodyThere);
                }
            }
            if let Some(remote) = self.remote() {
                self.taken(&*remote, peer, id, numbered);
            }
        }
    }
}

/// First what is behind all that was said before, then what comes for certain.
fn tell_terminated(remote: &dyn Remote, peer: &Peer, watch: u64) {
    peer.send(remote, Lane::Ordinary, frame::numbers(Kind::Flush, [watch]));
    peer.send_system(remote, frame::numbers(Kind::Terminated, [watch]));
}

/// Does what is due, as long as the node is there.
pub(super) async fn keep_time(shared: Weak<Shared>) {
    loop {
        let Some(this) = shared.upgrade() else { return };
        let clock = this.seams.clock.clone();
        let now = clock.now();
        let mut due = None;
        for peer in this.peers.all() {
            let (late, next) = peer.watching.lock().late(now);
            late.iter().for_each(|handle| this.end(handle));
            due = due.into_iter().chain(next).min();
        }
        let probe = this.probe();
        due = due.into_iter().chain(probe.then(|| now + PROBE_EVERY)).min();
        let hurry = this.hurry.notified();
        // Nothing is due without a word of it, which wakes this.
        match due {
            None => hurry.await,
            Some(due) => {
                tokio::select! {
                    biased;
                    () = hurry => {}
                    () = clock.sleep_until(due) => {}
                }
            }
        }
    }
}

impl Shared {
    /// Asks how much is through, for all who wait for room. Whether anybody does.
    fn probe(&self) -> bool {
        let Some(remote) = self.remote() else { return false };
        let mut starving = std::mem::take(&mut *self.starving.lock());
        starving.retain(|Starving { peer, target, lane, window }| {
            let Some(Numbered { row, number }) = window.starving() else { return false };
            if peer.is_flowing() {
                peer.send(&*remote, *lane, frame::probe(target.to(), Numbered { row, number }));
            }
            !peer.is_over()
        });
        let mut others = self.starving.lock();
        others.extend(starving);
        !others.is_empty()
    }
}
