//! [`Topic`]: publishing to whoever listens, wherever.

use super::{
    fan_out::FanOut,
    interests::{NAME_MAX, Route, Subject},
    topics::Topics,
};
use crate::{
    cluster::Cluster,
    refs::Refs,
    remote::wire::WireMessage,
    tools::{Membership, Peers, Tools},
};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Props};
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, sync::Arc};
use tracing::{debug, warn};

/// Subscribers of one topic on one node.
const SUBSCRIBERS_MAX: usize = 65_536;

/// A topic on this node. Cheap to clone.
///
/// # Ordering
/// What one task publishes reaches one subscriber in that order, while both stay where they are. Nothing is promised between
/// two that publish.
///
/// # What is lost
/// A message reaches each subscriber at most once. One that has subscribed a moment ago may not be known yet where it is
/// published; what is on its way to a node that ends is gone; a subscriber without room loses what it has no room for.
///
/// Whoever publishes hears itself if it subscribes. One actor counts once, whatever maps the messages for it.
///
/// ```no_run
/// # use actors::{Actor, ActorContext, BoxError, Handled, Behavior};
/// # use cluster::{Cluster, Topic, WireMessage};
/// /// Registered with `ClusterConfig::message::<Line>()` on all nodes.
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Line(String);
/// # impl WireMessage for Line { const NAME: &'static str = "guide.Line"; }
///
/// enum Message {
///     Say(String),
///     Heard(Line),
/// }
///
/// struct Visitor {
///     room: Topic<Line>,
/// }
///
/// impl Actor for Visitor {
///     type Message = Message;
///
///     async fn started(&mut self, ctx: &mut ActorContext<Message>) -> Handled {
///         self.room.subscribe(&ctx.this().map(Message::Heard));
///         Ok(Behavior::Same)
///     }
///
///     async fn receive(&mut self, _ctx: &mut ActorContext<Message>, message: Message) -> Handled {
///         match message {
///             Message::Say(text) => drop(self.room.publish(Line(text))),
///             Message::Heard(Line(text)) => println!("{text}"),
///         }
///         Ok(Behavior::Same)
///     }
/// }
/// # fn example(cluster: &Cluster) -> Result<(), BoxError> {
/// let room = Topic::new(cluster, "room")?;
/// cluster.system().spawn("visitor", actors::Props::new(move || Visitor { room: room.clone() }));
/// # Ok(())
/// # }
/// ```
pub struct Topic<M: Send + 'static>(Arc<Inner<M>>);

struct Inner<M: Send + 'static> {
    name: Arc<str>,
    me: u64,
    topics: Topics,
    refs: Refs,
    members: Arc<dyn Membership>,
    actor: ActorRef<TopicMessage<M>>,
    ways: Mutex<Ways<M>>,
}

/// To the subscribers on other nodes.
struct Ways<M: Send + 'static> {
    each: Peers<M>,
    groups: BTreeMap<Arc<str>, Peers<M>>,
}

/// Why there is no such topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It is no name.
    #[error("{0:?} is no name of a topic: it has 1 to {NAME_MAX} bytes and no '/'")]
    NoName(Arc<str>),
    /// Its messages do not travel.
    #[error("the messages of the topic {name:?} do not travel: {reason}")]
    NotRegistered {
        /// Of the topic.
        name: Arc<str>,
        /// What to do about it.
        reason: String,
    },
    /// On this node the topic was started with another type of messages.
    #[error("the topic {0:?} has messages of another type")]
    OtherType(Arc<str>),
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && !name.contains('/')
}

fn each_name(topic: &str) -> String {
    format!("cluster/topic/{topic}")
}

fn group_name(topic: &str, group: &str) -> String {
    format!("cluster/topic/{topic}/{group}")
}

impl<M: WireMessage + Clone + Sync> Topic<M> {
    /// The topic called `name`, which has 1 to 120 bytes and no `/`, on this node: the same for all that ask for it.
    ///
    /// # Errors
    /// It is no name; the messages are not registered with [`ClusterConfig::message`](crate::ClusterConfig::message); or on
    /// this node the topic has messages of another type.
    pub fn new(cluster: &Cluster, name: impl Into<Arc<str>>) -> Result<Self, TopicError> {
        Self::start(cluster.tools(), name)
    }

