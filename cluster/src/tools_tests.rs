//! Singletons, topics and epochs on a few nodes in one process, whose members are as the test says.

use super::{Membership, Tools};
use crate::{
    Cluster, ClusterConfig, ClusterSingleton, FencingToken, HostingDeadline, InMemoryLeaseStore, LeaseSettings,
    Singleton, StoredLease, Topic, TopicError, WireMessage,
    cluster::tests::Nodes,
    epoch::{Council, CouncilId, KeeperMessage},
    event::{ClusterEvent, ClusterState},
    force_release,
    member::{Member, MemberStatus, UniqueAddress},
    membership::table::Digest,
    refs::Refs,
    remote::{
        door::{Channel, Remote},
        memory::MemoryNetwork,
        remoting::{Receivers, Remoting, RemotingSettings},
        wire::Registry,
    },
    rng::Rng,
    seams::{Seams, Spawner},
    singleton,
    uptime::Uptime,
};
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, FnActor, Handled, Props, ReplyTo, testkit::TestKit,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::watch;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TallyMessage(u32);

impl WireMessage for TallyMessage {
    const NAME: &'static str = "test.Tally";
}

#[derive(Serialize, Deserialize)]
enum GateMessage {
    Enter(u32),
    Entered(ReplyTo<(u64, Vec<u32>)>),
    Fail,
}

impl WireMessage for GateMessage {
    const NAME: &'static str = "test.SingleGate";
}

struct Gate {
    term: u64,
    entered: Vec<u32>,
}

impl Actor for Gate {
    type Message = GateMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<GateMessage>, message: GateMessage) -> Handled {
        match message {
            GateMessage::Enter(visitor) => self.entered.push(visitor),
            GateMessage::Entered(reply_to) => reply_to.tell((self.term, self.entered.clone())),
            GateMessage::Fail => return Err("it failed".into()),
        }
        Ok(Behavior::Same)
    }
}

/// What one node knows of its cluster: what the test says.
struct Told {
    myself: Member,
    state: Mutex<Arc<ClusterState>>,
    subscribers: Mutex<Vec<ActorRef<ClusterEvent>>>,
    hosting: HostingDeadline,
    council: watch::Sender<Option<Council>>,
}

impl Membership for Told {
    fn myself(&self) -> &Member {
        &self.myself
    }

    fn state(&self) -> Arc<ClusterState> {
        self.state.lock().clone()
    }

    fn subscribe(&self, to: ActorRef<ClusterEvent>) {
        to.tell(ClusterEvent::Current(self.state()));
        self.subscribers.lock().push(to);
    }

    fn hosting(&self) -> &HostingDeadline {
        &self.hosting
    }

    fn council(&self) -> watch::Receiver<Option<Council>> {
        self.council.subscribe()
    }
}

struct Node {
    tools: Tools,
    told: Arc<Told>,
    _remote: Arc<dyn Remote>,
}

struct World {
    kit: TestKit,
    nodes: Vec<Node>,
    members: Vec<Member>,
    changes: u128,
}

impl World {
    fn up(nodes: usize) -> Self {
        let kit = TestKit::new();
        let network = MemoryNetwork::new(kit.clock().clone());
        let nodes: Vec<Node> = (0..nodes).map(|at| node(&kit, &network, at)).collect();
        let members = nodes.iter().map(|node| node.told.myself.clone()).collect();
        let mut world = Self { kit, nodes, members, changes: 0 };
        for at in 0..world.nodes.len() {
            world.become_(at, MemberStatus::Up);
        }
        world.nodes.iter().for_each(|node| node.told.hosting.set(world.kit.clock().now() + 3600 * SECOND));
        world.kit.advance(3 * SECOND);
        world
    }

