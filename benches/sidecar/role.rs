//! The processes this binary is started as, once for each part: `sidecar role NAME …`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Parser;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::runtime::{Builder, Runtime};

use crate::relay::RelayArgs;
use crate::{function, load, plain, relay};

/// The first argument of a process that plays a role.
pub const ROLE: &str = "role";

#[derive(Parser)]
enum Role {
    /// Drives one cell and prints what it found as one line of JSON.
    Load { plan: String },
    /// The user function.
    Function { address: SocketAddr },
    /// A plain unary server.
    Plain { address: SocketAddr },
    /// The least a sidecar can do.
    Relay(RelayArgs),
    /// Becomes another program that ends with the bench.
    Become {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

pub fn is_asked_for() -> bool {
    std::env::args_os().nth(1).is_some_and(|first| first == ROLE)
}

pub fn play() -> anyhow::Result<ExitCode> {
    // Set before anything else and kept across `exec`: a bench that is killed leaves nothing running.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match Role::parse_from(std::env::args_os().skip(1)) {
        Role::Load { plan } => {
            let outcome = Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(load::run(serde_json::from_str(&plan)?))?;
            println!("{}", serde_json::to_string(&outcome)?);
        }
        Role::Function { address } => servers()?.block_on(function::serve(address))?,
        Role::Plain { address } => servers()?.block_on(plain::serve(address))?,
        Role::Relay(args) => servers()?.block_on(relay::serve(args))?,
        Role::Become { command } => {
            return Err(Command::new(&command[0]).args(&command[1..]).exec().into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn servers() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}
