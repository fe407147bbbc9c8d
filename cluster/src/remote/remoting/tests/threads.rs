//! Which threads do what.

use super::nodes::{Heard, Node, numbers};
use crate::{
    member::UniqueAddress,
    remote::{
        remoting::ControlThread,
        tcp::{Protection, Tcp},
        transport::Lane,
    },
    seams::Spawner,
};
use actors::Clock;
use std::sync::{Arc, mpsc};
use tokio::runtime::{Builder, Runtime};

/// A node whose control lane has a thread of its own, and whose other lanes have `ordinary`.
fn node(uid: u64, control: &ControlThread, ordinary: &Runtime) -> Node {
    let clock = Clock::tokio();
    let entered = control.handle().enter();
    let tcp = Tcp::bind("127.0.0.1:0".parse().unwrap(), Protection::None, clock.clone()).unwrap();
    drop(entered);
    let me = UniqueAddress { address: tcp.address().to_string().parse().unwrap(), uid };
    let spawners: [Arc<dyn Spawner>; 2] = [control.spawner(), Arc::new(ordinary.handle().clone())];
    Node::start_on(me, Arc::new(tcp), &clock, spawners)
}

fn has_numbers(count: usize) -> impl Fn(&[Heard]) -> bool {
    move |heard| numbers(heard, false).len() == count
}

/// A runtime whose only thread is busy for as long as what this returns is kept.
fn occupy(runtime: &tokio::runtime::Handle) -> mpsc::Sender<()> {
    let (until, busy) = mpsc::channel();
    let (is_busy, waits) = mpsc::channel();
    runtime.spawn(async move {
        is_busy.send(()).unwrap();
        let _ = busy.recv();
    });
    waits.recv().unwrap();
    until
}

#[test]
fn neither_lane_waits_for_the_threads_of_the_other() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (controls, ordinary) = ([(); 2].map(|()| ControlThread::start().unwrap()), [(); 2].map(|()| runtime()));
    let [one, two] = [0, 1].map(|n| node(n as u64 + 1, &controls[n], &ordinary[n]));
    let waits = Builder::new_current_thread().enable_all().build().unwrap();

    // No thread of the users' is free: not even connections are to be made there.
    let busy = ordinary.each_ref().map(|runtime| occupy(runtime.handle()));
    one.send(&two, Lane::Control, 1_u32.to_be_bytes().to_vec());
    waits.block_on(two.ear.until(has_numbers(1)));
    drop(busy);

    one.send(&two, Lane::Ordinary, 2_u32.to_be_bytes().to_vec());
    waits.block_on(two.ear.until(has_numbers(2)));
    // The connection came in over the control thread, and it is not driven by it any more.
    let busy = controls.each_ref().map(|control| occupy(control.handle()));
    one.send(&two, Lane::Ordinary, 3_u32.to_be_bytes().to_vec());
    waits.block_on(two.ear.until(has_numbers(3)));
    drop(busy);
}
