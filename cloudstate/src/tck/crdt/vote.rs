//! `Vote` in the model tests of CRDT entities.

use proto::model::tck::crdt::RequestAction;

use super::delta::{self, self_vote};
use super::update::{self, delete, update};
use super::{Crdt, r, state};
use crate::tck::entity::Expected;
use crate::tck::suite::{Test, scripted};

pub(super) const VOTE: &[Test] = &[
    scripted!(Crdt, "verify Vote initial empty state", "Vote", |s| s.c([], vote(false, 0, 1))),
    scripted!(Crdt, "verify Vote state changes", "Vote", |s| s
        .c(cast(true), vote(true, 1, 1).u(self_vote(true)))
        .c(cast(true), vote(true, 1, 1))
        .c(cast(false), vote(false, 0, 1).u(self_vote(false)))
        .c(cast(false), vote(false, 0, 1))),
    scripted!(Crdt, "verify Vote initial delta in init", "Vote", |s| s
        .from(Some(delta::vote(true, 2, 3)))
        .c([], vote(true, 2, 3))
        .c(cast(false), vote(false, 1, 3).u(self_vote(false)))),
    scripted!(Crdt, "verify Vote initial empty state with replicated initial delta", "Vote", |s| s
        .d(delta::vote(false, 3, 5))
        .c([], vote(false, 3, 5))
        .c(cast(true), vote(true, 4, 5).u(self_vote(true)))),
    scripted!(Crdt, "verify Vote mix of local and replicated state changes", "Vote", |s| s
        .d(delta::vote(false, 2, 4))
        .c([], vote(false, 2, 4))
        .c(cast(true), vote(true, 3, 4).u(self_vote(true)))
        .d(delta::vote(true, 5, 7))
        .d(delta::vote(true, 4, 6))
        .c(cast(false), vote(false, 3, 6).u(self_vote(false)))),
    scripted!(Crdt, "verify Vote rehydration after passivation", "Vote", |s| s
        .c([], vote(false, 0, 1))
        .d(delta::vote(false, 2, 5))
        .c(cast(true), vote(true, 3, 5).u(self_vote(true)))
        .again()
        .from(Some(delta::vote(true, 3, 5)))
        .c([], vote(true, 3, 5))
        .c(cast(false), vote(false, 2, 5).u(self_vote(false)))),
    scripted!(Crdt, "verify Vote delete action received from entity", "Vote", |s| s
        .c(cast(true), vote(true, 1, 1).u(self_vote(true)))
        .c([delete()], vote(true, 1, 1).delete())),
    scripted!(Crdt, "verify Vote delete action sent to entity", "Vote", |s| s.deleted()),
];

fn vote(self_vote: bool, votes_for: i32, total_voters: i32) -> Expected<Crdt> {
    r(state::vote(self_vote, votes_for, total_voters))
}

fn cast(self_vote: bool) -> [RequestAction; 1] {
    [update(update::vote(self_vote))]
}
