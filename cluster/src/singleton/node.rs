//! [`SingletonNode`]: the actor of one singleton on one node. It carries out what manager and proxy decide, and owns the
//! instance while that is here.

use super::{
    Singleton,
    closing::Closing,
    fence::Fenced,
    manager::{self, Manager},
    message::SingletonMessage,
    proxy::{self, Proxy},
};
use crate::{
    downing::Downing,
    epoch::KeeperMessage,
    event::ClusterEvent,
    lease::{AcquireError, FencingToken, LeaseLost},
    member::Member,
    remote::wire::WireMessage,
    testkit::planted::{Bug, is_planted},
    tools::{Peers, Tools},
};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Tick};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};
use tokio::sync::{oneshot, watch};
use tracing::{debug, info, warn};

/// How long the members may take to agree on a term before they are asked again.
const TERM_WITHIN: Duration = Duration::from_secs(30);
/// How long an instance without a stop message may handle what it has. Together with what comes before, it is below what an
/// instance is killed after.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// How often it looks whether this node may still serve.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What nodes say to each other about a singleton, and who says it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SingletonEnvelope {
    from: u64,
    message: SingletonMessage,
}

impl WireMessage for SingletonEnvelope {
    const NAME: &'static str = "cluster.Singleton";
}

pub(super) enum NodeMessage<M> {
    /// From this node, for the instance.
    Tell(M),
    /// From another node, for the instance that it believes is here.
    Arrived(M),
    Envelope(SingletonEnvelope),
    Event(ClusterEvent),
    /// The answer to the question of that number.
    Term(u64, Option<u64>),
    TermLost(u64, LeaseLost),
    /// The instance of that term.
    Stopped(u64),
    Time,
}

/// What others find the managers and proxies of a singleton by.
pub(super) fn manager_name(name: &str) -> String {
    format!("cluster/singleton/{name}/manager")
}

/// What others find the instance by.
pub(super) fn instance_name(name: &str) -> String {
    format!("cluster/singleton/{name}")
}

pub(super) struct SingletonNode<A: Actor> {
    tools: Tools,
    singleton: Singleton<A>,
    me: u64,
    /// None where it may never be hosted.
    manager: Option<Manager>,
    proxy: Proxy<A::Message>,
    managers: Peers<SingletonEnvelope>,
    instances: Peers<A::Message>,
    /// The instance, its term and whether anything may reach it.
    instance: Option<(ActorRef<A::Message>, u64, bool)>,
    /// While the instance is to stop.
    closing: Option<Closing>,
    /// Those that may host, until it was told that they are removed.
    known: BTreeSet<u64>,
    host_until: Option<Tick>,
    ended: bool,
    /// How many terms were asked for.
    asked: u64,
    /// Ends with what was done last with the lease.
    lease_used: Option<oneshot::Receiver<()>>,
    /// This node hosts nothing any more, or never did.
    hosts_no_more: bool,
    /// And nothing waits here for whoever does.
    handed_over: watch::Sender<bool>,
    /// Messages dropped since it was not known where the instance is.
    overflowed: u64,
}

impl<A: Actor<Message: WireMessage>> SingletonNode<A> {
    pub(super) fn new(tools: Tools, singleton: Singleton<A>, handed_over: watch::Sender<bool>) -> Self {
        let myself = tools.members.myself();
        let (me, may_host) = (myself.node.uid, myself.has_role(singleton.role.as_deref()));
        let name = &*singleton.name;
        Self {
            me,
            manager: may_host.then(|| Manager::new(me, name, singleton.choice)),
            proxy: Proxy::new(singleton.buffer.get()),
            managers: Peers::new(&tools.refs, &tools.members, manager_name(name)),
            instances: Peers::new(&tools.refs, &tools.members, instance_name(name)),
            instance: None,
            closing: None,
            known: BTreeSet::new(),
            host_until: None,
            ended: false,
            asked: 0,
            lease_used: None,
            hosts_no_more: !may_host,
            handed_over,
            overflowed: 0,
            singleton,
            tools,
        }
    }

    fn may_host(&self, member: &Member) -> bool {
        member.has_role(self.singleton.role.as_deref())
    }

    /// What the event says of those that are gone: who, and when it has certainly stopped.
    fn removed(&mut self, event: &ClusterEvent, now: Tick) -> Vec<(u64, Tick)> {
        match event {
            ClusterEvent::Removed { member, free_at, .. } => {
                let known = self.known.remove(&member.node.uid);
                (known || self.may_host(member)).then_some((member.node.uid, *free_at)).into_iter().collect()
            }
            // There was no room for the events, so nobody knows when they were removed: no later than now.
            ClusterEvent::Current(state) => {
                let free_at = now + Downing::stable_after(self.known.len() + state.members.len()) * 2;
                let there: BTreeSet<u64> = state.members.iter().map(|member| member.node.uid).collect();
                let gone = self.known.extract_if(.., |uid| !there.contains(uid));
                gone.map(|uid| (uid, free_at)).collect()
            }
            ClusterEvent::Unreachable(member) if is_planted(Bug::StartedOnUnreachable) => vec![(member.node.uid, now)],
            _ => Vec::new(),
        }
    }

