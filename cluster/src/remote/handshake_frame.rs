//! What the two sides of a handshake say, as values and as bytes.
//!
//! How many fields there are is counted before any is read: each makes room for more than the two bytes it takes.

use super::{
    proof::{CODE, NONCE},
    transport::Lane,
    wire::{Offer, TYPES_MAX, is_name},
};
use crate::member::{Address, UniqueAddress};
use bytes::Bytes;
use prost::Message;
use proto::internal::remote as raw;
use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::Arc};

pub(crate) use raw::difference::Kind;

/// Bytes of a frame of the handshake.
pub(crate) const HANDSHAKE_MAX: usize = 256 * 1024;

/// Parts of the configuration that are compared.
pub(crate) const CONFIG_MAX: usize = 64;

const DIFFERENCES_MAX: usize = 2 * CONFIG_MAX;
const TEXT_MAX: usize = 512;
const NAME_MAX: usize = 128;
const FIELDS_MAX: usize = TYPES_MAX + CONFIG_MAX + 64;

/// What a node says of itself. The same all its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Introduction {
    /// The name of the cluster it belongs to.
    pub(crate) cluster: Arc<str>,
    /// Versions of the protocol between nodes that it speaks.
    pub(crate) protocol: RangeInclusive<u32>,
    /// The address others use, and its life.
    pub(crate) node: UniqueAddress,
    /// Parts of the configuration that must be the same on all nodes, by name; each as a digest.
    pub(crate) config: BTreeMap<Arc<str>, u64>,
    /// Types of messages it reads, in the order of their names.
    pub(crate) types: Vec<Offer>,
}

/// What one side says first, or answers if it lets the other in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) from: Introduction,
    /// Whom it is meant for, and which life; none: whatever life is there.
    pub(crate) to: (Address, Option<u64>),
    pub(crate) lane: Lane,
    /// From a node with keys.
    pub(crate) nonce: Option<Bytes>,
}

/// One thing that keeps two nodes apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// For people.
    pub(crate) text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A frame of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Hello(Greeting),
    Welcome(Greeting),
    Refusal(Vec<Difference>),
    /// A code that only who has a key can make.
    Proof(Bytes),
    /// It was one.
    Admitted,
}

/// Why a frame is none of the handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no frame of the handshake: {0}")]
pub(crate) struct NoHandshake(pub(crate) String);

impl Said {
    pub(crate) fn encode(&self) -> Bytes {
        let kind = match self {
            Self::Hello(greeting) => raw::handshake::Kind::Hello(greeting.to_raw()),
            Self::Welcome(greeting) => raw::handshake::Kind::Welcome(greeting.to_raw()),
            Self::Refusal(differences) => {
                let raw = |difference: &Difference| raw::Difference {
                    kind: difference.kind.into(),
                    text: legible(&difference.text),
                };
                raw::handshake::Kind::Refusal(raw::Refusal {
                    differences: differences.iter().take(DIFFERENCES_MAX).map(raw).collect(),
                })
            }
            Self::Proof(code) => raw::handshake::Kind::Proof(raw::Proof { code: code.clone() }),
            Self::Admitted => raw::handshake::Kind::Admitted(raw::Admitted {}),
        };
        raw::Handshake { kind: Some(kind) }.encode_to_vec().into()
    }

    /// # Errors
    /// The bytes are none, or say what no node says.
    pub(crate) fn decode(frame: &[u8]) -> Result<Self, NoHandshake> {
        let no = |text: &str| NoHandshake(text.to_owned());
        if frame.len() > HANDSHAKE_MAX {
            return Err(no("it is too large"));
        }
        if count_fields(frame, 2).is_none_or(|fields| fields > FIELDS_MAX) {
            return Err(no("it has too many fields, or ends amid one"));
        }
        let raw = raw::Handshake::decode(frame).map_err(|error| NoHandshake(error.to_string()))?;
        Ok(match raw.kind.ok_or_else(|| no("it says nothing this version knows"))? {
            raw::handshake::Kind::Hello(greeting) => Self::Hello(Greeting::from_raw(greeting)?),
            raw::handshake::Kind::Welcome(greeting) => Self::Welcome(Greeting::from_raw(greeting)?),
            raw::handshake::Kind::Refusal(refusal) => {
                if refusal.differences.len() > DIFFERENCES_MAX {
                    return Err(no("it lists too many differences"));
                }
                let difference = |raw: raw::Difference| Difference { kind: raw.kind(), text: legible(&raw.text) };
                Self::Refusal(refusal.differences.into_iter().map(difference).collect())
            }
            raw::handshake::Kind::Proof(proof) if proof.code.len() == CODE => Self::Proof(proof.code),
            raw::handshake::Kind::Proof(_) => return Err(no("`code` has not 32 bytes")),
            raw::handshake::Kind::Admitted(raw::Admitted {}) => Self::Admitted,
        })
    }
}

