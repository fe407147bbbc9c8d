//! What nodes say to each other about membership, and the settings that all must have alike.

use crate::{
    member::Member,
    membership::{
        codec::SETTINGS_MAX,
        table::{Digest, Gossip},
    },
};
use actors::Tick;
use std::{collections::BTreeMap, sync::Arc};

/// From one node to another, over the lane that user messages never delay. Any may be lost or come twice.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Is there a cluster, and would it take somebody with these settings?
    Ask { settings: SharedSettings },
    /// Yes: send `Join`.
    Ready,
    /// No: the one asked is no member itself, or it leaves.
    NotReady,
    /// There is one, with other settings.
    Refused { differing: Vec<Difference> },
    /// There is one, and in it an earlier life of the address that asks, or no room: once that is removed, or another, a
    /// later attempt succeeds.
    Wait,
    /// Take me in.
    Join { member: Member, settings: SharedSettings },
    /// You are in. This is the table with you in it.
    Welcome { table: Gossip },
    /// What I know, in short.
    Summary(Summary),
    /// What I know. `answer`: tell me if you know more.
    Table { table: Gossip, answer: bool },
    /// Am I one of you, and can I be reached? `at` is the time of whoever asks.
    Probe { at: Tick },
    /// You were when I got this.
    Echo { at: Tick },
    /// I am leaving, and whatever I did others do now.
    HandedOver,
    /// Your life was removed, for good.
    YouAreRemoved,
    /// You are no member that I know of. Whoever was let in by a node that told nobody joins through this one.
    WhoAreYou,
    /// I am not in your cluster: I joined another one.
    NotAMember,
}

/// A table, and who has had it, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) digest: Digest,
    pub(crate) seen: u64,
}

/// The settings that must be the same on all nodes, by name. What is secret goes as a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharedSettings(BTreeMap<Arc<str>, Value>);

/// The value of a setting as it is told to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettingValue<'a> {
    Plain(&'a str),
    Secret(u128),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Plain(Arc<str>),
    Secret(u128),
}

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) key: Arc<str>,
    /// Of the cluster. Masked if it is secret.
    pub(crate) of_cluster: Arc<str>,
    /// Of the node that wants in. Masked if it is secret.
    pub(crate) of_joiner: Arc<str>,
}

impl SharedSettings {
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.0.insert(key.into(), Value::Plain(value.into()));
        self
    }

    pub(crate) fn with_secret(mut self, key: &str, hash: u128) -> Self {
        self.insert_hash(key.into(), hash);
        self
    }

    pub(crate) fn insert_plain(&mut self, key: Arc<str>, value: Arc<str>) {
        self.0.insert(key, Value::Plain(value));
    }

    pub(crate) fn insert_hash(&mut self, key: Arc<str>, hash: u128) {
        self.0.insert(key, Value::Secret(hash));
    }

    /// In the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, SettingValue<'_>)> {
        self.0.iter().map(|(key, value)| match value {
            Value::Plain(text) => (key, SettingValue::Plain(text)),
            Value::Secret(hash) => (key, SettingValue::Secret(*hash)),
        })
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.0.len() <= SETTINGS_MAX
    }

    /// Where `joiner` differs from these, in the order of names.
    pub(crate) fn differences(&self, joiner: &Self) -> Vec<Difference> {
        let shown = |value: Option<&Value>| match value {
            Some(Value::Plain(text)) => text.clone(),
            Some(Value::Secret(_)) => "***".into(),
            None => "(not set)".into(),
        };
        let keys: std::collections::BTreeSet<&Arc<str>> = self.0.keys().chain(joiner.0.keys()).collect();
        keys.into_iter()
            .map(|key| (key, self.0.get(key), joiner.0.get(key)))
            .filter(|(_, cluster, joiner)| cluster != joiner)
            .map(|(key, of_cluster, of_joiner)| Difference {
                key: key.clone(),
                of_cluster: shown(of_cluster),
                of_joiner: shown(of_joiner),
            })
            .collect()
    }
}
