//! What is set while a message, or an answer, is written for one life or read from it.

use super::{
    blob::RefBlob,
    frame::{Asks, To},
    home::Home,
    peer::Peer,
    shared::Shared,
    slots::Reply,
    stub::{Stub, Target},
};
use actors::{
    Tick,
    remote::{
        self, AnyActorRef, AskLink, ContextError, Packing, RefPlace, RemoteActor, RemoteReply, ReplySink, Unpacking,
        WeakStandIn,
    },
};
use std::{
    any::TypeId,
    cell::{Cell, RefCell},
    sync::{Arc, atomic::AtomicBool},
};

/// [`actors::ReplyTo`]s in one message.
pub(super) const ASKS_MAX: usize = 255;

/// See the module's documentation.
pub(super) struct Pack<'a> {
    pub(super) shared: &'a Shared,
    pub(super) peer: &'a Peer,
    sinks: RefCell<Vec<Box<dyn ReplySink>>>,
    /// There was no room for another ask.
    pub(super) is_full: Cell<bool>,
}

impl<'a> Pack<'a> {
    pub(super) fn new(shared: &'a Shared, peer: &'a Peer) -> Self {
        Self { shared, peer, sinks: RefCell::default(), is_full: Cell::new(false) }
    }

    /// The asks that went out in it are open from now on; until the asker waits no longer, if that is known.
    pub(super) fn open(self, until: Option<Tick>, link: Option<&AskLink>) -> Option<Asks> {
        let sinks = self.sinks.into_inner();
        if sinks.is_empty() {
            return None;
        }
        let link = link.map(AskLink::downgrade);
        let asks = self.peer.slots.lock().open(sinks, until, link.as_ref());
        if self.peer.is_over() {
            self.shared.fail_asks(self.peer);
        }
        Some(asks)
    }
}

impl Packing for Pack<'_> {
    fn actor(&self, actor: &AnyActorRef, out: &mut Vec<u8>) -> Result<(), ContextError> {
        let (message_type, type_name) = actor.message_type();
        self.shared.check(message_type, type_name)?;
        let path = actor.path();
        let (system_uid, uid) = (path.system_uid(), path.uid());
        let me = &self.shared.me;
        if let Some(stub) = actor.remote().and_then(Stub::of) {
            let node = &stub.peer.node;
            let text = path.as_str().strip_prefix(&node.address.to_string()).unwrap_or(path.as_str());
            let blob = RefBlob { node: node.clone(), to: stub.target.to(), system_uid, uid, text };
            blob.write(me, &self.peer.node, out);
            return Ok(());
        }
        if let Some(home) = actor.remote().and_then(Home::of) {
            let blob = RefBlob { node: me.clone(), to: To::Name(&home.name), system_uid, uid, text: path.as_str() };
            blob.write(me, &self.peer.node, out);
            return Ok(());
        }
        let id = self.shared.exports.export(actor).map_err(|error| ContextError::new(error.to_string()))?;
        let blob = RefBlob { node: me.clone(), to: To::Id(id), system_uid, uid, text: path.as_str() };
        blob.write(me, &self.peer.node, out);
        Ok(())
    }

    fn reply(&self, sink: Box<dyn ReplySink>) -> Result<u64, ContextError> {
        let mut sinks = self.sinks.borrow_mut();
        if sinks.is_empty() {
            let now = self.shared.now();
            let (has_room, over) = self.peer.slots.lock().make_room(now);
            drop(over); // outside the lock
            if !has_room {
                self.is_full.set(true);
                return Err(ContextError::new("as many asks of that node wait for an answer as may"));
            }
        }
        if sinks.len() >= ASKS_MAX {
            return Err(ContextError::new(format!("a message may hold {ASKS_MAX} ReplyTos and no more")));
        }
        sinks.push(sink);
        Ok(sinks.len() as u64 - 1)
    }
}

/// See the module's documentation.
pub(super) struct Unpack<'a> {
    pub(super) shared: &'a Shared,
    pub(super) from: &'a Arc<Peer>,
    pub(super) asks: Option<Asks>,
    /// The asker waits no longer, as far as is known.
    pub(super) until: Option<Tick>,
    /// What is behind the question, if it is one and there is nothing else to answer in it.
    link: Option<AskLink>,
    /// Which of `asks` were read.
    read: Cell<[u64; 4]>,
}

impl<'a> Unpack<'a> {
    pub(super) fn new(shared: &'a Shared, from: &'a Arc<Peer>, asks: Option<Asks>, until: Option<Tick>) -> Self {
        Self { shared, from, asks, until, link: None, read: Cell::default() }
    }

    /// The ask behind it is over when it is answered.
    pub(super) fn ends(mut self, link: Option<&AskLink>) -> Self {
        self.link = link.filter(|_| self.asks.is_some_and(|asks| asks.count == 1)).cloned();
        self
    }

    /// The numbers of asks that were in the message and not read out of it.
    pub(super) fn unread(&self) -> impl Iterator<Item = u64> {
        let (asks, read) = (self.asks, self.read.get());
        let is_read = move |index: u8| read[usize::from(index / 64)] & (1 << (index % 64)) != 0;
        let unread = asks.into_iter().flat_map(|asks| (0..asks.count).map(move |index| (asks, index)));
        unread.filter(move |(_, index)| !is_read(*index)).map(|(asks, index)| asks.number(index))
    }
}

