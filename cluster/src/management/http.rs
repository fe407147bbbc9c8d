//! The management of a cluster over HTTP.
//!
//! - `GET /cluster`: what this node knows, a [`ClusterReport`] as JSON.
//! - `POST /cluster/members/HOST:PORT/leave`: that member is to leave. 202.
//! - `POST /cluster/members/HOST:PORT/down`: that member is given up. 202.
//!
//! Nobody there is 404, an address that is none 400, a node that has stopped or has too much to do 503. What went wrong is
//! told as text.
//!
//! # Who may
//! With a token: whoever shows it, `Authorization: Bearer TOKEN`. Without one only loopback is bound, and what changes
//! something must come with the header `x-cluster-management`, which no page of a browser can send to another site.

use super::{ClusterManagementMessage, ClusterReport};
use crate::{
    cluster::{Cluster, ClusterError},
    config::is_loopback,
    member::Address,
};
use actors::{ActorRef, Phase, PhaseBegun, ReplyTo};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ring::digest::{SHA256, digest};
use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::oneshot};

/// How long the actor may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a token: shorter ones can be guessed.
const TOKEN_MIN: usize = 16;
/// The header that tells a tool from a page in a browser.
const FROM_A_TOOL: &str = "x-cluster-management";

/// Where management is served, and to whom.
#[derive(Clone)]
pub struct ManagementConfig {
    /// What is bound. With port 0 a free one.
    pub bind: SocketAddr,
    /// What whoever asks must show; at least 16 bytes. Needed for anything but loopback. One word of ASCII, where
    /// `cloudstate cluster` is to show it.
    pub token: Option<String>,
}

/// The token is a secret.
impl fmt::Debug for ManagementConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagementConfig").field("bind", &self.bind).finish_non_exhaustive()
    }
}

/// Why management is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagementError {
    /// Anybody could give up members.
    #[error("`bind` is {0}, which other machines can reach: set `token`, or bind loopback")]
    NoToken(SocketAddr),
    /// It could be guessed.
    #[error("`token` has {0} bytes, and must have at least 16")]
    ShortToken(usize),
    /// The port cannot be bound.
    #[error("{address} cannot be bound: {error}")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The actor system is about to end.
    #[error(transparent)]
    ShuttingDown(#[from] PhaseBegun),
}

/// Serves `management` for as long as the cluster's actor system lives. Comes back with what was bound, once it is.
///
/// # Errors
/// It is not served.
pub async fn serve(
    cluster: &Cluster,
    management: ActorRef<ClusterManagementMessage>,
    config: ManagementConfig,
) -> Result<SocketAddr, ManagementError> {
    let address = config.bind;
    match &config.token {
        None if !is_loopback(address.ip()) => return Err(ManagementError::NoToken(address)),
        Some(token) if token.len() < TOKEN_MIN => return Err(ManagementError::ShortToken(token.len())),
        _ => {}
    }
    let failed = |error| ManagementError::Bind { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let (end, ends) = oneshot::channel::<()>();
    let shutdown = cluster.system().coordinated_shutdown();
    shutdown.add_task(
        Phase::BeforeActorSystemTerminate,
        "close the door of the cluster's management",
        || async move {
            drop(end);
            Ok(())
        },
    )?;
    let serving = axum::serve(listener, router(management, config.token)).with_graceful_shutdown(async move {
        // The sender says nothing: it is dropped.
        let _ = ends.await;
    });
    cluster.system().runtime().spawn(async move { serving.await });
    Ok(bound)
}

/// The routes, to be served together with others. Without a token whoever serves them must keep strangers out.
pub fn router(management: ActorRef<ClusterManagementMessage>, token: Option<String>) -> Router {
    let token = token.map(|token| Arc::from(hash(token.as_bytes())));
    Router::new()
        .route("/cluster", get(status))
        .route("/cluster/members/{address}/leave", post(leave))
        .route("/cluster/members/{address}/down", post(down))
        .layer(middleware::from_fn_with_state(Guard(token), guard))
        .with_state(management)
}

/// The hash of the token: comparing hashes tells nothing of it by the time that it takes.
#[derive(Clone)]
struct Guard(Option<Arc<[u8]>>);

fn hash(token: &[u8]) -> Vec<u8> {
    digest(&SHA256, token).as_ref().to_vec()
}

async fn guard(State(Guard(token)): State<Guard>, request: Request, next: Next) -> Response {
    let refusal = match &token {
        Some(token) if !shows(request.headers(), token) => {
            Some((StatusCode::UNAUTHORIZED, "show the token: Authorization: Bearer TOKEN"))
        }
        None if request.method() != Method::GET && !request.headers().contains_key(FROM_A_TOOL) => {
            Some((StatusCode::FORBIDDEN, "set the header x-cluster-management to anything"))
        }
        _ => None,
    };
    match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn shows(headers: &HeaderMap, token: &[u8]) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    shown.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|shown| hash(shown.as_bytes()) == token)
}

