//! [`Admission`]: how many strangers may be at the door at a time.

use parking_lot::Mutex;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Handshakes with nodes that connected, in progress at a time. Each holds a handshake's frame and one read at most,
/// and ends in time.
const HANDSHAKES_MAX: usize = 256;

/// Of these, from one machine: no one keeps all others out.
const HANDSHAKES_PER_HOST_MAX: usize = 64;

/// Who is at the door.
#[derive(Debug, Default)]
pub(super) struct Admission(Arc<Mutex<AtTheDoor>>);

#[derive(Debug, Default)]
struct AtTheDoor {
    all: usize,
    by_host: BTreeMap<IpAddr, usize>,
    /// Connections that were closed at once.
    refused: u64,
}

impl Admission {
    /// Somebody connected from there. None: there are too many, and the connection is to be closed.
    pub(super) fn admit(&self, host: IpAddr) -> Option<Place> {
        let mut at_the_door = self.0.lock();
        let there = at_the_door.by_host.get(&host).copied().unwrap_or(0);
        if at_the_door.all >= HANDSHAKES_MAX || there >= HANDSHAKES_PER_HOST_MAX {
            at_the_door.refused += 1;
            return None;
        }
        at_the_door.all += 1;
        at_the_door.by_host.insert(host, there + 1);
        Some(Place { at_the_door: Arc::clone(&self.0), host })
    }

    /// How many are at the door, and how many were not let that far.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, u64) {
        let at_the_door = self.0.lock();
        (at_the_door.all, at_the_door.refused)
    }
}

/// A place at the door, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    at_the_door: Arc<Mutex<AtTheDoor>>,
    host: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut at_the_door = self.at_the_door.lock();
        at_the_door.all -= 1;
        if let Some(there) = at_the_door.by_host.get_mut(&self.host) {
            *there -= 1;
            if *there == 0 {
                at_the_door.by_host.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_cannot_take_all_places_and_all_machines_only_so_many() {
        let admission = Admission::default();
        let host = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut places: Vec<_> = (0..HANDSHAKES_PER_HOST_MAX).map(|_| admission.admit(host(1)).unwrap()).collect();
        assert!(admission.admit(host(1)).is_none(), "its share is taken");
        for n in 2..=4 {
            places.extend((0..HANDSHAKES_PER_HOST_MAX).map(|_| admission.admit(host(n)).unwrap()));
        }
        assert!(admission.admit(host(5)).is_none(), "all are taken");
        places.pop();
        assert!(admission.admit(host(5)).is_some(), "one was given back");
        drop(places);
        assert_eq!(admission.counts(), (0, 2));
        assert!(admission.0.lock().by_host.is_empty(), "hosts are forgotten");
    }
}
