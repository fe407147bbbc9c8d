//! How long it takes until all others know that a node is gone.

use super::{draw, nodes, settle, watch};
use crate::testkit::SimNode;
use std::time::Duration;

/// Longer than any may take.
const WITHIN: Duration = Duration::from_secs(120);

/// Ends one of `members` without a word, while `loss` of a thousand datagrams are lost: how long until each of the others
/// holds it for unreachable. With every other seed its host goes too, so that not even its connections break. None: not
/// within two minutes.
///
/// # Panics
/// When the cluster does not form at first.
pub fn until_all_know(members: usize, loss: u32, seed: u64) -> Option<Duration> {
    let mut draw = draw(seed, "crash");
    let mut cluster = nodes(members, seed).start();
    settle(&mut cluster, loss, &mut draw);
    let gone = draw.index(members);
    let id = cluster.node(gone).and_then(SimNode::id)?;
    let began = cluster.elapsed();
    if seed.is_multiple_of(2) {
        cluster.kill(gone)
    } else {
        cluster.power_off(gone)
    }
    let all_know = watch(&mut cluster, WITHIN, |cluster| {
        cluster.running().filter_map(SimNode::cluster).all(|other| {
            let state = other.state();
            state.unreachable.contains(&id) || state.member(&id).is_none()
        })
    });
    all_know.then(|| cluster.elapsed() - began)
}
