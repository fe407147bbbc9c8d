//! What the network does to what it carries, and that a seed does it again.

use super::{NetFaults, SimNet};
use crate::{
    member::Address,
    remote::transport::{ByteStream, Lane, Transport},
    rng::Rng,
    testkit::{draw::Draw, trace::Trace},
};
use actors::Clock;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Handle, Runtime},
};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    runtime: Runtime,
    clock: Clock,
    net: SimNet,
    trace: Trace,
    doors: Vec<Arc<dyn Transport>>,
}

fn address(host: usize) -> Address {
    Address::new(format!("n{host}"), 2551).unwrap()
}

impl World {
    fn new(seed: u64, hosts: usize, faults: NetFaults) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let clock = Clock::paused(runtime.handle(), 0);
        let trace = Trace::new(true);
        let net = SimNet::new(clock.clone(), Draw::fork(&Rng::seeded(seed), "net"), trace.clone());
        (0..hosts).for_each(|host| assert_eq!(net.add(address(host)), host));
        let doors = (0..hosts).map(|host| net.start(host)).collect();
        net.set_faults(faults);
        Self { runtime, clock, net, trace, doors }
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    fn pass(&self, time: Duration) {
        self.run(self.clock.sleep(time));
    }

    /// All datagrams that come to `host` from now on.
    fn inbox(&self, host: usize) -> Arc<Mutex<Vec<Bytes>>> {
        let inbox = Arc::new(Mutex::new(Vec::new()));
        let (_, mut receiver) = self.doors[host].datagrams();
        let puts = inbox.clone();
        self.runtime.spawn(async move {
            while let Ok((datagram, _)) = receiver.receive().await {
                puts.lock().unwrap().push(datagram);
            }
        });
        inbox
    }

    fn send(&self, from: usize, to: usize, count: u8) {
        let (sender, _) = self.doors[from].datagrams();
        self.run(async {
            for n in 0..count {
                sender.send(address(to), vec![n; 40].into()).await.unwrap();
            }
        });
    }

    /// A connection, both ends.
    fn connected(&self, from: usize, to: usize) -> (ByteStream, ByteStream) {
        self.run(async {
            let mut listener = self.doors[to].listen();
            let dialled = self.doors[from].dial(address(to), Lane::Ordinary).await.unwrap();
            (dialled, listener.accept().await.unwrap().0)
        })
    }
}

fn everything() -> NetFaults {
    NetFaults {
        delay_ms: (0, 200),
        loss: 150,
        bursts: 20,
        duplicates: 100,
        truncations: 50,
        flips: 50,
        replays: 50,
        short_io: 300,
        resets: 100,
        refusals: 50,
        black_holes: 20,
        mutes: 50,
    }
}

/// Some traffic under all faults at once; what comes of it.
fn traffic(seed: u64) -> (u64, String) {
    let world = World::new(seed, 3, everything());
    let inbox = world.inbox(1);
    for round in 0..20 {
        world.send(0, 1, 10);
        world.send(2, 1, 10);
        let door = world.doors[0].clone();
        let dials = async move {
            let mut stream = door.dial(address(1), Lane::Control).await?;
            stream.write_all(&[round; 5000]).await?;
            stream.read_u8().await
        };
        let clock = world.clock.clone();
        world.runtime.spawn(async move { drop(clock.timeout(SECOND * 5, dials).await) });
        let mut listener = world.doors[1].listen();
        let reads = async {
            let (mut stream, _) = listener.accept().await?;
            let mut bytes = vec![0; 3000];
            stream.read_exact(&mut bytes).await?;
            stream.write_u8(1).await
        };
        let _ = world.run(world.clock.timeout(SECOND * 3, reads));
    }
    let came = inbox.lock().unwrap().len();
    (world.trace.hash(), format!("{}{came} {:?}", world.trace.text(), world.net.carried()))
}

#[test]
fn a_seed_tells_the_same_story_twice_and_each_seed_another() {
    let stories: Vec<_> = (0..6).map(traffic).collect();
    for (seed, story) in (0..).zip(&stories) {
        assert_eq!(*story, traffic(seed), "seed {seed}");
    }
    let hashes: BTreeMap<u64, &String> = stories.iter().map(|(hash, story)| (*hash, story)).collect();
    assert_eq!(hashes.len(), stories.len());
}

