//! [`Interests`]: which nodes listen to what. Each node writes its own part, in versions that grow; all others have copies.
//!
//! # Replication
//! Nodes tell each other which versions they have, and whoever has a later one of somebody's part sends what changed since:
//! it need not be the one whose part it is. That somebody listens no more is remembered for a while; whoever is further
//! behind gets the part anew. The part of a member that is removed goes with it.

use crate::testkit::planted::{Bug, is_planted};
use actors::Tick;
use rand::{RngExt, rngs::ChaCha8Rng, seq::IteratorRandom};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What one node may listen to.
pub(super) const SUBJECTS_MAX: usize = 4096;
/// Bytes of a name.
pub(super) const NAME_MAX: usize = 120;
/// Changes in one message.
const PAGE: usize = 512;
/// How often a node tells another which versions it has.
const GOSSIP_EVERY: Duration = Duration::from_secs(1);
/// To how many a change is told at once; the others hear of it by gossip.
const PUSHED_TO: usize = 32;
/// How long it is remembered that somebody listens no more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// What somebody listens to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Subject {
    pub(super) topic: Arc<str>,
    /// Of which one gets each message. None: each gets it.
    pub(super) group: Option<Arc<str>>,
}

/// Any may be lost, late or come twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum GossipMessage {
    /// What I have of whose part.
    Versions { versions: Vec<(u64, Has)>, answer: bool },
    /// What changed in the part of `owner` from version `since` to `version`. `anew`: whatever was before is void, and what
    /// nobody listens to any more since that version is among what follows.
    Changes { owner: u64, since: u64, version: u64, anew: Option<u64>, changes: Vec<Change> },
}

/// How much of a part somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Has {
    version: u64,
    /// It never had what was forgotten before that version, or has forgotten it too.
    base: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) subject: Subject,
    pub(super) version: u64,
    pub(super) listens: bool,
}

#[derive(Debug)]
pub(super) enum Input {
    /// All members by now.
    Members(BTreeSet<u64>),
    Unreachable(BTreeSet<u64>),
    /// Somebody on this node listens, or nobody does any more.
    Own {
        subject: Subject,
        listens: bool,
    },
    Message {
        from: u64,
        message: GossipMessage,
    },
    Time,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Send { to: u64, message: GossipMessage },
    Dropped(Dropped),
}

/// Why something was not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dropped {
    /// It is from or about somebody who is no member, as far as is known.
    Stranger,
    /// It is older than what is known.
    Old,
    /// What comes before it is missing: that is asked for.
    Gap,
    /// It is more, or longer, than anything honest.
    TooLarge,
}

/// Where a message goes: once to each node, whatever it is for there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    /// To each subscriber that is in no group.
    pub(super) each: bool,
    /// To one of each of these groups.
    pub(super) groups: Vec<Arc<str>>,
}

/// One node's part, or another's copy of it.
#[derive(Debug, Default)]
struct Part {
    version: u64,
    entries: BTreeMap<Subject, Entry>,
    /// Whoever is behind that gets the part anew: what was forgotten before is not known any more.
    base: u64,
}

#[derive(Debug)]
struct Entry {
    version: u64,
    listens: bool,
    /// When it was heard of.
    at: Tick,
}

/// What one node knows of all.
pub(super) struct Interests {
    me: u64,
    rng: ChaCha8Rng,
    members: BTreeSet<u64>,
    unreachable: BTreeSet<u64>,
    parts: BTreeMap<u64, Part>,
    gossip_at: Tick,
    out: Vec<Effect>,
}

impl Interests {
    pub(super) fn new(me: u64, rng: ChaCha8Rng) -> Self {
        let parts = BTreeMap::from([(me, Part::default())]);
        let (members, unreachable) = (BTreeSet::new(), BTreeSet::new());
        Self { me, rng, members, unreachable, parts, gossip_at: Tick::START, out: Vec::new() }
    }

