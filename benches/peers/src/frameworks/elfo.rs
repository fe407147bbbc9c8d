//! elfo: actors are tasks spawned by a router; the mailbox is an intrusive
//! linked list of heap-allocated envelopes with a semaphore for capacity and a
//! `Notify` for the receiver; addresses are looked up in a slab per send.
//!
//! An elfo actor can only be reached through the context of another, so elfo
//! does not fit [`crate::framework::Framework`] and has its own drivers for
//! the workloads it can run. They send with `unbounded_send_to`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use elfo::config::AnyConfig;
use elfo::routers::{MapRouter, Outcome};
use elfo::{_priv::do_start, ActorGroup, Addr, Context, Local, Topology, message, messages, msg};
use tokio::sync::oneshot;

use crate::body::Latch;
use crate::framework::{Flavor, tokio_block_on};
use crate::measure::{Measure, Watch, rss_bytes};
use crate::workloads::Workload;

pub const NAME: &str = "elfo";
pub const MAILBOX: &str = "unbounded_send_to";

/// Makes the router spawn the actor of this number.
#[message]
struct Boot {
    key: u64,
}

#[message]
struct Tell(u64);

#[message(ret = u64)]
struct Ask(u64);

#[message]
struct Wire {
    next: Local<Addr>,
}

/// What an actor of this harness does.
enum Role {
    Sink { left: u64, sum: u64, done: Latch },
    Relay { next: Option<Addr>, done: Latch },
    Echo,
    Blip { seen: Latch },
}

/// An actor to be: its role, and whom to tell its address.
type Plan = (Role, oneshot::Sender<Addr>);

type Plans = Arc<Mutex<HashMap<u64, Plan>>>;

async fn actor(mut ctx: Context<(), u64>, plans: Plans) {
    let plan = plans.lock().expect("not poisoned").remove(ctx.key());
    let (mut role, born) = plan.expect("planned");
    let _ = born.send(ctx.addr());
    while let Some(envelope) = ctx.recv().await {
        msg!(match envelope {
            Tell(value) => match &mut role {
                Role::Sink { left, sum, done } => {
                    *sum += value;
                    *left -= 1;
                    if *left == 0 {
                        done.arrive(*sum);
                    }
                }
                Role::Relay { next, done } => match value {
                    0 => done.arrive(0),
                    _ => {
                        let next = next.expect("wired");
                        ctx.unbounded_send_to(next, Tell(value - 1)).expect("alive");
                    }
                },
                Role::Blip { seen } => seen.arrive(value),
                Role::Echo => unreachable!(),
            },
            (Ask(value), token) => ctx.respond(token, value + 1),
            Wire { next: to } => match &mut role {
                Role::Relay { next, .. } => *next = Some(to.into_inner()),
                _ => unreachable!(),
            },
            Boot => {}
        });
    }
}

/// A task that runs as an elfo actor, for clients.
type Client = Box<dyn FnOnce(Context<(), u64>) -> futures_util::future::BoxFuture<'static, ()> + Send>;

type Clients = Arc<Mutex<HashMap<u64, Client>>>;

struct World {
    ctx: Context,
    cells: Addr,
    clients_group: Addr,
    plans: Plans,
    clients: Clients,
    next: u64,
}

impl World {
    fn plan(&mut self, role: Role) -> oneshot::Receiver<Addr> {
        let (tx, rx) = oneshot::channel();
        let key = self.next;
        self.next += 1;
        self.plans.lock().expect("not poisoned").insert(key, (role, tx));
        self.ctx.unbounded_send_to(self.cells, Boot { key }).expect("group is up");
        rx
    }

    async fn spawn(&mut self, role: Role) -> Addr {
        self.plan(role).await.expect("born")
    }

    fn client<Fut: Future<Output = ()> + Send + 'static>(
        &mut self,
        client: impl FnOnce(Context<(), u64>) -> Fut + Send + 'static,
    ) {
        let key = self.next;
        self.next += 1;
        let client: Client = Box::new(move |ctx| Box::pin(client(ctx)));
        self.clients.lock().expect("not poisoned").insert(key, client);
        self.ctx.unbounded_send_to(self.clients_group, Boot { key }).expect("group is up");
    }

    fn tell(&self, to: Addr, value: u64) {
        self.ctx.unbounded_send_to(to, Tell(value)).expect("alive");
    }
}