    /// The topic called `name` on the node of `tools`: the same for all that ask for it.
    pub(crate) fn start(tools: &Tools, name: impl Into<Arc<str>>) -> Result<Self, TopicError> {
        let name = name.into();
        if !is_name(&name) {
            return Err(TopicError::NoName(name));
        }
        let refs = tools.refs.clone();
        refs.check_name::<M>(&each_name(&name))
            .map_err(|error| TopicError::NotRegistered { name: name.clone(), reason: error.to_string() })?;
        let start = || {
            let (of, topics) = (name.clone(), tools.topics.clone());
            let (actor_refs, actor_topics) = (refs.clone(), topics.clone());
            let make = move || TopicActor {
                name: of.clone(),
                topics: actor_topics.clone(),
                refs: actor_refs.clone(),
                fan_out: FanOut::default(),
            };
            Inner {
                name: name.clone(),
                me: tools.members.myself().node.uid,
                topics,
                actor: tools.system.spawn_internal(format!("topic-{name}"), Props::new(make)),
                ways: Mutex::new(Ways {
                    each: Peers::new(&refs, &tools.members, each_name(&name)),
                    groups: BTreeMap::new(),
                }),
                refs,
                members: tools.members.clone(),
            }
        };
        let topic = tools.topics.topic(&name, start).ok_or_else(|| TopicError::OtherType(name.clone()))?;
        Ok(Self(topic))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// `subscriber` gets each message from now on, until it ends or is [unsubscribed](Self::unsubscribe). Twice is once.
    pub fn subscribe(&self, subscriber: &ActorRef<M>) {
        self.0.actor.tell(TopicMessage::Subscribe { who: subscriber.clone(), group: None });
    }

    /// `subscriber` gets a share of the messages from now on: of those in one group, on all nodes, one gets each. A group's
    /// name has 1 to 120 bytes and no `/`; others are refused with a warning.
    pub fn subscribe_in_group(&self, group: impl Into<Arc<str>>, subscriber: &ActorRef<M>) {
        let group = Some(group.into());
        self.0.actor.tell(TopicMessage::Subscribe { who: subscriber.clone(), group });
    }

    /// It gets nothing more, neither by itself nor in any group; but what is on its way already.
    pub fn unsubscribe(&self, subscriber: &ActorRef<M>) {
        self.0.actor.tell(TopicMessage::Unsubscribe { who: subscriber.clone() });
    }

    /// Sends `message` to whoever this node knows to listen. Never waits. How many nodes it went to, this one included: zero
    /// means that nobody listens, more that somebody may get it.
    pub fn publish(&self, message: M) -> usize {
        let routes = self.0.topics.routes(&self.0.name);
        let nodes = routes.len();
        let mut ways = self.0.ways.lock();
        for (node, route) in routes {
            if node == self.0.me {
                self.0.actor.tell(TopicMessage::Deliver { route, message: message.clone() });
                continue;
            }
            if route.each {
                ways.each.tell(node, message.clone());
            }
            for group in route.groups {
                let name = group_name(&self.0.name, &group);
                let way = ways.groups.entry(group).or_insert_with(|| Peers::new(&self.0.refs, &self.0.members, name));
                way.tell(node, message.clone());
            }
        }
        nodes
    }
}

impl<M: Send + 'static> Clone for Topic<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Send + 'static> fmt::Debug for Topic<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.0.name).finish()
    }
}

enum TopicMessage<M: Send + 'static> {
    Subscribe {
        who: ActorRef<M>,
        group: Option<Arc<str>>,
    },
    Unsubscribe {
        who: ActorRef<M>,
    },
    /// It has.
    Ended {
        who: ActorRef<M>,
    },
    Deliver {
        route: Route,
        message: M,
    },
}

/// The subscribers on this node.
struct TopicActor<M: Send + 'static> {
    name: Arc<str>,
    topics: Topics,
    refs: Refs,
    fan_out: FanOut<ActorRef<M>>,
}

impl<M: WireMessage + Clone> TopicActor<M> {
    fn subscribe(&mut self, ctx: &mut ActorContext<TopicMessage<M>>, who: ActorRef<M>, group: Option<Arc<str>>) {
        if group.as_deref().is_some_and(|group| !is_name(group)) {
            return warn!(topic = %self.name, ?group, "no name of a group: it has 1 to {NAME_MAX} bytes and no '/'");
        }
        if self.fan_out.len() >= SUBSCRIBERS_MAX {
            return warn!(topic = %self.name, subscriber = %who.path(), "too many subscribers: this one hears nothing");
        }
        ctx.watch_with(&who, TopicMessage::Ended { who: who.clone() });
        if !self.fan_out.subscribe(who, group.clone()) {
            return;
        }
        let route = Route { each: group.is_none(), groups: group.clone().into_iter().collect() };
        let deliver = ctx.this().map(move |message| TopicMessage::Deliver { route: route.clone(), message });
        let name = group.as_deref().map_or_else(|| each_name(&self.name), |group| group_name(&self.name, group));
        match self.refs.name(&name, &deliver) {
            Ok(()) => self.topics.listens(Subject { topic: self.name.clone(), group }, true),
            Err(error) => warn!(topic = %self.name, %error, "others do not hear that somebody listens here"),
        }
    }

    fn ended(&mut self, who: &ActorRef<M>) {
        for group in self.fan_out.ended(who) {
            self.topics.listens(Subject { topic: self.name.clone(), group }, false);
        }
    }
}

impl<M: WireMessage + Clone> Actor for TopicActor<M> {
    type Message = TopicMessage<M>;

    async fn receive(&mut self, ctx: &mut ActorContext<TopicMessage<M>>, message: TopicMessage<M>) -> Handled {
        match message {
            TopicMessage::Subscribe { who, group } => self.subscribe(ctx, who, group),
            TopicMessage::Unsubscribe { who } => {
                ctx.unwatch(&who);
                self.ended(&who);
            }
            TopicMessage::Ended { who } => self.ended(&who),
            TopicMessage::Deliver { route, message } => {
                let takers = self.fan_out.take(&route);
                if takers.is_empty() {
                    debug!(topic = %self.name, "nobody listens here any more");
                }
                takers.into_iter().for_each(|taker| taker.tell(message.clone()));
            }
        }
        Ok(Behavior::Same)
    }
}