async fn status(State(management): State<ActorRef<ClusterManagementMessage>>) -> Response {
    match management.ask(|reply_to| ClusterManagementMessage::Status { reply_to }, ANSWER_WITHIN).await {
        Ok(report) => Json::<ClusterReport>(report).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn leave(State(management): State<ActorRef<ClusterManagementMessage>>, Path(address): Path<String>) -> Response {
    change(&management, &address, |address, reply_to| ClusterManagementMessage::Leave { address, reply_to }).await
}

async fn down(State(management): State<ActorRef<ClusterManagementMessage>>, Path(address): Path<String>) -> Response {
    change(&management, &address, |address, reply_to| ClusterManagementMessage::Down { address, reply_to }).await
}

type Changed = Result<(), ClusterError>;

async fn change(
    management: &ActorRef<ClusterManagementMessage>,
    address: &str,
    message: impl FnOnce(Address, ReplyTo<Changed>) -> ClusterManagementMessage,
) -> Response {
    let address: Address = match address.parse() {
        Ok(address) => address,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}")).into_response(),
    };
    match management.ask(|reply_to| message(address, reply_to), ANSWER_WITHIN).await {
        Ok(Ok(())) => StatusCode::ACCEPTED.into_response(),
        Ok(Err(error @ ClusterError::NotAMember(_))) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterConfig, ClusterManagement, MemberStatus};
    use actors::ActorSystem;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Status and body.
    async fn call(to: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_may_sees_the_members_and_gives_them_up_and_nobody_else() {
        let system = ActorSystem::new("managed");
        let cluster = Cluster::join(&system, ClusterConfig::local(0)).await.unwrap();
        let management = ClusterManagement::start(&cluster);
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = |bind, token: Option<&str>| ManagementConfig { bind, token: token.map(str::to_owned) };
        let open = "0.0.0.0:0".parse().unwrap();
        let refused = serve(&cluster, management.clone(), config(open, None)).await.unwrap_err();
        assert!(refused.to_string().contains("`token`"), "{refused}");
        let refused = serve(&cluster, management.clone(), config(loopback, Some("short"))).await.unwrap_err();
        assert!(refused.to_string().contains("5 bytes"), "{refused}");

        let token = "correct horse battery";
        let guarded = serve(&cluster, management.clone(), config(loopback, Some(token))).await.unwrap();
        assert_eq!(call(guarded, "GET", "/cluster", "").await.0, 401);
        assert_eq!(call(guarded, "GET", "/cluster", "authorization: Bearer wrong horse battery\r\n").await.0, 401);
        let bearer = format!("authorization: Bearer {token}\r\n");
        let (status, body) = call(guarded, "GET", "/cluster", &bearer).await;
        assert_eq!(status, 200);
        assert!(body.contains(&format!("\"node\":\"{}\"", cluster.me().address)) && body.contains("\"status\":\"Up\""));
        assert!(body.contains("\"news_waiting\":0"), "{body}");

        let bare = serve(&cluster, management, config(loopback, None)).await.unwrap();
        assert_eq!(call(bare, "GET", "/cluster", "").await.0, 200);
        let down = format!("/cluster/members/{}/down", cluster.me().address);
        assert_eq!(call(bare, "POST", &down, "").await.0, 403, "a page of a browser could do as much");
        let tool = "x-cluster-management: 1\r\n";
        assert_eq!(call(bare, "POST", "/cluster/members/nobody:1/down", tool).await.0, 404);
        assert_eq!(call(bare, "POST", "/cluster/members/nobody/leave", tool).await.0, 400);
        assert_eq!(cluster.member().unwrap().status, MemberStatus::Up);
        assert_eq!(call(bare, "POST", &down, tool).await.0, 202);
        assert_eq!(cluster.terminated().await, crate::Departure::Down);
        system.terminated().await;
    }
}
