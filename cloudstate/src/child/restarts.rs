//! When to start a process that died again. Pure.

use std::time::Duration;

use crate::config::ChildConfig;

/// Delays that double with each death in a row, and start over once the process has stayed up.
#[derive(Debug, Clone)]
pub struct Restarts {
    min: Duration,
    max: Duration,
    stable_after: Duration,
    deaths: u32, // in a row, without having been stable between
}

impl Restarts {
    /// No death yet.
    #[must_use]
    pub fn new(config: &ChildConfig) -> Self {
        Self { min: config.restart.min, max: config.restart.max, stable_after: config.stable_after, deaths: 0 }
    }

    /// The process died after `up`: how long to wait before it is started again.
    pub fn died_after(&mut self, up: Duration) -> Duration {
        if up >= self.stable_after {
            self.deaths = 0;
        }
        let doubled = self.min.saturating_mul(1 << self.deaths.min(31));
        self.deaths = self.deaths.saturating_add(1);
        doubled.min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyConfig;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn delays_double_to_the_longest_and_start_over_after_a_stable_time() {
        let mut restarts = Restarts::new(&ProxyConfig::default().child);
        let delays: Vec<_> = (0..8).map(|_| restarts.died_after(ms(5))).collect();
        assert_eq!(delays, [ms(200), ms(400), ms(800), ms(1600), ms(3200), ms(6400), ms(10_000), ms(10_000)]);
        assert_eq!(restarts.died_after(ms(9_999)), ms(10_000), "not yet stable");
        assert_eq!(restarts.died_after(ms(10_000)), ms(200), "stable");
    }

    #[test]
    fn endless_deaths_do_not_overflow() {
        let mut restarts = Restarts::new(&ProxyConfig::default().child);
        restarts.deaths = u32::MAX;
        assert_eq!(restarts.died_after(ms(0)), ms(10_000));
    }
}
