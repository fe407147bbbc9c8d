//! One node, a process of its own: says what it sees and does, until its input ends.

use crate::{
    client,
    line::{Line, say},
    net,
};
use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Listing, Props, ReplyTo, ServiceKey};
use cluster::{Cluster, ClusterConfig, ClusterSingleton, ClusterState, JoinError, KeyRing, Singleton, WireMessage};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    io::Read,
    time::Duration,
};

const PORT: u16 = 25_520;
/// How many nodes may begin a cluster, from the first on.
const SEEDS: usize = 3;
/// Between two messages of one kind to one peer.
const PACE: Duration = Duration::from_millis(50);
/// Between two signs of life of the singleton.
const BEAT: Duration = Duration::from_millis(20);
/// Between two reports.
const REPORT: Duration = Duration::from_millis(250);

/// What peers tell each other.
#[derive(Serialize, Deserialize)]
pub(crate) enum PeerMessage {
    /// By `tell`, from that life, counted up.
    Told(u64, u64),
    /// By `send`.
    Sent(u64, u64),
    /// To be handled once, and confirmed.
    Order(u64, ActorRef<Confirmed>),
    #[serde(skip)]
    Report,
}

impl WireMessage for PeerMessage {
    const NAME: &'static str = "nodes.Peer";
}

/// The order with that number was handled.
#[derive(Serialize, Deserialize)]
pub(crate) struct Confirmed(pub(crate) u64);

impl WireMessage for Confirmed {
    const NAME: &'static str = "nodes.Confirmed";
}

/// What the singleton is told.
#[derive(Serialize, Deserialize)]
pub(crate) enum OneMessage {
    /// In which term it runs, and on which node.
    Where(ReplyTo<(u64, u64)>),
    /// As [`PeerMessage::Order`].
    Order(u64, ActorRef<Confirmed>),
    #[serde(skip)]
    Beat,
}

impl WireMessage for OneMessage {
    const NAME: &'static str = "nodes.One";
}

/// Under which peers are found.
pub(crate) fn peers() -> ServiceKey<PeerMessage> {
    ServiceKey::new("peers")
}

/// Looks at the numbers of what others tell and send.
#[derive(Default)]
struct Peer {
    got: BTreeMap<u64, [Numbers; 2]>,
}

#[derive(Clone, Copy, Default)]
struct Numbers {
    last: u64,
    count: u64,
}

impl Peer {
    fn got(&mut self, from: u64, kind: usize, number: u64) {
        let numbers = &mut self.got.entry(from).or_default()[kind];
        if number <= numbers.last {
            say(&Line::Wrong(format!("from {from}, kind {kind}: {number} after {}", numbers.last)));
        }
        *numbers = Numbers { last: number, count: numbers.count + 1 };
    }
}

impl Actor for Peer {
    type Message = PeerMessage;

    async fn started(&mut self, ctx: &mut ActorContext<PeerMessage>) -> Handled {
        ctx.system().receptionist().register(&peers(), ctx.this());
        ctx.timers().start_with_fixed_delay("report", REPORT, || PeerMessage::Report);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, _: &mut ActorContext<PeerMessage>, message: PeerMessage) -> Handled {
        match message {
            PeerMessage::Told(from, number) => self.got(from, 0, number),
            PeerMessage::Sent(from, number) => self.got(from, 1, number),
            PeerMessage::Order(order, confirm) => {
                say(&Line::Handled { order });
                confirm.tell(Confirmed(order));
            }
            PeerMessage::Report => {
                for (&from, [told, sent]) in &self.got {
                    say(&Line::Got { from, told: told.count, sent: sent.count });
                }
            }
        }
        Ok(Behavior::Same)
    }
}

/// Watches the peers of other nodes and talks to them.
struct Company {
    me: u64,
    met: BTreeSet<u64>,
}

enum CompanyMessage {
    Peers(Listing<PeerMessage>),
    Ended(u64),
}

impl Actor for Company {
    type Message = CompanyMessage;

    async fn started(&mut self, ctx: &mut ActorContext<CompanyMessage>) -> Handled {
        let listings = ctx.message_adapter(CompanyMessage::Peers);
        ctx.system().receptionist().subscribe(&peers(), &listings);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<CompanyMessage>, message: CompanyMessage) -> Handled {
        match message {
            CompanyMessage::Peers(listing) => {
                for peer in listing.all_instances() {
                    let whom = peer.path().system_uid();
                    if whom != self.me && self.met.insert(whom) {
                        say(&Line::Watches { whom });
                        ctx.watch_with(peer, CompanyMessage::Ended(whom));
                        self.talk(ctx, peer);
                    }
                }
            }
            CompanyMessage::Ended(whom) => say(&Line::Ended { whom }),
        }
        Ok(Behavior::Same)
    }
}

