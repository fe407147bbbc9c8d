//! [`Listener`]: an actor on each node that is registered as a service, listens to a topic on which all publish, and shares
//! what is published with those of the other nodes.

use super::ledger::Ledger;
use crate::{cluster::Cluster, pub_sub::Topic, remote::wire::WireMessage};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Listing, ServiceKey};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often each publishes.
const PUBLISHES_EVERY: Duration = Duration::from_secs(4);

const NAME: &str = "listener";

/// What is published: by which life, and the how manieth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct News {
    by: u64,
    number: u64,
}

impl WireMessage for News {
    const NAME: &'static str = "sim.News";
}

enum Message {
    /// As one of all that listen.
    Heard(News),
    /// As the one of its group whose turn it is.
    Shared(News),
    Listed(Listing<News>),
    Tick,
}

struct Listener {
    ledger: Ledger,
    me: u64,
    topic: Topic<News>,
    published: u64,
    /// By life: the last number.
    heard: BTreeMap<u64, u64>,
}

fn key() -> ServiceKey<News> {
    ServiceKey::new(NAME)
}

/// Spawns that of a node that has joined.
pub(super) fn start(ledger: &Ledger, cluster: &Cluster) {
    let topic = match Topic::new(cluster, NAME) {
        Ok(topic) => topic,
        Err(error) => return ledger.fail("T1", error.to_string()),
    };
    ledger.services(|services| services.begins(cluster.me().uid, cluster.system().uid()));
    let listener = Listener {
        ledger: ledger.clone(),
        me: cluster.me().uid,
        topic: topic.clone(),
        published: 0,
        heard: BTreeMap::new(),
    };
    let listener: ActorRef<Message> = cluster.system().spawn(NAME, listener);
    let heard = listener.map(Message::Heard);
    topic.subscribe(&heard);
    topic.subscribe_in_group("one", &listener.map(Message::Shared));
    let receptionist = cluster.system().receptionist();
    receptionist.register(&key(), &heard);
    receptionist.subscribe(&key(), &listener.map(Message::Listed));
    listener.tell(Message::Tick);
}

impl Listener {
    fn publish(&mut self) {
        self.published += 1;
        self.ledger.services(|services| services.publishes(self.me, self.published));
        self.topic.publish(News { by: self.me, number: self.published });
    }

    fn hear(&mut self, News { by, number }: News) {
        let last = self.heard.insert(by, number).unwrap_or(0);
        if number <= last {
            let what = format!("{:016x} hears news {number} of the life {by:016x} after {last}", self.me);
            return self.ledger.fail("T1", what);
        }
        self.ledger.services(|services| services.hears(self.me, by, number));
    }

    fn share(&self, News { by, number }: News) {
        let twice = self.ledger.services(|services| services.shares(self.me, by, number));
        twice.into_iter().for_each(|what| self.ledger.fail("T2", what));
    }

    fn list(&self, listing: &Listing<News>) {
        let owners = |actors: &[ActorRef<News>]| actors.iter().map(|actor| actor.path().system_uid()).collect();
        let (reachable, all): (BTreeSet<u64>, BTreeSet<u64>) =
            (owners(listing.instances()), owners(listing.all_instances()));
        self.ledger.services(|services| services.lists(self.me, reachable, all));
    }
}

impl Actor for Listener {
    type Message = Message;

    async fn receive(&mut self, ctx: &mut ActorContext<Message>, message: Message) -> Handled {
        match message {
            Message::Heard(news) => self.hear(news),
            Message::Shared(news) => self.share(news),
            Message::Listed(listing) => self.list(&listing),
            Message::Tick => {
                self.publish();
                ctx.timers().start_single("publish", PUBLISHES_EVERY, Message::Tick);
            }
        }
        Ok(Behavior::Same)
    }
}
