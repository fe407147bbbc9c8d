//! [`TraceState`]: the header `tracestate`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::context::TraceContextError;

/// Members a list may have.
const MOST: usize = 32;
/// Characters of a key, and of a value.
const LONGEST: usize = 256;

/// What tracing systems added to a trace for themselves: a list of keys and values, the latest first. Actors hand it on as it
/// came.
///
/// [`parse`](FromStr) is that of the header: at most 32 members, keys of lower case letters, digits and `_-*/@`, values of
/// printable characters without `,` and `=`, each key once. Blanks around members, and members that are empty, are left out.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TraceState {
    list: Option<Arc<str>>,
}

impl TraceState {
    /// As the header wants it; empty when there is none.
    pub fn as_str(&self) -> &str {
        self.list.as_deref().unwrap_or_default()
    }

    /// Whether there is nothing in it: then the header is left out.
    pub fn is_empty(&self) -> bool {
        self.list.is_none()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(known, value)| (known == key).then_some(value))
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_str().split(',').filter_map(|member| member.split_once('='))
    }
}

impl FromStr for TraceState {
    type Err = TraceContextError;

    fn from_str(header: &str) -> Result<Self, TraceContextError> {
        let blanks = [' ', '\t'];
        let members: Vec<&str> =
            header.split(',').map(|member| member.trim_matches(blanks)).filter(|member| !member.is_empty()).collect();
        let mut keys = Vec::with_capacity(members.len().min(MOST));
        for member in &members {
            let (key, value) = member.split_once('=').ok_or(TraceContextError::State)?;
            if keys.len() == MOST || keys.contains(&key) || !is_key(key) || !is_value(value) {
                return Err(TraceContextError::State);
            }
            keys.push(key);
        }
        Ok(Self { list: (!members.is_empty()).then(|| members.join(",").into()) })
    }
}

/// A name, or the name of a tenant and that of its system around an `@`.
fn is_key(key: &str) -> bool {
    let (tenant, system) = match key.split_once('@') {
        None => (None, key),
        Some((tenant, system)) => (Some(tenant), system),
    };
    let (longest_system, tenant_is_right) = match tenant {
        None => (LONGEST, true),
        Some(tenant) => (14, is_name(tenant, 241, |first| first.is_ascii_lowercase() || first.is_ascii_digit())),
    };
    tenant_is_right && is_name(system, longest_system, |first| first.is_ascii_lowercase())
}

fn is_name(name: &str, longest: usize, begins: impl FnOnce(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    bytes.first().copied().is_some_and(begins)
        && bytes.len() <= longest
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
}

/// Blanks at its end were cut off with those around the member.
fn is_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    (1..=LONGEST).contains(&bytes.len())
        && bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
        && bytes.last() != Some(&b' ')
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceState").field(&self.as_str()).finish()
    }
}
