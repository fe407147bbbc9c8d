//! Members' messages in bytes: protobuf, as `proto/internal/membership.proto` says.
//!
//! A message that is longer than a frame goes in [parts].

mod bounds;
pub(crate) mod parts;
mod table;

#[cfg(test)]
mod tests;

use super::{
    node::{Difference, Message, SettingValue, SharedSettings, Summary},
    table::Digest,
};
use crate::member::{Address, InvalidAddress, Member, MemberStatus, UniqueAddress};
use actors::Tick;
use bounds::{Field, Holds, OutOfBounds, Shape};
use bytes::Bytes;
use prost::Message as _;
use proto::internal::membership as raw;
use raw::message::Kind;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// The longest message in bytes.
pub(crate) const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// Roles one member may have.
pub(crate) const ROLES_MAX: usize = 64;
/// Bytes of a role, a data centre or a version of the program.
pub(crate) const NAME_MAX: usize = 128;
/// Shared settings.
pub(crate) const SETTINGS_MAX: usize = 256;
/// Bytes of a setting's name or value.
pub(crate) const SETTING_MAX: usize = 1024;

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    #[error("it has {0} bytes, and may have {MESSAGE_MAX}")]
    TooLong(usize),
    #[error(transparent)]
    OutOfBounds(#[from] BoundsError),
    #[error("{0}")]
    NoProtobuf(String),
    #[error("it says nothing this version knows")]
    Unknown,
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error("{0}")]
    Wrong(&'static str),
}

/// Kept private in what it says: for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BoundsError(OutOfBounds);

const fn field(tag: u64, holds: Holds, most: usize) -> Field {
    Field { tag, holds, most }
}

/// A text that stands alone: if it comes again, it takes the place of the one before.
const fn single(tag: u64) -> Field {
    field(tag, Holds::Text, usize::MAX)
}

static SETTING: Shape = Shape(&[single(1), single(2), single(3)]);
static SETTINGS: Shape = Shape(&[field(1, Holds::Message(&SETTING), SETTINGS_MAX)]);
static REFUSAL: Shape = Shape(&[field(1, Holds::Message(&SETTING), 2 * SETTINGS_MAX)]);
static JOIN: Shape =
    Shape(&[single(1), field(4, Holds::Text, ROLES_MAX), single(5), single(6), field(7, Holds::Message(&SETTINGS), 1)]);
static MESSAGE: Shape = Shape(&[
    field(1, Holds::Message(&SETTINGS), 1),
    field(4, Holds::Message(&REFUSAL), 1),
    field(6, Holds::Message(&JOIN), 1),
    field(7, Holds::Message(&table::TABLE), 1),
    field(8, Holds::Message(&SETTING), 1),
    field(9, Holds::Message(&table::TABLE), 1),
]);

/// The bytes of `message`.
pub(crate) fn encode(message: &Message) -> Bytes {
    let kind = match message {
        Message::Ask { settings } => Kind::Ask(encode_settings(settings)),
        Message::Ready => Kind::Ready(true),
        Message::NotReady => Kind::NotReady(true),
        Message::Refused { differing } => Kind::Refused(raw::Refusal {
            differing: differing.iter().take(2 * SETTINGS_MAX).map(encode_difference).collect(),
        }),
        Message::Wait => Kind::Wait(true),
        Message::Join { member, settings } => Kind::Join(raw::Join {
            host: member.node.address.host().to_owned(),
            port: member.node.address.port().into(),
            uid: member.node.uid,
            roles: member.roles.iter().map(ToString::to_string).collect(),
            data_center: member.data_center.to_string(),
            app_version: member.app_version.to_string(),
            settings: Some(encode_settings(settings)),
        }),
        Message::Welcome { table } => Kind::Welcome(table::encode(table, false)),
        Message::Summary(Summary { digest: Digest(digest), seen }) => Kind::Summary(raw::Summary {
            digest: Some(raw::Digest { high: (digest >> 64) as u64, low: *digest as u64 }),
            seen: *seen,
        }),
        Message::Table { table, answer } => Kind::Table(table::encode(table, *answer)),
        Message::Probe { at } => Kind::Probe(encode_tick(*at)),
        Message::Echo { at } => Kind::Echo(encode_tick(*at)),
        Message::HandedOver => Kind::HandedOver(true),
        Message::YouAreRemoved => Kind::YouAreRemoved(true),
        Message::WhoAreYou => Kind::WhoAreYou(true),
        Message::NotAMember => Kind::NotAMember(true),
    };
    raw::Message { kind: Some(kind) }.encode_to_vec().into()
}

