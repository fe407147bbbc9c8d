//! `Presence`: calls that stay open, counted where they are.
//!
//! A user may be connected to several nodes at once, with several calls each. Every node counts its own
//! calls, which it can do exactly, and votes: yes with the first, no after the last. The user is online
//! when some node votes yes. A node that is lost loses its vote, and so nobody stays online through it.

use std::collections::BTreeMap;

use proto::cloudstate::Command;

use crate::function::crdt::{Cancelled, Crdt, Data, Effect, Message, Vote};
use crate::function::{Answer, Function, Refused, Served, pack};

/// Messages and client of `presence.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod api {
    include!(concat!(env!("OUT_DIR"), "/chat.presence.rs"));
}

use api::OnlineStatus;

const PRESENCE: Served = Served::new("chat.presence.Presence", "presence");

/// The user function.
pub fn function() -> Function {
    let descriptors = include_bytes!(concat!(env!("OUT_DIR"), "/presence.bin"));
    Function::new("presence", descriptors).crdt(PRESENCE, |_user| Presence::default())
}

/// One user, on this node.
#[derive(Default)]
struct Presence {
    /// Calls of `Connect` that are open here.
    connected: u32,
    /// Calls of `Monitor` that are open here, and what each was told last.
    told: BTreeMap<i64, bool>,
}

impl Crdt for Presence {
    fn create(&self) -> Data {
        Data::Vote(Vote::default())
    }

    fn handle(&mut self, command: &Command, data: &mut Data) -> Result<Effect, Refused> {
        let Data::Vote(vote) = data else { return Err(Refused("the presence is not a vote".to_owned())) };
        if command.name == "Connect" {
            self.connected += 1;
        }
        // Not only with the first call: when this function was restarted, a vote of before may still stand.
        vote.vote(self.connected > 0);
        let answer = match command.name.as_str() {
            "Connect" => Answer::default(),
            "Monitor" => {
                self.told.insert(command.id, vote.at_least_one());
                status(vote.at_least_one())
            }
            other => return Err(Refused::unknown_command(other)),
        };
        Ok(Effect { keep_open: true, ..Effect::from(answer) })
    }

    fn changed(&mut self, open: &Command, data: &Data) -> Option<Message> {
        let Data::Vote(vote) = data else { return None };
        // Those who are connected are not in here, and one more vote for an online user is no news.
        let told = self.told.get_mut(&open.id)?;
        let online = vote.at_least_one();
        let news = std::mem::replace(told, online) != online;
        news.then(|| Message { answer: status(online), end: false })
    }

    fn cancelled(&mut self, open: &Command, data: &mut Data) -> Cancelled {
        if self.told.remove(&open.id).is_none() {
            self.connected -= 1;
            if let (0, Data::Vote(vote)) = (self.connected, data) {
                vote.vote(false);
            }
        }
        Cancelled::default()
    }
}

fn status(online: bool) -> Answer {
    Answer::reply(pack("chat.presence.OnlineStatus", &OnlineStatus { online }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_makes_a_user_online_and_the_last_one_offline() {
        let mut user = User::default();
        user.call(1, "Connect");
        user.call(2, "Connect");
        assert!(user.online());
        user.hang_up(1, "Connect");
        assert!(user.online(), "one call is left");
        user.hang_up(2, "Connect");
        assert!(!user.online());
    }

    #[test]
    fn who_monitors_is_told_of_news_only() {
        let mut user = User::default();
        user.call(1, "Monitor");
        assert!(!user.told_of_change(1, "Monitor"), "still offline");
        user.call(2, "Connect");
        assert!(user.told_of_change(1, "Monitor"));
        assert!(!user.told_of_change(1, "Monitor"), "it is known by now");
        assert!(!user.told_of_change(2, "Connect"), "whoever connects is told nothing");
    }

    #[test]
    fn a_vote_left_over_from_before_a_restart_is_withdrawn() {
        let mut user = User::default();
        user.call(1, "Connect");
        user.presence = Presence::default();
        user.call(1, "Monitor");
        assert!(!user.online());
    }

    #[test]
    fn monitoring_is_not_being_online() {
        let mut user = User::default();
        user.call(1, "Monitor");
        user.call(2, "Connect");
        user.hang_up(1, "Monitor");
        assert!(user.online());
    }

    struct User {
        presence: Presence,
        data: Data,
    }

    impl Default for User {
        fn default() -> Self {
            let presence = Presence::default();
            Self { data: presence.create(), presence }
        }
    }

    impl User {
        fn call(&mut self, id: i64, name: &str) {
            let effect = self.presence.handle(&command(id, name), &mut self.data).expect("a command");
            assert!(effect.keep_open);
        }

        fn hang_up(&mut self, id: i64, name: &str) {
            self.presence.cancelled(&command(id, name), &mut self.data);
        }

        fn told_of_change(&mut self, id: i64, name: &str) -> bool {
            self.presence.changed(&command(id, name), &self.data).is_some()
        }

        fn online(&self) -> bool {
            let Data::Vote(vote) = &self.data else { panic!("a vote, not {:?}", self.data) };
            vote.at_least_one()
        }
    }

    fn command(id: i64, name: &str) -> Command {
        Command { id, name: name.to_owned(), ..Command::default() }
    }
}