fn start<Fut>(flavor: Flavor, drive: impl FnOnce(World) -> Fut + Send + 'static) -> Measure
where
    Fut: Future<Output = Measure> + Send,
{
    tokio_block_on(flavor, async move {
        let plans = Plans::default();
        let clients = Clients::default();
        let by_key = || {
            MapRouter::new(|envelope: &elfo::Envelope| {
                msg!(match envelope {
                    Boot { key } => Outcome::Unicast(*key),
                    _ => Outcome::Default,
                })
            })
        };

        let topology = Topology::empty();
        let cells = topology.local("cells");
        let client_group = topology.local("clients");
        let (cells_addr, clients_addr) = (cells.addr(), client_group.addr());
        let shared = plans.clone();
        cells.mount(ActorGroup::new().router(by_key()).exec(move |ctx| actor(ctx, shared.clone())));
        let shared = clients.clone();
        client_group.mount(ActorGroup::new().router(by_key()).exec(move |ctx| {
            let client = shared.lock().expect("not poisoned").remove(ctx.key());
            client.expect("planned")(ctx)
        }));

        do_start(topology, false, |ctx, _| async move {
            for group in [cells_addr, clients_addr] {
                let update = messages::UpdateConfig::new(AnyConfig::default());
                ctx.request_to(group, update).resolve().await.expect("up").expect("valid");
            }
            drive(World { ctx, cells: cells_addr, clients_group: clients_addr, plans, clients, next: 0 }).await
        })
        .await
        .expect("started")
    })
}

pub fn supports(workload: Workload) -> bool {
    !matches!(workload, Workload::Skynet | Workload::FanOut)
}

pub fn run(workload: Workload, flavor: Flavor, ops: u64) -> Measure {
    match workload {
        Workload::Tell1to1 => tell(flavor, 1, ops),
        Workload::TellNto1 => tell(flavor, 8, ops),
        Workload::PingPong => relay(flavor, 2, 1, ops),
        Workload::Ring => relay(flavor, 10_000, 100, ops),
        Workload::Ask => ask(flavor, 1, 1, ops),
        Workload::AskConcurrent => ask(flavor, 16, 256, ops),
        Workload::Spawn => spawn(flavor, ops),
        Workload::Skynet | Workload::FanOut => unreachable!(),
    }
}

fn tell(flavor: Flavor, producers: u64, ops: u64) -> Measure {
    let each = ops / producers;
    let ops = each * producers;
    start(flavor, move |mut world| async move {
        let done = Latch::new(1);
        let to = world.spawn(Role::Sink { left: ops, sum: 0, done: done.clone() }).await;
        let watch = Watch::start();
        for _ in 0..producers {
            world.client(move |ctx| async move {
                for i in 0..each {
                    ctx.unbounded_send_to(to, Tell(i)).expect("alive");
                    if flavor == Flavor::Current && i % 256 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        let sum = done.wait().await;
        assert_eq!(sum, producers * (each * (each - 1) / 2), "messages lost");
        watch.stop(ops)
    })
}

fn relay(flavor: Flavor, actors: usize, tokens: u64, ops: u64) -> Measure {
    let hops = (ops / tokens).max(1);
    let ops = hops * tokens;
    start(flavor, move |mut world| async move {
        let done = Latch::new(tokens);
        let mut ring = Vec::new();
        for _ in 0..actors {
            let next = ring.last().copied();
            let role = Role::Relay { next, done: done.clone() };
            ring.push(world.spawn(role).await);
        }
        let next = Local::from(*ring.last().expect("not empty"));
        world.ctx.unbounded_send_to(ring[0], Wire { next }).expect("alive");
        let watch = Watch::start();
        for token in 0..tokens as usize {
            world.tell(ring[token * (actors / tokens as usize)], hops - 1);
        }
        done.wait().await;
        watch.stop(ops)
    })
}

fn ask(flavor: Flavor, actors: usize, clients: usize, ops: u64) -> Measure {
    let each = (ops / clients as u64).max(1);
    let ops = each * clients as u64;
    start(flavor, move |mut world| async move {
        let mut to = Vec::new();
        for _ in 0..actors {
            to.push(world.spawn(Role::Echo).await);
        }
        let done = Latch::new(clients as u64);
        let watch = Watch::start();
        for i in 0..clients {
            let (to, done) = (to.clone(), done.clone());
            world.client(move |ctx| async move {
                let mut sum = 0;
                for n in 0..each {
                    let to = to[(i + n as usize) % actors];
                    sum += ctx.request_to(to, Ask(n)).resolve().await.expect("alive");
                }
                done.arrive(sum);
            });
        }
        let sum = done.wait().await;
        let expected = clients as u64 * (each * (each - 1) / 2 + each);
        assert_eq!(sum, expected, "replies wrong");
        watch.stop(ops)
    })
}

fn spawn(flavor: Flavor, ops: u64) -> Measure {
    start(flavor, move |mut world| async move {
        let seen = Latch::new(ops);
        let mut actors = vec![world.cells; ops as usize];
        let before = rss_bytes();
        let watch = Watch::start();
        for actor in &mut actors {
            *actor = world.spawn(Role::Blip { seen: seen.clone() }).await;
        }
        let measure = watch.stop(ops);
        let idle = rss_bytes();
        let first = std::time::Instant::now();
        for (i, actor) in actors.iter().enumerate() {
            world.tell(*actor, i as u64);
        }
        assert_eq!(seen.wait().await, ops * (ops - 1) / 2, "messages lost");
        let first = first.elapsed();
        let used = rss_bytes();
        let per = |total: f64| total / ops as f64;
        measure
            .with("first_message_ns", per(first.as_nanos() as f64))
            .with("bytes_per_idle_actor", per(idle as f64 - before as f64))
            .with("bytes_after_one", per(used as f64 - before as f64))
            .with("bytes_of_ref", size_of::<Addr>() as f64)
    })
}
