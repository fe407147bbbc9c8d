//! [`Shared`]: what a node knows of actors elsewhere, and others of its own.

use super::{
    Settings, circles,
    dropped::Drops,
    exports::{Ends, Exports},
    frame::{self, Asks, Head, Numbered},
    packing::Pack,
    peer::{Kept, Peer, WAITING_MAX},
    peers::Peers,
    stub::Stub,
    window::Window,
};
use crate::{
    member::UniqueAddress,
    remote::{door::Remote, dropped::DropReason, pack::Packer, transport::Lane, wire::Registry},
    seams::Seams,
};
use actors::{
    ActorSystem, AskError, DeadLetterReason, Tick, TraceContext,
    remote::{self, AskLink, Gone, Handle, Parcel, Refused, Writing},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// Bytes that a frame's own parts and the channel may take, beside the message's.
const OVERHEAD: usize = 1024;

/// Bytes that come after the message's, and before its head.
const END_MAX: usize = 64;

/// A buffer that has become larger than this is not kept.
const BUFFER_MAX: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// See the module's documentation.
pub(super) struct Shared {
    pub(super) this: Weak<Self>,
    pub(super) system: ActorSystem,
    pub(super) me: UniqueAddress,
    pub(super) registry: Registry,
    pub(super) seams: Seams,
    pub(super) settings: Settings,
    /// Weak: it holds this as its receiver.
    pub(super) remote: OnceLock<Weak<dyn Remote>>,
    pub(super) exports: Exports<Self>,
    pub(super) peers: Peers,
    numbers: AtomicU64,
    pub(super) drops: Drops,
    pub(super) told: Mutex<BTreeSet<(Arc<str>, DropReason)>>,
    /// Windows in which somebody waits for room.
    pub(super) starving: Mutex<Vec<Starving>>,
    /// Something is to be looked at sooner than before.
    pub(super) hurry: Notify,
}

/// A window in which somebody waits for room.
pub(super) struct Starving {
    pub(super) peer: Arc<Peer>,
    pub(super) target: super::stub::Target,
    pub(super) lane: Lane,
    pub(super) window: Window,
}

/// What a message is written with.
struct Writes<'a> {
    stub: &'a Stub,
    message: &'a dyn Any,
    message_type: (TypeId, &'static str),
    deadline: Option<Tick>,
    link: Option<AskLink>,
    trace: Option<TraceContext>,
    numbered: Option<Numbered>,
}

/// Why a message was not sent.
enum Unsent {
    /// There is no room, or nobody to take it: it goes back.
    Refused(Refused),
    Undelivered(DeadLetterReason),
}

impl Shared {
    pub(super) fn new(
        system: &ActorSystem,
        me: UniqueAddress,
        registry: Registry,
        seams: Seams,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: this.clone(),
            system: system.clone(),
            me,
            registry,
            seams,
            settings,
            remote: OnceLock::new(),
            exports: Exports::new(this.clone()),
            peers: Peers::default(),
            numbers: AtomicU64::new(1),
            drops: Drops::default(),
            told: Mutex::default(),
            starving: Mutex::default(),
            hurry: Notify::new(),
        })
    }

    pub(super) fn remote(&self) -> Option<Arc<dyn Remote>> {
        self.remote.get()?.upgrade()
    }

    pub(super) fn now(&self) -> Tick {
        self.system.clock().now()
    }

    /// A number that nothing else of this life has.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// What is known of that life; none if it is this one or there is no room for another.
    pub(super) fn peer(&self, node: &UniqueAddress) -> Option<Arc<Peer>> {
        if *node == self.me {
            return None;
        }
        self.peers.get_or_add(node, &self.this)
    }

    /// Whether messages to that life can be written now.
    pub(super) fn flows(&self, peer: &Peer, remote: &dyn Remote) -> bool {
        if peer.agreement(remote).is_some() {
            let waiting = peer.waiting.lock();
            if waiting.queue.is_empty() && !waiting.draining {
                peer.flow();
            }
        }
        peer.is_flowing()
    }

    /// Keeps a message until it is known how it is written.
    pub(super) fn keep(
        &self,
        remote: &dyn Remote,
        stub: &Stub,
        mut parcel: Parcel<'_>,
        trace: Option<TraceContext>,
        numbered: impl FnOnce() -> Option<Numbered>,
    ) -> Result<(), Refused> {
        let mut is_first = false;
        {
            let waiting = stub.peer.waiting.lock();
            if waiting.queue.len() >= WAITING_MAX {
                return Err(Refused::Full);
            }
        }
        // It is made outside of the lock, for whatever makes it may send as well.
        parcel.message();
        let mut waiting = stub.peer.waiting.lock();
        if stub.peer.is_flowing() {
            drop(waiting);
            return self.write(remote, stub, parcel, trace, numbered());
        }
        is_first |= waiting.queue.is_empty() && !waiting.draining;
        let (to, deadline, link, numbered) = (parcel.to(), parcel.deadline(), parcel.link(), numbered());
        waiting.queue.push_back(Kept { to, message: parcel.take(), deadline, link, trace, numbered });
        drop(waiting);
        if is_first {
            // If that is dropped, it is told.
            let _ = stub.peer.greet(remote);
        }
        if stub.peer.is_over() {
            self.drop_waiting(&stub.peer, DeadLetterReason::Stopped);
        }
        Ok(())
    }

    /// Sends what waits, in order; from then on messages are written at once.
    pub(super) fn drain(&self, peer: &Peer, remote: &dyn Remote) {
        if peer.agreement(remote).is_none() {
            return;
        }
        let mut mine = false;
        loop {
            let batch = {
                let mut waiting = peer.waiting.lock();
                if waiting.draining && !mine {
                    return;
                }
                mine = true;
                waiting.draining = !waiting.queue.is_empty();
                if !waiting.draining {
                    peer.flow();
                    return;
                }
                std::mem::take(&mut waiting.queue)
            };
            for Kept { to, message, deadline, link, trace, numbered } in batch {
                let Some(stub) = to.remote().and_then(Stub::of) else { continue };
                let message_type = message.message_type();
                let writes = Writes { stub, message: message.as_any(), message_type, deadline, link, trace, numbered };
                // One that cannot even be written takes none of the others along.
                let sent = catch_unwind(AssertUnwindSafe(|| self.pack_and_send(remote, writes)));
                match sent.unwrap_or(Err(Unsent::Undelivered(DeadLetterReason::Unsendable))) {
                    Ok(gone) => message.gone(gone),
                    Err(Unsent::Refused(Refused::Stopped)) => message.undelivered(&to, DeadLetterReason::Stopped),
                    Err(Unsent::Refused(Refused::Full)) => message.undelivered(&to, DeadLetterReason::MailboxFull),
                    Err(Unsent::Undelivered(reason)) => message.undelivered(&to, reason),
                }
            }
        }
    }

    /// Nothing of what waits goes there.
    pub(super) fn drop_waiting(&self, peer: &Peer, reason: DeadLetterReason) {
        let waiting = std::mem::take(&mut peer.waiting.lock().queue);
        waiting.into_iter().for_each(|kept| kept.message.undelivered(&kept.to, reason));
    }

    /// Writes a message and sends it.
    pub(super) fn write(
        &self,
        remote: &dyn Remote,
        stub: &Stub,
        mut parcel: Parcel<'_>,
        trace: Option<TraceContext>,
        numbered: Option<Numbered>,
    ) -> Result<(), Refused> {
        let (message_type, deadline, link) = (parcel.message_type(), parcel.deadline(), parcel.link());
        let writes = Writes { stub, message: parcel.message(), message_type, deadline, link, trace, numbered };
        match self.pack_and_send(remote, writes) {
            Ok(gone) => parcel.gone(gone),
            Err(Unsent::Refused(refused)) => {
                numbered.into_iter().for_each(|numbered| stub.window.give_back(numbered));
                return Err(refused);
            }
            Err(Unsent::Undelivered(reason)) => parcel.undelivered(reason),
        }
        Ok(())
    }

    fn pack_and_send(&self, remote: &dyn Remote, writes: Writes<'_>) -> Result<Gone, Unsent> {
        let stub = writes.stub;
        let (sent, gone, asks) = with_buffer(|out| {
            let (gone, asks) = self.pack_message(remote, writes, out)?;
            Ok((stub.peer.try_send(remote, stub.lane, out), gone, asks))
        })
        .map_err(Unsent::Undelivered)?;
        let Err(reason) = sent else { return Ok(gone) };
        let mut slots = stub.peer.slots.lock();
        let back: Vec<_> = asks.into_iter().flat_map(Asks::numbers).filter_map(|number| slots.take(number)).collect();
        drop(slots);
        drop(back); // outside the lock; the asks are still with whoever sends
        Err(match reason {
            DropReason::LaneFull => Unsent::Refused(Refused::Full),
            DropReason::OldLife | DropReason::Quarantined | DropReason::Stopped => Unsent::Refused(Refused::Stopped),
            DropReason::TooLarge => Unsent::Undelivered(DeadLetterReason::Unsendable),
            _ => Unsent::Undelivered(DeadLetterReason::Unreachable),
        })
    }

    fn pack_message(
        &self,
        remote: &dyn Remote,
        writes: Writes<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(Gone, Option<Asks>), DeadLetterReason> {
        let Writes { stub, message, message_type: (type_id, type_name), deadline, link, trace, numbered } = writes;
        let agreement = stub.peer.agreement(remote).ok_or(DeadLetterReason::Unreachable)?;
        let writes = agreement
            .writes(type_id, type_name, &stub.type_at)
            .map_err(|why| self.cannot_pass(&stub.peer, stub.lane, why))?;
        let remaining = deadline.map(|deadline| {
            let remaining = deadline - self.now();
            u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX)
        });
        let (type_number, version) = (writes.type_number, writes.version);
        let link = link.filter(|_| agreement.protocol >= circles::SINCE);
        let hops = link.as_ref().map(|link| self.hops(link));
        let head = Head { to: stub.target.to(), numbered, remaining, trace, hops, type_number, version };
        head.write(out);
        let context = Pack::new(self, &stub.peer);
        // The longest head leaves less.
        let max = stub.lane.frame_max() - OVERHEAD.max(out.len() + END_MAX);
        let (written, gone) = remote::pack(&context, || writes.write(message, out, max));
        match written {
            Ok(()) => {
                let asks = context.open(deadline, link.as_ref());
                Head::end(out, asks);
                Ok((gone, asks))
            }
            Err(_) if context.is_full.get() => Err(DeadLetterReason::MailboxFull),
            Err(why) => Err(self.cannot_pass(&stub.peer, stub.lane, why)),
        }
    }

    /// The answer to a question that came from `peer`.
    pub(super) fn pack_answer(
        &self,
        peer: &Peer,
        number: u64,
        until: Option<Tick>,
        answer: &Writing<'_>,
    ) -> Result<(Bytes, Gone), String> {
        with_buffer(|out| {
            frame::begin_answer(out, number);
            let context = Pack::new(self, peer);
            let mut packer = Packer::new(out, Lane::Ordinary.frame_max() - OVERHEAD);
            let (written, gone) = remote::pack(&context, || answer.write(&mut packer));
            written?;
            packer.end().map_err(|error| format!("{error}: send it in parts"))?;
            Head::end(out, context.open(until, None));
            Ok((Bytes::copy_from_slice(out), gone))
        })
    }

    /// Asks of that life have no answer any more.
    pub(super) fn fail_asks(&self, peer: &Peer) {
        let sinks = peer.slots.lock().take_all();
        sinks.into_iter().for_each(|sink| sink.fail(AskError::Stopped));
    }

    /// The actor has ended, or is never heard of again.
    pub(super) fn end(&self, handle: &Handle) {
        if let Some(stub) = handle.remote().and_then(Stub::of) {
            let watch = stub.watch.lock().take();
            let kept = watch.and_then(|watch| stub.peer.watching.lock().remove(watch));
            stub.window.close();
            drop(kept); // outside the locks
        }
        handle.end();
    }
}

impl Ends for Shared {
    fn ended(&self, id: u64) {
        self.exports.remove(id);
        self.tell_end(id);
    }
}

/// Shows `with` an empty buffer that keeps its room.
fn with_buffer<R>(with: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    BUFFER.with(|buffer| {
        // What is sent while a message is written has a buffer of its own.
        let Ok(mut buffer) = buffer.try_borrow_mut() else { return with(&mut Vec::new()) };
        buffer.clear();
        let done = with(&mut buffer);
        if buffer.capacity() > BUFFER_MAX {
            *buffer = Vec::new();
        }
        done
    })
}
