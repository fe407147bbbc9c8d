//! What is sent on the stream of one entity, and what is not.

use proto::cloudstate::client_action::Action;
use proto::cloudstate::crdt::crdt_stream_in::Message as In;
use proto::cloudstate::crdt::crdt_stream_out::Message as Out;
use proto::cloudstate::crdt::{CrdtDelete, CrdtInit, CrdtStreamIn};
use proto::cloudstate::{StreamCancelled, client_action};

use super::session::Entity;
use super::*;
use crate::function::stream::Session;
use crate::function::{Function, Served};

/// Counts what its commands say; `fail` fails after it has counted, callers that watch are told up to 3.
struct Counting;

impl Crdt for Counting {
    fn create(&self) -> Data {
        Data::GCounter(GCounter::default())
    }

    fn handle(&mut self, command: &Command, data: &mut Data) -> Result<Effect, Refused> {
        let Data::GCounter(counter) = data else { panic!("it is what was created") };
        if command.name != "Watch" {
            counter.increment(1);
        }
        match command.name.as_str() {
            "Fail" => Err(Refused("after counting".to_owned())),
            name => Ok(Effect { keep_open: name == "Watch" || name == "CountAndWatch", ..Effect::default() }),
        }
    }

    fn changed(&mut self, _: &Command, data: &Data) -> Option<Message> {
        let Data::GCounter(counter) = data else { panic!("it is what was created") };
        Some(Message { end: counter.value() >= 3, answer: Answer::default() })
    }

    fn cancelled(&mut self, _: &Command, data: &mut Data) -> Cancelled {
        let Data::GCounter(counter) = data else { panic!("it is what was created") };
        counter.increment(1);
        Cancelled::default()
    }
}

#[test]
fn of_a_failed_command_nothing_remains() {
    let mut entity = entity();
    let failed = entity.send(In::Command(command(1, "Fail")));
    let [Out::Reply(reply)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(reply.state_action, None);
    let Some(Action::Failure(failure)) = reply.client_action.as_ref().and_then(|action| action.action.as_ref()) else {
        panic!("{reply:?}")
    };
    assert_eq!((failure.command_id, failure.description.as_str()), (1, "after counting"));
    assert_eq!(counted(&entity.send(In::Command(command(2, "Count")))), 1);
}

#[test]
fn who_watches_is_told_of_others_changes_and_not_of_its_own() {
    let mut entity = entity();
    entity.send(In::Command(command(1, "Watch")));
    let out = entity.send(In::Command(command(2, "CountAndWatch")));
    assert!(matches!(&out[..], [Out::Reply(_), Out::StreamedMessage(told)] if told.command_id == 1), "{out:?}");
    let out = entity.send(In::Delta(GCounter::default().state_of(1)));
    assert_eq!(told(&out), [1, 2], "{out:?}");
}

#[test]
fn a_stream_that_was_ended_here_is_not_cancelled_again() {
    let mut entity = entity();
    entity.send(In::Command(command(1, "Watch")));
    let out = entity.send(In::Delta(GCounter::default().state_of(3)));
    assert!(matches!(&out[..], [Out::StreamedMessage(told)] if told.end_stream), "{out:?}");
    assert_eq!(entity.send(cancelled(1)), []);
}

#[test]
fn a_cancellation_is_answered_before_others_are_told_what_it_changed() {
    let mut entity = entity();
    entity.send(In::Command(command(1, "Watch")));
    entity.send(In::Command(command(2, "Watch")));
    let out = entity.send(cancelled(2));
    let [Out::StreamCancelledResponse(response), Out::StreamedMessage(told)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((response.command_id, told.command_id), (2, 1));
    assert!(response.state_action.is_some());
}

#[test]
fn a_deleted_entity_refuses_what_was_sent_before_the_sidecar_knew() {
    let mut entity = entity();
    assert_eq!(entity.send(In::Delete(CrdtDelete {})), []);
    let out = entity.send(In::Command(command(1, "Count")));
    let [Out::Reply(reply)] = &out[..] else { panic!("{out:?}") };
    let action = reply.client_action.as_ref().and_then(|action| action.action.as_ref());
    assert!(matches!(action, Some(client_action::Action::Failure(_))), "{out:?}");
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let mut entity = Entity::new(services());
    assert!(entity.receive(message(In::Command(command(1, "Count")))).is_err(), "before init");
    assert!(entity.receive(message(In::Init(CrdtInit::default()))).is_err(), "no such service");
    assert!(entity.receive(message(init())).is_ok());
    assert!(entity.receive(message(init())).is_err(), "a second one");
    assert!(entity.receive(CrdtStreamIn::default()).is_err(), "an empty one");
}

impl Entity {
    fn send(&mut self, sent: In) -> Vec<Out> {
        let out = self.receive(message(sent)).expect("a message of the protocol");
        out.into_iter().map(|out| out.message.expect("not an empty one")).collect()
    }
}

impl GCounter {
    fn state_of(mut self, value: u64) -> proto::cloudstate::crdt::CrdtDelta {
        self.increment(value);
        Data::GCounter(self).state()
    }
}

fn services() -> Services {
    Function::new("test", &[]).crdt(Served::new("test.Counting", "counting"), |_| Counting).crdts
}

fn entity() -> Entity {
    let mut entity = Entity::new(services());
    assert_eq!(entity.send(init()), []);
    entity
}

fn init() -> In {
    In::Init(CrdtInit { service_name: "test.Counting".to_owned(), entity_id: "one".to_owned(), delta: None })
}

fn command(id: i64, name: &str) -> Command {
    Command { id, name: name.to_owned(), streamed: name.ends_with("Watch"), ..Command::default() }
}

fn cancelled(id: i64) -> In {
    In::StreamCancelled(StreamCancelled { entity_id: "one".to_owned(), id })
}

fn message(message: In) -> CrdtStreamIn {
    CrdtStreamIn { message: Some(message) }
}

fn told(out: &[Out]) -> Vec<i64> {
    out.iter()
        .map(|out| match out {
            Out::StreamedMessage(told) => told.command_id,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn counted(out: &[Out]) -> u64 {
    use proto::cloudstate::crdt::crdt_delta::Delta;
    use proto::cloudstate::crdt::crdt_state_action::Action;
    let [Out::Reply(reply)] = out else { panic!("{out:?}") };
    match reply.state_action.as_ref().and_then(|action| action.action.clone()) {
        Some(Action::Update(proto::cloudstate::crdt::CrdtDelta { delta: Some(Delta::Gcounter(by)) })) => by.increment,
        other => panic!("{other:?}"),
    }
}
