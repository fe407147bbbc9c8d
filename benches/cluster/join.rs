//! Nodes in one process, over loopback: how long until all of them are up and see each other.

use std::time::Duration;

use actors::ActorSystem;
use cluster::{Cluster, ClusterConfig, MemberStatus};
use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::{args::Args, median, usage::Watch};

const WITHIN: Duration = Duration::from_secs(60);

pub fn measure(args: &Args) -> anyhow::Result<()> {
    let runtime = benches::runtime();
    let (mut times, mut cpu) = (vec![], vec![]);
    for _ in 0..args.rounds {
        let watch = Watch::start();
        let nodes = runtime.block_on(join(args.nodes))?;
        let took = watch.stop();
        times.push(took.wall.as_secs_f64());
        cpu.push(took.cpu.as_secs_f64());
        runtime.block_on(async {
            join_all(nodes.iter().map(|node| node.system().terminate())).await;
        });
    }
    println!(
        "join     {:>4} nodes   {:>9.2} s until each sees all up   CPU {:.2} s",
        args.nodes,
        median(times),
        median(cpu)
    );
    Ok(())
}

async fn join(count: usize) -> anyhow::Result<Vec<Cluster>> {
    let first = start(ClusterConfig::local(0)).await?;
    let seeds = vec![first.me().address.clone()];
    let mut nodes = vec![first];
    let mut joining = JoinSet::new();
    for _ in 1..count {
        joining.spawn(start(ClusterConfig { seeds: seeds.clone(), ..ClusterConfig::local(0) }));
    }
    while let Some(node) = joining.join_next().await {
        nodes.push(node??);
    }
    let clock = nodes[0].system().clock();
    let all_see_all = async {
        while !nodes.iter().all(|node| sees(node, count)) {
            clock.sleep(Duration::from_millis(5)).await;
        }
    };
    clock.timeout(WITHIN, all_see_all).await?;
    Ok(nodes)
}

async fn start(config: ClusterConfig) -> anyhow::Result<Cluster> {
    let system = ActorSystem::new("bench");
    Ok(Cluster::join(&system, config).await?)
}

fn sees(node: &Cluster, count: usize) -> bool {
    let state = node.state();
    state.members.len() == count
        && state.unreachable.is_empty()
        && state.members.iter().all(|member| member.status == MemberStatus::Up)
}
