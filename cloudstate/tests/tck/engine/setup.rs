//! The arrangement of the proxy tests: sidecar, interceptor, user function, and the suite as a client in front.

use std::path::Path;

use anyhow::{Context, Result};
use proto::cloudstate::{EntitySpec, ProxyInfo};
use tonic::transport::Channel;

use super::{ATTEMPT_PAUSE, EXPECTATION, HttpClient, Interceptor, Process, connect, start_function, start_sidecar};

/// Running processes and what the interceptor has seen of the discovery.
#[derive(Debug)]
pub struct Setup {
    pub interceptor: Interceptor,
    /// gRPC calls to the sidecar.
    pub channel: Channel,
    /// HTTP/1.1 calls to the sidecar.
    pub http: HttpClient,
    pub info: ProxyInfo,
    pub spec: EntitySpec,
    sidecar: Process,
    function: Process,
}

impl Setup {
    /// The suite's start sequence: function, interceptor, sidecar, then one recorded discovery.
    pub async fn start(function: &Path, sidecar: &Path) -> Result<Self> {
        let (function, _) = start_function(function).await?;
        let mut interceptor = Interceptor::start(connect(function.address())?).await?;
        let sidecar = start_sidecar(sidecar, interceptor.address()).await?;
        let (info, spec) = discovered(&mut interceptor)
            .await
            .with_context(|| format!("no discovery\n{}{}", sidecar.log(), function.log()))?;
        let (channel, http) = (connect(sidecar.address())?, HttpClient::new(sidecar.address()));
        // Recorded is not yet served. The suite's other groups give the sidecar that moment, ours start right away.
        until_served(&http).await?;
        Ok(Self { interceptor, channel, http, info, spec, sidecar, function })
    }

    /// Runs one test; afterwards no call may be left over that it did not expect.
    pub async fn orderly(&mut self, test: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut outcome = test(self).await;
        if outcome.is_ok() {
            outcome = self.interceptor.quiet().await;
        }
        if outcome.is_err() {
            self.interceptor.discard().await;
        }
        outcome
    }

    /// The end of both logs.
    pub fn logs(&self) -> String {
        format!("{}{}", self.sidecar.log(), self.function.log())
    }
}

async fn until_served(http: &HttpClient) -> Result<()> {
    let served = async {
        while http.get("/").await?.status == 503 {
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(EXPECTATION, served).await.context("the sidecar does not serve what it has discovered")?
}

async fn discovered(interceptor: &mut Interceptor) -> Result<(ProxyInfo, EntitySpec)> {
    let mut call = interceptor.discover().await?;
    let info = call.input.message().await?;
    Ok((info, call.output.message().await?))
}
