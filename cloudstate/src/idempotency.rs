//! The `idempotency-key` of a call: the name under which its caller may send it again.
//!
//! Event-sourced and value entities carry a command with a key out once: sent again, by gRPC metadata or HTTP header, it
//! is answered with what was answered the first time, and the user function does not see it. The answer is stored with
//! what the command changed, in the same write. Keys are known for ten minutes and a thousand commands of an entity,
//! whichever is over first. CRDTs and actions take no notice of keys.
//!
//! A key is good for one command of one entity: with another method or another payload it is refused.

use http::HeaderMap;
use persistence::{CommandId, InvalidCommandId};
use proto::cloudstate::Metadata;
use proto::cloudstate::metadata_entry::Value;

use crate::call::Requests;
use crate::entity::Command;
use crate::spec::{EntityType, MethodSpec};

/// The header, and the name in metadata.
pub const KEY: &str = "idempotency-key";

/// What is wrong with a key. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// There are several.
    #[error("the idempotency-key is given more than once; give one")]
    Several,
    /// It is no text.
    #[error("the idempotency-key must consist of visible ASCII characters")]
    NoText,
    /// It is empty or too long.
    #[error("the idempotency-key cannot be used: {0}")]
    Length(#[from] InvalidCommandId),
}

/// The key in `headers`, for a call of `method` that says `contents`. `None` for methods that take no notice of it.
///
/// # Errors
/// For a key that cannot be used: a caller that relies on one must not believe that it has one.
pub fn of_headers(
    headers: &HeaderMap,
    method: &MethodSpec,
    contents: &[&[u8]],
) -> Result<Option<CommandId>, KeyProblem> {
    if !takes_notice(method) {
        return Ok(None);
    }
    let mut keys = headers.get_all(KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(KeyProblem::Several);
    }
    let key = key.to_str().map_err(|_| KeyProblem::NoText)?;
    named(key, method, contents).map(Some)
}

/// The key in the metadata of a forward or side effect that calls `method` with `payload`.
///
/// # Errors
/// As [`of_headers`].
pub fn of_metadata(
    metadata: Option<&Metadata>,
    method: &MethodSpec,
    payload: &[u8],
) -> Result<Option<CommandId>, KeyProblem> {
    if !takes_notice(method) {
        return Ok(None);
    }
    let entries = metadata.into_iter().flat_map(|metadata| &metadata.entries);
    let mut keys = entries.filter(|entry| entry.key.eq_ignore_ascii_case(KEY));
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(KeyProblem::Several);
    }
    let Some(Value::StringValue(key)) = &key.value else { return Err(KeyProblem::NoText) };
    named(key, method, &[payload]).map(Some)
}

/// The key of a command that one with the key `origin` is forwarded to: always the same for the same.
#[must_use]
pub fn forwarded(origin: &CommandId, to: &Command) -> CommandId {
    let method = &to.method;
    let payload: &[u8] = if let Requests::One(payload) = &to.requests { payload } else { &[] };
    let parts: [&[u8]; 5] = [
        origin.as_str().as_bytes(),
        &origin.fingerprint().to_be_bytes(),
        method.service.as_bytes(),
        method.name.as_bytes(),
        payload,
    ];
    let name = CommandId::of("forward", &parts).fingerprint();
    CommandId::of(&format!("forward {name:032x}"), &parts)
}

fn named(key: &str, method: &MethodSpec, contents: &[&[u8]]) -> Result<CommandId, KeyProblem> {
    // A structured header has its text in quotes, which are no part of it.
    let key = key.trim();
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    let mut all: Vec<&[u8]> = vec![method.service.as_bytes(), method.name.as_bytes()];
    all.extend(contents);
    Ok(CommandId::try_of(key, &all)?)
}

fn takes_notice(method: &MethodSpec) -> bool {
    matches!(method.entity_type, EntityType::EventSourced | EntityType::ValueEntity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::durable::state_tests::method;
    use proto::cloudstate::MetadataEntry;

    fn headers(keys: &[&str]) -> HeaderMap {
        keys.iter().map(|key| (http::HeaderName::from_static(KEY), key.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_key_is_the_same_with_and_without_quotes_and_says_what_it_is_for() {
        let plain = of_headers(&headers(&["a-1"]), &method(), &[b"payload"]).expect("fine").expect("a key");
        assert_eq!(plain.as_str(), "a-1");
        assert_eq!(of_headers(&headers(&["\"a-1\""]), &method(), &[b"payload"]), Ok(Some(plain.clone())));
        let other = of_headers(&headers(&["a-1"]), &method(), &[b"another"]).expect("fine").expect("a key");
        assert_ne!(other, plain);
        let value = Some(Value::StringValue("a-1".to_owned()));
        let metadata = Metadata { entries: vec![MetadataEntry { key: "Idempotency-Key".to_owned(), value }] };
        assert_eq!(of_metadata(Some(&metadata), &method(), b"payload"), Ok(Some(plain)));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_refused() {
        assert_eq!(of_headers(&HeaderMap::new(), &method(), &[]), Ok(None));
        assert_eq!(of_headers(&headers(&["a", "b"]), &method(), &[]), Err(KeyProblem::Several));
        for key in ["", "\"\"", &"x".repeat(300)] {
            assert!(matches!(of_headers(&headers(&[key]), &method(), &[]), Err(KeyProblem::Length(_))), "{key}");
        }
        let mut binary = HeaderMap::new();
        binary.insert(KEY, http::HeaderValue::from_bytes(&[0xff]).expect("a value"));
        assert_eq!(of_headers(&binary, &method(), &[]), Err(KeyProblem::NoText));
    }
}
