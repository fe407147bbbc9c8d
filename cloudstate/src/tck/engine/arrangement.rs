//! The arrangement of the tests: user function, interceptor, proxy, and the suite as a client of each.

use std::io;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use proto::cloudstate::entity_discovery_client::EntityDiscoveryClient;
use proto::cloudstate::{EntitySpec, ProxyInfo};
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::{
    ATTEMPT_PAUSE, Address, Call, EXPECTATION, FUNCTION_START, HttpClient, Interceptor, PROXY_START, Process,
    StartError, clock, connect, within,
};
use crate::listen::free_port;

/// Where the parts are, and which of them the suite starts itself.
#[derive(Debug, Clone, Default)]
pub struct Arrangement {
    /// Where the interceptor listens. Without a port: 8090, or a free one if the suite starts the proxy.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// The proxy; port 9000 if it runs already.
    pub proxy: Part,
    /// The user function; port 8080 if it runs already.
    pub function: Part,
}

/// A process beside the suite.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Its host, without one 127.0.0.1.
    pub host: Option<String>,
    /// Its port, without one the usual one; a free one if the suite starts the process.
    pub port: Option<u16>,
    /// The shell command that starts it; without one it runs already.
    pub command: Option<String>,
}

impl Part {
    fn address(&self, usual: u16) -> Result<Address, StartError> {
        let port = match (self.port, &self.command) {
            (Some(port), _) => port,
            (None, Some(_)) => free_port().map_err(StartError::Machine)?,
            (None, None) => usual,
        };
        Ok(Address { port, ..self.host.as_ref().map_or_else(|| Address::local(port), |host| Address::new(host, port)) })
    }
}

/// Everything a test needs.
#[derive(Debug)]
pub struct Tck {
    /// gRPC calls to the user function.
    pub function: Channel,
    /// What the user function serves.
    pub spec: EntitySpec,
    /// Between proxy and user function.
    pub interceptor: Interceptor,
    /// gRPC calls to the proxy.
    pub proxy: Channel,
    /// HTTP/1.1 calls to the proxy.
    pub http: HttpClient,
    /// Where the proxy is.
    pub proxy_address: Address,
    /// What the proxy said of itself, and what it was answered; without a proxy nothing.
    pub discovered: Option<(ProxyInfo, EntitySpec)>,
    run: u32,
    entities: u32,
    processes: Processes,
}

#[derive(Debug, Default)]
struct Processes {
    function: Option<Process>,
    proxy: Option<Process>,
    /// Exists once one of them was started; removed in the end unless it is to be kept.
    folder: Option<PathBuf>,
    keep_folder: bool,
}

impl Tck {
    /// The suite's start sequence: user function, interceptor, proxy, then one recorded discovery. Without `proxy` it
    /// ends with the interceptor.
    ///
    /// # Errors
    /// [`StartError`] says which part is missing. What was started is stopped.
    pub async fn start(arrangement: &Arrangement, proxy: bool) -> Result<Self, StartError> {
        Self::start_telling(arrangement, proxy, |_| ()).await
    }

    /// As [`start`](Self::start), but tells `listening` where the interceptor is once the proxy is waited for.
    ///
    /// # Errors
    /// As there.
    pub async fn start_telling(
        arrangement: &Arrangement,
        proxy: bool,
        listening: impl FnOnce(&Address),
    ) -> Result<Self, StartError> {
        let mut processes = Processes::default();
        let function_address = arrangement.function.address(8080)?;
        if let Some(command) = &arrangement.function.command {
            let env = [("HOST", function_address.host.clone()), ("PORT", function_address.port.to_string())];
            processes.function = Some(processes.start("user function", command, &env)?);
        }
        let function = connect(&function_address).map_err(StartError::Address)?;
        let spec = discover(&function, &function_address, processes.function.as_mut()).await?;

        let (interceptor, interceptor_address) = intercept(arrangement, function.clone(), proxy).await?;
        let proxy_address = arrangement.proxy.address(9000)?;
        let mut tck = Self {
            function,
            spec,
            interceptor,
            proxy: connect(&proxy_address).map_err(StartError::Address)?,
            http: HttpClient::new(proxy_address.clone()),
            proxy_address: proxy_address.clone(),
            discovered: None,
            run: rand::random(),
            entities: 0,
            processes,
        };
        if !proxy {
            return Ok(tck);
        }
        listening(&interceptor_address);
        if let Some(command) = &arrangement.proxy.command {
            let env = [
                ("USER_FUNCTION_HOST", interceptor_address.host.clone()),
                ("USER_FUNCTION_PORT", interceptor_address.port.to_string()),
                ("HTTP_PORT", proxy_address.port.to_string()),
            ];
            tck.processes.proxy = Some(tck.processes.start("proxy", command, &env)?);
        }
        tck.until_answering().await?;
        match tck.recorded_discovery().await {
            Ok(discovered) => tck.discovered = Some(discovered),
            Err(error) => {
                let reason = format!("{error:#}");
                return Err(StartError::NotDiscovered {
                    proxy: proxy_address,
                    interceptor: interceptor_address,
                    reason,
                });
            }
        }
        tck.until_serving().await;
        Ok(tck)
    }

    /// An entity id of this run alone: the same suite may run again against the same proxy.
    pub fn fresh(&mut self, kind: &str) -> String {
        self.entities += 1;
        format!("{kind}-{:08x}-{}", self.run, self.entities)
    }

