//! [`Settings`]: how fast who is gone is noticed, and by whom one is let in.

use super::{
    codec,
    seal::{self, KeyRing},
};
use crate::member::Address;
use foca::{Config, PeriodicParams};
use std::{
    num::{NonZeroU8, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

/// The longest datagram that is sent or taken, in bytes. The same on all nodes: it fits what networks carry in one piece.
pub(crate) const DATAGRAM_MAX: usize = 1400;

/// The longest message in a datagram.
pub(crate) const MESSAGE_MAX: usize = DATAGRAM_MAX - seal::OVERHEAD;

// A header names three at most.
const _: () = assert!(codec::HEADER_MAX < MESSAGE_MAX);

/// From so many members on, this one among them, a cluster is large.
pub(crate) const LARGE: usize = 50;

/// The most seeds.
pub(crate) const SEEDS_MAX: usize = 64;

/// How fast who is gone is noticed, and by whom one is let in. All nodes of a cluster must have the same, but for seeds and
/// keys.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The name of the cluster, 1 to 255 bytes. Others' datagrams are dropped.
    pub(crate) cluster: Arc<str>,
    /// What closes datagrams. Without it everybody who can send one can have any member given up.
    pub(crate) keys: Option<KeyRing>,
    /// At whose doors to knock at first and whenever nobody else is there. At most 64.
    pub(crate) seeds: Vec<Address>,
    /// How often a member is probed. Default 500 ms; more than twice `round_trip`.
    pub(crate) probe_period: Duration,
    /// How long to wait for an answer before others are asked to try. Default 200 ms, at least 1 ms.
    pub(crate) round_trip: Duration,
    /// How long a suspect has to contradict. Default 3 s; at least twice `probe_period`.
    pub(crate) suspicion: Duration,
    /// How many others are asked to try. Default 3.
    pub(crate) helpers: NonZeroUsize,
    /// How often each news is passed on. Default 10. [In a large cluster](LARGE) half as often again: 15.
    pub(crate) transmissions: NonZeroU8,
    /// How often news is passed on. Default 200 ms; at most `probe_period`.
    pub(crate) gossip_period: Duration,
    /// To how many it is passed on each time. Default 3.
    pub(crate) gossip_peers: NonZeroUsize,
}

/// Settings with which a cluster does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidSettings {
    #[error("cluster: the name has {0} bytes, and must have 1 to 255")]
    Cluster(usize),
    #[error("seeds: there are {0}, and may be 64: a few that are always there are enough")]
    Seeds(usize),
    #[error("round_trip is {0:?}, and must be at least 1 ms")]
    RoundTrip(Duration),
    #[error("probe_period is {0:?}, and must be more than twice round_trip, which is {1:?}")]
    ProbePeriod(Duration, Duration),
    #[error("suspicion is {0:?}, and must be at least twice probe_period, which is {1:?}")]
    Suspicion(Duration, Duration),
    #[error("gossip_period is {0:?}, and must be from 10 ms to probe_period, which is {1:?}")]
    GossipPeriod(Duration, Duration),
}

impl Settings {
    /// The defaults.
    pub(crate) fn new(cluster: impl Into<Arc<str>>) -> Self {
        let three = const { NonZeroUsize::new(3).unwrap() };
        Self {
            cluster: cluster.into(),
            keys: None,
            seeds: Vec::new(),
            probe_period: Duration::from_millis(500),
            round_trip: Duration::from_millis(200),
            suspicion: Duration::from_secs(3),
            helpers: three,
            transmissions: const { NonZeroU8::new(10).unwrap() },
            gossip_period: Duration::from_millis(200),
            gossip_peers: three,
        }
    }

    /// Checks that they go together.
    pub(crate) fn validate(&self) -> Result<(), InvalidSettings> {
        let Self { probe_period, round_trip, suspicion, gossip_period, .. } = *self;
        match () {
            () if !(1..=255).contains(&self.cluster.len()) => Err(InvalidSettings::Cluster(self.cluster.len())),
            () if self.seeds.len() > SEEDS_MAX => Err(InvalidSettings::Seeds(self.seeds.len())),
            () if round_trip < Duration::from_millis(1) => Err(InvalidSettings::RoundTrip(round_trip)),
            () if probe_period <= round_trip * 2 => Err(InvalidSettings::ProbePeriod(probe_period, round_trip)),
            () if suspicion < probe_period * 2 => Err(InvalidSettings::Suspicion(suspicion, probe_period)),
            () if gossip_period < Duration::from_millis(10) || gossip_period > probe_period => {
                Err(InvalidSettings::GossipPeriod(gossip_period, probe_period))
            }
            () => Ok(()),
        }
    }

    /// Within which time all others have given up one of `members` that is gone, if messages arrive: it is probed at the
    /// latest after two rounds through all others, has one period to answer and then the time of a suspect, and a second
    /// is more than the news needs.
    #[cfg(test)]
    pub(crate) fn given_up_within(&self, members: usize) -> Duration {
        let periods = u32::try_from(2 * members.saturating_sub(1)).unwrap_or(u32::MAX);
        self.probe_period.saturating_mul(periods) + self.suspicion + Duration::from_secs(1)
    }

    /// How often each news is passed on.
    pub(crate) fn transmissions(&self, is_large: bool) -> NonZeroU8 {
        if is_large { self.transmissions.saturating_add(self.transmissions.get() / 2) } else { self.transmissions }
    }

    /// What foca goes by, in a cluster that is large or not.
    pub(crate) fn foca(&self, is_large: bool) -> Config {
        let every = |frequency, num_members| Some(PeriodicParams { frequency, num_members });
        Config {
            probe_period: self.probe_period,
            probe_rtt: self.round_trip,
            num_indirect_probes: self.helpers,
            max_transmissions: self.transmissions(is_large),
            suspect_to_down_after: self.suspicion,
            remove_down_after: Some(Duration::from_hours(24)),
            max_packet_size: const { NonZeroUsize::new(MESSAGE_MAX).unwrap() },
            notify_down_members: true,
            periodic_announce: every(Duration::from_secs(30), NonZeroUsize::MIN),
            periodic_announce_to_down_members: every(Duration::from_secs(65), NonZeroUsize::MIN.saturating_add(1)),
            periodic_gossip: every(self.gossip_period, self.gossip_peers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_go_together_are_refused_by_name() {
        let millis = Duration::from_millis;
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::new("shop");
            settings.validate().unwrap();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        assert_eq!(refused(|s| s.cluster = "".into()), InvalidSettings::Cluster(0));
        assert_eq!(refused(|s| s.seeds = vec!["n:1".parse().unwrap(); 65]), InvalidSettings::Seeds(65));
        assert_eq!(refused(|s| s.round_trip = Duration::ZERO), InvalidSettings::RoundTrip(millis(0)));
        assert_eq!(
            refused(|s| s.round_trip = Duration::from_millis(250)),
            InvalidSettings::ProbePeriod(millis(500), millis(250))
        );
        assert_eq!(
            refused(|s| s.suspicion = Duration::from_millis(999)),
            InvalidSettings::Suspicion(millis(999), millis(500))
        );
        assert_eq!(
            refused(|s| s.gossip_period = Duration::from_millis(501)),
            InvalidSettings::GossipPeriod(millis(501), millis(500))
        );
        let settings = Settings::new("shop");
        assert_eq!([false, true].map(|is_large| settings.transmissions(is_large).get()), [10, 15]);
    }
}
