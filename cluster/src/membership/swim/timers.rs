//! [`Timers`]: all that is to be done later, in order.

use super::identity::Identity;
use crate::member::Address;
use actors::Tick;
use foca::Timer;
use std::{collections::BTreeMap, time::Duration};

/// What is due at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// What foca wants to be reminded of.
    Foca(Timer<Identity>),
    /// Knock again at all doors.
    Knock,
}

/// Moment, and the order in which alarms were set.
type Key = (Tick, u64);

/// Alarms in the order of their moments, and of those at one moment the one that was set first.
///
/// There is at most one to forget each address and one to knock, and of the others no more than foca sets while it is
/// connected: they go when it no longer is.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    alarms: BTreeMap<Key, Alarm>,
    forget: BTreeMap<Address, Key>,
    knock: Option<Key>,
    set: u64,
}

impl Timers {
    pub(crate) fn first(&self) -> Option<Tick> {
        self.alarms.first_key_value().map(|((at, _), _)| *at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.alarms.len()
    }

    /// When somebody will be given up first, as things stand.
    #[cfg(test)]
    pub(crate) fn verdict(&self) -> Option<Tick> {
        let is_verdict = |alarm: &Alarm| matches!(alarm, Alarm::Foca(Timer::ChangeSuspectToDown { .. }));
        self.alarms.iter().find(|(_, alarm)| is_verdict(alarm)).map(|((at, _), _)| *at)
    }

    /// Sets an alarm, in place of the one before where there can only be one.
    pub(crate) fn set(&mut self, at: Tick, alarm: Alarm) {
        let key = (at, self.set);
        self.set += 1;
        let replaced = match &alarm {
            Alarm::Knock => self.knock.replace(key),
            Alarm::Foca(Timer::RemoveDown(who)) => self.forget.insert(who.address.clone(), key),
            Alarm::Foca(_) => None,
        };
        replaced.and_then(|key| self.alarms.remove(&key));
        self.alarms.insert(key, alarm);
    }

    /// Takes the first alarm that is due.
    pub(crate) fn pop(&mut self, now: Tick) -> Option<Alarm> {
        let first = self.alarms.first_entry().filter(|first| first.key().0 <= now)?;
        let alarm = first.remove();
        match &alarm {
            Alarm::Knock => self.knock = None,
            Alarm::Foca(Timer::RemoveDown(who)) => drop(self.forget.remove(&who.address)),
            Alarm::Foca(_) => {}
        }
        Some(alarm)
    }

    pub(crate) fn no_knock(&mut self) {
        self.knock.take().and_then(|key| self.alarms.remove(&key));
    }

    /// Drops what foca no longer waits for, once it is not connected: all but whom to forget.
    pub(crate) fn disconnected(&mut self) {
        self.alarms.retain(|_, alarm| matches!(alarm, Alarm::Knock | Alarm::Foca(Timer::RemoveDown(_))));
    }

    /// Everything `later`, in the same order.
    pub(crate) fn postpone(&mut self, later: Duration) {
        let put_off = |(at, set): Key| (at + later, set);
        self.alarms = std::mem::take(&mut self.alarms).into_iter().map(|(key, alarm)| (put_off(key), alarm)).collect();
        self.forget.values_mut().chain(&mut self.knock).for_each(|key| *key = put_off(*key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick::START + Duration::from_secs(secs)
    }

    fn forget(n: u64, uid: u64) -> Alarm {
        let address = Address::new(format!("n{n}"), 1).unwrap();
        Alarm::Foca(Timer::RemoveDown(Identity { uid, ..Identity::whoever(address) }))
    }

    #[test]
    fn alarms_go_off_in_order_and_there_are_no_more_than_needed() {
        let mut timers = Timers::default();
        let probe = |token| Alarm::Foca(Timer::ProbeRandomMember(token));
        [2, 1, 3].into_iter().for_each(|token| timers.set(at(5), probe(token)));
        timers.set(at(4), Alarm::Knock);
        timers.set(at(6), Alarm::Knock);
        timers.set(at(9), forget(1, 1));
        timers.set(at(9), forget(2, 1));
        timers.set(at(8), forget(1, 2));
        timers.postpone(Duration::from_secs(10));
        assert_eq!((timers.first(), timers.len()), (Some(at(15)), 6));
        assert_eq!(timers.pop(at(14)), None);
        assert_eq!([(); 2].map(|()| timers.pop(at(15))), [Some(probe(2)), Some(probe(1))]);
        timers.disconnected();
        timers.set(at(20), forget(2, 3));
        let rest: Vec<_> = std::iter::from_fn(|| timers.pop(at(99))).collect();
        assert_eq!(rest, [Alarm::Knock, forget(1, 2), forget(2, 3)]);
        assert!(timers.forget.is_empty() && timers.knock.is_none());
    }
}
