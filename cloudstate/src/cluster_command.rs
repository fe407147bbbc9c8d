//! `cloudstate cluster`: who is in a cluster, seen and changed through the management port of one of its nodes.

mod args;

pub use args::{ClusterAction, ClusterArgs, HELP, MemberArgs, NodeArgs, StatusArgs};

use std::fmt::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use actors::Clock;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Ten thousand members with long names.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A token is a line.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Why nothing was seen or done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterCommandError {
    /// The file with the token cannot be used.
    #[error("--token-file {path}: {cause}", path = path.display())]
    Token {
        /// Which.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// There is nobody to ask.
    #[error(
        "nobody listens at {node} ({cause}): --node is where a node that runs serves management, which is not its own port"
    )]
    Nobody {
        /// Who was asked.
        node: String,
        /// What happened.
        cause: std::io::Error,
    },
    /// Whoever is there is no cluster's management, or too slow.
    #[error("no cluster's management at {node}: {cause}; --node says where it is")]
    NoAnswer {
        /// Who was asked.
        node: String,
        /// What happened.
        cause: String,
    },
    /// It shows nothing without the token.
    #[error("{node} wants a token: give the file that holds it with --token-file")]
    Unauthorized {
        /// Who was asked.
        node: String,
    },
    /// It wants another token.
    #[error("{node} wants another token than the one in --token-file {path}", path = path.display())]
    WrongToken {
        /// Who was asked.
        node: String,
        /// The file that was read.
        path: PathBuf,
    },
    /// There is nobody to leave, or to be given up.
    #[error("{text}; `cloudstate cluster status --node {node}` shows who is")]
    NoSuchMember {
        /// Who was asked.
        node: String,
        /// What it said.
        text: String,
    },
    /// It did not do it.
    #[error("{node} answered {status}: {text}")]
    Refused {
        /// Who was asked.
        node: String,
        /// How it answered.
        status: StatusCode,
        /// What it said.
        text: String,
    },
}

/// Does `action`, and returns what to print.
///
/// # Errors
/// [`ClusterCommandError`] says what to do about it.
pub async fn run(action: &ClusterAction, clock: &Clock) -> Result<String, ClusterCommandError> {
    match action {
        ClusterAction::Status(args) => {
            let body = ask(&args.node, Method::GET, "/cluster", clock).await?;
            let report: Value = serde_json::from_slice(&body).map_err(|error| ClusterCommandError::NoAnswer {
                node: args.node.node.clone(),
                cause: format!("its answer is not understood: {error}"),
            })?;
            Ok(if args.json { format!("{report}\n") } else { table(&report) })
        }
        ClusterAction::Leave(args) => change(args, "leave", "is to leave", clock).await,
        ClusterAction::Down(args) => change(args, "down", "is given up", clock).await,
    }
}

async fn change(args: &MemberArgs, verb: &str, done: &str, clock: &Clock) -> Result<String, ClusterCommandError> {
    let member = utf8_percent_encode(&args.member, NON_ALPHANUMERIC);
    ask(&args.node, Method::POST, &format!("/cluster/members/{member}/{verb}"), clock).await?;
    Ok(format!("{} {done}\n", args.member))
}

