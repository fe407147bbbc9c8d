//! What was written is read, what was not is refused, and of two at one address one stays.

use super::{
    codec::{self, Codec, HEADER_MAX},
    identity::{ENCODED_MAX, Identity, Undecodable},
};
use crate::member::Address;
use bytes::BufMut;
use foca::{Codec as _, Header, Identity as _, Member, Message, State};
use proptest::prelude::*;

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>().prop_map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
        "[0-9a-zA-Z._:%-]{1,253}",
        "0?[0-9]\\.0?[0-9]\\.[0-9]\\.[0-9]",
        "fe80::[0-9a-f]{1,4}%eth[0-9]",
    ]
}

fn identities() -> impl Strategy<Value = Identity> {
    let start = prop_oneof![any::<u64>(), 0..300_u64, Just(u64::MAX)];
    (host(), 1..=u16::MAX, any::<u64>(), start, any::<u16>()).prop_map(|(host, port, uid, start, generation)| {
        Identity { address: Address::new(host, port).unwrap(), uid, start, generation }
    })
}

fn headers() -> impl Strategy<Value = Header<Identity>> {
    let message = (0..11, any::<u8>(), identities()).prop_map(|(kind, probe_number, third)| match kind {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq { target: third, probe_number },
        3 => Message::IndirectPing { origin: third, probe_number },
        4 => Message::IndirectAck { target: third, probe_number },
        5 => Message::ForwardedAck { origin: third, probe_number },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        _ => Message::TurnUndead,
    });
    (identities(), any::<u16>(), identities(), message).prop_map(|(src, src_incarnation, dst, message)| Header {
        src,
        src_incarnation,
        dst,
        message,
    })
}

fn members() -> impl Strategy<Value = Member<Identity>> {
    let state = prop::sample::select(vec![State::Alive, State::Suspect, State::Down]);
    (identities(), any::<u16>(), state).prop_map(|(id, incarnation, state)| Member::new(id, incarnation, state))
}

fn encoded(identity: &Identity) -> Vec<u8> {
    let mut bytes = Vec::new();
    identity.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn an_identity_is_read_as_it_was_written(identity in identities(), after in any::<[u8; 3]>()) {
        let mut bytes = encoded(&identity);
        prop_assert!(bytes.len() <= ENCODED_MAX);
        for end in 0..bytes.len() {
            prop_assert!(Identity::decode(&mut &bytes[..end]).is_err());
        }
        bytes.extend(after);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(Identity::decode(&mut rest), Ok(identity));
        prop_assert_eq!(rest, after);
    }

    #[test]
    fn messages_are_read_as_they_were_written(header in headers(), told in prop::collection::vec(members(), 0..4)) {
        let mut bytes = Vec::new();
        Codec.encode_header(&header, &mut bytes).unwrap();
        prop_assert!(bytes.len() <= HEADER_MAX);
        prop_assert_eq!(codec::incarnation(&bytes), Some(header.src_incarnation));
        prop_assert_eq!(codec::says_given_up(&bytes), header.message == Message::TurnUndead);
        bytes.put_u16(u16::try_from(told.len()).unwrap());
        for member in &told {
            Codec.encode_member(member, &mut bytes).unwrap();
        }
        let named: Vec<_> = std::iter::once(&header.src).chain(told.iter().map(Member::id)).cloned().collect();
        prop_assert_eq!(codec::named(&bytes), Ok(named));
        let mut rest = bytes.as_slice();
        prop_assert_eq!(Codec.decode_header(&mut rest), Ok(header));
        rest = &rest[2..];
        for member in told {
            prop_assert_eq!(Codec.decode_member(&mut rest), Ok(member));
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn what_does_not_fit_leaves_nothing_behind(header in headers(), member in members(), room in 0..40_usize) {
        let mut bytes = Vec::new();
        let fits = Codec.encode_member(&member, (&mut bytes).limit(room)).is_ok();
        prop_assert!(fits != bytes.is_empty() && bytes.len() <= room);
        bytes.clear();
        let fits = Codec.encode_header(&header, (&mut bytes).limit(room)).is_ok();
        prop_assert!(fits != bytes.is_empty() && bytes.len() <= room);
    }

    #[test]
    fn garbage_is_refused_or_is_the_only_way_to_write_what_it_says(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut rest = bytes.as_slice();
        if let Ok(identity) = Identity::decode(&mut rest) {
            let read = bytes.len() - rest.len();
            // But for numbers that stand where a name could.
            prop_assert!(encoded(&identity).len() <= read);
            prop_assert_eq!(Identity::decode(&mut encoded(&identity).as_slice()), Ok(identity));
        }
        let _ = codec::named(&bytes);
        let _ = Codec.decode_member(bytes.as_slice());
    }

    #[test]
    fn of_two_at_one_address_exactly_one_stays(lives in prop::collection::vec((0..3_u64, 0..3_u64, 0..3_u16), 3)) {
        let at = |(start, uid, generation)| Identity {
            address: Address::new("n1", 1).unwrap(), uid, start, generation,
        };
        let [a, b, c] = [at(lives[0]), at(lives[1]), at(lives[2])];
        prop_assert_eq!(a == b, !a.win_addr_conflict(&b) && !b.win_addr_conflict(&a));
        prop_assert!(!(a.win_addr_conflict(&b) && b.win_addr_conflict(&a)));
        if a.win_addr_conflict(&b) && b.win_addr_conflict(&c) {
            prop_assert!(a.win_addr_conflict(&c));
        }
        let next = a.renew().unwrap();
        prop_assert!(next.win_addr_conflict(&a) && next.uid == a.uid && next.start == a.start);
        if b.start > a.start {
            prop_assert!(b.win_addr_conflict(&next), "a later life wins whatever the generation");
        }
    }
}

#[test]
fn the_last_generation_has_none_after_it() {
    let identity = Identity { generation: u16::MAX, ..Identity::whoever(Address::new("n1", 1).unwrap()) };
    assert_eq!(identity.renew(), None);
}

#[test]
fn an_identity_is_short() {
    let identity = |host: &str| Identity {
        address: Address::new(host, 25520).unwrap(),
        uid: u64::MAX,
        start: 1_800_000_000_000, // milliseconds of the year 2027
        generation: 3,
    };
    assert_eq!(encoded(&identity("10.100.200.250")).len(), 23);
    assert_eq!(encoded(&identity("fd00::1:2:3:4")).len(), 35);
}

#[test]
fn a_start_is_written_in_one_way_only() {
    let read = |start: &[u8]| {
        let mut bytes = vec![0, 10, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        bytes.extend(start);
        bytes.extend([0, 0]);
        Identity::decode(&mut bytes.as_slice()).map(|identity| identity.start)
    };
    assert_eq!(read(&[0x80, 0x01]), Ok(128));
    assert_eq!(read(&[0x81, 0x00]), Err(Undecodable::Start));
    let mut longest = vec![0xff; 9];
    longest.push(1);
    assert_eq!(read(&longest), Ok(u64::MAX));
    longest[9] = 2;
    assert_eq!(read(&longest), Err(Undecodable::Start));
    assert_eq!(read(&[0xff; 11]), Err(Undecodable::Start));
}