impl Unpacking for Unpack<'_> {
    fn actor(&self, packed: &[u8], place: &mut dyn RefPlace) -> Result<(), ContextError> {
        let (message_type, type_name) = place.message_type();
        self.shared.check(message_type, type_name)?;
        let blob = RefBlob::read(packed, &self.shared.me, &self.from.node);
        let blob = blob.ok_or_else(|| ContextError::new("its bytes stand for no actor"))?;
        self.shared.put(&blob, message_type, place)
    }

    fn reply(&self, number: u64) -> Result<Arc<dyn RemoteReply>, ContextError> {
        let none = || ContextError::new(format!("no ReplyTo of number {number} came with the message"));
        let asks = self.asks.ok_or_else(none)?;
        let index = u8::try_from(number).ok().filter(|index| *index < asks.count).ok_or_else(none)?;
        let mut read = self.read.get();
        let bit = 1 << (index % 64);
        let word = &mut read[usize::from(index / 64)];
        if *word & bit != 0 {
            return Err(ContextError::new(format!("the ReplyTo of number {number} was read twice")));
        }
        *word |= bit;
        self.read.set(read);
        let (peer, until, link) = (Arc::clone(self.from), self.until, self.link.clone());
        Ok(Arc::new(Reply { peer, number: asks.number(index), until, answered: AtomicBool::new(false), link }))
    }
}

impl Shared {
    pub(super) fn check(&self, message_type: TypeId, type_name: &str) -> Result<(), ContextError> {
        if self.registry.knows(message_type) {
            return Ok(());
        }
        let text = format!(
            "an ActorRef<{type_name}> cannot go to other nodes: implement `cluster::WireMessage` for {type_name} and \
             register it with `ClusterConfig::message`"
        );
        Err(ContextError::new(text))
    }

    /// Puts the actor that `blob` names into `place`.
    pub(super) fn put(
        &self,
        blob: &RefBlob<'_>,
        message_type: TypeId,
        place: &mut dyn RefPlace,
    ) -> Result<(), ContextError> {
        if blob.node == self.me {
            let other_type = || ContextError::new("the actor it stands for takes messages of another type");
            let path = || remote::path(blob.system_uid, blob.uid, blob.text);
            if let To::Name(name) = blob.to {
                let home = Home { shared: self.this.clone(), name: name.into() };
                place.elsewhere(&self.system, path(), Arc::new(home));
                return Ok(());
            }
            return match self.exports.find(blob.to) {
                Some((_, actor)) => place.here(&actor).then_some(()).ok_or_else(other_type),
                None => {
                    place.stopped(&self.system, path());
                    Ok(())
                }
            };
        }
        let peer = self.peer(&blob.node).ok_or_else(|| ContextError::new("as many nodes are known as may"))?;
        let target = match blob.to {
            To::Id(id) => Target::Id(id),
            To::Name(name) => Target::Name(name.into()),
        };
        let weak = loop {
            let find = |of_target: &Vec<(TypeId, WeakStandIn)>| {
                of_target.iter().find(|(known, _)| *known == message_type).map(|(_, weak)| weak.clone())
            };
            let before = peer.with_stand_ins(|known| known.get(&target).and_then(find));
            // Outside of the lock, which the destructor of what is upgraded takes.
            if let Some(weak) = &before
                && !weak.has_ended()
                && place.known(weak)
            {
                return Ok(());
            }
            let made = peer.with_stand_ins(|known| {
                let of_target = known.entry(target.clone()).or_default();
                let now = of_target.iter().position(|(known, _)| *known == message_type);
                let is_as_before = |at: usize| before.as_ref().is_some_and(|before| before.is(&of_target[at].1));
                if now.is_some_and(|at| !is_as_before(at) && !of_target[at].1.is_gone()) {
                    return None; // somebody else has made one in between
                }
                let weak = self.watched_stand_in(&peer, &target, place).unwrap_or_else(|| {
                    let text = format!("{}{}", blob.node.address, blob.text);
                    let lane = self.settings.lane_of(blob.text);
                    let stub = Stub::new(Arc::clone(&peer), target.clone(), lane, self.next_number());
                    let path = remote::path(blob.system_uid, blob.uid, &text);
                    place.elsewhere(&self.system, path, Arc::new(stub))
                });
                match now {
                    Some(at) => of_target[at].1 = weak.clone(),
                    None => of_target.push((message_type, weak.clone())),
                }
                Some(weak)
            });
            if let Some(weak) = made {
                break weak;
            }
        };
        if peer.is_over()
            && let Some(handle) = weak.handle()
        {
            self.end(&handle);
        }
        Ok(())
    }

    /// One that nobody has a reference to, and that is kept because its end is waited for.
    fn watched_stand_in(&self, peer: &Peer, target: &Target, place: &mut dyn RefPlace) -> Option<WeakStandIn> {
        let is = |remote: &Arc<dyn RemoteActor>| Stub::of(remote).is_some_and(|stub| stub.target == *target);
        let watched = peer.watching.lock().find(|handle| handle.remote().is_some_and(is))?;
        // It stays watched, and so is not dropped with a lock in hand that its destructor takes.
        place.watched(&watched)
    }
}