    /// Takes `input`, at `now`, which never goes back.
    pub(super) fn step(&mut self, input: Input, now: Tick) -> Vec<Effect> {
        match input {
            Input::Members(members) => {
                self.parts.retain(|owner, _| *owner == self.me || members.contains(owner));
                self.members = members;
            }
            Input::Unreachable(unreachable) => self.unreachable = unreachable,
            Input::Own { subject, listens } => self.own(subject, listens, now),
            Input::Message { from, message } if self.members.contains(&from) && from != self.me => {
                self.receive(from, message, now);
            }
            Input::Message { .. } => self.drop(Dropped::Stranger),
            Input::Time => {}
        }
        if self.gossip_at <= now {
            self.gossip_at = now + GOSSIP_EVERY;
            self.parts.values_mut().for_each(|part| part.forget(now));
            let me = self.me;
            let peer = self.members.iter().copied().filter(|uid| *uid != me).choose(&mut self.rng);
            if let Some(peer) = peer {
                self.tell_versions(peer, true);
            }
        }
        std::mem::take(&mut self.out)
    }

    /// When to step again, if nothing happens before.
    pub(super) fn wake_at(&self) -> Tick {
        self.gossip_at
    }

    /// Whether this node may listen to that too.
    pub(super) fn has_room(&self, subject: &Subject) -> bool {
        let own = &self.parts[&self.me].entries;
        own.contains_key(subject) || own.len() < SUBJECTS_MAX
    }

    /// Where a message of `topic` goes now, by node. Of the nodes with subscribers in a group one is drawn, among those that
    /// can be reached if there are any.
    pub(super) fn routes(&mut self, topic: &str) -> BTreeMap<u64, Route> {
        let first = Subject { topic: topic.into(), group: None };
        let mut routes: BTreeMap<u64, Route> = BTreeMap::new();
        let mut groups: BTreeMap<Arc<str>, Vec<u64>> = BTreeMap::new();
        for (owner, part) in &self.parts {
            let of_topic = part.entries.range(&first..).take_while(|(subject, _)| *subject.topic == *topic);
            for (subject, _) in of_topic.filter(|(_, entry)| entry.listens) {
                match &subject.group {
                    None => routes.entry(*owner).or_default().each = true,
                    Some(group) => groups.entry(group.clone()).or_default().push(*owner),
                }
            }
        }
        for (group, mut owners) in groups {
            if owners.iter().any(|owner| !self.unreachable.contains(owner)) {
                owners.retain(|owner| !self.unreachable.contains(owner));
            }
            if is_planted(Bug::SharedByAll) {
                owners.iter().for_each(|owner| routes.entry(*owner).or_default().groups.push(group.clone()));
                continue;
            }
            let drawn = owners[self.rng.random_range(0..owners.len())];
            routes.entry(drawn).or_default().groups.push(group);
        }
        routes
    }

    fn own(&mut self, subject: Subject, listens: bool, now: Tick) {
        let fits =
            subject.topic.len() <= NAME_MAX && subject.group.as_ref().is_none_or(|group| group.len() <= NAME_MAX);
        if !fits || !self.has_room(&subject) {
            return self.drop(Dropped::TooLarge);
        }
        let Some(part) = self.parts.get_mut(&self.me) else {
            return;
        };
        let known = part.entries.get(&subject).is_some_and(|entry| entry.listens);
        if known == listens {
            return;
        }
        let since = part.version;
        part.version += 1;
        part.entries.insert(subject.clone(), Entry { version: part.version, listens, at: now });
        let changes = vec![Change { subject, version: part.version, listens }];
        let message = GossipMessage::Changes { owner: self.me, since, version: part.version, anew: None, changes };
        let me = self.me;
        let peers = self.members.iter().copied().filter(|uid| *uid != me);
        for to in peers.sample(&mut self.rng, PUSHED_TO) {
            self.send(to, message.clone());
        }
    }

    fn tell_versions(&mut self, to: u64, answer: bool) {
        let has = |part: &Part| Has { version: part.version, base: part.base };
        let versions = self.parts.iter().map(|(owner, part)| (*owner, has(part))).collect();
        self.send(to, GossipMessage::Versions { versions, answer });
    }

