//! Two nodes talk, connections break, and nothing is doubled or out of order.

use super::nodes::{Heard, Node, numbers, two_in_memory, two_over_tcp};
use crate::remote::transport::Lane;
use actors::Clock;
use std::time::Duration;

const MESSAGES: u32 = 2000;

fn body(number: u32) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(4 + (number % 300) as usize, 7);
    body
}

/// Both send to each other, over two lanes, while connections break now and then.
async fn conversation(clock: &Clock, [one, two]: &[Node; 2], cut_every: u32, cut: impl Fn()) {
    for number in 1..=MESSAGES {
        for (from, to) in [(one, two), (two, one)] {
            from.send(to, Lane::Ordinary, body(number));
            from.send_system(to, body(number));
        }
        if number % 20 == 0 {
            clock.sleep(Duration::from_millis(1)).await;
        }
        if number % cut_every == 300 {
            cut();
        }
    }
    let all: Vec<_> = (1..=MESSAGES).collect();
    for (from, to) in [(one, two), (two, one)] {
        to.ear.until(|heard| numbers(heard, true).len() >= MESSAGES as usize).await;
        assert_eq!(to.ear.numbers(true), all, "system messages come once and in order");
        // The last ones may have been on a connection that broke: then none comes any more until one is sent.
        from.send(to, Lane::Ordinary, body(MESSAGES + 1));
        to.ear.until(|heard| numbers(heard, false).last() == Some(&(MESSAGES + 1))).await;
        let came = to.ear.numbers(false);
        assert!(came.is_sorted_by(|one, two| one < two), "once at most, and in order: {came:?}");
        assert!(came.len() > MESSAGES as usize / 4, "most of them: {}", came.len());
        assert_eq!(to.ear.heard()[0], Heard::Began(from.me.uid), "before anything else it is told who is there");
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_talk_over_a_network_in_memory_that_breaks() {
    let (network, clock, nodes) = two_in_memory();
    let [one, two] = &nodes;
    network.delay(&one.me.address, &two.me.address, Duration::from_millis(3));
    conversation(&clock, &nodes, 500, || network.reset(&one.me.address, &two.me.address)).await;
    assert!(one.ear.heard().iter().any(|heard| matches!(heard, Heard::Link(2, false))), "its link failed");
    assert!(one.ear.heard().iter().any(|heard| matches!(heard, Heard::Link(2, true))), "and works again");
}

#[tokio::test]
async fn two_nodes_talk_over_sockets_that_break() {
    let (shears, clock, nodes) = two_over_tcp();
    conversation(&clock, &nodes, MESSAGES, || shears.cut()).await;
}
