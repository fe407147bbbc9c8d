//! Actor libraries side by side. See README.md.

#![allow(clippy::disallowed_methods, reason = "a bench is a program")]

mod body;
mod contestant;
mod framework;
mod frameworks;
mod measure;
mod workloads;

use std::process::ExitCode;

use contestant::Contestant;
use framework::Flavor;
use workloads::Workload;

static CONTESTANTS: &[Contestant] = {
    use frameworks::*;
    &[
        Contestant::of::<raw::TokioUnbounded>(),
        Contestant::of::<ours::Ours>(),
        #[cfg(feature = "libraries")]
        Contestant::of::<actix::Actix>(),
        #[cfg(feature = "libraries")]
        Contestant::of::<ractor::Ractor>(),
        #[cfg(feature = "libraries")]
        Contestant::of::<kameo::Kameo>(),
        #[cfg(feature = "libraries")]
        Contestant::of::<coerce::Coerce>(),
        #[cfg(feature = "libraries")]
        Contestant::of::<xtra::Xtra>(),
        #[cfg(feature = "libraries")]
        Contestant { name: elfo::NAME, mailbox: elfo::MAILBOX, supports: elfo::supports, run: elfo::run },
        Contestant::of::<ours::Bounded>(),
        Contestant::of::<raw::TokioBounded>(),
        #[cfg(feature = "libraries")]
        Contestant::of::<kameo::KameoBounded>(),
        #[cfg(feature = "floors")]
        Contestant::of::<floor::task::FloorTask>(),
        #[cfg(feature = "floors")]
        Contestant::of::<floor::sched::Floor<floor::sched::Asynchronous>>(),
        #[cfg(feature = "floors")]
        Contestant::of::<floor::sched::Floor<floor::sched::Inline>>(),
    ]
};

struct Args {
    workload: String,
    framework: String,
    flavor: Flavor,
    runs: u32,
    ops: Option<u64>,
    scale: f64,
    warm_up: bool,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut out = Args {
        workload: "all".into(),
        framework: "all".into(),
        flavor: Flavor::Multi(2),
        runs: 1,
        ops: None,
        scale: 1.0,
        warm_up: true,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--workload" => out.workload = value()?,
            "--framework" => out.framework = value()?,
            "--rt" => {
                let name = value()?;
                out.flavor = Flavor::parse(&name).ok_or(format!("--rt: {name} is neither ct nor mt with a number"))?;
            }
            "--runs" => out.runs = value()?.parse().map_err(|e| format!("--runs: {e}"))?,
            "--ops" => out.ops = Some(value()?.parse().map_err(|e| format!("--ops: {e}"))?),
            "--scale" => out.scale = value()?.parse().map_err(|e| format!("--scale: {e}"))?,
            "--no-warm-up" => out.warm_up = false,
            "--list" => {
                for workload in Workload::ALL {
                    let able = CONTESTANTS.iter().filter(|f| (f.supports)(workload));
                    let names: Vec<_> = able.map(|f| f.name).collect();
                    println!("{}: {}", workload.name(), names.join(" "));
                }
                std::process::exit(0);
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(out)
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let picked = |list: &str, name: &str| list == "all" || list.split(',').any(|x| x == name);
    let mut ran = 0;
    for workload in Workload::ALL {
        if !picked(&args.workload, workload.name()) {
            continue;
        }
        let ops = args.ops.unwrap_or(workload.default_ops());
        let ops = (ops as f64 * args.scale) as u64;
        let frameworks = || CONTESTANTS.iter().filter(|f| picked(&args.framework, f.name) && (f.supports)(workload));
        // Framework by framework within a run, so that drift of the machine
        // hits all alike.
        for run in 0..args.runs {
            for framework in frameworks() {
                if args.warm_up && run == 0 {
                    (framework.run)(workload, args.flavor, workload.warm_up_ops(ops));
                }
                let measure = (framework.run)(workload, args.flavor, ops);
                println!(
                    "{}",
                    measure.json(&[
                        ("workload", workload.name()),
                        ("framework", framework.name),
                        ("mailbox", framework.mailbox),
                    ])
                );
                ran += 1;
            }
        }
    }
    if ran == 0 {
        eprintln!("nothing to run; --list shows what there is");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
