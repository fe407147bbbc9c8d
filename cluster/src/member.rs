//! [`Member`]: one life of a node, and where it is between joining and being removed.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

/// Where a node is reached by the others. Ordered by host, then port: the leader is the lowest.
///
/// Two addresses are the same only if they are written alike: a name and the number it stands for are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

/// The longest host name, as in DNS.
const HOST_MAX: usize = 253;

impl Address {
    /// The node called `host` (a name or an IP address, without brackets) at `port`.
    ///
    /// # Errors
    /// The host is empty, longer than 253 bytes or holds characters that none has, or the port is 0.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Result<Self, InvalidAddress> {
        let host = host.into();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%');
        let reason = match () {
            () if host.is_empty() => "the host is empty: write HOST:PORT",
            () if host.len() > HOST_MAX => "the host is longer than 253 bytes",
            () if !host.bytes().all(fits) => "the host may hold letters, digits, '.', '-', '_', ':' and '%'",
            () if port == 0 => "the port is 0: others must know where to connect",
            () => return Ok(Self { host, port }),
        };
        Err(InvalidAddress { text: format!("{host}:{port}"), reason })
    }

    /// The name or number, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    /// `HOST:PORT`, an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress { text: text.to_owned(), reason };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| invalid("the port is missing: write HOST:PORT"))?;
        let port = port.parse().map_err(|_| invalid("the port is no number from 1 to 65535"))?;
        let bare = host.strip_prefix('[').map(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(Some(inner)) => inner,
            Some(None) => return Err(invalid("the bracket is not closed: write [HOST]:PORT")),
            None if host.contains(':') => return Err(invalid("an IPv6 address needs brackets: write [HOST]:PORT")),
            None => host,
        };
        Self::new(host, port)
    }
}

/// A text that is no [`Address`], or no [`UniqueAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address: {reason}")]
pub struct InvalidAddress {
    text: String,
    reason: &'static str,
}

/// One life of a node: its address, and a number drawn at random when its process started.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UniqueAddress {
    /// Where it is reached.
    pub address: Address,
    /// Which life at that address.
    pub uid: u64,
}

impl fmt::Display for UniqueAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:016x}", self.address, self.uid)
    }
}

impl FromStr for UniqueAddress {
    type Err = InvalidAddress;

    /// `HOST:PORT#UID`, the uid in hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress { text: text.to_owned(), reason };
        let (address, uid) = text.split_once('#').ok_or_else(|| invalid("the uid is missing: write HOST:PORT#UID"))?;
        // With a sign it would be read, too.
        let digits = uid.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(uid);
        let uid = digits.and_then(|uid| u64::from_str_radix(uid, 16).ok());
        let uid = uid.ok_or_else(|| invalid("the uid is no hexadecimal number of 64 bits"))?;
        Ok(Self { address: address.parse()?, uid })
    }
}

/// In messages they are text, as they are displayed.
macro_rules! in_messages_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

in_messages_as_text!(Address, UniqueAddress);

/// Where a member is in its life. Each allowed step goes up in this order, and of two accounts of one member the higher is
/// the later one: so tables can be merged in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberStatus {
    /// It is known and waits to be let in.
    Joining,
    /// It may work, but counts for nothing: the members could not all agree to let it in.
    WeaklyUp,
    /// It is a full member.
    Up,
    /// The whole cluster is about to stop: nothing is moved any more.
    PreparingForShutdown,
    /// It is ready for the whole cluster to stop.
    ReadyForShutdown,
    /// It wants to leave and still does its work.
    Leaving,
    /// It hands over its work. It stays in contact until it is removed.
    Exiting,
    /// It was given up for good.
    Down,
    /// It is no member any more, and this life never will be again.
    Removed,
}

impl MemberStatus {
    /// All of them, upwards.
    pub const ALL: [Self; 9] = [
        Self::Joining,
        Self::WeaklyUp,
        Self::Up,
        Self::PreparingForShutdown,
        Self::ReadyForShutdown,
        Self::Leaving,
        Self::Exiting,
        Self::Down,
        Self::Removed,
    ];

