//! [`Daemon`]: the task that owns SWIM and the node, and carries out what they want.
//!
//! # A turn
//! First all that has arrived is taken in, datagrams and messages; then time passes. An answer that lies in the inbox is no
//! missing answer. What is to be done is done in the order in which it is wanted, and nothing of it waits.

mod carry_out;
pub(crate) mod counts;
pub(crate) mod inbox;
mod mail;
pub(crate) mod shared;
mod subscribers;
mod translator;

#[cfg(test)]
mod double;
#[cfg(test)]
mod tests;

use self::{
    inbox::{Arrived, Wish},
    mail::Mail,
    shared::{Shared, Stage},
    subscribers::Subscribers,
    translator::Translator,
};
use super::{
    codec,
    codec::parts::{Assembly, NoPart, Splitter},
    news::News,
    node::{Command, Input, Node, NodeSettings},
    swim::{self, Identity, InvalidSettings, Swim},
};
use crate::testkit::planted::{Bug, is_planted};
use crate::{
    lease::ResolverLease,
    member::{Address, UniqueAddress},
    remote::{door::Remote, transport::ReceiveDatagrams},
    seams::Seams,
    uptime::Uptime,
};
use actors::Tick;
use bytes::Bytes;
use futures_util::FutureExt;
use rand::SeedableRng;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::{AbortHandle, unconstrained, yield_now};
use tracing::{debug, info, warn};

/// Datagrams that are taken in before anything else is done.
const DATAGRAMS_A_TURN: usize = 2048;
/// For how long a node that has stopped still speaks: so that its last words get out.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often a node that joins may find that its clock is behind.
const OUTLIVES_MAX: u32 = 16;

/// What a daemon needs.
pub(crate) struct Equipment {
    pub(crate) seams: Seams,
    pub(crate) uptime: Uptime,
    pub(crate) shared: Arc<Shared>,
    pub(crate) remote: Arc<dyn Remote>,
    /// When this life began: of two at one address the later one has more.
    pub(crate) start: u64,
    pub(crate) swim: swim::Settings,
    pub(crate) node: NodeSettings,
    /// For the strategy that needs one.
    pub(crate) lease: Option<ResolverLease>,
    /// Called when a life is no member any more, before anybody else hears of it.
    pub(crate) removed: Option<Removed>,
}

/// Is told which life is no member any more. It must not block.
pub(crate) type Removed = Box<dyn Fn(&UniqueAddress) + Send>;

/// Owns SWIM and the node.
pub(crate) struct Daemon {
    uptime: Uptime,
    shared: Arc<Shared>,
    remote: Arc<dyn Remote>,
    lease: Option<ResolverLease>,
    removed: Option<Removed>,
    seams: Seams,
    me: UniqueAddress,
    swim: Swim,
    node: Node,
    translator: Translator,
    datagrams: Box<dyn ReceiveDatagrams>,
    mail: Mail,
    subscribers: Subscribers,
    splitter: Splitter,
    assembly: Assembly,
    /// When the node wants to be stepped.
    wake: Option<Tick>,
    /// Those that remoting was told are members.
    members: BTreeSet<UniqueAddress>,
    farewells: carry_out::Farewells,
    outlived: u32,
    /// Whether something happened that may have told of another life at this address.
    look_for_rival: bool,
    stopped: Option<Tick>,
    quit: bool,
}

impl Daemon {
    /// Starts it. It runs until the node has stopped.
    ///
    /// # Errors
    /// The settings do not go together.
    pub(crate) fn start(equipment: Equipment) -> Result<AbortHandle, InvalidSettings> {
        let control = Arc::clone(&equipment.seams.control);
        let daemon = Self::new(equipment)?;
        Ok(control.spawn(Box::pin(daemon.run())))
    }