    /// All nodes learn of it at once, and agree.
    fn become_(&mut self, at: usize, status: MemberStatus) {
        let uid = self.nodes[at].told.myself.node.uid;
        let place = self.members.iter().position(|member| member.node.uid == uid).unwrap();
        self.members[place].status = status;
        if status == MemberStatus::Up {
            self.members[place].up_number = Some(at as u64 + 1);
        }
        let member = self.members[place].clone();
        let previous = member.status;
        let event = match status {
            MemberStatus::Up => ClusterEvent::Up(member),
            MemberStatus::Exiting => ClusterEvent::Exited(member),
            MemberStatus::Removed => {
                self.members.remove(place);
                let free_at = self.kit.clock().now() + 7 * SECOND;
                ClusterEvent::Removed { member, previous, free_at }
            }
            other => panic!("no event for {other:?}"),
        };
        self.changes += 1;
        let of = |wanted: fn(&Member) -> bool| -> BTreeSet<u64> {
            self.members.iter().filter(|member| wanted(member)).map(|member| member.node.uid).collect()
        };
        let council = Council {
            id: CouncilId::from(Digest(self.changes)),
            voters: of(|member| member.status == MemberStatus::Up),
            present: of(|member| member.up_number.is_some()),
        };
        let mut members = self.members.clone();
        members.sort_by(|one, two| one.node.cmp(&two.node));
        let state = Arc::new(ClusterState { members, ..ClusterState::default() });
        for node in &self.nodes {
            *node.told.state.lock() = state.clone();
            node.told.council.send_replace(Some(council.clone()));
            node.told.subscribers.lock().iter().for_each(|subscriber| subscriber.tell(event.clone()));
        }
    }

    /// All nodes learn at once that somebody cannot reach `member`, or that all can again.
    fn reach(&self, member: &Member, unreachable: bool) {
        let event = if unreachable { ClusterEvent::Unreachable } else { ClusterEvent::Reachable };
        for node in &self.nodes {
            let mut state = ClusterState::clone(&node.told.state.lock());
            state.unreachable = unreachable.then(|| member.node.clone()).into_iter().collect();
            *node.told.state.lock() = Arc::new(state);
            node.told.subscribers.lock().iter().for_each(|subscriber| subscriber.tell(event(member.clone())));
        }
    }

    fn gate(&self, at: usize) -> ActorRef<GateMessage> {
        let gate = |FencingToken(term)| Props::new(move || Gate { term, entered: Vec::new() });
        singleton::start(&self.nodes[at].tools, Singleton::with_term("front-gate", gate)).unwrap()
    }

    fn entered(&self, gate: &ActorRef<GateMessage>) -> Result<(u64, Vec<u32>), AskError> {
        self.kit.block_on(async { gate.ask(GateMessage::Entered, 5 * SECOND).await })
    }
}

fn node(kit: &TestKit, network: &MemoryNetwork, at: usize) -> Node {
    let runtime = kit.system().runtime().clone();
    let builder = ActorSystem::builder(format!("n{at}")).clock(kit.clock().clone()).runtime(runtime.clone());
    let system = builder.seeded_order(at as u64).start();
    let node = UniqueAddress { address: format!("n{at}:1").parse().unwrap(), uid: system.uid() };
    let spawner = || Arc::new(runtime.clone()) as Arc<dyn Spawner>;
    let transport = Arc::new(network.node(node.address.clone()));
    let rng = Arc::new(Rng::seeded(node.uid));
    let seams = Seams { clock: kit.clock().clone(), transport, control: spawner(), ordinary: spawner(), rng };
    let registry = Tools::messages(Registry::builder().message::<GateMessage>().message::<TallyMessage>());
    let registry = registry.build().unwrap();
    let refs = Refs::new(&system, node.clone(), registry.clone(), seams.clone(), Default::default());
    let settings = RemotingSettings { cluster: "test".into(), ..RemotingSettings::default() };
    let receivers = Receivers::from([(Channel::Actors, refs.receiver())]);
    let _entered = runtime.enter();
    let rng = seams.rng.clone();
    let remote: Arc<dyn Remote> = Remoting::start(node.clone(), settings, registry, seams, receivers);
    refs.connect(&remote);
    let myself = Member {
        node,
        status: MemberStatus::Joining,
        up_number: None,
        roles: Default::default(),
        data_center: "here".into(),
        app_version: "1".into(),
    };
    let told = Arc::new(Told {
        myself,
        state: Mutex::default(),
        subscribers: Mutex::default(),
        hosting: HostingDeadline::by(Uptime::of(kit.clock().clone())),
        council: watch::Sender::new(None),
    });
    let tools = Tools::start(&system, &refs, told.clone(), &rng);
    Node { tools, told, _remote: remote }
}

