//! Actions: calls without state.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use proto::cloudstate::action::action_protocol_server::ActionProtocol;
use proto::cloudstate::action::{ActionCommand, ActionResponse, action_response};
use proto::cloudstate::client_action::Action as Answered;
use tokio_stream::{Stream, StreamExt, iter};
use tonic::{Request, Response, Status, Streaming};

use super::{Answer, Refused};

/// The logic of a service. There is a function for each kind of method; a service writes those it has.
pub trait Action: Send + Sync + 'static {
    /// One message in, one out.
    ///
    /// # Errors
    ///
    /// When the call cannot be carried out; the caller gets the reason.
    fn unary(&self, command: &ActionCommand) -> Result<Answer, Refused> {
        Err(Refused::unknown_command(&command.name))
    }

    /// Many messages in, one out: the answer so far and the next message make the new answer so far.
    ///
    /// # Errors
    ///
    /// When the call cannot be carried out; the caller gets the reason at once.
    fn streamed_in(&self, name: &str, so_far: Answer, command: &ActionCommand) -> Result<Answer, Refused> {
        let _ = (so_far, command);
        Err(Refused::unknown_command(name))
    }

    /// The answer to a stream without a message.
    ///
    /// # Errors
    ///
    /// When there must be one.
    fn streamed_in_start(&self, name: &str) -> Result<Answer, Refused> {
        Err(Refused::unknown_command(name))
    }

    /// One message in, many out.
    ///
    /// # Errors
    ///
    /// When the call cannot be carried out; the caller gets the reason.
    fn streamed_out(&self, command: &ActionCommand) -> Result<Vec<Answer>, Refused> {
        Err(Refused::unknown_command(&command.name))
    }

    /// Many in, many out: the answers to the next message.
    ///
    /// # Errors
    ///
    /// When the call cannot be carried out; the caller gets the reason.
    fn streamed(&self, name: &str, command: &ActionCommand) -> Result<Vec<Answer>, Refused> {
        let _ = command;
        Err(Refused::unknown_command(name))
    }
}

/// Action services by name.
#[derive(Clone, Default)]
pub(super) struct Services(HashMap<String, Arc<dyn Action>>);

impl Services {
    pub(super) fn add(&mut self, service: &str, logic: impl Action) {
        self.0.insert(service.to_owned(), Arc::new(logic));
    }

    fn of(&self, command: &ActionCommand) -> Result<Arc<dyn Action>, Status> {
        let service = &command.service_name;
        self.0.get(service).cloned().ok_or_else(|| Status::unimplemented(format!("there is no action [{service}]")))
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<ActionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ActionProtocol for Services {
    type handleStreamedOutStream = Responses;
    type handleStreamedStream = Responses;

    async fn handle_unary(&self, request: Request<ActionCommand>) -> Result<Response<ActionResponse>, Status> {
        let command = request.into_inner();
        Ok(Response::new(response(self.of(&command)?.unary(&command).unwrap_or_else(failed))))
    }

    async fn handle_streamed_in(
        &self,
        request: Request<Streaming<ActionCommand>>,
    ) -> Result<Response<ActionResponse>, Status> {
        let mut commands = request.into_inner();
        let header = header(&mut commands).await?;
        let logic = self.of(&header)?;
        let mut answer = match logic.streamed_in_start(&header.name) {
            Ok(start) => start,
            Err(refused) => return Ok(Response::new(response(failed(refused)))),
        };
        while let Some(command) = commands.message().await? {
            answer = match logic.streamed_in(&header.name, answer, &command) {
                Ok(next) => next,
                Err(refused) => return Ok(Response::new(response(failed(refused)))),
            };
        }
        Ok(Response::new(response(answer)))
    }

    async fn handle_streamed_out(
        &self,
        request: Request<ActionCommand>,
    ) -> Result<Response<Self::handleStreamedOutStream>, Status> {
        let command = request.into_inner();
        let answers = self.of(&command)?.streamed_out(&command).unwrap_or_else(|refused| vec![failed(refused)]);
        Ok(Response::new(Box::pin(iter(answers.into_iter().map(|answer| Ok(response(answer)))))))
    }

    async fn handle_streamed(
        &self,
        request: Request<Streaming<ActionCommand>>,
    ) -> Result<Response<Self::handleStreamedStream>, Status> {
        let mut commands = request.into_inner();
        let header = header(&mut commands).await?;
        let logic = self.of(&header)?;
        let (answers, received) = tokio::sync::mpsc::channel(ANSWERS_MAX);
        // Ends with the stream: either side closing it ends the loop.
        tokio::spawn(async move {
            while let Ok(Some(command)) = commands.message().await {
                let next = logic.streamed(&header.name, &command).unwrap_or_else(|refused| vec![failed(refused)]);
                for answer in next {
                    if answers.send(response(answer)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(received).map(Ok))))
    }
}

/// Answers that may wait for the connection.
const ANSWERS_MAX: usize = 16;

/// The first message of a streamed call says which method is meant and carries no payload.
async fn header(commands: &mut Streaming<ActionCommand>) -> Result<ActionCommand, Status> {
    commands.message().await?.ok_or_else(|| Status::invalid_argument("the call has no first message"))
}

fn failed(Refused(reason): Refused) -> Answer {
    Answer::fail(reason)
}

fn response(answer: Answer) -> ActionResponse {
    let response = answer.action.map(|action| match action {
        Answered::Reply(reply) => action_response::Response::Reply(reply),
        Answered::Forward(forward) => action_response::Response::Forward(forward),
        Answered::Failure(failure) => action_response::Response::Failure(failure),
    });
    ActionResponse { response, side_effects: answer.side_effects }
}