    fn new(equipment: Equipment) -> Result<Self, InvalidSettings> {
        let Equipment { seams, uptime, shared, remote, start, swim, node, lease, removed } = equipment;
        let me = shared.myself.node.clone();
        let identity = Identity { address: me.address.clone(), uid: me.uid, start, generation: 0 };
        let swim = Swim::new(identity, swim, seams.rng.fork("swim"), uptime.now())?;
        let numbers = rand::rngs::ChaCha8Rng::from_rng(&mut seams.rng.fork("members"));
        let node = Node::new(shared.myself.clone(), node, numbers);
        let (door, datagrams) = seams.transport.datagrams();
        Ok(Self {
            mail: Mail::new(door, Arc::clone(&shared.counts)),
            subscribers: Subscribers::new(Arc::clone(&shared.counts)),
            uptime,
            shared,
            remote,
            lease,
            removed,
            seams,
            me,
            swim,
            node,
            translator: Translator::default(),
            datagrams,
            splitter: Splitter::default(),
            assembly: Assembly::default(),
            wake: None,
            members: BTreeSet::new(),
            farewells: carry_out::Farewells::default(),
            outlived: 0,
            look_for_rival: false,
            stopped: None,
            quit: false,
        })
    }

    async fn run(mut self) {
        let mut first = None;
        loop {
            self.turn(first.take()).await;
            if self.quit || self.stopped.is_some_and(|at| self.uptime.now() >= at + LAST_WORDS) {
                debug!(node = %self.me, "the cluster's daemon ends");
                return;
            }
            let sleep = self.uptime.sleep_until(self.due());
            tokio::select! {
                biased;
                received = self.datagrams.receive() => match received {
                    Ok((datagram, _)) => first = Some(datagram),
                    Err(error) => {
                        self.shared.counts.dropped("datagrams: the network failed to receive");
                        debug!(%error, "no datagram");
                        // A door that is closed for good must not be asked again and again.
                        self.seams.clock.sleep(Duration::from_millis(10)).await;
                    }
                },
                () = self.shared.inbox.filled() => {}
                () = self.mail.settled() => {}
                () = sleep => {}
            }
        }
    }

    /// When there is something to do, whatever happens.
    fn due(&self) -> Tick {
        let last_words = self.stopped.map(|at| at + LAST_WORDS);
        let all = [self.swim.due(), self.wake, self.translator.due(), self.farewells.due(), last_words];
        all.into_iter().flatten().min().unwrap_or_else(|| self.uptime.now() + Duration::from_secs(1))
    }

    async fn turn(&mut self, first: Option<Bytes>) {
        let now = self.uptime.now();
        if self.due() <= now {
            // What lies at the door already is no late answer: the network is looked at before time passes.
            yield_now().await;
        }
        let mut datagrams: Vec<Bytes> = first.into_iter().collect();
        while datagrams.len() < DATAGRAMS_A_TURN
            && let Some(Ok((datagram, _))) = unconstrained(self.datagrams.receive()).now_or_never()
        {
            datagrams.push(datagram);
        }
        let arrived = self.shared.inbox.take();
        let had_datagrams = !datagrams.is_empty();
        let mut inputs = Vec::new();
        if is_planted(Bug::TimeFirst) {
            let effects = self.swim.time(now);
            self.heard(effects, now, &mut inputs).await;
        }
        let effects = self.swim.turn(datagrams, now);
        if had_datagrams {
            self.shared.counts.set_datagrams(self.swim.dropped());
            self.shared.counts.set_contradicted(self.swim.contradicted());
        }
        self.shared.counts.set_news_waiting(self.swim.backlog());
        self.heard(effects, now, &mut inputs).await;
        self.arrived(arrived, now, &mut inputs).await;
        inputs.extend(self.swim.take_hints().into_iter().map(|(from, digest)| Input::Hint { from, digest }));
        self.release(now, &mut inputs);
        self.look_for_rival(now, &mut inputs).await;
        if !inputs.is_empty() || self.wake.is_some_and(|wake| wake <= now) {
            self.wake = None;
            let effects = self.node.turn(inputs, now);
            for effect in effects {
                self.carry_out(effect, now).await;
            }
        }
        self.farewells.carry_out(now, &*self.remote);
        self.subscribers.catch_up(&self.shared.state());
    }

    /// What SWIM wants and says.
    async fn heard(&mut self, effects: swim::Effects, now: Tick, inputs: &mut Vec<Input>) {
        for (to, datagram) in effects.send {
            self.mail.send(to, datagram).await;
        }
        for news in effects.news {
            debug!(node = %self.me, ?news, "swim");
            self.look_for_rival = true;
            match &news {
                swim::News::Renewed(generation) => {
                    info!(node = %self.me, generation, "others had given this node up; it goes on");
                }
                swim::News::Defunct => {
                    warn!(node = %self.me, "others have given this node up too often: it stops");
                    inputs.push(Input::Command(Command::Down(self.me.address.clone())));
                }
                _ => {}
            }
            let told = self.translator.take(news, self.swim.alive(), now);
            inputs.extend(told.into_iter().map(Input::News));
        }
    }