    /// Runs one test; afterwards no call may be left over that it did not expect.
    ///
    /// # Errors
    /// What the test has found, or a call that nobody expected.
    pub async fn orderly(&mut self, test: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut outcome = test(self).await;
        if self.discovered.is_none() {
            // Without a proxy nobody calls.
            return outcome;
        }
        if outcome.is_ok() {
            outcome = self.interceptor.quiet().await;
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                // Thrown away, so that the next test does not trip over it.
                let unread: String =
                    self.interceptor.unread().await.iter().map(|call| format!("\n  unread   {call}")).collect();
                Err(anyhow!("{error:#}{unread}"))
            }
        }
    }

    /// The files with what the started processes write.
    #[must_use]
    pub fn outputs(&self) -> Vec<PathBuf> {
        self.processes.all().map(|process| process.output().to_owned()).collect()
    }

    /// The end of what the started processes have written.
    #[must_use]
    pub fn last_lines(&self) -> String {
        self.processes.all().map(Process::last_lines).collect()
    }

    /// Stops what was started, the proxy first; its files are removed unless they are to be kept.
    pub async fn stop(mut self, keep_outputs: bool) {
        self.processes.keep_folder = keep_outputs;
        for process in [self.processes.proxy.take(), self.processes.function.take()].into_iter().flatten() {
            process.stop().await;
        }
    }

    /// Any answer to `GET /` will do.
    async fn until_answering(&mut self) -> Result<(), StartError> {
        let (client, process) = (&self.http, &mut self.processes.proxy);
        let mut reason = String::new();
        let answered = within(PROXY_START, async {
            while let Err(error) = client.get("/").await {
                reason = format!("{error:#}");
                still_running("proxy", process.as_mut())?;
                clock().sleep(ATTEMPT_PAUSE).await;
            }
            Ok(())
        });
        let answered = answered.await;
        answered.unwrap_or_else(|| Err(StartError::ProxySilent { address: self.proxy_address.clone(), reason }))
    }

    async fn recorded_discovery(&mut self) -> Result<(ProxyInfo, EntitySpec)> {
        match self.interceptor.call().await? {
            Call::Discover(mut call) => Ok((call.input.message().await?, call.output.message().await?)),
            other => anyhow::bail!("it made another call first: {}", other.describe()),
        }
    }

    /// Recorded is not yet served: a proxy that says so by 503 is given a moment.
    async fn until_serving(&self) {
        within(EXPECTATION, async {
            while self.http.get("/").await.is_ok_and(|answer| answer.status == 503) {
                clock().sleep(ATTEMPT_PAUSE).await;
            }
        })
        .await;
    }
}

impl Processes {
    fn start(&mut self, part: &'static str, command: &str, env: &[(&str, String)]) -> Result<Process, StartError> {
        let folder = match &self.folder {
            Some(folder) => folder,
            None => self.folder.insert(new_folder().map_err(StartError::Machine)?),
        };
        let started = Process::start(part, command, env, folder);
        started.map_err(|error| StartError::Command { part, command: command.to_owned(), error })
    }

    fn all(&self) -> impl Iterator<Item = &Process> {
        self.proxy.iter().chain(&self.function)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take().filter(|_| !self.keep_folder) {
            // Left over in the folder for temporary files, it harms nobody.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn new_folder() -> io::Result<PathBuf> {
    let folder =
        std::env::temp_dir().join(format!("cloudstate-tck-{}-{:08x}", std::process::id(), rand::random::<u32>()));
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

/// Where the interceptor listens, and the address at which a proxy of our own finds it.
async fn intercept(
    arrangement: &Arrangement,
    function: Channel,
    proxy: bool,
) -> Result<(Interceptor, Address), StartError> {
    // Without a proxy nobody connects; with one of ours it is on this machine.
    let ours = !proxy || arrangement.proxy.command.is_some();
    let host = arrangement.host.clone().unwrap_or_else(|| if ours { "127.0.0.1" } else { "0.0.0.0" }.to_owned());
    let address = Address::new(host, arrangement.port.filter(|_| proxy).unwrap_or(if ours { 0 } else { 8090 }));
    let failed = |error| StartError::Port { address: address.clone(), error };
    let listener = TcpListener::bind((address.host.as_str(), address.port)).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let host = if bound.ip().is_unspecified() { "127.0.0.1".to_owned() } else { bound.ip().to_string() };
    let interceptor = Interceptor::start(listener, function).map_err(StartError::Address)?;
    Ok((interceptor, Address::new(host, bound.port())))
}

/// Discovers the user function until that succeeds.
async fn discover(
    function: &Channel,
    address: &Address,
    mut process: Option<&mut Process>,
) -> Result<EntitySpec, StartError> {
    let mut reason = String::new();
    let discovered = within(FUNCTION_START, async {
        loop {
            match EntityDiscoveryClient::new(function.clone()).discover(proxy_info()).await {
                Ok(spec) => return Ok(spec.into_inner()),
                Err(status) => reason = status.message().to_owned(),
            }
            still_running("user function", process.as_deref_mut())?;
            clock().sleep(ATTEMPT_PAUSE).await;
        }
    });
    let discovered = discovered.await;
    discovered.unwrap_or_else(|| Err(StartError::FunctionSilent { address: address.clone(), reason }))
}

fn still_running(part: &'static str, process: Option<&mut Process>) -> Result<(), StartError> {
    match process.and_then(|process| Some((process.ended()?, process))) {
        None => Ok(()),
        Some((status, process)) => Err(StartError::Ended { part, status, last_lines: process.last_lines() }),
    }
}

/// What the suite says of itself when it discovers a function.
fn proxy_info() -> ProxyInfo {
    ProxyInfo {
        protocol_major_version: 0,
        protocol_minor_version: 2,
        proxy_name: "conformance suite".to_owned(),
        proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
        supported_entity_types: super::super::discovery::ENTITY_TYPES.map(str::to_owned).to_vec(),
    }
}