#[test]
fn each_fault_of_datagrams_happens_about_as_often_as_it_should_and_alone() {
    let counted = |faults: NetFaults| {
        let world = World::new(7, 2, faults);
        let inbox = world.inbox(1);
        for _ in 0..20 {
            world.send(0, 1, 100);
            world.pass(SECOND * 3);
        }
        let whole = |datagram: &&Bytes| datagram.len() == 40 && datagram.iter().all(|byte| *byte == datagram[0]);
        let inbox = inbox.lock().unwrap();
        (inbox.len(), inbox.iter().filter(whole).count())
    };
    let none = NetFaults::NONE;
    assert_eq!(counted(none.clone()), (2000, 2000));
    let (came, whole) = counted(NetFaults { loss: 300, ..none.clone() });
    assert!((1300..1500).contains(&came) && whole == came, "{came} {whole}");
    for more in [NetFaults { duplicates: 100, ..none.clone() }, NetFaults { replays: 100, ..none.clone() }] {
        let (came, whole) = counted(more);
        assert!((2120..2290).contains(&came) && whole == came, "{came} {whole}");
    }
    for damage in [NetFaults { truncations: 100, ..none.clone() }, NetFaults { flips: 100, ..none.clone() }] {
        let (came, whole) = counted(damage);
        assert!(came == 2000 && (1720..1880).contains(&whole), "{came} {whole}");
    }
    let (came, whole) = counted(NetFaults { bursts: 5, ..none });
    assert!((1000..1990).contains(&came) && whole == came, "{came} {whole}");
}

#[test]
fn datagrams_overtake_each_other_within_the_delay_and_never_come_early() {
    let world = World::new(1, 2, NetFaults { delay_ms: (100, 300), ..NetFaults::NONE });
    let inbox = world.inbox(1);
    world.send(0, 1, 50);
    world.pass(Duration::from_millis(99));
    assert_eq!(inbox.lock().unwrap().len(), 0);
    world.pass(Duration::from_millis(202));
    let came = inbox.lock().unwrap().clone();
    assert_eq!(came.len(), 50);
    assert!(!came.is_sorted_by_key(|datagram| datagram[0]), "in another order");
}

#[test]
fn a_cut_carries_nothing_in_its_direction_and_everything_in_the_other() {
    let world = World::new(1, 2, NetFaults::NONE);
    let inboxes = [world.inbox(0), world.inbox(1)];
    let (mut one, mut two) = world.connected(0, 1);
    world.net.cut(0, 1);
    world.send(0, 1, 20);
    world.send(1, 0, 20);
    world.run(async {
        one.write_all(b"held back").await.unwrap();
        two.write_all(b"passes").await.unwrap();
    });
    let waits = world.doors[1].dial(address(0), Lane::Control);
    assert!(world.run(world.clock.timeout(SECOND * 60, waits)).is_err(), "a connection needs both directions");
    let came = inboxes.each_ref().map(|inbox| inbox.lock().unwrap().len());
    assert_eq!(came, [20, 0]);
    let mut buffer = [0; 9];
    world.run(async {
        one.read_exact(&mut buffer[..6]).await.unwrap();
        assert_eq!(&buffer[..6], b"passes");
        assert!(world.clock.timeout(SECOND * 60, two.read_exact(&mut buffer)).await.is_err());
    });
    world.net.heal(0, 1);
    world.run(world.clock.timeout(SECOND * 4, two.read_exact(&mut buffer))).unwrap().unwrap();
    assert_eq!(&buffer, b"held back", "what TCP has taken it delivers");
    world.pass(SECOND);
    assert_eq!(inboxes[1].lock().unwrap().len(), 0, "what was sent into the cut is lost");
}