impl Company {
    fn talk(&self, ctx: &mut ActorContext<CompanyMessage>, peer: &ActorRef<PeerMessage>) {
        let (me, clock, told) = (self.me, ctx.clock().clone(), peer.clone());
        ctx.spawn_task(async move {
            for number in 1.. {
                if told.is_stopped() {
                    return;
                }
                told.tell(PeerMessage::Told(me, number));
                clock.sleep(PACE).await;
            }
        });
        let (clock, sent, whom) = (ctx.clock().clone(), peer.clone(), peer.path().system_uid());
        ctx.spawn_task(async move {
            for number in 1.. {
                if sent.send(PeerMessage::Sent(me, number)).await.is_err() {
                    return say(&Line::SendEnded { whom });
                }
                clock.sleep(PACE).await;
            }
        });
    }
}

/// There is one in the cluster.
struct One {
    me: u64,
    term: u64,
}

impl Actor for One {
    type Message = OneMessage;

    async fn started(&mut self, ctx: &mut ActorContext<OneMessage>) -> Handled {
        say(&Line::Beat { term: self.term });
        ctx.timers().start_with_fixed_delay("beat", BEAT, || OneMessage::Beat);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, _: &mut ActorContext<OneMessage>, message: OneMessage) -> Handled {
        match message {
            OneMessage::Where(reply_to) => reply_to.tell((self.term, self.me)),
            OneMessage::Order(order, confirm) => {
                say(&Line::Handled { order });
                confirm.tell(Confirmed(order));
            }
            OneMessage::Beat => say(&Line::Beat { term: self.term }),
        }
        Ok(Behavior::Same)
    }
}

/// The same text for the same state.
fn text(state: &ClusterState) -> String {
    let mut text = String::new();
    for member in &state.members {
        let _ = write!(text, "{}={:?}@{} ", member.node.uid, member.status, member.up_number.unwrap_or_default());
    }
    let unreachable: Vec<u64> = state.unreachable.iter().map(|node| node.uid).collect();
    let _ = write!(text, "unreachable={unreachable:?} leader={:?}", state.leader.as_ref().map(|leader| leader.uid));
    text
}

/// Joins as a node with that number, in that role.
pub(crate) async fn join(system: &ActorSystem, number: usize, role: &str) -> anyhow::Result<Cluster> {
    let host = net::address(number);
    let seeds = (1..=SEEDS).map(|seed| format!("{}:{PORT}", net::address(seed)).parse());
    let config = ClusterConfig {
        name: "nodes".to_owned(),
        bind: format!("{host}:{PORT}").parse()?,
        seeds: seeds.collect::<Result<_, _>>()?,
        roles: BTreeSet::from([role.to_owned()]),
        key_ring: Some(KeyRing::new(&[[7; 32]])?),
        ..ClusterConfig::local(PORT)
    };
    let config = config.message::<PeerMessage>().message::<OneMessage>().message::<Confirmed>();
    Ok(Cluster::join(system, config).await?)
}

/// This node's part in the singleton.
pub(crate) fn one(cluster: &Cluster) -> anyhow::Result<ActorRef<OneMessage>> {
    let me = cluster.system().uid();
    let one = Singleton::with_term("one", move |term| Props::new(move || One { me, term: term.0 }));
    Ok(ClusterSingleton::start(cluster, one.role("node"))?)
}

/// Comes back when the input ends.
pub(crate) fn told_to_leave() -> tokio::sync::mpsc::Receiver<()> {
    let (told, is_told) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = told.blocking_send(());
    });
    is_told
}

/// Runs the node with that number, in that role, until it is no member any more.
pub(crate) async fn run(number: usize, role: &str) -> anyhow::Result<()> {
    let mut leave = told_to_leave();
    let system = ActorSystem::new("nodes");
    let joined = tokio::select! {
        biased;
        _ = leave.recv() => return Ok(()),
        joined = join(&system, number, role) => joined,
    };
    let cluster = match joined {
        Ok(cluster) => cluster,
        Err(error) if matches!(error.downcast_ref(), Some(JoinError::Stopped(_) | JoinError::ShuttingDown)) => {
            say(&Line::Gone { why: error.to_string() });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let me = system.uid();
    say(&Line::Up { member: cluster.me().uid, me });
    system.spawn("peer", Peer::default());
    system.spawn("company", Company { me, met: BTreeSet::new() });
    let one = one(&cluster)?;
    if role == "client" {
        client::start(&system, &one);
    }
    let report = async {
        loop {
            say(&Line::State(text(&cluster.state())));
            if let Ok((term, at)) = one.ask(OneMessage::Where, Duration::from_secs(1)).await {
                say(&Line::Where { term, at });
            }
            system.clock().sleep(REPORT).await;
        }
    };
    tokio::select! {
        biased;
        _ = leave.recv() => {
            let left = cluster.leave(Duration::from_secs(60)).await;
            say(&Line::Gone { why: format!("{left:?}") });
        }
        departure = cluster.terminated() => say(&Line::Gone { why: departure.to_string() }),
        () = report => {}
    }
    system.terminated().await;
    Ok(())
}
