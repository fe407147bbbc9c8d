//! Spawning: actors that are started, take one message and stop, beside tasks with a channel that do the same.

#![allow(missing_docs, clippy::print_stdout, reason = "a bench is a program")]

use std::sync::Arc;

use actors::{Actor, ActorContext, ActorSystem, Behavior, Handled};
use benches::runtime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::sync::{Semaphore, mpsc};

const ACTORS: u32 = 10_000;

/// Adds a permit when it is told to, and stops.
struct Once;

impl Actor for Once {
    type Message = Arc<Semaphore>;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, done: Self::Message) -> Handled {
        done.add_permits(1);
        Ok(Behavior::Stopped)
    }
}

fn spawn(c: &mut Criterion) {
    let runtime = runtime();
    let system = runtime.block_on(async { ActorSystem::new("spawn") });
    let mut group = c.benchmark_group("spawn, one message, stop");
    group.throughput(Throughput::Elements(ACTORS.into())).sample_size(20);
    group.bench_function("actor", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let done = Arc::new(Semaphore::new(0));
                for _ in 0..ACTORS {
                    system.spawn_anonymous(Once).tell(done.clone());
                }
                all(&done).await;
            });
        });
    });
    group.bench_function("tokio task with a channel", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let done = Arc::new(Semaphore::new(0));
                for _ in 0..ACTORS {
                    let (tell, mut inbox) = mpsc::channel::<Arc<Semaphore>>(16);
                    tokio::spawn(async move {
                        if let Some(done) = inbox.recv().await {
                            done.add_permits(1);
                        }
                    });
                    tell.try_send(done.clone()).expect("there is room");
                }
                all(&done).await;
            });
        });
    });
    group.finish();
    runtime.block_on(system.terminate());
}

/// Waits for every one of them.
async fn all(done: &Semaphore) {
    done.acquire_many(ACTORS).await.expect("nobody closes it").forget();
    assert_eq!(done.available_permits(), 0, "one spoke twice");
}

criterion_group!(benches, spawn);
criterion_main!(benches);
