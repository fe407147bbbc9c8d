//! Where settings come from: file, then environment, then flags; the later one wins.
//!
//! Nothing here reads a file or the environment: the caller hands in what it read, so that tests can too.

use std::borrow::Cow;
use std::fmt;

use super::error::{ConfigError, Problem};
use super::settings::{SETTINGS, Setting, hint_for_env, hint_for_key};
use super::{ProxyConfig, file};

/// What was read, before it is checked.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Path and text of the configuration file.
    pub file: Option<(String, String)>,
    /// Environment variables; those that are no business of ours are ignored.
    pub env: Vec<(String, String)>,
    /// Settings given as flags.
    pub flags: Vec<Flag>,
}

/// One setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as the user wrote it, such as `--http-port`.
    pub name: String,
    /// The key of the setting.
    pub key: String,
    /// The value as written.
    pub value: String,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(String),
}

/// The effective text of every setting with its origin.
#[derive(Debug, Clone)]
pub struct Resolved {
    values: Vec<Value>, // one for each of `SETTINGS`, in that order
}

/// One setting's effective text.
#[derive(Debug, Clone)]
pub struct Value {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value as written.
    pub text: String,
    /// Where it was written.
    pub origin: Origin,
}

impl Value {
    /// The text for people and logs: without passwords.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, str> {
        match self.setting.key {
            "postgres.password" if !self.text.is_empty() => Cow::Borrowed("***"),
            "store" => masked(&self.text),
            _ => Cow::Borrowed(&self.text),
        }
    }
}

/// An address without the password in it: `postgres://USER:***@HOST/DATABASE`.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return Cow::Borrowed(text) };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    // A password that was not escaped may hold a slash: the last `@` counts.
    let (login, server) = match rest[..end].rsplit_once('@').or_else(|| rest.rsplit_once('@')) {
        Some((login, _)) => rest.split_at(login.len()),
        None => ("", rest),
    };
    let login = match login.split_once(':') {
        Some((user, _)) => format!("{user}:***"),
        None => login.to_owned(),
    };
    let server = match server.split_once('?') {
        // Keys may name a password too.
        Some((server, query)) if query.contains("password") => format!("{server}?***"),
        _ => server.to_owned(),
    };
    Cow::Owned(format!("{scheme}://{login}{server}"))
}

impl Sources {
    /// Lays the sources over one another.
    ///
    /// # Errors
    /// Names every unknown key and every part of the file that cannot be read.
    pub fn resolve(&self) -> Result<Resolved, ConfigError> {
        let mut problems = Vec::new();
        let mut resolved = Resolved::defaults();
        if let Some((path, text)) = &self.file {
            for entry in file::entries(path, text)? {
                let origin = Origin::File { path: path.clone(), line: entry.line };
                resolved.set_key(&entry.key, entry.value, origin, &mut problems);
            }
        }
        for (name, value) in &self.env {
            match Setting::find_env(name) {
                Some(setting) => resolved.set(setting, value.clone(), Origin::Env(name.clone())),
                None if is_stray(name, value) => problems.push(Problem::UnknownKey {
                    key: name.clone(),
                    origin: Origin::Env(name.clone()),
                    hint: hint_for_env(name),
                }),
                None => {}
            }
        }
        for flag in &self.flags {
            resolved.set_key(&flag.key, flag.value.clone(), Origin::Flag(flag.name.clone()), &mut problems);
        }
        ConfigError::check(problems)?;
        Ok(resolved)
    }
}

impl Resolved {
    /// Every setting at its default.
    #[must_use]
    pub fn defaults() -> Self {
        let value =
            |setting: &'static Setting| Value { setting, text: setting.default.to_owned(), origin: Origin::Default };
        Self { values: SETTINGS.iter().map(value).collect() }
    }

    /// Every setting, in the order of the catalogue.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of the setting with this key.
    ///
    /// # Panics
    /// When no setting has that key: a slip in this program, not of its user.
    #[must_use]
    pub fn value(&self, key: &str) -> &Value {
        self.values.iter().find(|value| value.setting.key == key).expect("a key of the catalogue")
    }

    /// Whether nobody set this key.
    #[must_use]
    pub fn is_default(&self, key: &str) -> bool {
        self.value(key).origin == Origin::Default
    }

    /// Reads and checks the values.
    ///
    /// # Errors
    /// Names every wrong value and every contradiction.
    pub fn config(&self) -> Result<ProxyConfig, ConfigError> {
        ProxyConfig::read(self)
    }

    fn set_key(&mut self, key: &str, text: String, origin: Origin, problems: &mut Vec<Problem>) {
        match Setting::find(key) {
            Some(setting) => self.set(setting, text, origin),
            None => problems.push(Problem::UnknownKey { key: key.to_owned(), origin, hint: hint_for_key(key) }),
        }
    }

    fn set(&mut self, setting: &'static Setting, text: String, origin: Origin) {
        let slot = self.values.iter_mut().find(|value| value.setting == setting).expect("one slot a setting");
        slot.text = text;
        slot.origin = origin;
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Variable that names the configuration file.
pub const CONFIG_FILE_ENV: &str = "CLOUDSTATE_CONFIG";

/// Whether a variable looks as if it were meant for this program.
fn is_stray(name: &str, value: &str) -> bool {
    name.starts_with("CLOUDSTATE_") && name != CONFIG_FILE_ENV && !is_service_link(name, value)
}

/// Kubernetes describes a service called "cloudstate…" to every pod beside it by variables of these forms.
fn is_service_link(name: &str, value: &str) -> bool {
    let linked = |scheme: &str| value.starts_with(scheme);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_TCP")
        || name.contains("_UDP")
        || (name.ends_with("_PORT") && (linked("tcp://") || linked("udp://")))
}

#[cfg(test)]
mod masking {
    use super::masked;

    #[test]
    fn addresses_are_shown_without_their_passwords() {
        for (address, shown) in [
            ("postgres://me:hunter2@db:5432/shop", "postgres://me:***@db:5432/shop"),
            ("postgres://me:hun/ter@2@db/shop?sslmode=require", "postgres://me:***@db/shop?sslmode=require"),
            ("postgres://me@db/shop", "postgres://me@db/shop"),
            ("postgres://db/shop?password=hunter2", "postgres://db/shop?***"),
            ("sqlite:./data", "sqlite:./data"),
            ("memory", "memory"),
        ] {
            assert_eq!(masked(address), shown);
        }
    }
}
