//! [`Trace`]: what happened in a run, when and where.

use parking_lot::Mutex;
use std::{fmt::Write as _, sync::Arc};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Everything that happened so far. Clones are the same one.
///
/// The hash covers each event with its time and node, the contents of what is sent included: two runs with equal hashes are
/// the same run.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    hash: u64,
    /// One line each, if they are wanted.
    text: Option<String>,
}

impl Trace {
    /// `keeps` the text of each event, or their hash alone.
    pub(crate) fn new(keeps: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { hash: 0, text: keeps.then(String::new) })))
    }

    /// Something that can be told in a word and two numbers.
    pub(crate) fn note(&self, at_ms: u64, node: usize, word: &'static str, numbers: [u64; 2]) {
        let mut inner = self.0.lock();
        inner.mix(at_ms, node, word.as_bytes(), numbers);
        if let Some(text) = &mut inner.text {
            let _ = writeln!(text, "{at_ms:>8} n{node} {word} {} {:x}", numbers[0], numbers[1]);
        }
    }

    /// Something that takes more words.
    pub(crate) fn tell(&self, at_ms: u64, node: usize, what: &str) {
        let mut inner = self.0.lock();
        inner.mix(at_ms, node, what.as_bytes(), [0, 0]);
        if let Some(text) = &mut inner.text {
            let _ = writeln!(text, "{at_ms:>8} n{node} {what}");
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().hash
    }

    /// All lines so far.
    pub(crate) fn text(&self) -> String {
        self.0.lock().text.clone().unwrap_or_default()
    }
}

impl Inner {
    fn mix(&mut self, at_ms: u64, node: usize, word: &[u8], numbers: [u64; 2]) {
        let mut mixed = xxh3_64_with_seed(word, self.hash);
        for number in [at_ms, node as u64, numbers[0], numbers[1]] {
            mixed = (mixed ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        self.hash = mixed;
    }
}

/// What `bytes` are, in a number.
pub(crate) fn print_of(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, 0)
}