    fn members_changed(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, event: &ClusterEvent) {
        let removed = self.removed(event, ctx.clock().now());
        // It may be ahead of the event, so it may lack some of whose end is yet to be told.
        let state = self.tools.members.state();
        let counts = |member: &&Member| {
            let is_lost = is_planted(Bug::StartedOnUnreachable) && state.unreachable.contains(&member.node);
            self.may_host(member) && !is_lost
        };
        let members: Vec<Member> = state.members.iter().filter(counts).cloned().collect();
        // Others may not reach this node: it reaches itself, and hears of its own instance without asking, once.
        let unreachable = state.unreachable.iter().map(|node| node.uid).filter(|uid| *uid != self.me);
        let unreachable: BTreeSet<u64> = unreachable.collect();
        self.known.extend(members.iter().map(|member| member.node.uid));
        self.manage(ctx, manager::Input::Members { members: members.clone(), removed });
        self.step_proxy(ctx, proxy::Input::Members { members, unreachable });
        let reachable = self.reachable();
        if let Some(closing) = &mut self.closing {
            closing.only(&reachable);
            self.stop_if_closed(ctx);
        }
    }

    /// Whether and until when this node may serve, if that has changed.
    fn look_at_hosting(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>) {
        let hosting = self.tools.members.hosting();
        let (remaining, ended) = (hosting.remaining(), hosting.has_ended());
        if ended && !std::mem::replace(&mut self.ended, true) {
            return self.step_manager(ctx, manager::Input::HostingEnded);
        }
        // What was valid once stays the last moment at which it was.
        let now = ctx.clock().now();
        let until = self.host_until.filter(|until| remaining.is_zero() && *until <= now).or(Some(now + remaining));
        if until != self.host_until && (self.host_until.is_some() || !remaining.is_zero()) {
            self.host_until = until;
            self.step_manager(ctx, manager::Input::HostUntil(until));
        }
    }

    fn manage(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, input: manager::Input) {
        self.look_at_hosting(ctx);
        self.step_manager(ctx, input);
    }