#[test]
fn members_agree_on_the_next_epoch() {
    let world = World::up(3);
    let raise = |at: usize, floor| {
        let keeper = world.nodes[at].tools.epochs.keeper().clone();
        let make = |reply_to| KeeperMessage::Raise { name: "till".into(), floor, reply_to };
        world.kit.block_on(async move { keeper.ask(make, 5 * SECOND).await }).unwrap()
    };
    assert_eq!([raise(0, 1), raise(1, 1), raise(2, 100), raise(0, 1)], [1, 2, 100, 101]);
}

#[test]
fn a_singleton_is_reached_from_everywhere_and_moves_with_its_host() {
    let mut world = World::up(3);
    let gates: Vec<_> = (0..3).map(|at| world.gate(at)).collect();
    gates[2].tell(GateMessage::Enter(1));
    gates[0].tell(GateMessage::Enter(2));
    world.kit.advance(3 * SECOND);
    let (first, entered) = world.entered(&gates[1]).unwrap();
    assert_eq!(BTreeSet::from_iter(entered), [1, 2].into());

    world.become_(0, MemberStatus::Exiting);
    for visitor in 10..60 {
        gates[2].tell(GateMessage::Enter(visitor));
        world.kit.advance(Duration::from_millis(2));
    }
    world.kit.advance(5 * SECOND);
    let (second, entered) = world.entered(&gates[2]).unwrap();
    assert!(second > first, "{second} after {first}");
    let kept = entered.len() as u32;
    assert_eq!(entered, Vec::from_iter(60 - kept..60), "the former one had those before");
    assert!(kept > 40, "{kept}");
    world.become_(0, MemberStatus::Removed);
    assert_eq!(world.entered(&gates[1]).unwrap(), (second, entered), "it is the same");
}

/// Takes its time, and writes down in which term each visitor entered.
struct SlowGate {
    term: u64,
    book: Book,
}

type Book = Arc<Mutex<Vec<(u64, u32)>>>;

fn slow_gate(book: &Book) -> Singleton<SlowGate> {
    let book = book.clone();
    Singleton::with_term("front-gate", move |FencingToken(term)| {
        let book = book.clone();
        Props::new(move || SlowGate { term, book: book.clone() })
    })
}

