//! The suite's own calls: a conversation with the user function, and HTTP/1.1 calls to the sidecar.

use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

use super::EXPECTATION;
use super::record::{Direction, Recorder, direction};

/// Messages sent but not yet on the wire.
const IN_FLIGHT_MAX: usize = 16;

/// A gRPC connection to `address`, made on first use.
pub fn connect(address: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
}

/// A bidirectional stream that the suite has opened itself.
#[derive(Debug)]
pub struct Conversation<I, O> {
    requests: mpsc::Sender<I>,
    answers: Direction<O>,
}

impl<I: Debug, O: Debug + PartialEq + Send + 'static> Conversation<I, O> {
    /// Opens a stream; `open` makes the call. Does not wait for response headers.
    pub fn open<F>(open: impl FnOnce(ReceiverStream<I>) -> F) -> Self
    where
        F: Future<Output = Result<Response<Streaming<O>>, Status>> + Send + 'static,
    {
        let (requests, sent) = mpsc::channel(IN_FLIGHT_MAX);
        let (recorder, answers) = direction("answers");
        tokio::spawn(listen(open(ReceiverStream::new(sent)), recorder));
        Self { requests, answers }
    }

    pub async fn send(&self, message: I) -> Result<()> {
        self.requests.send(message).await.map_err(|error| anyhow!("the stream is closed; not sent: {:?}", error.0))
    }

    pub async fn expect(&mut self, answer: O) -> Result<()> {
        self.answers.expect(answer).await
    }

    pub async fn answer(&mut self) -> Result<O> {
        self.answers.message().await
    }

    /// "Pass": the suite half-closes and the other side completes, with nothing more to say.
    pub async fn pass(self) -> Result<()> {
        let Self { requests, mut answers } = self;
        drop(requests);
        answers.completed(EXPECTATION).await
    }
}

async fn listen<O: Debug + Send + 'static>(
    call: impl Future<Output = Result<Response<Streaming<O>>, Status>>,
    recorder: Recorder<O>,
) {
    let pass = async {
        let mut answers = call.await?.into_inner();
        while let Some(message) = answers.message().await? {
            recorder.message(message);
        }
        Ok(())
    };
    match pass.await {
        Ok(()) => recorder.completed(),
        Err(status) => recorder.failed(status),
    }
}

/// Calls the sidecar as the suite does: HTTP/1.1.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    sidecar: SocketAddr,
}

/// What the suite looks at in a response.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

impl HttpClient {
    pub fn new(sidecar: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), sidecar }
    }

    /// `GET path`, with any answer whatever.
    pub async fn get(&self, path: &str) -> Result<HttpAnswer> {
        self.call(Method::GET, path, "").await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, json: &str) -> Result<HttpAnswer> {
        self.call(Method::POST, path, json).await
    }

    /// The answer is 200 and exactly this JSON text.
    pub async fn expect_json(&self, path: &str, json: &str, answer: &str) -> Result<()> {
        let got = self.post(path, json).await?;
        let expected = HttpAnswer { status: 200, content_type: "application/json".to_owned(), body: answer.to_owned() };
        anyhow::ensure!(got == expected, "POST {path} {json}\n   expected {expected:?}\n        got {got:?}");
        Ok(())
    }

    /// The answer is 500 and exactly this text.
    pub async fn expect_failure(&self, path: &str, json: &str, text: &str) -> Result<()> {
        let got = self.post(path, json).await?;
        let same = got.status == 500 && got.body == text;
        anyhow::ensure!(same, "POST {path} {json}\n   expected 500 with {text:?}\n        got {got:?}");
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> Result<HttpAnswer> {
        let what = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.sidecar))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let call = async {
            let response = self.client.request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            let content_type = head.headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
            anyhow::Ok(HttpAnswer {
                status: head.status.as_u16(),
                content_type: content_type.to_owned(),
                body: String::from_utf8(body.to_vec())?,
            })
        };
        tokio::time::timeout(EXPECTATION, call)
            .await
            .with_context(|| format!("{what}: no answer in time"))?
            .context(what)
    }
}