    fn step_manager(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, input: manager::Input) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        let mut effects = VecDeque::from(manager.step(input, ctx.clock().now()));
        while let Some(effect) = effects.pop_front() {
            self.perform(ctx, effect);
        }
    }

    fn perform(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, effect: manager::Effect) {
        match effect {
            manager::Effect::Send { to, message } => self.send(to, message),
            manager::Effect::Tell(message) => {
                let state = self.tools.members.state();
                let me = self.me;
                for member in state.members.iter().filter(|member| member.node.uid != me) {
                    self.send(member.node.uid, message.clone());
                }
                self.step_proxy(ctx, proxy::Input::Message { from: self.me, message });
            }
            manager::Effect::GetTerm { floor } => self.get_term(ctx, floor),
            manager::Effect::DropTerm => {
                self.asked += 1;
                if let Some(lease) = self.singleton.lease.clone() {
                    let (before, done) = self.use_lease();
                    ctx.spawn_task(async move {
                        before.await;
                        if let Err(error) = lease.release().await {
                            debug!(lease = lease.name(), %error, "not given back: it expires");
                        }
                        drop(done);
                    });
                }
            }
            manager::Effect::Start { term } => self.start(ctx, term),
            manager::Effect::Freeze => self.set_frozen(true),
            manager::Effect::Thaw => self.set_frozen(false),
            manager::Effect::Stop => self.close(ctx),
            manager::Effect::Kill => {
                if let Some((instance, term, _)) = &self.instance {
                    warn!(singleton = %self.singleton.name, term, "the instance is killed");
                    ctx.kill(instance);
                }
            }
            manager::Effect::HandedOver => {
                self.hosts_no_more = true;
                self.tell_handed_over();
            }
            manager::Effect::Stuck { waiting_for } => {
                let name = &self.singleton.name;
                warn!(singleton = %name, ?waiting_for, "it cannot start: these do not say that it does not run there");
            }
        }
    }

    fn set_frozen(&mut self, now: bool) {
        if let Some((_, term, frozen)) = &mut self.instance {
            *frozen = now;
            warn!(singleton = %self.singleton.name, term, frozen = now, "whether this node may serve has changed");
        }
    }

    fn get_term(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, floor: u64) {
        self.asked += 1;
        let asked = self.asked;
        let Some(lease) = self.singleton.lease.clone() else {
            // Where nobody is left who knew the last one, this is higher all the same.
            let floor = floor.max(ctx.clock().wall_ms());
            if is_planted(Bug::StartedOnUnreachable) {
                return ctx.this().tell(NodeMessage::Term(asked, Some(floor)));
            }
            let name = format!("singleton/{}", self.singleton.name).into();
            let keeper = self.tools.epochs.keeper().clone();
            let raise = |reply_to| KeeperMessage::Raise { name, floor, reply_to };
            ctx.ask(&keeper, raise, TERM_WITHIN, move |term| NodeMessage::Term(asked, term.ok()));
            return;
        };
        let this = ctx.this().clone();
        let name = self.singleton.name.clone();
        let (before, done) = self.use_lease();
        let acquire = async move {
            before.await;
            let _done = done;
            let acquired = lease.acquire(Box::new(move |why| this.tell(NodeMessage::TermLost(asked, why)))).await;
            match acquired {
                Ok(FencingToken(token)) => Some(token),
                Err(AcquireError::Denied { holder }) => {
                    debug!(singleton = %name, %holder, "the lease is somebody else's");
                    None
                }
                Err(error) => {
                    warn!(singleton = %name, %error, "the lease is not to be had");
                    None
                }
            }
        };
        ctx.pipe_to_self(acquire, move |term| NodeMessage::Term(asked, term));
    }

    /// What is done with the lease is done in turn: waits for what was before, and lets go on what comes after once dropped.
    fn use_lease(&mut self) -> (impl Future<Output = ()> + Send + use<A>, oneshot::Sender<()>) {
        let (done, next) = oneshot::channel();
        let before = self.lease_used.replace(next);
        let before = async move {
            if let Some(before) = before {
                let _over = before.await;
            }
        };
        (before, done)
    }

    fn start(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, term: u64) {
        let deadline = self.tools.members.hosting().clone();
        let props = (self.singleton.props)(FencingToken(term));
        let props = props.wrap(move |actor| Fenced::new(actor, deadline.clone()));
        info!(singleton = %self.singleton.name, term, "the instance starts here");
        let instance = ctx.spawn(format!("instance-{term}"), props);
        ctx.watch_with(&instance, NodeMessage::Stopped(term));
        self.instance = Some((instance, term, false));
    }

    /// The life of each node but this one that can be reached.
    fn reachable(&self) -> BTreeSet<u64> {
        let state = self.tools.members.state();
        let lives = state.members.iter().map(|member| &member.node).filter(|node| !state.unreachable.contains(node));
        lives.map(|node| node.uid).filter(|uid| *uid != self.me).collect()
    }

    /// Has everybody say that the instance gets no more from them. It is told to stop after that.
    fn close(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>) {
        let Some((_, term, _)) = self.instance else {
            return;
        };
        let message = SingletonMessage::Closing { term };
        // Also those that others cannot reach, who may reach this one; but who is not reached is not waited for.
        let members = self.tools.members.state();
        let others = members.members.iter().map(|member| member.node.uid).filter(|uid| *uid != self.me);
        others.collect::<Vec<u64>>().into_iter().for_each(|uid| self.send(uid, message.clone()));
        let asked = self.reachable();
        self.closing = Some(Closing::new(term, asked, ctx.clock().now()));
        self.step_proxy(ctx, proxy::Input::Message { from: self.me, message });
        self.stop_if_closed(ctx);
    }

    fn stop_if_closed(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>) {
        if let Some(closing) = &mut self.closing {
            let (term, again) = (closing.term(), closing.ask_again(ctx.clock().now()));
            again.into_iter().for_each(|uid| self.send(uid, SingletonMessage::Closing { term }));
        }
        let closed = self.closing.as_mut().is_some_and(|closing| closing.ends(ctx.clock().now()));
        if let Some((instance, ..)) = self.instance.as_ref().filter(|_| closed) {
            match &self.singleton.stop_message {
                Some(make) => instance.tell(make()),
                None => ctx.drain(instance, DRAIN_WITHIN),
            }
        }
    }

    fn send(&mut self, to: u64, message: SingletonMessage) {
        let from = self.me;
        self.managers.tell(to, SingletonEnvelope { from, message });
    }

    fn receive_envelope(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, envelope: SingletonEnvelope) {
        let SingletonEnvelope { from, message } = envelope;
        let asks = message == SingletonMessage::WhoHosts;
        if asks && self.manager.is_none() {
            return self.send(from, SingletonMessage::NotHere { hint: self.proxy.host() });
        }
        if let Some(closing) = &mut self.closing {
            match message {
                SingletonMessage::WhoHosts => {
                    let term = closing.term();
                    return self.send(from, SingletonMessage::Closing { term });
                }
                SingletonMessage::Closed { term } => {
                    closing.closed(from, term);
                    return self.stop_if_closed(ctx);
                }
                _ => {}
            }
        }
        self.manage(ctx, manager::Input::Message { from, message: message.clone() });
        if !asks {
            self.step_proxy(ctx, proxy::Input::Message { from, message });
        }
    }

    fn step_proxy(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>, input: proxy::Input<A::Message>) {
        let mut effects = VecDeque::from(self.proxy.step(input, ctx.clock().now()));
        while let Some(effect) = effects.pop_front() {
            match effect {
                proxy::Effect::Forward { to, message } if to == self.me => self.deliver(message),
                proxy::Effect::Forward { to, message } => self.instances.tell(to, message),
                proxy::Effect::Send { to, message } if to == self.me => {
                    // It hears of its own instance without asking, and what it sent is there.
                    debug_assert!(matches!(message, SingletonMessage::WhoHosts | SingletonMessage::Closed { .. }));
                }
                proxy::Effect::Send { to, message } => self.send(to, message),
                proxy::Effect::Overflow(message) => {
                    if self.overflowed == 0 {
                        let name = &self.singleton.name;
                        warn!(singleton = %name, "too many messages wait for the instance: the oldest are dropped");
                    }
                    self.overflowed += 1;
                    drop(message);
                }
            }
        }
        if self.overflowed > 0 && self.proxy.host().is_some() {
            let messages = std::mem::take(&mut self.overflowed);
            warn!(singleton = %self.singleton.name, messages, "that many were dropped until the instance was found");
        }
        self.tell_handed_over();
    }

    /// Whether this node may go, as far as this singleton goes.
    fn tell_handed_over(&self) {
        let done = self.hosts_no_more && self.proxy.is_done(self.me);
        self.handed_over.send_if_modified(|before| std::mem::replace(before, done) != done);
    }

    /// To the instance, if it is here and may be served.
    fn deliver(&mut self, message: A::Message) {
        match &self.instance {
            Some((instance, _, false)) => instance.tell(message),
            _ => {
                debug!(singleton = %self.singleton.name, "a message for an instance that is not here any more is dropped");
                drop(message);
            }
        }
    }

    fn set_timer(&mut self, ctx: &mut ActorContext<NodeMessage<A::Message>>) {
        let now = ctx.clock().now();
        let manager = self.manager.as_mut().and_then(|manager| manager.wake_at(now));
        let closing = self.closing.as_ref().and_then(Closing::wake_at);
        let next = [manager, closing, self.proxy.wake_at(), Some(now + LOOK_EVERY)].into_iter().flatten().min();
        if let Some(at) = next {
            ctx.timers().start_single("wake", (at - now).max(Duration::from_millis(1)), NodeMessage::Time);
        }
    }
}

