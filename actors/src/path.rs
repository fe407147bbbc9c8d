//! [`ActorPath`]: which incarnation of which actor.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Names one incarnation of an actor: its place in the tree and a number no other incarnation has.
///
/// Two paths are equal when they name the same incarnation. An actor that was stopped and spawned again under the same
/// name reads the same but is not equal; a restart keeps the path.
#[derive(Clone)]
pub struct ActorPath(Arc<Parts>);

struct Parts {
    system_uid: u64,
    uid: u64,
    text: Box<str>,
    name_at: usize,
}

impl ActorPath {
    pub(crate) fn root(system_uid: u64, uid: u64, name: &str) -> Self {
        Self::build(system_uid, uid, "", name)
    }

    pub(crate) fn child(&self, uid: u64, name: &str) -> Self {
        Self::build(self.0.system_uid, uid, &self.0.text, name)
    }

    fn build(system_uid: u64, uid: u64, parent: &str, name: &str) -> Self {
        let name = encode_name(name);
        let text = format!("{parent}/{name}");
        let name_at = text.len() - name.len();
        Self(Arc::new(Parts { system_uid, uid, text: text.into(), name_at }))
    }

    /// Of an actor elsewhere; `text` is taken as it is.
    pub(crate) fn elsewhere(system_uid: u64, uid: u64, text: &str) -> Self {
        let name_at = text.rfind('/').map_or(0, |slash| slash + 1);
        Self(Arc::new(Parts { system_uid, uid, text: text.into(), name_at }))
    }

    /// Tells this incarnation from all others, those of other systems included.
    pub(crate) fn key(&self) -> u128 {
        (u128::from(self.0.system_uid) << 64) | u128::from(self.0.uid)
    }

    /// The whole path, such as `/user/kiosk/gate`. A `/` or `%` inside a name is percent-encoded. That of an actor on another
    /// node begins with `HOST:PORT`.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The last part, such as `gate`.
    pub fn name(&self) -> &str {
        &self.0.text[self.0.name_at..]
    }

    /// Number of this incarnation, unique within its system.
    pub fn uid(&self) -> u64 {
        self.0.uid
    }

    /// Number of the system this actor lives in, drawn when the system starts.
    pub fn system_uid(&self) -> u64 {
        self.0.system_uid
    }
}

/// Escapes what has a meaning in a path, so that a name taken from outside (an entity id, say) cannot pose as another
/// place.
pub(crate) fn encode_name(name: &str) -> Cow<'_, str> {
    if name.contains(['/', '%']) {
        Cow::Owned(name.replace('%', "%25").replace('/', "%2F"))
    } else {
        Cow::Borrowed(name)
    }
}

impl PartialEq for ActorPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid == other.0.uid && self.0.system_uid == other.0.system_uid
    }
}

impl Eq for ActorPath {}

impl Hash for ActorPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid.hash(state);
    }
}

impl PartialOrd for ActorPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ActorPath {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.system_uid, self.0.uid).cmp(&(other.0.system_uid, other.0.uid))
    }
}

impl fmt::Display for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.as_str(), self.uid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_means_same_incarnation() {
        let user = ActorPath::root(7, 1, "user");
        let first = user.child(2, "gate");
        let second = user.child(3, "gate");
        assert_eq!(first.as_str(), second.as_str());
        assert_ne!(first, second);
        assert_eq!(first, first.clone());
    }

    #[test]
    fn a_name_cannot_pose_as_another_place() {
        let user = ActorPath::root(7, 1, "user");
        let odd = user.child(2, "a/b%");
        assert_eq!(odd.as_str(), "/user/a%2Fb%25");
        assert_eq!(odd.name(), "a%2Fb%25");
    }
}
