use super::*;
use proptest::prelude::*;

fn ring(keys: &[u8]) -> KeyRing {
    KeyRing::new(&keys.iter().map(|key| [*key; 32]).collect::<Vec<_>>()).unwrap()
}

fn seal(cluster: &str, uid: u64, keys: &[u8]) -> Seal {
    Seal::new(cluster.into(), uid, Some(ring(keys)))
}

fn opened(seal: &mut Seal, datagram: &[u8]) -> Result<Vec<u8>, Dropped> {
    seal.open(datagram, Tick::START)
}

#[test]
fn a_key_ring_has_some_keys_each_once() {
    let refused = |keys: &[u8]| KeyRing::new(&keys.iter().map(|key| [*key; 32]).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(refused(&[]), InvalidKeyRing::Empty);
    assert_eq!(refused(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), InvalidKeyRing::TooMany(9));
    assert_eq!(refused(&[1, 2, 3, 2]), InvalidKeyRing::Twice(4));
    assert_eq!(format!("{:?}", ring(&[1, 2])), "KeyRing(2)");
}

#[test]
fn the_first_key_closes_and_any_opens() {
    let mut old = seal("shop", 1, &[1]);
    let mut both = seal("shop", 2, &[1, 2]);
    let mut turned = seal("shop", 3, &[2, 1]);
    let by_turned = turned.close(b"hello");
    assert_eq!(opened(&mut both, &by_turned), Ok(b"hello".to_vec()));
    assert_eq!(opened(&mut old, &by_turned), Err(Dropped::Unauthentic));
    let by_both = both.close(b"hello");
    assert_eq!(opened(&mut old, &by_both), Ok(b"hello".to_vec()));
    assert_eq!(opened(&mut turned, &by_both), Ok(b"hello".to_vec()));
    // Other keys are no reason to take a datagram again.
    old.rotate(ring(&[2, 1]));
    assert_eq!(opened(&mut old, &by_both), Err(Dropped::Replayed));
    assert_eq!(opened(&mut old, &by_turned), Ok(b"hello".to_vec()));
}

#[test]
fn one_datagram_never_looks_like_another() {
    let mut sender = seal("shop", 1, &[1]);
    let (one, two) = (sender.close(b"hello"), sender.close(b"hello"));
    assert_ne!(one[SEALED_HEAD..], two[SEALED_HEAD..]);
    let other = seal("shop", 2, &[1]).close(b"hello");
    assert_ne!(one[SEALED_HEAD..], other[SEALED_HEAD..], "each sender has a key of its own");
    assert_eq!(one.len(), 5 + OVERHEAD);
}

#[test]
fn what_is_not_closed_alike_is_told_apart() {
    let mut with = seal("shop", 1, &[1]);
    let mut without = Seal::new("shop".into(), 2, None);
    let mut bank = Seal::new("bank".into(), 3, None);
    assert_eq!(opened(&mut with, &without.close(b"x")), Err(Dropped::Unsealed));
    assert_eq!(opened(&mut without, &with.close(b"x")), Err(Dropped::Sealed));
    assert_eq!(opened(&mut bank, &without.close(b"x")), Err(Dropped::Cluster));
    assert_eq!(opened(&mut seal("bank", 3, &[1]), &with.close(b"x")), Err(Dropped::Unauthentic));
    let own = with.close(b"x");
    assert_eq!(opened(&mut with, &own), Err(Dropped::Own));
    assert_eq!(opened(&mut with, &[]), Err(Dropped::Malformed));
    assert_eq!(opened(&mut with, &[VERSION, 7, 0]), Err(Dropped::Malformed));
    assert_eq!(opened(&mut with, &[VERSION + 1, SEALED, 0]), Err(Dropped::Version));
}

#[test]
fn who_is_quiet_makes_room_for_others() {
    let mut receiver = seal("shop", 0, &[1]);
    let last = u64::try_from(SENDERS_MAX).unwrap();
    for uid in 1..=last {
        let now = Tick::START + Duration::from_millis(uid);
        receiver.open(&seal("shop", uid, &[1]).close(b"x"), now).unwrap();
    }
    let mut newcomer = seal("shop", last + 1, &[1]);
    let in_time = Tick::START + QUIET;
    assert_eq!(receiver.open(&newcomer.close(b"x"), in_time), Err(Dropped::Crowded));
    let later = in_time + Duration::from_millis(1);
    assert_eq!(receiver.open(&newcomer.close(b"x"), later), Ok(b"x".to_vec()));
    assert_eq!(receiver.senders.len(), SENDERS_MAX);
    assert!(!receiver.senders.contains_key(&1));
}

proptest! {
    #[test]
    fn what_was_changed_is_dropped(message in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut receiver = seal("shop", 2, &[1, 2]);
        let datagram = seal("shop", 1, &[2]).close(&message);
        for end in 0..datagram.len() {
            prop_assert!(opened(&mut receiver, &datagram[..end]).is_err());
        }
        let mut changed = datagram.to_vec();
        changed[at.index(datagram.len())] ^= 1_u8 << bit;
        prop_assert!(opened(&mut receiver, &changed).is_err());
        // Nothing of that was remembered.
        prop_assert_eq!(opened(&mut receiver, &datagram), Ok(message));
        prop_assert_eq!(opened(&mut receiver, &datagram), Err(Dropped::Replayed));
    }

    #[test]
    fn what_was_damaged_is_dropped_without_keys_too(message in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut receiver = Seal::new("shop".into(), 2, None);
        let datagram = Seal::new("shop".into(), 1, None).close(&message);
        for end in 0..datagram.len() {
            prop_assert!(opened(&mut receiver, &datagram[..end]).is_err());
        }
        let mut damaged = datagram.to_vec();
        damaged[at.index(datagram.len())] ^= 1_u8 << bit;
        prop_assert!(opened(&mut receiver, &damaged).is_err());
        prop_assert_eq!(opened(&mut receiver, &datagram), Ok(message));
    }

    #[test]
    fn each_datagram_is_taken_once_in_any_order(numbers in prop::collection::vec(0..3000_u64, 1..300)) {
        let mut window = Window::new(Tick::START);
        let mut taken = std::collections::BTreeSet::new();
        for number in numbers {
            let highest = taken.last().copied().unwrap_or(0);
            let recent = number + Window::NUMBERS > highest;
            prop_assert_eq!(window.is_new(number), number > 0 && recent && !taken.contains(&number));
            if window.is_new(number) {
                window.take(number, Tick::START);
                taken.insert(number);
            }
        }
    }
}
