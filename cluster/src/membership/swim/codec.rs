//! [`Codec`]: foca's messages in bytes.
//!
//! # On the wire
//! A header is its kind (1 byte), the sender's incarnation (2), the sender, the receiver, and where the kind has them the
//! number of the probe (1) and whom it is about. A member is its [identity](super::identity), its incarnation (2) and its
//! state (1). The version stands before all that, see [`seal`](super::seal).

use super::identity::{ENCODED_MAX, Identity, Undecodable};
use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};

/// The most bytes of a header: one about a third.
pub(crate) const HEADER_MAX: usize = 4 + 3 * ENCODED_MAX;

/// Writes and reads foca's messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Codec;

const GIVEN_UP: u8 = 10;

/// The incarnation of the sender of a message of foca's, which is raised when it contradicts that it is dead.
pub(crate) fn incarnation(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*message.get(1..)?.first_chunk()?))
}

/// Whether a message does nothing but tell its receiver that it was given up.
pub(crate) fn says_given_up(message: &[u8]) -> bool {
    message.first() == Some(&GIVEN_UP)
}

/// Who a message comes from.
pub(crate) fn sender(mut message: &[u8]) -> Result<Identity, Undecodable> {
    Ok(header(&mut message)?.src)
}

/// A message of gossip about one member.
pub(crate) fn gossip_of(src: &Identity, incarnation: u16, dst: &Identity, about: &Member<Identity>) -> Option<Vec<u8>> {
    let header = Header { src: src.clone(), src_incarnation: incarnation, dst: dst.clone(), message: Message::Gossip };
    let mut message = Vec::with_capacity(128);
    foca::Codec::encode_header(&mut Codec, &header, &mut message).ok()?;
    message.put_u16(1);
    foca::Codec::encode_member(&mut Codec, about, &mut message).ok()?;
    Some(message)
}

/// Who a message comes from and whom it tells of.
pub(crate) fn named(mut message: &[u8]) -> Result<Vec<Identity>, Undecodable> {
    let mut named = vec![header(&mut message)?.src];
    let members = if message.is_empty() { 0 } else { message.try_get_u16()? };
    for _ in 0..members {
        named.push(member(&mut message)?.id().clone());
    }
    Ok(named)
}

fn header(bytes: &mut &[u8]) -> Result<Header<Identity>, Undecodable> {
    let kind = bytes.try_get_u8()?;
    let src_incarnation = bytes.try_get_u16()?;
    let (src, dst) = (Identity::decode(bytes)?, Identity::decode(bytes)?);
    let message = match kind {
        0 => Message::Ping(bytes.try_get_u8()?),
        1 => Message::Ack(bytes.try_get_u8()?),
        2 => Message::PingReq { probe_number: bytes.try_get_u8()?, target: Identity::decode(bytes)? },
        3 => Message::IndirectPing { probe_number: bytes.try_get_u8()?, origin: Identity::decode(bytes)? },
        4 => Message::IndirectAck { probe_number: bytes.try_get_u8()?, target: Identity::decode(bytes)? },
        5 => Message::ForwardedAck { probe_number: bytes.try_get_u8()?, origin: Identity::decode(bytes)? },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        GIVEN_UP => Message::TurnUndead,
        kind => return Err(Undecodable::Kind(kind)),
    };
    Ok(Header { src, src_incarnation, dst, message })
}

fn member(bytes: &mut &[u8]) -> Result<Member<Identity>, Undecodable> {
    let id = Identity::decode(bytes)?;
    let incarnation = bytes.try_get_u16()?;
    let state = match bytes.try_get_u8()? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        state => return Err(Undecodable::State(state)),
    };
    Ok(Member::new(id, incarnation, state))
}

impl foca::Codec<Identity> for Codec {
    type Error = Undecodable;

    fn encode_header(&mut self, header: &Header<Identity>, buf: impl BufMut) -> Result<(), Undecodable> {
        let (kind, probe, about) = match &header.message {
            Message::Ping(number) => (0, Some(*number), None),
            Message::Ack(number) => (1, Some(*number), None),
            Message::PingReq { probe_number, target } => (2, Some(*probe_number), Some(target)),
            Message::IndirectPing { probe_number, origin } => (3, Some(*probe_number), Some(origin)),
            Message::IndirectAck { probe_number, target } => (4, Some(*probe_number), Some(target)),
            Message::ForwardedAck { probe_number, origin } => (5, Some(*probe_number), Some(origin)),
            Message::Announce => (6, None, None),
            Message::Feed => (7, None, None),
            Message::Gossip => (8, None, None),
            Message::Broadcast => (9, None, None),
            Message::TurnUndead => (GIVEN_UP, None, None),
        };
        let mut bytes = Vec::with_capacity(96);
        bytes.put_u8(kind);
        bytes.put_u16(header.src_incarnation);
        header.src.encode(&mut bytes);
        header.dst.encode(&mut bytes);
        bytes.extend(probe);
        about.into_iter().for_each(|identity| identity.encode(&mut bytes));
        put(&bytes, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Identity>, Undecodable> {
        take(buf, header)
    }

    fn encode_member(&mut self, member: &Member<Identity>, buf: impl BufMut) -> Result<(), Undecodable> {
        let mut bytes = Vec::with_capacity(32);
        member.id().encode(&mut bytes);
        bytes.put_u16(member.incarnation());
        bytes.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put(&bytes, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Identity>, Undecodable> {
        take(buf, member)
    }
}

/// All of it, or nothing.
fn put(bytes: &[u8], mut buf: impl BufMut) -> Result<(), Undecodable> {
    if buf.remaining_mut() < bytes.len() {
        return Err(Undecodable::Full);
    }
    buf.put_slice(bytes);
    Ok(())
}

fn take<T>(mut buf: impl Buf, read: fn(&mut &[u8]) -> Result<T, Undecodable>) -> Result<T, Undecodable> {
    let mut rest = buf.chunk();
    let before = rest.len();
    let value = read(&mut rest)?;
    let taken = before - rest.len();
    buf.advance(taken);
    Ok(value)
}
