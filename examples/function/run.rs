//! A user function as a process.
#![allow(clippy::disallowed_methods, reason = "the whole program is its user function")]

use std::env::{VarError, var};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Function;

/// Serves `function` at the address in the environment, `HOST` (127.0.0.1) and `PORT` (8080), until the
/// process is told to terminate.
///
/// # Errors
///
/// When the address is none or is taken.
pub async fn run(function: Function) -> anyhow::Result<()> {
    let host = setting("HOST", "127.0.0.1")?;
    let port = setting("PORT", "8080")?;
    let port: u16 = port.parse().with_context(|| format!("PORT is `{port}`; it must be a number up to 65535"))?;
    let listener = TcpListener::bind((host.as_str(), port))
        .await
        .with_context(|| format!("cannot listen at {host}:{port}; choose another address with HOST and PORT"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    eprintln!("serving at {}", listener.local_addr()?);
    function
        .serve(listener, async move {
            terminate.recv().await;
        })
        .await?;
    Ok(())
}

fn setting(name: &str, default: &str) -> anyhow::Result<String> {
    match var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) | Err(VarError::NotPresent) => Ok(default.to_owned()),
        Err(error @ VarError::NotUnicode(_)) => Err(error).context(name.to_owned()),
    }
}