impl<A: Actor<Message: WireMessage>> Actor for SingletonNode<A> {
    type Message = NodeMessage<A::Message>;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let (name, refs) = (self.singleton.name.clone(), self.tools.refs.clone());
        refs.name(&manager_name(&name), &ctx.this().map(NodeMessage::Envelope))?;
        refs.name(&instance_name(&name), &ctx.this().map(NodeMessage::Arrived))?;
        self.tools.members.subscribe(ctx.this().map(NodeMessage::Event));
        self.tell_handed_over();
        self.set_timer(ctx);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, message: Self::Message) -> Handled {
        match message {
            NodeMessage::Tell(message) => {
                self.step_proxy(ctx, proxy::Input::Tell(message));
                // No more is due for it than the next look at what is.
                return Ok(Behavior::Same);
            }
            NodeMessage::Arrived(message) => {
                self.deliver(message);
                return Ok(Behavior::Same);
            }
            NodeMessage::Envelope(envelope) => self.receive_envelope(ctx, envelope),
            NodeMessage::Event(event) => self.members_changed(ctx, &event),
            NodeMessage::Term(asked, term) if asked == self.asked => {
                self.manage(ctx, term.map_or(manager::Input::NoTerm, manager::Input::Term));
            }
            NodeMessage::Term(..) => {}
            NodeMessage::TermLost(asked, why) => {
                if asked == self.asked {
                    warn!(singleton = %self.singleton.name, %why, "the lease is lost");
                    self.manage(ctx, manager::Input::TermLost);
                }
            }
            NodeMessage::Stopped(term) => {
                if self.instance.take_if(|(_, of, _)| *of == term).is_some() {
                    self.closing = None;
                    info!(singleton = %self.singleton.name, term, "the instance has stopped here");
                    self.manage(ctx, manager::Input::Stopped);
                }
            }
            NodeMessage::Time => {
                self.manage(ctx, manager::Input::Time);
                self.stop_if_closed(ctx);
                self.step_proxy(ctx, proxy::Input::Time);
            }
        }
        self.set_timer(ctx);
        Ok(Behavior::Same)
    }
}
