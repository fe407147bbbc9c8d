//! Tables in bytes: what comes again and again, names and uids, is written once and then named by its place.

use super::{Field, Holds, NAME_MAX, ROLES_MAX, Shape, Undecodable, address, field, raw, short, single};
use crate::{
    member::{Member, MemberStatus, UniqueAddress},
    membership::{
        node::{MEMBERS_MAX, REMOVED_MAX, ROWS_MAX},
        reachability::{Reachability, Row},
        table::Gossip,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const TEXTS_MAX: usize = 4096;

static MEMBER: Shape = Shape(&[single(1), field(6, Holds::Varint, MEMBERS_MAX * ROLES_MAX / 8)]);
static ROW: Shape = Shape(&[field(2, Holds::Varint, ROWS_MAX), field(3, Holds::Varint, ROWS_MAX)]);
const FIELDS: &[Field] = &[
    field(1, Holds::Text, TEXTS_MAX),
    field(2, Holds::Message(&MEMBER), MEMBERS_MAX),
    field(3, Holds::Fixed, MEMBERS_MAX),
    field(4, Holds::Message(&ROW), 2 * MEMBERS_MAX),
    field(5, Holds::Fixed, REMOVED_MAX),
    field(6, Holds::Varint, REMOVED_MAX),
    field(8, Holds::Varint, MEMBERS_MAX),
];
pub(super) static TABLE: Shape = Shape(FIELDS);

/// Places of texts and of uids.
#[derive(Default)]
struct Places {
    texts: BTreeMap<Arc<str>, u32>,
    listed: Vec<String>,
    nodes: BTreeMap<u64, u32>,
    others: Vec<u64>,
}

impl Places {
    fn text(&mut self, text: &Arc<str>) -> u32 {
        if let Some(place) = self.texts.get(text) {
            return *place;
        }
        let place = self.listed.len() as u32;
        self.texts.insert(text.clone(), place);
        self.listed.push(text.to_string());
        place
    }

    fn node(&mut self, uid: u64) -> u32 {
        if let Some(place) = self.nodes.get(&uid) {
            return *place;
        }
        let place = self.nodes.len() as u32;
        self.nodes.insert(uid, place);
        self.others.push(uid);
        place
    }
}

pub(super) fn encode(gossip: &Gossip, answer: bool) -> raw::Table {
    let mut places = Places::default();
    for (place, member) in (0..).zip(&gossip.members) {
        places.nodes.insert(member.node.uid, place);
    }
    let members = gossip.members.iter().map(|member| encode_member(member, &mut places)).collect();
    let mut rows: Vec<raw::Row> = Vec::new();
    // In the order of observers.
    for ((observer, subject), row) in gossip.reachability.rows() {
        let (observer, subject) = (places.node(observer), places.node(subject));
        if rows.last().is_none_or(|last| last.observer != observer) {
            rows.push(raw::Row { observer, ..raw::Row::default() });
        }
        if let Some(of_observer) = rows.last_mut() {
            of_observer.subjects.push(subject);
            of_observer.says.push(row.version << 1 | u64::from(row.unreachable));
        }
    }
    let seen: BTreeSet<u32> = gossip.seen.iter().filter_map(|uid| places.nodes.get(uid).copied()).collect();
    raw::Table {
        texts: places.listed,
        members,
        others: places.others,
        rows,
        removed: gossip.removed.keys().copied().collect(),
        removed_in: gossip.removed.values().copied().collect(),
        era: gossip.era,
        seen: seen.into_iter().collect(),
        answer,
    }
}

fn encode_member(member: &Member, places: &mut Places) -> raw::Member {
    let status = match member.status {
        MemberStatus::Joining => raw::Status::Joining,
        MemberStatus::WeaklyUp => raw::Status::WeaklyUp,
        MemberStatus::Up => raw::Status::Up,
        MemberStatus::PreparingForShutdown => raw::Status::PreparingForShutdown,
        MemberStatus::ReadyForShutdown => raw::Status::ReadyForShutdown,
        MemberStatus::Leaving => raw::Status::Leaving,
        MemberStatus::Exiting => raw::Status::Exiting,
        MemberStatus::Down => raw::Status::Down,
        // No table holds one.
        MemberStatus::Removed => raw::Status::Unknown,
    };
    raw::Member {
        host: member.node.address.host().to_owned(),
        port: member.node.address.port().into(),
        uid: member.node.uid,
        status: status.into(),
        up_number: member.up_number.unwrap_or(0),
        roles: member.roles.iter().map(|role| places.text(role)).collect(),
        data_center: places.text(&member.data_center),
        app_version: places.text(&member.app_version),
    }
}

pub(super) fn decode(table: raw::Table) -> Result<Gossip, Undecodable> {
    let long = "a name of a member is too long";
    let texts = table.texts.into_iter().map(|text| short(text, NAME_MAX, long));
    let texts: Vec<Arc<str>> = texts.collect::<Result<_, _>>()?;
    let members = table.members.into_iter().map(|member| decode_member(member, &texts));
    let members: Vec<Member> = members.collect::<Result<_, _>>()?;
    if !members.is_sorted_by(|one, two| one.node.uid < two.node.uid) {
        return Err(Undecodable::Wrong("members are not in the order of uids"));
    }
    let mut nodes: Vec<u64> = members.iter().map(|member| member.node.uid).collect();
    nodes.extend(table.others);
    let node = |place: u32| nodes.get(place as usize).copied().ok_or(Undecodable::Wrong("a place holds no node"));
    let mut reachability = Reachability::default();
    for row in table.rows {
        if row.subjects.len() != row.says.len() {
            return Err(Undecodable::Wrong("a row says something of nobody"));
        }
        let observer = node(row.observer)?;
        for (subject, says) in row.subjects.into_iter().zip(row.says) {
            reachability.insert((observer, node(subject)?), Row { version: says >> 1, unreachable: says & 1 == 1 });
        }
    }
    if table.removed.len() != table.removed_in.len() {
        return Err(Undecodable::Wrong("somebody was removed in no era"));
    }
    let seen = table.seen.into_iter().map(|place| {
        let member = members.get(place as usize).ok_or(Undecodable::Wrong("a place holds no member"))?;
        Ok(member.node.uid)
    });
    let seen: BTreeSet<u64> = seen.collect::<Result<_, Undecodable>>()?;
    Ok(Gossip {
        removed: table.removed.into_iter().zip(table.removed_in).collect(),
        seen: seen.into_iter().collect(),
        era: table.era,
        members,
        reachability,
    })
}

fn decode_member(member: raw::Member, texts: &[Arc<str>]) -> Result<Member, Undecodable> {
    let text = |place: u32| texts.get(place as usize).cloned().ok_or(Undecodable::Wrong("a place holds no text"));
    if member.roles.len() > ROLES_MAX {
        return Err(Undecodable::Wrong("a member has too many roles"));
    }
    let status = match member.status() {
        raw::Status::Joining => MemberStatus::Joining,
        raw::Status::WeaklyUp => MemberStatus::WeaklyUp,
        raw::Status::Up => MemberStatus::Up,
        raw::Status::PreparingForShutdown => MemberStatus::PreparingForShutdown,
        raw::Status::ReadyForShutdown => MemberStatus::ReadyForShutdown,
        raw::Status::Leaving => MemberStatus::Leaving,
        raw::Status::Exiting => MemberStatus::Exiting,
        raw::Status::Down => MemberStatus::Down,
        raw::Status::Unknown => return Err(Undecodable::Wrong("a member has no status that this version knows")),
    };
    Ok(Member {
        status,
        up_number: (member.up_number > 0).then_some(member.up_number),
        roles: member.roles.into_iter().map(text).collect::<Result<_, _>>()?,
        data_center: text(member.data_center)?,
        app_version: text(member.app_version)?,
        node: UniqueAddress { address: address(member.host, member.port)?, uid: member.uid },
    })
}
