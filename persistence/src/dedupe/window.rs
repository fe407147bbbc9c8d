//! [`CommandWindow`]: the latest commands of an entity and their answers. No clock of its own.

use super::{Answered, CommandId, KeptReply};
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How much of the past a [`CommandWindow`] knows. Whatever limit is reached first makes it forget its oldest answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// Answers. Default 1,000.
    pub ids: usize,
    /// How long after its answer a command's repetition is recognised, by the wall clock. Default 10 minutes: longer
    /// than any client goes on trying.
    pub age: Duration,
    /// All answers together, in bytes. Default 1 MiB; a state that is stored with its window is larger by as much.
    pub bytes: usize,
    /// The largest answer that is kept; of a larger one only that there was one. Default 64 KiB.
    pub reply_bytes: usize,
}

/// Remembers which commands were carried out, and what was answered.
///
/// ```
/// use persistence::{CommandId, CommandWindow, Found, KeptReply, WindowLimits};
///
/// let mut window = CommandWindow::new(WindowLimits::default());
/// let command = CommandId::of("order-7", &[b"buy", b"3"]);
/// assert_eq!(window.find(&command, 0), Found::New);
/// let answered = window.answered(command.clone(), Some("done".into()), 0);
/// window.remember(answered);
/// assert_eq!(window.find(&command, 1_000), Found::Answered(&KeptReply::Reply("done".into())));
/// assert_eq!(window.find(&CommandId::of("order-7", &[b"buy", b"4"]), 1_000), Found::Reused);
/// assert_eq!(window.find(&command, 600_001), Found::New); // more than ten minutes later
/// ```
#[derive(Clone, Debug)]
pub struct CommandWindow {
    limits: WindowLimits,
    answers: VecDeque<Answered>,    // in the order in which they were given
    places: HashMap<Arc<str>, u64>, // id → how many were forgotten or remembered before it
    forgotten: u64,
    bytes: usize,
}

/// What a [`CommandWindow`] says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Nothing: it is to be carried out.
    New,
    /// It was carried out; this was the answer.
    Answered(&'a KeptReply),
    /// A command with other contents has this id.
    Reused,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self { ids: 1_000, age: Duration::from_secs(600), bytes: 1 << 20, reply_bytes: 64 << 10 }
    }
}

impl CommandWindow {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(limits: WindowLimits) -> Self {
        Self { limits, answers: VecDeque::new(), places: HashMap::new(), forgotten: 0, bytes: 0 }
    }

    /// What is known of `command` at `now_ms` of the wall clock.
    #[must_use]
    pub fn find(&self, command: &CommandId, now_ms: u64) -> Found<'_> {
        let place = self.places.get(&command.id).and_then(|place| usize::try_from(place - self.forgotten).ok());
        match place.and_then(|place| self.answers.get(place)) {
            Some(answered) if !self.is_over(answered, now_ms) => {
                if answered.command == *command {
                    Found::Answered(&answered.reply)
                } else {
                    Found::Reused
                }
            }
            _ => Found::New,
        }
    }

    /// What is to be stored of an answer, cut down to the limits.
    #[must_use]
    pub fn answered(&self, command: CommandId, reply: Option<Bytes>, time_ms: u64) -> Answered {
        let reply = match reply {
            None => KeptReply::Nothing,
            Some(reply) if reply.len() > self.limits.reply_bytes => KeptReply::TooLarge { bytes: reply.len() as u64 },
            Some(reply) => KeptReply::Reply(reply),
        };
        Answered { command, reply, time_ms }
    }

    /// Adds an answer, and forgets what is over or more than the limits take. The newest is never forgotten.
    pub fn remember(&mut self, answered: Answered) {
        let (id, now_ms) = (Arc::clone(&answered.command.id), answered.time_ms);
        self.places.insert(id, self.forgotten + self.answers.len() as u64);
        self.bytes += answered.weight();
        self.answers.push_back(answered);
        while self.answers.len() > 1 && self.is_too_much(now_ms) {
            self.forget_oldest();
        }
    }

    /// What the window would hold after `also` at `now_ms`, oldest first: what a snapshot carries.
    #[must_use]
    pub fn contents(&self, also: Option<&Answered>, now_ms: u64) -> Vec<Answered> {
        let mut bytes = also.map_or(0, Answered::weight);
        let mut count = usize::from(also.is_some());
        let newest_first = self.answers.iter().rev().take_while(|answered| {
            bytes += answered.weight();
            count += 1;
            count <= self.limits.ids && bytes <= self.limits.bytes && !self.is_over(answered, now_ms)
        });
        let mut contents: Vec<_> = also.into_iter().chain(newest_first).cloned().collect();
        contents.reverse();
        contents
    }

    /// How many answers it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn is_over(&self, answered: &Answered, now_ms: u64) -> bool {
        let age_ms = u64::try_from(self.limits.age.as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_sub(answered.time_ms) > age_ms
    }

    fn is_too_much(&self, now_ms: u64) -> bool {
        self.answers.len() > self.limits.ids
            || self.bytes > self.limits.bytes
            || self.answers.front().is_some_and(|oldest| self.is_over(oldest, now_ms))
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.answers.pop_front() else { return };
        self.bytes -= oldest.weight();
        // The id may have been used again since, once it was over.
        if self.places.get(&oldest.command.id) == Some(&self.forgotten) {
            self.places.remove(&oldest.command.id);
        }
        self.forgotten += 1;
    }
}

