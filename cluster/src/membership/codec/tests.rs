//! What is written reads as it was, and what is damaged does no harm.

use super::{parts::*, *};
use crate::membership::{
    node::SharedSettings,
    table::{Gossip, MemberTable},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn member(n: u64) -> Member {
    Member {
        node: UniqueAddress { address: Address::new(format!("n{n}.example"), 2551).unwrap(), uid: n * 7919 },
        status: MemberStatus::ALL[(n % 8) as usize],
        up_number: (!n.is_multiple_of(3)).then_some(n),
        roles: (0..n % 4).map(|role| format!("role-{role}").into()).collect(),
        data_center: format!("dc-{}", n % 2).into(),
        app_version: "1.4.0".into(),
    }
}

/// Some are unreachable for others, and some were removed; one row is about somebody that is no member.
fn table(members: u64) -> Gossip {
    let mut table = MemberTable::default();
    for n in 1..=members {
        table.add(7919, member(n));
    }
    for n in 1..members {
        table.observe(n * 7919, (n + 1) * 7919, n % 2 == 0);
        table.observe(n * 7919, 7919, true);
    }
    table.begin_era(7919);
    let mut gossip = table.gossip();
    gossip.removed = (0..members).map(|n| (u64::MAX - n, n % 2)).collect();
    gossip.reachability.insert((5, 7919), crate::membership::reachability::Row { version: 9, unreachable: true });
    gossip.seen = (1..=members).filter(|n| n % 2 == 1).map(|n| n * 7919).collect();
    gossip
}

fn settings() -> SharedSettings {
    SharedSettings::default().with("downing", "keep-majority").with_secret("key", 0x5a1d_f15b)
}

fn all() -> Vec<Message> {
    let differing = vec![
        Difference { key: "shards".into(), of_cluster: "64".into(), of_joiner: "128".into() },
        Difference { key: "key".into(), of_cluster: "***".into(), of_joiner: "(not set)".into() },
    ];
    let joiner = Member { status: MemberStatus::Joining, up_number: None, ..member(3) };
    let at = Tick::START + Duration::from_nanos(1_234_567_890_123);
    vec![
        Message::Ask { settings: settings() },
        Message::Ready,
        Message::NotReady,
        Message::Refused { differing },
        Message::Wait,
        Message::Join { member: joiner, settings: settings() },
        Message::Welcome { table: table(9) },
        Message::Summary(Summary { digest: Digest(u128::MAX - 7), seen: 42 }),
        Message::Table { table: table(5), answer: true },
        Message::Table { table: table(0), answer: false },
        Message::Probe { at },
        Message::Echo { at },
        Message::HandedOver,
        Message::YouAreRemoved,
        Message::WhoAreYou,
        Message::NotAMember,
    ]
}

/// All of a message that can be told apart.
fn shown(message: &Message) -> String {
    format!("{message:?}")
}

#[test]
fn each_message_reads_as_it_was_written() {
    for message in all() {
        assert_eq!(shown(&decode(encode(&message)).unwrap()), shown(&message));
    }
}

#[test]
fn a_table_has_the_same_digest_on_the_other_side() {
    let gossip = table(60);
    let Message::Table { table: read, .. } =
        decode(encode(&Message::Table { table: gossip.clone(), answer: true })).unwrap()
    else {
        panic!("another message")
    };
    assert_eq!((read.digest(), &read.seen), (gossip.digest(), &gossip.seen));
}

/// As many as there may be of each thing that a message holds, members aside: of these, more than of anything else.
#[test]
fn what_is_as_large_as_it_may_be_reads_as_it_was_written() {
    let settings =
        |sign| (0..SETTINGS_MAX).fold(SharedSettings::default(), |all, n| all.with(&format!("{sign}{n}"), "value"));
    let differing = settings("cluster").differences(&settings("joiner"));
    assert_eq!(differing.len(), 2 * SETTINGS_MAX);
    let roles = (0..ROLES_MAX).map(|role| format!("role-{role}").into()).collect();
    let joiner = Member { status: MemberStatus::Joining, up_number: None, roles, ..member(3) };
    for message in [
        Message::Table { table: table(2_000), answer: true },
        Message::Ask { settings: settings("") },
        Message::Refused { differing },
        Message::Join { member: joiner, settings: settings("") },
    ] {
        assert!(shown(&decode(encode(&message)).unwrap()) == shown(&message), "another {:.100}", shown(&message));
    }
}

#[test]
fn what_is_damaged_is_refused_or_is_another_message() {
    for message in all() {
        let bytes = encode(&message);
        for end in 0..bytes.len() {
            let _ = decode(bytes.slice(..end));
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                if let Ok(read) = decode(damaged.into()) {
                    // It can be told on.
                    decode(encode(&read)).unwrap();
                }
            }
        }
    }
}

