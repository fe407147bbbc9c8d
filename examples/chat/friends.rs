//! `Friends`: a set that can be changed on all nodes at the same time.

use std::collections::BTreeMap;

use prost::Message;
use proto::Any;
use proto::cloudstate::Command;

use crate::function::crdt::{Crdt, Data, Effect, ORSet};
use crate::function::{Answer, Function, Refused, Served, pack, unpack};

/// Messages and client of `friends.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod api {
    include!(concat!(env!("OUT_DIR"), "/chat.friends.rs"));
}

use api::{Friend, FriendRequest, FriendsList};

const FRIENDS: Served = Served::new("chat.friends.Friends", "friends");

/// The user function.
pub fn function() -> Function {
    let descriptors = include_bytes!(concat!(env!("OUT_DIR"), "/friends.bin"));
    Function::new("friends", descriptors).crdt(FRIENDS, |_user| Friends)
}

/// The friends of one user. All there is to remember is in the set.
struct Friends;

impl Crdt for Friends {
    fn create(&self) -> Data {
        Data::ORSet(ORSet::default())
    }

    fn handle(&mut self, command: &Command, data: &mut Data) -> Result<Effect, Refused> {
        let Data::ORSet(friends) = data else { return Err(Refused("the friends are not a set".to_owned())) };
        let answer = match command.name.as_str() {
            "Add" => {
                let friend = friend(command)?;
                remove(friends, &friend.user)?;
                friends.add(element(&friend));
                pack("google.protobuf.Empty", &())
            }
            "Remove" => {
                remove(friends, &friend(command)?.user)?;
                pack("google.protobuf.Empty", &())
            }
            "GetFriends" => pack("chat.friends.FriendsList", &list(friends)?),
            other => return Err(Refused::unknown_command(other)),
        };
        Ok(Effect::from(Answer::reply(answer)))
    }
}

fn friend(command: &Command) -> Result<Friend, Refused> {
    let request: FriendRequest = unpack(command)?;
    let friend = request.friend.filter(|friend| !friend.user.is_empty());
    friend.ok_or_else(|| Refused("friend.user must be set".to_owned()))
}

/// To the set an element is its bytes, so a friend with another avatar is another element: the one before has to go.
fn remove(friends: &mut ORSet, user: &str) -> Result<(), Refused> {
    let before: Vec<Any> = friends.iter().collect();
    for element in before {
        if decode(&element)?.user == user {
            friends.remove(element);
        }
    }
    Ok(())
}

/// One of each name: for a moment there are two when nodes have added the same friend with different avatars.
fn list(friends: &ORSet) -> Result<FriendsList, Refused> {
    let mut by_name = BTreeMap::new();
    for element in friends.iter() {
        let friend = decode(&element)?;
        by_name.insert(friend.user.clone(), friend);
    }
    Ok(FriendsList { friends: by_name.into_values().collect() })
}

fn element(friend: &Friend) -> Any {
    pack("chat.friends.Friend", friend)
}

fn decode(element: &Any) -> Result<Friend, Refused> {
    Friend::decode(element.value.clone()).map_err(|error| Refused(format!("an element that is no friend: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_friend_has_one_avatar() {
        let mut data = Friends.create();
        add(&mut data, "bob", "cat.png");
        add(&mut data, "alice", "owl.png");
        data.settle();
        add(&mut data, "bob", "dog.png");
        let listed: Vec<_> = friends(&data).into_iter().map(|friend| (friend.user, friend.avatar)).collect();
        let expected = [("alice", "owl.png"), ("bob", "dog.png")];
        assert_eq!(listed, expected.map(|(user, avatar)| (user.to_owned(), avatar.to_owned())));
    }

    #[test]
    fn adding_the_same_friend_again_is_no_change() {
        let mut data = Friends.create();
        add(&mut data, "bob", "cat.png");
        data.settle();
        add(&mut data, "bob", "cat.png");
        assert_eq!(data.changes(), None);
    }

    #[test]
    fn a_friend_without_a_name_is_refused() {
        let request = FriendRequest { user: "me".to_owned(), friend: None };
        let refused = Friends.handle(&command("Add", &request), &mut Friends.create());
        assert_eq!(refused.expect_err("no friend").0, "friend.user must be set");
    }

    fn add(data: &mut Data, user: &str, avatar: &str) {
        let friend = Friend { user: user.to_owned(), avatar: avatar.to_owned() };
        let request = FriendRequest { user: "me".to_owned(), friend: Some(friend) };
        Friends.handle(&command("Add", &request), data).expect("a friend");
    }

    fn friends(data: &Data) -> Vec<Friend> {
        let Data::ORSet(set) = data else { panic!("a set, not {data:?}") };
        list(set).expect("friends").friends
    }

    fn command(name: &str, request: &FriendRequest) -> Command {
        let payload = Some(pack("chat.friends.FriendRequest", request));
        Command { name: name.to_owned(), payload, ..Command::default() }
    }
}
