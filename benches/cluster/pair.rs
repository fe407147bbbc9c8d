//! Two nodes of one cluster in this process, each with a runtime of one worker.

use std::{sync::Arc, time::Duration};

use actors::{ActorRef, ActorSystem, ServiceKey};
use anyhow::Context;
use cluster::{Cluster, ClusterConfig};
use tokio::runtime::{Builder, Runtime};

use crate::messages::{Desk, Message, Received};

const WITHIN: Duration = Duration::from_secs(20);

pub struct Pair {
    pub here: Runtime,
    pub there: Runtime,
    nodes: [Cluster; 2],
    /// The other node's, as this one sees it.
    pub desk: ActorRef<Message>,
    pub received: Arc<Received>,
}

pub fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

impl Pair {
    pub fn start() -> anyhow::Result<Self> {
        let (here, there) = (runtime()?, runtime()?);
        let one = join(&here, ClusterConfig::local(0))?;
        let seeds = vec![one.me().address.clone()];
        let two = join(&there, ClusterConfig { seeds, ..ClusterConfig::local(0) })?;
        let received = Arc::<Received>::default();
        let at_home = two.system().spawn("desk", Desk { received: received.clone() });
        let key = ServiceKey::<Message>::new("desk");
        two.system().receptionist().register(&key, &at_home);
        let desk = here.block_on(async {
            let clock = one.system().clock();
            let found = async {
                loop {
                    if let Some(desk) = one.system().receptionist().find(&key, WITHIN).await?.instances().first() {
                        return anyhow::Ok(desk.clone());
                    }
                    clock.sleep(Duration::from_millis(20)).await;
                }
            };
            clock.timeout(WITHIN, found).await.context("the desk is not listed")?
        })?;
        Ok(Self { here, there, nodes: [one, two], desk, received })
    }

    /// On a worker, as actors run; not on the thread that waits.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> anyhow::Result<T> {
        Ok(self.here.block_on(self.here.spawn(work))?)
    }

    pub fn stop(self) -> anyhow::Result<()> {
        let [one, two] = self.nodes;
        self.there.block_on(two.leave(WITHIN))?;
        self.here.block_on(one.leave(WITHIN))?;
        Ok(())
    }
}

fn join(runtime: &Runtime, config: ClusterConfig) -> anyhow::Result<Cluster> {
    let system = ActorSystem::builder("bench").runtime(runtime.handle().clone()).start();
    Ok(runtime.block_on(Cluster::join(&system, config.message::<Message>()))?)
}
