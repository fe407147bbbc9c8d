//! Three nodes of one cluster, each a process of its own on this machine. One of them hosts the foreman, who exists once in
//! the cluster; painters on all three pull fences from him. Kill a node and watch what becomes of its fences, and of him.
//!
//! `cargo run -p examples --example three_nodes`, then type `kill 1`, `leave 2`, `start 1` or `quit`. A number behind it is the
//! port of node 1.
//!
//! Each node serves its cluster's management a hundred ports above its own, for this machine alone:
//! `cloudstate cluster status --node 127.0.0.1:25621` shows who is there, `leave` and `down` change it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::delivery::{
    ConsumerController, ConsumerControllerMessage, ConsumerSettings, Delivery, RequestNext, WorkPullingController,
    WorkPullingControllerMessage, WorkPullingSettings,
};
use actors::{Actor, ActorContext, ActorSystem, AskError, Behavior, Handled, Props, ReplyTo, ServiceKey};
use cluster::management::http::{self, ManagementConfig};
use cluster::{Cluster, ClusterConfig, ClusterEvent, ClusterManagement, ClusterSingleton, WireMessage};
use serde::{Deserialize, Serialize};

/// Node 1 takes this port unless another one is given, node 2 the next one, and so on.
const FIRST_PORT: u16 = 25_521;

/// Management is so many ports above the node.
const MANAGEMENT_ABOVE: u16 = 100;

/// How long a painter needs for a fence.
const A_FENCE: Duration = Duration::from_millis(150);

/// A fence to paint, by its number.
#[derive(Clone, Serialize, Deserialize)]
struct Fence(u64);

impl WireMessage for Fence {
    const NAME: &'static str = "three_nodes.Fence";
}

/// Hands out fences. There is one in the cluster.
struct Foreman {
    node: u16,
    painted: u64,
}

#[derive(Serialize, Deserialize)]
enum ForemanMessage {
    /// How many are painted, as far as this foreman knows, and on which node he is.
    HowMany(ReplyTo<(u64, u16)>),
    #[serde(skip)]
    Next(RequestNext<Fence>),
    #[serde(skip)]
    Painted(Result<u64, AskError>),
}

impl WireMessage for ForemanMessage {
    const NAME: &'static str = "three_nodes.Foreman";
}

impl Actor for Foreman {
    type Message = ForemanMessage;

    async fn started(&mut self, ctx: &mut ActorContext<ForemanMessage>) -> Handled {
        say(&format!("the foreman works on node {}", self.node));
        let fences = WorkPullingController::props("fences", WorkPullingSettings::default()).service(painters());
        let fences = ctx.spawn("fences", fences);
        fences.tell(WorkPullingControllerMessage::Start { producer: ctx.this().map(ForemanMessage::Next) });
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<ForemanMessage>, message: ForemanMessage) -> Handled {
        match message {
            ForemanMessage::Next(next) => {
                let fence = Fence(next.seq_nr());
                ctx.pipe_to_self(next.send_confirmed(fence), ForemanMessage::Painted);
            }
            ForemanMessage::Painted(fence) => {
                fence?;
                self.painted += 1;
            }
            ForemanMessage::HowMany(reply_to) => reply_to.tell((self.painted, self.node)),
        }
        Ok(Behavior::Same)
    }
}

/// Paints one fence after the other, for whoever is the foreman.
struct Painter {
    node: u16,
}

impl Actor for Painter {
    type Message = Delivery<Fence>;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let controller = ConsumerController::props(ConsumerSettings::default()).service(painters());
        let controller = ctx.spawn("controller", controller);
        controller.tell(ConsumerControllerMessage::Start { deliver_to: ctx.this().clone() });
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, delivery: Delivery<Fence>) -> Handled {
        ctx.clock().sleep(A_FENCE).await;
        say(&format!("node {} has painted fence {}", self.node, delivery.message().0));
        delivery.confirm();
        Ok(Behavior::Same)
    }
}

fn painters() -> ServiceKey<ConsumerControllerMessage<Fence>> {
    ServiceKey::new("painters")
}

/// Says who comes and goes.
struct Watcher;

impl Actor for Watcher {
    type Message = ClusterEvent;

    async fn receive(&mut self, _ctx: &mut ActorContext<ClusterEvent>, event: ClusterEvent) -> Handled {
        match event {
            ClusterEvent::Up(member) => say(&format!("{} is up", member.node.address)),
            ClusterEvent::Unreachable(member) => say(&format!("{} cannot be reached", member.node.address)),
            ClusterEvent::Removed { member, .. } => say(&format!("{} is removed", member.node.address)),
            _ => {}
        }
        Ok(Behavior::Same)
    }
}

