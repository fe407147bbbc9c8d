//! The proxy's end of one entity's stream, with nothing but the messages a new entity needs.

use proto::Any;
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use proto::cloudstate::eventsourced::{
    EventSourcedInit, EventSourcedReply, EventSourcedStreamIn, EventSourcedStreamOut, event_sourced_stream_in,
    event_sourced_stream_out,
};
use proto::cloudstate::{Command, client_action};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::cart;

/// Messages that may wait for the connection: the opening one and one command.
const MESSAGES_MAX: usize = 4;

pub struct EntityStream {
    entity_id: String,
    commands: mpsc::Sender<EventSourcedStreamIn>,
    replies: Replies,
    last_id: i64,
}

/// Some functions send their headers with the first reply, so nothing waits for them before a command is sent.
enum Replies {
    Opening(JoinHandle<Result<Streaming<EventSourcedStreamOut>, Status>>),
    Open(Box<Streaming<EventSourcedStreamOut>>),
}

impl EntityStream {
    /// Opens the stream of a cart that has no history.
    pub async fn open(mut client: EventSourcedClient<Channel>, entity_id: String) -> Result<Self, Status> {
        let (commands, messages) = mpsc::channel(MESSAGES_MAX);
        let init = event_sourced_stream_in::Message::Init(EventSourcedInit {
            service_name: cart::SERVICE.to_owned(),
            entity_id: entity_id.clone(),
            snapshot: None,
        });
        commands.try_send(EventSourcedStreamIn { message: Some(init) }).map_err(|_| closed())?;
        let opening = async move { Ok(client.handle(ReceiverStream::new(messages)).await?.into_inner()) };
        Ok(Self { entity_id, commands, replies: Replies::Opening(tokio::spawn(opening)), last_id: 0 })
    }

    /// Sends one command and waits for its reply.
    pub async fn command(&mut self, name: &str, payload: Any) -> Result<EventSourcedReply, Status> {
        self.last_id += 1;
        let command = event_sourced_stream_in::Message::Command(Command {
            entity_id: self.entity_id.clone(),
            id: self.last_id,
            name: name.to_owned(),
            payload: Some(payload),
            ..Command::default()
        });
        self.commands.send(EventSourcedStreamIn { message: Some(command) }).await.map_err(|_| closed())?;
        if let Replies::Opening(opening) = &mut self.replies {
            self.replies = Replies::Open(Box::new(opening.await.map_err(|_| closed())??));
        }
        let Replies::Open(replies) = &mut self.replies else { return Err(closed()) };
        match replies.message().await?.and_then(|out| out.message) {
            Some(event_sourced_stream_out::Message::Reply(reply)) if reply.command_id == self.last_id => Ok(reply),
            other => Err(Status::internal(format!("not the reply to command {}: {other:?}", self.last_id))),
        }
    }
}

/// The payload a reply carries for the caller.
pub fn answer(reply: EventSourcedReply) -> Option<Any> {
    match reply.client_action?.action? {
        client_action::Action::Reply(reply) => reply.payload,
        _ => None,
    }
}

fn closed() -> Status {
    Status::unavailable("the entity's stream is closed")
}