    /// Whether a member may go from here to `to` in one step.
    pub fn may_become(self, to: Self) -> bool {
        use MemberStatus::{
            Down, Exiting, Joining, Leaving, PreparingForShutdown, ReadyForShutdown, Removed, Up, WeaklyUp,
        };
        match self {
            Joining => matches!(to, WeaklyUp | Up | Leaving | Down | Removed),
            WeaklyUp => matches!(to, Up | Leaving | Down | Removed),
            Up => matches!(to, Leaving | PreparingForShutdown | Down | Removed),
            PreparingForShutdown => matches!(to, ReadyForShutdown | Leaving | Down | Removed),
            ReadyForShutdown => matches!(to, Leaving | Down | Removed),
            Leaving => matches!(to, Exiting | Down | Removed),
            Exiting => matches!(to, Removed | Down),
            Down => matches!(to, Removed),
            Removed => false,
        }
    }

    /// Whether it counts: when all must agree, and among those of whom the lowest leads.
    pub fn is_full(self) -> bool {
        matches!(self, Self::Up | Self::PreparingForShutdown | Self::ReadyForShutdown | Self::Leaving)
    }
}

/// A member as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which life of which node.
    pub node: UniqueAddress,
    /// Where it is in that life.
    pub status: MemberStatus,
    /// Its place in the order in which members became [`Up`](MemberStatus::Up), from 1; none before. Gives age.
    pub up_number: Option<u64>,
    /// What it is there for. The same all its life.
    pub roles: BTreeSet<Arc<str>>,
    /// Where it stands. The same all its life.
    pub data_center: Arc<str>,
    /// The version of the program it runs. The same all its life.
    pub app_version: Arc<str>,
}

impl Member {
    /// Whether it has `role`; everybody has none.
    pub fn has_role(&self, role: Option<&str>) -> bool {
        role.is_none_or(|role| self.roles.contains(role))
    }

    /// Orders members by age, the oldest first: who became up earlier, and of those who did not, the lower address.
    pub fn by_age(&self, other: &Self) -> std::cmp::Ordering {
        let age = |member: &Self| member.up_number.unwrap_or(u64::MAX);
        age(self).cmp(&age(other)).then_with(|| self.node.cmp(&other.node))
    }

    /// Full, and let in by all. One that leaves before it was let in never is.
    pub(crate) fn has_come(&self) -> bool {
        self.status.is_full() && self.up_number.is_some()
    }

    /// Yet to be let in, though it may have changed its mind.
    pub(crate) fn is_to_come(&self) -> bool {
        self.status < MemberStatus::Exiting && self.up_number.is_none()
    }

    /// What two accounts of one life amount to: the higher status and, apart from it, the smaller number.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.status = self.status.max(other.status);
        self.up_number = match (self.up_number, other.up_number) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_allowed_step_goes_up() {
        for from in MemberStatus::ALL {
            for to in MemberStatus::ALL {
                assert!(!from.may_become(to) || from < to, "{from:?} to {to:?}");
            }
            assert_eq!(from.may_become(MemberStatus::Removed), from != MemberStatus::Removed);
        }
    }

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["node-1.example:2551", "10.0.0.7:1", "[fe80::1%eth0]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_are_in_messages_as_text() {
        let life = UniqueAddress { address: "[fe80::1]:2551".parse().unwrap(), uid: 0xfe };
        assert_eq!(life.to_string().parse(), Ok(life.clone()));
        let packed = rmp_serde::to_vec(&(&life, &life.address)).unwrap();
        assert_eq!(rmp_serde::from_slice::<(UniqueAddress, Address)>(&packed).unwrap(), (life.clone(), life.address));
        for (text, told) in
            [("n:1", "uid is missing"), ("n:1#x", "hexadecimal"), ("n:1#+1", "hexadecimal"), ("n#1", "port is missing")]
        {
            let packed = rmp_serde::to_vec(text).unwrap();
            let error = rmp_serde::from_slice::<UniqueAddress>(&packed).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_it_lacks() {
        let cases = [
            ("node", "port is missing"),
            (":2551", "host is empty"),
            ("node:", "no number"),
            ("node:65536", "no number"),
            ("node:0", "port is 0"),
            ("fe80::1:2551", "brackets"),
            ("[fe80::1:2551", "not closed"),
            ("no de:2551", "letters, digits"),
        ];
        for (text, told) in cases {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        let long = format!("{}:1", "a".repeat(254));
        assert!(long.parse::<Address>().unwrap_err().to_string().contains("253"));
    }
}