/// A field with a length.
fn with_length(tag: u64, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut number in [tag << 3 | 2, inner.len() as u64] {
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes.extend_from_slice(inner);
    bytes
}

#[test]
fn what_claims_more_than_anybody_has_is_refused_before_room_is_made() {
    let empty_members = with_length(2, &[]).repeat(crate::membership::node::MEMBERS_MAX + 1);
    let many_roles = with_length(2, &with_length(6, &vec![0; 100_000]));
    let settings = with_length(1, &[]).repeat(SETTINGS_MAX + 1);
    let rows = with_length(4, &with_length(3, &vec![0; crate::membership::node::ROWS_MAX + 1]));
    for (kind, inner, tag) in [(9, empty_members, 2), (7, many_roles, 6), (1, settings, 1), (9, rows, 3)] {
        let told = decode(with_length(kind, &inner).into()).unwrap_err();
        assert_eq!(told, Undecodable::OutOfBounds(BoundsError(OutOfBounds::TooMany(tag))));
    }
    assert_eq!(decode(vec![0; MESSAGE_MAX + 1].into()).unwrap_err(), Undecodable::TooLong(MESSAGE_MAX + 1));
    // A length that goes past the end.
    assert_eq!(
        decode(vec![9 << 3 | 2, 0xff, 0xff, 0xff, 0x7f].into()).unwrap_err(),
        Undecodable::OutOfBounds(BoundsError(OutOfBounds::NoFields))
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |table: raw::Table| {
        let bytes = raw::Message { kind: Some(Kind::Table(table)) }.encode_to_vec();
        match decode(bytes.into()).unwrap_err() {
            Undecodable::Wrong(told) => told,
            other => panic!("{other}"),
        }
    };
    let member = |uid| raw::Member { host: "n".into(), port: 1, uid, status: 1, ..raw::Member::default() };
    let table = |members| raw::Table { texts: vec![String::new()], members, ..raw::Table::default() };
    assert!(refused(table(vec![member(2), member(1)])).contains("order"));
    assert!(refused(table(vec![member(1), member(1)])).contains("order"));
    assert!(refused(raw::Table { texts: vec![], ..table(vec![member(1)]) }).contains("text"));
    assert!(refused(raw::Table { seen: vec![1], ..table(vec![member(1)]) }).contains("no member"));
    assert!(refused(raw::Table { removed: vec![1], ..table(vec![]) }).contains("era"));
    let row = raw::Row { observer: 0, subjects: vec![7], says: vec![1] };
    assert!(refused(raw::Table { rows: vec![row], ..table(vec![member(1)]) }).contains("no node"));
    let row = raw::Row { observer: 0, subjects: vec![0], says: vec![] };
    assert!(refused(raw::Table { rows: vec![row], ..table(vec![member(1)]) }).contains("nobody"));
    assert!(refused(table(vec![raw::Member { status: 9, ..member(1) }])).contains("status"));
}

#[test]
fn a_long_message_goes_in_parts_and_a_missing_one_loses_it_alone() {
    let (mut splitter, mut assembly) = (Splitter::default(), Assembly::default());
    let message = Bytes::from((0..100_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let parts = splitter.split(&message, 1000).unwrap();
    assert!(parts.len() > 100 && parts.iter().all(|part| part.len() <= 1000));
    let mut take = |part: &Bytes| assembly.take(1, part.clone());
    let (last, before) = parts.split_last().unwrap();
    assert!(before.iter().all(|part| take(part) == Ok(None)));
    assert_eq!(take(last), Ok(Some(message.clone())));

    let again = splitter.split(&message, 1000).unwrap();
    assert_eq!((take(&again[0]), take(&again[2])), (Ok(None), Err(NoPart::Missing)));
    assert_eq!(take(&again[3]), Err(NoPart::Missing));
    let short = splitter.split(&Bytes::from_static(b"short"), 1000).unwrap();
    assert_eq!(take(&short[0]), Ok(Some(Bytes::from_static(b"short"))));
    // Parts of two messages do not mix, and those of two senders do.
    assert_eq!((take(&again[0]), take(&parts[1])), (Ok(None), Err(NoPart::Missing)));
    let (mut one, mut two) = (None, None);
    for part in &parts {
        one = assembly.take(1, part.clone()).unwrap();
        two = assembly.take(2, part.clone()).unwrap();
    }
    assert_eq!((one.as_ref(), two.as_ref()), (Some(&message), Some(&message)));
}

#[test]
fn who_begins_many_messages_and_ends_none_fills_no_memory() {
    let mut assembly = Assembly::default();
    let message = Bytes::from(vec![0; 1_000_000]);
    let part = Splitter::default().split(&message, 900_000).unwrap().swap_remove(0);
    let taken = (0..1000).filter(|from| assembly.take(*from, part.clone()).is_ok()).count();
    assert!((30..=37).contains(&taken), "{taken} of a megabyte each");
    assembly.end(0);
    assert_eq!(assembly.take(999, part), Ok(None), "there is room again");
    assert!(Splitter::default().split(&vec![0; MESSAGE_MAX + 1].into(), 200_000).is_none());
    for garbage in [&b""[..], b"\x02", b"\x02\0\0\0\0\0\0\0\0x", b"\x03abc", b"\x02\0\0\0\0\0\x05\0\x02x"] {
        assert_eq!(assembly.take(7, Bytes::from_static(garbage)), Err(NoPart::Malformed));
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(bytes.clone().into());
        let _ = Assembly::default().take(1, bytes.into());
    }

    #[test]
    fn shared_settings_read_as_they_were(plain in proptest::collection::btree_map("[a-z.]{1,20}", ".{0,40}", 0..20)) {
        let with = |settings: SharedSettings, (key, value): (&String, &String)| settings.with(key, value);
        let settings = plain.iter().collect::<BTreeMap<_, _>>().into_iter().fold(settings(), with);
        let Message::Ask { settings: read } = decode(encode(&Message::Ask { settings: settings.clone() })).unwrap() else {
            panic!("another message")
        };
        prop_assert_eq!(read, settings);
    }
}
