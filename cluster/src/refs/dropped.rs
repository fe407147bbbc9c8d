//! [`Drops`]: how many messages of actors were dropped, and why; and what is said of it.

use super::{frame::To, named_uid, peer::Peer, shared::Shared};
use crate::remote::{dropped::DropReason, transport::Lane, wire::NotPassed};
use actors::{DeadLetterReason, remote};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Types and reasons that are told of once.
const TOLD_MAX: usize = 1024;

/// Why a message or an answer did not get from one actor to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// For an actor of this node that has ended, or under a name nobody has.
    NobodyThere,
    /// For an actor of this node whose mailbox is full.
    MailboxFull,
    /// For an actor of this node that takes messages of another type.
    OtherType,
    /// Of a type, or in a version, that this node does not read.
    UnknownHere,
    /// Its bytes are no such value.
    Malformed,
    /// An answer whose bytes are no such value.
    AnswerMalformed,
    /// No frame for actors at all.
    NoFrame,
    /// From one node more than are known at a time.
    Crowded,
    /// For another node, for which it cannot be written.
    Unsendable,
    /// An answer for another node, for which it cannot be written.
    AnswerUnsendable,
}

impl Lost {
    const ALL: [Self; 10] = [
        Self::NobodyThere,
        Self::MailboxFull,
        Self::OtherType,
        Self::UnknownHere,
        Self::Malformed,
        Self::AnswerMalformed,
        Self::NoFrame,
        Self::Crowded,
        Self::Unsendable,
        Self::AnswerUnsendable,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::NobodyThere => "actors: nobody there",
            Self::MailboxFull => "actors: mailbox full",
            Self::OtherType => "actors: another type than the recipient's",
            Self::UnknownHere => "actors: unknown here",
            Self::Malformed => "actors: malformed",
            Self::AnswerMalformed => "actors: malformed answer",
            Self::NoFrame => "actors: malformed frame",
            Self::Crowded => "actors: too many nodes",
            Self::Unsendable => "actors: unsendable",
            Self::AnswerUnsendable => "actors: unsendable answer",
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Drops([AtomicU64; Lost::ALL.len()]);

impl Drops {
    pub(super) fn add(&self, lost: Lost) {
        self.0[lost as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Reasons for which anything was dropped, with how many.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Lost::ALL.into_iter().map(|lost| (lost.as_str(), self.0[lost as usize].load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0)
    }
}

impl Shared {
    /// A message cannot be written for `peer`.
    pub(super) fn cannot_pass(&self, peer: &Peer, lane: Lane, mut why: NotPassed) -> DeadLetterReason {
        self.drops.add(Lost::Unsendable);
        if why.reason == DropReason::TooLarge {
            why.detail.push_str(match lane {
                Lane::Large => ": send it in parts",
                _ => ": name its recipient's path in `ClusterConfig::large_messages`, or send it in parts",
            });
        }
        self.tell_of(peer, &why);
        DeadLetterReason::Unsendable
    }

    /// A message that came cannot be read.
    pub(super) fn did_not_pass(&self, peer: &Peer, why: &NotPassed) {
        self.drops.add(match why.reason {
            DropReason::UnknownHere | DropReason::NoCommonVersion => Lost::UnknownHere,
            _ => Lost::Malformed,
        });
        self.tell_of(peer, why);
    }

    fn tell_of(&self, peer: &Peer, why: &NotPassed) {
        let key = (Arc::clone(&why.name), why.reason);
        let is_news = {
            let mut told = self.told.lock();
            told.len() < TOLD_MAX && told.insert(key)
        };
        if is_news {
            tracing::warn!(
                node = %peer.node, message_type = %why.name, reason = ?why.reason, detail = why.detail,
                "messages of this type do not pass between two nodes; said once for each type and reason"
            );
        }
    }

    /// A message has come for nobody: a dead letter, by what is known of its recipient. What nodes say to each other by
    /// themselves is none: it may come before there is somebody to take it, and comes again.
    pub(super) fn nobody_there(&self, to: To<'_>) {
        self.drops.add(Lost::NobodyThere);
        let (uid, text) = match to {
            To::Id(id) => (id, format!("/(ended)#{id}")),
            To::Name(name) if name.starts_with("system/") => return,
            To::Name(name) => (named_uid(name), format!("/{name}")),
        };
        remote::not_found(&self.system, &remote::path(self.system.uid(), uid, &text));
    }
}
