//! What nodes say of messages that do not pass between them.

use super::nodes::{Gate, GateMessage, Greeting, Private, SECOND, Unknown};
use crate::{WireMessage, cluster::Cluster, cluster::tests::Nodes};
use actors::{
    ActorRef, Behavior, DeadLetterReason, FnActor,
    testkit::{LogEvent, LogProbe},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Says to whom one should speak, which is nobody to whom one can from elsewhere.
#[derive(Serialize, Deserialize)]
struct Meet(ActorRef<Unknown>);

impl WireMessage for Meet {
    const NAME: &'static str = "test.Meet";
}

/// Refused by whoever reads it, if it is 13.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "u32")]
struct Picky(u32);

impl TryFrom<u32> for Picky {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 13 { Err("13 brings bad luck".to_owned()) } else { Ok(Self(number)) }
    }
}

impl WireMessage for Picky {
    const NAME: &'static str = "test.Picky";
}

/// Two nodes. The first has a type more.
struct Pair {
    nodes: Nodes,
    one: Cluster,
    two: Cluster,
    logs: LogProbe,
    /// What each had dropped before.
    before: [BTreeMap<String, u64>; 2],
}

impl Pair {
    fn new() -> Self {
        let nodes = Nodes::new();
        let mut clusters = nodes.up_with(2, |config| {
            let is_first = config.advertised == Some("n0:2551".parse().unwrap());
            let config = config.message::<GateMessage>().message::<Greeting>().message::<Meet>().message::<Picky>();
            if is_first { config.message::<Private>() } else { config }
        });
        let (two, one) = (clusters.pop().unwrap(), clusters.pop().unwrap());
        // What they say to each other at first may come before there is somebody to take it.
        nodes.kit.advance(10 * SECOND);
        let logs = nodes.kit.logs();
        let before = [&one, &two].map(Cluster::dropped);
        Self { nodes, one, two, logs, before }
    }

    /// An actor of the second node, as the first sees it.
    fn actor<M: WireMessage>(&self, name: &str) -> ActorRef<M> {
        let actor = self.two.system().spawn(name, FnActor::new((), |(), _, _: M| Ok(Behavior::Same)));
        self.two.refs().name(name, &actor).unwrap();
        self.named(name)
    }

    fn named<M: WireMessage>(&self, name: &str) -> ActorRef<M> {
        let actor = self.one.refs().named(self.two.me(), name).unwrap();
        self.nodes.kit.advance(SECOND);
        actor
    }

    /// What was said of this type, and nothing was before.
    fn said_of(&mut self, message_type: &str) -> String {
        self.nodes.kit.advance(SECOND);
        let is_of = |event: &LogEvent| event.fields.get("message_type").is_some_and(|name| name == message_type);
        let event = self.logs.expect(is_of);
        format!("{}: {}", event.fields["reason"], event.fields["detail"])
    }

    /// Messages of actors that the first has dropped, and the second, by reason.
    fn dropped(&self) -> [BTreeMap<String, u64>; 2] {
        [(&self.one, &self.before[0]), (&self.two, &self.before[1])].map(|(cluster, before)| {
            let since = |(reason, count): (String, u64)| {
                let count = count - before.get(&reason).copied().unwrap_or(0);
                (reason.starts_with("actors: ") && count > 0).then_some((reason, count))
            };
            cluster.dropped().into_iter().filter_map(since).collect()
        })
    }
}

fn counts<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(reason, count)| (reason.to_owned(), count)).into()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in {text:?}"));
}

#[test]
fn a_reference_in_a_message_whose_own_messages_do_not_travel_is_named_with_what_helps() {
    let mut pair = Pair::new();
    let meets = pair.actor::<Meet>("meets");
    let unknown = pair.one.system().spawn("unknown", FnActor::new((), |(), _, _: Unknown| Ok(Behavior::Same)));
    meets.tell(Meet(unknown.clone()));
    let said = pair.said_of("test.Meet");
    let parts = ["ActorRef<", "::Unknown>", "`cluster::WireMessage`", "`ClusterConfig::message`"];
    assert_says(&said, &parts);
    meets.tell(Meet(unknown));
    pair.nodes.kit.advance(SECOND);
    pair.logs.expect_none(|event| event.fields.contains_key("detail"));
    assert_eq!(pair.one.system().event_stream().dead_letters(DeadLetterReason::Unsendable), 2);
    assert_eq!(pair.dropped(), [counts([("actors: unsendable", 2)]), counts([])]);
}

#[test]
fn a_message_that_is_too_large_is_named_with_what_helps() {
    let mut pair = Pair::new();
    let gate = pair.actor::<GateMessage>("gate");
    gate.tell(GateMessage::Load(vec![200; 300_000]));
    let said = pair.said_of("test.Gate");
    assert_says(&said, &["TooLarge", "more than the 261120 allowed", "`ClusterConfig::large_messages`"]);
    assert_eq!(pair.dropped(), [counts([("actors: unsendable", 1)]), counts([])]);
}

#[test]
fn a_type_that_the_other_node_does_not_read_is_named_with_what_helps() {
    let mut pair = Pair::new();
    let private = pair.named::<Private>("private");
    private.tell(Private(1));
    let said = pair.said_of("test.Private");
    assert_says(&said, &["UnknownThere", "not registered at the other node", "`ClusterConfig::message`"]);
    assert_eq!(pair.dropped(), [counts([("actors: unsendable", 1)]), counts([])]);
    let unknown = pair.two.refs().named::<Private>(pair.one.me(), "private").unwrap_err().to_string();
    assert_says(&unknown, &["::Private is not registered", "`cluster::WireMessage`", "`ClusterConfig::message`"]);
}

#[test]
fn what_comes_and_gets_to_nobody_is_counted_where_it_was_dropped() {
    let mut pair = Pair::new();
    let dead_letters = |cluster: &Cluster, reason| cluster.system().event_stream().dead_letters(reason);
    let stopped = |pair: &Pair| [&pair.one, &pair.two].map(|cluster| dead_letters(cluster, DeadLetterReason::Stopped));
    let before = stopped(&pair);
    let picky = pair.actor::<Picky>("picky");
    picky.tell(Picky(12));
    picky.tell(Picky(13));
    assert_says(&pair.said_of("test.Picky"), &["Malformed", "13 brings bad luck"]);
    assert_eq!(pair.dropped(), [counts([]), counts([("actors: malformed", 1)])]);
    assert_eq!(dead_letters(&pair.two, DeadLetterReason::Unsendable), 1);

    pair.named::<Picky>("nobody").tell(Picky(1));
    let gate = pair.two.system().spawn("gate", Gate::default());
    pair.two.refs().name("gate", &gate).unwrap();
    let named = pair.named::<GateMessage>("gate");
    let gate = pair.nodes.kit.block_on(named.ask(GateMessage::Who, SECOND)).unwrap();
    gate.tell(GateMessage::Stop);
    gate.tell(GateMessage::Note(1));
    pair.nodes.kit.advance(SECOND);
    gate.tell(GateMessage::Note(2));
    pair.nodes.kit.advance(SECOND);
    gate.tell(GateMessage::Note(3));
    assert_eq!(dead_letters(&pair.two, DeadLetterReason::StoppedBefore), 1, "what waited when it stopped is its own");
    assert_eq!(pair.dropped(), [counts([]), counts([("actors: malformed", 1), ("actors: nobody there", 2)])]);
    let since = stopped(&pair);
    assert_eq!(since[1] - before[1], 2);
    assert_eq!(since[0] - before[0], 1, "who knows that it has ended sends no more");
}
