//! [`Identity`]: by which name a node is known to the others, and how it is written.
//!
//! # On the wire
//! A byte that says how the host is written: 0 an IPv4 address in 4 bytes, 255 an IPv6 address in 16, else the length of a
//! name. Then the host, the port (2 bytes), the uid (8), the start (7 bits a byte, low ones first, each byte but the last
//! with its high bit set) and the generation (2). Numbers of a fixed size are big-endian. With an IPv4 address and a start
//! in milliseconds that is 23 bytes.

use crate::member::{Address, InvalidAddress};
use bytes::{Buf, BufMut};
use std::net::{Ipv4Addr, Ipv6Addr};

/// One generation of one life of a node.
///
/// A node that was given up by mistake goes on under its next generation: the same process, and the same uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Where it is reached.
    pub(crate) address: Address,
    /// Which life: drawn at random when the process started.
    pub(crate) uid: u64,
    /// Orders the lives at one address: a later one has more.
    pub(crate) start: u64,
    /// How often this life was given up and went on.
    pub(crate) generation: u16,
}

const IPV4: u8 = 0;
const IPV6: u8 = 255;

/// The most bytes that an identity takes: a name of 253 bytes and a start of 64 bits.
pub(crate) const ENCODED_MAX: usize = 1 + 253 + 2 + 8 + 10 + 2;

impl Identity {
    /// The name of whoever is at `address`, to knock there.
    pub(crate) fn whoever(address: Address) -> Self {
        Self { address, uid: 0, start: 0, generation: 0 }
    }

    /// Of two identities at one address that with more stays. A strict total order over all that equality sees there.
    fn rank(&self) -> (u64, u64, u16) {
        (self.start, self.uid, self.generation)
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let host = self.address.host();
        match Host::of(host) {
            Host::V4(ip) => {
                bytes.put_u8(IPV4);
                bytes.put_slice(&ip.octets());
            }
            Host::V6(ip) => {
                bytes.put_u8(IPV6);
                bytes.put_slice(&ip.octets());
            }
            Host::Name => {
                bytes.put_u8(u8::try_from(host.len()).expect("a host has at most 253 bytes"));
                bytes.put_slice(host.as_bytes());
            }
        }
        bytes.put_u16(self.address.port());
        bytes.put_u64(self.uid);
        let mut rest = self.start;
        while rest >= 0x80 {
            bytes.put_u8(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        bytes.put_u8(rest.to_le_bytes()[0]);
        bytes.put_u16(self.generation);
    }

    /// Reads an identity from the front of `bytes`. Nothing is allocated before it is known to be there.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, Undecodable> {
        let host = match bytes.try_get_u8()? {
            IPV4 => Ipv4Addr::from_bits(bytes.try_get_u32()?).to_string(),
            IPV6 => Ipv6Addr::from_bits(bytes.try_get_u128()?).to_string(),
            length => {
                let name = bytes.split_off(..usize::from(length)).ok_or(Undecodable::Truncated)?;
                std::str::from_utf8(name).map_err(|_| Undecodable::NoText)?.to_owned()
            }
        };
        let address = Address::new(host, bytes.try_get_u16()?)?;
        let uid = bytes.try_get_u64()?;
        let start = decode_start(bytes)?;
        Ok(Self { address, uid, start, generation: bytes.try_get_u16()? })
    }
}

fn decode_start(bytes: &mut &[u8]) -> Result<u64, Undecodable> {
    let mut start = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8()?;
        let part = u64::from(byte & 0x7f);
        if (part << shift) >> shift != part || (byte == 0 && shift > 0) {
            break;
        }
        start |= part << shift;
        if byte < 0x80 {
            return Ok(start);
        }
    }
    Err(Undecodable::Start)
}

/// How a host is written shortest, so that it reads as before.
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name,
}

impl Host {
    fn of(host: &str) -> Self {
        match (host.parse::<Ipv4Addr>(), host.parse::<Ipv6Addr>()) {
            (Ok(ip), _) if ip.to_string() == host => Self::V4(ip),
            (_, Ok(ip)) if ip.to_string() == host => Self::V6(ip),
            _ => Self::Name,
        }
    }
}

impl foca::Identity for Identity {
    type Addr = Address;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> Address {
        self.address.clone()
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }
}

/// Bytes that are none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    #[error("it ends too early")]
    Truncated,
    #[error("a host is no text")]
    NoText,
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error("a start is longer than 64 bits, or not written in the shortest way")]
    Start,
    #[error("no message is of kind {0}")]
    Kind(u8),
    #[error("no member is in state {0}")]
    State(u8),
    #[error("there is no room for it")]
    Full,
}

impl From<bytes::TryGetError> for Undecodable {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Truncated
    }
}
