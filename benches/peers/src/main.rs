//! Actor libraries side by side. See README.md.

#![allow(clippy::disallowed_methods, reason = "a bench is a program")]

mod body;
mod framework;
mod frameworks;
mod measure;
mod workloads;

use std::process::ExitCode;

use framework::{Flavor, Framework};
use measure::Measure;
use workloads::Workload;

/// A framework's entry in the table below.
struct Entry {
    name: &'static str,
    mailbox: &'static str,
    supports: fn(Workload) -> bool,
    run: fn(Workload, Flavor, u64) -> Measure,
}

const fn entry<F: Framework>() -> Entry {
    Entry { name: F::NAME, mailbox: F::MAILBOX, supports: workloads::supports::<F>, run: workloads::run::<F> }
}

static FRAMEWORKS: &[Entry] = {
    use frameworks::*;
    &[
        entry::<raw::TokioUnbounded>(),
        entry::<ours::Ours>(),
        entry::<actix::Actix>(),
        entry::<ractor::Ractor>(),
        entry::<kameo::Kameo>(),
        entry::<coerce::Coerce>(),
        entry::<xtra::Xtra>(),
        Entry { name: elfo::NAME, mailbox: elfo::MAILBOX, supports: elfo::supports, run: elfo::run },
        entry::<ours::Bounded>(),
        entry::<raw::TokioBounded>(),
        entry::<kameo::KameoBounded>(),
        #[cfg(feature = "floors")]
        entry::<floor::task::FloorTask>(),
        #[cfg(feature = "floors")]
        entry::<floor::sched::Floor<floor::sched::Asynchronous>>(),
        #[cfg(feature = "floors")]
        entry::<floor::sched::Floor<floor::sched::Inline>>(),
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
        flavor: Flavor::Multi,
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
                out.flavor = match value()?.as_str() {
                    "mt2" => Flavor::Multi,
                    "ct" => Flavor::Current,
                    other => return Err(format!("unknown runtime {other}")),
                }
            }
            "--runs" => out.runs = value()?.parse().map_err(|e| format!("--runs: {e}"))?,
            "--ops" => out.ops = Some(value()?.parse().map_err(|e| format!("--ops: {e}"))?),
            "--scale" => out.scale = value()?.parse().map_err(|e| format!("--scale: {e}"))?,
            "--no-warm-up" => out.warm_up = false,
            "--list" => {
                for workload in Workload::ALL {
                    let able = FRAMEWORKS.iter().filter(|f| (f.supports)(workload));
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
        let frameworks = || FRAMEWORKS.iter().filter(|f| picked(&args.framework, f.name) && (f.supports)(workload));
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
                        ("rt", args.flavor.name()),
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
