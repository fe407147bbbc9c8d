//! [`Talker`]: an actor on each node that talks to those of all others, watches them, and notices what must not be.

use super::{
    balance::Sent,
    courier::Outbox,
    ledger::Ledger,
    only::{self, Knock},
};
use crate::{
    cluster::Cluster,
    member::{MemberStatus, UniqueAddress},
    remote::wire::WireMessage,
    testkit::SimNode,
};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often each talks to all others.
const TALKS_EVERY: Duration = Duration::from_millis(500);

const NAME: &str = "talker";

/// What talkers are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Talk {
    /// By another: from which life to which, the how manieth, and how much was lost between the two by then.
    Say { from: u64, to: u64, number: u64, lost: u64 },
    /// By the clock.
    Tick,
    /// The talker of that life has ended.
    Over { life: u64 },
}

impl WireMessage for Talk {
    const NAME: &'static str = "sim.Talk";
}

/// See the module's documentation.
struct Talker {
    ledger: Ledger,
    node: SimNode,
    cluster: Cluster,
    others: BTreeMap<u64, Other>,
    /// The last number from each life, and how much was lost when it was sent.
    heard: BTreeMap<u64, (u64, u64)>,
    over: BTreeSet<u64>,
    outbox: Outbox,
    /// Reaches the singleton, if it was started.
    only: Option<ActorRef<Knock>>,
}

struct Other {
    talker: ActorRef<Talk>,
    said: u64,
    watched: bool,
}

/// Spawns the talker of a node that has joined.
pub(super) fn start(ledger: &Ledger, node: &SimNode) {
    let Some(cluster) = node.cluster() else { return };
    let talker = Talker {
        ledger: ledger.clone(),
        node: node.clone(),
        cluster: cluster.clone(),
        others: BTreeMap::new(),
        heard: BTreeMap::new(),
        over: BTreeSet::new(),
        outbox: Outbox::new(ledger, &cluster),
        only: only::start(ledger, &cluster),
    };
    let talker = node.system().spawn(NAME, talker);
    if let Err(error) = cluster.refs().name(NAME, &talker) {
        ledger.fail("A2", format!("a talker has no name: {error}"));
    }
    talker.tell(Talk::Tick);
}

impl Talker {
    fn me(&self) -> &UniqueAddress {
        self.cluster.me()
    }

    fn talk(&mut self, ctx: &mut ActorContext<Talk>) {
        let state = self.cluster.state();
        let me = self.me().uid;
        self.outbox.send(&state);
        self.only.iter().for_each(|only| only.tell(Knock(me)));
        for member in state.members.iter().filter(|member| member.status < MemberStatus::Down) {
            let life = member.node.uid;
            if life == me || self.over.contains(&life) {
                continue;
            }
            if !self.others.contains_key(&life) {
                let Ok(talker) = self.cluster.refs().named::<Talk>(&member.node, NAME) else { continue };
                self.others.insert(life, Other { talker, said: 0, watched: false });
            }
            if let Some(other) = self.others.get_mut(&life) {
                // One that was never heard may not be there yet, and so would be over already.
                if !other.watched && self.heard.contains_key(&life) {
                    other.watched = true;
                    ctx.watch_with(&other.talker, Talk::Over { life });
                    self.ledger.watches(me, life);
                }
                other.said += 1;
                let lost = self.ledger.balance(|balance| balance.lost(me, life, Sent::ByActors));
                other.talker.tell(Talk::Say { from: me, to: life, number: other.said, lost });
            }
        }
    }

    fn hear(&mut self, from: u64, to: u64, number: u64, lost: u64) {
        let me = self.me().clone();
        if to != me.uid {
            return self.ledger.fail("A2", format!("{me} was told what was for the life {to:016x}"));
        }
        if self.over.contains(&from) {
            return self.ledger.fail("A4", format!("{me} hears from the life {from:016x} after its end"));
        }
        let before = self.heard.insert(from, (number, lost)).unwrap_or_default();
        let (last, _) = before;
        if number <= last {
            let what = format!("{me} hears number {number} of the life {from:016x} after number {last}");
            self.ledger.fail("A2", what);
        }
        self.ledger.balance(|balance| balance.came(from, me.uid, Sent::ByActors, number, before));
    }

    fn end(&mut self, life: u64) {
        self.node.note(&format!("told that {life:016x} is over"));
        self.others.remove(&life);
        self.ledger.told_over(self.me().uid, life);
        if !self.over.insert(life) {
            self.ledger.fail("A4", format!("{} was told twice that the life {life:016x} is over", self.me()));
        }
    }
}

impl Actor for Talker {
    type Message = Talk;

    async fn receive(&mut self, ctx: &mut ActorContext<Talk>, talk: Talk) -> Handled {
        match talk {
            Talk::Say { from, to, number, lost } => self.hear(from, to, number, lost),
            Talk::Tick => {
                self.talk(ctx);
                ctx.timers().start_single("talk", TALKS_EVERY, Talk::Tick);
            }
            Talk::Over { life } => self.end(life),
        }
        Ok(Behavior::Same)
    }
}
