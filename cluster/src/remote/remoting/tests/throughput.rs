//! How many small messages go from node to node, against frames over a bare connection. Run by hand:
//! `cargo test --release -p cluster --lib throughput -- --ignored --nocapture`.

use super::{
    super::{Receivers, Remoting, RemotingSettings},
    nodes::over_tcp,
};
use crate::{
    member::UniqueAddress,
    remote::{
        connection::read_frame,
        door::{Channel, Receiver, Remote},
        frame::{FrameDecoder, encode},
        tcp::Tcp,
        transport::{Lane, Transport},
        wire::Registry,
    },
    rng::Rng,
    seams::Seams,
};
use actors::Clock;
use bytes::{Bytes, BytesMut};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{io::AsyncWriteExt, runtime::Handle};

const MESSAGES: usize = 500_000;
const BODY: usize = 40;

#[derive(Default)]
struct Counter(AtomicUsize);

impl Receiver for Counter {
    fn deliver(&self, _: &UniqueAddress, _: Lane, _: bool, body: Bytes) {
        assert_eq!(body.len(), BODY);
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn start(uid: u64, (tcp, me): (Tcp, UniqueAddress), clock: &Clock, counter: Arc<Counter>) -> Arc<Remoting> {
    let seams = Seams {
        clock: clock.clone(),
        transport: Arc::new(tcp),
        control: Arc::new(Handle::current()),
        ordinary: Arc::new(Handle::current()),
        rng: Arc::new(Rng::seeded(uid)),
    };
    let receivers = Receivers::from([(Channel::Actors, counter as _)]);
    let settings = RemotingSettings { cluster: "shop".into(), ..RemotingSettings::default() };
    Remoting::start(me, settings, Registry::default(), seams, receivers)
}

/// Messages in a second, through remoting.
async fn through_remoting(clock: &Clock) -> f64 {
    let counter = Arc::new(Counter::default());
    let (of_one, of_two) = (over_tcp(1, clock), over_tcp(2, clock));
    let to = of_two.1.address.clone();
    let one = start(1, of_one, clock, Arc::default());
    let _two = start(2, of_two, clock, Arc::clone(&counter));
    let before = clock.now();
    for sent in 0..MESSAGES {
        // An actor that sends: what it sends is a value of its own.
        one.send(&to, None, Channel::Actors, Lane::Ordinary, Bytes::from(vec![7; BODY]));
        while (sent + 1).saturating_sub(counter.0.load(Ordering::Acquire)) > 2000 {
            tokio::task::yield_now().await;
        }
    }
    while counter.0.load(Ordering::Acquire) < MESSAGES {
        tokio::task::yield_now().await;
    }
    MESSAGES as f64 / (clock.now() - before).as_secs_f64()
}

/// The same over a bare connection: as many in a write as remoting may have.
async fn over_a_bare_connection(clock: &Clock) -> f64 {
    let ((one, _), (two, at_two)) = (over_tcp(1, clock), over_tcp(2, clock));
    let before = clock.now();
    let writes = tokio::spawn(async move {
        let mut stream = one.dial(at_two.address, Lane::Ordinary).await.unwrap();
        let mut buffer = BytesMut::new();
        for sent in 1..=MESSAGES {
            let body = Bytes::from(vec![7; BODY]);
            encode(Lane::Ordinary.frame_max(), &[&body], &mut buffer).unwrap();
            if sent % 256 == 0 || sent == MESSAGES {
                stream.write_all_buf(&mut buffer).await.unwrap();
            }
        }
        stream
    });
    let (mut stream, _) = two.listen().accept().await.unwrap();
    let mut decoder = FrameDecoder::new(Lane::Ordinary.frame_max());
    for _ in 0..MESSAGES {
        assert_eq!(read_frame(&mut stream, &mut decoder).await.unwrap().unwrap().len(), BODY);
    }
    writes.await.unwrap();
    MESSAGES as f64 / (clock.now() - before).as_secs_f64()
}

#[test]
#[ignore = "it measures"]
#[allow(clippy::print_stdout, reason = "it is run by hand, to be read")]
fn throughput() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clock = Clock::tokio();
    runtime.block_on(async {
        for _ in 0..3 {
            let (bare, remoting) = (over_a_bare_connection(&clock).await, through_remoting(&clock).await);
            println!("bare {bare:.0}/s, remoting {remoting:.0}/s: {:.2}", remoting / bare);
        }
    });
}
