//! Real threads: senders route while the pool changes under them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::{Actor, ActorContext, ActorSystem, Behavior, Handled, Mailbox, PoolRouter, Props, RoutingLogic};

const SENDERS: u64 = 4;
const MESSAGES: u64 = 3_000;

/// Fails the test when a sender's messages come out of order.
struct Counter {
    last: BTreeMap<u64, u64>,
    handled: Arc<AtomicU64>,
    disorder: Arc<Mutex<Vec<String>>>,
}

struct Numbered {
    sender: u64,
    number: u64,
}

impl Actor for Counter {
    type Message = Numbered;

    async fn receive(&mut self, ctx: &mut ActorContext<Numbered>, message: Numbered) -> Handled {
        let Numbered { sender, number } = message;
        if let Some(last) = self.last.insert(sender, number)
            && last >= number
        {
            self.disorder.lock().unwrap().push(format!("{}: {sender}: {number} after {last}", ctx.path()));
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(Behavior::Same)
    }
}

fn run(logic: RoutingLogic<Numbered>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let system = ActorSystem::new("pool under load");
        let (handled, disorder) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, noted) = (handled.clone(), disorder.clone());
        let pool = PoolRouter::new(2, move || {
            let (handled, disorder) = (counted.clone(), noted.clone());
            Props::new(move || Counter { last: BTreeMap::new(), handled: handled.clone(), disorder: disorder.clone() })
                .mailbox(Mailbox::bounded(16))
        });
        let pool = system.spawn_pool("pool", pool.logic(logic));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for number in 0..MESSAGES {
                        let sent = pool.send(Numbered { sender, number }).await;
                        assert!(sent.is_ok());
                    }
                })
            })
            .collect();
        let mut size = 2;
        while !senders.iter().all(|sender| sender.is_finished()) {
            size = size % 5 + 1;
            pool.resize(size);
            system.clock().sleep(Duration::from_millis(1)).await;
        }
        for sender in senders {
            sender.await.unwrap();
        }
        let events = system.event_stream();
        while handled.load(Ordering::Relaxed) + events.dead_letters_total() < SENDERS * MESSAGES {
            system.clock().sleep(Duration::from_millis(1)).await;
        }
        // Before the end, which may find an order to resize in the pool's mailbox.
        assert_eq!((handled.load(Ordering::Relaxed), events.dead_letters_total()), (SENDERS * MESSAGES, 0));
        system.terminate().await;
        assert_eq!(*disorder.lock().unwrap(), [""; 0]);
    });
}

#[test]
fn nothing_is_lost_or_overtaken_in_a_pool_that_changes_under_load() {
    run(RoutingLogic::round_robin());
    run(RoutingLogic::smallest_mailbox());
    run(RoutingLogic::consistent_hashing(|message: &Numbered| message.number % 64));
}