impl Greeting {
    fn to_raw(&self) -> raw::Introduction {
        let Introduction { cluster, protocol, node, config, types } = &self.from;
        let raw_node =
            |address: &Address, uid| raw::Node { host: address.host().to_owned(), port: address.port().into(), uid };
        raw::Introduction {
            cluster: cluster.to_string(),
            protocol_lowest: *protocol.start(),
            protocol_highest: *protocol.end(),
            from: Some(raw_node(&node.address, node.uid)),
            to: Some(raw_node(&self.to.0, self.to.1.unwrap_or(0))),
            lane: match self.lane {
                Lane::Control => raw::Lane::Control,
                Lane::Ordinary => raw::Lane::Ordinary,
                Lane::Large => raw::Lane::Large,
            }
            .into(),
            config: config
                .iter()
                .map(|(name, digest)| raw::ConfigPart { name: name.to_string(), digest: *digest })
                .collect(),
            types: types
                .iter()
                .map(|offer| raw::MessageType {
                    name: offer.name.to_string(),
                    lowest: *offer.reads.start(),
                    highest: *offer.reads.end(),
                })
                .collect(),
            nonce: self.nonce.clone().unwrap_or_default(),
        }
    }

    fn from_raw(raw: raw::Introduction) -> Result<Self, NoHandshake> {
        let no = |text: &str| NoHandshake(text.to_owned());
        let node = |node: Option<raw::Node>, which: &str| {
            let node = node.ok_or_else(|| NoHandshake(format!("`{which}` is missing")))?;
            let port = u16::try_from(node.port).map_err(|_| NoHandshake(format!("`{which}` has no port")))?;
            let address = Address::new(node.host, port).map_err(|error| NoHandshake(format!("`{which}`: {error}")))?;
            Ok::<_, NoHandshake>((address, node.uid))
        };
        let lane = match raw.lane() {
            raw::Lane::Control => Lane::Control,
            raw::Lane::Ordinary => Lane::Ordinary,
            raw::Lane::Large => Lane::Large,
            raw::Lane::Unknown => return Err(no("`lane` is none this version knows")),
        };
        let (address, uid) = node(raw.from, "from")?;
        let (to, life) = node(raw.to, "to")?;
        let versions = |lowest: u32, highest: u32| (1..=highest).contains(&lowest);
        let ordered = |types: &[raw::MessageType]| types.is_sorted_by(|one, two| one.name < two.name);
        let fits = |offer: &raw::MessageType| is_name(&offer.name) && versions(offer.lowest, offer.highest);
        let config_fits = raw.config.len() <= CONFIG_MAX && raw.config.iter().all(|part| is_text(&part.name));
        match () {
            () if uid == 0 => return Err(no("`from` has no uid")),
            () if !is_text(&raw.cluster) => return Err(no("`cluster` is no name")),
            () if !versions(raw.protocol_lowest, raw.protocol_highest) => return Err(no("`protocol` is no range")),
            () if !config_fits => return Err(no("`config` has too many parts, or one without a name")),
            () if raw.types.len() > TYPES_MAX => return Err(no("`types` has too many")),
            () if !raw.types.iter().all(fits) => return Err(no("`types` has one that is none")),
            () if ![0, NONCE].contains(&raw.nonce.len()) => return Err(no("`nonce` has not 32 bytes")),
            () if !ordered(&raw.types) => return Err(no("`types` is not in order")),
            () => {}
        }
        let offer = |raw: raw::MessageType| Offer { name: raw.name.into(), reads: raw.lowest..=raw.highest };
        let from = Introduction {
            cluster: raw.cluster.into(),
            protocol: raw.protocol_lowest..=raw.protocol_highest,
            node: UniqueAddress { address, uid },
            config: raw.config.into_iter().map(|part| (part.name.into(), part.digest)).collect(),
            types: raw.types.into_iter().map(offer).collect(),
        };
        let nonce = (!raw.nonce.is_empty()).then_some(raw.nonce);
        Ok(Self { from, to: (to, (life != 0).then_some(life)), lane, nonce })
    }
}

fn is_text(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What another node wrote ends in logs: short, and on one line.
fn legible(text: &str) -> String {
    let mut legible = String::new();
    for char in text.chars() {
        let char = if char.is_control() { ' ' } else { char };
        if legible.len() + char.len_utf8() > TEXT_MAX {
            break;
        }
        legible.push(char);
    }
    legible
}

/// How many fields there are, down to `levels`; none: the bytes are no fields. Texts are counted as if they were messages,
/// if they could be, so this is no less than what is there.
fn count_fields(mut bytes: &[u8], levels: usize) -> Option<usize> {
    let mut count = 0;
    while !bytes.is_empty() {
        count += 1;
        match varint(&mut bytes)? & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => bytes = bytes.get(8..)?,
            2 => {
                let size = usize::try_from(varint(&mut bytes)?).ok()?;
                let (inner, rest) = bytes.split_at_checked(size)?;
                bytes = rest;
                if levels > 1 {
                    count += count_fields(inner, levels - 1)?;
                }
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(count)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let end = bytes.iter().take(10).position(|byte| *byte < 0x80)?;
    let (number, rest) = bytes.split_at(end + 1);
    *bytes = rest;
    Some(number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)))
}
