//! Who counts where members agree on something by majority: only while all of them have the same table.

use super::{Effect, Node, Phase};
use crate::{
    epoch::Council,
    member::{Member, MemberStatus},
};

impl Node {
    pub(super) fn tell_council(&mut self) {
        let council = self.find_council();
        if council != self.council {
            self.council.clone_from(&council);
            self.out.push(Effect::Council(council));
        }
    }

    fn find_council(&self) -> Option<Council> {
        if !matches!(self.phase, Phase::Member) || !self.table.is_converged() {
            return None;
        }
        let id = self.table.digest().into();
        if let Some(known) = self.council.as_ref().filter(|known| known.id == id) {
            return Some(known.clone());
        }
        let of = |wanted: fn(&Member) -> bool| {
            let members = self.table.members().filter(|member| wanted(member));
            members.map(|member| member.node.uid).collect()
        };
        Some(Council {
            id,
            voters: of(|member| member.status.is_full() && member.status != MemberStatus::Leaving),
            present: of(|member| member.up_number.is_some() && member.status < MemberStatus::Down),
        })
    }
}