async fn ask(args: &NodeArgs, method: Method, path: &str, clock: &Clock) -> Result<Bytes, ClusterCommandError> {
    let node = args.node.clone();
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, &node)
        // Tells this from a page in a browser.
        .header("x-cluster-management", "cloudstate");
    if let Some(path) = &args.token_file {
        request = request.header(http::header::AUTHORIZATION, format!("Bearer {}", token(path)?));
    }
    let no_answer = |cause: String| ClusterCommandError::NoAnswer { node: node.clone(), cause };
    let request = request.body(Full::new(Bytes::new())).map_err(|error| no_answer(error.to_string()))?;
    let answered = async {
        let nobody = |cause| ClusterCommandError::Nobody { node: node.clone(), cause };
        let stream = TcpStream::connect(&node).await.map_err(nobody)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| no_answer(error.to_string()))?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok::<_, String>((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let mut asked = pin!(asked);
        let answered = tokio::select! {
            biased;
            answer = &mut asked => answer,
            ended = connection => match ended {
                Err(error) => Err(error.to_string()),
                // It has brought the answer along, if there is one.
                Ok(()) => asked.await,
            },
        };
        answered.map_err(no_answer)
    };
    let answered = clock.timeout(ANSWER_WITHIN, answered).await;
    let (status, body) = answered.map_err(|elapsed| no_answer(elapsed.to_string()))??;
    let text = || String::from_utf8_lossy(&body).trim().to_owned();
    Err(match status {
        status if status.is_success() => return Ok(body),
        StatusCode::UNAUTHORIZED => match args.token_file.clone() {
            Some(path) => ClusterCommandError::WrongToken { node, path },
            None => ClusterCommandError::Unauthorized { node },
        },
        // A server of another kind says it with nothing, or with a page.
        StatusCode::NOT_FOUND if text().starts_with("nobody is a member") => {
            ClusterCommandError::NoSuchMember { node, text: text() }
        }
        StatusCode::NOT_FOUND => no_answer("what listens there is something else".to_owned()),
        status => ClusterCommandError::Refused { text: text(), node, status },
    })
}

fn token(path: &PathBuf) -> Result<String, ClusterCommandError> {
    let failed = |cause: String| ClusterCommandError::Token { path: path.clone(), cause };
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > TOKEN_BYTES_MAX {
        return Err(failed(format!("{size} bytes are no token")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    let fits = |byte: u8| byte.is_ascii_graphic();
    if token.is_empty() || !token.bytes().all(fits) {
        return Err(failed("a token is one word of ASCII".to_owned()));
    }
    Ok(token.to_owned())
}

/// What a node knows, for people. What this version does not know of is left out.
fn table(report: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let list = |value: &Value| {
        let all: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
        if all.is_empty() { "-".to_owned() } else { all.join(",") }
    };
    let mut rows = vec![["ADDRESS", "STATUS", "REACHABLE", "UP", "ROLES", "DATA CENTER", "VERSION"].map(str::to_owned)];
    for member in report["members"].as_array().into_iter().flatten() {
        let leads = member["address"] == report["leader"];
        let reachable = if member["reachable"] == Value::Bool(true) { "yes" } else { "NO" };
        rows.push([
            format!("{}{}", text(&member["address"]), if leads { " (leader)" } else { "" }),
            text(&member["status"]),
            reachable.to_owned(),
            text(&member["up_number"]),
            list(&member["roles"]),
            text(&member["data_center"]),
            text(&member["app_version"]),
        ]);
    }
    let mut shown = String::new();
    let widths: [usize; 7] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        shown.push_str(cells.join("  ").trim_end());
        shown.push('\n');
    }
    let hosting = report["hosting_seconds"].as_f64().unwrap_or(0.0);
    let may = if hosting > 0.0 { "may serve singletons and shards" } else { "must not serve singletons or shards now" };
    let _ = writeln!(shown, "\nas {} sees it, which {may}", text(&report["node"]));
    let dropped = report["dropped"].as_object().into_iter().flatten();
    for (at, (reason, count)) in dropped.enumerate() {
        let _ = writeln!(shown, "{}{count:>10}  {reason}", if at == 0 { "dropped there:\n" } else { "" });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_shown_as_a_table_with_the_leader_and_what_was_dropped() {
        let member = |address: &str, reachable: bool| {
            serde_json::json!({
                "address": address, "uid": "0000000000000001", "status": "Up", "reachable": reachable, "up_number": 1,
                "roles": ["front", "back"], "data_center": "default", "app_version": "1.0.0"
            })
        };
        let report = serde_json::json!({
            "node": "n1:2551", "leader": "n1:2551", "members": [member("n1:2551", true), member("node-2:2551", false)],
            "hosting_seconds": 4.5, "dropped": { "datagrams: unsealed": 7 }
        });
        let shown = table(&report);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].starts_with("n1:2551 (leader)  Up      yes        1   front,back  default"), "{shown}");
        assert!(lines[2].contains("NO"), "{shown}");
        assert!(
            shown.contains("as n1:2551 sees it, which may serve") && shown.contains("7  datagrams: unsealed"),
            "{shown}"
        );
        assert!(table(&Value::Null).contains("must not serve"), "an answer of another release does no harm");
    }
}
