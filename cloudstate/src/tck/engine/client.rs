//! The suite's own calls: a conversation with the user function, and HTTP/1.1 calls to the proxy.

use std::fmt::Debug;
use std::future::Future;

use anyhow::{Context, Result, anyhow, bail, ensure};
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

use super::record::{Direction, Recorder, direction};
use super::{Address, Compared, EXPECTATION, shown, within};

/// Messages sent but not yet on the wire.
const IN_FLIGHT_MAX: usize = 16;

/// A gRPC connection to `address`, made on first use.
///
/// # Errors
/// When that is no host name.
pub fn connect(address: &Address) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    Ok(endpoint.with_context(|| format!("{address} is not an address"))?.connect_lazy())
}

/// A result at the client, within the suite's time limit.
///
/// # Errors
/// When it takes longer.
pub async fn in_time<T>(call: impl Future<Output = T>) -> Result<T> {
    within(EXPECTATION, call).await.with_context(|| format!("no result at the client within {EXPECTATION:?}"))
}

/// The only answer of a call is `expected`.
///
/// # Errors
/// What was answered instead.
pub async fn expect_one<T: Compared>(
    call: impl Future<Output = Result<Response<T>, Status>>,
    expected: T,
) -> Result<()> {
    let expected = expected.comparable();
    let seen = match in_time(call).await? {
        Ok(response) => response.into_inner().comparable(),
        Err(status) => bail!("answered:\n  expected {}\n  seen     {}", shown(&expected), failure(&status)),
    };
    ensure!(seen == expected, "answered:\n  expected {}\n  seen     {}", shown(&expected), shown(&seen));
    Ok(())
}

/// The call fails with this text, whatever its code.
///
/// # Errors
/// What was answered instead.
pub async fn expect_failure<T: Compared>(
    call: impl Future<Output = Result<Response<T>, Status>>,
    text: &str,
) -> Result<()> {
    let seen = match in_time(call).await? {
        Err(status) if status.message() == text => return Ok(()),
        Err(status) => failure(&status),
        Ok(response) => shown(response.get_ref()),
    };
    bail!("answered:\n  expected the failure {text:?}\n  seen     {seen}")
}

/// A status without its headers, which say nothing here.
pub(super) fn failure(status: &Status) -> String {
    format!("the failure {:?} ({:?})", status.message(), status.code())
}

/// A stream that the suite has opened itself.
#[derive(Debug)]
pub struct Conversation<I, O> {
    requests: mpsc::Sender<I>,
    /// What is answered.
    pub answers: Direction<O>,
}

impl<I: Debug, O: Compared> Conversation<I, O> {
    /// Opens a stream; `open` makes the call. Does not wait for response headers.
    pub fn open<F>(open: impl FnOnce(ReceiverStream<I>) -> F) -> Self
    where
        F: Future<Output = Result<Response<Streaming<O>>, Status>> + Send + 'static,
    {
        let (requests, sent) = mpsc::channel(IN_FLIGHT_MAX);
        let (recorder, answers) = direction("answered");
        tokio::spawn(listen(open(ReceiverStream::new(sent)), recorder));
        Self { requests, answers }
    }

    /// Sends `message`.
    ///
    /// # Errors
    /// When the other side has closed the stream.
    pub async fn send(&self, message: I) -> Result<()> {
        let sent =
            within(EXPECTATION, self.requests.send(message)).await.context("the stream takes no more messages")?;
        sent.map_err(|error| anyhow!("the stream is closed; not sent: {:?}", error.0))
    }

    /// The next answer is `answer`.
    ///
    /// # Errors
    /// What came instead.
    pub async fn expect(&mut self, answer: O) -> Result<()> {
        self.answers.expect(answer).await
    }

    /// The suite half-closes; answers may follow.
    pub fn complete(self) -> Direction<O> {
        self.answers
    }

    /// The other side has given up the requests.
    ///
    /// # Errors
    /// When it still waits for them.
    pub async fn requests_cancelled(&self) -> Result<()> {
        within(EXPECTATION, self.requests.closed()).await.context("the stream of requests is still open")
    }

    /// "Pass": the suite half-closes and the other side completes, with nothing more to say.
    ///
    /// # Errors
    /// What came instead.
    pub async fn pass(self) -> Result<()> {
        self.complete().completed(EXPECTATION).await
    }
}

async fn listen<O: Compared>(
    call: impl Future<Output = Result<Response<Streaming<O>>, Status>>,
    recorder: Recorder<O>,
) {
    let answered = tokio::select! {
        answered = call => answered,
        () = recorder.unread() => return,
    };
    let mut answers = match answered {
        Ok(response) => response.into_inner(),
        Err(status) => return recorder.failed(status),
    };
    loop {
        let message = tokio::select! {
            message = answers.message() => message,
            () = recorder.unread() => return,
        };
        match message {
            Ok(Some(message)) => recorder.message(message),
            Ok(None) => break recorder.completed(),
            Err(status) => break recorder.failed(status),
        }
    }
    // Letting go of the stream could end the requests, too; but that is for the other side to do.
    recorder.unread().await;
}

/// Calls the proxy as the suite does: HTTP/1.1.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    proxy: Address,
}

/// What the suite looks at in a response.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Header `content-type`, or nothing.
    pub content_type: String,
    /// The whole body.
    pub body: String,
}

impl HttpClient {
    /// A client of the proxy.
    #[must_use]
    pub fn new(proxy: Address) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), proxy }
    }

    /// `GET path`, with any answer whatever.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self, path: &str) -> Result<HttpAnswer> {
        self.call(Method::GET, path, "").await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, json: &str) -> Result<HttpAnswer> {
        self.call(Method::POST, path, json).await
    }

    /// The answer is 200 and exactly this JSON text.
    ///
    /// # Errors
    /// What was answered instead.
    pub async fn expect_json(&self, path: &str, json: &str, answer: &str) -> Result<()> {
        let got = self.post(path, json).await?;
        let expected = HttpAnswer { status: 200, content_type: "application/json".to_owned(), body: answer.to_owned() };
        ensure!(got == expected, "POST {path} {json}\n  expected {expected:?}\n  seen     {got:?}");
        Ok(())
    }

    /// The answer is 500 and exactly this text.
    ///
    /// # Errors
    /// What was answered instead.
    pub async fn expect_failure(&self, path: &str, json: &str, text: &str) -> Result<()> {
        let got = self.post(path, json).await?;
        let same = got.status == 500 && got.body == text;
        ensure!(same, "POST {path} {json}\n  expected 500 with {text:?}\n  seen     {got:?}");
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> Result<HttpAnswer> {
        let what = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.proxy))
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
        in_time(call).await.with_context(|| what.clone())?.context(what)
    }
}
