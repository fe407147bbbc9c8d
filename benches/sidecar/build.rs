//! The programs a run needs, built alike: a floor compiled with less care than the sidecar would be no floor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::args::{Args, Kind};

/// Where the programs are.
pub struct Binaries {
    /// `None` when no sidecar takes part.
    pub sidecar: Option<PathBuf>,
    /// This program once more, to be started in its roles.
    pub roles: PathBuf,
}

impl Binaries {
    /// Builds what is not up to date, with the profile the sidecar is shipped with.
    ///
    /// A smoke run measures nothing and so takes itself, and an unoptimised sidecar when it is unoptimised.
    pub fn build(args: &Args) -> anyhow::Result<Self> {
        let is_smoke = args.kind == Kind::Smoke;
        let release = !is_smoke || !cfg!(debug_assertions);
        let takes_part = args.contestants.iter().any(|contestant| contestant.is_sidecar());
        let sidecar = match &args.binary {
            _ if !takes_part => None,
            Some(given) => Some(given.canonicalize().with_context(|| format!("--binary {}", given.display()))?),
            None => Some(cargo_build(&["--package", "cloudstate", "--bin", "cloudstate"], "cloudstate", release)?),
        };
        let roles = if is_smoke {
            std::env::current_exe()?
        } else {
            cargo_build(&["--package", "benches", "--bench", "sidecar"], "sidecar", release)?
        };
        Ok(Self { sidecar, roles })
    }
}

/// Builds one program and returns where it is.
fn cargo_build(what: &[&str], name: &str, release: bool) -> anyhow::Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("the target folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build").args(what).args(["--message-format", "json-render-diagnostics", "--target-dir"]).arg(target);
    if release {
        cargo.arg("--release");
    }
    let output = cargo.stderr(Stdio::inherit()).output().with_context(|| format!("start cargo to build {name}"))?;
    ensure!(output.status.success(), "{name} does not build: {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let is_it = message["target"]["name"] == name;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    });
    executable.with_context(|| format!("cargo names no executable for {name}"))
}