/// One node, until it is told to leave: by a line on its standard input or by the end of that, through management, or by the
/// others, who give it up.
async fn node(number: u16, first_port: u16) -> anyhow::Result<()> {
    let system = ActorSystem::new("painting");
    let port = first_port + number - 1;
    let seed = |number| format!("127.0.0.1:{}", first_port + number - 1).parse();
    let config = ClusterConfig {
        name: "three-nodes".to_owned(),
        seeds: (1..=3).map(seed).collect::<Result<_, _>>()?,
        ..ClusterConfig::local(port)
    };
    let cluster = Cluster::join(&system, config.message::<ForemanMessage>().delivery::<Fence>()).await?;
    let bind = (Ipv4Addr::LOCALHOST, port + MANAGEMENT_ABOVE).into();
    let management = ClusterManagement::start(&cluster);
    let management = http::serve(&cluster, management, ManagementConfig { bind, token: None }).await?;
    say(&format!("node {number} is up; cloudstate cluster status --node {management}"));
    if number == 1 {
        cluster.subscribe(&system.spawn("watcher", Watcher))?;
    }
    system.spawn("painter", Painter { node: number });
    let foreman = ClusterSingleton::init(&cluster, "foreman", Props::new(move || Foreman { node: number, painted: 0 }));

    let (told, mut is_told) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        let _ = told.blocking_send(());
    });
    loop {
        tokio::select! {
            _ = is_told.recv() => break,
            departure = cluster.terminated() => {
                say(&format!("node {number} is no member any more: {departure}"));
                system.terminated().await;
                return Ok(());
            }
            () = system.clock().sleep(Duration::from_secs(2)) => {}
        }
        if let Ok((painted, at)) = foreman.ask(ForemanMessage::HowMany, Duration::from_secs(1)).await
            && at == number
        {
            say(&format!("the foreman on node {at} knows of {painted} painted fences"));
        }
    }
    cluster.leave(Duration::from_secs(30)).await?;
    system.terminated().await;
    Ok(())
}

type Processes = Arc<Mutex<BTreeMap<u16, (Child, Option<ChildStdin>)>>>;

fn start(processes: &Processes, number: u16, first_port: u16) -> anyhow::Result<()> {
    let mut process = Command::new(std::env::current_exe()?)
        .args(["node", &number.to_string(), &first_port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (lines, input) = (process.stdout.take(), process.stdin.take());
    std::thread::spawn(move || {
        for line in lines.into_iter().flat_map(|lines| BufReader::new(lines).lines()) {
            say(&format!("[{number}] {}", line.unwrap_or_default()));
        }
    });
    lock(processes).insert(number, (process, input));
    Ok(())
}

fn lock(processes: &Processes) -> std::sync::MutexGuard<'_, BTreeMap<u16, (Child, Option<ChildStdin>)>> {
    processes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Starts three nodes and does what is typed.
fn all_three(first_port: u16) -> anyhow::Result<()> {
    anyhow::ensure!(
        (1..=u16::MAX - 2 - MANAGEMENT_ABOVE).contains(&first_port),
        "node 1 takes port {first_port}, and nodes and their management go up to {} more",
        MANAGEMENT_ABOVE + 2
    );
    let processes = Processes::default();
    (1..=3).try_for_each(|number| start(&processes, number, first_port))?;
    say("three nodes: `kill N`, `leave N`, `start N` or `quit`");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        // Who left by itself is not there any more.
        lock(&processes).retain(|_, (process, _)| !matches!(process.try_wait(), Ok(Some(_))));
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = words.get(1).and_then(|number| number.parse().ok()).filter(|number| (1..=3).contains(number));
        match (words.first().copied(), number) {
            (Some("kill"), Some(number)) => {
                if let Some((mut process, _)) = lock(&processes).remove(&number) {
                    process.kill()?;
                    process.wait()?;
                }
            }
            (Some("leave"), Some(number)) => {
                // The end of its input is its sign.
                if let Some((mut process, input)) = lock(&processes).remove(&number) {
                    drop(input);
                    process.wait()?;
                }
            }
            (Some("start"), Some(number)) if !lock(&processes).contains_key(&number) => {
                start(&processes, number, first_port)?;
            }
            (Some("quit"), _) => break,
            (None, _) => {}
            _ => say("`kill N`, `leave N`, `start N` with a node from 1 to 3, or `quit`"),
        }
    }
    for (_, (mut process, input)) in std::mem::take(&mut *lock(&processes)) {
        drop(input);
        process.kill()?;
        process.wait()?;
    }
    Ok(())
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be there to read it any more.
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => all_three(FIRST_PORT),
        [port] => all_three(port.parse()?),
        ["node", number, first_port] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(node(number.parse()?, first_port.parse()?))
        }
        _ => anyhow::bail!("nothing, or the port of node 1"),
    }
}
