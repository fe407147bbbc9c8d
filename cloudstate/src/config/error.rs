//! What can be wrong with a configuration; each text says what to change.

use std::fmt;

use super::sources::Origin;

/// Everything that is wrong with a configuration, in the order it was found. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// One thing that is wrong. Its text is one line: the key, where it was set, and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A key that no setting has.
    #[error("unknown configuration key `{key}` ({origin}); {hint}")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Where it was written.
        origin: Origin,
        /// The nearest valid key, or why there is none.
        hint: String,
    },
    /// A value that its setting cannot take.
    #[error("`{key}` is `{value}` ({origin}), but must be {expected}")]
    WrongValue {
        /// The key of the setting.
        key: String,
        /// The value as written.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// What the setting takes.
        expected: String,
    },
    /// Two settings that contradict each other.
    #[error("`{key}` is {value} ({origin}), but must be {relation} `{other}`, which is {other_value} ({other_origin})")]
    Contradiction {
        /// The first setting.
        key: String,
        /// Its value.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// How the first must relate to the second, as in "at most".
        relation: &'static str,
        /// The second setting.
        other: String,
        /// Its value.
        other_value: String,
        /// Where the second was written.
        other_origin: Origin,
    },
    /// The configuration file is not TOML, or holds something that is no setting.
    #[error("cannot use the configuration file {file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, with the line where known.
        reason: String,
    },
}

impl ConfigError {
    /// What is wrong, in the order it was found; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// `Err` when something is wrong.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
