//! What is measured once and not against a floor: coming back after a kill, memory an open entity takes, bytes an event
//! takes on the disk, processor time of a sidecar that nobody calls.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::time::sleep;

use crate::args::{Args, Kind};
use crate::build::Binaries;
use crate::contestant::{Contestant, Running};
use crate::http_get::http_get;
use crate::load::Plan;
use crate::proc_stat::cpu_time;
use crate::rounds::drive;

/// Events in the store before it is killed.
const EVENTS: u64 = 100_000;
/// Carts that are opened to see what one takes.
const OPENED: usize = 10_000;

/// Measures and prints the rows of the sidecar with its embedded store.
///
/// # Errors
/// When a part cannot be started or does not answer.
pub async fn measure(args: &Args, binaries: &Binaries, scratch: &Path) -> anyhow::Result<()> {
    let smoke = args.kind == Kind::Smoke;
    let (events, opened, idle) = if smoke { (100, 10, 200) } else { (EVENTS, OPENED, 5_000) };
    let mut sidecar = Running::start(Contestant::SidecarDurable, binaries, scratch).await?;
    let idle = Duration::from_millis(idle);
    let spent = {
        let before = cpu_time(sidecar.server_pid());
        sleep(idle).await;
        cpu_time(sidecar.server_pid()) - before
    };
    println!("idle, 100 carts open: {:.2} % of a core", spent.as_secs_f64() / idle.as_secs_f64() * 100.0);

    let plan = |prefix: &str, carts: usize, measured: Duration| Plan {
        target: sidecar.target,
        door: sidecar.door,
        prefix: prefix.to_owned(),
        kind: None,
        carts,
        clients: 64,
        warm_up: Duration::ZERO,
        measured,
        watched: Vec::new(),
    };
    let stretch = if smoke { Duration::from_millis(150) } else { Duration::from_secs(2) };
    let fill = plan("filled-", 1_000.min(opened), stretch);
    let open = plan("open-", opened, stretch);
    while sidecar.events().await? < events {
        drive(&binaries.roles, &fill).await?;
    }
    let written = sidecar.events().await?;

    let before = sidecar.resident_mb();
    sidecar.touch(&open).await?;
    let each = (sidecar.resident_mb() - before) * 1e3 / opened as f64;
    println!("memory of a further open cart: {each:.1} KB, over {opened} carts");

    let back = sidecar.killed_and_back(binaries, "open-0").await?;
    println!(
        "killed with {written} events in the store: first command answered after {:.0} ms",
        back.as_secs_f64() * 1e3
    );

    let events = written + opened as u64 + 1;
    let bytes = sidecar.stopped_size().await?;
    println!("on the disk after an orderly stop: {:.0} bytes an event, {events} events", bytes as f64 / events as f64);
    Ok(())
}

impl Running {
    /// Events written so far.
    async fn events(&self) -> anyhow::Result<u64> {
        let metrics = self.metrics.context("a sidecar has metrics")?;
        let (_, page) = http_get(metrics, "/metrics").await?;
        let line = page.lines().find(|line| line.starts_with("persistence_events_total"));
        let value = line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0");
        Ok(value.parse::<f64>()? as u64)
    }

    /// Adds once to each cart of the plan.
    async fn touch(&self, plan: &Plan) -> anyhow::Result<()> {
        let mut carts = crate::contestant::client(self.target).await?;
        for number in 0..plan.carts {
            carts.add_item(crate::cart::add_one(&format!("{}{number}", plan.prefix))).await?;
        }
        Ok(())
    }

    /// Kills the sidecar, starts it on the same store, and calls an old cart until it answers.
    async fn killed_and_back(&mut self, binaries: &Binaries, cart: &str) -> anyhow::Result<Duration> {
        drop(self.server.take());
        let begin = Instant::now();
        self.server = Some(self.sidecar_process(binaries)?);
        loop {
            let answered = async {
                let mut carts = crate::contestant::client(self.target).await?;
                anyhow::Ok(carts.get_cart(crate::cart::read(cart)).await?.into_inner())
            };
            match answered.await {
                Ok(cart) => {
                    ensure!(!cart.items.is_empty(), "the cart is empty after the kill");
                    return Ok(begin.elapsed());
                }
                Err(error) if begin.elapsed() > Duration::from_secs(20) => return Err(error),
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Stops the sidecar in order and says how large its store is.
    async fn stopped_size(&mut self) -> anyhow::Result<u64> {
        let mut server = self.server.take().context("it runs")?;
        server.terminate().await?;
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.folder.path().join("store"))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }
}
