//! [`RefBlob`]: what stands for a reference inside of a message.

use super::frame::{NAME_MAX, To, put, put_bytes, split, take, take_byte, take_bytes};
use crate::member::{Address, UniqueAddress};

/// Bytes of a path; what is longer is cut: it is for people.
const TEXT_MAX: usize = 1024;

const NODE: u8 = 0b11;
const MINE: u8 = 0;
const YOURS: u8 = 1;
const OTHER: u8 = 2;
const NAMED: u8 = 1 << 2;
/// The incarnation's number is not the one under which it is found.
const UID: u8 = 1 << 3;
/// The number of its system is not that of the life it is found at.
const SYSTEM: u8 = 1 << 4;

/// A reference, by what it takes to find the actor and to tell it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefBlob<'a> {
    /// Where it is found.
    pub(super) node: UniqueAddress,
    pub(super) to: To<'a>,
    /// Which incarnation it is.
    pub(super) system_uid: u64,
    pub(super) uid: u64,
    /// Its path within its system.
    pub(super) text: &'a str,
}

impl<'a> RefBlob<'a> {
    /// `mine`: the life that writes; `yours`: the one that reads.
    pub(super) fn write(&self, mine: &UniqueAddress, yours: &UniqueAddress, out: &mut Vec<u8>) {
        let node = match &self.node {
            node if node == mine => MINE,
            node if node == yours => YOURS,
            _ => OTHER,
        };
        let id = if let To::Id(id) = self.to { Some(id) } else { None };
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = node
            | flag(id.is_none(), NAMED)
            | flag(id != Some(self.uid), UID)
            | flag(self.system_uid != self.node.uid, SYSTEM);
        out.push(flags);
        if node == OTHER {
            put_bytes(out, self.node.address.host().as_bytes());
            out.extend(self.node.address.port().to_le_bytes());
            out.extend(self.node.uid.to_le_bytes());
        }
        match self.to {
            To::Id(id) => put(out, id),
            To::Name(name) => put_bytes(out, name.as_bytes()),
        }
        if flags & UID != 0 {
            put(out, self.uid);
        }
        if flags & SYSTEM != 0 {
            out.extend(self.system_uid.to_le_bytes());
        }
        let cut = self.text.floor_char_boundary(TEXT_MAX);
        put_bytes(out, &self.text.as_bytes()[..cut]);
    }

    /// As [`write`](Self::write) wrote it at the other node: `mine` is the life that reads. `None`: it is none.
    pub(super) fn read(mut rest: &'a [u8], mine: &UniqueAddress, yours: &UniqueAddress) -> Option<Self> {
        let flags = take_byte(&mut rest)?;
        let node = match flags & NODE {
            MINE => yours.clone(),
            YOURS => mine.clone(),
            OTHER => {
                let host = std::str::from_utf8(take_bytes(&mut rest)?).ok()?;
                let port = u16::from_le_bytes(*split(&mut rest, 2)?.first_chunk()?);
                let uid = u64::from_le_bytes(*split(&mut rest, 8)?.first_chunk()?);
                UniqueAddress { address: Address::new(host, port).ok()?, uid }
            }
            _ => return None,
        };
        let to = if flags & NAMED == 0 {
            To::Id(take(&mut rest)?)
        } else {
            let name = std::str::from_utf8(take_bytes(&mut rest)?).ok()?;
            To::Name(Some(name).filter(|name| name.len() <= NAME_MAX)?)
        };
        let uid = match to {
            _ if flags & UID != 0 => take(&mut rest)?,
            To::Id(id) => id,
            To::Name(_) => return None,
        };
        let system_uid =
            if flags & SYSTEM == 0 { node.uid } else { u64::from_le_bytes(*split(&mut rest, 8)?.first_chunk()?) };
        let text = std::str::from_utf8(take_bytes(&mut rest)?).ok().filter(|text| text.len() <= TEXT_MAX)?;
        rest.is_empty().then_some(Self { node, to, system_uid, uid, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn life(host: &str, uid: u64) -> UniqueAddress {
        UniqueAddress { address: Address::new(host, 2551).unwrap(), uid }
    }

    proptest! {
        #[test]
        fn it_names_the_same_actor_at_the_other_end(
            host in "[ab]",
            life_uid in 1_u64..3,
            id: u64,
            name in proptest::option::of("[a-z/]{1,20}"),
            same: bool,
            system_uid in 1_u64..4,
            text in "/[a-zä/]{0,30}",
        ) {
            let to = name.as_deref().map_or(To::Id(id), To::Name);
            let uid = if same { id } else { 7 };
            let blob = RefBlob { node: life(&host, life_uid), to, system_uid, uid, text: &text };
            let (mine, yours) = (life("a", 1), life("b", 2));
            let mut out = Vec::new();
            blob.write(&mine, &yours, &mut out);
            prop_assert_eq!(RefBlob::read(&out, &yours, &mine), Some(blob));
            for cut in 0..out.len() {
                prop_assert_eq!(RefBlob::read(&out[..cut], &yours, &mine), None);
            }
        }

        #[test]
        fn garbage_is_none_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = RefBlob::read(&bytes, &life("a", 1), &life("b", 2));
        }
    }

    #[test]
    fn the_actor_of_one_who_writes_takes_few_bytes() {
        let (mine, yours) = (life("a", 1), life("b", 2));
        let blob = RefBlob { node: mine.clone(), to: To::Id(20), system_uid: 1, uid: 20, text: "/user/gate" };
        let mut out = Vec::new();
        blob.write(&mine, &yours, &mut out);
        assert_eq!(out.len(), 3 + blob.text.len());
    }
}
