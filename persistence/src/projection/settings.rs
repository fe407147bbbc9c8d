//! [`ProjectionSettings`] and [`OnFailure`]: bounds and delays of a projection.

use std::time::Duration;

/// Bounds and delays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionSettings {
    /// Items read ahead at most. Default 1000; 2 to 100,000. Worst case memory: this × an item.
    pub read_ahead: usize,
    /// At least once: handled items after which the offset is saved. Default 100; at least 1. So many, and those of
    /// [`save_within`](Self::save_within), are handled again after a crash.
    pub save_every: u64,
    /// The longest a handled item waits for its offset to be saved. Default 500 ms.
    pub save_within: Duration,
    /// Grouped: the most items in a group. Default 20; 1 to `read_ahead`.
    pub group_max: usize,
    /// Grouped: the longest an item waits for others. Default 500 ms.
    pub group_within: Duration,
    /// Exactly once: the most items in one transaction. Default 100; 1 to `read_ahead`. They are handled one by one: more
    /// of them share a sync of the disk, and hold the database's writer up for longer.
    pub transaction_max: usize,
    /// Items parked at most. Default 10,000; at least 1. With so many, a failure is treated as [`OnFailure::fail`].
    pub parked_max: usize,
    /// The first pause before a projection that failed starts again. Default 3 s.
    pub restart_min: Duration,
    /// The longest such pause. Default 30 s; at least `restart_min`.
    pub restart_max: Duration,
    /// How often it is looked whether another process has paused the projection, taken it over, or asked for parked
    /// items to be tried again. Default 10 s.
    pub look_every: Duration,
}

impl Default for ProjectionSettings {
    fn default() -> Self {
        Self {
            read_ahead: 1_000,
            save_every: 100,
            save_within: Duration::from_millis(500),
            group_max: 20,
            group_within: Duration::from_millis(500),
            transaction_max: 100,
            parked_max: 10_000,
            restart_min: Duration::from_secs(3),
            restart_max: Duration::from_secs(30),
            look_every: Duration::from_secs(10),
        }
    }
}

/// A setting is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}: {fix}")]
pub struct InvalidProjectionSettings {
    /// Which.
    pub field: &'static str,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub fix: &'static str,
}

impl ProjectionSettings {
    /// Checks each field, and those that depend on each other.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidProjectionSettings> {
        let number = |field, value: usize, fix, fits: bool| {
            if fits { Ok(()) } else { Err(InvalidProjectionSettings { field, value: value.to_string(), fix }) }
        };
        let time = |field, value: Duration, fix, fits: bool| {
            if fits { Ok(()) } else { Err(InvalidProjectionSettings { field, value: format!("{value:?}"), fix }) }
        };
        let ahead = self.read_ahead;
        let within_ahead = |value: usize| (1..=ahead).contains(&value);
        number("read_ahead", ahead, "choose 2 to 100000", (2..=100_000).contains(&ahead))?;
        number("save_every", self.save_every as usize, "choose 1 or more", self.save_every > 0)?;
        number("group_max", self.group_max, "choose 1 to read_ahead", within_ahead(self.group_max))?;
        number("transaction_max", self.transaction_max, "choose 1 to read_ahead", within_ahead(self.transaction_max))?;
        number("parked_max", self.parked_max, "choose 1 or more", self.parked_max > 0)?;
        time("restart_min", self.restart_min, "choose more than nothing", !self.restart_min.is_zero())?;
        time("restart_max", self.restart_max, "choose restart_min or more", self.restart_max >= self.restart_min)?;
        time("look_every", self.look_every, "choose more than nothing", !self.look_every.is_zero())
    }
}

/// What happens to an item that the handler fails on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnFailure {
    pub(crate) attempts: u32,
    pub(crate) delay: Duration,
    pub(crate) park: bool,
}

/// Attempts, and the pause between them, where nothing else is said.
const ATTEMPTS: u32 = 5;
const DELAY: Duration = Duration::from_secs(1);

impl OnFailure {
    /// The projection fails: its supervisor starts it again, with a growing pause, at the same item.
    #[must_use]
    pub const fn fail() -> Self {
        Self { attempts: 1, delay: DELAY, park: false }
    }

    /// The item is parked and the next one handled. What is parked is kept until it is replayed or dropped.
    #[must_use]
    pub const fn park() -> Self {
        Self { attempts: 1, delay: DELAY, park: true }
    }

    /// Five attempts in all with a second between them, then [`fail`](Self::fail). The default.
    #[must_use]
    pub const fn retry_then_fail() -> Self {
        Self { attempts: ATTEMPTS, delay: DELAY, park: false }
    }

    /// Five attempts in all with a second between them, then [`park`](Self::park).
    #[must_use]
    pub const fn retry_then_park() -> Self {
        Self { attempts: ATTEMPTS, delay: DELAY, park: true }
    }

    /// So many attempts in all, at least one.
    #[must_use]
    pub const fn attempts(self, attempts: u32) -> Self {
        Self { attempts: if attempts == 0 { 1 } else { attempts }, ..self }
    }

    /// So long between two attempts.
    #[must_use]
    pub const fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

impl Default for OnFailure {
    fn default() -> Self {
        Self::retry_then_fail()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let default = ProjectionSettings::default;
        assert_eq!(default().validate(), Ok(()));
        for (settings, field) in [
            (ProjectionSettings { read_ahead: 1, ..default() }, "read_ahead"),
            (ProjectionSettings { save_every: 0, ..default() }, "save_every"),
            (ProjectionSettings { group_max: 1_001, ..default() }, "group_max"),
            (ProjectionSettings { transaction_max: 0, ..default() }, "transaction_max"),
            (ProjectionSettings { parked_max: 0, ..default() }, "parked_max"),
            (ProjectionSettings { restart_max: Duration::from_secs(1), ..default() }, "restart_max"),
        ] {
            let error = settings.validate().unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.to_string().contains("choose"), "{error}");
        }
    }
}