/// The message in `bytes`. What is in it is bounded; whether it makes sense is up to the node.
///
/// # Errors
/// They are none, or hold more than any honest message.
pub(crate) fn decode(bytes: Bytes) -> Result<Message, Undecodable> {
    if bytes.len() > MESSAGE_MAX {
        return Err(Undecodable::TooLong(bytes.len()));
    }
    bounds::check(&MESSAGE, &bytes).map_err(BoundsError)?;
    let message = raw::Message::decode(bytes).map_err(|error| Undecodable::NoProtobuf(error.to_string()))?;
    Ok(match message.kind.ok_or(Undecodable::Unknown)? {
        Kind::Ask(settings) => Message::Ask { settings: decode_settings(settings)? },
        Kind::Ready(_) => Message::Ready,
        Kind::NotReady(_) => Message::NotReady,
        Kind::Refused(refusal) => {
            let differing = refusal.differing.into_iter().map(decode_difference);
            Message::Refused { differing: differing.collect::<Result<_, _>>()? }
        }
        Kind::Wait(_) => Message::Wait,
        Kind::Join(join) => {
            let settings = decode_settings(join.settings.unwrap_or_default())?;
            let name = |name: String| short(name, NAME_MAX, "a name of a member is too long");
            let member = Member {
                node: UniqueAddress { address: address(join.host, join.port)?, uid: join.uid },
                status: MemberStatus::Joining,
                up_number: None,
                roles: join.roles.into_iter().map(name).collect::<Result<BTreeSet<_>, _>>()?,
                data_center: name(join.data_center)?,
                app_version: name(join.app_version)?,
            };
            Message::Join { member, settings }
        }
        Kind::Welcome(table) => Message::Welcome { table: table::decode(table)? },
        Kind::Summary(summary) => {
            let digest = summary.digest.ok_or(Undecodable::Wrong("a summary has no digest"))?;
            let digest = Digest(u128::from(digest.high) << 64 | u128::from(digest.low));
            Message::Summary(Summary { digest, seen: summary.seen })
        }
        Kind::Table(table) => {
            let answer = table.answer;
            Message::Table { table: table::decode(table)?, answer }
        }
        Kind::Probe(at) => Message::Probe { at: decode_tick(at) },
        Kind::Echo(at) => Message::Echo { at: decode_tick(at) },
        Kind::HandedOver(_) => Message::HandedOver,
        Kind::YouAreRemoved(_) => Message::YouAreRemoved,
        Kind::WhoAreYou(_) => Message::WhoAreYou,
        Kind::NotAMember(_) => Message::NotAMember,
    })
}

fn encode_settings(settings: &SharedSettings) -> raw::Settings {
    let setting = |(key, value): (&Arc<str>, SettingValue<'_>)| raw::Setting {
        key: key.to_string(),
        value: Some(match value {
            SettingValue::Plain(text) => raw::setting::Value::Plain(text.to_owned()),
            SettingValue::Secret(hash) => raw::setting::Value::Secret(hash.to_be_bytes().to_vec().into()),
        }),
    };
    raw::Settings { settings: settings.iter().map(setting).collect() }
}

fn decode_settings(settings: raw::Settings) -> Result<SharedSettings, Undecodable> {
    let mut decoded = SharedSettings::default();
    for setting in settings.settings {
        let key = short(setting.key, SETTING_MAX, "the name of a setting is too long")?;
        match setting.value.ok_or(Undecodable::Wrong("a setting has no value"))? {
            raw::setting::Value::Plain(text) => {
                decoded.insert_plain(key, short(text, SETTING_MAX, "the value of a setting is too long")?);
            }
            raw::setting::Value::Secret(hash) => {
                let hash = <[u8; 16]>::try_from(&*hash).map_err(|_| Undecodable::Wrong("a hash has 16 bytes"))?;
                decoded.insert_hash(key, u128::from_be_bytes(hash));
            }
        }
    }
    Ok(decoded)
}

fn encode_difference(difference: &Difference) -> raw::Difference {
    raw::Difference {
        key: difference.key.to_string(),
        of_cluster: difference.of_cluster.to_string(),
        of_joiner: difference.of_joiner.to_string(),
    }
}

fn decode_difference(difference: raw::Difference) -> Result<Difference, Undecodable> {
    let text = |text| short(text, SETTING_MAX, "a difference is too long");
    Ok(Difference {
        key: text(difference.key)?,
        of_cluster: text(difference.of_cluster)?,
        of_joiner: text(difference.of_joiner)?,
    })
}

fn encode_tick(tick: Tick) -> u64 {
    u64::try_from(tick.since_start().as_nanos()).unwrap_or(u64::MAX)
}

fn decode_tick(nanos: u64) -> Tick {
    Tick::START + Duration::from_nanos(nanos)
}

fn address(host: String, port: u32) -> Result<Address, Undecodable> {
    let port = u16::try_from(port).map_err(|_| Undecodable::Wrong("a port has 16 bits"))?;
    Ok(Address::new(host, port)?)
}

fn short(text: String, most: usize, otherwise: &'static str) -> Result<Arc<str>, Undecodable> {
    if text.len() > most { Err(Undecodable::Wrong(otherwise)) } else { Ok(text.into()) }
}