    /// What connections and users brought.
    async fn arrived(&mut self, arrived: Arrived, now: Tick, inputs: &mut Vec<Input>) {
        for (from, part) in arrived.messages {
            if self.farewells.is_bid(&from) {
                self.shared.counts.dropped("members: from one that is gone");
                continue;
            }
            match self.assembly.take(from.uid, part) {
                Ok(None) => {}
                Ok(Some(message)) => match codec::decode(message) {
                    Ok(message) => inputs.push(Input::Message { from, message }),
                    Err(error) => {
                        warn!(%from, %error, "a message of a member that cannot be read");
                        self.shared.counts.dropped("messages: malformed");
                    }
                },
                Err(NoPart::Malformed) => self.shared.counts.dropped("messages: a malformed part"),
                Err(NoPart::Missing) => self.shared.counts.dropped("messages: a part is missing"),
                Err(NoPart::Crowded) => self.shared.counts.dropped("messages: no room for a part"),
            }
        }
        for node in arrived.ended {
            self.assembly.end(node.uid);
        }
        inputs.extend(arrived.links.into_iter().map(|(peer, works)| Input::Link { peer, works }));
        inputs.extend(arrived.quarantined_by.into_iter().map(|by| Input::Quarantined { by }));
        inputs.extend(arrived.lease.into_iter().map(Input::LeaseAnswer));
        for wish in arrived.wishes {
            match wish {
                Wish::Command(command) => {
                    if let Command::Join { seeds } = &command {
                        self.knock_at(seeds.clone(), now, inputs).await;
                    }
                    inputs.push(Input::Command(command));
                }
                Wish::Subscribe(to) => {
                    if let Some(subscriber) = self.subscribers.add(to) {
                        inputs.push(Input::Command(Command::Subscribe { subscriber }));
                    }
                }
                Wish::Rotate(keys) => self.swim.rotate(keys),
                Wish::Quit if self.node.is_member() => {
                    inputs.push(Input::Command(Command::Down(self.me.address.clone())));
                }
                Wish::Quit => self.quit = true,
            }
        }
    }

    async fn knock_at(&mut self, seeds: Vec<Address>, now: Tick, inputs: &mut Vec<Input>) {
        for seed in seeds {
            if seed != self.me.address {
                let effects = self.swim.announce(&seed, now);
                self.heard(effects, now, inputs).await;
            }
        }
    }

    /// Accusations that need not wait any longer.
    fn release(&mut self, now: Tick, inputs: &mut Vec<Input>) {
        let accusations = self.node.table().accusations();
        let mut others: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, subject) in accusations.iter().filter(|(observer, _)| *observer != self.me.uid) {
            *others.entry(*subject).or_default() += 1;
        }
        let is_well = self.swim.may_accuse(now);
        let told = self.translator.release(is_well, |uid| others.get(&uid).copied().unwrap_or(0), now);
        inputs.extend(told.into_iter().map(Input::News));
    }

    /// Another life at this address that others hold for the later one: its clock was ahead of this one's, and this life goes
    /// on as one that began after it. If that goes on and on, it is another process that has the address.
    async fn look_for_rival(&mut self, now: Tick, inputs: &mut Vec<Input>) {
        if !std::mem::take(&mut self.look_for_rival) || self.stopped.is_some() {
            return;
        }
        let own = self.swim.identity();
        let later = self.swim.rival().filter(|rival| (rival.start, rival.uid) > (own.start, own.uid));
        let Some(rival) = later.cloned() else { return };
        let node = UniqueAddress { address: rival.address, uid: rival.uid };
        if self.outlived < OUTLIVES_MAX {
            self.outlived += 1;
            info!(node = %self.me, former = %node, "a former life here had a clock that was ahead: this one goes on after it");
            let effects = self.swim.outlive(rival.start, now);
            self.heard(effects, now, inputs).await;
        } else {
            warn!(node = %self.me, by = %node, "another process has this node's address");
            inputs.push(Input::News(News::Replaced { old: self.me.clone(), new: node }));
        }
    }

    fn enter_stage(&self) {
        if let Some(me) = self.node.table().get(self.me.uid)
            && self.node.is_member()
        {
            self.shared.enter(Stage::Member(me.status));
        }
    }
}
