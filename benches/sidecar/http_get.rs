//! The little HTTP that reading a health or metrics page takes.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a page may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Status and body of `http://address/path`.
pub async fn http_get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let answer = timeout(ANSWER_WITHIN, async {
        let mut connection = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    });
    let answer = answer.await.with_context(|| format!("no answer from {address}{path}"))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    let status = head.split(' ').nth(1).context("an answer without a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// All syncs a metrics page counts, whatever the part that counts them is called.
pub fn syncs(page: &str) -> u64 {
    let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let syncs = samples.filter(|(name, _)| name.split('{').next().is_some_and(|name| name.ends_with("syncs_total")));
    syncs.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>() as u64
}
