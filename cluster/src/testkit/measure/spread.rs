//! [`Spread`]: what many measurements amount to.

use std::{fmt, time::Duration};

/// Many durations, in order.
#[derive(Clone, Debug, Default)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The least that so many of a hundred do not exceed; zero if there are none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The longest; zero if there are none.
    pub fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Spread {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut all: Vec<Duration> = durations.into_iter().collect();
        all.sort_unstable();
        Self(all)
    }
}

/// Half of them, 99 of 100, all: in seconds.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] =
            [self.percentile(50), self.percentile(99), self.max()].map(|duration| duration.as_secs_f64());
        write!(f, "{p50:7.2} {p99:7.2} {max:7.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_the_last_but_one_is_what_ninety_nine_do_not_exceed() {
        let spread: Spread = (1..=100).rev().map(Duration::from_secs).collect();
        let seconds = [50, 99, 100].map(|percent| spread.percentile(percent).as_secs());
        assert_eq!((seconds, spread.max().as_secs(), spread.count()), ([50, 99, 100], 100, 100));
        assert_eq!(Spread::default().percentile(99), Duration::ZERO);
    }
}
