//! Fifty carts, thousands of commands, and both processes killed again and again: what was
//! acknowledged is in the cart exactly once, and no event is in the journal twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prost::Message;
use proto::model::example::shoppingcart::persistence::{ItemAdded, ItemRemoved};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, free_port};

const WORKERS: usize = 10;
const CARTS_EACH: usize = 5;
const KILLS_EACH: usize = 22;
const COMMANDS_MIN: u64 = 2_000;

/// What a worker knows of one product: it is put into its cart once, and taken out at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Added,
    /// Sent, but the answer got lost.
    MaybeAdded,
    Removed,
    MaybeRemoved,
}

#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    acknowledged: watch::Sender<u64>,
}

type Carts = BTreeMap<String, BTreeMap<String, (Product, i32)>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_happens_twice() {
    let seed: u64 = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("CHAOS_SEED={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let (function_port, http_port) = (free_port(), free_port());
    let mut function = Function::start(function_port);
    let store = format!("sqlite:{}", folder.path().display());
    let mut sidecar = Sidecar::start(&store, http_port, function_port);

    let progress = Arc::new(Progress::default());
    let (stop, stopped) = watch::channel(false);
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let random = StdRng::seed_from_u64(seed ^ (worker as u64 + 1));
            tokio::spawn(work(worker, http_port, random, progress.clone(), stopped.clone()))
        })
        .collect();

    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = (0, 0);
    while kills.0 < KILLS_EACH || kills.1 < KILLS_EACH || *progress.acknowledged.borrow() < COMMANDS_MIN {
        after_more(&progress, random.random_range(15..60)).await;
        if kills.0 <= kills.1 {
            sidecar.kill();
            sidecar = Sidecar::start(&store, http_port, function_port);
            kills.0 += 1;
        } else {
            function.kill();
            function = Function::start(function_port);
            kills.1 += 1;
        }
    }
    after_more(&progress, 50).await;
    stop.send_replace(true);
    let mut carts = Carts::new();
    for worker in workers {
        carts.append(&mut worker.await.expect("a worker's check failed"));
    }
    let sent = progress.sent.load(Ordering::Relaxed);
    let acknowledged = *progress.acknowledged.borrow();
    eprintln!("{sent} commands sent, {acknowledged} acknowledged, kills {kills:?}");
    assert!(acknowledged >= COMMANDS_MIN && carts.len() == WORKERS * CARTS_EACH);

    sidecar.kill();
    let sidecar = Sidecar::start(&store, http_port, function_port);
    let mut client = CartClient::new(http_port);
    for (number, (cart, products)) in carts.iter().enumerate() {
        let items = client.until_answered(cart, number % 2 == 0).await;
        check_cart(cart, products, &items);
    }
    drop(sidecar);
    check_journal(folder.path(), &carts);
}

/// Waits until so many more commands have been acknowledged.
async fn after_more(progress: &Progress, more: u64) {
    let mut acknowledged = progress.acknowledged.subscribe();
    let goal = *acknowledged.borrow() + more;
    let reached = acknowledged.wait_for(|count| *count >= goal);
    tokio::time::timeout(Duration::from_secs(60), reached)
        .await
        .expect("no command is answered any more")
        .expect("alive");
}

/// One client: random commands on its own carts, by gRPC and by HTTP.
async fn work(
    worker: usize,
    port: u16,
    mut random: StdRng,
    progress: Arc<Progress>,
    stopped: watch::Receiver<bool>,
) -> Carts {
    let mut client = CartClient::new(port);
    let mut carts = Carts::new();
    for number in 0.. {
        if *stopped.borrow() {
            break;
        }
        let cart = format!("cart-{worker}-{}", number % CARTS_EACH);
        let products = carts.entry(cart.clone()).or_default();
        let by_http = random.random_bool(0.5);
        progress.sent.fetch_add(1, Ordering::Relaxed);
        let added: Vec<_> =
            products.iter().filter(|(_, known)| known.0 == Product::Added).map(|(id, _)| id.clone()).collect();
        let answered = match random.random_range(0..10) {
            0..6 => {
                let (id, quantity) = (format!("p{number}"), random.random_range(1..100));
                let answer = client.add(&cart, &id, quantity, by_http).await;
                let known = if answer.is_ok() { Product::Added } else { Product::MaybeAdded };
                products.insert(id, (known, quantity));
                answer.is_ok()
            }
            6..8 if !added.is_empty() => {
                let id = &added[random.random_range(0..added.len())];
                let answer = client.remove(&cart, id, by_http).await;
                let known = if answer.is_ok() { Product::Removed } else { Product::MaybeRemoved };
                products.get_mut(id).expect("known").0 = known;
                answer.is_ok()
            }
            _ => match client.get(&cart, by_http).await {
                Ok(items) => {
                    check_cart(&cart, products, &items);
                    true
                }
                Err(_) => false,
            },
        };
        if answered {
            progress.acknowledged.send_modify(|count| *count += 1);
        } else {
            client.reconnect().await;
        }
    }
    carts
}

fn check_cart(cart: &str, products: &BTreeMap<String, (Product, i32)>, items: &BTreeMap<String, i32>) {
    for (id, (known, quantity)) in products {
        match (known, items.get(id)) {
            (Product::Added, None) => panic!("{cart}: {id} was acknowledged and is lost"),
            (Product::Removed, Some(_)) => panic!("{cart}: {id} was removed and is back"),
            (_, Some(found)) => assert_eq!(found, quantity, "{cart}: {id} is not there exactly once"),
            (Product::MaybeAdded | Product::Removed | Product::MaybeRemoved, None) => {}
        }
    }
    for id in items.keys() {
        assert!(products.contains_key(id), "{cart}: {id} was never put in");
    }
}

fn check_journal(folder: &std::path::Path, carts: &Carts) {
    let journal = crate::process::journal_of(folder);
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut seen: BTreeMap<(String, String, String), u32> = BTreeMap::new();
    for (id, seq, manifest, payload) in &journal {
        let expected = last.get(id).copied().unwrap_or(0) + 1;
        assert_eq!(*seq, expected, "{id}: sequence numbers are contiguous");
        last.insert(id.clone(), *seq);
        let product = match manifest.rsplit('.').next() {
            Some("ItemAdded") => {
                ItemAdded::decode(&payload[..]).expect("bytes as stored").item.expect("an item").product_id
            }
            Some("ItemRemoved") => ItemRemoved::decode(&payload[..]).expect("bytes as stored").product_id,
            other => panic!("{id}: {other:?} is no event of the cart"),
        };
        let times = seen.entry((id.clone(), product, manifest.clone())).or_default();
        *times += 1;
        assert_eq!(*times, 1, "{id}: the event at {seq} is there twice");
    }
    let written = carts.iter().filter(|(_, products)| products.values().any(|known| known.0 == Product::Added));
    for (cart, _) in written {
        assert!(last.keys().any(|id| id.ends_with(&format!("|{cart}"))), "{cart} has no events");
    }
    eprintln!("{} events in the journal", journal.len());
}
