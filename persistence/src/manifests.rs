//! [`Manifests`]: the names that a page of events repeats.

use std::sync::Arc;

/// Hands out names, the last few of them without making them anew.
#[derive(Default)]
pub(crate) struct Manifests {
    known: [Option<Arc<str>>; 4],
    next: usize,
}

impl Manifests {
    pub(crate) fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.iter().flatten().find(|known| ***known == *name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.known[self.next] = Some(name.clone());
        self.next = (self.next + 1) % self.known.len();
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_given_lately_is_given_again_and_others_as_they_are() {
        let mut manifests = Manifests::default();
        let first = manifests.of("added");
        assert!(Arc::ptr_eq(&first, &manifests.of("added")));
        for name in ["removed", "paid", "sent", "returned", "added"] {
            assert_eq!(&*manifests.of(name), name);
        }
        assert!(!Arc::ptr_eq(&first, &manifests.of("added")), "four others came in between");
    }
}
