//! An entity behind the proxy: the suite calls it and sees what passes between proxy and user function.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::expected::Answer;
use super::{Entity, Expected, Kind};
use crate::tck::engine::{EXPECTATION, Recorded, Tck, expect_failure, expect_one, in_time};

/// One entity, and its stream once there is one.
#[derive(Debug)]
pub struct Watched<K: Kind> {
    /// Which one.
    pub entity: Entity,
    stream: Option<Recorded<K::In, K::Out>>,
    next: i64, // id of the next command
}

impl<K: Kind> Watched<K> {
    /// An entity without a stream yet.
    #[must_use]
    pub fn new(entity: Entity) -> Self {
        Self { entity, stream: None, next: 1 }
    }

    /// A new entity of the model service whose id begins with `kind`.
    pub fn model(tck: &mut Tck, kind: &str) -> Self {
        Self::new(Entity::new(K::MODEL, tck.fresh(kind)))
    }

    /// `Process({actions}) ⇒ client's result; in c{actions}; out expected`. The first call opens the stream.
    ///
    /// # Errors
    /// What differs.
    pub async fn process(
        &mut self,
        tck: &mut Tck,
        actions: impl Into<Vec<K::Action>>,
        expected: Expected<K>,
    ) -> Result<()> {
        let actions = actions.into();
        self.client(tck, "Process", actions.clone(), &expected.answer).await?;
        self.seen(tck, "Process", actions, expected).await
    }

    /// The client's half of [`process`](Self::process).
    ///
    /// # Errors
    /// What differs.
    pub async fn client(&self, tck: &Tck, name: &str, actions: Vec<K::Action>, answer: &Answer<K>) -> Result<()> {
        let call = self.call(tck.proxy.clone(), name, actions);
        match answer {
            Answer::Reply(response) => expect_one(call, response.clone()).await,
            Answer::Forward { .. } | Answer::Nothing => expect_one(call, K::Response::default()).await,
            Answer::Failure { text, .. } => expect_failure(call, text).await,
        }
        .context("at the client")
    }

    /// A call of the entity's service, whose result is returned.
    ///
    /// # Errors
    /// What the proxy answers.
    pub async fn call(
        &self,
        proxy: Channel,
        name: &str,
        actions: Vec<K::Action>,
    ) -> Result<Response<K::Response>, Status> {
        let mut grpc = tonic::client::Grpc::new(proxy);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path: PathAndQuery = format!("/{}/{name}", self.entity.service)
            .parse()
            .map_err(|_| Status::internal(format!("`{name}` is no method")))?;
        let request = Request::new(K::request(&self.entity.id, actions));
        grpc.unary(request, path, ProstCodec::default()).await
    }

    /// `Call({})`, whatever its result; `in c{}; out expected`.
    ///
    /// # Errors
    /// What differs.
    pub async fn called(&mut self, tck: &mut Tck, expected: Expected<K>) -> Result<()> {
        let call = in_time(Self::new(self.entity.clone()).call_once(tck.proxy.clone()));
        let (_, seen) = tokio::join!(call, self.seen(tck, "Call", [], expected));
        seen
    }

    async fn call_once(self, proxy: Channel) -> Result<Response<K::Response>, Status> {
        self.call(proxy, "Call", Vec::new()).await
    }

    /// `in c{actions} of the method, out expected`; for a new stream its `init` first.
    ///
    /// # Errors
    /// What differs.
    pub async fn seen(
        &mut self,
        tck: &mut Tck,
        name: &str,
        actions: impl Into<Vec<K::Action>>,
        expected: Expected<K>,
    ) -> Result<()> {
        let id = self.command(tck, name, actions).await?;
        self.stream()?.output.expect(expected.message(id)).await
    }

    /// `in c{actions}`; for a new stream its `init` first. The command's id.
    ///
    /// # Errors
    /// What differs.
    pub async fn command(&mut self, tck: &mut Tck, name: &str, actions: impl Into<Vec<K::Action>>) -> Result<i64> {
        if self.stream.is_none() {
            self.opened(tck, K::Start::default()).await?;
        }
        let id = self.next;
        let input = self.entity.command::<K>(id, name, actions);
        self.stream()?.input.expect(input).await?;
        self.next += 1;
        Ok(id)
    }

    /// The head of the interceptor's queue is a stream of this entity, starting from `start`.
    ///
    /// # Errors
    /// What differs.
    pub async fn opened(&mut self, tck: &mut Tck, start: K::Start) -> Result<()> {
        let call = tck.interceptor.call().await.context("expected a new stream")?;
        let stream = K::recorded(call).map_err(|other| anyhow!("expected a new stream, seen {}", other.describe()))?;
        self.next = 1;
        let init = self.entity.init::<K>(start);
        self.stream.insert(stream).input.expect(init).await
    }

    /// The next command has this id.
    pub fn numbered_from(&mut self, id: i64) -> &mut Self {
        self.next = id;
        self
    }

    /// As [`opened`](Self::opened), for a stream that must be there already.
    ///
    /// # Errors
    /// What differs.
    pub fn opened_already(&mut self, tck: &mut Tck, start: K::Start) -> Result<()> {
        let call = tck.interceptor.call_now()?;
        let stream = K::recorded(call).map_err(|other| anyhow!("expected a new stream, seen {}", other.describe()))?;
        self.next = 1;
        let init = self.entity.init::<K>(start);
        self.stream.insert(stream).input.expect_now(init)
    }

    /// What passes on its stream.
    ///
    /// # Errors
    /// When it has none.
    pub fn stream(&mut self) -> Result<&mut Recorded<K::In, K::Out>> {
        self.stream.as_mut().context("the entity has no stream")
    }

    /// Both directions of the stream end without error within `limit`.
    ///
    /// # Errors
    /// What came instead.
    pub async fn closed_within(&mut self, limit: Duration) -> Result<()> {
        self.stream()?.closed(limit).await?;
        self.stream = None;
        Ok(())
    }

    /// Both directions of the stream end without error.
    ///
    /// # Errors
    /// What came instead.
    pub async fn closed(&mut self) -> Result<()> {
        self.closed_within(EXPECTATION).await
    }

    /// `POST path json ⇒ 200 answer; in c{actions}; out expected`.
    ///
    /// # Errors
    /// What differs.
    pub async fn post(
        &mut self,
        tck: &mut Tck,
        (path, json): (&str, &str),
        answer: &str,
        (actions, expected): (impl Into<Vec<K::Action>>, Expected<K>),
    ) -> Result<()> {
        match &expected.answer {
            Answer::Failure { text, .. } => tck.http.expect_failure(path, json, text).await?,
            _ => tck.http.expect_json(path, json, answer).await?,
        }
        let name = path.rsplit('/').next().filter(|name| *name == "Call").unwrap_or("Process");
        self.seen(tck, name, actions, expected).await
    }
}