impl Extend<Answered> for CommandWindow {
    fn extend<T: IntoIterator<Item = Answered>>(&mut self, answers: T) {
        answers.into_iter().for_each(|answered| self.remember(answered));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits() -> WindowLimits {
        WindowLimits { ids: 5, age: Duration::from_millis(100), bytes: 400, reply_bytes: 40 }
    }

    fn command(id: u8, contents: u8) -> CommandId {
        CommandId::of(&format!("{id}"), &[&[contents]])
    }

    #[test]
    fn an_answer_too_large_is_known_without_its_contents() {
        let window = CommandWindow::new(limits());
        let answered = window.answered(command(1, 1), Some(vec![0; 41].into()), 0);
        assert_eq!(answered.reply, KeptReply::TooLarge { bytes: 41 });
    }

    proptest! {
        /// Against a list that remembers everything: what is found was answered, the newest always is, and the limits hold.
        #[test]
        fn the_latest_are_known_and_the_limits_hold(
            steps in proptest::collection::vec((0_u8..12, 0_u8..2, 0_usize..60, 0_u64..60), 1..120),
        ) {
            let mut window = CommandWindow::new(limits());
            let mut all: Vec<(CommandId, usize, u64)> = Vec::new();
            let mut now = 0;
            for (id, contents, size, pause) in steps {
                now += pause;
                let command = command(id, contents);
                let latest = all.iter().rev().find(|(known, ..)| known.as_str() == command.as_str());
                let fresh = |at: u64| now - at <= 100;
                match window.find(&command, now) {
                    Found::New => {
                        // Forgotten only for a reason.
                        let newer = |at: usize| all[at..].iter().map(|(known, size, _)| 48 + known.as_str().len() + if *size <= 40 { *size } else { 0 }).sum::<usize>();
                        let place = all.iter().rposition(|(known, ..)| known.as_str() == command.as_str());
                        prop_assert!(place.is_none_or(|at| all.len() - at > 5 || newer(at) > 400 || !fresh(all[at].2)));
                        let answered = window.answered(command.clone(), Some(vec![7; size].into()), now);
                        let contents = window.contents(Some(&answered), now);
                        window.remember(answered);
                        prop_assert_eq!(&contents, &window.contents(None, now), "what is stored is what is known");
                        let mut again = CommandWindow::new(limits());
                        again.extend(contents);
                        prop_assert_eq!(again.contents(None, now), window.contents(None, now));
                        prop_assert_eq!(again.len(), window.len(), "a new life knows as much as the old one");
                        all.push((command, size, now));
                    }
                    Found::Answered(reply) => {
                        let (known, size, at) = latest.expect("answered before");
                        prop_assert_eq!(known, &command);
                        prop_assert!(fresh(*at));
                        let kept = KeptReply::Reply(vec![7; *size].into());
                        prop_assert_eq!(reply, if *size <= 40 { &kept } else { &KeptReply::TooLarge { bytes: *size as u64 } });
                    }
                    Found::Reused => {
                        let (known, _, at) = latest.expect("answered before");
                        prop_assert!(known != &command && fresh(*at));
                    }
                }
                prop_assert!(window.len() <= 5 && window.bytes <= 400 && window.places.len() <= window.len());
                prop_assert!(!window.is_empty());
            }
        }
    }
}
