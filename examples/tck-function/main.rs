//! Serves the conformance suite's model services at `HOST`:`PORT`.
#![allow(clippy::disallowed_methods, reason = "a program reads its environment where it starts")]

use std::env::{VarError, var};

use anyhow::Context;
use examples::tck_function::function;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let host = setting("HOST", "127.0.0.1")?;
    let port: u16 = setting("PORT", "8080")?.parse().context("PORT must be a number between 1 and 65535")?;
    let listener = tokio::net::TcpListener::bind((host.as_str(), port))
        .await
        .with_context(|| format!("cannot listen at HOST {host}, PORT {port}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    eprintln!("serving the model services at {}", listener.local_addr()?);
    function()
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