#[test]
fn bytes_of_a_stream_come_in_order_or_it_breaks() {
    let (mut broken, mut whole) = (0, 0);
    for seed in 0..60 {
        let faults = NetFaults { short_io: 500, resets: 500, loss: 100, delay_ms: (0, 50), ..NetFaults::NONE };
        let world = World::new(seed, 2, faults);
        let (mut one, mut two) = world.connected(0, 1);
        let sends = async move {
            for n in 0..20_000_u32 {
                one.write_all(&n.to_be_bytes()).await?;
            }
            one.shutdown().await?;
            one.read_u8().await // until the other end has all of it
        };
        world.runtime.spawn(async move { drop(sends.await) });
        let mut next = 0;
        let end = world.run(async {
            loop {
                match two.read_u32().await {
                    Ok(n) => assert_eq!((n, next), (next, n)),
                    Err(error) => break error.kind(),
                }
                next += 1;
            }
        });
        match end {
            io::ErrorKind::UnexpectedEof => {
                assert_eq!(next, 20_000);
                whole += 1;
            }
            io::ErrorKind::ConnectionReset => broken += 1,
            other => panic!("{other}"),
        }
    }
    assert!(whole > 15 && broken > 15, "{whole} {broken}");
}

#[test]
fn a_process_that_ends_breaks_its_connections_and_a_host_without_power_does_not() {
    let world = World::new(1, 2, NetFaults::NONE);
    let (mut one, two) = world.connected(0, 1);
    world.net.stop(1, true);
    assert!(world.run(one.read_u8()).is_err());
    drop(two);
    let door = world.net.start(1);
    let (mut one, two) = world.run(async {
        let dialled = world.doors[0].dial(address(1), Lane::Control).await.unwrap();
        (dialled, door.listen().accept().await.unwrap().0)
    });
    world.net.stop(1, false);
    drop(two); // a destructor: nobody hears of it
    world.run(async {
        assert!(world.clock.timeout(SECOND * 600, one.read_u8()).await.is_err());
        one.write_all(b"into nothing").await.unwrap();
    });
    let _door = world.net.start(1);
    world.run(async {
        assert!(one.write_all(b"who are you?").await.is_err(), "the host is back and knows nothing of it");
    });
}

#[test]
fn a_life_that_is_over_reaches_nobody() {
    let world = World::new(1, 2, NetFaults::NONE);
    let inbox = world.inbox(0);
    let old = world.doors[1].clone();
    world.net.stop(1, true);
    let new = world.net.start(1);
    world.run(async {
        old.datagrams().0.send(address(0), b"old"[..].into()).await.unwrap();
        new.datagrams().0.send(address(0), b"new"[..].into()).await.unwrap();
        let dials = old.dial(address(0), Lane::Control);
        assert!(world.clock.timeout(SECOND, dials).await.is_ok_and(|dialled| dialled.is_err()));
    });
    world.pass(SECOND);
    assert_eq!(*inbox.lock().unwrap(), [Bytes::from_static(b"new")]);
    // What comes for the host is the new life's.
    world.send(0, 1, 3);
    let (mut theirs, mut mine) = (old.datagrams().1, new.datagrams().1);
    world.run(async {
        assert!(world.clock.timeout(SECOND, theirs.receive()).await.is_err());
        assert!(world.clock.timeout(SECOND, mine.receive()).await.is_ok());
    });
    assert!(Handle::try_current().is_err());
}

#[test]
fn attempts_to_connect_fail_in_all_three_ways() {
    let attempt = |faults: NetFaults| {
        let world = World::new(3, 2, faults);
        world.run(async {
            let dialled = world.clock.timeout(SECOND * 100, world.doors[0].dial(address(1), Lane::Large)).await;
            let Ok(dialled) = dialled else { return "nothing" };
            let Ok(mut stream) = dialled else { return "refused" };
            let _ = stream.write_all(b"hello").await;
            let read = world.clock.timeout(SECOND * 100, stream.read_u8()).await;
            assert!(read.is_err());
            "mute"
        })
    };
    assert_eq!(attempt(NetFaults { refusals: 1000, ..NetFaults::NONE }), "refused");
    assert_eq!(attempt(NetFaults { black_holes: 1000, ..NetFaults::NONE }), "nothing");
    assert_eq!(attempt(NetFaults { mutes: 1000, ..NetFaults::NONE }), "mute");
}
