//! Nodes for tests: two systems in one process, over a network in memory, in virtual time.

use super::super::{Refs, Settings};
use crate::{
    WireMessage,
    event::{ClusterEvent, ClusterState},
    member::{Address, UniqueAddress},
    receptionist::{self, tests::member},
    remote::{
        door::{Channel, Remote},
        dropped::DropReason,
        memory::MemoryNetwork,
        remoting::{Receivers, Remoting, RemotingSettings},
        transport::Lane,
        wire::{Agreement, Registry, RegistryBuilder},
    },
    rng::Rng,
    seams::{Seams, Spawner},
};
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, DeadLetterReason, Handled, ReplyTo,
    testkit::TestKit,
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What the tests' gate understands.
#[derive(Serialize, Deserialize)]
pub(crate) enum GateMessage {
    Enter {
        visitor: String,
        reply_to: ReplyTo<u32>,
    },
    Note(u32),
    Noted(ReplyTo<Vec<u32>>),
    /// Says hello to whoever that is.
    Greet(ActorRef<Greeting>),
    /// Answers with itself.
    Who(ReplyTo<ActorRef<GateMessage>>),
    /// Keeps the question.
    Keep(ReplyTo<u32>),
    /// Drops it.
    Forget(ReplyTo<u32>),
    /// Passes it on.
    Pass(ActorRef<GateMessage>, ReplyTo<u32>),
    Stop,
    /// Answers with so many bytes.
    Bytes(usize, ReplyTo<Vec<u8>>),
    /// Waits that long.
    Sleep(Duration),
    Load(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Greeting(pub(crate) String);

/// Registered at one end only.
#[derive(Serialize, Deserialize)]
pub(crate) struct Private(pub(crate) u32);

/// Registered nowhere.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unknown;

impl WireMessage for GateMessage {
    const NAME: &'static str = "test.Gate";
}

impl WireMessage for Greeting {
    const NAME: &'static str = "test.Greeting";
}

impl WireMessage for Private {
    const NAME: &'static str = "test.Private";
}

/// What frames of a node do not get through.
type Loses = Box<dyn Fn(Lane, bool, &[u8]) -> bool + Send + Sync>;

/// Sends, or loses what it was told to lose.
pub(crate) struct Lossy {
    pub(crate) inner: Arc<Remoting>,
    loses: Mutex<Option<Loses>>,
    pub(crate) sent: Mutex<Vec<Bytes>>,
    /// The latest version of the protocol that it speaks.
    pub(crate) protocol: AtomicU32,
}

impl Lossy {
    pub(crate) fn lose(&self, loses: impl Fn(Lane, bool, &[u8]) -> bool + Send + Sync + 'static) {
        *self.loses.lock() = Some(Box::new(loses));
    }

    pub(crate) fn heal(&self) {
        *self.loses.lock() = None;
    }

    fn loses(&self, lane: Lane, system: bool, body: &[u8]) -> bool {
        self.sent.lock().push(Bytes::copy_from_slice(body));
        self.loses.lock().as_ref().is_some_and(|loses| loses(lane, system, body))
    }
}

impl Remote for Lossy {
    fn me(&self) -> &UniqueAddress {
        self.inner.me()
    }

    fn send(&self, to: &Address, life: Option<u64>, channel: Channel, lane: Lane, body: Bytes) {
        if !self.loses(lane, false, &body) {
            self.inner.send(to, life, channel, lane, body);
        }
    }

    fn try_send(
        &self,
        to: &Address,
        life: Option<u64>,
        channel: Channel,
        lane: Lane,
        body: &[u8],
    ) -> Result<(), DropReason> {
        if self.loses(lane, false, body) {
            return Ok(());
        }
        self.inner.try_send(to, life, channel, lane, body)
    }

    fn send_system(&self, to: &UniqueAddress, channel: Channel, body: Bytes) {
        if !self.loses(Lane::Control, true, &body) {
            self.inner.send_system(to, channel, body);
        }
    }

    fn agreement(&self, with: &UniqueAddress) -> Option<Agreement> {
        let mut agreement = self.inner.agreement(with)?;
        agreement.protocol = agreement.protocol.min(self.protocol.load(Ordering::Relaxed));
        Some(agreement)
    }

    fn member(&self, node: &UniqueAddress, is: bool) {
        self.inner.member(node, is);
    }

    fn quarantine(&self, node: &UniqueAddress) {
        self.inner.quarantine(node);
    }
}

pub(crate) struct Node {
    pub(crate) system: ActorSystem,
    pub(crate) refs: Refs,
    pub(crate) remote: Arc<Lossy>,
    pub(crate) me: UniqueAddress,
}

impl Node {
    pub(crate) fn gate(&self, name: &str) -> ActorRef<GateMessage> {
        let gate = self.system.spawn(name, Gate::default());
        self.refs.name(name, &gate).unwrap();
        gate
    }
}

/// Two nodes, and the kit in whose time they run. The first has the kit's system.
pub(crate) struct Two {
    pub(crate) kit: TestKit,
    pub(crate) network: MemoryNetwork,
    pub(crate) one: Node,
    pub(crate) two: Node,
}

impl Two {
    pub(crate) fn new() -> Self {
        Self::with(|registry| registry)
    }

    /// With more types that travel.
    pub(crate) fn with(more: impl Fn(RegistryBuilder) -> RegistryBuilder) -> Self {
        Self::with_each(&more, &more)
    }

    /// With more types that travel, at the first and at the second.
    pub(crate) fn with_each(
        at_one: impl Fn(RegistryBuilder) -> RegistryBuilder,
        at_two: impl Fn(RegistryBuilder) -> RegistryBuilder,
    ) -> Self {
        let kit = TestKit::new();
        let network = MemoryNetwork::new(kit.clock().clone());
        let both = || Registry::builder().message::<GateMessage>().message::<Greeting>();
        let private = at_one(both()).message::<Private>().build().unwrap();
        let one = node(&kit, &network, "one:1", Some(kit.system().clone()), private);
        let two = node(&kit, &network, "two:2", None, at_two(both()).build().unwrap());
        Self { kit, network, one, two }
    }

    /// Another life at the address of the second.
    pub(crate) fn two_again(&self) -> Node {
        let registry = Registry::builder().message::<GateMessage>().message::<Greeting>().build().unwrap();
        node(&self.kit, &self.network, "two:2", None, registry)
    }

    /// Another node.
    pub(crate) fn third(&self, more: impl Fn(RegistryBuilder) -> RegistryBuilder) -> Node {
        let registry = Registry::builder().message::<GateMessage>().message::<Greeting>();
        node(&self.kit, &self.network, "three:3", None, more(registry).build().unwrap())
    }

    /// The second node's gate, as the first sees it.
    pub(crate) fn gate(&self) -> (ActorRef<GateMessage>, ActorRef<GateMessage>) {
        let there = self.two.gate("gate");
        let here: ActorRef<GateMessage> = self.one.refs.named(&self.two.me, "gate").unwrap();
        let direct = self.ask(&here, GateMessage::Who).unwrap();
        (direct, there)
    }

    pub(crate) fn ask<R: Send + 'static>(
        &self,
        gate: &ActorRef<GateMessage>,
        make: impl FnOnce(ReplyTo<R>) -> GateMessage,
    ) -> Result<R, AskError> {
        self.kit.block_on(async { gate.ask(make, 10 * SECOND).await })
    }

    /// Starts the receptionists of both and tells each of both members.
    pub(crate) fn join_receptionists(&self) -> (ActorRef<receptionist::Message>, ActorRef<receptionist::Message>) {
        let members = vec![member(&self.one.me), member(&self.two.me)];
        let state = Arc::new(ClusterState { members, ..ClusterState::default() });
        let start = |node: &Node| {
            let actor = receptionist::start(&node.system, &node.refs).unwrap();
            actor.tell(ClusterEvent::Current(Arc::clone(&state)).into());
            actor
        };
        (start(&self.one), start(&self.two))
    }

    pub(crate) fn noted(&self, gate: &ActorRef<GateMessage>) -> Vec<u32> {
        self.ask(gate, GateMessage::Noted).unwrap()
    }

    /// Lets all happen that happens within a while.
    pub(crate) fn settle(&self) {
        self.kit.advance(Duration::from_millis(200));
    }

    pub(crate) fn dead_letters(&self, node: &Node, reason: DeadLetterReason) -> u64 {
        node.system.event_stream().dead_letters(reason)
    }
}

fn node(kit: &TestKit, network: &MemoryNetwork, name: &str, system: Option<ActorSystem>, registry: Registry) -> Node {
    let runtime = kit.system().runtime().clone();
    let system = system.unwrap_or_else(|| {
        let builder = ActorSystem::builder("two").clock(kit.clock().clone()).runtime(runtime.clone());
        builder.seeded_order(7).start()
    });
    let me = UniqueAddress { address: name.parse().unwrap(), uid: system.uid() };
    let spawner = || Arc::new(runtime.clone()) as Arc<dyn Spawner>;
    let transport = Arc::new(network.node(me.address.clone()));
    let rng = Arc::new(Rng::seeded(me.uid));
    let seams = Seams { clock: kit.clock().clone(), transport, control: spawner(), ordinary: spawner(), rng };
    let large = Settings { large: vec!["/user/images".into()] };
    let refs = Refs::new(&system, me.clone(), registry.clone(), seams.clone(), large);
    let settings = RemotingSettings { cluster: "test".into(), ..RemotingSettings::default() };
    let receivers = Receivers::from([(Channel::Actors, refs.receiver())]);
    let _entered = runtime.enter();
    let inner = Remoting::start(me.clone(), settings, registry, seams, receivers);
    let remote = Arc::new(Lossy { inner, loses: Mutex::default(), sent: Mutex::default(), protocol: u32::MAX.into() });
    refs.connect(&(remote.clone() as Arc<dyn Remote>));
    Node { system, refs, remote, me }
}

/// Lets visitors in, and does what else is asked of it.
#[derive(Default)]
pub(crate) struct Gate {
    entered: u32,
    noted: Vec<u32>,
    kept: Vec<ReplyTo<u32>>,
}

impl Actor for Gate {
    type Message = GateMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<GateMessage>, message: GateMessage) -> Handled {
        match message {
            GateMessage::Enter { visitor, reply_to } => {
                self.entered += visitor.len() as u32;
                reply_to.tell(self.entered);
            }
            GateMessage::Note(n) => self.noted.push(n),
            GateMessage::Noted(reply_to) => reply_to.tell(self.noted.clone()),
            GateMessage::Greet(who) => who.tell(Greeting(format!("hello from {}", ctx.this().path().name()))),
            GateMessage::Who(reply_to) => reply_to.tell(ctx.this().clone()),
            GateMessage::Keep(reply_to) => self.kept.push(reply_to),
            GateMessage::Forget(reply_to) => drop(reply_to),
            GateMessage::Pass(to, reply_to) => to.tell(GateMessage::Enter { visitor: "passed".into(), reply_to }),
            GateMessage::Stop => return Ok(Behavior::Stopped),
            GateMessage::Bytes(many, reply_to) => reply_to.tell(vec![200; many]),
            GateMessage::Sleep(within) => ctx.clock().sleep(within).await,
            GateMessage::Load(bytes) => self.noted.push(bytes.len() as u32),
        }
        Ok(Behavior::Same)
    }
}