    fn receive(&mut self, from: u64, message: GossipMessage, now: Tick) {
        match message {
            GossipMessage::Versions { versions, answer } => {
                let theirs: BTreeMap<u64, Has> = versions.into_iter().collect();
                let has = |owner: &u64| theirs.get(owner).copied().unwrap_or_default();
                let later = self.parts.iter().filter(|(owner, part)| part.version > has(owner).version);
                let messages: Vec<GossipMessage> =
                    later.map(|(owner, part)| part.changes_since(*owner, has(owner))).collect();
                messages.into_iter().for_each(|message| self.send(from, message));
                let behind = |(owner, theirs): (&u64, &Has)| {
                    let mine = self.parts.get(owner).map_or(0, |part| part.version);
                    self.members.contains(owner) && *owner != self.me && mine < theirs.version
                };
                if answer && theirs.iter().any(behind) {
                    self.tell_versions(from, false);
                }
            }
            GossipMessage::Changes { owner, .. } if owner == self.me || !self.members.contains(&owner) => {
                self.drop(Dropped::Stranger);
            }
            GossipMessage::Changes { owner, since, version, anew, changes } => {
                let part = self.parts.entry(owner).or_default();
                match part.take(since, version, anew, changes, now) {
                    // There may be more where that came from.
                    Ok(full_page) if full_page => self.tell_versions(from, false),
                    Ok(_) => {}
                    Err(why) => {
                        if why == Dropped::Gap {
                            self.tell_versions(from, false);
                        }
                        self.drop(why);
                    }
                }
            }
        }
    }

    fn send(&mut self, to: u64, message: GossipMessage) {
        self.out.push(Effect::Send { to, message });
    }

    fn drop(&mut self, why: Dropped) {
        self.out.push(Effect::Dropped(why));
    }
}

impl Part {
    /// The first page of what somebody lacks who has that much.
    fn changes_since(&self, owner: u64, has: Has) -> GossipMessage {
        let anew = (has.version.max(has.base) < self.base).then_some(self.base);
        let since = if anew.is_some() { 0 } else { has.version };
        let entries = self.entries.iter().filter(|(_, entry)| entry.version > since);
        let mut changes: Vec<Change> = entries
            .map(|(subject, entry)| Change { subject: subject.clone(), version: entry.version, listens: entry.listens })
            .collect();
        changes.sort_by_key(|change| change.version);
        let mut version = self.version;
        if changes.len() > PAGE {
            changes.truncate(PAGE);
            version = changes[PAGE - 1].version;
        }
        GossipMessage::Changes { owner, since, version, anew, changes }
    }

    /// Whether that was a full page.
    fn take(
        &mut self,
        since: u64,
        version: u64,
        anew: Option<u64>,
        changes: Vec<Change>,
        now: Tick,
    ) -> Result<bool, Dropped> {
        let fits = |change: &Change| {
            let Subject { topic, group } = &change.subject;
            topic.len() <= NAME_MAX && group.as_ref().is_none_or(|group| group.len() <= NAME_MAX)
        };
        let room = SUBJECTS_MAX * 2;
        if changes.len() > PAGE || !changes.iter().all(fits) || self.entries.len() + changes.len() > room + PAGE {
            return Err(Dropped::TooLarge);
        }
        if version <= self.version {
            return Err(Dropped::Old);
        }
        if since > self.version {
            return Err(Dropped::Gap);
        }
        if let Some(base) = anew {
            self.entries.clear();
            self.base = base;
        }
        let full_page = changes.len() == PAGE;
        for Change { subject, version, listens } in changes {
            let known = self.entries.get(&subject).map_or(0, |entry| entry.version);
            if known < version {
                self.entries.insert(subject, Entry { version, listens, at: now });
            }
        }
        self.version = version;
        Ok(full_page)
    }

    fn forget(&mut self, now: Tick) {
        let is_old = |entry: &Entry| !entry.listens && now - entry.at >= FORGOTTEN_AFTER;
        let old = self.entries.values().filter(|entry| is_old(entry)).map(|entry| entry.version).max();
        if let Some(version) = old {
            self.base = self.base.max(version);
            self.entries.retain(|_, entry| !is_old(entry));
        }
    }
}