impl Actor for SlowGate {
    type Message = GateMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<GateMessage>, message: GateMessage) -> Handled {
        if let GateMessage::Enter(visitor) = message {
            ctx.clock().sleep(Duration::from_millis(5)).await;
            self.book.lock().push((self.term, visitor));
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn an_instance_that_moves_in_good_order_leaves_nobody_behind() {
    let mut world = World::up(3);
    let book = Book::default();
    let gates: Vec<_> = (0..3).map(|at| singleton::start(&world.nodes[at].tools, slow_gate(&book)).unwrap()).collect();
    world.kit.advance(3 * SECOND);
    // Three a millisecond come and one in five is let in: hundreds wait when it is to go.
    for visitor in 0..600 {
        if visitor == 100 {
            world.become_(0, MemberStatus::Exiting);
        }
        (0..).zip(&gates).for_each(|(from, gate)| gate.tell(GateMessage::Enter(from * 1000 + visitor)));
        world.kit.advance(Duration::from_millis(1));
    }
    world.kit.advance(20 * SECOND);
    let book = book.lock().clone();
    let terms: BTreeSet<u64> = book.iter().map(|(term, _)| *term).collect();
    assert_eq!(terms.len(), 2);
    assert!(book.is_sorted_by_key(|(term, _)| *term));
    for from in 0..3 {
        let entered = book.iter().map(|(_, visitor)| *visitor).filter(|visitor| visitor / 1000 == from);
        assert_eq!(
            Vec::from_iter(entered),
            Vec::from_iter(from * 1000..from * 1000 + 600),
            "all of them, in their order"
        );
    }
}

#[test]
fn whom_others_do_not_reach_reaches_its_own_instance_all_the_same() {
    let world = World::up(3);
    let gates: Vec<_> = (0..3).map(|at| world.gate(at)).collect();
    world.kit.advance(3 * SECOND);
    let (first, _) = world.entered(&gates[0]).unwrap();
    let host = world.nodes[0].told.myself.clone();
    for unreachable in [true, false] {
        world.reach(&host, unreachable);
        gates[0].tell(GateMessage::Enter(1));
        assert_eq!(world.entered(&gates[0]).unwrap().0, first);
    }
    world.kit.advance(3 * SECOND);
    assert_eq!(world.entered(&gates[0]).unwrap(), (first, vec![1, 1]));
    assert_eq!(world.entered(&gates[1]).unwrap().0, first, "the others do again");
}

#[test]
fn a_node_that_may_not_serve_answers_nothing_and_starts_anew_when_it_may() {
    let world = World::up(2);
    let gates: Vec<_> = (0..2).map(|at| world.gate(at)).collect();
    world.kit.advance(3 * SECOND);
    let (first, _) = world.entered(&gates[1]).unwrap();
    let clock = world.kit.clock();
    world.nodes[0].told.hosting.set(clock.now());
    assert!(world.entered(&gates[0]).is_err(), "fenced");
    world.kit.advance(10 * SECOND);
    assert!(world.entered(&gates[1]).is_err(), "it has stopped, and nobody else may start it");
    world.nodes[0].told.hosting.set(clock.now() + 3600 * SECOND);
    world.kit.advance(3 * SECOND);
    assert!(world.entered(&gates[1]).unwrap().0 > first);
}

#[test]
fn an_instance_that_fails_is_started_again() {
    let world = World::up(1);
    let gate = world.gate(0);
    world.kit.advance(3 * SECOND);
    let (first, _) = world.entered(&gate).unwrap();
    gate.tell(GateMessage::Fail);
    world.kit.advance(5 * SECOND);
    assert!(world.entered(&gate).unwrap().0 > first);
}

#[test]
fn a_singleton_under_a_lease_ends_with_it_and_takes_its_tokens_for_terms() {
    let mut world = World::up(2);
    let store = InMemoryLeaseStore::new(world.kit.clock().clone());
    let start = |at: usize| {
        let tools = &world.nodes[at].tools;
        let lease = StoredLease::start(&tools.system, "gate", Arc::new(store.clone()), LeaseSettings::default());
        let gate = |FencingToken(term)| Props::new(move || Gate { term, entered: Vec::new() });
        let gate = Singleton::with_term("front-gate", gate).lease(Arc::new(lease.unwrap()));
        singleton::start(tools, gate).unwrap()
    };
    let gates = [start(0), start(1)];
    world.kit.advance(3 * SECOND);
    assert_eq!(world.entered(&gates[1]).unwrap().0, 1);

    world.kit.block_on(force_release(&store, "gate")).unwrap();
    world.kit.advance(20 * SECOND);
    assert_eq!(world.entered(&gates[1]).unwrap().0, 3, "it ended, and began anew under another grant");

    world.become_(0, MemberStatus::Exiting);
    world.kit.advance(5 * SECOND);
    assert_eq!(world.entered(&gates[1]).unwrap().0, 4, "whoever stops gives the lease back");
}

/// Keeps what it hears.
fn listener(node: &Node) -> (ActorRef<TallyMessage>, Arc<Mutex<Vec<u32>>>) {
    let heard = Arc::<Mutex<Vec<u32>>>::default();
    let kept = heard.clone();
    let actor = FnActor::new((), move |(), _ctx, message| {
        let TallyMessage(number) = message;
        kept.lock().push(number);
        Ok(Behavior::Same)
    });
    (node.tools.system.spawn_anonymous(actor), heard)
}

#[test]
fn what_is_published_reaches_each_subscriber_once_and_in_order() {
    let world = World::up(3);
    let topics: Vec<Topic<TallyMessage>> =
        world.nodes.iter().map(|node| Topic::start(&node.tools, "sales").unwrap()).collect();
    assert_eq!(topics[0].publish(TallyMessage(0)), 0, "nobody listens");
    let listeners: Vec<_> = world.nodes.iter().map(listener).collect();
    for (topic, (listener, _)) in topics.iter().zip(&listeners) {
        topic.subscribe(listener);
        topic.subscribe(listener);
    }
    world.kit.advance(3 * SECOND);
    for number in 1..=50 {
        assert_eq!(topics[1].publish(TallyMessage(number)), 3);
    }
    world.kit.advance(SECOND);
    for (_, heard) in &listeners {
        assert_eq!(*heard.lock(), Vec::from_iter(1..=50));
    }
    topics[0].unsubscribe(&listeners[0].0);
    world.kit.advance(3 * SECOND);
    assert_eq!(topics[1].publish(TallyMessage(51)), 2, "the node where nobody listens gets nothing");
}

#[test]
fn of_a_group_one_gets_each_message() {
    let world = World::up(3);
    let topics: Vec<Topic<TallyMessage>> =
        world.nodes.iter().map(|node| Topic::start(&node.tools, "orders").unwrap()).collect();
    let listeners: Vec<_> = [0, 0, 1, 2].into_iter().map(|at| (at, listener(&world.nodes[at]))).collect();
    for (at, (listener, _)) in &listeners {
        topics[*at].subscribe_in_group("till", listener);
    }
    world.kit.advance(3 * SECOND);
    for number in 0..200 {
        topics[2].publish(TallyMessage(number));
    }
    world.kit.advance(SECOND);
    let mut all: Vec<u32> = Vec::new();
    for (_, (_, heard)) in &listeners {
        let heard = heard.lock();
        assert!(heard.len() > 10 && heard.is_sorted(), "{heard:?}");
        all.extend(heard.iter());
    }
    all.sort_unstable();
    assert_eq!(all, Vec::from_iter(0..200), "each once");
}

#[test]
fn a_topic_has_one_type_and_a_name() {
    let world = World::up(1);
    let tools = &world.nodes[0].tools;
    let _sales: Topic<TallyMessage> = Topic::start(tools, "sales").unwrap();
    assert!(matches!(Topic::<TallyMessage>::start(tools, "a/b"), Err(TopicError::NoName(_))));
    assert!(matches!(Topic::<TallyMessage>::start(tools, ""), Err(TopicError::NoName(_))));
}

/// In a cluster of its own.
fn whole(nodes: &Nodes) -> Vec<Cluster> {
    nodes.up_with(3, |config: ClusterConfig| config.message::<GateMessage>().message::<TallyMessage>())
}

fn whole_gate(cluster: &Cluster) -> ActorRef<GateMessage> {
    let gate = |FencingToken(term)| Props::new(move || Gate { term, entered: Vec::new() });
    ClusterSingleton::start(cluster, Singleton::with_term("front-gate", gate)).unwrap()
}

#[test]
fn when_the_oldest_leaves_the_singleton_goes_on_elsewhere() {
    let nodes = Nodes::new();
    let clusters = whole(&nodes);
    let gates: Vec<_> = clusters.iter().map(whole_gate).collect();
    let oldest = clusters[0].state().oldest(None).unwrap().node.clone();
    let oldest = clusters.iter().position(|cluster| *cluster.me() == oldest).unwrap();
    let other = (oldest + 1) % 3;
    let ask = || nodes.kit.block_on(async { gates[other].ask(GateMessage::Entered, 5 * SECOND).await });
    nodes.kit.advance(5 * SECOND);
    let (first, _) = ask().unwrap();

    nodes.kit.block_on(clusters[oldest].leave(30 * SECOND)).unwrap();
    gates[other].tell(GateMessage::Enter(7));
    nodes.kit.advance(3 * SECOND);
    let (second, entered) = ask().unwrap();
    assert!(second > first && entered == [7], "{second} after {first}: {entered:?}");
}

#[test]
fn what_a_node_told_while_it_leaves_is_sent_on_before_it_goes() {
    let nodes = Nodes::new();
    let clusters = whole(&nodes);
    let book = Book::default();
    let gates: Vec<_> =
        clusters.iter().map(|cluster| ClusterSingleton::start(cluster, slow_gate(&book)).unwrap()).collect();
    let oldest = clusters[0].state().oldest(None).unwrap().node.clone();
    let oldest = clusters.iter().position(|cluster| *cluster.me() == oldest).unwrap();
    nodes.kit.advance(5 * SECOND);
    // It tells until its system ends.
    let (tells, clock) = (gates[oldest].clone(), nodes.kit.clock().clone());
    let telling = async move {
        let mut visitors = 0;
        while tells.try_tell(GateMessage::Enter(visitors)).is_ok() {
            visitors += 1;
            clock.sleep(Duration::from_millis(5)).await;
        }
        visitors
    };
    let (told, left) = nodes.kit.block_on(async { tokio::join!(telling, clusters[oldest].leave(30 * SECOND)) });
    left.unwrap();
    nodes.kit.advance(5 * SECOND);
    let book = book.lock().clone();
    let terms: BTreeSet<u64> = book.iter().map(|(term, _)| *term).collect();
    let entered: Vec<u32> = book.iter().map(|(_, visitor)| *visitor).collect();
    assert_eq!(terms.len(), 2, "{told} told, {book:?}");
    assert_eq!(entered, Vec::from_iter(0..told));
}

#[test]
fn when_the_oldest_dies_the_singleton_starts_elsewhere_and_topics_go_on() {
    let nodes = Nodes::new();
    let clusters = whole(&nodes);
    let gates: Vec<_> = clusters.iter().map(whole_gate).collect();
    let topics: Vec<Topic<TallyMessage>> =
        clusters.iter().map(|cluster| Topic::new(cluster, "sales").unwrap()).collect();
    let oldest = clusters[0].state().oldest(None).unwrap().node.clone();
    let oldest = clusters.iter().position(|cluster| *cluster.me() == oldest).unwrap();
    let (other, third) = ((oldest + 1) % 3, (oldest + 2) % 3);
    let heard = Arc::<Mutex<Vec<u32>>>::default();
    let kept = heard.clone();
    let listener = FnActor::new((), move |(), _ctx, TallyMessage(number)| {
        kept.lock().push(number);
        Ok(Behavior::Same)
    });
    let listener = clusters[third].system().spawn("listener", listener);
    topics[third].subscribe(&listener);
    let ask = || nodes.kit.block_on(async { gates[other].ask(GateMessage::Entered, 5 * SECOND).await });
    nodes.kit.advance(5 * SECOND);
    let (first, _) = ask().unwrap();

    let gone = clusters[oldest].me().address.clone();
    for at in [other, third] {
        nodes.network.cut(&gone, &clusters[at].me().address);
        nodes.network.cut(&clusters[at].me().address, &gone);
    }
    topics[other].publish(TallyMessage(1));
    nodes.kit.advance(60 * SECOND);
    topics[other].publish(TallyMessage(2));
    let (second, _) = ask().unwrap();
    assert!(second > first, "{second} after {first}");
    nodes.kit.advance(SECOND);
    assert_eq!(*heard.lock(), [1, 2]);
}
